"""Pixels that are indices into a list of colours."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""Shape (H, W) or (H, W, C)."""
Colors = NDArray[np.uint8]
"""Shape (N, C), C = 1 grey, 3 RGB or 4 RGBA; row i is the colour of index i."""

_BLOCK = 4096
_OTHER_CLASS = 1_000_000


def expand(indices: NDArray[np.uint8], colors: Colors) -> NDArray[np.uint8]:
    """Colour of each index; an index without a colour is black (and opaque).

    Args:
        indices: Shape (H, W).
        colors: Shape (N, C).

    Returns:
        Shape (H, W, C), or (H, W) for grey.
    """
    table = np.zeros((256, colors.shape[1]), np.uint8)
    if colors.shape[1] == 4:
        table[:, 3] = 255
    table[: len(colors)] = colors
    return np.asarray(table[:, 0][indices] if colors.shape[1] == 1 else table[indices])


def reindex(
    indices: NDArray[np.uint8], old: NDArray[np.uint8], new: NDArray[np.uint8], colors: Colors
) -> NDArray[np.uint8]:
    """Indices for changed pixels; a pixel that did not change keeps its own.

    A changed pixel takes the nearest colour (Euclidean). A transparent one (alpha 0) takes only transparent
    colours, any other one only visible ones, an opaque one only opaque ones, as far as there are any.

    Args:
        indices: Indices of the old pixels, shape (H, W).
        old: Old pixels, shape (H, W, C) or (H, W).
        new: New pixels, of the same shape.
        colors: Shape (N, C).
    """
    flat_old, flat_new = old.reshape(indices.size, -1), new.reshape(indices.size, -1)
    changed = (flat_old != flat_new).any(axis=1)
    result = indices.ravel().copy()
    if changed.any():
        wanted, places = np.unique(flat_new[changed], axis=0, return_inverse=True)
        result[changed] = _nearest(wanted, colors)[places.ravel()]
    return result.reshape(indices.shape)


def _nearest(wanted: NDArray[np.uint8], colors: Colors) -> NDArray[np.uint8]:
    chosen = np.zeros(len(wanted), np.uint8)
    for start in range(0, len(wanted), _BLOCK):
        block = wanted[start : start + _BLOCK].astype(np.int64)
        distance = np.zeros((len(block), len(colors)), np.int64)
        for channel in range(colors.shape[1]):
            distance += (block[:, channel, None] - colors[None, :, channel].astype(np.int64)) ** 2
        if colors.shape[1] == 4:
            distance += _OTHER_CLASS * _class_distance(block[:, 3], colors[:, 3])
        chosen[start : start + _BLOCK] = distance.argmin(axis=1)
    return chosen


def _class_distance(wanted: NDArray[Any], offered: NDArray[Any]) -> NDArray[np.int64]:
    """0 where an offered alpha suits the wanted one, else more: visible never suits transparent."""
    a, b = _class(wanted)[:, None].astype(np.int64), _class(offered)[None, :].astype(np.int64)
    return np.where((a == 0) != (b == 0), 2, np.where((a == 2) & (b == 1), 1, 0))


def _class(alpha: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    """0 transparent, 1 partly transparent, 2 opaque."""
    return np.asarray((alpha > 0).astype(np.int8) + (alpha == 255), np.int8)
