"""WebP pixels. Decoded and encoded by libwebp through Pillow."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import WebPImagePlugin

from unface.images.codecs import pillow
from unface.images.codecs.coding import Coding
from unface.images.containers import webp
from unface.images.containers.webp import WebpParts

LOSSY_QUALITY = 90
"""Quality of a lossy file that had to be encoded again; the file does not tell its own."""


def decode(parts: WebpParts) -> tuple[NDArray[np.uint8], Coding]:
    """Decode the pixels."""
    header = parts.header
    clean = webp.write(replace(parts, profile=None, header=replace(header, orientation=1)))
    loaded = pillow.load(WebPImagePlugin.WebPImageFile, clean, header.width * header.height)
    return np.asarray(loaded), Coding(replace(parts, pixels=b"", alpha=None))


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode a lossless file without loss, a lossy one with quality 90 and alpha without loss."""
    parts: WebpParts = coding.parts
    options = {"lossless": True, "exact": True} if parts.lossless else {"quality": LOSSY_QUALITY}
    coded = webp.read(pillow.save(new, parts.header.mode, "WEBP", **options))
    return webp.write(replace(coded, header=parts.header, profile=parts.profile, extended=parts.extended))
