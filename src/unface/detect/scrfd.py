"""SCRFD (Guo et al.: "Sample and Computation Redistribution for Efficient Face Detection", 2021), any size of it."""

import numpy as np
from numpy.typing import NDArray

from unface.detect.from_file import FromFile, cells_at, checked, unexpected
from unface.detect.looks import Seen, as_batch
from unface.detect.network import Array
from unface.detect.single import SingleNetwork

_STRIDES_PX = (8, 16, 32, 64, 128)
_MIDDLE, _SPREAD = 127.5, 128


class Scrfd500m(SingleNetwork):
    """The smallest SCRFD with keypoints; its weights may not be used commercially."""

    name = "scrfd-500m"
    input_name = "input.1"
    threshold = 0.5

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`."""
        batch = (as_batch(batch_rgb) - _MIDDLE) / _SPREAD
        # One by one: older exports join the cells of all images in an order of their own.
        height, width = batch.shape[2:]
        return [decoded(self._network(image[None]), height, width, floor) for image in batch]


class Scrfd(FromFile, Scrfd500m):
    """Any SCRFD, `scrfd:PATH`."""

    kind = "scrfd"
    outputs = "SCRFD's outputs: 3 or 5 levels of scores and distances, and keypoints or none"
    padding = 0


def decoded(outputs: dict[str, Array], height: int, width: int, floor: float) -> Seen:
    """Boxes in the network's pixels, told by the outputs' shapes alone.

    Each level has one score and four distances (left, top, right, bottom, in strides) per anchor, and ten keypoint
    coordinates or none. Every cell has the same number of anchors, all at its upper left corner.

    Raises:
        ValueError: Other shapes.
    """
    scores, distances = (_levels(outputs, channels) for channels in (1, 4))
    strides = _STRIDES_PX[: len(scores)]
    cells = [cells_at(height, width, stride) for stride in strides]
    anchors = len(scores[0]) // cells[0] if scores else 0
    fits = [len(level) for level in scores] == [anchors * number for number in cells]
    if len(scores) not in (3, 5) or not anchors or not fits or list(map(len, distances)) != list(map(len, scores)):
        raise unexpected(outputs)
    boxes, found = [], []
    for stride, level, sides in zip(strides, scores, distances, strict=True):
        places = np.flatnonzero(~(level[:, 0] < floor))
        columns = -(-width // stride)
        corners = np.stack([places // anchors % columns, places // anchors // columns], axis=1) * stride
        reach = sides[places] * stride
        boxes.append(np.concatenate([corners - reach[:, :2], corners + reach[:, 2:]], axis=1))
        found.append(level[places, 0])
    return checked(np.concatenate(boxes).astype(np.float32), np.concatenate(found))


def _levels(outputs: dict[str, Array], channels: int) -> list[Array]:
    """The outputs of so many channels, the finest level first, each of shape (anchors, channels)."""
    levels = [array.reshape(-1, channels) for array in outputs.values() if array.shape[-1:] == (channels,)]
    return sorted(levels, key=len, reverse=True)
