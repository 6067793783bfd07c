"""JPEG files as segments. Source: ITU-T T.81 annex B (markers), T.871 (JFIF), Adobe TN 5116 (APP14)."""

import re
import struct
from dataclasses import dataclass, field
from operator import itemgetter

from unface.errors import ImageError
from unface.images import exif, icc
from unface.images.header import Header

_SOI, _EOI, _SOS, _DNL, _COM = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
_DHT, _DAC, _DQT, _DRI = 0xC4, 0xCC, 0xDB, 0xDD
FRAMES = {0xC0: False, 0xC1: False, 0xC2: True, 0xC9: False, 0xCA: True}
"""Supported start-of-frame markers, and whether they mean progressive."""
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF}
_TABLES = {_DHT, _DAC, _DQT, _DRI}
_WITHOUT_BODY = {0x01, *range(0xD0, 0xD8)}

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_ICC_PREFIX = b"ICC_PROFILE\0"
_ICC_BYTES_A_SEGMENT = 65533 - len(_ICC_PREFIX) - 2
_NAMES = (
    (0xE1, b"http://ns.adobe.com/x", "XMP"),
    (0xE2, b"MPF\0", "MPF preview"),
    (0xE0, b"JFXX\0", "JFXX thumbnail"),
    (0xED, b"", "IPTC"),
    (_COM, b"", "comment"),
)


@dataclass(frozen=True)
class Component:
    """One colour component of the frame: its id, sampling factors and quantisation table."""

    id: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True)
class JpegParts:
    """What is kept of a JPEG file.

    Attributes:
        header: Size, mode and orientation.
        components: Colour components of the frame, in its order.
        progressive: Whether the frame is progressive.
        tables: Quantisation tables by number, 64 values each in natural (row by row) order.
        jfif: Body of the JFIF segment without its thumbnail, or None.
        adobe_transform: Colour transform of the Adobe segment (0, 1 or 2), or None without one.
        profile: Sound ICC profile, or None.
        body: Tables, frame and scans, verbatim.
        found: Names of what is not kept.
    """

    header: Header
    components: tuple[Component, ...]
    progressive: bool
    tables: dict[int, tuple[int, ...]] = field(repr=False)
    jfif: bytes | None = field(repr=False)
    adobe_transform: int | None
    profile: bytes | None = field(repr=False)
    body: tuple[bytes, ...] = field(repr=False)
    found: tuple[str, ...]

    @property
    def color(self) -> str:
        """Colour space of the coded components, by libjpeg's rules: L, YCbCr, RGB, CMYK or YCCK."""
        if len(self.components) == 1:
            return "L"
        if len(self.components) == 4:
            return "YCCK" if self.adobe_transform == 2 else "CMYK"
        if self.jfif is not None:
            return "YCbCr"
        if self.adobe_transform is not None:
            return "RGB" if self.adobe_transform == 0 else "YCbCr"
        return "RGB" if bytes(c.id for c in self.components) == b"RGB" else "YCbCr"


def matches(data: bytes) -> bool:
    """Whether the bytes begin like a JPEG file."""
    return data[:3] == b"\xff\xd8\xff"


def probe(data: bytes) -> Header:
    """Read the header; what follows the first scan header is not looked at."""
    return _Reader(data, to_scans=False).parts().header


def read(data: bytes) -> JpegParts:
    """Take a JPEG file apart.

    Raises:
        ImageError: Truncated (also: without EOI), damaged, or a coding process other than Huffman or
            arithmetic, sequential or progressive, 8 bits, 1, 3 or 4 components.
    """
    return _Reader(data, to_scans=True).parts()


