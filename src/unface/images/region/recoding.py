"""One scan: read it, code new pixels into it, write it."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unface.images.region import kernels
from unface.images.region.huffman import HuffmanTable, decoder, encoder
from unface.images.region.scans import Grid, NotExact, Scan, coded_bytes

_FEWEST_BITS_A_BLOCK = 2
_ROOM_BYTES_A_BLOCK = 64


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A scan whose every bit was looked at, and the coefficients of some of its MCUs.

    Attributes:
        grid: Where its blocks are.
        interval: MCUs of a restart interval.
        intervals: How many restart intervals there are.
        data: Coded bytes without stuffing and markers, and spare zeros.
        bounds: For each MCU, where its bits begin and end, shape (mcus, 2).
        mcus: For each slot, the MCU whose coefficients it holds; ascending.
        predictors: For each slot and component, the DC before that MCU.
        coefficients: For each slot and block, 64 coefficients in zigzag order.
    """

    grid: Grid
    interval: int
    intervals: int
    data: NDArray[np.uint8] = field(repr=False)
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


def touched_mcus(reached: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """Which MCUs a reached pixel lies in, shape (mcus,)."""
    touched = np.zeros((grid.mcus_high, grid.mcus_wide), bool)
    rows, columns = (np.flatnonzero(reached.any(axis=axis)) for axis in (1, 0))
    if len(rows):
        top, left = int(rows[0]) // grid.mcu_high, int(columns[0]) // grid.mcu_wide
        part = reached[top * grid.mcu_high : rows[-1] + 1, left * grid.mcu_wide : columns[-1] + 1]
        part = np.logical_or.reduceat(part, np.arange(0, part.shape[0], grid.mcu_high), axis=0)
        part = np.logical_or.reduceat(part, np.arange(0, part.shape[1], grid.mcu_wide), axis=1)
        touched[top : top + part.shape[0], left : left + part.shape[1]] = part
    return touched.reshape(-1)


def read_scan(scan: Scan, grid: Grid, kept: NDArray[np.bool_]) -> ReadScan:
    """Read a scan, and the coefficients of some MCUs and of those behind them.

    Raises:
        NotExact: The codes are damaged, too few or too many.
    """
    data, ends = coded_bytes(scan, grid.mcus, kernels.SPARE_BYTES)
    if 8 * int(ends[-1]) < _FEWEST_BITS_A_BLOCK * grid.mcus * len(grid.blocks):
        raise NotExact("too few bits")
    kept = kept.copy()
    kept[1:] |= kept[:-1].copy()
    mcus = np.flatnonzero(kept).astype(np.int64)
    read = ReadScan(
        grid=grid,
        interval=scan.interval or grid.mcus,
        intervals=len(ends),
        data=data,
        bounds=np.zeros((grid.mcus, 2), np.int64),
        mcus=mcus,
        predictors=np.zeros((len(mcus), len(scan.components)), np.int64),
        coefficients=np.zeros((len(mcus), len(grid.blocks), 64), np.int16),
    )
    tables = [decoder(table) for table in scan.used_tables]
    sound = kernels.read_scan(
        data,
        ends,
        read.interval,
        np.ascontiguousarray(grid.blocks[:, 0]),
        np.stack([table.lookup for table in tables]),
        np.stack([table.steps for table in tables]),
        np.stack([table.limits for table in tables]),
        np.stack([table.offsets for table in tables]),
        np.stack([table.symbols for table in tables]),
        read.slots,
        read.bounds,
        read.predictors,
        read.coefficients,
    )
    if not sound:
        raise NotExact("codes")
    return read


def write_scan(read: ReadScan, tables: list[HuffmanTable]) -> tuple[list[bytes], NDArray[np.uint8]]:
    """Write a scan with its coefficients as they are now.

    Args:
        read: The scan.
        tables: The table for DC and that for AC of each component, in turn.

    Returns:
        Coded bytes of each restart interval without stuffing, and which symbols had no code, uint8, shape
        (tables, 256); the bytes are good only if none is 1.
    """
    encoders = [encoder(table) for table in tables]
    missing = np.zeros((len(tables), 256), np.uint8)
    ends = np.zeros(read.intervals, np.int64)
    needed = len(read.data) + _ROOM_BYTES_A_BLOCK * read.coefficients.shape[0] * read.coefficients.shape[1]
    out = np.zeros(0, np.uint8)
    while needed > len(out):
        out = np.zeros(needed, np.uint8)
        needed = kernels.write_scan(
            read.data,
            read.bounds,
            read.interval,
            np.ascontiguousarray(read.grid.blocks[:, 0]),
            np.stack([table.codes for table in encoders]),
            np.stack([table.lengths for table in encoders]),
            read.slots,
            read.predictors,
            read.coefficients,
            missing,
            out,
            ends,
        )
    return [out[start:end].tobytes() for start, end in pairwise([0, *ends.tolist()])], missing
