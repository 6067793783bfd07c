"""CenterFace (Xu et al.: "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019)."""

import numpy as np
from numpy.typing import NDArray

from unface.detect.looks import Seen, as_batch, by_image
from unface.detect.single import SingleNetwork

_STRIDE_PX = 4


class CenterFace(SingleNetwork):
    """Slower than YuNet; marks little that is no face, also in crowds."""

    name = "centerface"
    input_name = "input.1"
    threshold = 0.3

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """See `SingleNetwork`."""
        heat, log_sizes, offsets, _landmarks = self._network(as_batch(batch_rgb)).values()
        images, _, rows, columns = np.nonzero(heat >= floor)
        # The network gives the vertical number first, sizes in logarithms, all in strides.
        halves = np.exp(log_sizes[images, ::-1, rows, columns]) / 2
        centres = np.stack([columns, rows], axis=1) + offsets[images, ::-1, rows, columns] + 0.5
        boxes = np.concatenate([centres - halves, centres + halves], axis=1) * _STRIDE_PX
        return by_image(len(batch_rgb), images, boxes, heat[images, 0, rows, columns])


class CenterFaceInt8(CenterFace):
    """The same in 8-bit integers, in half the time; made by benchmarks/quantise.py."""

    weights_name = "centerface-int8"
