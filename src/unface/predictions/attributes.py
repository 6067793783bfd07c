"""`predictions/<run>.parquet` of images that have attributes instead of a class, and how well they are told.

Beside `unface.predictions`: the same metadata, but a row's label is a yes or no for each attribute.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.errors import InputError
from unface.predictions import Batch, Evaluation, read_evaluation, read_rows, write_rows

ATTRIBUTES_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("labels", pa.list_(pa.int8())), ("logits", pa.list_(pa.float16()))]
)
"""`labels` is 0 or 1 and `logits` a number for each attribute, whose names are the metadata's classes."""

_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class AttributeResults:
    """A file of attributes, read.

    Attributes:
        evaluation: Which network, of which images; `classes` are the attributes' names.
        image_ids: N different texts.
        labels: 0 or 1, int8, shape (N, attributes).
        logits: float16, shape (N, attributes).
    """

    evaluation: Evaluation
    image_ids: pa.Array
    labels: NDArray[np.int8]
    logits: NDArray[np.float16]


def write_attributes(path: Path, evaluation: Evaluation, batches: Iterable[Batch]) -> int:
    """Write attributes as they come, beside their place, and rename the file when whole.

    Args:
        path: The file.
        evaluation: For its metadata.
        batches: Image ids; their attributes, 0 or 1, shape (N, attributes); their logits of that shape.

    Returns:
        The number of images.

    Raises:
        InputError: Logits that are not finite, or no image.
    """

    def tables(schema: pa.Schema) -> Iterator[pa.Table]:
        for ids, labels, logits in batches:
            if not np.isfinite(np.asarray(logits)).all():
                raise InputError(f"{path}: logits: expected finite numbers, got NaN or infinity")
            small = np.clip(np.asarray(logits), -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
            columns = [pa.array(list(ids), pa.string()), _lists(np.asarray(labels, np.int8)), _lists(small)]
            yield pa.table(columns, schema=schema)

    return write_rows(path, ATTRIBUTES_SCHEMA, evaluation, tables)


def read_attributes(path: Path) -> AttributeResults:
    """Read a file of attributes.

    Raises:
        InputError: Unreadable, other columns, bad metadata, or a row without a number for each attribute.
    """
    table = read_rows(path, ATTRIBUTES_SCHEMA, "attributes")
    evaluation = read_evaluation(path, table.schema)
    labels = _matrix(path, table["labels"], "labels", len(evaluation.classes)).astype(np.int8)
    logits = _matrix(path, table["logits"], "logits", len(evaluation.classes)).astype(np.float16)
    if not np.isin(labels, (0, 1)).all() or not np.isfinite(logits).all():
        raise InputError(f"{path}: expected 0 or 1 for each label and finite logits, got others")
    return AttributeResults(evaluation, table["image_id"].combine_chunks(), labels, logits)


def average_precisions(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Average precision of each column: the mean, over positives, of precision at their scores.

    Equal scores are one threshold, as scikit-learn has it: no interpolation.

    Args:
        scores: Higher is more likely; shape (N, columns).
        labels: 0 or 1; the same shape.

    Returns:
        0 to 1, shape (columns,); NaN without positives.
    """
    return np.array([_average_precision(*columns) for columns in zip(scores.T, labels.T, strict=True)])


def _average_precision(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    positive = labels[order].astype(np.float64)
    ends = last_of_equals(scores[order])
    found = np.cumsum(positive)[ends]
    total = positive.sum()
    return float((positive * found / (ends + 1)).sum() / total) if total else float("nan")


def last_of_equals(ordered: NDArray[Any]) -> NDArray[np.int64]:
    """For each place of sorted numbers, the last place that holds the same; shape (N,).

    >>> last_of_equals(np.array([3, 3, 1])).tolist()
    [1, 1, 2]
    """
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(ordered) else np.zeros(0, np.int64)
    return np.repeat(ends, np.diff(ends, prepend=-1))


def _lists(matrix: NDArray[Any]) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(matrix).reshape(-1)))


def _matrix(path: Path, column: Any, name: str, width: int) -> NDArray[Any]:
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy()
    if (lengths != width).any():
        row = int(np.argmax(lengths != width))
        raise InputError(f"{path}: row {row}: {name}: expected {width} numbers, got {max(lengths[row], 0)}")
    return np.asarray(pc.list_flatten(column).to_numpy(zero_copy_only=False)).reshape(-1, width)
