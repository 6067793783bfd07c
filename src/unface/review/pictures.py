"""Images as browsers can show them: upright, in sRGB, and without metadata. Kept in memory, never on disk."""

import io
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from unface.errors import ImageError, InputError
from unface.images import Photo, decode, probe, scrub
from unface.images.codecs import pillow

LONGEST_SIDE_PX = 4096
"""Larger images are shown smaller; their boxes are still in the image's own pixels."""

_MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_QUALITY = 92
_ARITHMETIC = (b"\xff\xc9", b"\xff\xca")
_MEMORY_BYTES = 256 << 20


class Originals(Protocol):
    """What a review needs of a dataset: see `unface.datasets`."""

    @property
    def kind(self) -> str:
        """`folder`, or a kind of archives."""

    @property
    def root(self) -> Any:
        """Where it is."""

    def has(self, image_id: str) -> bool:
        """Whether there is such an image; ImageError if its name cannot be one."""

    def read(self, image_id: str) -> bytes:
        """An image's bytes; ImageError where it cannot be read."""


@dataclass(frozen=True)
class Picture:
    """A file for a browser."""

    data: bytes
    media_type: str


def show(data: bytes) -> Picture:
    """An image file as a browser can show it.

    Grey and RGB JPEG, PNG and WebP of 8 bits, upright and not too large, keep their coded pixels; `scrub` takes the
    rest out of the file. Everything else (TIFF, BMP, GIF, CMYK, 16 bits, rotated, larger) becomes a JPEG in sRGB. So
    does what has an alpha channel, which is dropped: what a transparent pixel hides is seen, as by the detector.

    Raises:
        ImageError: Not an image that can be read.
    """
    header = probe(data)
    plain = header.format in _MEDIA_TYPES and header.mode in ("L", "RGB") and header.orientation == 1
    if plain and max(header.width, header.height) <= LONGEST_SIDE_PX:
        clean = scrub(data)
        if not _is_uncommon(header.format, clean):
            return Picture(clean, _MEDIA_TYPES[header.format])
    return as_jpeg(decode(data), LONGEST_SIDE_PX)


def _is_uncommon(format: str, clean: bytes) -> bool:
    """Whether browsers may show it otherwise than we decode it: arithmetic JPEG, PNG of 16 bits or with a tRNS."""
    if format == "jpeg":
        return any(marker in clean for marker in _ARITHMETIC)
    return format == "png" and (clean[24] == 16 or b"tRNS" in clean)


def as_jpeg(photo: Photo, longest_side_px: int) -> Picture:
    """A decoded image as an upright JPEG in sRGB, no side longer than given."""
    pixels = _smaller(_srgb(photo), longest_side_px)
    return Picture(pillow.save(pixels, "RGB", "JPEG", quality=_QUALITY, subsampling=0), "image/jpeg")


def _smaller(rgb: NDArray[np.uint8], longest_side_px: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = longest_side_px / max(width, height)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _srgb(photo: Photo) -> NDArray[np.uint8]:
    """Upright pixels in sRGB, by the file's colour profile where it has one that works; shape (H, W, 3)."""
    profile = _profile(photo.coding.parts)
    if profile is None:
        return photo.rgb()
    pixels = photo.upright() if photo.mode == "CMYK" else photo.rgb()
    if photo.mode == "CMYK" and pixels.dtype != np.uint8:
        return photo.rgb()
    source = pillow.image(np.ascontiguousarray(pixels), "CMYK" if photo.mode == "CMYK" else "RGB")
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted: Image.Image | None = ImageCms.profileToProfile(
            source, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):  # made for other channels, or one that LittleCMS refuses
        return photo.rgb()
    return photo.rgb() if converted is None else np.asarray(converted)


def _profile(parts: Any) -> bytes | None:
    if hasattr(parts, "profile"):
        profile: bytes | None = parts.profile
        return profile
    chunk = parts.chunk(b"iCCP") if hasattr(parts, "chunk") else None
    if chunk is None:
        return None
    return zlib.decompress(chunk.partition(b"\0")[2][1:])


class Pictures:
    """The dataset's images as browsers can show them; the latest stay in memory."""

    def __init__(self, dataset: Originals) -> None:
        self._reader, self._kept = Reader(dataset), Kept()

    def picture(self, image_id: str) -> Picture:
        """One image; ImageError where it cannot be read."""
        return self._kept.get(image_id, lambda: show(self._reader.read(image_id)))


class Reader:
    """Reads images for several threads: of archives one at a time, since each is one file that is read by seeking."""

    def __init__(self, dataset: Originals) -> None:
        self._dataset = dataset
        self._turn: AbstractContextManager[Any] = nullcontext() if dataset.kind == "folder" else threading.Lock()

    def read(self, image_id: str) -> bytes:
        """An image's bytes; ImageError where it, or its archive, cannot be read."""
        try:
            with self._turn:
                return self._dataset.read(image_id)
        except InputError as error:
            raise ImageError(str(error)) from None


class Kept:
    """The latest pictures, in memory."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Picture]) -> Picture:
        """The picture of this key, made if it is not there."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        made = make()
        with self._lock:
            if key not in self._pictures:
                self._pictures[key] = made
                self._bytes += len(made.data)
            while self._bytes > _MEMORY_BYTES:
                _, dropped = self._pictures.popitem(last=False)
                self._bytes -= len(dropped.data)
        return made
