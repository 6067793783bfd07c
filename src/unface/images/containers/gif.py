"""GIF files as blocks. Source: CompuServe, Graphics Interchange Format 89a."""

import struct
from dataclasses import dataclass, field

from unface.errors import ImageError
from unface.images.header import Header

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9
_NAMES = {0xFE: "comment", 0xFF: "application extension", 0x01: "plain text"}


@dataclass(frozen=True)
class GifParts:
    """What is kept of a GIF file.

    Attributes:
        header: Size and mode.
        version: `87a` or `89a`.
        screen: Flags, background index and aspect ratio of the logical screen.
        global_palette: Global colour table, 3 bytes a colour (may be empty).
        local_palette: The image's own colour table (may be empty).
        transparent: Transparent index, or None.
        flags: Flags of the image descriptor.
        code_bits: LZW minimum code size.
        pixels: LZW data as sub-blocks, the terminator included.
        found: Names of what is not kept.
    """

    header: Header
    version: bytes
    screen: bytes
    global_palette: bytes = field(repr=False)
    local_palette: bytes = field(repr=False)
    transparent: int | None
    flags: int
    code_bits: int
    pixels: bytes = field(repr=False)
    found: tuple[str, ...]

    @property
    def palette(self) -> bytes:
        """The colour table in force, 3 bytes a colour."""
        return self.local_palette or self.global_palette


def matches(data: bytes) -> bool:
    """Whether the bytes begin like a GIF file."""
    return data[:6] in (b"GIF87a", b"GIF89a")


def probe(data: bytes) -> Header:
    """Read the header up to the first image; its pixels are not looked at."""
    reader = _Reader(data)
    reader.to_image()
    return reader.header()


def read(data: bytes) -> GifParts:
    """Take a GIF file apart.

    Raises:
        ImageError: Truncated, damaged, animated, or an image that does not cover the whole screen.
    """
    reader = _Reader(data)
    reader.to_image()
    return reader.parts()


def write(parts: GifParts) -> bytes:
    """Put a GIF file together again: header, tables, one image with its transparency, trailer."""
    width, height = parts.header.width, parts.header.height
    pieces = [b"GIF", parts.version, struct.pack("<HH", width, height), parts.screen, parts.global_palette]
    if parts.transparent is not None:
        pieces.append(struct.pack("<BBBBHBB", _EXTENSION, _GRAPHIC_CONTROL, 4, 1, 0, parts.transparent, 0))
    pieces.append(struct.pack("<BHHHHB", _IMAGE, 0, 0, width, height, parts.flags))
    pieces += [parts.local_palette, bytes([parts.code_bits]), parts.pixels, bytes([_TRAILER])]
    return b"".join(pieces)


def _table_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


class _Reader:
    """Walks over the blocks of a file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 6
        self.size = struct.unpack("<HH", self._bytes(4))
        self.screen = self._bytes(3)
        self.global_palette = self._bytes(_table_bytes(self.screen[0]))
        self.transparent: int | None = None
        self.descriptor = b""
        self.found: list[str] = []

    def header(self) -> Header:
        width, height = self.size
        if not width or not height:
            raise ImageError(f"GIF: expected a size, got {width} x {height}")
        return Header("gif", "RGB" if self.transparent is None else "RGBA", width, height)

    def to_image(self) -> None:
        kind = self._block()
        if kind != _IMAGE:
            raise ImageError("GIF: expected an image, got none")
        self.descriptor = self._bytes(9)

    def parts(self) -> GifParts:
        left, top, width, height, flags = struct.unpack("<HHHHB", self.descriptor)
        if (left, top, width, height) != (0, 0, *self.size):
            raise ImageError("GIF: expected an image that covers the whole screen, got a part of it")
        local_palette = self._bytes(_table_bytes(flags))
        if not (local_palette or self.global_palette):
            raise ImageError("GIF: expected a colour table, got none")
        code_bits = self._bytes(1)[0]
        if not 2 <= code_bits <= 8:
            raise ImageError(f"GIF: expected LZW codes of 2 to 8 bits, got {code_bits}")
        start, transparent = self.position, self.transparent
        self._sub_blocks()
        pixels = self.data[start : self.position]
        self._end()
        header = Header("gif", "RGB" if transparent is None else "RGBA", width, height)
        return GifParts(
            header=header,
            version=b"89a" if transparent is not None else self.data[3:6],
            screen=self.screen,
            global_palette=self.global_palette,
            local_palette=local_palette,
            transparent=transparent,
            flags=flags & 0xC7,
            code_bits=code_bits,
            pixels=pixels,
            found=tuple(dict.fromkeys(self.found)),
        )

    def _end(self) -> None:
        if self._block() == _IMAGE:
            raise ImageError("GIF: expected a still image, got an animation (not supported yet)")
        if self.position < len(self.data):
            self.found.append(f"{len(self.data) - self.position} bytes behind the end")

    def _bytes(self, count: int) -> bytes:
        piece = self.data[self.position : self.position + count]
        if len(piece) < count:
            raise ImageError("GIF: expected a trailer, got the end of the file (truncated)")
        self.position += count
        return piece

    def _sub_blocks(self) -> None:
        data, position = self.data, self.position
        while position < len(data) and data[position]:
            position += data[position] + 1
        self.position = position
        self._bytes(1)

    def _block(self) -> int:
        """Skip extensions up to the next image or the trailer."""
        while True:
            kind = self._bytes(1)[0]
            if kind in (_IMAGE, _TRAILER):
                return kind
            if kind != _EXTENSION:
                raise ImageError(f"GIF: expected a block, got 0x{kind:02x}")
            self._extension(self._bytes(1)[0])

    def _extension(self, label: int) -> None:
        start = self.position
        self._sub_blocks()
        body = self.data[start : self.position]
        if label == _GRAPHIC_CONTROL and len(body) == 6 and body[0] == 4:
            self.transparent = body[4] if body[1] & 1 else None
        else:
            self.found.append(_NAMES.get(label, "unknown extension"))
