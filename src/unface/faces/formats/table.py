"""Plain CSV: one row a box, and one with empty cells for an image without faces.

Columns: `image_id, width, height, status, x0, y0, x1, y1, score, label, source`; only `image_id` and the sides must be
there. Texts that a spreadsheet would run as a formula are marked with an apostrophe, which reading takes off.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from unface.errors import InputError
from unface.faces.formats.annotated import FACE, Annotated, AnnotatedImages, Box, Format, Notes, known_score
from unface.faces.formats.files import csv_cell, csv_rows, csv_text, number_of, whole_number_of

_SIDES = ("x0", "y0", "x1", "y1")
_COLUMNS = ("image_id", "width", "height", "status", *_SIDES, "score", "label", "source")


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one CSV file; rows of an image need not stand together."""
    images: dict[str, Annotated] = {}
    boxes: dict[str, list[Box]] = {}
    for line, row in csv_rows(path, frozenset({"image_id", *_SIDES})):
        place, name = f"line {line}", csv_text(row["image_id"])
        width, height = (
            whole_number_of(row[side], side, path, place) if row.get(side) else 0 for side in ("width", "height")
        )
        image = Annotated(name, (), line, (width, height), row.get("status") or None)
        if images.setdefault(name, image)[3:] != image[3:]:
            raise InputError(f"{path}: {place}: {name!r}: expected the width, height and status of its other rows")
        found = boxes.setdefault(name, [])
        if any(row[side] for side in _SIDES):
            found.append(_box(row, path, place))
    for name, image in images.items():
        yield image._replace(boxes=boxes[name])


def _box(row: dict[str, str], path: Path, place: str) -> Box:
    x0, y0, x1, y1 = (number_of(row[side], side, path, place) for side in _SIDES)
    score = number_of(row["score"], "score", path, place) if row.get("score") else None
    label, source = (csv_text(row.get(column, "")) for column in ("label", "source"))
    return Box(x0, y0, x1, y1, label or FACE, score, source)


def write(path: Path, images: AnnotatedImages) -> None:
    """Write one CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for image in images:
            start = [csv_cell(image.image_id), *map(str, image.size_wh or ("", "")), image.status]
            if not image.boxes:
                writer.writerow([*start, *[""] * 7])
            for box in image.boxes:
                numbers = [repr(number) for number in (*box[:4], known_score(box))]
                writer.writerow([*start, *numbers, csv_cell(box.label), csv_cell(box.source)])


FORMAT = Format(
    "plain CSV",
    read,
    write,
    matches=lambda path, head: b"image_id" in head.split(b"\n")[0] and b"x0" in head.split(b"\n")[0],
    is_named=lambda name: name.endswith(".csv"),
    holds=frozenset({"score", "label", "source", "status", "size", "empty"}),
    unit="line",
)
