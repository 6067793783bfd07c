"""Which boxes of two lists are of one face."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, iou


def match(
    a_xyxy: Boxes,
    b_xyxy: Boxes,
    iou_threshold: float,
    a_labels: Sequence[str] | None = None,
    b_labels: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """Pairs of boxes that overlap enough, the best pair first; no box is in two.

    Of all pairs the one of largest IoU is taken, then the largest of what is left, and so on; of equal ones the pair
    that comes first.

    Args:
        a_xyxy: Shape (A, 4).
        b_xyxy: Shape (B, 4).
        iou_threshold: Smallest intersection over union of a pair, above 0.
        a_labels: With `b_labels`: only boxes with the same label are paired.
        b_labels: See `a_labels`.

    Returns:
        Shape (K, 2): a place in `a_xyxy` and one in `b_xyxy` per pair.
    """
    overlaps = np.asarray(iou(a_xyxy, b_xyxy), np.float64)
    if a_labels is not None and b_labels is not None:
        same = np.array([[a == b for b in b_labels] for a in a_labels], bool).reshape(overlaps.shape)
        overlaps = np.where(same, overlaps, 0.0)
    order = np.argsort(-overlaps, axis=None, kind="stable")
    order = order[overlaps.ravel()[order] >= max(iou_threshold, np.finfo(float).tiny)]
    free_a, free_b = np.ones(len(a_xyxy), bool), np.ones(len(b_xyxy), bool)
    pairs = []
    for a, b in zip(*np.unravel_index(order, overlaps.shape), strict=True):
        if free_a[a] and free_b[b]:
            free_a[a] = free_b[b] = False
            pairs.append((a, b))
    return np.array(pairs, np.int64).reshape(-1, 2)
