"""JPEG pixels. Decoded by libjpeg-turbo: at once where that reads the file without complaint, else through Pillow."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin
from simplejpeg import decode_jpeg

from unface.errors import ImageError
from unface.images.codecs import pillow
from unface.images.codecs.coding import Coding
from unface.images.containers import jpeg
from unface.images.containers.jpeg import Component, JpegParts

_SUBSAMPLINGS = {(2.0, 1.0): 1, (2.0, 2.0): 2}
"""Ratio of luma to chroma samples, horizontal and vertical, to Pillow's number; others are 4:4:4 (0)."""
_UPSAMPLING_ROWS = 1
"""Rows below a pixel that its colour may be interpolated from: those of the next sample."""


def decode(parts: JpegParts) -> tuple[NDArray[np.uint8], Coding]:
    """Decode the pixels; CMYK as amounts of ink (255 is full), which JPEG stores inverted."""
    header = parts.header
    pixels = decode_rows(parts, header.height)
    if pixels is not None:
        return pixels, Coding(parts)
    clean = jpeg.write(replace(parts, profile=None, header=replace(header, orientation=1)))
    loaded = pillow.load(JpegImagePlugin.JpegImageFile, clean, header.width * header.height)
    if any(component.table not in parts.tables for component in parts.components):
        raise ImageError("JPEG: expected a quantisation table for each component")
    return np.asarray(loaded), Coding(parts)


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode with the file's own quantisation tables, subsampling and frame kind.

    Kept: tables, 4:4:4, 4:2:2 and 4:2:0, progressive or not, grey, RGB without colour transform, JFIF
    density, Adobe marker. Other subsamplings become 4:4:4, arithmetic coding becomes Huffman coding, YCCK
    becomes CMYK (with the luma table for each ink), restart intervals are dropped.
    """
    parts: JpegParts = coding.parts
    options: dict[str, Any] = {"qtables": _tables(parts), "progressive": parts.progressive}
    if len(parts.components) == 3:
        subsampling = 0 if parts.color == "RGB" else _subsampling(parts.components)
        options |= {"subsampling": subsampling, "keep_rgb": parts.color == "RGB"}
    coded = jpeg.read(pillow.save(new, parts.header.mode, "JPEG", **options))
    return jpeg.write(
        replace(
            coded,
            header=parts.header,
            jfif=parts.jfif,
            adobe_transform=0 if parts.color == "YCCK" else parts.adobe_transform,
            profile=parts.profile,
        )
    )


def encode_quality(coding: Coding, new: NDArray[Any], quality: int) -> bytes:
    """Encode as baseline JPEG with libjpeg's tables for a quality, colours as YCbCr 4:2:0; grey and CMYK stay that."""
    parts: JpegParts = coding.parts
    coded = jpeg.read(pillow.save(new, parts.header.mode, "JPEG", quality=quality))  # 4:2:0 by default
    return jpeg.write(replace(coded, header=parts.header, profile=parts.profile))


def decode_rows(parts: JpegParts, rows: int) -> NDArray[np.uint8] | None:
    """Decode the first rows only: the same pixels as `decode` makes.

    The decoder is given a frame that ends below them, so that what codes the rest is not read. It is libjpeg-turbo
    without the copies that Pillow makes.

    Args:
        parts: The file.
        rows: How many, 1 to the height.

    Returns:
        Stored pixels, 0 below the rows, shape (H, W) or (H, W, 3); or None where it cannot do this file.
    """
    header, channels = parts.header, len(parts.components)
    if channels not in (1, 3) or any(component.table not in parts.tables for component in parts.components):
        return None
    unit = 8 * max(component.vertical for component in parts.components)
    kept = min(header.height, -(-(rows + _UPSAMPLING_ROWS) // unit) * unit)
    if parts.progressive:
        kept = header.height  # what is missing in one is smoothed over two blocks
    body = tuple(_of_height(segment, kept) if segment[1] in jpeg.FRAMES else segment for segment in parts.body)
    cut = jpeg.write(replace(parts, profile=None, body=body))
    pixels = np.zeros((header.height, header.width, channels), np.uint8)  # pages never written to cost nothing
    try:
        decode_jpeg(cut, "RGB" if channels == 3 else "GRAY", buffer=pixels[:kept], strict=kept == header.height)
    except ValueError:
        return None
    pixels[rows:kept] = 0
    return pixels if channels == 3 else pixels[:, :, 0]


def _of_height(frame: bytes, height: int) -> bytes:
    """A frame header of another height (T.81, B.2.2)."""
    return frame[:5] + height.to_bytes(2, "big") + frame[7:]


def decode_region(parts: JpegParts, areas_xyxy: NDArray[np.int64]) -> tuple[NDArray[np.uint8], Coding] | None:
    """Decode the pixels of some areas only: the same pixels as `decode` makes.

    Args:
        parts: The file.
        areas_xyxy: Rectangles of stored pixels, shape (N, 4).

    Returns:
        Stored pixels, 0 outside the areas, and what `encode_region` needs; or None where it cannot do this file.
    """
    from unface.images.region import NotExact, decode_region, read_region

    try:
        body = read_region(parts, areas_xyxy)
        return decode_region(body), Coding(parts, body=body)
    except NotExact:
        return None


def encode_region(coding: Coding, new: NDArray[Any], reached_xyxy: NDArray[np.int64]) -> bytes | None:
    """Encode the pixels that changed, and keep the coefficients of all blocks that they do not reach.

    Args:
        coding: Of the decoded original.
        new: New pixels as stored.
        reached_xyxy: Rectangles of stored pixels outside which nothing changed, shape (N, 4).

    Returns:
        The file, or None where this cannot be done: not baseline, or damaged; see `docs/jpeg.md`.
    """
    from unface.images.region import NotExact, read_region, write_region

    parts: JpegParts = coding.parts
    if not len(reached_xyxy):
        return jpeg.write(parts)
    try:
        body = coding.body or read_region(parts, reached_xyxy)
    except NotExact:
        return None
    return jpeg.write(replace(parts, body=write_region(body, new, reached_xyxy)))


def _tables(parts: JpegParts) -> list[list[int]]:
    """One table a component, in natural order, as Pillow's encoder wants them; shared last ones only once."""
    numbers = [component.table for component in parts.components]
    if parts.color == "YCCK":
        numbers = numbers[:1]
    while len(numbers) > 1 and numbers[-1] == numbers[-2]:
        numbers.pop()
    return [[max(1, value) for value in parts.tables[number]] for number in numbers]


def _subsampling(components: tuple[Component, ...]) -> int:
    luma, *chroma = components
    ratios = {(luma.horizontal / c.horizontal, luma.vertical / c.vertical) for c in chroma}
    return _SUBSAMPLINGS.get(ratios.pop(), 0) if len(ratios) == 1 else 0
