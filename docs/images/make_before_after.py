"""Draw the README's picture from a finished run: `uv run python docs/images/make_before_after.py out`.

Both halves are drawn from the published image, so that no face can get into the picture.
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

IMAGE_ID = "physicists/solvay_1927.jpg"
CROP_XYXY = (60, 375, 1000, 975)
HALF_WH = (640, 408)
GAP_PX = 12
CAPTION_PX = 32
FILL, LINE = (38, 50, 56), (255, 193, 7)


def main(out_dir: Path) -> None:
    """Write `before_after.jpg` beside this file.

    Args:
        out_dir: The output folder of `unface run examples/photos`.
    """
    published = Image.open(out_dir / "images" / IMAGE_ID).convert("RGB")
    found = boxed(published, read_boxes(out_dir / "faces.parquet"))
    picture = Image.new("RGB", (2 * HALF_WH[0] + GAP_PX, HALF_WH[1] + CAPTION_PX), "white")
    for left, image, caption in (
        (0, found, "what detect found"),
        (HALF_WH[0] + GAP_PX, published, "what run publishes"),
    ):
        half = image.crop(CROP_XYXY).resize(HALF_WH, Image.Resampling.LANCZOS)
        picture.paste(half, (left, 0))
        place = (left + HALF_WH[0] // 2, HALF_WH[1] + CAPTION_PX // 2)
        font = ImageFont.load_default(18)
        ImageDraw.Draw(picture).text(place, caption, fill="black", font=font, anchor="mm")
    picture.save(Path(__file__).with_name("before_after.jpg"), quality=88, optimize=True)


def read_boxes(faces_path: Path) -> list[tuple[float, float, float, float]]:
    """The boxes of the picture's image: x0, y0, x1, y1 in pixels."""
    (row,) = (row for row in pq.read_table(faces_path).to_pylist() if row["image_id"] == IMAGE_ID)
    return [(box["x0"], box["y0"], box["x1"], box["y1"]) for box in row["boxes"]]


def boxed(image: Image.Image, boxes_xyxy: list[tuple[float, float, float, float]]) -> Image.Image:
    """A copy with every box filled and outlined."""
    copy = image.copy()
    draw = ImageDraw.Draw(copy)
    for box in boxes_xyxy:
        draw.rectangle(box, fill=FILL, outline=LINE, width=4)
    return copy


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_before_after.py OUT, the output folder of: unface run examples/photos OUT")
    main(Path(sys.argv[1]))
