"""Hide the faces of one image: blur, overlay, mosaic; or, for comparison, none.

Pure: arrays in, arrays out. What each method keeps, and why, is in ``docs/obfuscation.md``.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unface.boxes import Boxes, as_boxes, clip, outer_pixels
from unface.errors import ImageError, InputError

Pixels = NDArray[Any]
"""uint8 or uint16, shape (H, W, C)."""
Rectangles = NDArray[np.int64]
"""Shape (N, 4): x0, y0, x1, y1 in whole pixels, half-open, inside the image."""
Size = tuple[int, int]
"""Width and height of an image in pixels."""
Edges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Where the rows and the columns of a face's cells begin, relative to the face, and where the last ends."""

METHODS = ("blur", "overlay", "mosaic", "none")
PRESETS = ("safe", "paper", "imagenet")
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
COLORS = {"mean": (124, 116, 104), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}

_COLOR_CHANNELS = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "CMYK": 4}
_SAFE_CELLS = 4
_SMALLEST_CELL_PX = 4
_SHARED_NOISE, _OWN_NOISE = 64, 16  # levels, of 8 bits
_GREY_RANGE = 8  # of the channels of a colour that is taken for grey
_SAFE_SIGMA_PER_DIAGONAL = 0.15
_SAFE_SIGMA_PX = 3.0
_SAFE_FEATHER_PER_DIAGONAL = 0.1
_SAFE_FEATHER_PX = 2
_CUT_SIGMAS = 3.0
_CUT_LOSS = 1.015  # a Gaussian cut at 3 sigma has .987 of its sigma; this makes up for it
_REDUCED_SIGMA_PX = 4.0
_PILLOW_PASSES = 3
_FARTHEST_PX = 10_000_000  # far beyond any image; Pillow's blur overflows at about 1.6 times that


@dataclass(frozen=True)
class Obfuscation:
    """How to hide faces.

    Attributes:
        method: `blur`, `overlay`, `mosaic`, or `none`, which hides nothing: the control arm of a study.
        preset: Of a blur: `safe`, or one of the published ones, which leak: `paper`, `imagenet`.
            Empty for the other methods.
        color: Of an overlay: `mean` (124, 116, 104), `red`, `green`, `blue` or `#rrggbb`.
        cells: Of a mosaic: cells across the longer side of each face, at least 1.

    Raises:
        InputError: One of them is something else.

    >>> Obfuscation()
    Obfuscation(method='blur', preset='safe', color='mean', cells=8)
    >>> Obfuscation("overlay", color="#ff8000").preset
    ''
    """

    method: str = "blur"
    preset: str = "safe"
    color: str = "mean"
    cells: int = 8

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method: expected {', '.join(METHODS)}, got {self.method!r}")
        if self.method != "blur" and self.preset in ("safe", ""):
            object.__setattr__(self, "preset", "")
        elif self.method != "blur":
            raise InputError(f"preset: expected none with {self.method}, got {self.preset!r}")
        elif self.preset not in PRESETS:
            raise InputError(f"preset: expected {', '.join(PRESETS)}, got {self.preset!r}")
        if self.color not in COLORS and not re.fullmatch("#[0-9a-fA-F]{6}", str(self.color)):
            raise InputError(f"color: expected {', '.join(COLORS)} or #rrggbb, got {self.color!r}")
        if isinstance(self.cells, bool) or not isinstance(self.cells, int) or self.cells < 1:
            raise InputError(f"cells: expected a whole number of at least 1, got {self.cells!r}")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The overlay's colour, 0 to 255."""
        if self.color in COLORS:
            return COLORS[self.color]
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


@dataclass(frozen=True, eq=False)
class Obfuscated:
    """An image with its faces hidden.

    Attributes:
        pixels: Same shape and dtype as the input; a new array (the input itself where nothing is hidden).
        min_face_weight: Smallest weight of the obfuscated layer in any face box, 0 to 1; 1.0 exactly
            where nothing of the original is mixed in, and where there are no boxes; 0.0 where nothing is hidden.
        touched_xyxy: Rectangles outside which nothing changed, int64, shape (M, 4); they may overlap.
    """

    pixels: NDArray[Any]
    min_face_weight: float
    touched_xyxy: Rectangles


