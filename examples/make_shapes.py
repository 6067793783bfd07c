"""Draw a small dataset of objects with "faces" for examples/study.toml: CIFAR-10's size, 32 px, deterministic.

    python examples/make_shapes.py examples/shapes

Eight classes, each a shape in a colour on a noisy ground. A round face with eyes and a mouth is drawn on some
pictures: in two classes it covers much of the object, as a mask is worn; in others it stands beside it, or there is
none. Every face's box is in faces.parquet. Nobody is shown.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from unface.faces import FaceRow, Faces, faces_table, write_faces

SIDE_PX = 32
_SCALE = 4
"""Drawn larger, then reduced, so that edges are smooth."""
_COLORS = {"red": (200, 60, 50), "green": (60, 160, 70), "blue": (60, 90, 200), "yellow": (210, 190, 60)}
CLASSES = {
    "ball": ("ellipse", "red", "beside"),
    "block": ("rectangle", "red", "none"),
    "kite": ("triangle", "yellow", "beside"),
    "leaf": ("ellipse", "green", "none"),
    "door": ("rectangle", "blue", "beside"),
    "cone": ("triangle", "green", "none"),
    "mask": ("ellipse", "blue", "worn"),
    "scarf": ("rectangle", "yellow", "worn"),
}
"""Shape, colour, and where a face is."""


def main() -> None:
    """Write train/ and validation/, each with its faces.parquet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=30, help="images a class")
    parser.add_argument("--validation", type=int, default=20, help="images a class")
    options = parser.parse_args()
    draw_set(options.folder / "train", options.train, 1)
    draw_set(options.folder / "validation", options.validation, 2)


def draw_set(folder: Path, each: int, seed: int) -> None:
    """Draw `each` images of every class below a folder, and write faces.parquet beside their folder."""
    rows = []
    for number, (name, (shape, color, face)) in enumerate(CLASSES.items()):
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        for place in range(each):
            rng = np.random.default_rng((seed, number, place))
            image, box = draw(rng, shape, _COLORS[color], face)
            image_id = f"{name}/{place:04d}.jpg"
            image.save(folder / "images" / image_id, quality=95)
            rows.append(FaceRow(image_id, SIDE_PX, SIDE_PX, "reviewed", Faces.make([] if box is None else [box])))
    write_faces(folder / "faces.parquet", faces_table(rows))


def draw(
    rng: np.random.Generator, shape: str, color: tuple[int, int, int], face: str
) -> tuple[Image.Image, tuple[float, float, float, float] | None]:
    """One picture, and the box of its face in pixels, if there is one."""
    side = SIDE_PX * _SCALE
    ground = rng.integers(90, 170, 3) + rng.normal(0, 25, (SIDE_PX, SIDE_PX, 3))
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    brush = ImageDraw.Draw(image)
    size = rng.uniform(0.42, 0.6) * side
    x, y = rng.uniform(2, side - size - 2, 2)
    shade = tuple(int(v) for v in np.clip(np.array(color) + rng.normal(0, 18, 3), 0, 255))
    _draw_shape(brush, shape, (x, y, x + size, y + size), shade)
    box = None
    if face == "worn":
        box = (x + 0.15 * size, y + 0.1 * size, x + 0.85 * size, y + 0.85 * size)
        _draw_face(brush, box, shade, rng)
    elif face == "beside" and rng.random() < 0.5:
        width = 0.3 * side
        left = 2 if x + size / 2 > side / 2 else side - width - 2
        top = float(rng.uniform(2, side - width - 2))
        box = (left, top, left + width, top + width)
        _draw_face(brush, box, (150, 60, 60), rng)
    small = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return small, None if box is None else tuple(float(v) / _SCALE for v in box)  # type: ignore[return-value]


def _draw_shape(brush: ImageDraw.ImageDraw, shape: str, box: tuple[float, ...], color: tuple[int, ...]) -> None:
    if shape == "triangle":
        brush.polygon([((box[0] + box[2]) / 2, box[1]), (box[2], box[3]), (box[0], box[3])], fill=color)
    else:
        getattr(brush, shape)(box, fill=color)


def _draw_face(
    brush: ImageDraw.ImageDraw, box: tuple[float, ...], mouth: tuple[int, ...], rng: np.random.Generator
) -> None:
    """A round face with two eyes and a mouth; what is worn shows in the mouth's colour."""
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    skin = tuple(int(v) for v in np.array([224, 172, 138]) * rng.uniform(0.5, 1.1))
    brush.ellipse(box, fill=skin)
    for at in (0.3, 0.7):
        x, y = x0 + at * width, y0 + 0.38 * height
        brush.ellipse((x - 0.08 * width, y - 0.08 * height, x + 0.08 * width, y + 0.08 * height), fill=(30, 30, 40))
    brush.rectangle((x0 + 0.25 * width, y0 + 0.62 * height, x0 + 0.75 * width, y0 + 0.8 * height), fill=mouth)


if __name__ == "__main__":
    main()
