"""WebP files as RIFF chunks. Source: RFC 9649."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from unface.errors import ImageError
from unface.images import exif, icc
from unface.images.header import Header

_ICC_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _ANIMATION_FLAG = 0x20, 0x10, 0x08, 0x02
_NAMES = {b"XMP ": "XMP"}


@dataclass(frozen=True)
class WebpParts:
    """What is kept of a WebP file.

    Attributes:
        header: Size, mode and orientation.
        lossless: Whether the pixels are VP8L.
        extended: Whether the file has a VP8X chunk.
        profile: Sound ICC profile, or None.
        alpha: Body of the ALPH chunk, or None.
        pixels: Body of the VP8 or VP8L chunk.
        found: Names of what is not kept.
    """

    header: Header
    lossless: bool
    extended: bool
    profile: bytes | None = field(repr=False)
    alpha: bytes | None = field(repr=False)
    pixels: bytes = field(repr=False)
    found: tuple[str, ...]


def matches(data: bytes) -> bool:
    """Whether the bytes begin like a WebP file."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def probe(data: bytes) -> Header:
    """Read the header and find the orientation; the pixels are not looked at."""
    width = height = orientation = 0
    has_alpha = False
    for kind, start, end in _chunks(data):
        if kind == b"VP8X" and not width:
            width, height, flags = _extended(data[start:end])
            has_alpha |= bool(flags & _ALPHA_FLAG)
        elif kind in (b"VP8 ", b"VP8L") and (not width or kind == b"VP8L"):
            width, height, alpha = _frame(kind, data[start : min(end, start + 16)])
            has_alpha |= alpha
        elif kind == b"EXIF" and not orientation:
            orientation = exif.orientation_of(data[start:end])
        has_alpha |= kind == b"ALPH"
    if not width:
        raise ImageError("WebP: expected an image, got none")
    return Header("webp", "RGBA" if has_alpha else "RGB", width, height, orientation or 1)


def read(data: bytes) -> WebpParts:
    """Take a WebP file apart.

    Raises:
        ImageError: Truncated, damaged or animated.
    """
    reader = _Reader()
    for kind, start, end in _chunks(data):
        reader.take(kind, data[start:end])
        if (end - start) % 2 and data[end : end + 1] != b"\0":
            raise ImageError("WebP: expected zero padding behind a chunk, got something else")
    riff_end = _riff_end(data)
    if len(data) > riff_end:
        reader.found.append(f"{len(data) - riff_end} bytes behind the end")
    return reader.parts()


def write(parts: WebpParts) -> bytes:
    """Put a WebP file together again, the flags of VP8X according to what is there."""
    header = parts.header
    chunks = [(b"VP8L" if parts.lossless else b"VP8 ", parts.pixels)]
    if parts.alpha is not None:
        chunks.insert(0, (b"ALPH", parts.alpha))
    if parts.profile is not None:
        chunks.insert(0, (b"ICCP", parts.profile))
    if header.orientation != 1:
        chunks.append((b"EXIF", exif.orientation_only(header.orientation)))
    if parts.extended or len(chunks) > 1:
        flags = _ICC_FLAG * (parts.profile is not None) | _EXIF_FLAG * (header.orientation != 1)
        flags |= _ALPHA_FLAG * (header.mode == "RGBA")
        sides = (header.width - 1).to_bytes(3, "little") + (header.height - 1).to_bytes(3, "little")
        chunks.insert(0, (b"VP8X", bytes([flags, 0, 0, 0]) + sides))
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _riff_end(data: bytes) -> int:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < 20:
        raise ImageError("WebP: expected as many bytes as the header says, got fewer (truncated)")
    return end


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    position, end = 12, _riff_end(data)
    while position < end:
        if position + 8 > end:
            raise ImageError("WebP: expected a whole chunk, got the end of the file (truncated)")
        kind, length = struct.unpack_from("<4sI", data, position)
        position += 8
        if position + length > end:
            raise ImageError("WebP: expected a whole chunk, got the end of the file (truncated)")
        yield kind, position, position + length
        position += length + length % 2


