"""What the published pixels say of each recorded face, and what of that is a finding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, diagonal, enlarge, iou, outer_pixels, size_wh
from unface.faces import Faces
from unface.images import Photo
from unface.obfuscate.methods import Obfuscation, averages_left, obfuscate, reach, safe_cells
from unface.verify.pixels import change_outside, effective_sigma, residual_weights

MAX_RESIDUAL = 0.3
"""More of the original's fine detail than this inside a box that should hold none is a leak. In 625 faces of WIDER FACE
photos, encoded anew, blur `safe` measured up to .05, overlay .14, mosaic .25."""

MIN_SIGMA = 0.6
"""A smaller share of the promised sigma is a leak. On 534 faces of such photos `safe` measured .70 and more, 1 % under
.84; with a third of its sigma .45 and less."""

MAX_CHANGE = {"exact": 0.0, "blocks": 0.0, "lossy": 24.0}
"""Largest change, in levels, where nothing should have been changed."""

SAME_FACE_IOU = 0.3
_SAFE_SIGMA_PER_DIAGONAL, _SAFE_SIGMA_PX = 0.15, 3.0
_SAFE_FEATHER_PER_DIAGONAL, _SAFE_FEATHER_PX = 0.1, 2
_LOSSLESS = ("png", "bmp", "tiff", "gif")

Finding = dict[str, Any]
"""One of the findings of `VERIFY_SCHEMA`."""


def finding(check: str, message: str, definite: bool = True, **facts: Any) -> Finding:
    """A finding of `VERIFY_SCHEMA`."""
    return {"check": check, "definite": definite, "message": message, **facts}


def least_sigma_px(boxes_xyxy: Boxes, obfuscation: Obfuscation) -> list[float | None]:
    """The blur that a method promises each face, as sigma in pixels; None for methods that promise none."""
    if obfuscation.method == "mosaic":
        cells_px = np.maximum(np.ceil(size_wh(boxes_xyxy).max(axis=1, initial=0) / obfuscation.cells), 4)
        return [float(cell_px) / 12**0.5 for cell_px in cells_px]
    if obfuscation.preset == "safe":
        return [max(_SAFE_SIGMA_PER_DIAGONAL * float(size), _SAFE_SIGMA_PX) for size in diagonal(boxes_xyxy)]
    return [None] * len(boxes_xyxy)


def measured(
    before: Photo, after: Photo, faces: Faces, obfuscation: Obfuscation, own: Faces, second: Faces | None
) -> list[dict[str, Any]]:
    """What the published pixels say of each face that lies in the image.

    Args:
        before: The original.
        after: What was published of it, of the same size and mode.
        faces: Those that were recorded.
        obfuscation: How they were hidden.
        own: What the run's own detector sees in what was published.
        second: What the second one sees there; None where none looked.

    Returns:
        For each face a record of `VERIFY_SCHEMA`'s `faces`.
    """
    original, published = before.upright(), after.upright()
    boxes = faces.clipped(*before.upright_size).boxes_xyxy
    allowed = cells = None
    if obfuscation.method == "mosaic":
        allowed = obfuscate(original, faces.boxes_xyxy, obfuscation, before.mode).pixels
    elif obfuscation.preset == "safe":
        cells = safe_cells(original, faces.boxes_xyxy, before.mode)
    channels = 1 if original.ndim == 2 else original.shape[2]
    pixels = averages_left(boxes, Obfuscation("none"), before.upright_size)
    averages = averages_left(faces.boxes_xyxy, obfuscation, before.upright_size)
    columns = zip(
        boxes.tolist(),
        residual_weights(original, published, boxes, allowed),
        [effective_sigma(original, published, box, cells) for box in boxes],
        least_sigma_px(boxes, obfuscation),
        pixels.tolist(),
        averages.tolist(),
        _scores(boxes, own),
        _scores(boxes, second),
        strict=True,
    )
    return [
        {
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "residual_weight": weight,
            "sigma_px": sigma,
            "least_sigma_px": least,
            "values": channels * all_of_it,
            "values_left": channels * left,
            "score": score,
            "second_score": second_score,
        }
        for box, weight, sigma, least, all_of_it, left, score, second_score in columns
    ]


def _scores(boxes_xyxy: Boxes, seen: Faces | None) -> list[float | None]:
    """The best score of a detection of each face, 0 where it is seen no more; None where nobody looked."""
    if seen is None:
        return [None] * len(boxes_xyxy)
    same = iou(boxes_xyxy, seen.boxes_xyxy) >= SAME_FACE_IOU
    return [float(seen.scores[row].max(initial=0)) for row in same]


def pixel_findings(measures: list[dict[str, Any]], obfuscation: Obfuscation) -> list[Finding]:
    """Faces of which too much is left, by what `measured` says of them."""
    findings = []
    hides_all = obfuscation.method in ("overlay", "mosaic") or obfuscation.preset == "safe"
    for face in measures:
        place = {side: face[side] for side in ("x0", "y0", "x1", "y1")}
        weight, sigma, least = face["residual_weight"], face["sigma_px"], face["least_sigma_px"]
        if weight is not None and weight > MAX_RESIDUAL:
            message = f"{weight:.0%} of the original's fine detail is left inside a face box"
            findings.append(finding("weight", message, hides_all, **place))
        if sigma is not None and least is not None and sigma < MIN_SIGMA * least:
            message = f"a face is blurred with a sigma of {sigma:.1f} px, expected {least:.1f} px"
            findings.append(finding("sigma", message, **place))
    return findings


def outside(
    before: Photo, after: Photo, faces: Faces, obfuscation: Obfuscation, mode: str
) -> tuple[float, list[Finding]]:
    """The largest change where the method changes nothing, and a finding if it is too large.

    Args:
        before: The original.
        after: What was published of it, of the same size and mode.
        faces: Those that were recorded.
        obfuscation: How they were hidden.
        mode: How the file was written, of the manifest.
    """
    kind = "exact" if before.format in _LOSSLESS else "blocks" if mode == "region" else "lossy"
    touched = _touched(faces.boxes_xyxy, obfuscation, before.upright_size)
    change, box = change_outside(before.upright(), after.upright(), touched, kind)
    if box is None or change <= MAX_CHANGE[kind]:
        return change, []
    place = dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True))
    message = f"pixels that no recorded face explains were changed, by up to {change:.0f} levels"
    return change, [finding("changed", message, kind != "lossy", **place)]


def _touched(boxes_xyxy: Boxes, obfuscation: Obfuscation, size: tuple[int, int]) -> NDArray[np.int64]:
    """What a method may change."""
    if obfuscation.preset in ("paper", "imagenet"):
        return reach(boxes_xyxy, obfuscation, size)
    whole = outer_pixels(boxes_xyxy, *size)
    if obfuscation.preset != "safe" or not len(whole):
        return whole
    feathers = np.maximum(np.ceil(_SAFE_FEATHER_PER_DIAGONAL * (diagonal(boxes_xyxy) + 2)), _SAFE_FEATHER_PX)
    return outer_pixels(enlarge(boxes_xyxy, feathers + 1), *size)
