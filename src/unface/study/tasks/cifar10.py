"""CIFAR-10: 60,000 pictures of 32 x 32 pixels, ten classes, top-1 (Table 5)."""

import io
import pickle
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unface.errors import ImageError, InputError, one_line
from unface.predictions import write_predictions
from unface.study.labelled import LabelledImages
from unface.study.tasks.parquet import has_parquet, parquet_parts
from unface.study.tasks.task import ImageTask, first_sentence, labelled, require_counts, splits_of, task_name
from unface.study.training import CLASSIFICATION

COUNTS = {"train": 50_000, "test": 10_000}
_FOLDER = "cifar-10-batches-py"
_HINT = "download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz and unpack it there"
_HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""All that arrays of numbers in a pickle need."""


def open_cifar10(name: str, place: Path, altered: bool) -> ImageTask:
    """The official Python version (`cifar-10-batches-py`, its md5 checked), or Parquet files."""
    parts = parquet_parts(name, place) if has_parquet(place) else _official(name, place, altered)
    require_counts(name, place, parts, COUNTS, altered)
    return ImageTask(task_name(name, altered), splits_of(parts), CLASSIFICATION, "validation_top1", write_predictions)


class CifarImages:
    """The pictures of a copy of CIFAR-10: `train/00000` and so on. Picklable: each process reads the files itself."""

    kind = "cifar10"

    def __init__(self, root: Path, altered: bool) -> None:
        self.root, self._altered = root, altered

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_altered": self._altered}

    def read(self, image_id: str) -> bytes:
        """A picture as a BMP file."""
        part, _, number = image_id.partition("/")
        try:
            pixels = self._opened(part).data[int(number)]
        except (KeyError, ValueError, IndexError):
            raise ImageError(f"expected a picture of CIFAR-10, got {one_line(image_id)}") from None
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "BMP")
        return buffer.getvalue()

    def labels(self, part: str) -> LabelledImages:
        """The pictures of `train` or `test` with their classes."""
        opened = self._opened(part)
        labels = np.array(opened.targets)
        if labels.dtype.kind != "i" or opened.data.dtype != np.uint8:
            raise InputError(
                f"cifar10: {self.root}: {part}: expected whole numbers, of 8 bits for pictures, got "
                f"{labels.dtype} and {opened.data.dtype}"
            )
        if len(labels) != len(opened.data):
            raise InputError(f"cifar10: {self.root}: {part}: {len(opened.data)} pictures but {len(labels)} labels")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(opened.classes):
            raise InputError(
                f"cifar10: {self.root}: {part}: labels: expected 0 to {len(opened.classes) - 1}, got "
                f"{labels.min()} to {labels.max()}"
            )
        return labelled(self, [f"{part}/{number:05d}" for number in range(len(labels))], labels, opened.classes)

    def _opened(self, part: str) -> Any:
        if part not in COUNTS:
            raise KeyError(part)
        return self._train if part == "train" else self._test

    @cached_property
    def _train(self) -> Any:
        return _opened(self.root, True, self._altered)

    @cached_property
    def _test(self) -> Any:
        return _opened(self.root, False, self._altered)


def _official(name: str, place: Path, altered: bool) -> dict[str, LabelledImages]:
    images = CifarImages(place, altered)
    try:
        return {part: images.labels(part) for part in COUNTS}
    except (RuntimeError, OSError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{name}: {place}: expected the published files in {_FOLDER}: {first_sentence(error)}; {_HINT}"
        ) from None


def _opened(root: Path, train: bool, altered: bool) -> Any:
    """Torchvision's dataset, after a look that its pickles hold nothing that would be run."""
    from torchvision.datasets import CIFAR10

    unchecked = {
        "train_list": [[name, None] for name, _ in CIFAR10.train_list if (root / _FOLDER / name).exists()],
        "test_list": [[name, None] for name, _ in CIFAR10.test_list],
        "meta": {**CIFAR10.meta, "md5": None},
    }
    kind = type("AlteredCIFAR10", (CIFAR10,), unchecked) if altered else CIFAR10
    for path in (root / _FOLDER).glob("*batch*"):
        with path.open("rb") as file:
            _Harmless(file, encoding="latin1").load()
    return kind(str(root), train=train, download=False)


class _Harmless(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"expected arrays of numbers, got {one_line(f'{module}.{name}')}")
        return super().find_class(module, name)
