"""The loops over coded bits: reading and writing a scan.

Reading is bounded by what it is given, whatever the coded bytes are, and checks every index besides; the other loops
see only what reading found sound.

Coefficients stand in natural order, row by row.
"""

import numpy as np
from numpy.typing import NDArray

from unface.images.containers.jpeg import ZIGZAG
from unface.images.region.compiled import (
    BOOL,
    BYTES,
    COEFFICIENTS,
    INT,
    INTS,
    LONGS,
    NOTHING,
    OUT,
    ROWS,
    TABLE,
    WHOLE,
    WORDS,
    Whole,
    entry,
    part,
)

LOOKUP_BITS = 10
"""Codes of up to so many bits are found by one look-up. (It stands here because what is compiled holds it.)"""
STRIDE_BITS = 12
"""Codes that are only passed over are looked up by so many bits, which often hold more than one."""
SPARE_BYTES = 288
"""Zeros behind the coded bytes: a block has at most 64 symbols of 16 + 15 bits, 248 bytes; some are read ahead."""
_DC_CATEGORIES = 11
_LOWEST_DC, _HIGHEST = -1024, 1023
_SIZES = np.array([value.bit_length() for value in range(1 << 15)], np.uint8)
"""Bits that a coefficient of this magnitude needs (T.81, tables F.1 and F.2)."""
_LOW_31_BITS = (1 << 31) - 1
_END_OF_BLOCK, _SIXTEEN_ZEROS = 0x00, 0xF0
_TO_END, _ASTRAY = 256, 128
_STEPS = np.array([(symbol >> 4) + 1 if symbol & 15 else _ASTRAY for symbol in range(256)], np.int32)
"""How far each AC symbol steps along the zigzag (T.81, F.2.2.2)."""
_STEPS[_END_OF_BLOCK], _STEPS[_SIXTEEN_ZEROS] = _TO_END, 16
_NATURAL = np.argsort(ZIGZAG).astype(np.int64)
"""Place in natural order of each coefficient of the zigzag (T.81, figure A.6)."""


@entry(NOTHING(BYTES, BYTES, INT, INT, INT))
def fill_lookup(
    counts: NDArray[np.uint8],
    symbols: NDArray[np.uint8],
    lookup: NDArray[np.int32],
    limits: NDArray[np.int32],
    offsets: NDArray[np.int32],
) -> None:
    """Fill the tables of a `huffman.Decoder`, zeros before (T.81, F.2.2.3)."""
    end, place = 0, 0
    for length in range(1, 17):
        start, count = end, int(counts[length - 1])
        for i in range(count):
            if length <= LOOKUP_BITS:
                value = length << 8 | int(symbols[place + i])
                for at in range(end >> (16 - LOOKUP_BITS), (end + (1 << (16 - length))) >> (16 - LOOKUP_BITS)):
                    lookup[at] = value
            end += 1 << (16 - length)
        limits[length] = end
        offsets[length] = place - (start >> (16 - length))
        place += count


@entry(NOTHING(INT, INT))
def fill_strides(lookup: NDArray[np.int32], strides: NDArray[np.int32]) -> None:
    """Fill the strides of a `huffman.Decoder`, zeros before: as many codes as `STRIDE_BITS` bits hold whole."""
    for window in range(1 << STRIDE_BITS):
        bits, step = 0, 0
        while step < _ASTRAY:
            at = ((window << bits) & ((1 << STRIDE_BITS) - 1)) >> (STRIDE_BITS - LOOKUP_BITS)
            symbol, length = lookup[at] & 255, (lookup[at] >> 8) + (lookup[at] & 15)
            if lookup[at] == 0 or bits + length > STRIDE_BITS or (bits > 0 and _STEPS[symbol] == _ASTRAY):
                break
            bits, step = bits + length, step + _STEPS[symbol]
        strides[window] = bits << 16 | step


@part()
def _copy_bytes(source: NDArray[np.uint8], start: Whole, stop: Whole, target: NDArray[np.uint8], at: Whole) -> Whole:
    """Copy bytes, and return the place behind them."""
    target[at : at + stop - start] = source[start:stop]
    return at + stop - start