def obfuscate(pixels: NDArray[Any], boxes_xyxy: ArrayLike, obfuscation: Obfuscation, mode: str = "RGB") -> Obfuscated:
    """Hide every face of an image.

    Args:
        pixels: Upright image, uint8 or uint16, shape (H, W) or (H, W, C); may be a view, and read-only.
        boxes_xyxy: Faces in upright pixels, half-open, shape (N, 4); they may overlap and reach outside.
        obfuscation: How.
        mode: What the channels are: `L`, `LA`, `RGB`, `RGBA` or `CMYK`.

    Returns:
        The image, and what can be said about it. Without boxes, `pixels` is the very array given.

    Raises:
        ImageError: Pixels that are not as described; boxes that are not finite, lie absurdly far away, or
            have no area (those are skipped by the presets `paper` and `imagenet`, as published).

    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> obfuscate(image, [[2, 2, 4, 4]], Obfuscation("overlay"), mode="L").pixels[1:4, 1:5]
    array([[  9,  10,  11,  12],
           [ 17, 117, 117,  20],
           [ 25, 117, 117,  28]], dtype=uint8)
    """
    _check_pixels(pixels, mode)
    boxes = _check_boxes(boxes_xyxy, obfuscation)
    if not len(boxes):
        return Obfuscated(pixels, 1.0, np.zeros((0, 4), np.int64))
    if obfuscation.method == "none":
        return Obfuscated(pixels, 0.0, np.zeros((0, 4), np.int64))
    result = pixels.copy(order="K")
    canvas = result if result.ndim == 3 else result[:, :, None]
    if obfuscation.method == "overlay":
        weight, touched = _overlay(canvas, boxes, _color(obfuscation.rgb, mode, canvas.dtype))
    elif obfuscation.method == "mosaic":
        weight, touched = _mosaic(canvas, boxes, obfuscation.cells)
    elif obfuscation.preset == "safe":
        weight, touched = _safe_blur(canvas, boxes, mode)
    else:
        original = pixels if pixels.ndim == 3 else pixels[:, :, None]
        weight, touched = _published_blur(canvas, original, boxes, obfuscation.preset == "paper")
    return Obfuscated(result, weight, touched)


def safe_cells(pixels: NDArray[Any], boxes_xyxy: ArrayLike, mode: str = "RGB") -> NDArray[Any]:
    """All that a safe blur ever uses of the faces: their cells, with noise, not yet blurred.

    Args:
        pixels: As for `obfuscate`.
        boxes_xyxy: Likewise.
        mode: Likewise.

    Returns:
        A new image whose faces are cells.

    Raises:
        ImageError: As `obfuscate`.
    """
    _check_pixels(pixels, mode)
    result = pixels.copy(order="K")
    canvas = result if result.ndim == 3 else result[:, :, None]
    _paint_safe_cells(canvas, *_faces(_size_wh(canvas), _check_boxes(boxes_xyxy, Obfuscation())), mode)
    return result


