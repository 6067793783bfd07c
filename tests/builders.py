"""Small images and tables for tests."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unface.faces import FaceRow, Faces

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
"""The photos shipped with the project."""


def make_image(width: int = 64, height: int = 48, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture with smooth colours and fine texture, so that every change of it shows."""
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    y, x = np.mgrid[0:height, 0:width]
    smooth = 128 + 60 * np.sin(x[..., None] / 9 + np.arange(channels)) + 40 * np.cos(y[..., None] / 7)
    pixels = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode=None).convert(mode)


def encode_image(image: Image.Image, suffix: str = ".jpg", **options: object) -> bytes:
    """A file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


def write_image(path: Path, **how: int | str) -> Path:
    """Write a picture as the file's suffix says; `how` goes to `make_image`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(make_image(**how), path.suffix))
    return path


def make_faces(
    image_id: str = "a/1.jpg",
    boxes_xyxy: Sequence[Sequence[float]] = ((10, 8, 40, 40),),
    width: int = 64,
    height: int = 48,
    status: str = "detected",
) -> FaceRow:
    """A row of `faces.parquet`."""
    return FaceRow(image_id, width, height, status, Faces.make(boxes_xyxy), Faces.make([]))
