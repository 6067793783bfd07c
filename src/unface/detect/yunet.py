"""YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), weights of March 2023."""

import numpy as np
from numpy.typing import NDArray

from unface.detect.looks import Seen, as_batch, by_image
from unface.detect.single import SingleNetwork

_STRIDES_PX = (8, 16, 32)


class YuNet(SingleNetwork):
    """The fastest; at a low threshold it misses little and marks much."""

    name = "yunet"
    input_name = "input"
    threshold = 0.5

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`."""
        count, _, width, _ = batch_rgb.shape
        outputs = self._network(as_batch(batch_rgb[..., ::-1]))  # it was trained on BGR
        levels = []
        for stride in _STRIDES_PX:
            # Per cell the centre's offset and the size's logarithm, in strides; the file joins a batch's cells.
            objects, classes, sizes = (
                outputs[f"{name}_{stride}"].reshape(count, -1, channels)
                for name, channels in (("obj", 1), ("cls", 1), ("bbox", 4))
            )
            scores = np.sqrt(objects * classes)[..., 0]
            images, cells = np.nonzero(scores >= floor)
            sizes = sizes[images, cells]
            columns = width // stride
            centres = np.stack([cells % columns, cells // columns], axis=1) + sizes[:, :2]
            halves = np.exp(sizes[:, 2:]) / 2
            boxes = np.concatenate([centres - halves, centres + halves], axis=1) * stride
            levels.append((images, boxes, scores[images, cells]))
        return by_image(count, *(np.concatenate(parts) for parts in zip(*levels, strict=True)))
