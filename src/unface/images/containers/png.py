"""PNG files as chunks. Source: W3C, Portable Network Graphics (Third Edition)."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from unface.errors import ImageError
from unface.images import exif, icc
from unface.images.header import Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PROFILE_NAME = b"ICC Profile"

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_MODES = {0: "L", 2: "RGB", 3: "RGB", 4: "LA", 6: "RGBA"}
_LENGTHS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
_SBIT_LENGTHS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_BKGD_LENGTHS = {0: 2, 2: 6, 3: 1, 4: 2, 6: 6}
_TRNS_LENGTHS = {0: 2, 2: 6}
_NAMES = {b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"tIME": "time"}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, column step, row step of each pass."""

Chunk = tuple[bytes, bytes]
"""Type (4 bytes) and body."""


@dataclass(frozen=True)
class PngParts:
    """What is kept of a PNG file.

    Attributes:
        header: Size, mode and orientation.
        depth: Bits a sample: 1, 2, 4, 8 or 16.
        color: Colour type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        interlaced: Whether the rows are in Adam7 order.
        chunks: Kept chunks between IHDR and IDAT, without eXIf.
        pixels: Bodies of the IDAT chunks.
        found: Names of what is not kept.
    """

    header: Header
    depth: int
    color: int
    interlaced: bool
    chunks: tuple[Chunk, ...] = field(repr=False)
    pixels: tuple[bytes, ...] = field(repr=False)
    found: tuple[str, ...]

    def chunk(self, kind: bytes) -> bytes | None:
        """Body of the kept chunk of this type, or None."""
        return dict(self.chunks).get(kind)


def matches(data: bytes) -> bool:
    """Whether the bytes begin like a PNG file."""
    return data.startswith(SIGNATURE)


def probe(data: bytes) -> Header:
    """Read the header and find the orientation; chunk bodies are skipped unread."""
    chunks = _chunks(data)
    width, height, _, color, _ = _ihdr(data, next(chunks))
    has_alpha, orientation = color in (4, 6), 0
    for kind, start, end in chunks:
        has_alpha |= kind == b"tRNS" and color == 3
        if kind == b"eXIf" and not orientation:
            orientation = exif.orientation_of(data[start:end])
    return Header("png", _mode(color, has_alpha), width, height, orientation or 1)


def read(data: bytes) -> PngParts:
    """Take a PNG file apart; checksums of the kept chunks are checked, the pixels are not inflated.

    Raises:
        ImageError: Truncated, damaged, out of order or animated.
    """
    walk = _chunks(data)
    first = next(walk)
    _check_sum(data, first)
    width, height, depth, color, interlaced = _ihdr(data, first)
    reader = _Reader(data, color)
    for chunk in walk:
        reader.take(chunk)
    return PngParts(
        header=Header("png", _mode(color, b"tRNS" in reader.kept), width, height, reader.orientation or 1),
        depth=depth,
        color=color,
        interlaced=interlaced,
        chunks=tuple(reader.kept.items()),
        pixels=reader.finish(),
        found=tuple(dict.fromkeys(reader.found)),
    )


def exact(parts: PngParts) -> PngParts:
    """Check that the compressed pixels hold exactly the image; what they hold beyond it is cut off.

    Raises:
        ImageError: Too few pixels, or a damaged stream.
    """
    expected = inflated_bytes(parts)
    stream, size, unused = zlib.decompressobj(), 0, False
    try:
        for body in parts.pixels:
            unused |= stream.eof and bool(body)
            pending = body
            while pending and not stream.eof and size <= expected:
                size += len(stream.decompress(pending, 1 << 20))
                pending = stream.unconsumed_tail
        while not stream.eof and size <= expected and (more := stream.decompress(b"", 1 << 20)):
            size += len(more)
    except zlib.error as error:
        raise ImageError("PNG: expected a sound deflate stream, got a damaged one") from error
    unused |= bool(stream.unused_data)
    if size < expected or (size == expected and not stream.eof):
        raise ImageError(f"PNG: expected {expected} bytes of pixels, got {size} (truncated)")
    if size == expected and not unused:
        return parts
    whole = zlib.decompressobj().decompress(b"".join(parts.pixels), expected)
    found = (*parts.found, "data behind the pixels")
    return PngParts(
        parts.header, parts.depth, parts.color, parts.interlaced, parts.chunks, (zlib.compress(whole),), found
    )


