"""A training small enough for tests, and what runs it in a process of its own."""

import sys
from pathlib import Path

import torch
from torch import nn

from unface.study.computing import Computing
from unface.study.labelled import open_images
from unface.study.reading import ViewReader
from unface.study.recipes import Recipe
from unface.study.settings import SETTINGS
from unface.study.training import Pace, Training, train

TINY = Recipe(epochs=3, batch=8, learning_rate=0.05, step_epochs=2, image_px=32)
EACH_STEP = Pace(log_steps=1, checkpoint_seconds=0.0)


class Silent:
    """Shows nothing; can fail where it is told of a step, as a kill would."""

    def __init__(self, last_step: int | None = None) -> None:
        self.last_step = last_step
        self.begun: list[int] = []

    def begin(self, name: str, steps: int, done: int) -> None:
        self.begun.append(done)

    def advance(self, facts) -> None:
        if facts["step"] == self.last_step:
            raise KeyboardInterrupt


def plain_network(name: str, classes: int) -> nn.Module:
    """Without batch normalisation and dropout, which see only a process's own share."""
    layers = [
        nn.Conv2d(3, 8, 5, 2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers, nn.Linear(64, classes))


def smallest_network(name: str, classes: int) -> nn.Module:
    """What is compiled soonest."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))


def make_training(root: Path, setting: str = "original", architecture: str = "resnet18", **options) -> Training:
    images = open_images(root / "images", root / "faces.parquet")
    return Training(architecture, ViewReader(images, [SETTINGS[setting]]), **{"recipe": TINY, "seed": 1, **options})


if __name__ == "__main__":  # one process of several, started by torchrun
    torch.set_num_threads(1)
    root, folder = map(Path, sys.argv[1:3])
    training = make_training(root, make=plain_network)
    train(training, folder, Computing("cpu", "float64"), EACH_STEP, Silent())
