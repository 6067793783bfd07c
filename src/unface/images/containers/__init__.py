"""Containers: one module a format, all over bytes, none decodes a pixel.

Each has `matches(data)`, `probe(data)`, `read(data)` and `write(parts)`. What `read` keeps is listed there
by name (a whitelist); what it does not keep it names in `parts.found`.
"""

import struct
from types import ModuleType
from typing import Any

from unface.errors import ImageError
from unface.images.containers import bmp, gif, jpeg, png, tiff, webp
from unface.images.header import Header

MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs (the limit of Pillow, 2/3 of a gigabyte of RGB)."""

CONTAINERS: dict[str, ModuleType] = {
    "jpeg": jpeg, "png": png, "webp": webp, "tiff": tiff, "gif": gif, "bmp": bmp,
}  # fmt: skip
"""Format name to the module that reads it."""


def container_of(data: bytes) -> ModuleType:
    """Module for these bytes, by their first few.

    Raises:
        ImageError: Not a supported format.
    """
    for module in CONTAINERS.values():
        if module.matches(data):
            return module
    if not data:
        raise ImageError("image: expected a file with content, got 0 bytes")
    raise ImageError(f"image: expected one of {', '.join(CONTAINERS)}, got something else")


def looks_like_image(head: bytes) -> bool:
    """Whether first bytes (32 are enough) are those of a supported format."""
    return any(module.matches(head) for module in CONTAINERS.values())


def probe(data: bytes) -> Header:
    """Read format, mode, size and orientation; no pixel is decoded.

    Raises:
        ImageError: Not a supported image, or damaged before its pixels.
    """
    try:
        header: Header = container_of(data).probe(data)
    except (struct.error, IndexError) as error:
        raise ImageError("image: expected a whole header, got a damaged or truncated one") from error
    return header


def read(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[ModuleType, Any]:
    """Take a file apart.

    Returns:
        The container's module and its parts.

    Raises:
        ImageError: Not wholly readable, animated, or more than `max_pixels` pixels.
    """
    module = container_of(data)
    try:
        parts = module.read(data)
    except (struct.error, IndexError) as error:
        raise ImageError("image: expected a whole file, got a damaged or truncated one") from error
    header = parts.header
    if header.width * header.height > max_pixels:
        raise ImageError(f"image: expected at most {max_pixels} pixels, got {header.width} x {header.height}")
    return module, parts


def read_exactly(data: bytes) -> tuple[ModuleType, Any]:
    """Like `read`, and look for what hides behind the pixels where that can be told (PNG)."""
    module, parts = read(data)
    return module, png.exact(parts) if module is png else parts


def scrub(data: bytes) -> bytes:
    """Rewrite a file with nothing in it but the image: same pixels, same orientation, same ICC profile.

    The coded pixels are copied, not coded again. A second call changes nothing.

    Raises:
        ImageError: Not wholly readable, animated or multi-page, or larger than `MAX_PIXELS`.
    """
    module, parts = read_exactly(data)
    clean: bytes = module.write(parts)
    return clean


def audit(data: bytes) -> list[str]:
    """Name what a file holds beside its image, such as `GPS`, `EXIF thumbnail`, `comment`; [] if clean.

    Raises:
        ImageError: Not wholly readable, animated or multi-page, or larger than `MAX_PIXELS`.
    """
    module, parts = read_exactly(data)
    found = list(parts.found)
    if not found and module is not tiff:
        surplus = len(data) - len(module.write(parts))
        if surplus:
            found.append(f"{surplus} bytes that are not part of the image")
    return found
