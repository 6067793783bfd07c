"""What the published pixels themselves say, without a model and without trusting any record."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, outer_pixels

MIN_SIDE_PX = 8
MIN_DETAIL = 4.0
"""Mean square of the original's fine detail, in squared grey levels, under which a box is too flat to measure."""
STANDARD_ERRORS = 3.0


def residual_weight(original: NDArray[Any], published: NDArray[Any], boxes_xyxy: Boxes) -> float | None:
    """Share of the original's fine detail that is still there, in the box where most of it is.

    Inside each box the published picture's fine detail (each pixel minus the mean of its four neighbours) is
    regressed on the original's. The slope is 1 where a box was copied, w where the original was mixed in with
    weight w, about 0 where nothing of it is left. Counted is what is certain: the slope less three standard errors.

    Args:
        original: Upright pixels before, (H, W) or (H, W, C), uint8 or uint16.
        published: Upright pixels after, same shape and dtype.
        boxes_xyxy: Face boxes, shape (N, 4).

    Returns:
        The largest share over the boxes, or None where every box is too small or too flat to tell.
    """
    height, width = original.shape[:2]
    shares = []
    for x0, y0, x1, y1 in outer_pixels(boxes_xyxy, width, height):
        if min(x1 - x0, y1 - y0) < MIN_SIDE_PX:
            continue
        before = _fine_detail(original[y0:y1, x0:x1])
        after = _fine_detail(published[y0:y1, x0:x1])
        energy = float((before * before).sum())
        if energy / before.size < MIN_DETAIL:
            continue
        slope = float((before * after).sum()) / energy
        unexplained = float(np.square(after - slope * before).mean())
        shares.append(slope - STANDARD_ERRORS * (unexplained / energy) ** 0.5)
    return max(shares, default=None)


def _fine_detail(pixels: NDArray[Any]) -> NDArray[np.float64]:
    levels = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    neighbours = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return np.asarray(levels[1:-1, 1:-1] - neighbours / 4)
