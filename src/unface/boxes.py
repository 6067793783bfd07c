"""Geometry on arrays of boxes.

A box array is float, shape (N, 4), columns x0, y0, x1, y1 in pixels, half-open, with x0 < x1 and
y0 < y1. Functions return new arrays and change nothing in place.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float32]
"""Shape (N, 4), columns x0, y0, x1, y1."""

_BEST_AT_ONCE = 32


def as_boxes(boxes_xyxy: ArrayLike) -> Boxes:
    """Return boxes as a float32 array of shape (N, 4).

    Raises:
        ValueError: Not N x 4, not finite, or a box without area.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected shape (N, 4), got {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError("boxes: expected finite numbers, got NaN or infinity")
    bad = (boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])
    if bad.any():
        raise ValueError(f"box: expected x0 < x1 and y0 < y1, got {boxes[bad][0].tolist()}")
    return boxes


def size_wh(boxes_xyxy: Boxes) -> Boxes:
    """Width and height of each box, shape (N, 2)."""
    return boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]


def area(boxes_xyxy: Boxes) -> NDArray[np.float32]:
    """Area of each box in square pixels, shape (N,)."""
    return np.asarray(size_wh(boxes_xyxy).prod(axis=1), np.float32)


def diagonal(boxes_xyxy: Boxes) -> NDArray[np.float32]:
    """Length of each box's diagonal in pixels, shape (N,)."""
    return np.asarray(np.hypot(*size_wh(boxes_xyxy).T), np.float32)


def enlarge(boxes_xyxy: Boxes, margin_px: ArrayLike) -> Boxes:
    """Move each side outward (inward where negative) by `margin_px`: a number, one per box, or (N, 2) in x and y."""
    margin = np.asarray(margin_px, np.float32)
    if margin.ndim == 1:
        margin = margin[:, None]
    margin = np.broadcast_to(margin, (len(boxes_xyxy), 2))
    return np.concatenate([boxes_xyxy[:, :2] - margin, boxes_xyxy[:, 2:] + margin], axis=1)


def clip(boxes_xyxy: Boxes, width: float, height: float) -> tuple[Boxes, NDArray[np.bool_]]:
    """Cut boxes to the image.

    Returns:
        The boxes that keep an area, shape (M, 4), and the mask of shape (N,) that says which they are.
    """
    limits = np.array([width, height, width, height], np.float32)
    cut = np.clip(boxes_xyxy, 0, limits)
    kept = (cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])
    return cut[kept], kept


def outer_pixels(boxes_xyxy: Boxes, width: int, height: int) -> NDArray[np.int64]:
    """Smallest integer boxes (half-open) that hold every touched pixel, clipped to the image; shape (M, 4)."""
    cut, _ = clip(boxes_xyxy, width, height)
    return np.concatenate([np.floor(cut[:, :2]), np.ceil(cut[:, 2:])], axis=1).astype(np.int64)


def intersection(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float32]:
    """Area shared by each pair, shape (len(a), len(b))."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2), np.float32)


def iou(a_xyxy: Boxes, b_xyxy: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each pair, shape (len(a), len(b))."""
    shared = intersection(a_xyxy, b_xyxy)
    return shared / (area(a_xyxy)[:, None] + area(b_xyxy)[None, :] - shared)


def union_area(boxes_xyxy: Boxes) -> float:
    """Area of the union of all boxes in square pixels, exact."""
    if not len(boxes_xyxy):
        return 0.0
    boxes = boxes_xyxy.astype(np.float64)
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    covered = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    columns, rows = np.searchsorted(xs, boxes[:, [0, 2]]), np.searchsorted(ys, boxes[:, [1, 3]])
    for (c0, c1), (r0, r1) in zip(columns, rows, strict=True):
        covered[r0:r1, c0:c1] = True
    return float((covered * np.diff(ys)[:, None] * np.diff(xs)[None, :]).sum())


