"""Which colour profiles are sound enough to keep. Source: ICC.1:2022, section 7."""

import struct

MAX_PROFILE_BYTES = 16 << 20
"""Larger profiles are dropped; real ones have a few hundred bytes to a few megabytes."""

_HEADER_BYTES = 128


def is_sound(profile: bytes) -> bool:
    """Whether the size field, the signature and the tag table of an ICC profile agree with its bytes."""
    if not _HEADER_BYTES + 4 <= len(profile) <= MAX_PROFILE_BYTES:
        return False
    size, count = struct.unpack_from(">I", profile)[0], struct.unpack_from(">I", profile, _HEADER_BYTES)[0]
    table_end = _HEADER_BYTES + 4 + 12 * count
    if size != len(profile) or profile[36:40] != b"acsp" or table_end > size:
        return False
    entries = struct.iter_unpack(">4sII", profile[_HEADER_BYTES + 4 : table_end])
    return all(offset >= table_end and offset + length <= size for _, offset, length in entries)
