"""NudeNet: regions of people that are not safe for work. Its weights are under AGPL-3.0."""

import numpy as np
from numpy.typing import NDArray

from unface.boxes import non_maximum_suppression
from unface.detect.detector import Image
from unface.detect.from_file import cells_at, checked
from unface.detect.looks import Seen, as_batch
from unface.detect.single import SingleNetwork
from unface.detect.yolo import by_anchor, centred
from unface.faces import Faces

NSFW_CLASSES = {
    2: "BUTTOCKS_EXPOSED",
    3: "FEMALE_BREAST_EXPOSED",
    4: "FEMALE_GENITALIA_EXPOSED",
    6: "ANUS_EXPOSED",
    14: "MALE_GENITALIA_EXPOSED",
}
"""Those of its 18 classes that are reported, by their place in the file; others are faces, feet, what is covered, …"""

_SIDE_PX = 320
_STRIDES_PX = (8, 16, 32)
_IOU_THRESHOLD = 0.45


class NudeNet(SingleNetwork):
    """Finds what the paper's second class of boxes hides; their label is "nsfw"."""

    name = "nudenet"
    input_name = "images"
    threshold = 0.25

    def detect(self, image_rgb: Image) -> Faces:
        """All regions of score `floor` and above; see `Detector`."""
        import cv2

        height, width = image_rgb.shape[:2]
        square = np.zeros((_SIDE_PX, _SIDE_PX, 3), np.uint8)
        rows, columns = (max(1, round(_SIDE_PX * side / max(height, width))) for side in (height, width))
        square[:rows, :columns] = cv2.resize(image_rgb, (columns, rows), interpolation=cv2.INTER_LINEAR)
        boxes, scores = self.see(square[None], self.floor)[0]
        kept = non_maximum_suppression(boxes, scores, _IOU_THRESHOLD)
        boxes = boxes[kept] * np.array([width / columns, height / rows] * 2, np.float32)
        return Faces.make(boxes, scores[kept], label="nsfw", source=self.name).clipped(width, height)

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`; the image lies in the upper left of a square, as in training."""
        height, width = batch_rgb.shape[1:3]
        anchors = sum(cells_at(height, width, stride) for stride in _STRIDES_PX)
        seen = []
        for image in as_batch(batch_rgb) / 255:
            columns = by_anchor(self._network(image[None])["output0"], anchors)
            assert columns is not None
            chosen = columns[:, [4 + place for place in NSFW_CLASSES]].max(axis=1)
            seen.append(checked(*centred(columns, chosen, floor)))
        return seen
