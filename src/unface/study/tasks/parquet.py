"""Datasets as Parquet files, as Hugging Face has them: `train-00000-of-00001.parquet` and so on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unface.datasets.parquet import ParquetDataset
from unface.datasets.storage import Storage
from unface.errors import InputError, one_line
from unface.study.labelled import LabelledImages
from unface.study.tasks.task import labelled

_PARTS = {"train": "train", "valid": "validation", "val": "validation", "validation": "validation", "test": "test"}
_LABELS = ("label", "labels", "fine_label", "class")


def has_parquet(place: Path) -> bool:
    """Whether a dataset's folder holds Parquet files."""
    return next(place.rglob("*.parquet"), None) is not None


def parquet_parts(name: str, place: Path, attributes: Sequence[str] = ()) -> dict[str, LabelledImages]:
    """The parts of a dataset, each from the files whose names begin with it.

    Args:
        name: Of the task, for messages.
        place: Folder.
        attributes: Names of columns that hold a yes or no each; without any, one column holds a class.

    Raises:
        InputError: A file of no known part, without the columns, or with other classes than the first.
    """
    dataset = ParquetDataset(Storage(str(place.resolve())))
    found: dict[str, list[tuple[str, NDArray[np.int64], tuple[str, ...]]]] = {}
    for path in sorted(place.rglob("*.parquet")):
        part = _PARTS.get(path.name.split("-")[0].split(".")[0])
        if part is None:
            raise InputError(f"{name}: {path}: expected a name that begins with train, validation or test")
        file = path.relative_to(place).as_posix()
        if len(dataset.table(file).images) != 1:
            raise InputError(f"{name}: {path}: expected one column of images, got {len(dataset.table(file).images)}")
        labels, classes = _columns(path, attributes)
        found.setdefault(part, []).append((file, labels, classes))
    names = {classes for files in found.values() for _, _, classes in files}
    known = max(names, key=len)
    if any(other != known[: len(other)] for other in names):
        raise InputError(f"{name}: {place}: expected the same classes in all files, got several lists of them")
    return {part: _joined(dataset, files, known) for part, files in found.items()}


def _joined(
    dataset: ParquetDataset, files: list[tuple[str, NDArray[np.int64], tuple[str, ...]]], classes: tuple[str, ...]
) -> LabelledImages:
    ids = [f"{file}/{row:08d}" for file, labels, _ in files for row in range(len(labels))]
    return labelled(dataset, ids, np.concatenate([labels for _, labels, _ in files]), classes)


def _columns(path: Path, attributes: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels, and names of the classes or attributes."""
    try:
        schema = pq.read_schema(path)
        wanted = list(attributes) or [_label_column(schema.names)]
        missing = next((column for column in wanted if column not in schema.names), None)
        if missing is not None:
            raise InputError(f"{path}: expected a column {missing}, got {one_line(', '.join(schema.names))[:120]}")
        table = pq.read_table(path, columns=wanted)
        columns = [np.asarray(table[column].combine_chunks().cast(pa.int64())) for column in wanted]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected numbers for labels: {one_line(error)[:120]}") from None
    if any(table[column].null_count for column in wanted):
        raise InputError(f"{path}: expected a label in each row, got empty ones")
    if attributes:
        labels = np.maximum(np.stack(columns, axis=1), 0)  # CelebA's own files say -1 and 1
        if labels.max(initial=0) > 1:
            raise InputError(f"{path}: expected yes or no for each attribute, got {labels.max()}")
        return labels, tuple(attributes)
    classes = _class_names(schema, wanted[0]) or tuple(map(str, range(int(columns[0].max(initial=0)) + 1)))
    if len(columns[0]) and not 0 <= columns[0].min() <= columns[0].max() < len(classes):
        raise InputError(
            f"{path}: {wanted[0]}: expected 0 to {len(classes) - 1}, got {columns[0].min()} to {columns[0].max()}"
        )
    return columns[0], classes


def _label_column(names: Sequence[str]) -> str:
    return next((name for name in _LABELS if name in names), _LABELS[0])


def _class_names(schema: Any, column: str) -> tuple[str, ...]:
    """The names that Hugging Face's note on the column lists; none without one."""
    try:
        notes = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return tuple(map(str, notes["info"]["features"][column]["names"]))
    except (ValueError, KeyError, TypeError):
        return ()