def union_areas(boxes_xyxy: Boxes, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area of the union of each image's boxes in square pixels, exact.

    Args:
        boxes_xyxy: Boxes of all images, one image after the other, shape (N, 4); some may have no area.
        counts: How many are of each image, shape (M,).

    Returns:
        Shape (M,).
    """
    boxes = np.asarray(boxes_xyxy, np.float64)
    starts = np.cumsum(counts) - counts
    areas = np.zeros(len(counts))
    for count in np.unique(counts[counts > 0]):
        mine = np.flatnonzero(counts == count)
        groups = boxes[starts[mine][:, None] + np.arange(count)]
        areas[mine] = (groups[..., 2:] - groups[..., :2]).prod(axis=2).sum(axis=1)
        overlap = np.zeros(len(mine), bool)
        for i in range(1, count):  # the sum is right where no two overlap
            low = np.maximum(groups[:, :i, :2], groups[:, i : i + 1, :2])
            high = np.minimum(groups[:, :i, 2:], groups[:, i : i + 1, 2:])
            overlap |= (low < high).all(axis=2).any(axis=1)
        for place in np.flatnonzero(overlap):
            areas[mine[place]] = union_area(groups[place])
    return areas


def coverage(boxes_xyxy: Boxes, by_xyxy: Boxes) -> NDArray[np.float64]:
    """Fraction of each box that the union of `by_xyxy` covers, shape (N,)."""
    fractions = np.zeros(len(boxes_xyxy))
    for i, box in enumerate(boxes_xyxy):
        low, high = np.maximum(by_xyxy[:, :2], box[:2]), np.minimum(by_xyxy[:, 2:], box[2:])
        inside = np.concatenate([low, high], axis=1)[(low < high).all(axis=1)]
        fractions[i] = union_area(inside) / float(area(box[None].astype(np.float64))[0])
    return np.minimum(fractions, 1.0)


def is_covered(boxes_xyxy: Boxes, by_xyxy: Boxes) -> NDArray[np.bool_]:
    """Whether the union of `by_xyxy` covers at least half of each box's inner half (half as wide, half as high).

    There eyes, nose and mouth are: what is left around a hidden face (hair, chin, neck) is often seen as a
    larger face, and that one is hidden.
    """
    return coverage(enlarge(boxes_xyxy, -size_wh(boxes_xyxy) / 4), by_xyxy) >= 0.5


def non_maximum_suppression(
    boxes_xyxy: Boxes, scores: NDArray[np.floating[Any]], iou_threshold: float
) -> NDArray[np.int64]:
    """Indices of the boxes to keep, best score first; a box that overlaps a better one by more is dropped."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        # The best ones against all at once: one by one, most of the time would go into calls.
        best = order[:_BEST_AT_ONCE]
        apart = iou(boxes_xyxy[best], boxes_xyxy[order]) <= iou_threshold
        left = np.ones(len(order), bool)
        for i, box in enumerate(best):
            if left[i]:
                kept.append(int(box))
                left &= apart[i]
        order = order[len(best) :][left[len(best) :]]
    return np.array(kept, np.int64)


def orient(boxes_xyxy: Boxes, width: float, height: float, orientation: int) -> Boxes:
    """Move boxes from stored pixels to upright ones (EXIF orientation applied).

    Args:
        boxes_xyxy: Boxes in the pixels as stored, shape (N, 4).
        width: Width of the stored image.
        height: Height of the stored image.
        orientation: EXIF tag 0x0112, 1 to 8 (TIFF 6.0, "Orientation").

    Returns:
        Boxes in the upright image, shape (N, 4).
    """
    x0, y0, x1, y1 = boxes_xyxy.T
    sides = {
        1: (x0, y0, x1, y1),
        2: (width - x1, y0, width - x0, y1),
        3: (width - x1, height - y1, width - x0, height - y0),
        4: (x0, height - y1, x1, height - y0),
        5: (y0, x0, y1, x1),
        6: (height - y1, x0, height - y0, x1),
        7: (height - y1, width - x1, height - y0, width - x0),
        8: (y0, width - x1, y1, width - x0),
    }
    if orientation not in sides:
        raise ValueError(f"orientation: expected 1 to 8, got {orientation}")
    return np.stack(sides[orientation], axis=1).astype(np.float32)
