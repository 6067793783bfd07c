"""CSV of the VGG Image Annotator, version 2: https://www.robots.ox.ac.uk/~vgg/software/via.

A row is one region; its shape and attributes are JSON in a cell. An image without regions has one row with
`region_count` 0.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from unface.errors import InputError
from unface.faces.formats.annotated import FACE, Annotated, AnnotatedImages, Box, Format, Notes, known_score
from unface.faces.formats.files import csv_rows, json_object, plain_cell
from unface.faces.formats.shapes import Bounds, around

T = TypeVar("T")

_COLUMNS = (
    "filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
    "region_attributes",
)  # fmt: skip


class _Shape(msgspec.Struct):
    name: str | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    cx: float | None = None
    cy: float | None = None
    r: float | None = None
    rx: float | None = None
    ry: float | None = None
    all_points_x: list[float] = []
    all_points_y: list[float] = []


class _Attributes(msgspec.Struct):
    label: str = FACE
    score: float | None = None
    source: str = ""


class _FileAttributes(msgspec.Struct):
    status: str | None = None


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one CSV file; of a circle, an ellipse or a polygon the box around it is taken."""
    images: dict[str, Annotated] = {}
    boxes: dict[str, list[Box]] = {}
    for line, row in csv_rows(path, frozenset(_COLUMNS)):
        place, name = f"line {line}", row["filename"]
        shape = _cell(row, "region_shape_attributes", _Shape, path, place)
        attributes = _cell(row, "region_attributes", _Attributes, path, place)
        facts = _cell(row, "file_attributes", _FileAttributes, path, place)
        images.setdefault(name, Annotated(name, (), line, status=facts.status))
        found = boxes.setdefault(name, [])
        if shape.name is None:
            continue
        if (bounds := _bounds(shape, path, place)) is None:
            notes.count(f"regions of kind {shape.name[:40]}")
            continue
        found.append(Box(*bounds, attributes.label, attributes.score, attributes.source))
    for name, image in images.items():
        yield image._replace(boxes=boxes[name])


def _cell(row: dict[str, str], column: str, kind: type[T], path: Path, place: str) -> T:
    return json_object(path, kind, (row[column] or "{}").encode(), f"{place}: {column}")


def _bounds(shape: _Shape, path: Path, place: str) -> Bounds | None:
    match shape:
        case _Shape(name="rect", x=float(x), y=float(y), width=float(width), height=float(height)):
            return x, y, x + width, y + height
        case _Shape(name="circle", cx=float(x), cy=float(y), r=float(r)):
            return x - r, y - r, x + r, y + r
        case _Shape(name="ellipse", cx=float(x), cy=float(y), rx=float(rx), ry=float(ry)):
            longer = max(rx, ry)  # it may be turned
            return x - longer, y - longer, x + longer, y + longer
        case _Shape(name="polygon" | "polyline", all_points_x=[_, *_] as xs, all_points_y=[_, *_] as ys):
            return around(list(zip(xs, ys, strict=False)))
        case _Shape(name="rect" | "circle" | "ellipse" | "polygon" | "polyline"):
            raise InputError(f"{path}: {place}: region_shape_attributes: expected all of a {shape.name}, got a part")
    return None


def write(path: Path, images: AnnotatedImages) -> None:
    """Write one CSV file; VIA knows images by name and size in bytes, and takes -1 where that is not known."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for image in images:
            facts = msgspec.json.encode({"status": image.status}).decode()
            start = [plain_cell(image.image_id), "-1", facts, str(len(image.boxes))]
            if not image.boxes:
                writer.writerow([*start, "0", "{}", "{}"])
            for number, box in enumerate(image.boxes):
                writer.writerow([*start, str(number), *(msgspec.json.encode(cell).decode() for cell in _cells(box))])


def _cells(box: Box) -> tuple[dict[str, object], dict[str, object]]:
    shape = {"name": "rect", "x": box.x0, "y": box.y0, "width": box.x1 - box.x0, "height": box.y1 - box.y0}
    return shape, {"label": box.label, "score": known_score(box), "source": box.source}


FORMAT = Format(
    "VGG Image Annotator CSV",
    read,
    write,
    matches=lambda path, head: b"region_shape_attributes" in head,
    is_named=lambda name: name.endswith(".csv") and "via" in name.lower(),
    holds=frozenset({"score", "label", "source", "status", "empty"}),
    unit="line",
    base_names=True,
)
