"""YuNet (Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023), weights of March 2023."""

import numpy as np
from numpy.typing import NDArray

from unface.detect.looks import Seen, as_batch, by_image
from unface.detect.single import SingleNetwork

_STRIDES_PX = (8, 16, 32)


class YuNet(SingleNetwork):
    """The fastest; at a low threshold it misses little and marks much."""

    name = "yunet"
    weights_name = "yunet-merged"
    input_name = "input"
    threshold = 0.5

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`."""
        outputs = self._network(as_batch(batch_rgb))
        levels = []
        for stride in _STRIDES_PX:
            # Per cell the centre's offset and the size's logarithm, in strides.
            scores, sizes = outputs[f"scores_{stride}"], outputs[f"boxes_{stride}"]
            images, _, rows, columns = np.nonzero(scores >= floor)
            centres = np.stack([columns, rows], axis=1) + sizes[images, :2, rows, columns]
            halves = np.exp(sizes[images, 2:, rows, columns]) / 2
            boxes = np.concatenate([centres - halves, centres + halves], axis=1) * stride
            levels.append((images, boxes, scores[images, 0, rows, columns]))
        return by_image(len(batch_rgb), *(np.concatenate(parts) for parts in zip(*levels, strict=True)))
