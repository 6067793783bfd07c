"""What the published pixels themselves say, without a model and without trusting any record."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, enlarge, outer_pixels

MIN_SIDE_PX = 16
MIN_DETAIL = 4.0
"""Mean square of the original's fine detail, in squared grey levels, under which a box is too flat to measure."""
STANDARD_ERRORS = 3.0

Pixels = NDArray[Any]
"""uint8 or uint16, shape (H, W) or (H, W, C)."""

_HALVED_PX = 64  # from here on the quarters of a box are measured by themselves too
_REDUCED_PX = 32  # a face is reduced to this before its blur is measured
_SIGMAS_PX = 0.5 * 2 ** np.arange(0, 6.25, 0.5)  # in reduced pixels: 0.5 to 32
_CHANCE = 4.0  # by which a face's original may explain a few noisy cells better than they do themselves
_CELL_PX = 16
_JPEG_REACH_PX = 34  # a macroblock of 32 px and what the interpolation of chroma looks at beyond it


def residual_weights(
    original: Pixels, published: Pixels, boxes_xyxy: Boxes, allowed: Pixels | None = None
) -> list[float | None]:
    """Of each box, the share of the original's fine detail that is still there.

    Inside the box the published picture's fine detail (each pixel minus the mean of its four neighbours) is
    regressed on the original's. The slope is 1 where a box was copied, w where the original was mixed in with
    weight w, about 0 where nothing of it is left. Counted is what is certain: the slope less three standard errors.
    In larger boxes the quarters are measured too, and the largest share counts, so that a box that was half covered
    shows.

    Args:
        original: Upright pixels before, (H, W) or (H, W, C), uint8 or uint16.
        published: Upright pixels after, same shape and dtype.
        boxes_xyxy: Face boxes, shape (N, 4).
        allowed: What the method is known to leave (the edges of a mosaic), same shape and dtype: it is explained first.

    Returns:
        One share per box, None where it is too small, too flat or outside the image.
    """
    weights = []
    for box in _whole_boxes(boxes_xyxy, original):
        shares = [_share(original, published, allowed, tile) for tile in _tiles(box)]
        weights.append(max((share for share in shares if share is not None), default=None))
    return weights


def effective_sigma(
    original: Pixels, published: Pixels, box_xyxy: NDArray[np.floating[Any]], painted: Pixels | None = None
) -> float | None:
    """Sigma in pixels of the Gaussian which, applied to the original, comes closest to what was published in a box.

    Means are left out of the comparison. A cell average of side s counts as about 0.3 to 0.5 s, a single colour as
    more than half the box. Measured on a face reduced to 32 px, so that less than a 64th of its size reads as that.

    Args:
        original: Upright pixels before.
        published: Upright pixels after, same shape and dtype.
        box_xyxy: One face, shape (4,).
        painted: What the method blurs instead of the original, in the box alone; same shape and dtype. It is taken for
            what was blurred, unless the original explains the published pixels far better.

    Returns:
        None where the box is under 16 px or too flat to tell one blur from another.
    """
    height, width = original.shape[:2]
    box = np.asarray(box_xyxy, np.float32)[None]
    inner = outer_pixels(box, width, height)
    if not len(inner) or (inner[0, 2:] - inner[0, :2]).min() < MIN_SIDE_PX:
        return None
    side = float((inner[0, 2:] - inner[0, :2]).max())
    outer = outer_pixels(enlarge(inner.astype(np.float32), side), width, height)[0]
    factor = min(1.0, _REDUCED_PX / side)
    x0, y0, x1, y1 = np.rint((inner[0] - outer[[0, 1, 0, 1]]) * factor).astype(int).tolist()
    within = np.s_[y0:y1, x0:x1]
    before, wanted = (_reduced(_cut(pixels, outer), factor) for pixels in (original, published))
    errors = _errors(before, wanted[within], within)
    if painted is not None and errors is not None:
        cells = _reduced(_cut(painted, outer), factor)[within]
        explained = _errors(cells, wanted[within], np.s_[:, :])
        if explained is not None and explained.min() < _CHANCE * errors.min():
            errors = explained
    return None if errors is None else float(_refined(errors) / factor)


def _reduced(pixels: Pixels, factor: float) -> NDArray[np.float32]:
    import cv2

    size = tuple(max(1, round(length * factor)) for length in pixels.shape[1::-1])
    return np.asarray(cv2.resize(_grey(pixels), size, interpolation=cv2.INTER_AREA), np.float32)


def _errors(source: Pixels, wanted: Pixels, within: tuple[slice, slice]) -> NDArray[np.float32] | None:
    """How far a part of the source, blurred by each of the sigmas, is from what is wanted there; None if it is flat."""
    import cv2

    blurred = [
        _centred(cv2.GaussianBlur(source, (0, 0), float(sigma), borderType=cv2.BORDER_REPLICATE)[within])
        for sigma in _SIGMAS_PX
    ]
    if float(np.square(blurred[0] - blurred[-4]).mean()) < MIN_DETAIL:
        return None
    return np.array([np.square(layer - _centred(wanted)).mean() for layer in blurred], np.float32)


