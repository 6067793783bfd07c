"""Looks: an image resized for a network, and the boxes of several looks made one set."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, iou, non_maximum_suppression, size_wh
from unface.detect.detector import Image

Scores = NDArray[np.float32]
Seen = tuple[Boxes, Scores]
"""Boxes in pixels of the whole image, shape (N, 4), and their scores, shape (N,), best first."""
Look = Callable[[Image, float], Seen]
"""What a network sees in an image resized by a factor."""

LONG_SIDE_PX = 2048
"""Larger images are reduced to this before any network sees them."""
SURE_SCORE = 0.3
"""Score from which a box is taken for a face when it decides where to look again."""
IOU_THRESHOLD = 0.3
"""Of two boxes that overlap by more, the better one stays."""

_STRIDE_PX = 32
_TILE_PX = 1280
_OVERLAP_PX = 256  # faces up to this size are whole in one tile
_REDUCED_PX = 320  # long side of the reduced look
_LARGE_PX = 240  # from here on the first look begins to miss faces, sooner if they are blurred


def first_scale(image: Image) -> float:
    """Factor of the first look: native size, or what brings the long side down to `LONG_SIDE_PX`."""
    height, width = image.shape[:2]
    return min(1.0, LONG_SIDE_PX / float(max(height, width)))


def first_and_reduced(look: Look, image: Image) -> Seen:
    """The first look; and for images whose long side is above 640 px, large faces from a much reduced one.

    The networks know faces of 10 to 300 px; one that fills a large photo is found in the reduced look only.
    Where both see a face, the box of the first stays, which is more exact.
    """
    scale = first_scale(image)
    boxes, scores = look(image, scale)
    long_side = max(image.shape[:2])
    if long_side * scale <= 2 * _REDUCED_PX:
        return boxes, scores
    coarse, coarse_scores = look(image, _REDUCED_PX / long_side)
    known = (iou(coarse, boxes[scores >= SURE_SCORE]) > IOU_THRESHOLD).any(axis=1)
    new = (size_wh(coarse).max(axis=1) * scale >= _LARGE_PX) & ~known
    return fused((boxes, scores), (coarse[new], coarse_scores[new]))


def fused(*seen: Seen) -> Seen:
    """Boxes of several looks, or levels of one, as one set."""
    boxes = np.concatenate([boxes for boxes, _ in seen])
    scores = np.concatenate([scores for _, scores in seen])
    kept = non_maximum_suppression(boxes, scores, IOU_THRESHOLD)
    return boxes[kept], scores[kept]


def resized(image: Image, scale: float) -> Image:
    """The image resized by about `scale`, to sides that are a multiple of 32, as the networks need.

    An enlarged image's are the nearest that do not make it smaller than it was, others are rounded up. Padding instead
    makes the networks see faces along its edge; see docs/detection.md.
    """
    height, width = image.shape[:2]
    size_wh = _rounded(width, scale), _rounded(height, scale)
    return image if size_wh == (width, height) else resized_to(image, *size_wh)


def resized_to(image: Image, width: int, height: int) -> Image:
    """The image in another size, of which every pixel of a larger one has a part.

    Down to half the size linear interpolation leaves no pixel out; the rest is done by halving, which is exact.
    OpenCV's mean over areas of any size takes three times as long.
    """
    import cv2

    halvings = 0
    while min(image.shape[1] / width, image.shape[0] / height) >= 2 << halvings:
        halvings += 1
    image = np.asarray(cv2.resize(image, (width << halvings, height << halvings), interpolation=cv2.INTER_LINEAR))
    if halvings:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return image


def tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Parts in which an image is seen, x0, y0, x1, y1: one, or overlapping ones where it would take much memory."""
    return [(x0, y0, x1, y1) for y0, y1 in _spans(height) for x0, x1 in _spans(width)]


def _spans(side_px: int) -> list[tuple[int, int]]:
    if side_px <= LONG_SIDE_PX:
        return [(0, side_px)]
    count = math.ceil((side_px - _OVERLAP_PX) / (_TILE_PX - _OVERLAP_PX))
    last = side_px - _TILE_PX
    starts = [round(last * i / (count - 1) / _STRIDE_PX) * _STRIDE_PX for i in range(count)]
    return [(start, start + _TILE_PX) for start in starts]


def is_whole(boxes_xyxy: Boxes, tile_xyxy: tuple[int, int, int, int], width: int, height: int) -> NDArray[np.bool_]:
    """Which boxes, in pixels of a tile, are not cut by a side inside the image; their neighbour tile has them whole."""
    x0, y0, x1, y1 = tile_xyxy
    low = np.where(np.array([x0, y0]) > 0, 0, -np.inf)
    high = np.where(np.array([x1, y1]) < np.array([width, height]), np.array([x1 - x0, y1 - y0]), np.inf)
    return np.asarray(((boxes_xyxy[:, :2] >= low) & (boxes_xyxy[:, 2:] <= high)).all(axis=1))


def as_batch(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images of one size, shape (N, H, W, 3), as a network takes them: float32, shape (N, 3, H, W)."""
    import cv2

    count, height, width, channels = images.shape
    batch = np.empty((count, channels, height, width), np.float32)
    for planes, image in zip(batch, images, strict=True):
        # Channel by channel: twice as fast as to convert while transposing.
        for plane, channel in zip(planes, cv2.split(image), strict=True):
            plane[:] = channel
    return batch


def by_image(count: int, images: NDArray[np.int64], boxes_xyxy: Boxes, scores: Scores) -> list[Seen]:
    """What was seen in a batch of `count` images, image by image; `images` says of each box in which it is."""
    boxes = boxes_xyxy.astype(np.float32)
    if count == 1:
        return [(boxes, scores)]
    return [(boxes[images == image], scores[images == image]) for image in range(count)]


def in_image(boxes_xyxy: Boxes, seen: Image, image: Image) -> Boxes:
    """Boxes in pixels of a resized image, in pixels of the image itself."""
    (height, width), (seen_height, seen_width) = image.shape[:2], seen.shape[:2]
    return boxes_xyxy * np.array([width / seen_width, height / seen_height] * 2, np.float32)


def _rounded(side_px: int, scale: float) -> int:
    least = math.ceil(side_px * min(scale, 1) / _STRIDE_PX)
    return max(1, least, round(side_px * scale / _STRIDE_PX)) * _STRIDE_PX
