"""Open Images' box CSV: https://storage.googleapis.com/openimages/web/download_v7.html.

`ImageID` is the file's base name without its suffix; `XMin, XMax, YMin, YMax` are fractions of the image's size.
Images without boxes have no row.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from unface.faces.formats.annotated import (
    FACE,
    Annotated,
    AnnotatedImages,
    Box,
    Format,
    Notes,
    known_score,
    relative_box,
)
from unface.faces.formats.files import csv_rows, number_of, plain_cell
from unface.faces.formats.names import without_suffix

HUMAN_FACE = "/m/0dzct"
"""The name of the class "Human face" in Open Images."""

_COLUMNS = (
    "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", "IsOccluded", "IsTruncated",
    "IsGroupOf", "IsDepiction", "IsInside",
)  # fmt: skip
_SIDES = ("XMin", "YMin", "XMax", "YMax")


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one CSV file; rows of an image need not stand together."""
    boxes: dict[str, list[Box]] = {}
    first_lines: dict[str, int] = {}
    for line, row in csv_rows(path, frozenset({"ImageID", "LabelName", *_SIDES})):
        place = f"line {line}"
        x0, y0, x1, y1 = (number_of(row[side], side, path, place) for side in _SIDES)
        label = FACE if row["LabelName"] == HUMAN_FACE else row["LabelName"]
        score = number_of(row["Confidence"], "Confidence", path, place) if row.get("Confidence") else None
        box = Box(x0, y0, x1, y1, label, score, row.get("Source", ""))
        boxes.setdefault(row["ImageID"], []).append(box)
        first_lines.setdefault(row["ImageID"], line)
    for image_id, found in boxes.items():
        yield Annotated(image_id, found, first_lines[image_id], relative=True)


def write(path: Path, images: AnnotatedImages) -> None:
    """Write one CSV file; ValueError where two images have one base name without its suffix."""
    taken: dict[str, str] = {}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for image in images:
            stem = without_suffix(image.image_id).rpartition("/")[2]
            if taken.setdefault(stem, image.image_id) != image.image_id:
                raise ValueError(f"expected one image named {stem!r}, got {taken[stem]!r} and {image.image_id!r}")
            for box in image.boxes:
                x0, y0, x1, y1 = (repr(side) for side in relative_box(box, image.size_wh or (0, 0)))
                label = HUMAN_FACE if box.label == FACE else plain_cell(box.label)
                writer.writerow(
                    [plain_cell(stem), plain_cell(box.source), label, repr(known_score(box)), x0, x1, y0, y1]
                    + ["-1"] * 5
                )


FORMAT = Format(
    "Open Images CSV",
    read,
    write,
    matches=lambda path, head: b"ImageID" in head and b"XMin" in head,
    is_named=lambda name: name.endswith(".csv") and "open" in name.lower() and "images" in name.lower(),
    holds=frozenset({"score", "label", "source"}),
    unit="line",
    needs_size=True,
    base_names=True,
)