def reach(boxes_xyxy: ArrayLike, obfuscation: Obfuscation, size_wh: Size) -> Rectangles:
    """All that `obfuscate` looks at or touches: pixels outside these rectangles change nothing inside them.

    Args:
        boxes_xyxy: Faces, as given to `obfuscate`.
        obfuscation: How they are hidden.
        size_wh: Width and height of the upright image in pixels.

    Returns:
        Rectangles of upright pixels, int64, shape (M, 4).

    Raises:
        ImageError: Boxes that `obfuscate` refuses.

    >>> reach([[2, 2, 4, 4]], Obfuscation("overlay"), (8, 8))
    array([[2, 2, 4, 4]])
    """
    boxes = _check_boxes(boxes_xyxy, obfuscation)
    if not len(boxes) or obfuscation.method == "none":
        return np.zeros((0, 4), np.int64)
    if obfuscation.preset in ("paper", "imagenet"):
        _, margin_px, drawn = _published_areas(boxes, obfuscation.preset == "paper", size_wh)
        looked_at = _grown(drawn, 2 * margin_px, size_wh)  # the mask is blurred, then what it shows
    else:
        faces, full_wh = _faces(size_wh, boxes)
        if obfuscation.preset != "safe":
            return faces
        looked_at = _safe_areas(faces, full_wh, size_wh)[2]
    return np.array([hull for hull, _ in _clusters(looked_at)], np.int64).reshape(-1, 4)


def averages_left(boxes_xyxy: ArrayLike, obfuscation: Obfuscation, size_wh: Size) -> NDArray[np.int64]:
    """How many colours of each face the output depends on, whatever an attacker computes: a bound on what is left.

    For a safe blur and a mosaic these are averages of cells. Methods without a bound leave every pixel. Faces that
    overlap share averages, so the bounds may be added up.

    Args:
        boxes_xyxy: Faces, as given to `obfuscate`.
        obfuscation: How they are hidden.
        size_wh: Width and height of the upright image in pixels.

    Returns:
        One number per face that lies in the image at all, shape (M,); each colour has a value per channel.

    >>> averages_left([[0, 0, 64, 64], [0, 0, 12, 12]], Obfuscation(), (640, 480))
    array([16,  9])
    """
    faces, full_wh = _faces(size_wh, _check_boxes(boxes_xyxy, obfuscation))
    sides_wh = faces[:, 2:] - faces[:, :2]
    if obfuscation.method == "overlay":
        return np.zeros(len(faces), np.int64)
    if obfuscation.method == "none" or obfuscation.preset in ("paper", "imagenet"):
        return np.asarray(sides_wh.prod(axis=1), np.int64)
    if obfuscation.method == "mosaic":
        edges = _mosaic_edges(faces, full_wh, obfuscation.cells)
    else:
        edges = _safe_edges(faces, full_wh)
    return np.array([(len(rows) - 1) * (len(columns) - 1) for rows, columns in edges], np.int64)


def _check_pixels(pixels: NDArray[Any], mode: str) -> None:
    if mode not in CHANNELS:
        raise ImageError(f"mode: expected {', '.join(CHANNELS)}, got {mode!r}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"pixels: expected uint8 or uint16, got {pixels.dtype}")
    channels = pixels.shape[2:] or (1,)
    if pixels.ndim not in (2, 3) or channels != (CHANNELS[mode],) or 0 in pixels.shape:
        raise ImageError(f"pixels: expected (H, W) with {CHANNELS[mode]} channel(s), got {pixels.shape}")


def _check_boxes(boxes_xyxy: ArrayLike, obfuscation: Obfuscation) -> Boxes:
    boxes = np.asarray(boxes_xyxy, np.float32)
    if obfuscation.preset in ("paper", "imagenet") and boxes.ndim == 2 and boxes.shape[1] == 4:
        boxes = boxes[~((boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3]))]
    try:
        boxes = as_boxes(boxes)
    except ValueError as error:
        raise ImageError(str(error)) from error
    farthest = float(np.abs(boxes).max(initial=0))
    if farthest > _FARTHEST_PX:
        raise ImageError(f"boxes: expected coordinates of at most {_FARTHEST_PX} px, got {farthest:g}")
    return boxes


def _color(rgb: tuple[int, int, int], mode: str, dtype: np.dtype[Any]) -> Pixels:
    """The colour in an image's channels, as Pillow converts it: grey by ITU-R 601, K 0, alpha opaque."""
    from PIL import Image

    color = np.asarray(Image.new("RGB", (1, 1), rgb).convert(mode), np.uint16).reshape(-1)
    return (color * (257 if dtype == np.uint16 else 1)).astype(dtype)


