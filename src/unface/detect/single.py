"""What detectors of one network have in common."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from unface import weights
from unface.detect.detector import Image
from unface.detect.looks import Seen, first_and_reduced, fused, in_image, is_whole, resized, tiles
from unface.detect.network import Network
from unface.faces import Faces


class SingleNetwork(ABC):
    """A detector of one network; a subclass says which weights it has and how its outputs are read.

    Attributes:
        name: In the registries of detectors and of weights.
        input_name: Of the network.
        threshold: See `Detector`.
        floor: See `Detector`.
    """

    name: str
    input_name: str
    threshold: float
    floor = 0.1

    def __init__(self, threads: int = 1, device: str = "auto") -> None:
        self._network = Network(weights.ensure(self.name), self.input_name, threads, device)
        self.models = {self.name: weights.REGISTRY[self.name].sha256}

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        boxes, scores = first_and_reduced(self.look, image_rgb)
        height, width = image_rgb.shape[:2]
        return Faces.make(boxes, scores, source=self.name).clipped(width, height)

    def look(self, image_rgb: Image, scale: float) -> Seen:
        """Boxes in pixels of the given image, and scores, from the image resized by `scale`; no two of one face."""
        seen = resized(image_rgb, scale)
        height, width = seen.shape[:2]
        parts = []
        for tile in tiles(width, height):
            x0, y0, x1, y1 = tile
            boxes, scores = self.see(seen[None, y0:y1, x0:x1], self.floor)[0]
            whole = is_whole(boxes, tile, width, height)
            parts.append((boxes[whole] + np.array([x0, y0, x0, y0], np.float32), scores[whole]))
        boxes, scores = fused(*parts)
        return in_image(boxes, seen, image_rgb), scores

    @abstractmethod
    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """What the network sees in images of one size.

        Args:
            batch_rgb: Sides multiples of 32, uint8, shape (N, H, W, 3).
            floor: Least score of a box.

        Returns:
            For each image, boxes in its pixels, many of each face, in any order.
        """
