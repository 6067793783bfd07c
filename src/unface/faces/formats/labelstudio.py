"""Label Studio's JSON of tasks: https://labelstud.io/guide/export and https://labelstud.io/guide/predictions.

What people did stands in a task's `annotations`, what a model found in its `predictions`: images with status
`reviewed` are written as the one, others as the other. Boxes are in percent of the upright image's size and are turned
clockwise about their upper left corner.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from unface.errors import InputError
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
from unface.faces.formats.files import json_items, require_array, write_json_array
from unface.faces.formats.shapes import Bounds, around, rotated

_LOCAL_FILES = "/data/local-files/?d="
_UPLOAD = "/data/upload/"


class _Value(msgspec.Struct, gc=False):
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    rotation: float = 0.0
    radiusX: float = 0.0
    radiusY: float = 0.0
    points: list[tuple[float, float]] = []
    rectanglelabels: list[str] = []
    polygonlabels: list[str] = []
    ellipselabels: list[str] = []


class _Result(msgspec.Struct):
    type: str
    value: _Value | None = None
    original_width: int = 0
    original_height: int = 0
    image_rotation: float = 0
    score: float | None = None
    meta: dict[str, Any] | None = None


class _Annotation(msgspec.Struct):
    result: list[_Result]
    was_cancelled: bool = False
    model_version: str | None = None
    score: float | None = None


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] = []
    predictions: list[_Annotation] = []


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read tasks: the boxes of all submitted annotations together, or else those of the predictions.

    A task that has neither was never looked at; it is left out.
    """
    require_array(path)
    for number, task in json_items(path, "item", _Task):
        submitted = [annotation for annotation in task.annotations if not annotation.was_cancelled]
        if not submitted and not task.predictions:
            notes.count("tasks that nobody has looked at")
            continue
        boxes, size_wh = [], _stated_size(task.data)
        for annotation in submitted or task.predictions:
            for result in annotation.result:
                if result.image_rotation:
                    turned = f"image_rotation: expected 0, got {result.image_rotation}"
                    raise InputError(f"{path}: record {number}: {turned}")
                if bounds := _bounds(result, notes):
                    size_wh = (result.original_width, result.original_height) if result.original_width else size_wh
                    boxes.append(_box(bounds, result, annotation))
        status = "reviewed" if submitted else "detected"
        yield Annotated(_image_id(task, path, number), boxes, number, size_wh, status, relative=True)


def _stated_size(data: dict[str, Any]) -> tuple[int, int] | None:
    width, height = data.get("width"), data.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _bounds(result: _Result, notes: Notes) -> Bounds | None:
    """The box in fractions; a turned one is turned in pixels, whose sides are of one length."""
    value = result.value
    wide, high = max(result.original_width, 1) / 100, max(result.original_height, 1) / 100
    if value is None or result.type in ("choices", "textarea", "labels"):
        return None
    if result.type in ("rectanglelabels", "rectangle"):
        x, y = value.x * wide, value.y * high
        bounds = rotated((x, y, x + value.width * wide, y + value.height * high), value.rotation, (x, y))
    elif result.type in ("ellipselabels", "ellipse"):
        x, y, rx, ry = value.x * wide, value.y * high, value.radiusX * wide, value.radiusY * high
        bounds = rotated((x - rx, y - ry, x + rx, y + ry), value.rotation, (x, y))
    elif result.type in ("polygonlabels", "polygon") and value.points:
        bounds = around([(x * wide, y * high) for x, y in value.points])
    else:
        notes.count(f"results of kind {result.type[:40]}")
        return None
    x0, y0, x1, y1 = bounds
    return x0 / (100 * wide), y0 / (100 * high), x1 / (100 * wide), y1 / (100 * high)


def _box(bounds: Bounds, result: _Result, annotation: _Annotation) -> Box:
    value = result.value or _Value()
    labels = value.rectanglelabels or value.polygonlabels or value.ellipselabels or [FACE]
    score = annotation.score if result.score is None else result.score
    source = str((result.meta or {}).get("source") or annotation.model_version or "")
    return Box(*bounds, labels[0], score, source)


def _image_id(task: _Task, path: Path, number: int) -> str:
    """The image's path in the address that Label Studio shows it from."""
    address = task.data.get("image") or next((text for text in task.data.values() if isinstance(text, str)), None)
    if not isinstance(address, str):
        raise InputError(f"{path}: record {number}: data.image: expected the image's address, got none")
    if address.startswith(_LOCAL_FILES):
        return parse_qs(urlsplit(address).query).get("d", [""])[0]
    if address.startswith(_UPLOAD):
        return unquote(address.rpartition("/")[2].partition("-")[2])
    return unquote(urlsplit(address).path) if "://" in address else address


def write(path: Path, images: AnnotatedImages) -> None:
    """Write tasks whose images Label Studio takes from its local storage."""
    with path.open("wb") as file:
        write_json_array(file, (_task(image) for image in images))


def _task(image: Annotated) -> dict[str, Any]:
    results = [_result(box, number, image) for number, box in enumerate(image.boxes, 1)]
    width, height = image.size_wh or (0, 0)
    data = {"image": _LOCAL_FILES + quote(image.image_id), "width": width, "height": height}
    task = {"id": image.place, "data": data}
    if image.status == "reviewed":
        return {**task, "annotations": [{"id": image.place, "result": results, "was_cancelled": False}]}
    return {**task, "predictions": [{"model_version": "unface", "result": results}]}


def _result(box: Box, number: int, image: Annotated) -> dict[str, Any]:
    width, height = image.size_wh or (0, 0)
    x0, y0, x1, y1 = (100 * side for side in relative_box(box, (width, height)))
    return {
        "id": f"{image.place}-{number}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": [box.label],
        },
        "score": known_score(box),
        "meta": {"source": box.source},
    }  # fmt: skip


FORMAT = Format(
    "Label Studio JSON",
    read,
    write,
    matches=lambda path, head: (
        head.lstrip().startswith(b"[") and b'"data"' in head and (b'"annotations"' in head or b'"predictions"' in head)
    ),
    is_named=lambda name: name.endswith(".json") and "label" in name.lower() and "studio" in name.lower(),
    holds=frozenset({"score", "label", "source", "status", "size", "empty"}),
    needs_size=True,
)
