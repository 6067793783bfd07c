"""COCO's object detection JSON: https://cocodataset.org/#format-data.

`bbox` is x, y, width, height in pixels. What COCO does not know stands in fields that its readers skip: `score` of
an annotation, as in COCO's results, `attributes.source`, and `status` of an image.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from unface.errors import InputError
from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes, known_score
from unface.faces.formats.files import json_items, json_keys, write_json_array

_SECTIONS = ("images", "annotations", "categories")


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: str
    width: int = 0
    height: int = 0
    status: str | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    bbox: tuple[float, float, float, float]
    category_id: int
    score: float | None = None
    attributes: dict[str, Any] | None = None


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read images, annotations and categories, whatever their order in the file."""
    names = {category.id: category.name for _, category in json_items(path, "categories.item", _Category)}
    boxes: dict[int | str, list[Box]] = {}
    for number, found in json_items(path, "annotations.item", _Annotation, walked=True):
        if found.category_id not in names:
            raise InputError(
                f"{path}: annotations record {number}: category_id: expected one of the categories, "
                f"got {found.category_id}"
            )
        x, y, width, height = found.bbox
        source = str((found.attributes or {}).get("source") or "")
        box = Box(x, y, x + width, y + height, names[found.category_id], found.score, source)
        boxes.setdefault(found.image_id, []).append(box)
    if not boxes:  # no faces at all, or no COCO
        _require_sections(path)
    seen = set()
    for number, image in json_items(path, "images.item", _Image, walked=True):
        if image.id in seen:
            raise InputError(f"{path}: images record {number}: id: expected another one, got {image.id} again")
        seen.add(image.id)
        size_wh = (image.width, image.height)
        yield Annotated(image.file_name, boxes.pop(image.id, ()), number, size_wh, image.status)
    if boxes:
        raise InputError(f"{path}: annotations: image_id: expected one of the images, got {next(iter(boxes))}")


def _require_sections(path: Path) -> None:
    keys = json_keys(path)
    if missing := [key for key in _SECTIONS if key not in keys]:
        raise InputError(f"{path}: expected a key {missing[0]!r}, got {keys[:10]}")


def write(path: Path, images: AnnotatedImages) -> None:
    """Write one file; ids count from 1."""
    category_ids = {label: number for number, label in enumerate(images.labels, 1)}
    with path.open("wb") as file:
        file.write(b'{"info":{"description":"Faces, written by unface"},"licenses":[],"categories":')
        write_json_array(file, ({"id": number, "name": name} for name, number in category_ids.items()))
        file.write(b',\n"images":')
        write_json_array(file, (_image(image) for image in images))
        file.write(b',\n"annotations":')
        write_json_array(file, _annotations(images, category_ids))
        file.write(b"}\n")


def _image(image: Annotated) -> dict[str, Any]:
    width, height = image.size_wh or (0, 0)
    return {
        "id": image.place, "file_name": image.image_id, "width": width, "height": height, "status": image.status,
    }  # fmt: skip


def _annotations(images: AnnotatedImages, category_ids: dict[str, int]) -> Iterator[dict[str, Any]]:
    numbers = count(1)
    for image in images:
        for box in image.boxes:
            width, height = box.x1 - box.x0, box.y1 - box.y0
            yield {
                "id": next(numbers),
                "image_id": image.place,
                "category_id": category_ids[box.label],
                "bbox": [box.x0, box.y0, width, height],
                "area": width * height,
                "segmentation": [],
                "iscrowd": 0,
                "score": known_score(box),
                "attributes": {"source": box.source},
            }


FORMAT = Format(
    "COCO JSON",
    read,
    write,
    matches=lambda path, head: (
        head.lstrip().startswith(b"{") and any(b'"' + key.encode() + b'"' in head for key in _SECTIONS)
    ),
    is_named=lambda name: name.endswith(".json") and ("coco" in name.lower() or name.startswith("instances_")),
    holds=frozenset({"score", "label", "source", "status", "size", "empty"}),
    needs_size=True,
)
