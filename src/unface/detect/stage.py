"""The detect stage: an image in, its row of `faces.parquet` out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.datasets import Dataset
from unface.detect.detector import Detector, Image, Together, make_detector
from unface.engine import Item, Outcome, Shard
from unface.faces import FACES_SCHEMA, FaceRow, Faces

_MOST_BYTES = 1 << 28
"""Of pixels that are held to be looked at together, unless one image has more."""


@dataclass(frozen=True, eq=False)
class _Read:
    """An image, and how many bytes it was."""

    image_id: str
    image_rgb: Image
    bytes_in: int


@dataclass
class DetectStage:
    """Find faces: boxes at or above the threshold are faces, weaker ones candidates.

    Attributes:
        dataset: Where the images are.
        detector_name: A name of the registry of detectors.
        threshold: Smallest score of a face.
        device: What its networks run on; see `unface.detect.network.providers`.
    """

    dataset: Dataset
    detector_name: str
    threshold: float
    device: str = "auto"
    name = "detect"
    schema = FACES_SCHEMA

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What decides the output; the weights too, for a file that the user names may change."""
        models = make_detector(self.detector_name, device=self.device).models
        return {"detector": self.detector_name, "models": models, "threshold": self.threshold}

    def setup(self) -> None:
        """Load the detector."""
        self._detector: Detector = make_detector(self.detector_name, device=self.device)
        self.at_once = self._detector.at_once if isinstance(self._detector, Together) else 1

    def items(self, shard: Shard) -> Iterator[Item]:
        """The images of a part."""
        for entry in self.dataset.entries(shard.part):
            yield Item(entry.image_id, refused=entry.refused)

    def process(self, item: Item) -> Outcome:
        """Find the faces of one image."""
        read = self._read(item)
        return self._outcome(read, self._detector.detect(read.image_rgb))

    def process_group(self, items: Sequence[Item]) -> list[Outcome | Exception]:
        """Find the faces of several images, which their detector looks at together while they are not too large."""
        made: dict[int, Outcome | Exception] = {}
        waiting: dict[int, _Read] = {}
        for place, item in enumerate(items):
            try:
                waiting[place] = self._read(item)
            except Exception as error:
                made[place] = error
            if sum(read.image_rgb.size for read in waiting.values()) >= _MOST_BYTES:
                made |= self._looked_at(waiting)
                waiting = {}
        made |= self._looked_at(waiting)
        return [made[place] for place in range(len(items))]

    def _looked_at(self, read: Mapping[int, _Read]) -> dict[int, Outcome | Exception]:
        """What the detector finds in some images together; one by one where that fails, to know which it is."""
        assert isinstance(self._detector, Together)
        try:
            found = self._detector.detect_all([one.image_rgb for one in read.values()])
            return {place: self._outcome(read[place], seen) for place, seen in zip(read, found, strict=True)}
        except Exception as error:
            if len(read) == 1:
                return dict.fromkeys(read, error)
            return {place: self._looked_at({place: one})[place] for place, one in read.items()}

    def _read(self, item: Item) -> _Read:
        from unface.images import decode

        data = self.dataset.read(item.image_id)
        return _Read(item.image_id, decode(data).rgb(), len(data))

    def _outcome(self, read: _Read, seen: Faces) -> Outcome:
        height, width = read.image_rgb.shape[:2]
        sure = seen.scores >= self.threshold
        doubt = uncertainty(seen.scores, self.threshold)
        row = FaceRow(read.image_id, width, height, "detected", seen[sure], seen[~sure], doubt)
        return Outcome(row.record(), faces=int(sure.sum()), bytes_in=read.bytes_in)

    def failed(self, item: Item) -> Mapping[str, Any]:
        """A failed image is a row, never a gap."""
        return FaceRow(item.image_id, 0, 0, "failed", candidates=None).record()


def uncertainty(scores: NDArray[np.float32], threshold: float) -> float:
    """How doubtful the most doubtful box is: 1 at the threshold, 0 at a score of 0 or 1, and where there is none."""
    if not len(scores):
        return 0.0
    room = np.where(scores >= threshold, 1 - threshold, threshold)
    doubts = 1 - np.abs(scores - threshold) / np.maximum(room, np.finfo(np.float32).tiny)
    return float(np.clip(doubts, 0, 1).max())


def provenance(detector: Detector, threshold: float, version: str) -> dict[str, str]:
    """The metadata of a `faces.parquet` that this stage wrote."""
    weights = ",".join(f"{name}:{sha256}" for name, sha256 in sorted(detector.models.items()))
    return {
        "detector": detector.name,
        "threshold": repr(threshold),
        "weights_sha256": weights,
        "version": version,
    }
