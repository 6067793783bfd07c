"""The one EXIF field an image needs, Orientation, and the names of those it must not have.

Source: CIPA DC-008 (Exif 2.32) and TIFF 6.0, whose directories EXIF uses.
"""

import struct

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _MAKER_NOTE = 0x0112, 0x8769, 0x8825, 0x927C
_INTEGER_TYPES = {3: "H", 4: "I"}

Directory = dict[int, tuple[int, int, int]]
"""Tag to (type, count, position of the value field)."""


def orientation_of(exif: bytes) -> int:
    """Orientation in an EXIF block (with or without the `Exif` prefix); 1 where it is absent or invalid."""
    tiff, order = _tiff(exif)
    entries, _ = _directory(tiff, order, _first(tiff, order))
    value = _integer(tiff, order, entries, _ORIENTATION)
    return value if value is not None and 1 <= value <= 8 else 1


def orientation_only(orientation: int) -> bytes:
    """EXIF block, without the `Exif` prefix, that holds the Orientation tag and nothing else."""
    entry = struct.pack(">HHIHH", _ORIENTATION, 3, 1, orientation, 0)
    return b"MM\x00\x2a" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def unsafe_parts(exif: bytes) -> list[str]:
    """Names of what an EXIF block holds beside an orientation that is not 1."""
    tiff, order = _tiff(exif)
    orientation = orientation_of(exif)
    if orientation != 1 and tiff == orientation_only(orientation):
        return []
    found = ["EXIF"]
    entries, following = _directory(tiff, order, _first(tiff, order))
    if following:
        found.append("EXIF thumbnail")
    if _GPS_IFD in entries:
        found.append("GPS")
    position = _integer(tiff, order, entries, _EXIF_IFD)
    if position is not None and _MAKER_NOTE in _directory(tiff, order, position)[0]:
        found.append("maker note")
    return found


def _tiff(exif: bytes) -> tuple[bytes, str]:
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    return tiff, ">" if tiff.startswith(b"MM") else "<"


def _first(tiff: bytes, order: str) -> int:
    if len(tiff) < 8 or tiff[:2] not in (b"II", b"MM"):
        return 0
    return int(struct.unpack_from(order + "I", tiff, 4)[0])


def _directory(tiff: bytes, order: str, position: int) -> tuple[Directory, int]:
    if not 8 <= position <= len(tiff) - 2:
        return {}, 0
    count = min(struct.unpack_from(order + "H", tiff, position)[0], (len(tiff) - position - 2) // 12)
    entries: Directory = {}
    for start in range(position + 2, position + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", tiff, start)
        entries.setdefault(tag, (kind, number, start + 8))
    end = position + 2 + 12 * count
    following = struct.unpack_from(order + "I", tiff, end)[0] if end + 4 <= len(tiff) else 0
    return entries, following


def _integer(tiff: bytes, order: str, entries: Directory, tag: int) -> int | None:
    kind, count, position = entries.get(tag, (0, 0, 0))
    if kind not in _INTEGER_TYPES or count != 1:
        return None
    return int(struct.unpack_from(order + _INTEGER_TYPES[kind], tiff, position)[0])
