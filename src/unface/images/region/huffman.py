"""Huffman tables of JPEG: as a file gives them, for decoding, for encoding, and with more symbols.

Source: ITU-T T.81, B.2.4.2 (how a file gives them), annex C (codes), F.2.2.3 (decoding), K.2 (making them).
"""

import heapq
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unface.images.region.kernels import LOOKUP_BITS, STRIDE_BITS, fill_lookup, fill_strides

_LONGEST = 16


class DamagedTable(Exception):
    """Not a Huffman table that every decoder reads alike."""


@dataclass(frozen=True)
class HuffmanTable:
    """A Huffman table as a file gives it.

    Attributes:
        counts: How many codes of 1 to 16 bits there are: 16 bytes.
        symbols: The symbols, shortest code first.

    Raises:
        DamagedTable: More codes than there can be, or two of one symbol.
    """

    counts: bytes
    symbols: bytes

    def __post_init__(self) -> None:
        if len(self.counts) != _LONGEST or len(self.symbols) != sum(self.counts):
            raise DamagedTable("expected 16 counts and as many symbols")
        room = (1 << _LONGEST) - sum(count << (_LONGEST - 1 - i) for i, count in enumerate(self.counts))
        if len(set(self.symbols)) != len(self.symbols) or room < 1:
            raise DamagedTable("expected different symbols, and room for the code of all ones")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bits of each symbol's code."""
        return np.repeat(np.arange(1, _LONGEST + 1), np.frombuffer(self.counts, np.uint8))


@dataclass(frozen=True, eq=False)
class Decoder:
    """A table for decoding.

    Attributes:
        lookup: For each beginning of `LOOKUP_BITS` bits: the length of the code times 256, plus its symbol; 0
            if the code is longer or there is none. int32, shape (1024,).
        limits: For each length: where, among all 16 bits, longer codes begin. int32, shape (17,).
        offsets: For each length: what to add to a code for its symbol's place. int32, shape (17,).
        symbols: The symbols, shortest code first, then zeros. uint8, shape (256,).
    """

    lookup: NDArray[np.int32] = field(repr=False)
    limits: NDArray[np.int32] = field(repr=False)
    offsets: NDArray[np.int32] = field(repr=False)
    symbols: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Encoder:
    """A table for encoding.

    Attributes:
        codes: For each symbol its code. int32, shape (256,).
        lengths: For each symbol the bits of its code, 0 if it has none. uint8, shape (256,).
    """

    codes: NDArray[np.int32] = field(repr=False)
    lengths: NDArray[np.uint8] = field(repr=False)


@lru_cache(maxsize=64)
def decoder(table: HuffmanTable) -> Decoder:
    """The table for decoding (T.81, F.2.2.3)."""
    symbols = np.zeros(256, np.uint8)
    symbols[: len(table.symbols)] = np.frombuffer(table.symbols, np.uint8)
    lookup = np.zeros(1 << LOOKUP_BITS, np.int32)
    limits, offsets = np.zeros((2, _LONGEST + 1), np.int32)
    fill_lookup(np.frombuffer(table.counts, np.uint8), symbols, lookup, limits, offsets)
    return Decoder(lookup, limits, offsets, symbols)


@lru_cache(maxsize=64)
def strides(table: HuffmanTable) -> NDArray[np.int32]:
    """A table of AC codes for passing over them, shape (4096,).

    For each beginning of `STRIDE_BITS` bits: bits of all codes that are whole in it and of the values behind them,
    times 65536, plus their steps along the zigzag, and 256 for the end of the block; 0 if no code is whole.
    """
    filled = np.zeros(1 << STRIDE_BITS, np.int32)
    fill_strides(decoder(table).lookup, filled)
    return filled


@lru_cache(maxsize=64)
def encoder(table: HuffmanTable) -> Encoder:
    """The table for encoding (T.81, annex C)."""
    codes, lengths = np.zeros(256, np.int32), np.zeros(256, np.uint8)
    symbols = np.frombuffer(table.symbols, np.uint8)
    lengths[symbols] = table.lengths
    codes[symbols] = (_ends(table) >> (_LONGEST - table.lengths)) - 1
    return Encoder(codes, lengths)


def with_symbols(table: HuffmanTable, symbols: list[int]) -> HuffmanTable:
    """A table that has more symbols; codes of the old ones may become longer or shorter.

    Made as by T.81, K.2, with frequencies that the old codes suggest, the new symbols being the rarest.
    """
    weights = [
        (1 << (_LONGEST - length), symbol) for length, symbol in zip(table.lengths.tolist(), table.symbols, strict=True)
    ]
    weights += [(1, symbol) for symbol in symbols]
    weights.sort(key=lambda pair: -pair[0])
    counts = _at_most_16(_code_lengths([weight for weight, _ in weights]))
    return HuffmanTable(bytes(counts), bytes(symbol for _, symbol in weights))


def _ends(table: HuffmanTable) -> NDArray[np.int64]:
    """For each code, followed by zeros up to 16 bits, the number after its last continuation."""
    return np.cumsum(1 << (_LONGEST - table.lengths))


def _code_lengths(weights: list[int]) -> list[int]:
    """How many codes of each length, 0 on, an optimal code has beside the code of all ones (T.81, K.2)."""
    heap: list[tuple[int, int, tuple[int, ...]]] = [
        (weight, number, (number,)) for number, weight in enumerate([*weights, 0])
    ]
    heapq.heapify(heap)
    depths = [0] * len(heap)
    while len(heap) > 1:
        a, b = heapq.heappop(heap), heapq.heappop(heap)
        members = a[2] + b[2]
        for member in members:
            depths[member] += 1
        heapq.heappush(heap, (a[0] + b[0], a[1], members))
    counts = [0] * (max(max(depths), _LONGEST) + 1)
    for depth in depths:
        counts[depth] += 1
    return counts


def _at_most_16(counts: list[int]) -> list[int]:
    """How many codes of 1 to 16 bits, one less of the longest: the one of all ones (T.81, figures K.3 and K.4)."""
    counts = list(counts)
    for length in range(len(counts) - 1, _LONGEST, -1):
        while counts[length]:
            shorter = length - 2
            while not counts[shorter]:
                shorter -= 1
            counts[length] -= 2
            counts[length - 1] += 1
            counts[shorter] -= 1
            counts[shorter + 1] += 2
    longest = max(length for length, count in enumerate(counts) if count)
    counts[longest] -= 1
    return counts[1 : _LONGEST + 1]
