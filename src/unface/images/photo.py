"""A decoded image, and the way to it and back."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.boxes import orient
from unface.errors import ImageError
from unface.images import containers
from unface.images.codecs import CODECS, jpeg
from unface.images.codecs.coding import Coding
from unface.images.containers import MAX_PIXELS
from unface.images.header import Header

Pixels = NDArray[Any]
"""uint8 or uint16, shape (H, W) or (H, W, C)."""

_UPRIGHT_BACK = {6: 8, 8: 6}


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded image.

    Attributes:
        format: `jpeg`, `png`, `webp`, `tiff`, `bmp` or `gif`.
        mode: What the channels mean: `L`, `LA`, `RGB`, `RGBA` or `CMYK` (amounts of ink). Palettes and
            grey of less than 8 bits are expanded; a PNG's transparent colour key stays the colour it is.
        pixels: As stored in the file, uint8 or uint16, shape (H, W) for `L`, else (H, W, C); read-only.
        orientation: EXIF tag 0x0112, 1 to 8.
        coding: What `encode` needs to write a file like the original.
        known_xyxy: Rectangles of upright pixels outside which nothing was decoded, pixels being 0 there, shape
            (N, 4); None if everything was.
    """

    format: str
    mode: str
    pixels: Pixels = field(repr=False)
    orientation: int
    coding: Coding = field(repr=False)
    known_xyxy: NDArray[np.int64] | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, the orientation applied."""
        height, width = self.pixels.shape[:2]
        return (height, width) if self.orientation >= 5 else (width, height)

    def upright(self) -> Pixels:
        """Pixels with the orientation applied: a view, nothing is copied."""
        return _turn(self.pixels, self.orientation)

    def rgb(self) -> NDArray[np.uint8]:
        """Upright pixels for detectors.

        Alpha is dropped, not applied: what a transparent pixel hides is seen. 16 bits become 8, grey is
        repeated, CMYK is converted without a profile.

        Returns:
            Contiguous uint8 RGB, shape (H, W, 3); it may share memory with `pixels`, so do not write to it.
        """
        pixels = self.upright()
        if pixels.dtype == np.uint16:
            pixels = (pixels >> 8).astype(np.uint8)
        if self.mode == "CMYK":
            ink, black = 255 - pixels[:, :, :3].astype(np.uint16), 255 - pixels[:, :, 3:].astype(np.uint16)
            return ((ink * black + 127) // 255).astype(np.uint8)
        if self.mode in ("L", "LA"):
            grey = pixels if self.mode == "L" else pixels[:, :, 0]
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.ascontiguousarray(pixels[:, :, :3])


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a file's bytes.

    The size is checked before a pixel is decoded. The decoders see only the cleaned file, so what was decoded
    is what `containers.scrub` keeps. Damage inside a JPEG scan that ends where it should is not seen: libjpeg
    conceals it (a missing end is seen).

    Args:
        data: The file.
        max_pixels: Largest accepted width times height.

    Raises:
        ImageError: Not a supported image, not wholly readable, animated, too large, or a pixel format that
            cannot be kept (float, 32 bits, LAB, ...).
    """
    _, parts = containers.read(data, max_pixels)
    return _whole(parts)


