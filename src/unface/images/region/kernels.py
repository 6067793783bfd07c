"""The loops over bits and blocks, compiled by numba: import this module only to write a file.

Compiling takes seconds, once: numba keeps the result in `__pycache__` beside this file, or in the user's cache
where that cannot be written (`NUMBA_CACHE_DIR` names another place). Reading is bounded by what it is given,
whatever the coded bytes are, and checks every index besides; the other loops see only what reading found sound.

Coefficients stand in the order of the zigzag (T.81, figure A.6).
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import boolean, float64, int16, int32, int64, uint8
from numba.core.types import Array
from numpy.typing import NDArray

LOOKUP_BITS = 10
"""Codes of up to so many bits are found by one look-up. (It stands here because what is compiled holds it.)"""
SPARE_BYTES = 288
"""Zeros behind the coded bytes: a block has at most 64 symbols of 16 + 15 bits, 248 bytes; some are read ahead."""
_DC_CATEGORIES = 11
_LOWEST_DC, _HIGHEST = -1024, 1023
_SIZES = np.array([value.bit_length() for value in range(1 << 15)], np.uint8)
"""Bits that a coefficient of this magnitude needs (T.81, tables F.1 and F.2)."""
_LOW_31_BITS = (1 << 31) - 1
_LARGEST_MCU = 32
"""Pixels on a side: four blocks, or a block of samples of four pixels each."""
_END_OF_BLOCK, _SIXTEEN_ZEROS = 0x00, 0xF0
_TO_END, _ASTRAY = 256, 128
STEPS = np.array([(symbol >> 4) + 1 if symbol & 15 else _ASTRAY for symbol in range(256)], np.int32)
"""How far each AC symbol steps along the zigzag (T.81, F.2.2.2)."""
STEPS[_END_OF_BLOCK], STEPS[_SIXTEEN_ZEROS] = _TO_END, 16

_Bytes = Array(uint8, 1, "C", readonly=True)
_Pixels = Array(uint8, 3, "C", readonly=True)
_Mask = Array(boolean, 2, "C", readonly=True)
_Out, _Table, _Ints = uint8[::1], uint8[:, ::1], int32[:, ::1]
_Longs, _Rows, _Coefficients = int64[::1], int64[:, ::1], int16[:, :, ::1]
_Matrix, _Planes, _Flags = float64[:, ::1], float64[:, :, ::1], boolean[:, ::1]

Whole = Any
"""int64: a Python int may be given."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _entry(signature: Any, *, hostile: bool = False) -> Callable[[_Function], _Function]:
    """Compile with all parts, or load what was compiled before; no cache where no folder for it can be written.

    Args:
        signature: Types of the arguments.
        hostile: Whether bytes from outside decide where it reads: then every index is checked.
    """

    def compile_function(function: _Function) -> _Function:
        try:
            made = numba.njit(signature, boundscheck=hostile, nogil=True, cache=True)(function)
        except RuntimeError:
            made = numba.njit(signature, boundscheck=hostile, nogil=True)(function)
        return cast(_Function, made)

    return compile_function


def _part(*, hostile: bool = False) -> Callable[[_Function], _Function]:
    """A function that is compiled into those that call it; see `_entry`."""

    def compile_function(function: _Function) -> _Function:
        return cast(_Function, numba.njit(boundscheck=hostile, nogil=True)(function))

    return compile_function


@_part()
def _peek(data: NDArray[np.uint8], bit: Whole) -> Whole:
    """The 16 bits from a place on."""
    at = bit >> 3
    word = (np.int64(data[at]) << 16) | (np.int64(data[at + 1]) << 8) | np.int64(data[at + 2])
    return (word >> (8 - (bit & 7))) & 0xFFFF


@_part(hostile=True)
def _four_bytes(data: NDArray[np.uint8], at: Whole) -> Whole:
    """Four bytes as one number."""
    high = (np.int64(data[at]) << 24) | (np.int64(data[at + 1]) << 16)
    return high | (np.int64(data[at + 2]) << 8) | np.int64(data[at + 3])


@_part()
def _extend(value: Whole, size: Whole) -> Whole:
    """The coefficient that `size` bits stand for (T.81, F.2.2.1); no branch, signs being hard to foresee."""
    is_negative = (value - ((1 << size) >> 1)) >> 63
    return value + (is_negative & (1 - (1 << size)))


