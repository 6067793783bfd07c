"""BMP pixels: rows of indices or of words with bit masks."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.images import palette
from unface.images.codecs.coding import Coding
from unface.images.containers import bmp
from unface.images.containers.bmp import BmpParts


def decode(parts: BmpParts) -> tuple[NDArray[np.uint8], Coding]:
    """Decode the pixels to RGB, or RGBA where the header has an alpha mask."""
    width = parts.header.width
    rows = np.frombuffer(parts.pixels, np.uint8).reshape(parts.header.height, -1)
    rows = rows if parts.top_down else rows[::-1]
    kept = replace(parts, pixels=b"")
    if parts.bits <= 8:
        indices, colors = _unpack(rows, parts.bits)[:, :width], _colors(parts)
        return palette.expand(indices, colors), Coding(kept, indices, colors)
    if parts.bits == 24:
        return rows[:, : 3 * width].reshape(len(rows), width, 3)[:, :, ::-1].copy(), Coding(kept)
    words = np.ascontiguousarray(rows).view(f"<u{parts.bits // 8}")[:, :width].astype(np.uint32)
    channels = [_channel(words, mask) for mask in parts.masks if mask]
    return np.stack(channels, axis=2), Coding(kept, raw=words)


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode with the same header, palette and masks; bits that no mask uses are set."""
    parts: BmpParts = coding.parts
    if coding.indices is not None and coding.colors is not None:
        rows = _pack(palette.reindex(coding.indices, old, new, coding.colors), parts.bits)
    elif coding.raw is None:
        rows = new[:, :, ::-1].reshape(len(new), -1)
    else:
        rows = _words(coding.raw, parts, old, new)
    stride = bmp.stride_bytes(parts.header.width, parts.bits)
    padded = np.zeros((len(rows), stride), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return bmp.write(replace(parts, pixels=(padded if parts.top_down else padded[::-1]).tobytes()))


def _colors(parts: BmpParts) -> NDArray[np.uint8]:
    entries = np.frombuffer(parts.palette, np.uint8).reshape(-1, parts.entry_bytes)
    return np.ascontiguousarray(entries[:, 2::-1])


def _unpack(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    if bits == 1:
        return np.unpackbits(rows, axis=1)
    if bits == 4:
        return np.stack([rows >> 4, rows & 15], axis=2).reshape(len(rows), -1)
    return rows


def _pack(indices: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    if bits == 1:
        return np.packbits(indices, axis=1)
    if bits == 4:
        even = np.pad(indices, ((0, 0), (0, indices.shape[1] % 2)))
        return np.asarray(even[:, 0::2] << 4 | even[:, 1::2], np.uint8)
    return indices


def _shift_and_top(mask: int) -> tuple[int, int]:
    shift = (mask & -mask).bit_length() - 1
    return shift, mask >> shift


def _channel(words: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    shift, top = _shift_and_top(mask)
    return (((words & np.uint32(mask)) >> np.uint32(shift)).astype(np.uint64) * 255 // top).astype(np.uint8)


def _words(
    raw: NDArray[np.uint32], parts: BmpParts, old: NDArray[np.uint8], new: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Stored rows; a channel that did not change keeps its bits."""
    words = np.full(raw.shape, ((1 << parts.bits) - 1) & ~sum(parts.masks), np.uint32)
    for channel, mask in enumerate(mask for mask in parts.masks if mask):
        shift, top = _shift_and_top(mask)
        value = new[:, :, channel].astype(np.uint64)
        fresh = ((value * top + 254) // 255 << shift).astype(np.uint32)
        same = old[:, :, channel] == new[:, :, channel]
        words |= np.where(same, raw & np.uint32(mask), fresh)
    return words.astype(f"<u{parts.bits // 8}").view(np.uint8)
