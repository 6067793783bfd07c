"""WebP pixels. Decoded and encoded by libwebp through Pillow."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import WebPImagePlugin

from unface.images.codecs import pillow, vp8
from unface.images.codecs.coding import Coding
from unface.images.containers import webp
from unface.images.containers.webp import WebpParts

_HEADER_BYTES = 128
"""More than a frame header takes up to its quantisers."""


def decode(parts: WebpParts) -> tuple[NDArray[np.uint8], Coding]:
    """Decode the pixels."""
    header = parts.header
    clean = webp.write(replace(parts, profile=None, header=replace(header, orientation=1)))
    loaded = pillow.load(WebPImagePlugin.WebPImageFile, clean, header.width * header.height)
    return np.asarray(loaded), Coding(replace(parts, pixels=parts.pixels[:_HEADER_BYTES], alpha=None))


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode a lossless file without loss, a lossy one at about its own quality (`vp8`), alpha always without loss."""
    parts: WebpParts = coding.parts
    options = {"lossless": True, "exact": True} if parts.lossless else {"quality": vp8.quality_of(parts.pixels)}
    coded = webp.read(pillow.save(new, parts.header.mode, "WEBP", **options))
    return webp.write(replace(coded, header=parts.header, profile=parts.profile, extended=parts.extended))