@_part(hostile=True)
def _long_symbol(
    window: Whole, row: Whole, limits: NDArray[np.int32], offsets: NDArray[np.int32], symbols: NDArray[np.uint8]
) -> Whole:
    """Length of the code that 16 bits begin with, times 256, plus its symbol (T.81, F.2.2.3); 0 for none."""
    for length in range(LOOKUP_BITS + 1, 17):
        if window < limits[row, length]:
            place = (offsets[row, length] + (window >> (16 - length))) & 255
            return (length << 8) | np.int64(symbols[row, place])
    return np.int64(0)


@_part(hostile=True)
def _read_mcu(
    data: NDArray[np.uint8],
    bit: Whole,
    components: NDArray[np.int64],
    lookup: NDArray[np.int32],
    steps: NDArray[np.int32],
    limits: NDArray[np.int32],
    offsets: NDArray[np.int32],
    symbols: NDArray[np.uint8],
    dc: NDArray[np.int64],
    slot: Whole,
    coefficients: NDArray[np.int16],
) -> Whole:
    """Read the blocks of an MCU (T.81, F.2.2); keep their coefficients if the slot is not -1, their DC in any case.

    One function for all blocks, because calls that are given arrays cost as much as half a block. Where coefficients
    are not kept, a code is read only to know where the next begins.

    Returns:
        Where the next MCU begins, or -1 if this one is damaged.
    """
    at = (bit >> 3) + 4
    word, left = _four_bytes(data, bit >> 3), 32 - (bit & 7)
    for b in range(components.size):
        component = components[b]
        row = 2 * component
        k: Whole = 0
        while k < 64:
            if left < 32:
                word, left = ((word & _LOW_31_BITS) << 32) | _four_bytes(data, at), left + 32
                at += 4
            window = (word >> (left - 16)) & 0xFFFF
            entry = np.int64(lookup[row, window >> (16 - LOOKUP_BITS)])
            if entry == 0:
                entry = _long_symbol(window, row, limits, offsets, symbols)
            size = np.int64(entry & 15)
            left -= (entry >> 8) + size
            value = _extend((word >> left) & ((1 << size) - 1), size)
            if k == 0:
                dc[component] += value
                value = dc[component]
                if entry == 0 or entry & 255 > _DC_CATEGORIES or value < _LOWEST_DC or value > _HIGHEST:
                    return np.int64(-1)
                row += 1
            elif size == 0:
                if entry == 0 or entry & 255 not in (_END_OF_BLOCK, _SIXTEEN_ZEROS):
                    return np.int64(-1)
                if entry & 255 == _END_OF_BLOCK:
                    break
            k += np.int64((entry >> 4) & 15)
            if k > 63:
                return np.int64(-1)
            if slot < 0:
                k = 1
                break
            coefficients[slot, b, k] = value
            k += 1
        while slot < 0 and k < 64:
            if left < 32:
                word, left = ((word & _LOW_31_BITS) << 32) | _four_bytes(data, at), left + 32
                at += 4
            window = (word >> (left - 16)) & 0xFFFF
            entry = np.int64(steps[row, window >> (16 - LOOKUP_BITS)])
            if entry == 0:
                entry = _long_symbol(window, row, limits, offsets, symbols)
                if entry == 0:
                    return np.int64(-1)
                entry = (((entry >> 8) + (entry & 15)) << 16) | np.int64(STEPS[entry & 255])
            left -= entry >> 16
            k += entry & 0xFFFF
        if 64 < k < _TO_END:
            return np.int64(-1)
        if at > data.size - SPARE_BYTES + 8:
            return np.int64(-1)
    return at * 8 - left


