"""Speed of reading images for training, against torchvision's reference, and what six settings cost to evaluate.

    UNFACE_TEST_DATA=DIR python benchmarks/study_data.py [--rounds 3]

The same files of `DIR/imagenet_val`, RandomResizedCrop(224) and a flip. The reference is ImageFolder with PIL, ToTensor
and Normalize; ours reads the files, and a packed copy. Ours hands bytes to the network's device and normalises there,
which is measured with it (on this CPU) and without. CPU seconds are of one process that does it all, so that other
work on the machine does not count; then wall seconds with two workers each, in turns, started once before.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import get_model

from unface.study.computing import Computing
from unface.study.evaluate import predicted
from unface.study.labelled import LabelledImages, open_images
from unface.study.loading import Schedule, evaluation_runs, training_batches
from unface.study.packed import PackedViews, pack
from unface.study.reading import ViewReader
from unface.study.settings import SETTINGS
from unface.study.views import as_input

TABLE7 = ("original", "red", "green", "blue", "mean", "blurred")
EPOCHS = 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = prepared(options.data / "imagenet_val", Path(folder))
        loading(images, Path(folder), options.rounds)
        evaluating(images, options.rounds)


def prepared(source: Path, folder: Path) -> LabelledImages:
    """The images as folders of classes, as ImageFolder wants them, and their faces."""
    with (source / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            (folder / "images" / row["wnid"]).mkdir(parents=True, exist_ok=True)
            (folder / "images" / row["wnid"] / row["file"]).symlink_to(source / "images" / row["file"])
    real = folder / "files"
    subprocess.run(["cp", "-rL", str(folder / "images"), str(real)], check=True)
    command = [sys.executable, "-m", "unface", "detect", str(real), "-o", str(folder / "faces.parquet")]
    subprocess.run(command, check=True, capture_output=True)
    return open_images(real, folder / "faces.parquet")


def loading(images: LabelledImages, folder: Path, rounds: int) -> None:
    """Print how long an image takes to be read for training."""
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    reference = ImageFolder(folder / "files", transforms.Compose([*steps, normalise]))
    settings = [SETTINGS["original"]]
    list(pack(ViewReader(images, settings), folder / "packed", 256, 1))
    packed = PackedViews(images, folder / "packed")

    def theirs(workers: int) -> None:
        loader = DataLoader(reference, 64, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        for _ in range(EPOCHS):
            for _ in loader:
                pass

    def ours(views_of: PackedViews | None, workers: int, normalises: bool) -> None:
        schedule = Schedule(len(images), 64, 0)
        total = range(EPOCHS * schedule.steps_per_epoch)
        reader = ViewReader(images, settings, views_of)
        for views, _ in training_batches(reader, 224, schedule, total, 0, 1, workers, False):
            if normalises:
                as_input(views, torch.device("cpu"), torch.float32)

    for workers in (0, 2):
        ways = {
            "torchvision": partial(theirs, workers),
            "unface, files": partial(ours, None, workers, True),
            "files, bytes": partial(ours, None, workers, False),
            "unface, packed": partial(ours, packed, workers, True),
            "packed, bytes": partial(ours, packed, workers, False),
        }
        ways["unface, packed"]()  # starts the process that starts the workers
        print_ways(f"{EPOCHS} epochs of {len(images)} images, {workers} workers", ways, rounds)


def evaluating(images: LabelledImages, rounds: int) -> None:
    """Print what the six settings of a Table 7 row cost against one."""
    network = get_model("mobilenet_v2", weights=None).eval()
    runs = [range(start, min(start + 64, len(images))) for start in range(0, len(images), 64)]

    def evaluate(names: tuple[str, ...]) -> None:
        reader = ViewReader(images, [SETTINGS[name] for name in names])
        for _ in predicted(network, reader, 256, 224, runs, Computing("cpu")):
            pass

    def load(names: tuple[str, ...]) -> None:
        reader = ViewReader(images, [SETTINGS[name] for name in names])
        for _ in evaluation_runs(reader, 256, 224, runs, 0, False):
            pass

    share = float((images.face_counts > 0).mean())
    print(
        f"\n{share:.0%} of the images have faces (ILSVRC: 17 %), so six settings are {1 + 5 * share:.2f} views an image"
    )
    print_ways("load for evaluating", {"one setting": lambda: load(TABLE7[:1]), "six": lambda: load(TABLE7)}, rounds)
    ways: dict[str, Callable[[], None]] = {
        "one setting": lambda: evaluate(TABLE7[:1]),
        "six": lambda: evaluate(TABLE7),
    }
    print_ways("evaluate MobileNet-V2, network included", ways, rounds)


def print_ways(title: str, ways: dict[str, Callable[[], None]], rounds: int) -> None:
    """Do each way in turn; print the medians, and their ratios to the first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, do in ways.items():
            cpu, wall = time.process_time(), time.monotonic()
            do()
            times[name].append((time.process_time() - cpu, time.monotonic() - wall))
    print(f"\n{title}; {rounds} rounds")
    first = next(iter(times))
    for name, each in times.items():
        cpu, wall = (statistics.median(column) for column in zip(*each, strict=True))
        ratios = [
            statistics.median(a[which] / b[which] for a, b in zip(times[first], each, strict=True)) for which in (0, 1)
        ]
        print(
            f"  {name:<16} {cpu:7.2f} s CPU here ({ratios[0]:.2f} times as fast as {first}), "
            f"{wall:7.2f} s wall ({ratios[1]:.2f} times)"
        )


if __name__ == "__main__":
    main()
