"""BMP files: header, palette, pixels. Source: Microsoft, Bitmap Storage (BITMAPINFOHEADER and others)."""

import struct
from dataclasses import dataclass, field

import numpy as np

from unface.errors import ImageError
from unface.images.header import Header

_FILE_HEADER_BYTES = 14
_CORE, _INFO, _OS2 = 12, 40, 64
_SIZES = (_CORE, _INFO, 52, 56, _OS2, 108, 124)
_RAW, _BITFIELDS = 0, 3
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}


@dataclass(frozen=True)
class BmpParts:
    """What is kept of a BMP file.

    Attributes:
        header: Size and mode.
        dib: Information header (and the masks behind one of 40 bytes), cleaned.
        bits: Bits a pixel: 1, 4, 8, 16, 24 or 32.
        top_down: Whether the first stored row is the top one.
        masks: Bit masks of red, green, blue and alpha; zeros with a palette.
        palette: Palette, 4 bytes a colour (3 with a header of 12 bytes): blue, green, red.
        pixels: Rows, each padded to 4 bytes, the padding zero.
        found: Names of what is not kept.
    """

    header: Header
    dib: bytes = field(repr=False)
    bits: int
    top_down: bool
    masks: tuple[int, int, int, int]
    palette: bytes = field(repr=False)
    pixels: bytes = field(repr=False)
    found: tuple[str, ...]

    @property
    def entry_bytes(self) -> int:
        """Bytes of one palette entry."""
        return 3 if len(self.dib) == _CORE else 4


def matches(data: bytes) -> bool:
    """Whether the bytes begin like a BMP file."""
    return data[:2] == b"BM"


def probe(data: bytes) -> Header:
    """Read the header; palette and pixels are not looked at."""
    return _Layout(data).header


def read(data: bytes) -> BmpParts:
    """Take a BMP file apart.

    Raises:
        ImageError: Truncated, damaged, or compressed (RLE, JPEG, PNG).
    """
    layout = _Layout(data)
    found = []
    end = layout.pixels_at + layout.stride * layout.header.height
    if end > len(data):
        raise ImageError(f"BMP: expected {end} bytes, got {len(data)} (truncated)")
    if end < len(data):
        found.append(f"{len(data) - end} bytes behind the end")
    if any(data[layout.palette_end : layout.pixels_at]):
        found.append("gap before the pixels")
    pixels = _without_padding(data[layout.pixels_at : end], layout)
    if pixels != data[layout.pixels_at : end]:
        found.append("row padding")
    parts = BmpParts(
        header=layout.header,
        dib=layout.cleaned(),
        bits=layout.bits,
        top_down=layout.top_down,
        masks=layout.masks,
        palette=layout.palette(),
        pixels=pixels,
        found=(),
    )
    if not found and write(parts) != data:
        found.append("header fields that no reader needs")
    return BmpParts(**{**vars(parts), "found": tuple(found)})


def write(parts: BmpParts) -> bytes:
    """Put a BMP file together again."""
    offset = _FILE_HEADER_BYTES + len(parts.dib) + len(parts.palette)
    start = struct.pack("<2sIHHI", b"BM", offset + len(parts.pixels), 0, 0, offset)
    return b"".join([start, parts.dib, parts.palette, parts.pixels])


def stride_bytes(width: int, bits: int) -> int:
    """Bytes of one stored row, padding included."""
    return (width * bits + 31) // 32 * 4


def _without_padding(pixels: bytes, layout: "_Layout") -> bytes:
    used, rest = divmod(layout.header.width * layout.bits, 8)
    rows = np.frombuffer(pixels, np.uint8).reshape(-1, layout.stride)
    whole = used + bool(rest)
    if not rows[:, whole:].any() and not (rest and (rows[:, used] & (0xFF >> rest)).any()):
        return pixels
    cleaned = rows.copy()
    cleaned[:, whole:] = 0
    if rest:
        cleaned[:, used] &= 0xFF & ~(0xFF >> rest)
    return cleaned.tobytes()