def _overlay(canvas: Pixels, boxes: Boxes, color: Pixels) -> tuple[float, Rectangles]:
    faces, _ = _faces(_size_wh(canvas), boxes)
    for x0, y0, x1, y1 in faces:
        canvas[y0:y1, x0:x1] = color
    return 1.0, faces


def _mosaic(canvas: Pixels, boxes: Boxes, cells: int) -> tuple[float, Rectangles]:
    faces, full_wh = _faces(_size_wh(canvas), boxes)
    _paint_cells(canvas, faces, _mosaic_edges(faces, full_wh, cells))
    return 1.0, faces


def _safe_blur(canvas: Pixels, boxes: Boxes, mode: str) -> tuple[float, Rectangles]:
    """Cell averages with noise, blurred each face by itself; nothing else of a face is left to be mixed in."""
    faces, full_wh = _faces(_size_wh(canvas), boxes)
    _paint_safe_cells(canvas, faces, full_wh, mode)
    sigmas, feathers, touched = _safe_areas(faces, full_wh, _size_wh(canvas))
    painted = [_cut(canvas, face).copy(order="C") for face in faces]
    weight = 1.0
    for i in np.argsort(sigmas, kind="stable").tolist():
        inside = _within(faces[i], touched[i])
        layer = _gaussian_blur(_extended(painted[i], inside, touched[i]), float(sigmas[i]))
        feather = _feather(faces[i], touched[i], float(feathers[i]), canvas.shape[2])
        _mix(_cut(canvas, touched[i]), layer, feather)
        weight = min(weight, float(_cut(feather, inside).min()))
    return weight, touched


def _published_blur(canvas: Pixels, original: Pixels, boxes: Boxes, true_diagonal: bool) -> tuple[float, Rectangles]:
    """Blurred image and blurred mask, one sigma for all faces (Yang et al. 2022, section 4).

    The paper takes each box's diagonal for its size, the paper's code the longer side.
    """
    sigma_px, margin_px, drawn = _published_areas(boxes, true_diagonal, _size_wh(canvas))
    weight, touched = 1.0, []
    for hull, members in _clusters(_grown(drawn, margin_px, _size_wh(canvas))):
        keep = _blurred_mask(hull, drawn[members], sigma_px)
        for face in outer_pixels(boxes[members], canvas.shape[1], canvas.shape[0]):
            weight = min(weight, 1 - float(_cut(keep, _within(face, hull)).max()) / 255)
        if (keep == 255).all():
            continue
        changed = _bounds(keep < 255)
        area = changed + hull[[0, 1, 0, 1]]
        source_area = _grown(area[None], margin_px, _size_wh(canvas))[0]
        blurred = _pillow_blur(_cut(original, source_area), sigma_px)
        blurred = _cut(blurred, _within(area, source_area))
        _cut(canvas, area)[...] = _composite(_cut(original, area), blurred, _cut(keep, changed))
        touched.append(area)
    return weight, np.array(touched, np.int64).reshape(-1, 4)


# Rectangles


def _cut(array: NDArray[Any], rectangle: NDArray[np.int64]) -> NDArray[Any]:
    """The view of an array of shape (H, W, ...) that a rectangle shows."""
    x0, y0, x1, y1 = rectangle.tolist()
    return array[y0:y1, x0:x1]


def _within(rectangle: NDArray[np.int64], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rectangle in the coordinates of a frame that holds it."""
    return rectangle - frame[[0, 1, 0, 1]]


def _size_wh(canvas: Pixels) -> Size:
    return canvas.shape[1], canvas.shape[0]


def _clip_and_round(rectangles: NDArray[np.float64], size_wh: Size) -> Rectangles:
    return np.clip(rectangles, 0, (*size_wh, *size_wh)).astype(np.int64)


def _grown(rectangles: Rectangles, margins_px: NDArray[Any], size_wh: Size) -> Rectangles:
    margins = np.asarray(margins_px, np.float64)[:, None]
    return _clip_and_round(np.hstack([rectangles[:, :2] - margins, rectangles[:, 2:] + margins]), size_wh)


def _bounds(shown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The smallest rectangle that holds every True of an array with at least one."""
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.int64)


