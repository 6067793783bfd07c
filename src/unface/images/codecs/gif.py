"""GIF pixels. LZW by Pillow; colours by the file's own table."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin

from unface.images import palette
from unface.images.codecs import pillow
from unface.images.codecs.coding import Coding
from unface.images.containers import gif
from unface.images.containers.gif import GifParts


def decode(parts: GifParts) -> tuple[NDArray[np.uint8], Coding]:
    """Decode the pixels to RGB, or RGBA where one colour is transparent."""
    colors = np.frombuffer(parts.palette, np.uint8).reshape(-1, 3)
    if parts.transparent is not None:
        alpha = np.where(np.arange(len(colors)) == parts.transparent, 0, 255).astype(np.uint8)
        colors = np.concatenate([colors, alpha[:, None]], axis=1)
    clean = gif.write(replace(parts, transparent=None))
    size = parts.header.width * parts.header.height
    indices = np.asarray(pillow.load(GifImagePlugin.GifImageFile, clean, size))
    return palette.expand(indices, colors), Coding(replace(parts, pixels=b""), indices, colors)


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode with the file's own colour table; never interlaced."""
    parts: GifParts = coding.parts
    assert coding.indices is not None
    assert coding.colors is not None
    indices = palette.reindex(coding.indices, old, new, coding.colors)
    coded = gif.read(pillow.save(indices, "L", "GIF", optimize=False, interlace=False))
    flags = parts.flags & 0x87
    return gif.write(replace(parts, pixels=coded.pixels, code_bits=coded.code_bits, flags=flags))