def write(parts: PngParts) -> bytes:
    """Put a PNG file together again."""
    size = struct.pack(">IIBB", parts.header.width, parts.header.height, parts.depth, parts.color)
    chunks = [(b"IHDR", size + bytes([0, 0, parts.interlaced])), *parts.chunks]
    if parts.header.orientation != 1:
        chunks.append((b"eXIf", exif.orientation_only(parts.header.orientation)))
    chunks += [(b"IDAT", body) for body in parts.pixels]
    chunks.append((b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        for kind, body in chunks
    )


def inflated_bytes(parts: PngParts) -> int:
    """Bytes of filtered rows that the compressed pixels must hold."""
    bits = parts.depth * _CHANNELS[parts.color]
    width, height = parts.header.width, parts.header.height
    if not parts.interlaced:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for x, y, dx, dy in _PASSES:
        columns, rows = -((x - width) // dx), -((y - height) // dy)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def _mode(color: int, has_alpha: bool) -> str:
    return "RGBA" if color == 3 and has_alpha else _MODES[color]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of each chunk's body, IEND included."""
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ImageError("PNG: expected an IEND chunk, got the end of the file (truncated)")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise ImageError("PNG: expected a whole chunk, got the end of the file (truncated)")
        yield kind, position + 8, end
        position = end + 4
    yield b"", position, len(data)


def _check_sum(data: bytes, chunk: tuple[bytes, int, int]) -> None:
    _, start, end = chunk
    if zlib.crc32(memoryview(data)[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
        raise ImageError("PNG: expected a matching checksum, got a damaged chunk")


def _ihdr(data: bytes, chunk: tuple[bytes, int, int]) -> tuple[int, int, int, int, bool]:
    kind, start, end = chunk
    if kind != b"IHDR" or end - start != 13:
        raise ImageError("PNG: expected an IHDR chunk of 13 bytes first")
    width, height, depth, color, *methods, interlaced = struct.unpack(">IIBBBBB", data[start:end])
    if depth not in _DEPTHS.get(color, ()) or any(methods) or interlaced > 1:
        raise ImageError(f"PNG: expected a known pixel format, got {depth} bits, colour type {color}")
    if not (0 < width < 1 << 31 and 0 < height < 1 << 31):
        raise ImageError(f"PNG: expected a size, got {width} x {height}")
    return width, height, depth, color, bool(interlaced)


class _Reader:
    """Sorts the chunks behind IHDR."""

    def __init__(self, data: bytes, color: int) -> None:
        self.data = data
        self.color = color
        self.kept: dict[bytes, bytes] = {}
        self.pixels: list[bytes] = []
        self.last = b""
        self.orientation = 0
        self.found: list[str] = []

    def take(self, chunk: tuple[bytes, int, int]) -> None:
        kind, start, end = chunk
        if kind == b"":
            if end > start:
                self.found.append(f"{end - start} bytes behind the end")
        elif kind == b"IDAT":
            self._pixels(chunk)
        elif kind == b"eXIf":
            self._exif(self.data[start:end])
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            raise ImageError("PNG: expected a still image, got an animation (not supported yet)")
        elif kind in (b"IHDR", b"PLTE", b"tRNS") and (self.pixels or kind == b"IHDR" or kind in self.kept):
            raise ImageError(f"PNG: expected one {kind.decode()} chunk, before the pixels")
        elif kind == b"IEND":
            _check_sum(self.data, chunk)
        elif kind[:1].isupper() and kind != b"PLTE":
            raise ImageError("PNG: expected known critical chunks, got an unknown one")
        else:
            self._keep(chunk)
        self.last = kind

    def finish(self) -> tuple[bytes, ...]:
        if not self.pixels:
            raise ImageError("PNG: expected image data, got none")
        if self.color == 3 and b"PLTE" not in self.kept:
            raise ImageError("PNG: expected a palette, got none")
        return tuple(self.pixels)

    def _pixels(self, chunk: tuple[bytes, int, int]) -> None:
        if self.pixels and self.last != b"IDAT":
            raise ImageError("PNG: expected consecutive IDAT chunks")
        _check_sum(self.data, chunk)
        self.pixels.append(self.data[chunk[1] : chunk[2]])

    def _exif(self, body: bytes) -> None:
        self.orientation = self.orientation or exif.orientation_of(body)
        self.found += exif.unsafe_parts(body)

    def _keep(self, chunk: tuple[bytes, int, int]) -> None:
        kind, start, end = chunk
        body = self.data[start:end]
        if self._wanted(kind, len(body)):
            _check_sum(self.data, chunk)
            self.kept[kind] = body
        elif kind == b"iCCP" and kind not in self.kept and not self.pixels:
            self._profile(body)
        else:
            xmp = kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0")
            name = kind.decode("ascii") if kind.isalpha() else "unnamed"
            self.found.append("XMP" if xmp else _NAMES.get(kind, f"{name} chunk"))

    def _wanted(self, kind: bytes, length: int) -> bool:
        if self.pixels or kind in self.kept:
            return False
        if kind == b"PLTE":
            return self._wanted_palette(length)
        if kind == b"tRNS":
            return self._wanted_transparency(length)
        if kind == b"sBIT":
            return length == _SBIT_LENGTHS[self.color]
        if kind == b"bKGD":
            return length == _BKGD_LENGTHS[self.color]
        return length == _LENGTHS.get(kind)

    def _wanted_palette(self, length: int) -> bool:
        if self.color == 3 and (length % 3 or not 3 <= length <= 768):
            raise ImageError(f"PNG: expected a palette of 1 to 256 colours, got {length} bytes")
        return self.color == 3

    def _wanted_transparency(self, length: int) -> bool:
        if self.color == 3 and (b"PLTE" not in self.kept or not 1 <= length <= len(self.kept[b"PLTE"]) // 3):
            raise ImageError(f"PNG: expected one tRNS byte a colour of the palette, got {length}")
        if self.color in _TRNS_LENGTHS and length != _TRNS_LENGTHS[self.color]:
            raise ImageError(f"PNG: expected {_TRNS_LENGTHS[self.color]} bytes of tRNS, got {length}")
        return self.color in (0, 2, 3)

    def _profile(self, body: bytes) -> None:
        name, _, rest = body.partition(b"\0")
        stream = zlib.decompressobj()
        try:
            profile = stream.decompress(rest[1:], icc.MAX_PROFILE_BYTES + 1)
        except zlib.error:
            profile = b""
        if rest[:1] != b"\0" or not stream.eof or not icc.is_sound(profile):
            self.found.append("damaged ICC profile")
            return
        if name != PROFILE_NAME or stream.unused_data:
            self.found.append("ICC profile name")
        packed = rest[1 : len(rest) - len(stream.unused_data)]
        self.kept[b"iCCP"] = PROFILE_NAME + b"\0\0" + packed
