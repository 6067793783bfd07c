"""Training speed on a GPU: images a second, share of its peak, against the plain loop of torchvision's reference.

    python benchmarks/study_gpu.py IMAGES [--packed DIR] [--peak-tflops 990] [--steps 100] [--workers 8]

IMAGES is class/…/image as for ImageFolder, enough for the steps. The reference is what torchvision's and PyTorch's
examples do by default: ImageFolder with PIL, float32, contiguous memory, a DataLoader. Ours reads a packed copy and
computes in bf16, channels last; also compiled. From ours follow the days of the paper's 135 runs (15 networks, 3
settings, 3 seeds, 90 epochs of 1,281,167 images), by torchvision's count of operations for each network.

Without a CUDA device it says so and ends; `--device cpu` only shows that it runs.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import get_model

from unface.study.architectures import TABLE3, cost
from unface.study.computing import Computing
from unface.study.labelled import open_images
from unface.study.reading import ViewReader, packed_reader
from unface.study.recipes import Recipe
from unface.study.settings import SETTINGS
from unface.study.training import Pace, Training, train

NETWORKS = ("resnet18", "resnet50")
ILSVRC_IMAGES, EPOCHS, SETTINGS_AND_SEEDS = 1_281_167, 90, 9
_OPERATIONS = 2 * 3  # multiply and add; backwards is twice forwards


class Clock:
    """Keeps what a training's log tells of its rate."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def begin(self, name: str, steps: int, done: int) -> None:
        """Nothing."""

    def advance(self, facts: Any) -> None:
        """A line of the log."""
        self.rates.append(facts["images_per_second"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--packed", type=Path)
    parser.add_argument("--peak-tflops", type=float, default=990.0, help="of the GPU in bf16, dense (H100, H200: 990)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing measured")
        return
    rates = {}
    for name in NETWORKS:
        theirs = reference(name, options)
        ours, compiled = (unface(name, options, is_compiled) for is_compiled in (False, True))
        rates[name] = max(ours, compiled)
        share = rates[name] * _OPERATIONS * cost(name).multiplications / (options.peak_tflops * 1e12)
        print(
            f"{name}: reference {theirs:,.0f} images/s; unface {ours:,.0f} ({ours / theirs:.2f} times), compiled "
            f"{compiled:,.0f} ({compiled / theirs:.2f} times); {share:.1%} of {options.peak_tflops:g} Tflop/s"
        )
    print_days(rates["resnet50"] * cost("resnet50").multiplications)


def reference(name: str, options: argparse.Namespace) -> float:
    """Images a second of the plain loop, the first tenth of the steps left out."""
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise]
    dataset = ImageFolder(options.images, transforms.Compose(steps))
    device = torch.device(options.device)
    pin = device.type == "cuda"
    loader: Any = DataLoader(
        dataset, options.batch, shuffle=True, num_workers=options.workers, pin_memory=pin, drop_last=True
    )
    network = get_model(name, weights=None, num_classes=len(dataset.classes)).to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    warm = max(1, options.steps // 10)
    started = 0.0
    for step, (images, labels) in enumerate(itertools.islice(forever(loader), options.steps)):
        if step == warm:
            synchronise(device)
            started = time.monotonic()
        loss = nn.functional.cross_entropy(network(images.to(device, non_blocking=True)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    synchronise(device)
    return (options.steps - warm) * options.batch / (time.monotonic() - started)


def unface(name: str, options: argparse.Namespace, is_compiled: bool) -> float:
    """Images a second of `unface train`'s loop on a packed copy, the median of its log without the first line."""
    images = open_images(options.images)
    reader = ViewReader(images, [SETTINGS["original"]])
    with tempfile.TemporaryDirectory() as folder:
        packed = options.packed or Path(folder) / "packed"
        reader = packed_reader(reader, packed, 256, options.workers, lambda _: None)
        steps_per_epoch = max(1, len(images) // options.batch)
        epochs = -(-options.steps // steps_per_epoch)
        training = Training(name, reader, Recipe(epochs=epochs, batch=options.batch), 1)
        clock = Clock()
        computing = Computing(options.device, "bf16", options.workers, compiled=is_compiled)
        pace = Pace(log_steps=max(1, options.steps // 10), checkpoint_seconds=1e9)
        train(training, Path(folder) / "run", computing, pace, clock)
    late = sorted(clock.rates[1:] or clock.rates)
    return late[len(late) // 2]


def print_days(multiplications_a_second: float) -> None:
    """Print how long the paper's runs take, every network at ResNet-50's rate of operations."""
    images = ILSVRC_IMAGES * EPOCHS * SETTINGS_AND_SEEDS
    seconds = sum(images * cost(name).multiplications / multiplications_a_second for name in TABLE3)
    print(f"the paper's 135 runs: {seconds / 86400:,.1f} days on this device, at ResNet-50's rate of operations")


def forever(loader: Any) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
