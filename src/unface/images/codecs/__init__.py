"""Codecs: one module a format, between coded and plain pixels.

Each has `decode(parts)`, which returns the stored pixels and what encoding needs, and
`encode(coding, old, new)`, which returns a file like the original with the new pixels.
"""

from types import ModuleType

from unface.images.codecs import bmp, gif, jpeg, png, tiff, webp

CODECS: dict[str, ModuleType] = {
    "jpeg": jpeg, "png": png, "webp": webp, "tiff": tiff, "gif": gif, "bmp": bmp,
}  # fmt: skip
"""Format name to the module that codes its pixels."""
