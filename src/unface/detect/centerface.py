"""CenterFace (Xu et al.: "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019)."""

import numpy as np

from unface import weights
from unface.detect.detector import Image
from unface.detect.looks import Seen, as_batch, first_and_reduced, fused, in_image, resized
from unface.detect.network import Network
from unface.faces import Faces

_STRIDE_PX = 4


class CenterFace:
    """Slower than YuNet; marks little that is no face, also in crowds."""

    name = "centerface"
    threshold = 0.3
    floor = 0.1

    def __init__(self, threads: int = 1) -> None:
        self._network = Network(weights.ensure("centerface"), "input.1", threads)
        self.models = {"centerface": weights.REGISTRY["centerface"].sha256}

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        boxes, scores = first_and_reduced(self.look, image_rgb)
        height, width = image_rgb.shape[:2]
        return Faces.make(boxes, scores, source=self.name).clipped(width, height)

    def look(self, image_rgb: Image, scale: float) -> Seen:
        """Boxes in pixels of the given image, and scores, from the image resized by `scale`."""
        seen = resized(image_rgb, scale)
        heat, log_sizes, offsets, _landmarks = (output[0] for output in self._network(as_batch(seen)).values())
        rows, columns = np.nonzero(heat[0] >= self.floor)
        # The network gives the vertical number first, sizes in logarithms, all in strides.
        halves = np.exp(log_sizes[::-1, rows, columns].T) / 2
        centres = np.stack([columns, rows], axis=1) + offsets[::-1, rows, columns].T + 0.5
        boxes = np.concatenate([centres - halves, centres + halves], axis=1) * _STRIDE_PX
        boxes, scores = fused((boxes.astype(np.float32), heat[0, rows, columns]))
        return in_image(boxes, seen, image_rgb), scores
