"""`unface train`: train a network on images whose faces are shown, or hidden."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unface.cli.options import Json, print_json, tell

if TYPE_CHECKING:
    from unface.study.labelled import LabelledImages

LabelledSource = Annotated[
    str,
    typer.Argument(
        metavar="SRC",
        help="Images of known classes: class/…/image as for torchvision's ImageFolder; WebDataset tars with .cls; or "
        "any images with --labels.",
        show_default=False,
    ),
]
FacesOption = Annotated[
    Path | None,
    typer.Option("--faces", metavar="FACES", help="faces.parquet of SRC: what to hide.", show_default="none"),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="CSV",
        help="Classes: a column image_id or file, and class_index, class or wnid.",
        show_default="the folders' names",
    ),
]
ClassesOption = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Names of all classes in order: a JSON list, or the first words of lines.",
        show_default="those that occur, sorted",
    ),
]
PackedOption = Annotated[
    Path | None,
    typer.Option(
        "--packed",
        metavar="DIR",
        help="Read a packed copy, made here first: images resized once. As private as SRC.",
        show_default="read the files",
    ),
]
PackedPx = Annotated[int, typer.Option(min=8, help="With --packed: length of the shorter side in pixels.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …; auto takes a GPU if there is one.")]
Precision = Annotated[str, typer.Option(help="float32, bf16, fp16 (mixed) or float64.")]
Readers = Annotated[
    int, typer.Option("--workers", min=0, max=256, help="Processes that read images; 0 reads in this one.")
]


def train(
    src: LabelledSource,
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder of this training.", show_default=False)],
    architecture: Annotated[
        str, typer.Option(help="torchvision's name: resnet18, mobilenet_v2, …", metavar="NAME", show_default=False)
    ],
    setting_name: Annotated[
        str,
        typer.Option(
            "--setting",
            help="original, blurred, overlaid, mosaic, reencoded, …; or a folder that unface obfuscate wrote.",
            metavar="NAME",
        ),
    ] = "original",
    faces: FacesOption = None,
    labels: LabelsOption = None,
    classes: ClassesOption = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Images like SRC to evaluate on after each epoch.", metavar="SRC", show_default="none"),
    ] = None,
    validation_faces: Annotated[
        Path | None, typer.Option(help="Their faces.parquet.", metavar="FACES", show_default="none")
    ] = None,
    validation_labels: Annotated[
        Path | None, typer.Option(help="Their labels.", metavar="CSV", show_default="the folders' names")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Decides first weights, order, crops and dropout.")
    ] = 1,
    preset: Annotated[
        str, typer.Option(help="paper: its recipe exactly, 90 epochs; paper-30 and paper-15: in fewer.")
    ] = "paper",
    epochs: Annotated[int | None, typer.Option(help="Instead of the preset's.", show_default="the preset's")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images a step, over all processes.", show_default="the preset's")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="At first.", show_default=".01 for AlexNet, SqueezeNet, VGG; else .1")
    ] = None,
    image_px: Annotated[
        int | None, typer.Option(help="Side of the network's input.", show_default="224; Inception v3: 299")
    ] = None,
    packed: PackedOption = None,
    packed_px: PackedPx = 256,
    device: Device = "auto",
    precision: Precision = "float32",
    micro_batch: Annotated[
        int | None,
        typer.Option(min=2, help="Most images in memory at once; gradients add up.", show_default="as many as fit"),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Run the network through torch.compile.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Only algorithms that give the same bits each time; slower.")
    ] = False,
    decode: Annotated[
        str,
        typer.Option(
            help="Where JPEGs of images without faces are decoded: workers, or device (nvJPEG on a GPU).",
            metavar="WHERE",
        ),
    ] = "workers",
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Time between checkpoints, which is what a kill can lose.")
    ] = 120.0,
    workers: Readers = 2,
    as_json: Json = False,
) -> None:
    """Train a network on images in one setting.

    Writes weights.safetensors, log.jsonl and TensorBoard events to DST. Interrupted? The same command again goes on
    from the last checkpoint. Under torchrun several processes train together.
    """
    require_torch()
    from unface.study.architectures import build
    from unface.study.computing import Computing
    from unface.study.display import TrainingDisplay
    from unface.study.labelled import open_images
    from unface.study.reading import ViewReader, in_all, packed_reader, pixels_from
    from unface.study.recipes import find_recipe
    from unface.study.settings import find_setting
    from unface.study.training import Pace, Training, read_log
    from unface.study.training import train as train_network

    given: dict[str, Any] = {"epochs": epochs, "batch": batch, "learning_rate": learning_rate, "image_px": image_px}
    recipe = replace(find_recipe(preset), **{name: value for name, value in given.items() if value is not None})
    computing = Computing(device, precision, workers, micro_batch, compiled, deterministic, decode)
    setting = find_setting(setting_name)
    images = in_all(open_images(src, faces, labels, read_class_names(classes)), [setting])
    tell_left_out(images)
    reader = ViewReader(images, [setting])
    if packed is not None:
        reader = packed_reader(reader, packed, packed_px, workers, lambda count: tell(f"packed: {count} images"))
    judge = None
    if validation is not None:
        others = open_images(validation, validation_faces, validation_labels, images.classes)
        judge = ViewReader(in_all(others, [setting]), [setting])
    source = pixels_from(None if packed is None else packed_px, decode)
    training = Training(architecture, reader, recipe, seed, judge, source, build)
    with TrainingDisplay() as display:
        weights = train_network(training, dst, computing, Pace(checkpoint_seconds=checkpoint_seconds), display)
    last = next(iter(read_log(dst)[-1:]), {})
    tell(f"{weights}: {architecture}, {setting.name}, seed {seed}: {told(last)}")
    if as_json:
        print_json({"weights": str(weights), "log": last})


def require_torch() -> None:
    """Refuse in one line where the extra is not installed."""
    from importlib.util import find_spec

    from unface.errors import InputError

    if any(find_spec(name) is None for name in ("torch", "torchvision", "safetensors", "tensorboardX")):
        raise InputError("study: expected torch and torchvision to be installed for it: install unface[study]")


def read_class_names(path: Path | None) -> tuple[str, ...] | None:
    """The classes that a file names; None without one."""
    from unface.study.labelled import read_classes

    return None if path is None else read_classes(path)


def tell_left_out(images: "LabelledImages") -> None:
    """Tell how many images are left out."""
    if images.left_out:
        tell(
            f"{images.left_out} images are left out: without a row of faces that did not fail, or not in every setting"
        )


def told(log: dict[str, Any]) -> str:
    """A line of the log, for people."""
    shown = {name: value for name, value in log.items() if name in ("loss", "top1", "validation_top1")}
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items())