class _Layout:
    """Where things are in a BMP file."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _FILE_HEADER_BYTES + _CORE:
            raise ImageError(f"BMP: expected a header, got {len(data)} bytes (truncated)")
        self.data = data
        self.pixels_at, self.dib_bytes = struct.unpack_from("<II", data, 10)
        if self.dib_bytes not in _SIZES or len(data) < _FILE_HEADER_BYTES + self.dib_bytes:
            raise ImageError(f"BMP: expected a known header, got one of {self.dib_bytes} bytes")
        self.compression = self.resolution = self.colors = 0
        if self.dib_bytes == _CORE:
            width, height, self.bits = struct.unpack_from("<HHxxH", data, 18)
        else:
            width, height, self.bits, self.compression = struct.unpack_from("<iixxHI", data, 18)
            self.colors = struct.unpack_from("<I", data, 46)[0]
        self.top_down = height < 0
        self._check(width, height)
        self.dib_end = _FILE_HEADER_BYTES + self.dib_bytes
        self.masks = self._masks()
        self._palette_size()
        mode = "RGBA" if self.masks[3] else "RGB"
        self.header = Header("bmp", mode, width, abs(height))
        self.stride = stride_bytes(width, self.bits)

    def _check(self, width: int, height: int) -> None:
        if not (0 < width < 1 << 24 and 0 < abs(height) < 1 << 24):
            raise ImageError(f"BMP: expected a size, got {width} x {height}")
        if self.bits not in (1, 4, 8, 16, 24, 32):
            raise ImageError(f"BMP: expected 1, 4, 8, 16, 24 or 32 bits, got {self.bits}")
        if self.compression not in (_RAW, _BITFIELDS) or (self.compression and self.bits not in (16, 32)):
            raise ImageError("BMP: expected uncompressed pixels, got compressed ones (not supported)")
        if self.compression and self.dib_bytes == _OS2:
            raise ImageError("BMP: expected uncompressed pixels, got compressed ones (not supported)")

    def _masks(self) -> tuple[int, int, int, int]:
        if self.bits <= 8:
            return (0, 0, 0, 0)
        if not self.compression:
            return _MASKS[self.bits]
        if self.dib_bytes == _INFO:
            self.dib_end += 12
        red, green, blue = struct.unpack_from("<III", self.data, 54)
        alpha = struct.unpack_from("<I", self.data, 66)[0] if self.dib_bytes >= 56 else 0
        masks = (red, green, blue, alpha)
        used = 0
        for mask in masks:
            low = mask & -mask
            if used & mask or (mask and ((mask // low) & (mask // low + 1) or mask >= 1 << self.bits)):
                raise ImageError("BMP: expected bit masks of separate, unbroken bits")
            used |= mask
        if not (red and green and blue):
            raise ImageError("BMP: expected bit masks for red, green and blue")
        return masks

    def _palette_size(self) -> None:
        entry = 3 if self.dib_bytes == _CORE else 4
        count = 0 if self.bits > 8 else self.colors or 1 << self.bits
        self.palette_end = self.dib_end + entry * count
        if self.bits <= 8 and count > 1 << self.bits:
            raise ImageError(f"BMP: expected at most {1 << self.bits} colours, got {count}")
        if self.palette_end > self.pixels_at:
            raise ImageError("BMP: expected the pixels behind the palette")

    def palette(self) -> bytes:
        """Palette with the reserved bytes zero."""
        palette = bytearray(self.data[self.dib_end : self.palette_end])
        if self.dib_bytes != _CORE:
            palette[3::4] = bytes(len(palette) // 4)
        return bytes(palette)

    def cleaned(self) -> bytes:
        """Information header with only the fields that readers need."""
        dib = bytearray(self.data[_FILE_HEADER_BYTES : self.dib_end])
        if self.dib_bytes == _CORE:
            return bytes(dib)
        struct.pack_into("<H", dib, 12, 1)
        size, _, _, colors, important = struct.unpack_from("<5I", dib, 20)
        count = (self.palette_end - self.dib_end) // 4
        struct.pack_into("<I", dib, 20, size and self.stride * self.header.height)
        struct.pack_into("<I", dib, 32, colors and count)
        struct.pack_into("<I", dib, 36, min(important, count))
        if self.dib_bytes == _OS2:
            dib[40:] = bytes(24)
        if self.dib_bytes >= 108 and bytes(dib[56:60]) in (b"DEBM", b"KNIL"):
            dib[56:60] = b"BGRs"
        if self.dib_bytes == 124:
            struct.pack_into("<III", dib, 112, 0, 0, 0)
        return bytes(dib)
