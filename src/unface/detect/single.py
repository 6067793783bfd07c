"""What detectors of one network have in common."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from unface import weights
from unface.detect.batches import Detection, Question, together
from unface.detect.detector import Image
from unface.detect.looks import Seen, first_and_reduced, fused, in_image, is_whole, resized, tiles
from unface.detect.network import CPU, Network
from unface.faces import Faces


class SingleNetwork(ABC):
    """A detector of one network; a subclass says which weights it has and how its outputs are read.

    Attributes:
        name: In the registry of detectors.
        weights_name: In that of weights, where it has another there.
        input_name: Of the network.
        threshold: See `Detector`.
        floor: See `Detector`.
    """

    name: str
    weights_name = ""
    input_name: str
    threshold: float
    floor = 0.1

    def __init__(self, threads: int = 1, device: str = "auto") -> None:
        known_as = self.weights_name or self.name
        self._network = Network(weights.ensure(known_as), self.input_name, threads, device)
        self.models = {known_as: weights.REGISTRY[known_as].sha256}

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        boxes, scores = first_and_reduced(self.look, image_rgb)
        height, width = image_rgb.shape[:2]
        return Faces.make(boxes, scores, source=self.name).clipped(width, height)

    @property
    def on_cpu(self) -> bool:
        """Whether a CPU computes."""
        return self._network.provider == CPU

    @property
    def most_pixels(self) -> int:
        """How many are seen at once: on a CPU some windows, whose calls cost more than they do; else some images."""
        return 1 << 16 if self.on_cpu else 1 << 22

    def look(self, image_rgb: Image, scale: float) -> Seen:
        """Boxes in pixels of the given image, and scores, from the image resized by `scale`; no two of one face."""
        (seen,) = together([self.looking(image_rgb, scale)])
        return seen

    def looking(self, image_rgb: Image, scale: float) -> Detection[Seen]:
        """The steps of `look`."""
        seen = resized(image_rgb, scale)
        height, width = seen.shape[:2]
        parts = tiles(width, height)
        answers = yield Question(self, [seen[y0:y1, x0:x1] for x0, y0, x1, y1 in parts], self.floor)
        found = []
        for tile, (boxes, scores) in zip(parts, answers, strict=True):
            whole = is_whole(boxes, tile, width, height)
            found.append((boxes[whole] + np.array([*tile[:2]] * 2, np.float32), scores[whole]))
        boxes, scores = fused(*found)
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
