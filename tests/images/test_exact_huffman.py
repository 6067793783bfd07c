"""Huffman tables: every code is decoded as T.81 has it, and new symbols find room."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unface.images.region.huffman import DamagedTable, HuffmanTable, decoder, encoder, strides, with_symbols
from unface.images.region.kernels import LOOKUP_BITS, STRIDE_BITS


@st.composite
def tables(draw):
    """A table that a file may hold: random lengths as long as there is room, the code of all ones left over."""
    chosen = draw(st.lists(st.integers(0, 255), unique=True, max_size=200))
    room, counts = 0, [0] * 16
    lengths = sorted(draw(st.lists(st.integers(1, 16), min_size=len(chosen), max_size=len(chosen))))
    used = 0
    for length in lengths:
        if room + (1 << (16 - length)) < 1 << 16:
            room += 1 << (16 - length)
            counts[length - 1] += 1
            used += 1
    return HuffmanTable(bytes(counts), bytes(chosen[:used]))


def codes_of(table):
    """Symbol to (code, length), by the flow charts of T.81, annex C."""
    codes, code, place = {}, 0, 0
    for length, count in enumerate(table.counts, 1):
        for _ in range(count):
            codes[table.symbols[place]] = (code, length)
            code += 1
            place += 1
        code <<= 1
    return codes


@given(table=tables())
def test_encoder_is_annex_c(table):
    made = encoder(table)
    expected = codes_of(table)
    for symbol in range(256):
        code, length = expected.get(symbol, (0, 0))
        assert made.lengths[symbol] == length
        if length:
            assert made.codes[symbol] == code


@given(table=tables(), tail=st.integers(0, 65535))
def test_decoder_finds_every_code(table, tail):
    made = decoder(table)
    for symbol, (code, length) in codes_of(table).items():
        window = code << (16 - length) | tail & ((1 << (16 - length)) - 1)
        entry = made.lookup[window >> (16 - LOOKUP_BITS)]
        if length <= LOOKUP_BITS:
            assert entry == length << 8 | symbol
            continue
        assert entry == 0
        found = next(n for n in range(LOOKUP_BITS + 1, 17) if window < made.limits[n])
        assert found == length
        assert made.symbols[made.offsets[found] + (window >> (16 - found))] == symbol
    assert made.lookup[-1] == 0
    assert made.limits.max() <= 65535


def stride_of(table, window):
    """Bits and steps of the codes and values that are whole in a window, one code after the other."""
    codes = {format(code, f"0{length}b"): symbol for symbol, (code, length) in codes_of(table).items()}
    rest, used, steps = format(window, f"0{STRIDE_BITS}b"), 0, 0
    while True:
        length = next((n for n in range(1, min(len(rest), LOOKUP_BITS) + 1) if rest[:n] in codes), None)
        symbol = codes[rest[:length]] if length else None
        if length is None or length + symbol % 16 > len(rest):
            return used, steps
        is_known = symbol % 16 or symbol in (0x00, 0xF0)
        if not is_known:  # a symbol that nothing is defined for: alone, and too far in any case
            return (used, steps) if used else (length, 128)
        rest, used = rest[length + symbol % 16 :], used + length + symbol % 16
        if symbol == 0:
            return used, steps + 256
        steps += symbol // 16 + 1
        if steps >= 128:
            return used, steps


@settings(max_examples=30, deadline=None)
@given(table=tables(), seed=st.integers(0, 99))
def test_strides_are_the_codes_one_after_the_other(table, seed):
    filled = strides(table)
    for window in np.random.default_rng(seed).integers(0, 1 << STRIDE_BITS, 200).tolist():
        assert (filled[window] >> 16, filled[window] & 0xFFFF) == stride_of(table, window)


@given(table=tables(), new=st.sets(st.integers(0, 255), min_size=1))
def test_new_symbols_find_room(table, new):
    wanted = sorted(new - set(table.symbols))
    made = with_symbols(table, wanted)
    assert set(made.symbols) == set(table.symbols) | set(wanted)
    codes = sorted((format(code, f"0{length}b")) for code, length in codes_of(made).values())
    assert all(not b.startswith(a) for a, b in pairwise(codes))
    assert all("0" in code and len(code) <= 16 for code in codes)
    lengths = encoder(made).lengths
    if table.symbols and wanted:
        assert lengths[wanted].min() >= lengths[table.symbols[0]]


def test_new_codes_cost_little():
    counts = bytes([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125])  # T.81, table K.5
    table = HuffmanTable(counts, bytes(range(162)))
    more = with_symbols(table, [200])
    old, new = encoder(table).lengths[:162].astype(float), encoder(more).lengths[:162].astype(float)
    frequencies = 2.0**-old
    assert (frequencies * new).sum() <= (frequencies * old).sum() * 1.02


@pytest.mark.parametrize(
    ("counts", "symbols"),
    [
        (bytes([2] + [0] * 15), b"\0\1"),
        (bytes([0, 5] + [0] * 14), b"\0\1\2\3\4"),
        (bytes([1, 1] + [0] * 14), b"\5\5"),
        (bytes([1] + [0] * 15), b""),
        (bytes([1] + [0] * 14), b"\0"),
        (bytes([0] * 15 + [255]), bytes(range(254))),
    ],
)
def test_damaged_tables_are_refused(counts, symbols):
    with pytest.raises(DamagedTable):
        HuffmanTable(counts, symbols)


def test_tables_of_nothing():
    empty = HuffmanTable(bytes(16), b"")
    assert not decoder(empty).lookup.any()
    assert not encoder(empty).lengths.any()
    assert with_symbols(empty, [7]).symbols == b"\7"
    assert np.array_equal(encoder(with_symbols(empty, [7])).codes[[7]], [0])
