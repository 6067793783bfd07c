"""TIFF pixels. Coded by libtiff through Pillow; 16-bit colour is written here, with deflate."""

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from unface.errors import ImageError
from unface.images import palette
from unface.images.codecs import pillow
from unface.images.codecs.coding import Coding
from unface.images.containers import tiff
from unface.images.containers.tiff import TiffParts
from unface.images.header import Header

_DEFLATE = 8
_STRIP_BYTES = 1 << 16
_FROM_THE_FILE = (tiff.X_RESOLUTION, tiff.Y_RESOLUTION, tiff.RESOLUTION_UNIT, 318, 319)
_BILEVEL_ONLY = ("tiff_ccitt", "group3", "group4")


def decode(parts: TiffParts) -> tuple[NDArray[Any], Coding]:
    """Decode the pixels; premultiplied alpha is divided out, white-is-zero is turned round.

    Raises:
        ImageError: Damaged, or 16 bits with white-is-zero, a palette, separate planes or premultiplied alpha.
    """
    kept = replace(parts, blocks=())
    bits, photometric = parts.value(tiff.BITS, 1), parts.value(tiff.PHOTOMETRIC, 1)
    if bits == 16 and not (parts.header.mode == "L" and photometric == tiff.BLACK_IS_ZERO):
        return _decode_16_bit(parts), Coding(kept)
    stored = _load(parts)
    if photometric == tiff.PALETTE:
        colors = _colors(parts)
        return palette.expand(stored, colors), Coding(kept, stored, colors)
    if stored.dtype == np.bool_:
        levels = np.array([[0], [255]], np.uint8)
        indices = stored.astype(np.uint8)
        return palette.expand(indices, levels), Coding(kept, indices, levels)
    return stored, Coding(kept)


def encode(coding: Coding, old: NDArray[Any], new: NDArray[Any]) -> bytes:
    """Encode without loss, with the file's compression where Pillow can write it, else deflate.

    Grey and palette indices of 2 or 4 bits become 8 bits; tiles become strips; white-is-zero becomes
    black-is-zero; premultiplied alpha becomes plain alpha; unnamed extra samples are dropped.
    """
    parts: TiffParts = coding.parts
    if new.dtype == np.uint16 and new.ndim == 3:
        coded = _strips(parts, new)
    elif coding.indices is not None and coding.colors is not None:
        indices = palette.reindex(coding.indices, old, new, coding.colors)
        coded = _bilevel(parts, indices) if coding.colors.shape[1] == 1 else _indexed(parts, indices)
    else:
        coded = _saved(parts, new, "I;16" if new.dtype == np.uint16 else parts.header.mode)
    resolution = {tag: parts.tags[tag] for tag in _FROM_THE_FILE if tag in parts.tags}
    tags = {tag: v for tag, v in coded.tags.items() if tag not in _FROM_THE_FILE} | resolution
    return tiff.write(replace(coded, header=parts.header, profile=parts.profile, tags=tags))


def _load(parts: TiffParts) -> NDArray[Any]:
    header = parts.header
    clean = tiff.write(replace(parts, profile=None, header=replace(header, orientation=1)))
    loaded = pillow.load(TiffImagePlugin.TiffImageFile, clean, header.width * header.height)
    indexed = parts.value(tiff.PHOTOMETRIC, 1) == tiff.PALETTE
    wanted = {"P"} if indexed else {header.mode, "1", "I;16"} if header.mode == "L" else {header.mode}
    if loaded.mode == "I;16B":
        return np.asarray(loaded).astype(np.uint16)  # to the machine's byte order
    if loaded.mode not in wanted:
        raise ImageError(f"TIFF: expected {' or '.join(sorted(wanted))}, got mode {loaded.mode} (not supported)")
    return np.asarray(loaded)


def _decode_16_bit(parts: TiffParts) -> NDArray[np.uint16]:
    """Read the samples of a pixel as grey pixels side by side, which Pillow keeps at 16 bits."""
    header, samples = parts.header, parts.value(tiff.SAMPLES, 1)
    known = parts.value(tiff.PHOTOMETRIC, 1) in (tiff.BLACK_IS_ZERO, tiff.RGB, tiff.CMYK)
    plain = parts.value(tiff.PLANAR, 1) == 1 and samples == len(header.mode)
    if not known or not plain or 1 in parts.values(tiff.EXTRA_SAMPLES):
        raise ImageError("TIFF: expected plain grey, RGB or CMYK in 16 bits, got another kind (not supported)")
    wide = {tag: parts.value(tag, 0) * samples for tag in (tiff.WIDTH, tiff.TILE_WIDTH) if tag in parts.tags}
    grey = {tiff.PHOTOMETRIC: tiff.BLACK_IS_ZERO, tiff.SAMPLES: 1, tiff.BITS: 16, tiff.PREDICTOR: 1} | wide
    tags = {tag: v for tag, v in parts.tags.items() if tag not in (tiff.EXTRA_SAMPLES, tiff.SAMPLE_FORMAT)}
    tags |= {tag: (tiff.LONG if tag in wide else tiff.SHORT, (value,)) for tag, value in grey.items()}
    flat = Header("tiff", "L", header.width * samples, header.height)
    rows = _load(replace(parts, header=flat, tags=tags)).reshape(header.height, header.width, samples)
    predictor = parts.value(tiff.PREDICTOR, 1)
    if predictor not in (1, 2):
        raise ImageError(f"TIFF: expected no or horizontal prediction, got predictor {predictor}")
    return _undo_differences(rows, parts) if predictor == 2 else rows


