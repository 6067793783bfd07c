"""What comes in from people: answers, checked against their image, and refusals."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unface.boxes import size_wh
from unface.errors import UnfaceError
from unface.faces import Faces
from unface.review.tables import Image

Code = Literal["unknown", "ended", "stale", "incomplete", "conflict", "paused", "invalid"]

MAX_BOXES = 1000
"""More boxes than this in one answer are refused."""

_SLACK_PX = 1.0
_SMALLEST_PX = 1.0


class Refused(UnfaceError):
    """What somebody asked for cannot be done; nothing has changed. `code` is for programs."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Submission:
    """One answer as it comes in: `key` is the sender's own, the same when he sends it again."""

    attempt: int
    key: str
    faces: Faces
    seconds: float


def fit(faces: Faces, image: Image) -> Faces:
    """The boxes cut to the image, which they may leave by a rounding error and no more.

    Raises:
        Refused: `invalid`: a box outside the image, one smaller than a pixel, or too many.
    """
    if len(faces) > MAX_BOXES:
        raise Refused("invalid", f"boxes: expected at most {MAX_BOXES}, got {len(faces)}")
    boxes = faces.boxes_xyxy
    limits = np.array([image.width, image.height, image.width, image.height], np.float32)
    if (boxes < -_SLACK_PX).any() or (boxes > limits + _SLACK_PX).any():
        raise Refused("invalid", f"boxes: expected inside the image of {image.width} x {image.height}, got one outside")
    fitted = faces.clipped(image.width, image.height)
    if len(fitted) != len(faces) or (size_wh(fitted.boxes_xyxy) < _SMALLEST_PX).any():
        raise Refused("invalid", "boxes: expected sides of at least one pixel, got a smaller box")
    return fitted
