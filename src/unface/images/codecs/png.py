"""PNG pixels. Decoded by Pillow; 16-bit colour, which Pillow reduces to 8, by OpenCV."""

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from unface.errors import ImageError
from unface.images import palette
from unface.images.codecs import pillow
from unface.images.codecs.coding import Coding
from unface.images.containers import png
from unface.images.containers.png import PngParts

_GREY, _RGB, _PALETTE = 0, 2, 3


def decode(parts: PngParts) -> tuple[NDArray[Any], Coding]:
    """Decode the pixels; palette and grey of less than 8 bits are expanded, a colour key is not."""
    kept = replace(parts, pixels=())
    if parts.depth == 16:
        return _decode_16_bit(parts), Coding(kept)
    stored = np.asarray(_load(parts))
    if parts.color == _PALETTE:
        colors = _colors(parts)
        return palette.expand(stored, colors), Coding(kept, stored, colors)
    if parts.depth < 8:
        step = 255 // ((1 << parts.depth) - 1)
        indices = stored.astype(np.uint8) if parts.depth == 1 else stored // np.uint8(step)
        levels = np.arange(0, 256, step, dtype=np.uint8)[:, None]
        return palette.expand(indices, levels), Coding(kept, indices, levels)
    return stored, Coding(kept)


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode without loss: same depth, colour type, palette and transparency; never interlaced."""
    parts: PngParts = coding.parts
    if coding.indices is not None and coding.colors is not None:
        indices = palette.reindex(coding.indices, old, new, coding.colors)
        compressed = _compress_indices(_off_key(parts, coding.indices, indices), parts.depth)
    else:
        new = _off_key(parts, old, new)
        compressed = _compress_16_bit(new) if parts.depth == 16 else _compress(new, parts.header.mode)
    return png.write(replace(parts, pixels=compressed, interlaced=False))


def _load(parts: PngParts) -> Any:
    chunks = tuple(chunk for chunk in parts.chunks if chunk[0] == b"PLTE")
    clean = png.write(replace(parts, chunks=chunks, header=replace(parts.header, orientation=1)))
    return pillow.load(PngImagePlugin.PngImageFile, clean, parts.header.width * parts.header.height)


def _decode_16_bit(parts: PngParts) -> NDArray[np.uint16]:
    if parts.color == _GREY:
        return np.asarray(_load(parts), np.uint16)
    import cv2

    png.exact(parts)  # OpenCV fills missing rows without a word
    clean = png.write(replace(parts, chunks=(), header=replace(parts.header, orientation=1)))
    try:
        stored = cv2.imdecode(np.frombuffer(clean, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3:
        raise ImageError("PNG: expected whole 16-bit pixels, got a damaged or truncated file")
    order = {"RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3], "LA": [0, -1]}[parts.header.mode]
    return np.ascontiguousarray(stored[:, :, order])


def _colors(parts: PngParts) -> NDArray[np.uint8]:
    colors = np.frombuffer(parts.chunk(b"PLTE") or b"", np.uint8).reshape(-1, 3)
    alpha = parts.chunk(b"tRNS")
    if alpha is None:
        return colors
    alphas = np.full((len(colors), 1), 255, np.uint8)
    alphas[: len(alpha), 0] = np.frombuffer(alpha, np.uint8)
    return np.concatenate([colors, alphas], axis=1)


def _off_key(parts: PngParts, old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """New pixels where none became, or ceased to be, the one colour that a tRNS chunk makes transparent."""
    key = parts.chunk(b"tRNS")
    if key is None or parts.color not in (_GREY, _RGB):
        return new
    values = (np.frombuffer(key, ">u2") & ((1 << parts.depth) - 1)).astype(new.dtype)
    was, becomes = (np.atleast_3d(pixels == values).all(axis=2) for pixels in (old, new))
    result = new.copy()
    result[was] = values if parts.color == _RGB else values[0]
    beside = values.copy()
    beside[-1] = beside[-1] - 1 if beside[-1] else 1
    result[becomes & ~was] = beside if parts.color == _RGB else beside[0]
    return result


def _compress(pixels: NDArray[Any], mode: str) -> tuple[bytes, ...]:
    return png.read(pillow.save(pixels, mode, "PNG")).pixels


def _compress_indices(indices: NDArray[np.uint8], depth: int) -> tuple[bytes, ...]:
    if depth == 8:
        return _compress(indices, "L")
    image = pillow.image(indices, "P")
    image.putpalette(bytes(3 << depth))
    return png.read(pillow.save_image(image, "PNG", bits=depth)).pixels


def _compress_16_bit(pixels: NDArray[np.uint16]) -> tuple[bytes, ...]:
    """Rows with the Sub filter (W3C PNG, 9.2), deflated."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    step = rows.shape[1] // width
    filtered = np.ones((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 1 : 1 + step] = rows[:, :step]
    filtered[:, 1 + step :] = rows[:, step:] - rows[:, :-step]
    return (zlib.compress(filtered.tobytes(), 6),)
