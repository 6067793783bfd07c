"""`predictions/<run>.parquet` of images in which objects are found: the boxes found, and the true ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.errors import InputError
from unface.predictions import Evaluation, read_evaluation, read_rows, write_rows

_NUMBERS, _CLASSES = pa.list_(pa.float32()), pa.list_(pa.int16())
DETECTIONS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("boxes", _NUMBERS),
        ("scores", _NUMBERS),
        ("labels", _CLASSES),
        ("true_boxes", _NUMBERS),
        ("true_labels", _CLASSES),
        ("difficult", pa.list_(pa.bool_())),
    ]
)
"""One row an image. Boxes are x0, y0, x1, y1 in pixels, half-open, one after the other; labels are class indices;
what is `difficult` counts neither as found nor as missed."""


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one image.

    Attributes:
        boxes_xyxy: float32, shape (N, 4).
        labels: Class indices, shape (N,).
        difficult: Whether each does not count, shape (N,).
    """

    boxes_xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Found:
    """What a network found in one image: boxes of shape (N, 4), scores 0 to 1 and class indices of shape (N,)."""

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


Rows = tuple[Sequence[str], Sequence[Objects], Sequence[Found]]
"""Image ids, their true objects, and what was found."""


@dataclass(frozen=True, eq=False)
class DetectionResults:
    """A file of detections, read; one entry an image."""

    evaluation: Evaluation
    image_ids: pa.Array
    truth: list[Objects]
    found: list[Found]


def write_detections(path: Path, evaluation: Evaluation, batches: Iterable[Rows]) -> int:
    """Write detections as they come, beside their place, and rename the file when whole; returns how many images."""

    def tables(schema: pa.Schema) -> Iterator[pa.Table]:
        for ids, truth, found in batches:
            columns = {
                "image_id": list(ids),
                "boxes": [each.boxes_xyxy.reshape(-1) for each in found],
                "scores": [each.scores for each in found],
                "labels": [each.labels for each in found],
                "true_boxes": [each.boxes_xyxy.reshape(-1) for each in truth],
                "true_labels": [each.labels for each in truth],
                "difficult": [each.difficult for each in truth],
            }
            yield pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)

    return write_rows(path, DETECTIONS_SCHEMA, evaluation, tables)


def read_detections(path: Path) -> DetectionResults:
    """Read a file of detections.

    Raises:
        InputError: Unreadable, other columns, bad metadata, or lists whose lengths disagree.
    """
    table = read_rows(path, DETECTIONS_SCHEMA, "detections")
    evaluation = read_evaluation(path, table.schema)
    for boxes, others in (("boxes", ("scores", "labels")), ("true_boxes", ("true_labels", "difficult"))):
        for name in others:
            lengths = [pc.fill_null(pc.list_value_length(table[column]), 0).to_numpy() for column in (boxes, name)]
            if (lengths[0] != 4 * lengths[1]).any():
                row = int(np.argmax(lengths[0] != 4 * lengths[1]))
                raise InputError(f"{path}: row {row}: expected four numbers in {boxes} for each of {name}")
    cells = {name: _cells(table[name]) for name in DETECTIONS_SCHEMA.names[1:]}
    truth = [
        Objects(boxes.astype(np.float32).reshape(-1, 4), labels.astype(np.int64), difficult.astype(np.bool_))
        for boxes, labels, difficult in zip(cells["true_boxes"], cells["true_labels"], cells["difficult"], strict=True)
    ]
    found = [
        Found(boxes.astype(np.float32).reshape(-1, 4), scores.astype(np.float32), labels.astype(np.int64))
        for boxes, scores, labels in zip(cells["boxes"], cells["scores"], cells["labels"], strict=True)
    ]
    return DetectionResults(evaluation, table["image_id"].combine_chunks(), truth, found)


def _cells(column: Any) -> list[NDArray[Any]]:
    return [np.array(cell if cell is not None else []) for cell in column.to_pylist()]