def _clusters(rectangles: Rectangles) -> list[tuple[NDArray[np.int64], list[int]]]:
    """Hulls that do not meet, each with the indices of its rectangles; empty rectangles are left out."""
    clusters: list[tuple[NDArray[np.int64], list[int]]] = []
    for i, hull in enumerate(rectangles):
        if not (hull[:2] < hull[2:]).all():
            continue
        members, apart = [i], clusters
        while True:
            meet = [(np.maximum(hull[:2], h[:2]) < np.minimum(hull[2:], h[2:])).all() for h, _ in apart]
            if not any(meet):
                break
            for met, (other, others) in zip(meet, apart, strict=True):
                if met:
                    hull = np.hstack([np.minimum(hull[:2], other[:2]), np.maximum(hull[2:], other[2:])])
                    members = members + others
            apart = [cluster for met, cluster in zip(meet, apart, strict=True) if not met]
        clusters = [*apart, (hull, sorted(members))]
    return clusters


def _faces(size_wh: Size, boxes: Boxes) -> tuple[Rectangles, NDArray[np.float64]]:
    """The pixels that each face touches, and the (width, height) they would have without the image's border.

    Faces wholly outside the image are left out.
    """
    _, inside = clip(boxes, *size_wh)
    corners = boxes[inside].astype(np.float64)
    return outer_pixels(boxes, *size_wh), np.ceil(corners[:, 2:]) - np.floor(corners[:, :2])


# Cells


def _safe_edges(faces: Rectangles, full_wh: NDArray[np.float64]) -> list[Edges]:
    return [
        (_even_edges(y1 - y0, full_h), _even_edges(x1 - x0, full_w))
        for (x0, y0, x1, y1), (full_w, full_h) in zip(faces.tolist(), full_wh.tolist(), strict=True)
    ]


def _mosaic_edges(faces: Rectangles, full_wh: NDArray[np.float64], cells: int) -> list[Edges]:
    sides_px = np.maximum(np.ceil(full_wh.max(axis=1, initial=0) / cells), _SMALLEST_CELL_PX)
    return [
        (_square_edges(y1 - y0, side), _square_edges(x1 - x0, side))
        for (x0, y0, x1, y1), side in zip(faces.tolist(), sides_px.tolist(), strict=True)
    ]


