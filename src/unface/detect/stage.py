"""The detect stage: an image in, its row of `faces.parquet` out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.datasets import Dataset
from unface.detect.detector import Detector, make_detector
from unface.engine import Item, Outcome, Shard
from unface.faces import FACES_SCHEMA, FaceRow


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

    def items(self, shard: Shard) -> Iterator[Item]:
        """The images of a part."""
        for entry in self.dataset.entries(shard.part):
            yield Item(entry.image_id, refused=entry.refused)

    def process(self, item: Item) -> Outcome:
        """Find the faces of one image."""
        from unface.images import decode

        data = self.dataset.read(item.image_id)
        photo = decode(data)
        width, height = photo.upright_size
        seen = self._detector.detect(photo.rgb())
        sure = seen.scores >= self.threshold
        doubt = uncertainty(seen.scores, self.threshold)
        row = FaceRow(item.image_id, width, height, "detected", seen[sure], seen[~sure], doubt)
        return Outcome(row.record(), faces=int(sure.sum()), bytes_in=len(data))

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
