"""Region-exact JPEG: new pixels where they changed, the file's own coefficients everywhere else.

`docs/jpeg.md` says what is guaranteed, and why it is made this way. Importing this compiles, the first time.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unface.images.containers.jpeg import JpegParts
from unface.images.region import pixels, scans
from unface.images.region.huffman import with_symbols
from unface.images.region.recoding import ReadScan, Rectangles, mcus_under, read_scan, write_scan
from unface.images.region.scans import Frame, NotExact, Scan, TableKey, Tables

__all__ = ["NotExact", "ReadBody", "decode_region", "read_region", "write_region"]

_LARGEST_MCU_PX = 32
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


_LARGEST_SIDE_PX = 65500
"""libjpeg refuses what is larger."""
_UPSAMPLING_PX = 2
"""How far the samples lie, at most, that a pixel is interpolated from: one beside its own, of two pixels."""


@dataclass(frozen=True, eq=False)
class ReadBody:
    """The body of a file, all scans read, and the coefficients that its areas need.

    Attributes:
        parts: The file.
        frame: Size and components.
        pieces: Scans, Huffman tables, and other segments verbatim.
        areas_xyxy: Rectangles whose pixels can be made, and be changed.
    """

    parts: JpegParts
    frame: Frame
    pieces: list[bytes | Tables | ReadScan] = field(repr=False)
    areas_xyxy: Rectangles


def read_region(parts: JpegParts, areas_xyxy: Rectangles) -> ReadBody:
    """Read every scan, and keep what stands for some areas of the image.

    Args:
        parts: The file, with its body.
        areas_xyxy: Rectangles in stored pixels.

    Raises:
        NotExact: The file is not baseline, or damaged.
    """
    frame, pieces = scans.read_body(parts)
    h, v = frame.largest
    size = np.array([frame.width, frame.height])
    inside = areas_xyxy[(areas_xyxy[:, :2] < areas_xyxy[:, 2:]).all(axis=1)]
    low, high = inside[:, :2] // (h, v) * (h, v), -(-inside[:, 2:] // (h, v)) * (h, v)  # whole samples
    areas = np.hstack([low, np.minimum(high, size)])
    needed = np.hstack([np.maximum(low - _UPSAMPLING_PX, 0), np.minimum(high + _UPSAMPLING_PX, size)])
    read: list[bytes | Tables | ReadScan] = []
    for piece in pieces:
        if isinstance(piece, Scan):
            grid = scans.grid_of(frame, piece)
            read.append(read_scan(piece, grid, mcus_under(needed, grid)))
        else:
            read.append(piece)
    return ReadBody(parts, frame, read, areas)


def decode_region(body: ReadBody) -> NDArray[np.uint8]:
    """Make the pixels of the areas, as libjpeg-turbo does, bit for bit.

    Returns:
        Stored pixels, zero outside the areas, shape (H, W) or (H, W, 3).

    Raises:
        NotExact: Four components, or coefficients so large that decoders differ.
    """
    frame, channels = body.frame, len(body.frame.components)
    if channels not in (1, 3) or max(frame.width, frame.height) > _LARGEST_SIDE_PX:
        raise NotExact("components or size")
    planes = _planes(body)
    h, v = frame.largest
    layout = [
        (h // c.horizontal, v // c.vertical, -(-frame.width * c.horizontal // h), -(-frame.height * c.vertical // v))
        for c in frame.components
    ]
    made = np.zeros((frame.height, frame.width, channels), np.uint8)
    first, second, third = planes[0], planes[1 % channels], planes[2 % channels]
    is_ycbcr = body.parts.color == "YCbCr"
    pixels.fill_pixels(first, second, third, np.array(layout, np.int64), is_ycbcr, body.areas_xyxy, made)
    return made if channels > 1 else made[:, :, 0]


def write_region(body: ReadBody, new_pixels: NDArray[np.uint8], reached_xyxy: Rectangles) -> tuple[bytes, ...]:
    """Code new pixels into the blocks that they reach, and keep the coefficients of all other blocks.

    Args:
        body: The file, read with areas that hold all that is reached.
        new_pixels: New pixels as stored, uint8, shape (H, W) or (H, W, channels), of the file's size; those outside
            the areas are not looked at.
        reached_xyxy: Rectangles outside which no pixel changed.

    Returns:
        The body of the new file: tables, frame and scans.
    """
    frame = body.frame
    reached = reached_xyxy[(reached_xyxy[:, :2] < reached_xyxy[:, 2:]).all(axis=1)]
    if not len(reached):
        return body.parts.body
    canvas = np.ascontiguousarray(new_pixels).reshape(frame.height, frame.width, -1)
    written: list[bytes] = []
    in_force: Tables = {}
    for piece in body.pieces:
        if isinstance(piece, ReadScan):
            tables, coded = _recoded(body.parts, piece, canvas, reached)
            written += [scans.write_tables({k: t for k, t in tables.items() if in_force.get(k) != t}), coded]
            in_force |= tables
        elif isinstance(piece, dict):
            written.append(scans.write_tables(piece))
            in_force |= piece
        else:
            written.append(piece)
    return tuple(segment for segment in written if segment)


def _planes(body: ReadBody) -> dict[int, NDArray[np.uint8]]:
    """For each component its samples, in whole MCUs; zero where no coefficients were kept."""
    planes: dict[int, NDArray[np.uint8]] = {}
    for read in body.pieces:
        if not isinstance(read, ReadScan):
            continue
        grid = read.grid
        for number, component in enumerate(read.scan.components):
            columns, rows = grid.blocks[grid.blocks[:, 0] == number][0, 3:5].tolist()
            plane = np.zeros((grid.mcus_high * rows * 8, grid.mcus_wide * columns * 8), np.uint8)
            table = np.array(body.parts.tables[body.frame.components[component].table], np.int32)
            if not pixels.fill_plane(read.coefficients, read.mcus, grid.mcus_wide, grid.blocks, number, table, plane):
                raise NotExact("coefficients")
            planes[component] = plane
    return planes


def _recoded(
    parts: JpegParts, read: ReadScan, new_pixels: NDArray[np.uint8], reached_xyxy: Rectangles
) -> tuple[Tables, bytes]:
    """The scan with its change, and its Huffman tables: the file's own, unless a symbol has no code there."""
    scan = read.scan
    tables = {key: scan.huffman[key] for keys in scan.tables for key in keys}
    changed = read.only(mcus_under(reached_xyxy, read.grid))
    quantisation = [parts.tables[parts.components[number].table] for number in scan.components]
    pixels.code_pixels(
        new_pixels,
        _beyond_edges(reached_xyxy, parts),
        changed.mcus,
        read.grid.mcus_wide,
        read.grid.blocks,
        _WEIGHTS[parts.color][list(scan.components)],
        np.array(quantisation, np.float64),
        changed.coefficients,
    )
    data, ends, missing = write_scan(changed, scan.used_tables)
    while missing.any():
        tables |= _extended(tables, scan, missing)
        data, ends, missing = write_scan(changed, [tables[key] for keys in scan.tables for key in keys])
    return tables, scans.write_scan(scan, data, ends)


def _beyond_edges(reached_xyxy: Rectangles, parts: JpegParts) -> Rectangles:
    """Rectangles that go on beyond the right and the lower edge, where encoders repeat the last pixels."""
    size = np.array([parts.header.width, parts.header.height])
    high = reached_xyxy[:, 2:]
    return np.hstack([reached_xyxy[:, :2], np.where(high == size, high + _LARGEST_MCU_PX, high)])


def _extended(tables: Tables, scan: Scan, missing: NDArray[np.uint8]) -> Tables:
    """The tables that miss symbols, with them; `missing` has two rows a component of the scan."""
    symbols: dict[TableKey, set[int]] = {}
    for key, row in zip((key for keys in scan.tables for key in keys), missing, strict=True):
        symbols.setdefault(key, set()).update(np.flatnonzero(row).tolist())
    return {key: with_symbols(tables[key], sorted(wanted)) for key, wanted in symbols.items() if wanted}