@entry(NOTHING(BYTES, LONGS, OUT, LONGS))
def unstuff(
    coded: NDArray[np.uint8], marks: NDArray[np.int64], data: NDArray[np.uint8], ends: NDArray[np.int64]
) -> None:
    """Copy coded bytes without stuffing and restart markers (T.81, B.1.1.5).

    Args:
        coded: Coded bytes, in which a byte follows each 0xFF: 0, or a restart marker's.
        marks: Where 0xFF is.
        data: Written: the bytes.
        ends: Written: where those of each restart interval end.
    """
    start, at, interval = 0, 0, 0
    for mark in marks:
        is_restart = coded[mark + 1] != 0
        at = _copy_bytes(coded, start, mark + (0 if is_restart else 1), data, at)
        start = mark + 2
        if is_restart:
            ends[interval] = at
            interval += 1
    ends[interval] = _copy_bytes(coded, start, coded.size, data, at)


@entry(NOTHING(BYTES, LONGS, LONGS, OUT))
def stuff(data: NDArray[np.uint8], marks: NDArray[np.int64], ends: NDArray[np.int64], coded: NDArray[np.uint8]) -> None:
    """Copy bytes with stuffing and restart markers; see `unstuff`."""
    start, at, place = 0, 0, 0
    for interval in range(ends.size):
        while place < marks.size and marks[place] < ends[interval]:
            at = _copy_bytes(data, start, marks[place] + 1, coded, at)
            coded[at] = 0
            start, at, place = marks[place] + 1, at + 1, place + 1
        at = _copy_bytes(data, start, ends[interval], coded, at)
        start = ends[interval]
        if interval + 1 < ends.size:
            coded[at], coded[at + 1] = 0xFF, 0xD0 + interval % 8
            at += 2


@part()
def _extend(value: Whole, size: Whole) -> Whole:
    """The coefficient that `size` bits stand for (T.81, F.2.2.1); no branch, signs being hard to foresee."""
    is_negative = (value - ((1 << size) >> 1)) >> 63
    return value + (is_negative & (1 - (1 << size)))


@part(hostile=True)
def _long_symbol(
    window: Whole, row: Whole, limits: NDArray[np.int32], offsets: NDArray[np.int32], symbols: NDArray[np.uint8]
) -> Whole:
    """Length of the code that 16 bits begin with, times 256, plus its symbol (T.81, F.2.2.3); 0 for none."""
    for length in range(LOOKUP_BITS + 1, 17):
        if window < limits[row, length]:
            place = (offsets[row, length] + (window >> (16 - length))) & 255
            return (length << 8) | np.int64(symbols[row, place])
    return np.int64(0)


