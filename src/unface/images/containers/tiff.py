"""TIFF files as one directory of tags and its strips. Source: Adobe, TIFF Revision 6.0."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from unface.errors import ImageError
from unface.images import icc
from unface.images.header import Header

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, PREDICTOR = 282, 283, 284, 296, 317
COLOR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 320, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, PROFILE = 338, 339, 34675

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
NO_COMPRESSION = 1
COMPRESSIONS = {
    1: "raw",
    2: "tiff_ccitt",
    3: "group3",
    4: "group4",
    5: "tiff_lzw",
    8: "tiff_adobe_deflate",
    32773: "packbits",
    32946: "tiff_deflate",
    34925: "lzma",
    50000: "zstd",
}
"""Kept compressions by number, and Pillow's names for them."""

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SINGLE = {
    WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION, SAMPLES, ROWS_PER_STRIP, PLANAR,
    RESOLUTION_UNIT, PREDICTOR, TILE_WIDTH, TILE_HEIGHT,
}  # fmt: skip
_PLACES = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}
_ARRAYS = {
    BITS,
    STRIP_OFFSETS,
    STRIP_BYTES,
    TILE_OFFSETS,
    TILE_BYTES,
    COLOR_MAP,
    EXTRA_SAMPLES,
    SAMPLE_FORMAT,
}
_CCITT_OPTIONS = {292, 293}
_RATIONALS = {X_RESOLUTION: 1, Y_RESOLUTION: 1, 318: 2, 319: 6}
_UNNAMED = {254, 255}
_NAMES = {
    269: "description", 270: "description", 271: "camera", 272: "camera", 285: "description",
    305: "software", 306: "time", 315: "artist", 316: "computer", 330: "sub-image", 700: "XMP",
    33432: "copyright", 33723: "IPTC",
    34377: "Photoshop", 34665: "EXIF", 34853: "GPS", 37500: "maker note", 37724: "Photoshop",
}  # fmt: skip

Values = Sequence[int]


@dataclass(frozen=True)
class TiffParts:
    """What is kept of a TIFF file.

    Attributes:
        header: Size, mode and orientation.
        order: Byte order as `struct` writes it, `<` or `>`.
        tags: Tag to type and values; a RATIONAL is two values. Without orientation, profile and places.
        profile: Sound ICC profile, or None.
        tiled: Whether `blocks` are tiles.
        blocks: Compressed strips or tiles.
        found: Names of what is not kept.
    """

    header: Header
    order: str
    tags: dict[int, tuple[int, Values]] = field(repr=False)
    profile: bytes | None = field(repr=False)
    tiled: bool
    blocks: tuple[bytes, ...] = field(repr=False)
    found: tuple[str, ...]

    def value(self, tag: int, default: int) -> int:
        """First value of a tag."""
        return self.tags[tag][1][0] if tag in self.tags else default

    def values(self, tag: int) -> Values:
        """All values of a tag, none where it is absent."""
        return self.tags[tag][1] if tag in self.tags else ()


