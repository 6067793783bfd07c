"""The scans of a baseline JPEG: what a decoder must know of each before it reads the coded bits.

Source: ITU-T T.81, A.1 and A.2 (sampling, order of blocks), B.2 (segments), B.1.1.5 (stuffing, restart markers).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unface.images.containers.jpeg import Component, JpegParts
from unface.images.region import kernels
from unface.images.region.huffman import DamagedTable, HuffmanTable

_DHT, _DQT, _DRI, _SOS = 0xC4, 0xDB, 0xDD, 0xDA
_FRAMES = (0xC0, 0xC1)
"""Sequential frames coded by Huffman codes; all else that may stand in a file's body is not for this room."""
_LARGEST_MCU_BLOCKS = 10
_LAST_TABLE, _LARGEST_DC_SYMBOL = 3, 15
_SPECTRUM = b"\x00\x3f\x00"

TableKey = tuple[int, int]
"""Class (0 DC, 1 AC) and number of a Huffman table."""
Tables = dict[TableKey, HuffmanTable]


class NotExact(Exception):
    """This file's coefficients cannot be kept: not baseline, or not coded as every decoder reads it alike."""


@dataclass(frozen=True)
class Frame:
    """Size and components of the image.

    Attributes:
        width: In pixels.
        height: In pixels.
        components: As the frame lists them.
    """

    width: int
    height: int
    components: tuple[Component, ...]

    @property
    def largest(self) -> tuple[int, int]:
        """The largest sampling factors, horizontal and vertical."""
        return max(c.horizontal for c in self.components), max(c.vertical for c in self.components)


@dataclass(frozen=True)
class Scan:
    """One scan.

    Attributes:
        header: The scan header with its marker.
        components: For each component of the scan, its place in the frame.
        tables: For each of them, the keys of its tables for DC and for AC.
        huffman: The Huffman tables in force.
        interval: MCUs of a restart interval, 0 without restart markers.
        coded: Entropy-coded bytes with stuffing and restart markers.
    """

    header: bytes
    components: tuple[int, ...]
    tables: tuple[tuple[TableKey, TableKey], ...]
    huffman: Tables
    interval: int
    coded: bytes = field(repr=False)

    @property
    def used_tables(self) -> list[HuffmanTable]:
        """The table for DC and that for AC of each component, in turn."""
        return [self.huffman[key] for keys in self.tables for key in keys]


@dataclass(frozen=True)
class Grid:
    """How the blocks of a scan lie in the image.

    Attributes:
        mcus_wide: MCUs in a row.
        mcus_high: Rows of MCUs.
        mcu_wide: Width of an MCU in pixels.
        mcu_high: Height of an MCU in pixels.
        blocks: For each block of an MCU: component in the scan, column and row in the MCU, columns and rows of the
            component in the MCU, width and height of one sample in pixels. int64, shape (B, 7).
    """

    mcus_wide: int
    mcus_high: int
    mcu_wide: int
    mcu_high: int
    blocks: NDArray[np.int64] = field(repr=False)

    @property
    def mcus(self) -> int:
        """How many MCUs there are."""
        return self.mcus_wide * self.mcus_high


def read_body(parts: JpegParts) -> tuple[Frame, list[bytes | Tables | Scan]]:
    """Take the body of a file apart: other segments verbatim, Huffman tables, scans.

    Raises:
        NotExact: Something in it is not for this room.
    """
    frame = Frame(parts.header.width, parts.header.height, parts.components)
    pieces: list[bytes | Tables | Scan] = []
    huffman: Tables = {}
    interval = 0
    for segment in parts.body:
        marker, body = segment[1], segment[4:]
        if marker == _DHT:
            defined = _huffman_tables(body)
            huffman = huffman | defined
            pieces.append(defined)
        elif marker == _SOS:
            pieces.append(_scan(segment, frame, huffman, interval))
        elif marker in _FRAMES or marker == _DRI or (marker == _DQT and _is_before_scans(pieces)):
            if marker == _DRI:
                interval = _restart_interval(body)
            pieces.append(segment)
        else:
            raise NotExact(f"marker 0x{marker:02x}")
    _check(parts, frame, [piece for piece in pieces if isinstance(piece, Scan)])
    return frame, pieces


