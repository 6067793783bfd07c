"""Images as files and as pixels: the only code that decodes, encodes and cleans them."""

from unface.images.codecs.coding import Coding
from unface.images.containers import MAX_PIXELS, audit, looks_like_image, probe, scrub
from unface.images.header import Header
from unface.images.photo import Photo, decode, decode_region, decode_rows, encode, encode_region, upright_jpeg

SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"}
)
"""Lower-case suffixes of the supported formats. Files are told apart by their content, not by these."""

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Coding",
    "Header",
    "Photo",
    "audit",
    "decode",
    "decode_region",
    "decode_rows",
    "encode",
    "encode_region",
    "looks_like_image",
    "probe",
    "scrub",
    "upright_jpeg",
]
