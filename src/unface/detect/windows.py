"""Windows: what surrounds each of some boxes, all boxes brought to one size, for a network to look at closely."""

import math

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, area, iou
from unface.detect.detector import Image
from unface.detect.looks import Scores, Seen, resized_to

_SAME_IOU = 0.3


class Windows:
    """Square windows around boxes, in which every box is as large as every other.

    A window that would reach out of the image is moved into it; where the image is too small, the rest is black.

    Attributes:
        batch_rgb: uint8, shape (N, side, side, 3).
        boxes_xyxy: The boxes in pixels of their windows, shape (N, 4).
    """

    def __init__(self, image_rgb: Image, boxes_xyxy: Boxes, side_px: int, face_px: float) -> None:
        """Cut the windows.

        Args:
            image_rgb: uint8, shape (H, W, 3).
            boxes_xyxy: In its pixels, shape (N, 4).
            side_px: Of a window.
            face_px: Geometric mean of the sides that a box has in its window.
        """
        self.batch_rgb = np.zeros((len(boxes_xyxy), side_px, side_px, 3), np.uint8)
        self._scales = np.asarray(face_px / np.sqrt(area(boxes_xyxy)), np.float32)[:, None]
        self._origins = np.zeros((len(boxes_xyxy), 2), np.float32)
        for window, origin, box, scale in zip(
            self.batch_rgb, self._origins, boxes_xyxy, self._scales[:, 0], strict=True
        ):
            origin[:] = _fill(window, image_rgb, (box[:2] + box[2:]) / 2, float(scale))
        self.boxes_xyxy: Boxes = (boxes_xyxy - np.tile(self._origins, 2)) * self._scales

    def in_image(self, boxes_xyxy: Boxes) -> Boxes:
        """Boxes in pixels of their windows, one each, in pixels of the image."""
        return np.asarray(boxes_xyxy / self._scales + np.tile(self._origins, 2), np.float32)

    def mirrored(self) -> tuple[NDArray[np.uint8], Boxes]:
        """The windows and their boxes, left for right."""
        return np.ascontiguousarray(self.batch_rgb[:, :, ::-1]), mirror(self.boxes_xyxy, self.batch_rgb.shape[2])


def mirror(boxes_xyxy: Boxes, width: float) -> Boxes:
    """Boxes of an image of that width in the image turned left for right."""
    turned = boxes_xyxy.copy()
    turned[:, [0, 2]] = width - boxes_xyxy[:, [2, 0]]
    return turned


def best_of_each(seen: list[Seen], boxes_xyxy: Boxes) -> tuple[Boxes, Scores]:
    """What was seen at each of some boxes, each in an image of its own.

    Args:
        seen: What was seen in each image.
        boxes_xyxy: One box in each, shape (N, 4).

    Returns:
        The best box that lies where the given one does (IoU of 0.3), shape (N, 4), and its score, shape (N,); where
        there is none, the given box, and 0.
    """
    boxes, scores = boxes_xyxy.copy(), np.zeros(len(boxes_xyxy), np.float32)
    for i, (found, found_scores) in enumerate(seen):
        here = np.where(iou(boxes_xyxy[i : i + 1], found)[0] >= _SAME_IOU, found_scores, 0)
        if here.any():
            boxes[i], scores[i] = found[here.argmax()], here.max()
    return boxes, scores


def _fill(window: Image, image: Image, centre_xy: NDArray[np.float32], scale: float) -> tuple[float, float]:
    """Draw what surrounds a point, resized, into a window; returns the point of the image that is its origin."""
    side = window.shape[0]
    starts = [_start(float(c), side / scale, n) for c, n in zip(centre_xy, image.shape[1::-1], strict=True)]
    (x0, y0), (x1, y1) = (
        [max(0, math.floor(start)) for start in starts],
        [min(n, math.ceil(start + side / scale)) for start, n in zip(starts, image.shape[1::-1], strict=True)],
    )
    size_wh = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    part = resized_to(image[y0:y1, x0:x1], *size_wh)
    # The part begins up to a pixel before the window, or, where the image is too small, within it.
    left, top = round((x0 - starts[0]) * scale), round((y0 - starts[1]) * scale)
    seen = part[max(0, -top) :, max(0, -left) :][: side - max(0, top), : side - max(0, left)]
    window[max(0, top) : max(0, top) + seen.shape[0], max(0, left) : max(0, left) + seen.shape[1]] = seen
    return x0 - left / scale, y0 - top / scale


def _start(centre: float, extent: float, side: int) -> float:
    """Where a window of that extent begins along one axis of the image."""
    return (side - extent) / 2 if extent >= side else min(max(centre - extent / 2, 0.0), side - extent)