def _even_edges(side_px: int, full_px: float) -> NDArray[np.int64]:
    """At most 4 cells along a side, none below 4 px, none finer than a quarter of the face's full side."""
    cells = int(max(1, side_px // max(_SMALLEST_CELL_PX, full_px / _SAFE_CELLS)))
    return np.arange(cells + 1) * side_px // cells


def _square_edges(side_px: int, cell_px: float) -> NDArray[np.int64]:
    """Cells of one size; what is left over, if it is under 4 px, joins the last."""
    cell = int(min(cell_px, side_px))
    starts = np.arange(0, max(side_px - _SMALLEST_CELL_PX, 0) + 1, cell)
    return np.append(starts, side_px)


def _paint_safe_cells(canvas: Pixels, faces: Rectangles, full_wh: NDArray[np.float64], mode: str) -> None:
    _paint_cells(canvas, faces, _safe_edges(faces, full_wh), noisy_channels=_COLOR_CHANNELS[mode])


def _paint_cells(canvas: Pixels, faces: Rectangles, edges: Sequence[Edges], noisy_channels: int = 0) -> None:
    """Replace each cell by its average, with noise in the first channels.

    Where faces overlap, the coarser cells stand, and a cell cut by them takes their colour: every average
    that survives is one of a whole cell, and no pixel is in two of them, so that overlapping grids
    cannot be solved for finer detail.
    """
    painted = np.zeros(canvas.shape[:2] if len(faces) > 1 else (0, 0), np.uint8)
    for i in sorted(range(len(faces)), key=lambda i: -_cell_area(edges[i])):
        region, done = _cut(canvas, faces[i]), _cut(painted, faces[i])
        averages = _with_noise(_cell_averages(region, done, edges[i]), noisy_channels)
        rows, columns = _lengths(edges[i])
        filled = np.repeat(np.repeat(averages, rows, 0), columns, 1)
        region[...] = np.where(done[:, :, None], region, filled) if done.any() else filled
        done[...] = 1


def _lengths(edges: Edges) -> Edges:
    """Heights and widths of the cells."""
    rows, columns = edges
    return rows[1:] - rows[:-1], columns[1:] - columns[:-1]


def _cell_area(edges: Edges) -> int:
    rows, columns = _lengths(edges)
    return int(rows.max() * columns.max())


def _cell_averages(region: Pixels, done: NDArray[np.uint8], edges: Edges) -> Pixels:
    """The mean of each cell, rounded half up, shape (rows, columns, C); of what is done, where some is."""
    sums = _cell_sums(region, edges)
    rows, columns = _lengths(edges)
    counts = (rows[:, None] * columns)[:, :, None]
    if done.any():
        done_counts = _cell_sums(done[:, :, None], edges)
        fresh = done_counts == 0
        sums = np.where(fresh, sums, _cell_sums(region * done[:, :, None], edges))
        counts = np.where(fresh, counts, done_counts)
    averages: Pixels = ((2 * sums + counts) // (2 * counts)).astype(region.dtype)
    return averages


def _with_noise(averages: Pixels, channels: int) -> Pixels:
    """Averages moved by up to 64 levels alike in all of the first channels, and, if not all are grey, by 16 in each.

    The moves are drawn by a hash of the averages, sorted: the same picture gives the same result, also turned, and
    another picture of the same face gives another one.
    """
    if not channels:
        return averages
    colors, cells = np.unique(averages.reshape(-1, averages.shape[2]), axis=0, return_inverse=True)
    digest = hashlib.shake_256(colors.astype("<u2").tobytes()).digest(len(colors) * (1 + channels))
    draws = np.frombuffer(digest, np.uint8).reshape(len(colors), -1).astype(np.int64)
    shared, own = ((2 * most + 1) * draws // 256 - most for most in (_SHARED_NOISE, _OWN_NOISE))
    highest = int(np.iinfo(averages.dtype).max)
    scale = highest // 255
    if np.ptp(colors[:, :channels], axis=1).max() <= _GREY_RANGE * scale:
        own[:] = 0  # a grey photo stays grey
    noise = (shared[:, :1] + own[:, 1:]) * scale
    noisy = colors.copy()
    noisy[:, :channels] = np.clip(colors[:, :channels] + noise, 0, highest)
    return noisy[cells.reshape(-1)].reshape(averages.shape)


def _cell_sums(region: Pixels, edges: Edges) -> NDArray[np.int64]:
    """Exact sums over cells, shape (rows, columns, C)."""
    import cv2

    corners = cv2.integral(np.ascontiguousarray(region), sdepth=cv2.CV_64F)
    corners = corners.reshape(*corners.shape[:2], -1)[edges[0][:, None], edges[1]]
    rows = corners[1:] - corners[:-1]
    sums: NDArray[np.int64] = (rows[:, 1:] - rows[:, :-1]).astype(np.int64)
    return sums


# The safe blur


def _safe_areas(
    faces: Rectangles, full_wh: NDArray[np.float64], size_wh: Size
) -> tuple[NDArray[np.float64], NDArray[np.float64], Rectangles]:
    """For each face the sigma of its blur, the width of its feather, and what is touched."""
    diagonals = np.hypot(full_wh[:, 0], full_wh[:, 1])
    sigmas = np.maximum(_SAFE_SIGMA_PER_DIAGONAL * diagonals, _SAFE_SIGMA_PX) * _CUT_LOSS
    feathers = np.maximum(np.ceil(_SAFE_FEATHER_PER_DIAGONAL * diagonals), _SAFE_FEATHER_PX)
    return sigmas, feathers, _grown(faces, feathers, size_wh)


def _extended(face: Pixels, inside: NDArray[np.int64], touched: NDArray[np.int64]) -> Pixels:
    """A face, `inside` what is touched, continued to all of that: its border replicates."""
    import cv2

    x0, y0, x1, y1 = inside.tolist()
    width, height = (touched[2:] - touched[:2]).tolist()
    extended = cv2.copyMakeBorder(face, y0, height - y1, x0, width - x1, cv2.BORDER_REPLICATE)
    return np.asarray(extended).reshape(height, width, -1)


def _gaussian_blur(source: Pixels, sigma_px: float) -> NDArray[np.float32]:
    """A Gaussian of at least `sigma_px`, computed on block averages.

    With blocks of b px the variance is that of the Gaussian plus b^2 / 12 (averaging) and about b^2 / 6
    (linear interpolation): never less than asked for. Borders replicate.
    """
    import cv2

    height, width, channels = source.shape
    blocks_y, step_y, sigma_y, taps_y = _reduction(height, sigma_px)
    blocks_x, step_x, sigma_x, taps_x = _reduction(width, sigma_px)
    pad_y, pad_x = blocks_y * step_y - height, blocks_x * step_x - width
    padded = cv2.copyMakeBorder(source, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
    averages = cv2.resize(padded, (blocks_x, blocks_y), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = cv2.GaussianBlur(averages, (taps_x, taps_y), sigma_x, None, sigma_y, cv2.BORDER_REPLICATE)
    large = cv2.resize(blurred, (blocks_x * step_x, blocks_y * step_y), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, np.float32).reshape(blocks_y * step_y, -1, channels)[:height, :width]


def _reduction(side_px: int, sigma_px: float) -> tuple[int, int, float, int]:
    """Number and size of the blocks along a side, sigma in blocks, and taps of the kernel."""
    step = int(max(1, min(sigma_px // _REDUCED_SIGMA_PX, side_px)))
    blocks = -(-side_px // step)
    sigma = sigma_px / step
    return blocks, step, sigma, 2 * math.ceil(_CUT_SIGMAS * sigma) + 1 if blocks > 1 else 1


def _feather(
    face: NDArray[np.int64], touched: NDArray[np.int64], margin_px: float, channels: int
) -> NDArray[np.float32]:
    """Weights of the touched rectangle, shape (H, W, C): 1 in the face, falling as a cosine outside.

    They are 0 just beyond `margin_px`.
    """
    ramps = []
    for low, high, begin, end in zip(face[:2], face[2:], touched[:2], touched[2:], strict=True):
        at = np.arange(begin, end)
        outside = np.maximum(np.maximum(low - at, at - (high - 1)), 0)
        ramps.append(0.5 + 0.5 * np.cos(np.pi * outside / (margin_px + 1)))
    across, down = (ramp.astype(np.float32) for ramp in ramps)
    return np.outer(down, np.repeat(across, channels)).reshape(len(down), len(across), channels)


def _mix(canvas: Pixels, layer: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    """Draw a layer onto the canvas; where the weight is 1, nothing of the canvas stays."""
    mixed = 1 - weight
    mixed *= canvas
    mixed += layer * weight
    canvas[...] = np.rint(mixed, out=mixed)


# The published blur


def _published_areas(boxes: Boxes, true_diagonal: bool, size_wh: Size) -> tuple[float, NDArray[np.int64], Rectangles]:
    """Sigma of the blur of all faces, how far it looks in pixels (shape (1,)), and what the mask shows of each face."""
    corners = boxes.astype(np.float64)
    wh = corners[:, 2:] - corners[:, :2]
    sizes = np.hypot(wh[:, 0], wh[:, 1]) if true_diagonal else wh.max(axis=1)
    sigma_px = float(0.1 * sizes.max())
    margin_px = np.array([_PILLOW_PASSES * (int(_box_radius(sigma_px)) + 1)])
    return sigma_px, margin_px, _drawn(corners, 0.1 * sizes, size_wh)


def _drawn(corners: NDArray[np.float64], margins_px: NDArray[np.float64], size_wh: Size) -> Rectangles:
    """What ImageDraw.rectangle draws for enlarged boxes: coordinates truncated, both ends included."""
    width, height = size_wh
    margins = margins_px[:, None]
    enlarged = np.hstack([corners[:, :2] - margins, corners[:, 2:] + margins])
    whole = np.trunc(np.clip(enlarged, -2, [width + 2, height + 2] * 2))
    return _clip_and_round(whole + np.array([0, 0, 1, 1]), size_wh)


def _box_radius(sigma_px: float) -> float:
    """Radius of the extended box blur of which Pillow takes three for a Gaussian.

    Gwosdek, Grewenig, Bruhn, Weickert: Theoretical Foundations of Gaussian Convolution by Extended Box
    Filtering, SSVM 2011, equations 7, 11 and 14.
    """
    variance = sigma_px**2 / _PILLOW_PASSES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    above = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return whole + above / (6 * (variance - (whole + 1) ** 2))


def _blurred_mask(hull: NDArray[np.int64], drawn: Rectangles, sigma_px: float) -> NDArray[np.uint8]:
    """Weight of the original, 0 to 255, for a hull beyond which it is 255."""
    keep = np.full((hull[3] - hull[1], hull[2] - hull[0], 1), 255, np.uint8)
    for rectangle in drawn:
        _cut(keep, _within(rectangle, hull))[...] = 0
    return _pillow_blur(keep, sigma_px)[:, :, 0]


def _pillow_blur(pixels: Pixels, sigma_px: float) -> Pixels:
    """Pillow's GaussianBlur; for uint16, which it refuses, the same filter in floating point (as float32)."""
    if pixels.dtype != np.uint8:
        return _extended_box_blur(pixels, sigma_px)
    from PIL import Image, ImageFilter

    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma_px))).reshape(pixels.shape)


def _extended_box_blur(pixels: Pixels, sigma_px: float) -> NDArray[np.float32]:
    """Three box blurs along x, then three along y, their radius a fraction; borders replicate each time."""
    import cv2

    # Beyond that the cost grows with the radius, the effect does not.
    radius = min(_box_radius(sigma_px), 16 * max(pixels.shape[:2]))
    whole = int(radius)
    inner = 1 / (2 * radius + 1)
    ends = (1 - (2 * whole + 1) * inner) / 2
    blurred = pixels.astype(np.float32)
    for shape in [(1, 0)] * _PILLOW_PASSES + [(0, 1)] * _PILLOW_PASSES:
        narrow, wide = (
            cv2.boxFilter(
                blurred,
                -1,
                (2 * half * shape[0] + 1, 2 * half * shape[1] + 1),
                normalize=False,
                borderType=cv2.BORDER_REPLICATE,
            )
            for half in (whole, whole + 1)
        )
        blurred = (inner - ends) * narrow + ends * wide
    return blurred.reshape(pixels.shape)


def _composite(original: Pixels, blurred: Pixels, keep: NDArray[np.uint8]) -> Pixels:
    """The original where `keep` is 255, the blurred where it is 0; for uint8 exactly Pillow's composite."""
    if original.dtype != np.uint8:
        weight = keep[:, :, None].astype(np.float32) / 255
        return np.rint(original * weight + blurred * (1 - weight)).astype(original.dtype)
    from PIL import Image

    squeezed = (layer if layer.shape[2] > 1 else layer[:, :, 0] for layer in (original, blurred))
    images = [Image.fromarray(layer) for layer in squeezed]
    mixed = Image.composite(images[0], images[1], Image.fromarray(keep))
    return np.asarray(mixed).reshape(original.shape)