def _undo_differences(rows: NDArray[np.uint16], parts: TiffParts) -> NDArray[np.uint16]:
    """Horizontal differencing (TIFF 6.0, section 14), each tile for itself."""
    if parts.value(tiff.COMPRESSION, 1) not in (5, _DEFLATE, 32946, 34925, 50000):
        return rows
    step = parts.value(tiff.TILE_WIDTH, rows.shape[1]) if parts.tiled else rows.shape[1]
    tiles = [np.cumsum(rows[:, left : left + step], axis=1, dtype=np.uint16) for left in range(0, rows.shape[1], step)]
    return np.concatenate(tiles, axis=1)


def _colors(parts: TiffParts) -> NDArray[np.uint8]:
    table = np.array(parts.values(tiff.COLOR_MAP), np.uint32)
    if len(table) != 3 << parts.value(tiff.BITS, 1):
        raise ImageError(f"TIFF: expected a colour map for each index, got {len(table)} values")
    return np.ascontiguousarray((table.reshape(3, -1).T >> 8).astype(np.uint8))


def _compression(parts: TiffParts, bilevel: bool = False) -> str:
    name = tiff.COMPRESSIONS[parts.value(tiff.COMPRESSION, 1)]
    return "tiff_adobe_deflate" if name in _BILEVEL_ONLY and not bilevel else name


def _saved(parts: TiffParts, pixels: NDArray[Any], mode: str) -> TiffParts:
    options = {"compression": _compression(parts, bilevel=mode == "1")}
    try:
        return tiff.read(pillow.save(pixels, mode, "TIFF", **options))
    except ImageError:
        return tiff.read(pillow.save(pixels, mode, "TIFF", compression="tiff_adobe_deflate"))


def _bilevel(parts: TiffParts, indices: NDArray[np.uint8]) -> TiffParts:
    return _saved(parts, indices, "1")


def _indexed(parts: TiffParts, indices: NDArray[np.uint8]) -> TiffParts:
    coded = _saved(parts, indices, "L")
    table = np.zeros((3, 256), np.uint16)
    table[:, : 1 << parts.value(tiff.BITS, 1)] = np.reshape(parts.values(tiff.COLOR_MAP), (3, -1))
    indexed = {
        tiff.PHOTOMETRIC: (tiff.SHORT, (tiff.PALETTE,)),
        tiff.COLOR_MAP: (tiff.SHORT, tuple(table.ravel().tolist())),
    }
    return replace(coded, tags=coded.tags | indexed)


def _strips(parts: TiffParts, pixels: NDArray[np.uint16]) -> TiffParts:
    """16-bit colour, uncompressed if the file was, else deflated."""
    height, width, samples = pixels.shape
    packed = pixels.astype(parts.order + "u2")
    rows = max(1, _STRIP_BYTES // (width * samples * 2))
    blocks = [packed[top : top + rows].tobytes() for top in range(0, height, rows)]
    raw = parts.value(tiff.COMPRESSION, 1) == tiff.NO_COMPRESSION
    tags: dict[int, tuple[int, tiff.Values]] = {
        tiff.WIDTH: (tiff.LONG, (width,)),
        tiff.HEIGHT: (tiff.LONG, (height,)),
        tiff.BITS: (tiff.SHORT, (16,) * samples),
        tiff.COMPRESSION: (tiff.SHORT, (tiff.NO_COMPRESSION if raw else _DEFLATE,)),
        tiff.PHOTOMETRIC: parts.tags[tiff.PHOTOMETRIC],
        tiff.SAMPLES: (tiff.SHORT, (samples,)),
        tiff.ROWS_PER_STRIP: (tiff.LONG, (rows,)),
        tiff.PLANAR: (tiff.SHORT, (1,)),
    }
    if parts.header.mode in ("LA", "RGBA"):
        tags[tiff.EXTRA_SAMPLES] = (tiff.SHORT, (2,))
    blocks = blocks if raw else [zlib.compress(block, 6) for block in blocks]
    return replace(parts, tags=tags, tiled=False, blocks=tuple(blocks))