def _extended(body: bytes) -> tuple[int, int, int]:
    if len(body) != 10:
        raise ImageError(f"WebP: expected a VP8X chunk of 10 bytes, got {len(body)}")
    width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    return width, height, body[0]


def _frame(kind: bytes, start: bytes) -> tuple[int, int, bool]:
    """Width, height and whether the bitstream has alpha."""
    if kind == b"VP8L" and len(start) >= 5 and start[0] == 0x2F and start[4] >> 5 == 0:
        bits = int.from_bytes(start[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if kind == b"VP8 " and len(start) >= 10 and start[3:6] == b"\x9d\x01\x2a" and not start[0] & 1:
        width, height = struct.unpack_from("<HH", start, 6)
        if width & 0x3FFF and height & 0x3FFF:
            return width & 0x3FFF, height & 0x3FFF, False
    raise ImageError("WebP: expected a key frame header, got something else")


class _Reader:
    """Sorts the chunks of a file."""

    def __init__(self) -> None:
        self.canvas: tuple[int, int] | None = None
        self.has_alpha = False
        self.size = (0, 0)
        self.kind = b""
        self.pixels = b""
        self.alpha: bytes | None = None
        self.profile: bytes | None = None
        self.orientation = 0
        self.found: list[str] = []

    def take(self, kind: bytes, body: bytes) -> None:
        if kind in (b"ANIM", b"ANMF"):
            raise ImageError("WebP: expected a still image, got an animation (not supported yet)")
        if kind == b"VP8X":
            self._canvas(body)
        elif kind in (b"VP8 ", b"VP8L"):
            self._image(kind, body)
        elif kind == b"ALPH":
            if self.canvas is None or self.alpha is not None or self.kind:
                raise ImageError("WebP: expected one ALPH chunk, between VP8X and VP8")
            self.alpha, self.has_alpha = body, True
        elif kind == b"ICCP" and self.profile is None:
            self._profile(body)
        elif kind == b"EXIF":
            self.orientation = self.orientation or exif.orientation_of(body)
            self.found += exif.unsafe_parts(body)
        else:
            self.found.append(_NAMES.get(kind, "unknown chunk"))

    def parts(self) -> WebpParts:
        if not self.kind:
            raise ImageError("WebP: expected an image, got none")
        if self.canvas not in (None, self.size):
            raise ImageError(f"WebP: expected an image as large as the canvas, got {self.size}")
        if self.alpha is not None and self.kind == b"VP8L":
            raise ImageError("WebP: expected ALPH only with VP8, got it with VP8L")
        mode = "RGBA" if self.has_alpha else "RGB"
        return WebpParts(
            header=Header("webp", mode, *self.size, self.orientation or 1),
            lossless=self.kind == b"VP8L",
            extended=self.canvas is not None,
            profile=self.profile,
            alpha=self.alpha,
            pixels=self.pixels,
            found=tuple(dict.fromkeys(self.found)),
        )

    def _canvas(self, body: bytes) -> None:
        if self.canvas is not None or self.kind:
            raise ImageError("WebP: expected one VP8X chunk, first")
        width, height, flags = _extended(body)
        if flags & _ANIMATION_FLAG:
            raise ImageError("WebP: expected a still image, got an animation (not supported yet)")
        self.canvas, self.has_alpha = (width, height), bool(flags & _ALPHA_FLAG)

    def _image(self, kind: bytes, body: bytes) -> None:
        if self.kind:
            raise ImageError("WebP: expected one image, got more")
        width, height, alpha = _frame(kind, body[:16])
        self.kind, self.size, self.pixels = kind, (width, height), body
        self.has_alpha |= alpha

    def _profile(self, body: bytes) -> None:
        if icc.is_sound(body):
            self.profile = body
        else:
            self.found.append("damaged ICC profile")
