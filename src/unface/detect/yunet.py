"""YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), weights of March 2023."""

import numpy as np

from unface import weights
from unface.detect.detector import Image
from unface.detect.looks import Seen, as_batch, first_and_reduced, fused, in_image, resized
from unface.detect.network import Array, Network
from unface.faces import Faces

_STRIDES_PX = (8, 16, 32)


class YuNet:
    """The fastest; at a low threshold it misses little and marks much."""

    name = "yunet"
    threshold = 0.5
    floor = 0.1

    def __init__(self, threads: int = 1) -> None:
        self._network = Network(weights.ensure("yunet"), "input", threads)
        self.models = {"yunet": weights.REGISTRY["yunet"].sha256}

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        boxes, scores = first_and_reduced(self.look, image_rgb)
        height, width = image_rgb.shape[:2]
        return Faces.make(boxes, scores, source=self.name).clipped(width, height)

    def look(self, image_rgb: Image, scale: float) -> Seen:
        """Boxes in pixels of the given image, and scores, from the image resized by `scale`."""
        seen = resized(image_rgb, scale)
        outputs = self._network(as_batch(seen[:, :, ::-1]))  # it was trained on BGR
        levels = [_decoded(outputs, stride, seen.shape[1] // stride, self.floor) for stride in _STRIDES_PX]
        boxes, scores = fused(*levels)
        return in_image(boxes, seen, image_rgb), scores


def _decoded(outputs: dict[str, Array], stride: int, columns: int, floor: float) -> Seen:
    """Boxes of one level: per cell, an offset of the centre and the logarithm of the size, in strides."""
    scores = np.sqrt((outputs[f"cls_{stride}"] * outputs[f"obj_{stride}"])[0, :, 0])
    cells = np.flatnonzero(scores >= floor)
    offsets = outputs[f"bbox_{stride}"][0, cells]
    centres = np.stack([cells % columns, cells // columns], axis=1) + offsets[:, :2]
    halves = np.exp(offsets[:, 2:]) / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1) * stride
    return boxes.astype(np.float32), scores[cells]
