"""Synthetic studies with effects that are known, written as real result files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unface.faces import FaceRow, Faces, faces_table
from unface.faces.table import write_faces
from unface.predictions import PRETRAINED, Evaluation, write_predictions

SIDE = 100
"""Of every image, pixels."""


@dataclass
class MadeUp:
    """A study of made-up networks.

    Attributes:
        classes: How many.
        images: Of each class.
        architectures: Their names.
        seeds: How many trainings each.
        cells: Settings trained and evaluated on.
        effects: For each setting, how much its training or its pictures take from the true class's logit at a fraction
            of 1 that faces cover.
        everywhere: For each setting, how much it takes whatever faces cover.
        luck: Standard deviation of what a training adds to each class's logit.
        spread: Fraction that faces cover: of class k, k / classes of this.
        rng_seed: Of the random numbers.
        names: Of the classes.
    """

    classes: int = 30
    images: int = 20
    architectures: tuple[str, ...] = ("resnet18", "vgg11")
    seeds: int = 3
    cells: tuple[tuple[str, str], ...] = (("original", "original"), ("blurred", "blurred"))
    effects: dict[str, float] = field(default_factory=lambda: {"blurred": 12.0})
    everywhere: dict[str, float] = field(default_factory=dict)
    luck: float = 0.0
    spread: float = 0.2
    rng_seed: int = 0
    names: tuple[str, ...] = ()

    def __post_init__(self):
        rng = np.random.default_rng(self.rng_seed)
        self.names = self.names or tuple(f"class{k:03}" for k in range(self.classes))
        self.labels = np.repeat(np.arange(self.classes), self.images)
        self.ids = [f"val/{self.names[k]}/{n:05}.JPEG" for n, k in enumerate(self.labels)]
        means = self.spread * np.arange(self.classes) / self.classes
        self.fractions = np.clip(means[self.labels] * rng.uniform(0.5, 1.5, len(self.labels)), 0, 1)
        self.difficulty = rng.normal(0, 1, len(self.labels))
        self.rng = rng

    def logits(self, train, eval_):
        """Logits of one network, freshly drawn, shape (N, classes)."""
        number = len(self.labels)
        taken = np.zeros(number)
        for setting in {train, eval_} - {"original", PRETRAINED}:
            taken += self.effects.get(setting, 0) * self.fractions + self.everywhere.get(setting, 0)
        logits = self.rng.normal(0, 1, (number, self.classes))
        logits += self.rng.normal(0, self.luck, self.classes) if self.luck else 0
        logits[np.arange(number), self.labels] += 2.5 + 0.7 * self.difficulty - taken
        return logits

    def write(self, folder: Path, faces: bool = True) -> Path:
        """Write `predictions/`, and `faces.parquet` with a box in every image that covers the fraction."""
        (folder / "predictions").mkdir(parents=True)
        for train, eval_ in self.cells:
            for architecture in self.architectures:
                for seed in [None] if train == PRETRAINED else range(1, self.seeds + 1):
                    evaluation = Evaluation(architecture, train, eval_, seed, self.names, "made up", "0" * 64, "0.1.0")
                    batch = (self.ids, self.labels, self.logits(train, eval_))
                    write_predictions(folder / "predictions" / evaluation.file_name, evaluation, [batch])
        if faces:
            write_faces(folder / "faces.parquet", self.faces())
        return folder

    def faces(self):
        """The table of faces."""
        return faces_table(
            FaceRow(name, SIDE, SIDE, "detected", Faces.make([[0, 0, SIDE, SIDE * f]] if f else []))
            for name, f in zip(self.ids, self.fractions.tolist(), strict=True)
        )
