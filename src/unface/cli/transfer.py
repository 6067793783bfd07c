"""`unface transfer`: finetune a network for another task, and tell how well it does."""

from pathlib import Path
from typing import Annotated

import typer

from unface.cli.options import Json, print_json, tell
from unface.cli.train import Device, PackedOption, PackedPx, Precision, Readers, require_torch


def transfer(
    named: Annotated[
        str,
        typer.Argument(
            metavar="TASK:PATH",
            help="cifar10, sun397 (sun397-2 to -10: its other partitions), celeba, voc, or folder: your own; and the "
            "folder of its dataset, in its official layout or as Parquet files.",
            show_default=False,
        ),
    ],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder of all transfers.", show_default=False)],
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WEIGHTS",
            help="What to begin with: weights.safetensors of unface train, or what unface evaluate takes.",
            show_default="fresh weights",
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="torchvision's name, where the weights do not say.", show_default="as they say"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Decides the new output layer, order, crops and dropout.")
    ] = 1,
    learning_rates: Annotated[
        list[float] | None,
        typer.Option(
            "--learning-rate",
            metavar="RATE",
            help="Taken as it is; given again, the best on validation images is.",
            show_default="the task's: best of .1, .03, .01, .003, .001; voc: .00125",
        ),
    ] = None,
    search_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of each training that seeks the rate.", show_default="as many as the last"),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the training.", show_default="90; voc: 10")] = None,
    step_epochs: Annotated[
        int | None,
        typer.Option(help="After so many the learning rate falls to a tenth.", show_default="30; voc: 9"),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.", show_default="256; voc: 2")] = None,
    image_px: Annotated[
        int | None,
        typer.Option(
            help="Side of the network's input; voc: the shorter side.",
            show_default="224; Inception v3: 299; voc: 600",
        ),
    ] = None,
    altered: Annotated[
        bool,
        typer.Option(
            "--altered",
            help="The dataset is a part or a changed copy of the published one: do not check counts and hashes, and "
            "call it so.",
        ),
    ] = False,
    packed: PackedOption = None,
    packed_px: PackedPx = 256,
    device: Device = "auto",
    precision: Precision = "float32",
    micro_batch: Annotated[
        int | None,
        typer.Option(min=2, help="Most images in memory at once; gradients add up.", show_default="as many as fit"),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Only algorithms that give the same bits each time; slower.")
    ] = False,
    workers: Readers = 2,
    as_json: Json = False,
) -> None:
    """Finetune a network for a task and evaluate it.

    The output layer is replaced and all layers are trained. Writes DST/TASK/predictions/*.parquet, and a folder with
    weights and log under DST/TASK/runs; prints the table of all transfers in DST. Interrupted? The same command again
    goes on. Under torchrun several processes train together.
    """
    require_torch()
    import os
    from contextlib import nullcontext

    from unface.analysis.study.formats import condensed
    from unface.analysis.transfer import read_transfers
    from unface.analysis.transfer_tables import table_of
    from unface.cli.destination import locked
    from unface.errors import InputError
    from unface.study.checkpoints import load_network
    from unface.study.computing import Computing
    from unface.study.display import TrainingDisplay
    from unface.study.tasks import open_task
    from unface.study.training import Pace
    from unface.study.transfer import Choices, transfer_of
    from unface.study.transfer import transfer as transfer_network

    computing = Computing(device, precision, workers, micro_batch, False, deterministic)
    features = None if weights is None else load_network(weights, architecture)
    task = open_task(named, altered)
    name = architecture or (features.architecture if features else None)
    if not name:
        raise InputError("architecture: expected --architecture NAME, for fresh weights do not say it")
    rates = tuple(learning_rates) if learning_rates else None
    choices = Choices(rates, search_epochs, epochs, step_epochs, batch, image_px, packed, packed_px)
    asked = transfer_of(task, name, features, seed, choices, workers, lambda count: tell(f"packed: {count} images"))
    leads = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one holds the folder for all
    run_dir = dst / task.name / "runs" / asked.name
    with locked(run_dir) if leads else nullcontext(), TrainingDisplay() as display:
        path = transfer_network(asked, dst / task.name, computing, Pace(), display)
    if path is None:
        return
    tell(str(path))
    table = table_of(read_transfers(dst / task.name))
    if as_json:
        rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
        print_json({"predictions": str(path), "task": task.name, "table": rows})
        return
    print(condensed(table).text())