def write(parts: JpegParts) -> bytes:
    """Put a JPEG file together again: JFIF, Adobe, Orientation, ICC profile, tables, frame, scans."""
    pieces = [b"\xff\xd8"]
    if parts.jfif is not None:
        pieces.append(_segment(0xE0, parts.jfif))
    if parts.adobe_transform is not None:
        pieces.append(_segment(0xEE, b"Adobe\x00\x64\0\0\0\0" + bytes([parts.adobe_transform])))
    if parts.header.orientation != 1:
        pieces.append(_segment(0xE1, b"Exif\0\0" + exif.orientation_only(parts.header.orientation)))
    profile = parts.profile or b""
    starts = range(0, len(profile), _ICC_BYTES_A_SEGMENT)
    for number, start in enumerate(starts, 1):
        chunk = profile[start : start + _ICC_BYTES_A_SEGMENT]
        pieces.append(_segment(0xE2, _ICC_PREFIX + bytes([number, len(starts)]) + chunk))
    return b"".join([*pieces, *parts.body, b"\xff\xd9"])


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


class _Reader:
    """One pass over the segments of a file."""

    def __init__(self, data: bytes, to_scans: bool) -> None:
        self.data = data
        self.whole = to_scans
        self.frame: bytes | None = None
        self.frame_marker = 0
        self.scans = 0
        self.body: list[bytes] = []
        self.body_end = 0
        self.orientation = 0
        self.jfif: bytes | None = None
        self.adobe_transform: int | None = None
        self.icc_chunks: list[bytes] = []
        self.tables: dict[int, tuple[int, ...]] = {}
        self.scan_tables: dict[int, tuple[int, ...]] = {}
        self.found: list[str] = []
        self._walk()

    def parts(self) -> JpegParts:
        components, mode, width, height = self._frame()
        return JpegParts(
            header=Header("jpeg", mode, width, height, self.orientation or 1),
            components=components,
            progressive=FRAMES[self.frame_marker],
            tables=self.scan_tables,
            jfif=self.jfif,
            adobe_transform=self.adobe_transform,
            profile=self._profile(),
            body=tuple(self.body[: self.body_end]),
            found=tuple(dict.fromkeys(self.found)),
        )

    def _walk(self) -> None:
        position = 2
        while True:
            match = _MARKER.search(self.data, position)
            if match is None:
                raise ImageError("JPEG: expected an end marker, got the end of the file (truncated)")
            marker = match[1][0]
            if match.start() > position and self.data[position : match.start()].strip(b"\xff"):
                self.found.append("junk between segments")
            if marker == _EOI:
                self._end(match.end())
                return
            if marker in _WITHOUT_BODY:
                position = match.end()
                continue
            start, end = match.end(), self._segment_end(match.end())
            if marker == _SOS:
                end = self._scan(start, end)
                if not self.whole:
                    return
            else:
                self._take(marker, self.data[start + 2 : end])
            position = end

    def _segment_end(self, start: int) -> int:
        length = int.from_bytes(self.data[start : start + 2], "big")
        if length < 2 or start + length > len(self.data):
            raise ImageError("JPEG: expected a whole segment, got the end of the file or a wrong length")
        return start + length

    def _end(self, position: int) -> None:
        if not self.scans:
            raise ImageError("JPEG: expected image data, got none before the end marker")
        if len(self.data) > position:
            self.found.append(f"{len(self.data) - position} bytes behind the end")

    def _scan(self, start: int, end: int) -> int:
        if self.frame is None:
            raise ImageError("JPEG: expected a frame header before the first scan")
        self.scans += 1
        if not self.whole:
            return end
        match = _SCAN_END.search(self.data, end)
        if match is None:
            raise ImageError("JPEG: expected an end marker, got the end of the file (truncated)")
        self.body.append(self.data[start - 2 : match.start()].rstrip(b"\xff"))
        self.body_end, self.scan_tables = len(self.body), self.tables
        return match.start()

    def _take(self, marker: int, body: bytes) -> None:
        if marker in FRAMES and self.frame is None:
            self.frame, self.frame_marker = body, marker
            self.body.append(_segment(marker, body))
        elif marker in _TABLES or (marker == _DNL and self.scans == 1):
            self.body.append(_segment(marker, body))
            if marker == _DNL:
                self.body_end = len(self.body)
            if marker == _DQT:
                self._quantisation(body)
        elif marker == _COM or 0xE0 <= marker <= 0xEF:
            self._application(marker, body)
        elif marker in _OTHER_FRAMES:
            raise ImageError("JPEG: expected a sequential or progressive frame, got lossless or hierarchical")
        else:
            raise ImageError(f"JPEG: expected a known segment, got marker 0x{marker:02x}")

    def _quantisation(self, body: bytes) -> None:
        position = 0
        while position < len(body):
            wide, number = body[position] >> 4, body[position] & 15
            values = body[position + 1 : position + 1 + 64 * (1 + bool(wide))]
            position += 1 + len(values)
            if len(values) != 64 * (1 + bool(wide)):
                raise ImageError("JPEG: expected 64 values in a quantisation table, got fewer")
            zigzag = struct.unpack(">64H", values) if wide else tuple(values)
            table = {number: _in_natural_order(zigzag)}
            self.tables = table | self.tables if self.scans else self.tables | table

    def _application(self, marker: int, body: bytes) -> None:
        early = not self.scans
        if marker == 0xE0 and len(body) >= 14 and body.startswith(b"JFIF\0") and early:
            self.jfif = self.jfif or body[:12] + b"\0\0"
            if len(body) > 14 or any(body[12:14]):
                self.found.append("JFIF thumbnail")
        elif marker == 0xEE and len(body) >= 12 and body.startswith(b"Adobe") and early:
            self.adobe_transform = body[11]
            if len(body) > 12:
                self.found.append("APP14 segment")
        elif marker == 0xE2 and body.startswith(_ICC_PREFIX) and early:
            self.icc_chunks.append(body[len(_ICC_PREFIX) :])
        elif marker == 0xE1 and body.startswith(b"Exif\0"):
            if early and not self.orientation:
                self.orientation = exif.orientation_of(body)
            self.found += exif.unsafe_parts(body)
        else:
            named = (name for m, prefix, name in _NAMES if m == marker and body.startswith(prefix))
            self.found.append(next(named, f"APP{marker & 15} segment"))

    def _profile(self) -> bytes | None:
        if not self.icc_chunks:
            return None
        chunks = sorted(self.icc_chunks, key=lambda chunk: chunk[:1])
        order = [chunk[:2] for chunk in chunks]
        profile = b"".join(chunk[2:] for chunk in chunks)
        if order != [bytes([n, len(chunks)]) for n in range(1, min(len(chunks), 255) + 1)]:
            profile = b""
        if not icc.is_sound(profile):
            self.found.append("damaged ICC profile")
            return None
        return profile

    def _frame(self) -> tuple[tuple[Component, ...], str, int, int]:
        frame = self.frame
        if frame is None or len(frame) < 6 or len(frame) != 6 + 3 * frame[5]:
            raise ImageError("JPEG: expected a whole frame header")
        bits, height, width, count = struct.unpack(">BHHB", frame[:6])
        mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(count)
        if bits != 8 or mode is None:
            raise ImageError(f"JPEG: expected 8 bits and 1, 3 or 4 components, got {bits} bits and {count}")
        if not width or not height:
            raise ImageError(f"JPEG: expected a size, got {width} x {height}")
        components = tuple(
            Component(frame[i], frame[i + 1] >> 4, frame[i + 1] & 15, frame[i + 2]) for i in range(6, len(frame), 3)
        )
        if any(not (1 <= c.horizontal <= 4 and 1 <= c.vertical <= 4) for c in components):
            raise ImageError("JPEG: expected sampling factors from 1 to 4")
        return components, mode, width, height


ZIGZAG = (
    0, 1, 5, 6, 14, 15, 27, 28,
    2, 4, 7, 13, 16, 26, 29, 42,
    3, 8, 12, 17, 25, 30, 41, 43,
    9, 11, 18, 24, 31, 40, 44, 53,
    10, 19, 23, 32, 39, 45, 52, 54,
    20, 22, 33, 38, 46, 51, 55, 60,
    21, 34, 37, 47, 50, 56, 59, 61,
    35, 36, 48, 49, 57, 58, 62, 63,
)  # fmt: skip
"""Place in the zigzag sequence of each coefficient in natural order (T.81, figure A.6)."""
_in_natural_order = itemgetter(*ZIGZAG)