@_entry(
    boolean(_Bytes, _Longs, int64, _Longs, _Ints, _Ints, _Ints, _Ints, _Table, _Longs, _Rows, _Rows, _Coefficients),
    hostile=True,
)
def read_scan(
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    mcus_an_interval: Whole,
    components: NDArray[np.int64],
    lookup: NDArray[np.int32],
    steps: NDArray[np.int32],
    limits: NDArray[np.int32],
    offsets: NDArray[np.int32],
    symbols: NDArray[np.uint8],
    slots: NDArray[np.int64],
    bounds: NDArray[np.int64],
    predictors: NDArray[np.int64],
    coefficients: NDArray[np.int16],
) -> bool:
    """Read a whole scan, and tell whether it is sound; keep the coefficients of some MCUs.

    Args:
        data: Coded bytes without markers and stuffing, and `SPARE_BYTES` zeros.
        ends: For each restart interval, where its bytes end; the next one's begin there.
        mcus_an_interval: MCUs of each restart interval but the last, which may have fewer.
        components: For each block of an MCU, the number of its component in the scan.
        lookup: Decoding tables: row 2c for DC, 2c + 1 for AC of component c; see `huffman.Decoder`.
        steps: Likewise.
        limits: Likewise.
        offsets: Likewise.
        symbols: Likewise.
        slots: For each MCU, where to keep its coefficients, or -1.
        bounds: Written: for each MCU, the places of its first bit and of the first behind it.
        predictors: Written: for each slot and component, the DC before that MCU.
        coefficients: Written, zeros before: for each slot and block, the 64 coefficients.
    """
    dc = np.zeros(predictors.shape[1], np.int64)
    bit = np.int64(0)
    for interval in range(ends.size):
        first = interval * mcus_an_interval
        end = ends[interval] * 8
        dc[:] = 0
        for mcu in range(first, min(first + mcus_an_interval, slots.size)):
            slot = slots[mcu]
            bounds[mcu, 0] = bit
            if slot >= 0:
                predictors[slot] = dc
            bit = _read_mcu(data, bit, components, lookup, steps, limits, offsets, symbols, dc, slot, coefficients)
            if bit < 0 or bit > end:
                return False
            bounds[mcu, 1] = bit
        if end - bit >= 8:
            return False
        bit = end
    return True


@_part()
def _put(out: NDArray[np.uint8], bit: Whole, value: Whole, size: Whole) -> Whole:
    """Write up to 32 bits into zeros, if there is room for 5 bytes; return the place behind them."""
    at = bit >> 3
    if at + 5 <= out.size:
        word = value << (40 - (bit & 7) - size)
        out[at] |= word >> 32
        for i in range(1, 5):
            out[at + i] = (word >> (32 - 8 * i)) & 255
    return bit + size


@_part()
def _copy(data: NDArray[np.uint8], start: Whole, stop: Whole, out: NDArray[np.uint8], bit: Whole) -> Whole:
    """Write the bits between two places of `data`, if there is room; return the place behind them."""
    end = bit + stop - start
    if (end >> 3) + 5 > out.size:
        return end
    head = min((-bit) & 7, stop - start)
    bit = _put(out, bit, _peek(data, start) >> (16 - head), head)
    start += head
    whole = (stop - start) >> 3
    shift = np.uint16(8 - (start & 7))
    high, low = data[start >> 3 :], data[(start >> 3) + 1 :]
    target = out[bit >> 3 :]
    for i in range(whole):  # 16-bit numbers and indices from 0, so that it is done in vectors
        target[i] = np.uint8(((np.uint16(high[i]) << np.uint16(8)) | np.uint16(low[i])) >> shift)
    start += whole * 8
    tail = stop - start
    return _put(out, bit + whole * 8, _peek(data, start) >> (16 - tail), tail)


@_part()
def _put_mcu(
    out: NDArray[np.uint8],
    bit: Whole,
    components: NDArray[np.int64],
    codes: NDArray[np.int32],
    lengths: NDArray[np.uint8],
    missing: NDArray[np.uint8],
    dc: NDArray[np.int64],
    slot: Whole,
    coefficients: NDArray[np.int16],
) -> Whole:
    """Write the blocks of an MCU (T.81, F.1.2), if there is room; note symbols that have no code."""
    for b in range(components.size):
        row, k, zeros = 2 * components[b], 0, 0
        while k < 64:
            value: Whole = np.int64(coefficients[slot, b, k])
            if k == 0:
                value -= dc[components[b]]
                dc[components[b]] += value
            elif value == 0 and k < 63:
                zeros += 1
                k += 1
                continue
            size = np.int64(_SIZES[abs(value)])
            symbol: Whole = size
            if k > 0 and size > 0 and zeros > 15:
                symbol, size, value = _SIXTEEN_ZEROS, np.int64(0), np.int64(0)
            elif k > 0:
                symbol = (zeros << 4) | size if size else np.int64(_END_OF_BLOCK)
            if lengths[row, symbol] == 0:
                missing[row, symbol] = 1
            length = lengths[row, symbol] + size
            at = bit >> 3
            if at + 5 <= out.size:
                word = (np.int64(codes[row, symbol]) << size) | (value if value >= 0 else value + (1 << size) - 1)
                word <<= 40 - (bit & 7) - length
                out[at] |= word >> 32
                for i in range(1, 5):
                    out[at + i] = (word >> (32 - 8 * i)) & 255
            bit += length
            if symbol == _SIXTEEN_ZEROS:
                zeros -= 16
                continue
            zeros, row, k = 0, 2 * components[b] + 1, k + 1
    return bit


