"""What a blob is, by its first bytes: an image that can be read, or a picture or film that cannot."""

from unface.images import looks_like_image

HEAD_BYTES = 32
"""How many first bytes tell."""

_OTHERS = (
    (4, b"ftyp", "a film, or an AVIF or HEIF image"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM film"),
    (8, b"AVI ", "an AVI film"),
    (0, b"FLV\x01", "a Flash film"),
    (0, b"\x00\x00\x01\xba", "an MPEG film"),
    (0, b"\x00\x00\x01\xb3", "an MPEG film"),
    (0, b"OggS", "an Ogg film"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"JXL ", "a JPEG XL image"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop image"),
    (0, b"%PDF", "a PDF"),
)


def is_image(head: bytes) -> bool:
    """Whether the bytes begin like an image that can be read."""
    return looks_like_image(head)


def unreadable_medium(head: bytes) -> str:
    """What may show people and cannot be searched for faces: its name, empty where it is nothing of the kind."""
    return next((name for place, magic, name in _OTHERS if head[place : place + len(magic)] == magic), "")