def matches(data: bytes) -> bool:
    """Whether the bytes begin like a TIFF file."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def probe(data: bytes) -> Header:
    """Read the header; the pixels are not looked at."""
    return _Directory(data).header()


def read(data: bytes) -> TiffParts:
    """Take a TIFF file apart.

    Raises:
        ImageError: Truncated, damaged, BigTIFF, more than one page, JPEG or another unknown compression.
    """
    directory = _Directory(data)
    if directory.following:
        raise ImageError("TIFF: expected one page, got more (animated or multi-page is not supported yet)")
    tiled, blocks = directory.blocks()
    profile = directory.profile()
    tags = {t: v for t, v in directory.tags.items() if t not in _PLACES | {ORIENTATION, PROFILE}}
    directory.unused()
    found = tuple(dict.fromkeys(directory.found))
    return TiffParts(directory.header(), directory.order, tags, profile, tiled, blocks, found)


def write(parts: TiffParts) -> bytes:
    """Put a TIFF file together again: directory, values, strips or tiles, each at an even position."""
    tags = dict(parts.tags)
    if parts.header.orientation != 1:
        tags[ORIENTATION] = (SHORT, (parts.header.orientation,))
    if parts.profile is not None:
        tags[PROFILE] = (UNDEFINED, parts.profile)
    offsets_tag, bytes_tag = (TILE_OFFSETS, TILE_BYTES) if parts.tiled else (STRIP_OFFSETS, STRIP_BYTES)
    tags[bytes_tag] = (LONG, tuple(map(len, parts.blocks)))
    tags[offsets_tag] = (LONG, (0,) * len(parts.blocks))
    packed = {tag: _pack(parts.order, *value) for tag, value in sorted(tags.items())}
    position = 8 + 2 + 12 * len(tags) + 4
    position += sum(_even(len(value)) for value in packed.values() if len(value) > 4)
    offsets = []
    for block in parts.blocks:
        offsets.append(position)
        position += _even(len(block))
    if position > 0xFFFFFFFF:
        raise ImageError("TIFF: expected less than 4 gigabytes")
    packed[offsets_tag] = _pack(parts.order, LONG, tuple(offsets))
    return _lay_out(parts, tags, packed)


def _lay_out(parts: TiffParts, tags: dict[int, tuple[int, Values]], packed: dict[int, bytes]) -> bytes:
    order = parts.order
    entries, outside = [struct.pack(order + "H", len(packed))], []
    position = 8 + 2 + 12 * len(packed) + 4
    for tag, value in packed.items():
        kind, values = tags[tag]
        count = len(values) // 2 if kind == RATIONAL else len(values)
        entry = struct.pack(order + "HHI", tag, kind, count)
        if len(value) <= 4:
            entries.append(entry + value.ljust(4, b"\0"))
        else:
            entries.append(entry + struct.pack(order + "I", position))
            outside.append(value + bytes(len(value) % 2))
            position += _even(len(value))
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    blocks = (part for block in parts.blocks for part in (block, bytes(len(block) % 2)))
    return b"".join([start, *entries, bytes(4), *outside, *blocks])


def _even(size: int) -> int:
    return size + size % 2


def _pack(order: str, kind: int, values: Values) -> bytes:
    if kind == UNDEFINED:
        return bytes(values)
    return struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)


class _Directory:
    """The first directory of a file."""

    def __init__(self, data: bytes) -> None:
        if data[2:4] in (b"+\0", b"\0+"):
            raise ImageError("TIFF: expected a classic TIFF, got a BigTIFF (not supported)")
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.tags: dict[int, tuple[int, Values]] = {}
        self.found: list[str] = []
        self.used: list[tuple[int, int]] = [(0, 8)]
        self.following = 0
        self._entries()

    def _entries(self) -> None:
        start = self._unpack("I", 4)[0]
        count = self._unpack("H", start)[0]
        end = start + 2 + 12 * count
        self.following = self._unpack("I", end)[0]
        self.used.append((start, end + 4))
        for position in range(start + 2, end, 12):
            tag, kind, number = self._unpack("HHI", position)
            self._entry(tag, kind, number, position + 8)

    def _entry(self, tag: int, kind: int, count: int, position: int) -> None:
        kept = tag in _SINGLE | _ARRAYS | _CCITT_OPTIONS or tag in _RATIONALS or tag == PROFILE
        if not kept or tag in self.tags:
            if tag not in _UNNAMED:
                self.found.append(_NAMES.get(tag, f"tag {tag}"))
            return
        size = _TYPE_BYTES.get(kind, 0) * count
        if size > 4:
            position = self._unpack("I", position)[0]
            self.used.append((position, position + size))
        if not size or position + size > len(self.data):
            raise ImageError(f"TIFF: expected a value for tag {tag}, got the end of the file or a wrong type")
        if tag == PROFILE:
            self.tags[tag] = (UNDEFINED, (position, size))
        elif tag in _RATIONALS:
            self._rational(tag, kind, count, position)
        else:
            self._integers(tag, kind, count, position)

    def _rational(self, tag: int, kind: int, count: int, position: int) -> None:
        if kind == RATIONAL and count == _RATIONALS[tag]:
            self.tags[tag] = (kind, self._unpack(f"{2 * count}I", position))
        else:
            self.found.append(f"tag {tag}")

    def _integers(self, tag: int, kind: int, count: int, position: int) -> None:
        if kind not in (SHORT, LONG) or (tag not in _ARRAYS and count != 1):
            raise ImageError(f"TIFF: expected an integer in tag {tag}, got type {kind}, count {count}")
        self.tags[tag] = (kind, self._unpack(f"{count}{'H' if kind == SHORT else 'I'}", position))

    def _unpack(self, layout: str, position: int) -> Values:
        if position + struct.calcsize(self.order + layout) > len(self.data):
            raise ImageError("TIFF: expected a whole directory, got the end of the file (truncated)")
        return struct.unpack_from(self.order + layout, self.data, position)

    def value(self, tag: int, default: int) -> int:
        return self.tags[tag][1][0] if tag in self.tags else default

    def header(self) -> Header:
        width, height = self.value(WIDTH, 0), self.value(HEIGHT, 0)
        if not (0 < width < 1 << 31 and 0 < height < 1 << 31):
            raise ImageError(f"TIFF: expected a size, got {width} x {height}")
        orientation = self.value(ORIENTATION, 1)
        valid = 1 <= orientation <= 8
        return Header("tiff", self._mode(), width, height, orientation if valid else 1)

    def _mode(self) -> str:
        samples = self.value(SAMPLES, 1)
        photometric = self.value(PHOTOMETRIC, -1)
        extra = self.tags[EXTRA_SAMPLES][1] if EXTRA_SAMPLES in self.tags else ()
        color = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}.get(photometric)
        bits = self.tags[BITS][1] if BITS in self.tags else (1,)
        formats = self.tags[SAMPLE_FORMAT][1] if SAMPLE_FORMAT in self.tags else (1,)
        if color is None or not color <= samples <= color + 2 or len(extra) > samples:
            raise ImageError(
                f"TIFF: expected grey, RGB, palette or CMYK, got photometric {photometric}, {samples} samples"
            )
        if len(set(bits)) != 1 or len(bits) > samples or bits[0] not in (1, 2, 4, 8, 16) or {*formats} - {1, 4}:
            raise ImageError("TIFF: expected unsigned samples of 1, 2, 4, 8 or 16 bits")
        alpha = samples - color >= 1 and (extra[:1] or (2,))[0] != 0
        if photometric == PALETTE:
            return "RGB"
        return {1: "L", 3: "RGB", 4: "CMYK"}[color] + "A" * (alpha and photometric in (BLACK_IS_ZERO, RGB))

    def blocks(self) -> tuple[bool, tuple[bytes, ...]]:
        """Strips or tiles; of uncompressed ones just the bytes of the image."""
        header = self.header()
        compression = self.value(COMPRESSION, 1)
        if compression not in COMPRESSIONS:
            raise ImageError(f"TIFF: expected a lossless compression, got number {compression} (not supported)")
        tiled = TILE_OFFSETS in self.tags
        if tiled and STRIP_OFFSETS in self.tags:
            raise ImageError("TIFF: expected strips or tiles, got both")
        kinds = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
        offsets, sizes = (self.tags[tag][1] if tag in self.tags else () for tag in kinds)
        expected = self._block_bytes(header, tiled)
        if len(offsets) != len(expected) or len(sizes) != len(expected):
            raise ImageError(f"TIFF: expected {len(expected)} strips or tiles, got {len(offsets)}")
        if sum(sizes) > len(self.data):
            raise ImageError("TIFF: expected strips that do not overlap")
        pieces = []
        for offset, size, need in zip(offsets, sizes, expected, strict=True):
            if offset + size > len(self.data) or not size or (compression == NO_COMPRESSION and size < need):
                raise ImageError("TIFF: expected whole strips, got the end of the file (truncated)")
            kept = need if compression == NO_COMPRESSION else size
            pieces.append(self.data[offset : offset + kept])
            self.used.append((offset, offset + kept))
        return tiled, tuple(pieces)

    def _block_bytes(self, header: Header, tiled: bool) -> list[int]:
        """Uncompressed bytes of each strip or tile."""
        samples, bits = self.value(SAMPLES, 1), self.value(BITS, 1)
        planes, together = (samples, 1) if self.value(PLANAR, 1) == 2 else (1, samples)
        width, height = header.width, header.height
        if tiled:
            across, down = self.value(TILE_WIDTH, 0), self.value(TILE_HEIGHT, 0)
            if not across or not down:
                raise ImageError("TIFF: expected a tile size, got none")
            count = -(-width // across) * -(-height // down) * planes
            rows = [down] * self._sane(count)
        else:
            across, down = width, min(self.value(ROWS_PER_STRIP, height), height)
            if not down:
                raise ImageError("TIFF: expected rows in a strip, got none")
            strips = self._sane(-(-height // down) * planes) // planes
            rows = ([down] * (strips - 1) + [height - down * (strips - 1)]) * planes
        return [row * ((across * together * bits + 7) // 8) for row in rows]

    def _sane(self, count: int) -> int:
        if count > len(self.data):
            raise ImageError(f"TIFF: expected {count} strips or tiles, got fewer (truncated)")
        return count

    def profile(self) -> bytes | None:
        if PROFILE not in self.tags:
            return None
        position, size = self.tags[PROFILE][1]
        profile = self.data[position : position + size]
        if icc.is_sound(profile):
            return profile
        self.found.append("damaged ICC profile")
        return None

    def unused(self) -> None:
        """Report bytes that are neither directory, value nor pixels; single zero bytes are alignment."""
        position = total = 0
        for start, end in [*sorted(self.used), (len(self.data), len(self.data))]:
            gap = self.data[position:start]
            total += len(gap) if len(gap) > 1 or gap.strip(b"\0") else 0
            position = max(position, end)
        if total and not self.found:
            self.found.append(f"{total} bytes that are not part of the image")
