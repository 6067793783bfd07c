"""The default detector: CenterFace, which looks closer and believes more where it has found a face."""

from unface.boxes import size_wh
from unface.detect.centerface import CenterFace
from unface.detect.detector import Image
from unface.detect.looks import (
    LONG_SIDE_PX,
    SURE_SCORE,
    Look,
    Scores,
    Seen,
    first_and_reduced,
    first_scale,
    fused,
)
from unface.faces import Faces

_CLOSER = 2.0  # factor of the closer look over the first
_LEAST_CLOSER = 1.25  # below this factor the closer look shows nothing new
_SMALL_PX = 32  # a face lower than this has companions that the first look misses
_COMPANY = 0.3  # weight of the image's best score in the score of every box


class Cascade:
    """Three looks with one network, each only where the one before gives a reason.

    1. The first look at native size, and a reduced one at large images for faces that fill them.
    2. Where that finds a small face, a closer look at twice the size, for others like it.
    3. The company of a sure face lends credit: s becomes s^0.7 * (best score in the image)^0.3.

    An image in which no look finds a sure face ends after the first, its best score unchanged, so that 2 and
    3 add no false alarms to images without faces. Measured step by step in docs/detection.md.
    """

    name = "cascade"
    threshold = 0.35
    floor = 0.1

    def __init__(self, threads: int = 1, device: str = "auto") -> None:
        self._centerface = CenterFace(threads, device)
        self.models = self._centerface.models

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        scale = first_scale(image_rgb)
        seen = first_and_reduced(self._centerface.look, image_rgb)
        boxes, scores = with_closer_look(self._centerface.look, image_rgb, scale, seen)
        height, width = image_rgb.shape[:2]
        return Faces.make(boxes, with_company(scores), source=self.name).clipped(width, height)


def with_closer_look(look: Look, image: Image, scale: float, seen: Seen) -> Seen:
    """What was seen, and more from a closer look if a sure face among it is small."""
    boxes, scores = seen
    sure_heights_px = size_wh(boxes[scores >= SURE_SCORE])[:, 1] * scale
    closer = min(_CLOSER * scale, LONG_SIDE_PX / max(image.shape[:2]))
    if not (sure_heights_px < _SMALL_PX).any() or closer < _LEAST_CLOSER * scale:
        return seen
    return fused(seen, look(image, closer))


def with_company(scores: Scores) -> Scores:
    """Scores in [0, 1] drawn towards the best of the image, which itself stays; shape (N,)."""
    if not len(scores):
        return scores
    drawn: Scores = scores ** (1 - _COMPANY) * scores.max() ** _COMPANY
    return drawn
