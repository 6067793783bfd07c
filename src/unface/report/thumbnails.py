"""Small pictures of the folder's images, made safe to embed: decoded, turned upright, encoded anew."""

import base64
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from unface.datasets import archive_of
from unface.errors import ImageError, UnfaceError, one_line

LONG_SIDE_PX = 320
QUALITY = 75
MAX_FILE_BYTES = 128_000_000
MAX_PIXELS = 120_000_000
# No EPS: Pillow would start Ghostscript.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")


def thumbnail_uri(images_dir: Path, image_id: str) -> str:
    """The image as a small JPEG without metadata, as a data URI.

    Raises:
        ImageError: No regular file inside `images_dir` or in an archive there (a link that leads out of it is not
            followed), too large, or not to be decoded.
    """
    try:
        archive = archive_of(images_dir, image_id)
        source = _inside(images_dir, image_id) if archive is None else io.BytesIO(archive.read(image_id))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = _small_jpeg(source)
    except UnfaceError as error:
        raise ImageError(str(error)) from None
    except Exception as error:  # decoders raise whatever they like
        raise ImageError(f"cannot be opened: {one_line(error)}") from None
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


def _inside(images_dir: Path, image_id: str) -> Path:
    root = images_dir.resolve()
    try:
        path = (root / image_id).resolve()
        found = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"cannot be opened: {one_line(error)}") from None
    if not path.is_relative_to(root):
        raise ImageError("lies outside the folder")
    if not found:
        raise ImageError("no such file in images/")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ImageError("too large for a thumbnail")
    return path


def _small_jpeg(source: Path | io.BytesIO) -> bytes:
    Image.init()
    with Image.open(source, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError("too large for a thumbnail")
        image.draft("RGB", (2 * LONG_SIDE_PX, 2 * LONG_SIDE_PX))
        ImageOps.exif_transpose(image, in_place=True)
        small = _flat(image)
    small.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX), Image.Resampling.BICUBIC)
    bare = Image.frombytes("RGB", small.size, small.tobytes())  # pixels only: no comment, EXIF or profile
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _flat(image: Image.Image) -> Image.Image:
    """Eight bits, RGB; transparency on grey, deeper pixels stretched to their range."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, np.float32)
        span = max(float(np.ptp(values)), 1.0)
        return Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (128, 128, 128, 255)), layer).convert("RGB")
    return image.convert("RGB")
