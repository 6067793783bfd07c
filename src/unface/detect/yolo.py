"""Networks of YOLOv8's layout: faces with keypoints or without, `yolo-face:PATH`."""

import numpy as np
from numpy.typing import NDArray

from unface.detect.from_file import FromFile, cells_at, checked, unexpected
from unface.detect.looks import Seen, as_batch
from unface.detect.network import Array

_STRIDES_PX = (8, 16, 32)
_BINS = 16
"""Of the distribution over each side's distance, in strides (Li et al.: "Generalized Focal Loss", 2020)."""
_KEYPOINT_CHANNELS = (0, 10, 15)
"""None; five of x and y; five of x, y and visibility."""


class YoloFace(FromFile):
    """YOLOv8-face, told by its outputs' shapes.

    * One output (1, 5 + keypoints, anchors): centre, size and score; or the same, transposed.
    * One output per stride (1, 64 + 1 + keypoints, H / stride, W / stride), not decoded.
    """

    kind = "yolo-face"
    outputs = "YOLOv8-face's outputs: (1, 5 + keypoints, anchors), transposed, or one per stride"
    threshold = 0.4
    padding = 114

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`."""
        return [checked(*self._see_one(image[None], floor)) for image in as_batch(batch_rgb) / 255]

    def _see_one(self, batch: Array, floor: float) -> Seen:
        height, width = batch.shape[2:]
        outputs = self._network(batch)
        anchors = sum(cells_at(height, width, stride) for stride in _STRIDES_PX)
        arrays = list(outputs.values())
        if len(arrays) == 1:
            columns = by_anchor(arrays[0], anchors)
            if columns is None or columns.shape[1] - 5 not in _KEYPOINT_CHANNELS:
                raise unexpected(outputs)
            return centred(columns, columns[:, 4], floor)
        levels = [_level(array, height, width) for array in arrays]
        if len(arrays) != len(_STRIDES_PX) or any(level is None for level in levels):
            raise unexpected(outputs)
        boxes, scores = (np.concatenate(parts) for parts in zip(*filter(None, levels), strict=True))
        kept = ~(scores < floor)
        return boxes[kept], scores[kept]


def by_anchor(output: Array, anchors: int) -> Array | None:
    """An output of one image as (anchors, channels), transposed or not; None where its shape is another."""
    if output.ndim != 3 or output.shape[0] != 1:
        return None
    if output.shape[2] == anchors:
        return np.asarray(output[0].T, np.float32)
    return output[0] if output.shape[1] == anchors else None


def centred(columns: Array, scores: Array, floor: float) -> Seen:
    """Boxes of centre and size (the first four columns), where the score is not below the floor."""
    kept = ~(scores < floor)
    centres, halves = columns[kept, :2], columns[kept, 2:4] / 2
    return np.concatenate([centres - halves, centres + halves], axis=1), scores[kept]


def _level(output: Array, height: int, width: int) -> Seen | None:
    """Boxes and scores of one stride's cells; None where its shape is another."""
    stride = height // output.shape[2] if output.ndim == 4 and output.shape[2] else 0
    shape = (1, -(-height // stride), -(-width // stride)) if stride in _STRIDES_PX else None
    if (output.shape[0], *output.shape[2:]) != shape or output.shape[1] - 4 * _BINS - 1 not in _KEYPOINT_CHANNELS:
        return None
    _, rows, columns = shape
    cells = output[0].reshape(output.shape[1], -1).T
    weights = cells[:, : 4 * _BINS].reshape(-1, 4, _BINS)
    weights = np.exp(weights - weights.max(axis=2, keepdims=True))
    reach = (weights * np.arange(_BINS)).sum(axis=2) / weights.sum(axis=2)
    places = np.arange(rows * columns)
    centres = np.stack([places % columns, places // columns], axis=1) + 0.5
    boxes = np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1) * stride
    scores = 1 / (1 + np.exp(-np.clip(cells[:, 4 * _BINS], -50, 50)))
    return boxes.astype(np.float32), scores.astype(np.float32)
