"""What a decoded image remembers of its file."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.images.palette import Colors


@dataclass(frozen=True, eq=False)
class Coding:
    """What encoding needs to write a file like the original.

    Attributes:
        parts: The container's parts without the coded pixels: tables, profile, resolution, flags.
        indices: Indices into `colors`, shape (H, W); None where pixels are no indices.
        colors: Palette or grey levels of a pixel of less than 8 bits, shape (N, C); None likewise.
        raw: Stored words of a BMP with bit masks, shape (H, W) uint32; None otherwise.
        body: The scans of a JPEG of which only a region was decoded, a `region.ReadBody`; None otherwise.
    """

    parts: Any
    indices: NDArray[np.uint8] | None = field(default=None, repr=False)
    colors: Colors | None = field(default=None, repr=False)
    raw: NDArray[np.uint32] | None = field(default=None, repr=False)
    body: Any = field(default=None, repr=False)
