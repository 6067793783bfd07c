"""The doors to Pillow: one to load, one to save; neither touches the disk nor Pillow's global settings."""

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from unface.errors import ImageError

_PILLOW_WARNS_ABOVE_PIXELS = 80_000_000


def load(plugin: type[ImageFile.ImageFile], data: bytes, pixels: int) -> Image.Image:
    """Decode a clean file with one of Pillow's plug-ins.

    Args:
        plugin: Class of the format.
        data: The file, as a container wrote it: Pillow never sees the bytes that came from outside.
        pixels: Width times height; the caller has checked it.

    Raises:
        ImageError: The coded pixels are damaged or too few.
    """
    try:
        if pixels > _PILLOW_WARNS_ABOVE_PIXELS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _load(plugin, data)
        return _load(plugin, data)
    except Exception as error:  # Pillow's plug-ins raise a dozen kinds for damaged pixels
        name = type(error).__name__
        raise ImageError(f"image: expected whole pixels, got a damaged or truncated file ({name})") from error


def save(pixels: NDArray[Any], mode: str, format: str, **options: Any) -> bytes:
    """Encode pixels with Pillow.

    Args:
        pixels: Shape (H, W) or (H, W, C), as Pillow lays out `mode`.
        mode: Pillow's mode.
        format: Pillow's format.
        options: Pillow's options of the format.

    Raises:
        ImageError: Pillow cannot write this, such as a WebP wider than 16383 pixels.
    """
    return save_image(image(pixels, mode), format, **options)


def save_image(source: Image.Image, format: str, **options: Any) -> bytes:
    """Encode a Pillow image; see `save`."""
    target = io.BytesIO()
    try:
        source.save(target, format=format, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"{format}: expected an image that can be encoded, got {source.size}") from error
    return target.getvalue()


def image(pixels: NDArray[Any], mode: str) -> Image.Image:
    """Pillow image of these pixels; for `1` any value that is not 0 is white."""
    height, width = pixels.shape[:2]
    if mode == "1":
        packed = np.packbits(pixels != 0, axis=1)
        return Image.frombytes("1", (width, height), packed.tobytes())
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())


def _load(plugin: type[ImageFile.ImageFile], data: bytes) -> Image.Image:
    loaded = plugin(io.BytesIO(data))
    loaded.load()
    return loaded