@_entry(int64(_Bytes, _Rows, int64, _Longs, _Ints, _Table, _Longs, _Rows, _Coefficients, _Table, _Out, _Longs))
def write_scan(
    data: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    mcus_an_interval: Whole,
    components: NDArray[np.int64],
    codes: NDArray[np.int32],
    lengths: NDArray[np.uint8],
    slots: NDArray[np.int64],
    predictors: NDArray[np.int64],
    coefficients: NDArray[np.int16],
    missing: NDArray[np.uint8],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> Whole:
    """Write a scan: MCUs with a slot from their coefficients, the bits of the others as they are.

    An MCU behind one whose coefficients changed needs a slot too: its DC is coded as a difference.

    Args:
        data: As given to `read_scan`, as are those not named here.
        bounds: As written by it, as are `predictors`.
        mcus_an_interval: MCUs of a restart interval.
        components: Components of the blocks of an MCU.
        codes: Encoding tables, rows as of the decoding ones: for each symbol its code.
        lengths: Likewise: the code's length, 0 for none.
        slots: Slots of the MCUs.
        predictors: DC before each slot's MCU, in the old scan.
        coefficients: Coefficients to write.
        missing: Written: 1 for each symbol that is needed and has no code.
        out: Written, zeros before: coded bytes, without markers and stuffing.
        ends: Written: where each restart interval's bytes end.

    Returns:
        Bytes needed, 5 to spare. If `out` has fewer, or symbols are missing, what was written is of no use.
    """
    dc = np.zeros(predictors.shape[1], np.int64)
    bit = np.int64(0)
    for interval in range(ends.size):
        mcu = interval * mcus_an_interval
        last = min(mcu + mcus_an_interval, slots.size)
        while mcu < last:
            first = mcu
            while mcu < last and slots[mcu] < 0:
                mcu += 1
            if mcu > first:
                bit = _copy(data, bounds[first, 0], bounds[mcu - 1, 1], out, bit)
            if mcu < last:
                dc[:] = predictors[slots[mcu]]
            while mcu < last and slots[mcu] >= 0:
                bit = _put_mcu(out, bit, components, codes, lengths, missing, dc, slots[mcu], coefficients)
                mcu += 1
        padding = (-bit) & 7
        bit = _put(out, bit, (1 << padding) - 1, padding)
        ends[interval] = bit >> 3
    return (bit >> 3) + 5


@_part()
def _find_reached(
    reached: NDArray[np.bool_], x: Whole, y: Whole, wide: Whole, high: Whole, flags: NDArray[np.bool_]
) -> Whole:
    """Flag the samples of a block that a reached pixel has a part in; beyond the image is as the edge is.

    Returns:
        How many there are.
    """
    bottom, right = reached.shape[0] - 1, reached.shape[1] - 1
    count = 0
    for i in range(8):
        for j in range(8):
            is_reached = False
            for row in range(y + i * high, y + i * high + high):
                for column in range(x + j * wide, x + j * wide + wide):
                    is_reached |= reached[min(row, bottom), min(column, right)]
            flags[i, j] = is_reached
            count += is_reached
    return count


@_part()
def _convert(
    pixels: NDArray[np.uint8],
    left: Whole,
    top: Whole,
    wide: Whole,
    high: Whole,
    weights: NDArray[np.float64],
    planes: NDArray[np.float64],
) -> None:
    """Components of the pixels of an MCU: weighted sums of the channels; beyond the image, its edge is repeated."""
    bottom, right, channels = pixels.shape[0] - 1, pixels.shape[1] - 1, pixels.shape[2]
    second, third, fourth = min(1, channels - 1), min(2, channels - 1), min(3, channels - 1)
    for y in range(high):
        row = min(top + y, bottom)
        for x in range(wide):
            column = min(left + x, right)
            a, b = np.float64(pixels[row, column, 0]), np.float64(pixels[row, column, second])
            c, d = np.float64(pixels[row, column, third]), np.float64(pixels[row, column, fourth])
            for n in range(weights.shape[0]):
                value = weights[n, 0] * a + weights[n, 1] * b + weights[n, 2] * c + weights[n, 3] * d
                planes[n, y, x] = value + weights[n, 4]


@_part()
def _fill(
    planes: NDArray[np.float64],
    component: Whole,
    left: Whole,
    top: Whole,
    wide: Whole,
    high: Whole,
    flags: NDArray[np.bool_],
    samples: NDArray[np.float64],
) -> None:
    """Make the flagged samples of a block: each is the mean of its pixels' components."""
    share = 1 / (wide * high)
    for i in range(8):
        for j in range(8):
            if flags[i, j]:
                total = 0.0
                for y in range(top + i * high, top + i * high + high):
                    for x in range(left + j * wide, left + j * wide + wide):
                        total += planes[component, y, x]
                samples[i, j] = total * share - 128


@_part()
def _multiply(a: NDArray[np.float64], b: NDArray[np.float64], product: NDArray[np.float64]) -> None:
    """Product of two matrices, 8 x 8; a third one's rows are the inner loop, so that it is done in vectors."""
    product[:] = 0
    for i in range(8):
        for k in range(8):
            factor = a[i, k]
            for j in range(8):
                product[i, j] += factor * b[k, j]


@_entry(numba.void(_Pixels, _Mask, _Longs, int64, _Rows, _Matrix, _Planes, _Matrix, _Longs, _Coefficients))
def code_pixels(
    pixels: NDArray[np.uint8],
    reached: NDArray[np.bool_],
    mcus: NDArray[np.int64],
    mcus_a_row: Whole,
    layout: NDArray[np.int64],
    weights: NDArray[np.float64],
    tables: NDArray[np.float64],
    basis: NDArray[np.float64],
    zigzag: NDArray[np.int64],
    coefficients: NDArray[np.int16],
) -> None:
    """Code new pixels into the blocks that they reach, and leave the other blocks alone.

    A sample that a reached pixel has a part in is made from the new pixels alone; the others keep the value that
    the block had, neither rounded nor clipped, so that requantising is all that happens to them.

    Args:
        pixels: New pixels as stored, shape (H, W, channels).
        reached: Which of them may have changed, shape (H, W).
        mcus: For each slot, the number of its MCU.
        mcus_a_row: MCUs in a row of the scan.
        layout: For each block of an MCU: component, column and row in the MCU, columns and rows of the MCU in
            blocks, width and height of a sample in pixels.
        weights: For each component, weights of four channels (0 for those that there are not), and what to add.
        tables: For each component, its quantisation table in natural order, shape (components, 8, 8).
        basis: `basis[u, x]` of the DCT.
        zigzag: Place in the zigzag of each coefficient in natural order.
        coefficients: Changed: for each slot and block, the 64 coefficients.
    """
    samples, work, flags = np.empty((8, 8)), np.empty((8, 8)), np.empty((8, 8), np.bool_)
    planes = np.empty((weights.shape[0], _LARGEST_MCU, _LARGEST_MCU))
    turned = basis.T.copy()
    mcu_wide, mcu_high = layout[0, 3] * 8 * layout[0, 5], layout[0, 4] * 8 * layout[0, 6]
    for slot in range(mcus.size):
        left, top = (mcus[slot] % mcus_a_row) * mcu_wide, (mcus[slot] // mcus_a_row) * mcu_high
        is_converted = False
        for b in range(layout.shape[0]):
            component, wide, high = layout[b, 0], layout[b, 5], layout[b, 6]
            x, y = layout[b, 1] * 8 * wide, layout[b, 2] * 8 * high
            count = _find_reached(reached, left + x, top + y, wide, high, flags)
            if count == 0:
                continue
            if not is_converted:
                _convert(pixels, left, top, mcu_wide, mcu_high, weights, planes)
                is_converted = True
            if count < 64:
                for n in range(64):
                    i, j = n >> 3, n & 7
                    samples[i, j] = coefficients[slot, b, zigzag[n]] * tables[component, i, j]
                _multiply(turned, samples, work)
                _multiply(work, basis, samples)
            _fill(planes, component, x, y, wide, high, flags, samples)
            _multiply(basis, samples, work)
            _multiply(work, turned, samples)
            for i in range(8):
                for j in range(8):
                    work[i, j] = np.rint(samples[i, j] / tables[component, i, j])
            for n in range(64):
                value: Whole = np.int64(work[n >> 3, n & 7])
                coefficients[slot, b, zigzag[n]] = min(max(value, -_HIGHEST), _HIGHEST)
