"""Several detectors at once, `a+b`: what any of them finds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unface.boxes import non_maximum_suppression
from unface.detect.detector import Detector, Image, Paid
from unface.detect.looks import IOU_THRESHOLD
from unface.errors import InputError
from unface.faces import Faces


class Ensemble:
    """The union of what detectors find.

    Scores of different detectors mean different things. Each one's are stretched, below and above its own threshold,
    so that the threshold becomes one half: what any detector by itself would call a face is one here, too. Of boxes of
    one label that overlap by more than `IOU_THRESHOLD`, the one of the best score stays.
    """

    threshold = 0.5

    def __init__(self, members: Sequence[Detector]) -> None:
        self._members = members
        self.name = "+".join(member.name for member in members)
        if len({member.name for member in members}) < len(members):
            raise InputError(f"detector {self.name!r}: expected different ones, got one twice")
        self.models = {name: sha256 for member in members for name, sha256 in member.models.items()}
        self.floor = min(float(stretched(np.array([m.floor], np.float32), m.threshold)[0]) for m in members)

    def cost_usd(self, images: int) -> float:
        """See `Paid`; 0 where no member costs anything."""
        return sum(member.cost_usd(images) for member in self._members if isinstance(member, Paid))

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`. Each keeps the label and source that it has."""
        found = Faces.make([])
        for member in self._members:
            seen = member.detect(image_rgb)
            found += Faces(seen.boxes_xyxy, stretched(seen.scores, member.threshold), seen.labels, seen.sources)
        labels = np.array(found.labels)
        kept = []
        for label in dict.fromkeys(found.labels):
            mine = np.flatnonzero(labels == label)
            chosen = non_maximum_suppression(found.boxes_xyxy[mine], found.scores[mine], IOU_THRESHOLD)
            kept.append(mine[chosen])
        if not kept:
            return found
        places = np.concatenate(kept)
        return found[places[np.argsort(-found.scores[places], kind="stable")]]


def stretched(scores: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Scores in [0, 1] with the threshold moved to one half.

    >>> stretched(np.float32([0.0, 0.15, 0.3, 0.65, 1.0]), 0.3).round(2).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return np.interp(scores, [0.0, threshold, 1.0], [0.0, 0.5, 1.0]).astype(np.float32)
