"""Small datasets with classes and faces for tests of the study."""

from pathlib import Path

import numpy as np
from PIL import Image

from builders import encode_image, make_faces, make_image
from unface.faces import faces_table, write_faces


def make_photos(root: Path, size: tuple[int, int] = (64, 48), each: int = 3, suffix: str = ".jpg") -> Path:
    """Classes a, b, c of `each` images; in every class the first has no face. Returns the table beside them."""
    rows = []
    for number, name in enumerate("abc"):
        (root / "images" / name).mkdir(parents=True)
        for place in range(each):
            image_id = f"{name}/{place}{suffix}"
            image = make_image(*size, seed=10 * number + place)
            (root / "images" / image_id).write_bytes(encode_image(image, suffix))
            boxes = [(10, 8, 40, 40)] if place else []
            rows.append(make_faces(image_id, boxes, *size))
    write_faces(root / "faces.parquet", faces_table(rows))
    return root / "faces.parquet"


def make_squares(root: Path, where: str, each: int, size: int = 32, seed: int = 0) -> Path:
    """Two classes, told apart by brightness alone: `inside` the face box or `outside` it; the rest is noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, name in enumerate(("dark", "light")):
        (root / "images" / name).mkdir(parents=True)
        for place in range(each):
            x, y = (int(v) for v in rng.integers(2, size // 2 - 2, 2))
            box = (x, y, x + size // 2, y + size // 2)
            level = 190 if label else 60
            pixels = rng.integers(0, 256, (size, size, 3)).astype(np.float64)
            inside = np.zeros((size, size, 1), np.bool_)
            inside[box[1] : box[3], box[0] : box[2]] = True
            marked = inside if where == "inside" else ~inside
            pixels = np.where(marked, 0.3 * pixels + 0.7 * level, pixels)
            image_id = f"{name}/{place:04d}.png"
            (root / "images" / image_id).write_bytes(
                encode_image(Image.fromarray(pixels.astype(np.uint8)), ".png", compress_level=1)
            )
            rows.append(make_faces(image_id, [box], size, size))
    write_faces(root / "faces.parquet", faces_table(rows))
    return root / "faces.parquet"
