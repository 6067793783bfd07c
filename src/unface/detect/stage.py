"""The detect stage: an image in, its row of `faces.parquet` out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
    """

    dataset: Dataset
    detector_name: str
    threshold: float
    name = "detect"
    schema = FACES_SCHEMA

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What decides the output; the weights too, for a file that the user names may change."""
        models = make_detector(self.detector_name).models
        return {"detector": self.detector_name, "models": models, "threshold": self.threshold}

    def setup(self) -> None:
        """Load the detector."""
        self._detector: Detector = make_detector(self.detector_name)

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
        row = FaceRow(item.image_id, width, height, "detected", seen[sure], seen[~sure])
        return Outcome(row.record(), faces=int(sure.sum()), bytes_in=len(data))

    def failed(self, item: Item) -> Mapping[str, Any]:
        """A failed image is a row, never a gap."""
        return FaceRow(item.image_id, 0, 0, "failed", candidates=None).record()


def provenance(detector: Detector, threshold: float, version: str) -> dict[str, str]:
    """The metadata of a `faces.parquet` that this stage wrote."""
    weights = ",".join(f"{name}:{sha256}" for name, sha256 in sorted(detector.models.items()))
    return {
        "detector": detector.name,
        "threshold": repr(threshold),
        "weights_sha256": weights,
        "version": version,
    }