def change_outside(
    original: Pixels, published: Pixels, touched_xyxy: NDArray[np.int64], kind: str
) -> tuple[float, tuple[int, int, int, int] | None]:
    """How much the published picture differs where no face is recorded, and where.

    Args:
        original: Upright pixels before.
        published: Upright pixels after, same shape and dtype.
        touched_xyxy: What the method may change, whole pixels, shape (M, 4).
        kind: `exact`, every pixel counts; `blocks`, a JPEG of which only blocks were written anew; or `lossy`, a
            picture that was encoded as a whole: then averages over 16 x 16 px are compared.

    Returns:
        The largest difference in levels of 8 bits, and the box around what differs (by more than 0; for `lossy`,
        by more than half the largest), None where nothing does.
    """
    import cv2

    lossy = kind == "lossy"
    margin = _JPEG_REACH_PX if kind == "blocks" else 0
    changes = _float(published) - _float(original) if lossy else cv2.absdiff(published, original)
    for x0, y0, x1, y1 in touched_xyxy.tolist():
        changes[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin] = 0
    cell = _CELL_PX if lossy else 1
    if lossy:
        size = tuple(max(1, length // cell) for length in changes.shape[1::-1])
        changes = np.abs(cv2.resize(changes, size, interpolation=cv2.INTER_AREA))
    largest = float(changes.max())
    if not largest:
        return 0.0, None
    changed = changes > (largest / 2 if lossy else 0)
    rows, columns = np.nonzero(changed.reshape(*changed.shape[:2], -1).any(axis=2))
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return largest / (257 if original.dtype == np.uint16 else 1), (
        int(x0) * cell,
        int(y0) * cell,
        int(x1) * cell,
        int(y1) * cell,
    )


def _whole_boxes(boxes_xyxy: Boxes, pixels: Pixels) -> list[tuple[int, int, int, int] | None]:
    """Each box in whole pixels; None for one outside the image."""
    height, width = pixels.shape[:2]
    wholes = []
    for box in boxes_xyxy:
        inside = outer_pixels(box[None], width, height).tolist()
        wholes.append(tuple(inside[0]) if inside else None)
    return wholes


def _tiles(box: tuple[int, int, int, int] | None) -> list[tuple[int, int, int, int]]:
    """The box, and its quarters if it is large enough."""
    if box is None:
        return []
    x0, y0, x1, y1 = box
    if min(x1 - x0, y1 - y0) < _HALVED_PX:
        return [box]
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    return [box, (x0, y0, x, y), (x, y0, x1, y), (x0, y, x, y1), (x, y, x1, y1)]


def _share(
    original: Pixels, published: Pixels, allowed: Pixels | None, tile: tuple[int, int, int, int]
) -> float | None:
    x0, y0, x1, y1 = tile
    if min(x1 - x0, y1 - y0) < MIN_SIDE_PX:
        return None
    before, after = (_fine_detail(pixels[y0:y1, x0:x1]) for pixels in (original, published))
    if allowed is not None:
        known = _fine_detail(allowed[y0:y1, x0:x1])
        before, after = _without(before, known), _without(after, known)
    energy = float((before * before).sum())
    if energy / before.size < MIN_DETAIL:
        return None
    slope = float((before * after).sum()) / energy
    unexplained = float(np.square(after - slope * before).mean())
    return float(slope - STANDARD_ERRORS * (unexplained / energy) ** 0.5)


def _without(detail: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """What of a detail another does not explain (Frisch, Waugh 1933, Econometrica 1:387-401)."""
    energy = float((known * known).sum())
    return detail - known * (float((detail * known).sum()) / energy) if energy else detail


def _fine_detail(pixels: Pixels) -> NDArray[np.float64]:
    levels = pixels.astype(np.float64) / (257 if pixels.dtype == np.uint16 else 1)
    neighbours = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    return np.asarray(levels[1:-1, 1:-1] - neighbours / 4)


def _cut(pixels: Pixels, box: NDArray[np.int64]) -> Pixels:
    x0, y0, x1, y1 = box.tolist()
    return pixels[y0:y1, x0:x1]


def _float(pixels: Pixels) -> NDArray[np.float32]:
    return pixels.astype(np.float32)


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    """The mean of the channels, in levels of 8 bits."""
    levels = pixels.mean(axis=2, dtype=np.float32) if pixels.ndim == 3 else _float(pixels)
    return np.asarray(levels / (257 if pixels.dtype == np.uint16 else 1), np.float32)


def _centred(levels: Pixels) -> NDArray[np.float32]:
    return np.asarray(levels - levels.mean(), np.float32)


def _refined(errors: NDArray[np.floating[Any]]) -> float:
    """The sigma of least error, between the steps by a parabola in log sigma."""
    best = int(errors.argmin())
    if best in (0, len(errors) - 1):
        return float(_SIGMAS_PX[best])
    left, middle, right = (float(error) for error in errors[best - 1 : best + 2])
    curve = left - 2 * middle + right
    shift = 0.5 * (left - right) / curve if curve > 0 else 0.0
    return float(_SIGMAS_PX[best] * 2 ** (0.5 * shift))
