"""`unface evaluate`: what a network says of images whose faces are shown, and hidden."""

from pathlib import Path
from typing import Annotated

import typer

from unface.cli.options import Json, print_json, tell
from unface.cli.train import (
    ClassesOption,
    Device,
    FacesOption,
    LabelledSource,
    LabelsOption,
    PackedOption,
    PackedPx,
    Precision,
    Readers,
    read_class_names,
    require_torch,
    tell_left_out,
)


def evaluate(
    src: LabelledSource,
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Output folder.", show_default=False)],
    weights: Annotated[
        str,
        typer.Option(
            metavar="WEIGHTS",
            help="weights.safetensors of unface train; a .pth file of torchvision's; mobilenet_v2 (unface models); or "
            "torchvision, which fetches the weights that it publishes.",
            show_default=False,
        ),
    ],
    architecture: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="torchvision's name, where the weights do not say.", show_default="as they say"
        ),
    ] = None,
    setting_names: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            metavar="NAME",
            help="original, blurred, red, …, or a folder that unface obfuscate wrote; again for more, decoded once.",
            show_default="original",
        ),
    ] = None,
    faces: FacesOption = None,
    labels: LabelsOption = None,
    classes: ClassesOption = None,
    image_px: Annotated[
        int | None,
        typer.Option(help="Side of the network's input.", show_default="as trained; else 224, Inception 299"),
    ] = None,
    packed: PackedOption = None,
    packed_px: PackedPx = 256,
    device: Device = "auto",
    precision: Precision = "float32",
    workers: Readers = 2,
    as_json: Json = False,
) -> None:
    """Evaluate a network on images in one or several settings.

    Writes predictions/*.parquet (one row an image), accuracy.csv and classes.csv to DST. Interrupted? The same
    command again goes on.
    """
    require_torch()
    from unface.study.accuracies import tables_of, write_csv
    from unface.study.architectures import input_px
    from unface.study.checkpoints import load_network
    from unface.study.computing import Computing
    from unface.study.evaluate import EvaluationTask
    from unface.study.evaluate import evaluate as evaluate_network
    from unface.study.labelled import dataset_name, open_images
    from unface.study.reading import ViewReader, in_all, packed_reader
    from unface.study.recipes import Recipe
    from unface.study.settings import find_setting

    computing = Computing(device, precision, workers)
    settings = [find_setting(name) for name in dict.fromkeys(setting_names or ["original"])]
    network = load_network(weights, architecture)
    recipe = Recipe(**(network.recipe or {})) if image_px is None else Recipe(image_px=image_px)
    images = in_all(open_images(src, faces, labels, read_class_names(classes) or network.classes), settings)
    tell_left_out(images)
    reader = ViewReader(images, settings)
    if packed is not None:
        reader = packed_reader(reader, packed, packed_px, workers, lambda count: tell(f"packed: {count} images"))
    px, resize_px = recipe.sizes_px(input_px(network.architecture))
    source = "" if packed is None else f"packed at {packed_px} px"
    task = EvaluationTask(network, reader, resize_px, px, dataset_name(src), source)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if count and (done == len(images) or done // 1024 > (done - count) // 1024):
            tell(f"evaluate: {done} of {len(images)} images, {len(settings)} settings")

    paths = evaluate_network(task, computing, dst / "predictions", dst / ".unface", advance)
    overall, by_class = tables_of(paths)
    write_csv(dst / "accuracy.csv", overall)
    write_csv(dst / "classes.csv", by_class)
    for row in overall:
        tell(f"{row['eval']:<16} top-1 {row['top1']:.2%}  top-5 {row['top5']:.2%}  of {row['images']} images")
    if as_json:
        print_json({"predictions": [str(path) for path in paths], "accuracy": overall})