def grid_of(frame: Frame, scan: Scan) -> Grid:
    """The blocks of a scan (T.81, A.2): a scan of one component has no MCUs but single blocks."""
    largest_h, largest_v = frame.largest
    parts = [frame.components[i] for i in scan.components]
    alone = len(parts) == 1
    blocks = []
    for number, part in enumerate(parts):
        wide, high = largest_h // part.horizontal, largest_v // part.vertical
        columns, rows = (1, 1) if alone else (part.horizontal, part.vertical)
        blocks += [(number, x, y, columns, rows, wide, high) for y in range(rows) for x in range(columns)]
    mcu_wide = 8 * (largest_h // parts[0].horizontal if alone else largest_h)
    mcu_high = 8 * (largest_v // parts[0].vertical if alone else largest_v)
    return Grid(
        -(-frame.width // mcu_wide), -(-frame.height // mcu_high), mcu_wide, mcu_high, np.array(blocks, np.int64)
    )


def coded_bytes(scan: Scan, mcus: int, spare: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The coded bytes without stuffing and restart markers, and where those of each restart interval end.

    Args:
        scan: The scan.
        mcus: How many MCUs it has.
        spare: How many zeros to put behind the bytes, at least; the length is a multiple of 4.

    Raises:
        NotExact: Markers are missing, out of order or inside the codes.
    """
    coded = np.frombuffer(scan.coded, np.uint8)
    marks = np.flatnonzero(coded == 0xFF)
    intervals = -(-mcus // scan.interval) if scan.interval else 1
    if len(marks) and marks[-1] == len(coded) - 1:
        raise NotExact("markers")
    numbers = coded[marks + 1]
    restarts = numbers[numbers != 0]
    if not np.array_equal(restarts, 0xD0 + np.arange(intervals - 1) % 8):
        raise NotExact("markers")
    length = len(coded) - len(marks) - len(restarts)
    data, ends = np.zeros(-(-(length + spare) // 4) * 4, np.uint8), np.zeros(intervals, np.int64)
    kernels.unstuff(coded, marks, data, ends)
    return data, ends


def write_scan(scan: Scan, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> bytes:
    """The segment of a scan with these coded bytes, not yet stuffed, whose restart intervals end there."""
    data = data[: ends[-1]]
    marks = np.flatnonzero(data == 0xFF)
    start = len(scan.header)
    segment = np.empty(start + len(data) + len(marks) + 2 * (len(ends) - 1), np.uint8)
    segment[:start] = np.frombuffer(scan.header, np.uint8)
    kernels.stuff(data, marks, ends, segment[start:])
    return segment.tobytes()


def write_tables(tables: Tables) -> bytes:
    """A segment that defines Huffman tables; nothing for none."""
    if not tables:
        return b""
    body = b"".join(
        bytes([kind << 4 | number]) + table.counts + table.symbols for (kind, number), table in tables.items()
    )
    return b"\xff\xc4" + (len(body) + 2).to_bytes(2, "big") + body


def _is_before_scans(pieces: list[bytes | Tables | Scan]) -> bool:
    return not any(isinstance(piece, Scan) for piece in pieces)


def _huffman_tables(body: bytes) -> Tables:
    tables: Tables = {}
    at = 0
    while at < len(body):
        key = (body[at] >> 4, body[at] & 15)
        counts = body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        at += 17 + len(symbols)
        if key[0] > 1 or key[1] > 3 or key in tables:
            raise NotExact("Huffman table's number")
        try:
            tables[key] = HuffmanTable(counts, symbols)
        except DamagedTable as error:
            raise NotExact("Huffman table") from error
    return tables


def _restart_interval(body: bytes) -> int:
    if len(body) != 2:
        raise NotExact("restart interval")
    return int.from_bytes(body, "big")


def _scan(segment: bytes, frame: Frame, huffman: Tables, interval: int) -> Scan:
    length = 2 + int.from_bytes(segment[2:4], "big")
    header, coded = segment[:length], segment[length:]
    count = header[4] if len(header) > 4 else 0
    if count not in range(1, 5) or length != 8 + 2 * count or header[-3:] != _SPECTRUM:
        raise NotExact("scan header")
    ids = [component.id for component in frame.components]
    named, numbers = header[5:-3:2], header[6:-3:2]
    if any(id not in ids for id in named):
        raise NotExact("scan of an unknown component")
    tables = tuple(((0, number >> 4), (1, number & 15)) for number in numbers)
    if any(key not in huffman for keys in tables for key in keys):
        raise NotExact("Huffman table not defined")
    if any(max(huffman[key].symbols, default=0) > _LARGEST_DC_SYMBOL for key, _ in tables):
        raise NotExact("Huffman table for DC")
    return Scan(header, tuple(ids.index(id) for id in named), tables, huffman, interval, coded)


def _check(parts: JpegParts, frame: Frame, scans: list[Scan]) -> None:
    """Whether each component has one scan, whole ratios of sampling, and a quantisation table without zeros."""
    h, v = frame.largest
    coded = sorted(number for scan in scans for number in scan.components)
    if coded != list(range(len(frame.components))) or len({c.id for c in frame.components}) != len(coded):
        raise NotExact("components that have not one scan each")
    if any(h % c.horizontal or v % c.vertical for c in frame.components):
        raise NotExact("sampling factors")
    if max(parts.tables, default=0) > _LAST_TABLE or any(
        0 in parts.tables.get(c.table, (0,)) for c in frame.components
    ):
        raise NotExact("quantisation table")
    for scan in scans:
        blocks = sum(frame.components[i].horizontal * frame.components[i].vertical for i in scan.components)
        if len(scan.components) > 1 and blocks > _LARGEST_MCU_BLOCKS:
            raise NotExact("blocks of an MCU")
    if len(parts.components) == 4 and parts.adobe_transform not in (None, 0, 2):
        raise NotExact("colour transform")