def decode_region(data: bytes, areas_of: Callable[[Header], NDArray[np.int64]], max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a file of which only some areas are needed, to be written by `encode_region`.

    Of a baseline JPEG only these are made into pixels, the same ones that `decode` makes, and the scans are read once
    for both. Every other file, and a damaged one, is decoded as by `decode`.

    Args:
        data: The file.
        areas_of: Gives the areas, once size and orientation are known: rectangles of upright pixels, half-open, inside
            the image, shape (N, 4).
        max_pixels: Largest accepted width times height.

    Raises:
        ImageError: As `decode`.
    """
    _, parts = containers.read(data, max_pixels)
    header = parts.header
    if header.format == "jpeg":
        areas = areas_of(header)
        decoded = jpeg.decode_region(parts, _stored_rectangles(areas, header))
        if decoded is not None:
            pixels, coding = decoded
            pixels.setflags(write=False)
            return Photo(header.format, header.mode, pixels, header.orientation, coding, areas)
    return _whole(parts)


def decode_rows(data: bytes, rows_of: Callable[[Header], int], max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode a file of which only the upper rows are needed, as fast as can be.

    Of an upright grey or RGB JPEG only these are made, the same ones that `decode` makes; damage below them is not
    seen. Every other file, and one that the fast decoder refuses, is decoded as by `decode`.

    Args:
        data: The file.
        rows_of: Gives how many rows, once the size is known: 1 to the height.
        max_pixels: Largest accepted width times height.

    Raises:
        ImageError: As `decode`.
    """
    _, parts = containers.read(data, max_pixels)
    header = parts.header
    if header.format == "jpeg" and header.orientation == 1:
        rows = rows_of(header)
        pixels = jpeg.decode_rows(parts, rows)
        if pixels is not None:
            pixels.setflags(write=False)
            known = np.array([[0, 0, header.width, rows]])
            return Photo(header.format, header.mode, pixels, 1, Coding(parts), known if rows < header.height else None)
    return _whole(parts)


def upright_jpeg(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes | None:
    """A file as other decoders may have it: its cleaned bytes, if it is a JPEG of upright colours; else None.

    Args:
        data: The file.
        max_pixels: Largest accepted width times height.

    Raises:
        ImageError: As `decode`, but for what is seen in pixels alone.
    """
    module, parts = containers.read(data, max_pixels)
    if parts.header.format != "jpeg" or parts.header.orientation != 1 or parts.color != "YCbCr":
        return None
    clean: bytes = module.write(replace(parts, profile=None))
    return clean


def _whole(parts: Any) -> Photo:
    """Decode everything."""
    header = parts.header
    pixels, coding = CODECS[header.format].decode(parts)
    pixels.setflags(write=False)
    expected = (header.height, header.width, *((len(header.mode),) if header.mode != "L" else ()))
    if pixels.shape != expected:
        raise ImageError(f"image: expected pixels of shape {expected}, got {pixels.shape}")
    return Photo(header.format, header.mode, pixels, header.orientation, coding)


def encode(photo: Photo, upright_pixels: Pixels, jpeg_quality: int | None = None) -> bytes:
    """Encode new pixels as a file like the original: same format, size, mode, orientation, ICC profile.

    Lossless formats stay lossless; pixels with a palette that did not change keep their index. What each
    format keeps is told by `encode` in `unface.images.codecs`. `audit` finds nothing in the result.

    Args:
        photo: The decoded original.
        upright_pixels: New pixels, of shape and dtype of `photo.upright()`.
        jpeg_quality: For a JPEG, libjpeg's quality (1 to 100) with 4:2:0, as most programs write by default,
            in place of the file's own tables and subsampling. Other formats do not look at it.

    Raises:
        ImageError: Wrong shape or dtype, a size that the format cannot have, or not all pixels are known.
    """
    if photo.known_xyxy is not None:
        raise ImageError("encode: expected a photo that was decoded as a whole, got a region")
    if photo.format == "jpeg" and jpeg_quality is not None:
        return jpeg.encode_quality(photo.coding, _stored(photo, upright_pixels), jpeg_quality)
    coded: bytes = CODECS[photo.format].encode(photo.coding, photo.pixels, _stored(photo, upright_pixels))
    return coded


def encode_region(photo: Photo, upright_pixels: Pixels, touched_xyxy: NDArray[np.int64]) -> tuple[bytes, str]:
    """Encode new pixels, and touch no more of the file than they reach.

    A baseline JPEG keeps its tables, and the quantised coefficients of every block without a touched pixel bit for
    bit; with nothing touched, any JPEG keeps its coded pixels. Everything else is done as by `encode`.

    Args:
        photo: The decoded original.
        upright_pixels: New pixels, of shape and dtype of `photo.upright()`.
        touched_xyxy: Rectangles outside which no pixel changed, upright pixels, half-open, shape (M, 4).

    Returns:
        The file, and how it was made: `region`, or `reencoded`.

    Raises:
        ImageError: Wrong shape or dtype, or a pixel outside the rectangles that did change.
    """
    stored = _stored(photo, upright_pixels)
    _check_changes(photo, upright_pixels, touched_xyxy)
    if photo.format == "jpeg":
        header: Header = photo.coding.parts.header
        coded = jpeg.encode_region(photo.coding, stored, _stored_rectangles(touched_xyxy, header))
        if coded is not None:
            return coded, "region"
    return CODECS[photo.format].encode(photo.coding, photo.pixels, stored), "reencoded"


def _check_changes(photo: Photo, upright_pixels: Pixels, touched_xyxy: NDArray[np.int64]) -> None:
    """Refuse changes that would be lost, and perhaps a face's blur with them."""
    touched = _clipped(touched_xyxy, photo.upright_size)
    known = np.array([[0, 0, *photo.upright_size]]) if photo.known_xyxy is None else photo.known_xyxy
    inside = (touched[:, None, :2] >= known[:, :2]).all(axis=2) & (touched[:, None, 2:] <= known[:, 2:]).all(axis=2)
    if not np.any(inside, axis=1).all():
        raise ImageError("encode: expected no change outside the areas that were decoded, got some")
    old = photo.upright()
    for x0, y0, x1, y1 in known.tolist():
        changed = upright_pixels[y0:y1, x0:x1] != old[y0:y1, x0:x1]
        for left, top, right, bottom in (touched - [x0, y0, x0, y0]).clip(0).tolist():
            changed[top:bottom, left:right] = False
        if changed.any():
            raise ImageError("encode: expected no change outside the touched rectangles, got some")


def _clipped(rectangles_xyxy: NDArray[np.int64], size_wh: tuple[int, int]) -> NDArray[np.int64]:
    """Rectangles cut to the image; empty ones are left out."""
    cut: NDArray[np.int64] = np.clip(rectangles_xyxy, 0, (*size_wh, *size_wh))
    return cut[(cut[:, :2] < cut[:, 2:]).all(axis=1)]


def _stored_rectangles(upright_xyxy: NDArray[np.int64], header: Header) -> NDArray[np.int64]:
    """Upright rectangles in stored pixels, cut to the image; empty ones are left out."""
    cut = _clipped(upright_xyxy, header.upright_size)
    if header.orientation == 1:
        return cut
    back = _UPRIGHT_BACK.get(header.orientation, header.orientation)
    return orient(cut.astype(np.float32), *header.upright_size, back).astype(np.int64)


def _stored(photo: Photo, upright_pixels: Pixels) -> Pixels:
    """Upright pixels as the file stores them, once they are known to fit it."""
    expected = photo.upright()
    if upright_pixels.shape != expected.shape or upright_pixels.dtype != expected.dtype:
        raise ImageError(
            f"encode: expected {expected.dtype} of shape {expected.shape}, "
            f"got {upright_pixels.dtype} of shape {upright_pixels.shape}"
        )
    return _turn_back(upright_pixels, photo.orientation)


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (TIFF 6.0, "Orientation") by transposing and flipping."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return pixels[rows, columns]


def _turn_back(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels as stored, contiguous."""
    return np.ascontiguousarray(_turn(pixels, _UPRIGHT_BACK.get(orientation, orientation)))