@entry(
    BOOL(WORDS, LONGS, WHOLE, LONGS, INTS, INTS, INTS, INTS, TABLE, LONGS, ROWS, ROWS, COEFFICIENTS),
    hostile=True,
)
def read_scan(
    words: NDArray[np.uint32],
    ends: NDArray[np.int64],
    mcus_an_interval: Whole,
    components: NDArray[np.int64],
    lookup: NDArray[np.int32],
    strides: NDArray[np.int32],
    limits: NDArray[np.int32],
    offsets: NDArray[np.int32],
    symbols: NDArray[np.uint8],
    slots: NDArray[np.int64],
    bounds: NDArray[np.int64],
    predictors: NDArray[np.int64],
    coefficients: NDArray[np.int16],
) -> bool:
    """Read a whole scan (T.81, F.2.2), and tell whether it is sound; keep the coefficients of some MCUs.

    One function for all, since calls that are given arrays cost as much as half a block. Where coefficients are not
    kept, codes are read only to know where the next begins.

    Args:
        words: Coded bytes without markers and stuffing, and `SPARE_BYTES` zeros, four to a number, first one highest.
        ends: For each restart interval, where its bytes end; the next one's begin there.
        mcus_an_interval: MCUs of each restart interval but the last, which may have fewer.
        components: For each block of an MCU, the number of its component in the scan.
        lookup: Decoding tables: row 2c for DC, 2c + 1 for AC of component c; see `huffman.Decoder`.
        strides: Likewise, row c for AC of component c.
        limits: As `lookup`.
        offsets: Likewise.
        symbols: Likewise.
        slots: For each MCU, where to keep its coefficients, or -1.
        bounds: Written: for each MCU, the places of its first bit and of the first behind it.
        predictors: Written: for each slot and component, the DC before that MCU.
        coefficients: Written, zeros before: for each slot and block, the 64 coefficients.
    """
    dc = np.zeros(predictors.shape[1], np.int64)
    farthest = words.size - (SPARE_BYTES >> 2) + 2
    bit = np.int64(0)
    for interval in range(ends.size):
        first = interval * mcus_an_interval
        end = ends[interval] * 8
        dc[:] = 0
        at = (bit >> 5) + 1
        word, left = np.int64(words[bit >> 5]), 32 - (bit & 31)
        for mcu in range(first, min(first + mcus_an_interval, slots.size)):
            slot = slots[mcu]
            bounds[mcu, 0] = bit
            if slot >= 0:
                predictors[slot] = dc
            for b in range(components.size):
                component = components[b]
                row = 2 * component
                if left < 32:
                    word, left = ((word & _LOW_31_BITS) << 32) | np.int64(words[at]), left + 32
                    at += 1
                window = (word >> (left - 16)) & 0xFFFF
                found = np.int64(lookup[row, window >> (16 - LOOKUP_BITS)])
                if found == 0:
                    found = _long_symbol(window, row, limits, offsets, symbols)
                size = found & 255
                if found == 0 or size > _DC_CATEGORIES:
                    return False
                left -= (found >> 8) + size
                dc[component] += _extend((word >> left) & ((1 << size) - 1), size)
                if dc[component] < _LOWEST_DC or dc[component] > _HIGHEST:
                    return False
                row += 1
                k: Whole = np.int64(1)
                if slot >= 0:
                    coefficients[slot, b, 0] = dc[component]
                    while k < 64:
                        if left < 32:
                            word, left = ((word & _LOW_31_BITS) << 32) | np.int64(words[at]), left + 32
                            at += 1
                        window = (word >> (left - 16)) & 0xFFFF
                        found = np.int64(lookup[row, window >> (16 - LOOKUP_BITS)])
                        if found == 0:
                            found = _long_symbol(window, row, limits, offsets, symbols)
                        size = found & 15
                        left -= (found >> 8) + size
                        if size == 0:
                            if found & 255 == _SIXTEEN_ZEROS:
                                k += 16
                                continue
                            if found == 0 or found & 255 != _END_OF_BLOCK:
                                return False
                            break
                        k += (found >> 4) & 15
                        if k > 63:
                            return False
                        coefficients[slot, b, _NATURAL[k]] = _extend((word >> left) & ((1 << size) - 1), size)
                        k += 1
                else:
                    while k < 64:
                        if left < 32:
                            word, left = ((word & _LOW_31_BITS) << 32) | np.int64(words[at]), left + 32
                            at += 1
                        found = np.int64(strides[component, (word >> (left - STRIDE_BITS)) & ((1 << STRIDE_BITS) - 1)])
                        if found == 0 or k + (found & 255) > 63:
                            window = (word >> (left - 16)) & 0xFFFF
                            found = np.int64(lookup[row, window >> (16 - LOOKUP_BITS)])
                            if found == 0:
                                found = _long_symbol(window, row, limits, offsets, symbols)
                                if found == 0:
                                    return False
                            found = (((found >> 8) + (found & 15)) << 16) | np.int64(_STEPS[found & 255])
                        left -= found >> 16
                        k += found & 0xFFFF
                if (64 < k < _TO_END) or at > farthest:
                    return False
            bit = at * 32 - left
            if bit > end:
                return False
            bounds[mcu, 1] = bit
        if end - bit >= 8:
            return False
        bit = end
    return True


@part()
def _peek(data: NDArray[np.uint8], bit: Whole) -> Whole:
    """The 16 bits from a place on."""
    at = bit >> 3
    word = (np.int64(data[at]) << 16) | (np.int64(data[at + 1]) << 8) | np.int64(data[at + 2])
    return (word >> (8 - (bit & 7))) & 0xFFFF


@part()
def _put(out: NDArray[np.uint8], bit: Whole, value: Whole, size: Whole) -> Whole:
    """Write up to 32 bits into zeros, if there is room for 5 bytes; return the place behind them."""
    at = bit >> 3
    if at + 5 <= out.size:
        word = value << (40 - (bit & 7) - size)
        out[at] |= word >> 32
        for i in range(1, 5):
            out[at + i] = (word >> (32 - 8 * i)) & 255
    return bit + size


@part()
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


