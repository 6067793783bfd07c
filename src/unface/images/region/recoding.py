"""One scan: read it, make its pixels, code new ones into it, write it."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from unface.images.region import kernels
from unface.images.region.huffman import HuffmanTable, decoder, encoder, strides
from unface.images.region.scans import Grid, NotExact, Scan, coded_bytes

Rectangles = NDArray[np.int64]
"""Shape (N, 4): x0, y0, x1, y1 in stored pixels, half-open, inside the image, none empty."""

_FEWEST_BITS_A_BLOCK = 2
_ROOM_BYTES_A_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Decoders:
    """The decoding tables of a scan, as `kernels.read_scan` wants them."""

    lookup: NDArray[np.int32] = field(repr=False)
    strides: NDArray[np.int32] = field(repr=False)
    limits: NDArray[np.int32] = field(repr=False)
    offsets: NDArray[np.int32] = field(repr=False)
    symbols: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A scan whose every bit was looked at, and the coefficients of some of its MCUs.

    Attributes:
        scan: The scan.
        grid: Where its blocks are.
        interval: MCUs of a restart interval.
        intervals: How many restart intervals there are.
        data: Coded bytes without stuffing and markers, and spare zeros.
        words: The same, four bytes to a number.
        tables: By which it was read.
        bounds: For each MCU, where its bits begin and end, shape (mcus, 2).
        mcus: For each slot, the MCU whose coefficients it holds; ascending.
        predictors: For each slot and component, the DC before that MCU.
        coefficients: For each slot and block, 64 coefficients in natural order.
    """

    scan: Scan
    grid: Grid
    interval: int
    intervals: int
    data: NDArray[np.uint8] = field(repr=False)
    words: NDArray[np.uint32] = field(repr=False)
    tables: Decoders = field(repr=False)
    bounds: NDArray[np.int64] = field(repr=False)
    mcus: NDArray[np.int64] = field(repr=False)
    predictors: NDArray[np.int64] = field(repr=False)
    coefficients: NDArray[np.int16] = field(repr=False)

    @property
    def slots(self) -> NDArray[np.int64]:
        """For each MCU its slot, or -1."""
        slots = np.full(self.grid.mcus, -1, np.int64)
        slots[self.mcus] = np.arange(len(self.mcus))
        return slots

    def only(self, wanted: NDArray[np.bool_]) -> "ReadScan":
        """The same with copies of the coefficients of fewer MCUs: those wanted, of all."""
        kept = wanted[self.mcus]
        return replace(
            self,
            mcus=self.mcus[kept],
            predictors=self.predictors[kept],
            coefficients=self.coefficients[kept],
        )


def mcus_under(areas_xyxy: Rectangles, grid: Grid) -> NDArray[np.bool_]:
    """Which MCUs these rectangles reach, and those behind them, whose DC is a difference; shape (mcus,)."""
    under = np.zeros((grid.mcus_high, grid.mcus_wide), bool)
    wide, high = grid.mcu_wide, grid.mcu_high
    for x0, y0, x1, y1 in areas_xyxy.tolist():
        under[y0 // high : -(-y1 // high), x0 // wide : -(-x1 // wide)] = True
    wanted = under.reshape(-1)
    wanted[1:] |= wanted[:-1].copy()
    return wanted


def read_scan(scan: Scan, grid: Grid, wanted: NDArray[np.bool_]) -> ReadScan:
    """Read a scan, and the coefficients of the MCUs that are wanted.

    Raises:
        NotExact: The codes are damaged, too few or too many.
    """
    data, ends = coded_bytes(scan, grid.mcus, kernels.SPARE_BYTES)
    if 8 * int(ends[-1]) < _FEWEST_BITS_A_BLOCK * grid.mcus * len(grid.blocks):
        raise NotExact("too few bits")
    mcus = np.flatnonzero(wanted)
    read = ReadScan(
        scan=scan,
        grid=grid,
        interval=scan.interval or grid.mcus,
        intervals=len(ends),
        data=data,
        words=data.view(">u4").astype(np.uint32),
        tables=_decoders(scan),
        bounds=np.empty((grid.mcus, 2), np.int64),
        mcus=mcus,
        predictors=np.empty((len(mcus), len(scan.components)), np.int64),
        coefficients=np.zeros((len(mcus), len(grid.blocks), 64), np.int16),
    )
    tables = read.tables
    sound = kernels.read_scan(
        read.words,
        ends,
        read.interval,
        np.ascontiguousarray(grid.blocks[:, 0]),
        tables.lookup,
        tables.strides,
        tables.limits,
        tables.offsets,
        tables.symbols,
        read.slots,
        read.bounds,
        read.predictors,
        read.coefficients,
    )
    if not sound:
        raise NotExact("codes")
    return read


def write_scan(
    read: ReadScan, tables: list[HuffmanTable]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    """Write a scan with its coefficients as they are now.

    Args:
        read: The scan.
        tables: The table for DC and that for AC of each component, in turn; they have every symbol of the old ones.

    Returns:
        Coded bytes without stuffing, where those of each restart interval end, and which symbols had no code, uint8,
        shape (tables, 256); the bytes are good only if none is 1.
    """
    encoders = [encoder(table) for table in tables]
    missing = np.zeros((len(tables), 256), np.uint8)
    ends = np.zeros(read.intervals, np.int64)
    has_new_codes = tables != read.scan.used_tables
    needed = len(read.data) + _ROOM_BYTES_A_BLOCK * read.coefficients.shape[0] * read.coefficients.shape[1]
    out = np.zeros(0, np.uint8)
    while needed > len(out):
        out = np.zeros(needed, np.uint8)
        needed = kernels.write_scan(
            read.data,
            read.words,
            read.bounds,
            read.interval,
            np.ascontiguousarray(read.grid.blocks[:, 0]),
            read.tables.lookup,
            read.tables.limits,
            read.tables.offsets,
            read.tables.symbols,
            np.stack([table.codes for table in encoders]),
            np.stack([table.lengths for table in encoders]),
            has_new_codes,
            read.slots,
            read.predictors,
            read.coefficients,
            missing,
            out,
            ends,
        )
    return out, ends, missing


def _decoders(scan: Scan) -> Decoders:
    tables = [decoder(table) for table in scan.used_tables]
    return Decoders(
        np.stack([table.lookup for table in tables]),
        np.stack([strides(table) for table in scan.used_tables[1::2]]),
        np.stack([table.limits for table in tables]),
        np.stack([table.offsets for table in tables]),
        np.stack([table.symbols for table in tables]),
    )
