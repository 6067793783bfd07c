"""Region-exact JPEG: new pixels where they changed, the file's own coefficients everywhere else.

`docs/jpeg.md` says what is guaranteed, and why it is made this way. Importing this compiles, the first time.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unface.images.containers.jpeg import ZIGZAG, JpegParts
from unface.images.region import kernels, scans
from unface.images.region.huffman import with_symbols
from unface.images.region.recoding import ReadScan, read_scan, touched_mcus, write_scan
from unface.images.region.scans import Frame, NotExact, Scan, TableKey, Tables

__all__ = ["NotExact", "write_region"]

_PLACES = np.array(ZIGZAG, np.int64)
_BASIS = np.cos(np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16) / 2
_BASIS[0] /= np.sqrt(2)

_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_WEIGHTS = {
    "L": np.array([[1.0, 0.0, 0.0, 0.0, 0.0]]),
    "RGB": np.eye(3, 5),
    "YCbCr": np.array([[*_YCBCR[0], 0.0, 0.0], [*_YCBCR[1], 0.0, 128.0], [*_YCBCR[2], 0.0, 128.0]]),
    "CMYK": np.hstack([-np.eye(4), np.full((4, 1), 255.0)]),
    "YCCK": np.array(
        [[*_YCBCR[0], 0.0, 0.0], [*_YCBCR[1], 0.0, 128.0], [*_YCBCR[2], 0.0, 128.0], [0.0, 0.0, 0.0, -1.0, 255.0]]
    ),
}
"""For each component a weight for each of four channels of the pixels, and what to add (T.871, 7; Adobe TN 5116).

The files hold inverted ink. The Y, Cb and Cr of YCCK are those of the inverted inverse, so of ink as it is.
"""


@dataclass(frozen=True, eq=False)
class _Change:
    """New pixels, shape (H, W, channels), and which of them may have changed, shape (H, W)."""

    pixels: NDArray[np.uint8] = field(repr=False)
    reached: NDArray[np.bool_] = field(repr=False)


def write_region(parts: JpegParts, pixels: NDArray[np.uint8], reached: NDArray[np.bool_]) -> tuple[bytes, ...]:
    """Code new pixels into the blocks that they reach, and keep the coefficients of all other blocks.

    Args:
        parts: The file, with its body.
        pixels: New pixels as stored, uint8, shape (H, W) or (H, W, channels), of the file's size.
        reached: Which pixels may have changed, shape (H, W).

    Returns:
        The body of the new file: tables, frame and scans.

    Raises:
        NotExact: The file is not baseline, or damaged.
    """
    if not reached.any():
        return parts.body
    change = _Change(
        np.ascontiguousarray(pixels).reshape(*reached.shape, -1),
        np.ascontiguousarray(reached),
    )
    frame, pieces = scans.read_body(parts)
    body: list[bytes] = []
    in_force: Tables = {}
    for piece in pieces:
        if isinstance(piece, Scan):
            tables, coded = _recoded(parts, frame, piece, change)
            body += [scans.write_tables({k: t for k, t in tables.items() if in_force.get(k) != t}), coded]
            in_force |= tables
        elif isinstance(piece, dict):
            body.append(scans.write_tables(piece))
            in_force |= piece
        else:
            body.append(piece)
    return tuple(segment for segment in body if segment)


def _recoded(parts: JpegParts, frame: Frame, scan: Scan, change: _Change) -> tuple[Tables, bytes]:
    """The scan with its change, and its Huffman tables: the file's own, unless a symbol has no code there."""
    grid = scans.grid_of(frame, scan)
    touched = touched_mcus(change.reached, grid)
    tables = {key: scan.huffman[key] for keys in scan.tables for key in keys}
    read = read_scan(scan, grid, touched)
    _code(read, parts, scan, change)
    intervals, missing = write_scan(read, scan.used_tables)
    while missing.any():
        tables |= _extended(tables, scan, missing)
        whole = read_scan(scan, grid, np.ones_like(touched))
        whole.coefficients[read.mcus] = read.coefficients
        intervals, missing = write_scan(whole, [tables[key] for keys in scan.tables for key in keys])
    return tables, scans.write_scan(scan, intervals)


def _code(read: ReadScan, parts: JpegParts, scan: Scan, change: _Change) -> None:
    """Code the change into the coefficients that were read."""
    tables = [parts.tables[parts.components[number].table] for number in scan.components]
    kernels.code_pixels(
        change.pixels,
        change.reached,
        read.mcus,
        read.grid.mcus_wide,
        read.grid.blocks,
        _WEIGHTS[parts.color][list(scan.components)],
        np.array(tables, np.float64).reshape(-1, 8, 8),
        _BASIS,
        _PLACES,
        read.coefficients,
    )


def _extended(tables: Tables, scan: Scan, missing: NDArray[np.uint8]) -> Tables:
    """The tables that miss symbols, with them; `missing` has two rows a component of the scan."""
    symbols: dict[TableKey, set[int]] = {}
    for key, row in zip((key for keys in scan.tables for key in keys), missing, strict=True):
        symbols.setdefault(key, set()).update(np.flatnonzero(row).tolist())
    return {key: with_symbols(tables[key], sorted(wanted)) for key, wanted in symbols.items() if wanted}
