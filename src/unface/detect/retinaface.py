"""RetinaFace (Deng et al.: "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019), MobileNet-0.25."""

import numpy as np
from numpy.typing import NDArray

from unface.detect.looks import Seen, as_batch, by_image
from unface.detect.single import SingleNetwork

_MEAN_BGR = np.array([104, 117, 123], np.float32)
_ANCHORS_PX = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""Sides of the square anchors in each cell, by stride."""
_CENTRE_SCALE, _SIZE_SCALE = 0.1, 0.2


class RetinaFace(SingleNetwork):
    """Small; at native size it misses faces below 10 px that CenterFace sees."""

    name = "retinaface"
    input_name = "input"
    threshold = 0.5

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`."""
        count, height, width, _ = batch_rgb.shape
        batch = as_batch(batch_rgb[..., ::-1]) - _MEAN_BGR[:, None, None]
        shifts, classes, _landmarks = self._network(batch).values()
        images, places = np.nonzero(classes[..., 1] >= floor)
        anchors, shifts = _anchors(height, width)[places], shifts[images, places]
        sides = anchors[:, 2:]
        centres = anchors[:, :2] + shifts[:, :2] * _CENTRE_SCALE * sides
        halves = sides * np.exp(shifts[:, 2:] * _SIZE_SCALE) / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=1)
        return by_image(count, images, boxes, classes[images, places, 1])


def _anchors(height: int, width: int) -> NDArray[np.float32]:
    """Centre and side of every anchor in pixels, in the network's order: stride, row, column, size; shape (K, 3)."""
    levels = []
    for stride, sides in _ANCHORS_PX.items():
        y, x, side = np.meshgrid(np.arange(height // stride), np.arange(width // stride), sides, indexing="ij")
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, side], axis=-1).reshape(-1, 3))
    return np.concatenate(levels).astype(np.float32)