@part()
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
            value: Whole = np.int64(coefficients[slot, b, _NATURAL[k]])
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


@part()
def _recode(
    words: NDArray[np.uint32],
    bit: Whole,
    mcus: Whole,
    components: NDArray[np.int64],
    lookup: NDArray[np.int32],
    limits: NDArray[np.int32],
    offsets: NDArray[np.int32],
    symbols: NDArray[np.uint8],
    codes: NDArray[np.int32],
    lengths: NDArray[np.uint8],
    out: NDArray[np.uint8],
    place: Whole,
) -> Whole:
    """Write MCUs that were read with the symbols and values that they have, by other codes, if there is room."""
    at = (bit >> 5) + 1
    word, left = np.int64(words[bit >> 5]), 32 - (bit & 31)
    byte, held = place >> 3, place & 7
    bits = np.int64(out[byte]) >> (8 - held) if byte < out.size else np.int64(0)
    for _ in range(mcus):
        for b in range(components.size):
            row, k = 2 * components[b], np.int64(0)
            while k < 64:
                if left < 32:
                    word, left = ((word & _LOW_31_BITS) << 32) | np.int64(words[at]), left + 32
                    at += 1
                window = (word >> (left - 16)) & 0xFFFF
                found = np.int64(lookup[row, window >> (16 - LOOKUP_BITS)])
                if found == 0:
                    found = _long_symbol(window, row, limits, offsets, symbols)
                symbol, size = found & 255, found & 15
                left -= (found >> 8) + size
                bits = (bits << lengths[row, symbol]) | np.int64(codes[row, symbol])
                bits = (bits << size) | ((word >> left) & ((1 << size) - 1))
                held += np.int64(lengths[row, symbol]) + size
                if held >= 32:
                    held -= 32
                    if byte + 4 <= out.size:
                        for i in range(4):
                            out[byte + i] = (bits >> (held + 24 - 8 * i)) & 255
                    byte += 4
                    bits &= (1 << held) - 1
                k += np.int64(_STEPS[symbol]) if k > 0 else 1
                row = 2 * components[b] + 1
    if byte < out.size:
        out[byte] = 0
    return _put(out, byte << 3, bits, held)


@entry(
    WHOLE(
        BYTES,
        WORDS,
        ROWS,
        WHOLE,
        LONGS,
        INTS,
        INTS,
        INTS,
        TABLE,
        INTS,
        TABLE,
        BOOL,
        LONGS,
        ROWS,
        COEFFICIENTS,
        TABLE,
        OUT,
        LONGS,
    )
)
def write_scan(
    data: NDArray[np.uint8],
    words: NDArray[np.uint32],
    bounds: NDArray[np.int64],
    mcus_an_interval: Whole,
    components: NDArray[np.int64],
    lookup: NDArray[np.int32],
    limits: NDArray[np.int32],
    offsets: NDArray[np.int32],
    symbols: NDArray[np.uint8],
    codes: NDArray[np.int32],
    lengths: NDArray[np.uint8],
    has_new_codes: bool,
    slots: NDArray[np.int64],
    predictors: NDArray[np.int64],
    coefficients: NDArray[np.int16],
    missing: NDArray[np.uint8],
    out: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> Whole:
    """Write a scan: MCUs with a slot from their coefficients, the others as they are.

    An MCU behind one whose coefficients changed needs a slot too: its DC is coded as a difference.

    Args:
        data: Coded bytes without markers and stuffing, and `SPARE_BYTES` zeros.
        words: As given to `read_scan`, as are those not named here.
        bounds: As written by it, as are `predictors`.
        mcus_an_interval: MCUs of a restart interval.
        components: Components of the blocks of an MCU.
        lookup: Tables that the scan was read by.
        limits: Likewise.
        offsets: Likewise.
        symbols: Likewise.
        codes: Encoding tables, rows as of the decoding ones: for each symbol its code.
        lengths: Likewise: the code's length, 0 for none.
        has_new_codes: Whether codes are others than those that the scan was read by, so that no bits can be copied.
        slots: For each MCU, where its coefficients are, or -1 if they did not change.
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
            if mcu > first and has_new_codes:
                start = bounds[first, 0]
                bit = _recode(
                    words, start, mcu - first, components, lookup, limits, offsets, symbols, codes, lengths, out, bit
                )
            elif mcu > first:
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
