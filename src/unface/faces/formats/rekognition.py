"""Responses of Amazon Rekognition's DetectFaces, one JSON file an image, named `<image id>.json`.

`BoundingBox` is Left, Top, Width, Height in fractions of the upright image's size; `Confidence` is in percent.
https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectFaces.html
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes, known_score, relative_box
from unface.faces.formats.files import json_object
from unface.faces.formats.names import files_below


class _Bounds(msgspec.Struct, rename="pascal"):
    width: float
    height: float
    left: float
    top: float


class _Face(msgspec.Struct, rename="pascal"):
    bounding_box: _Bounds
    confidence: float = 100.0


class _Response(msgspec.Struct, rename="pascal"):
    face_details: list[_Face]


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one response, or every one below a folder."""
    root = path.parent if path.is_file() else path
    for file in [path] if path.is_file() else files_below(path, ".json"):
        place = file.relative_to(root).as_posix()
        response = json_object(file, _Response)
        yield Annotated(place.removesuffix(".json"), _boxes(response), place, relative=True)


def boxes_of(response: Mapping[str, Any]) -> list[Box]:
    """The boxes of a response, in fractions of the upright image; ValueError where it is none."""
    try:
        return _boxes(msgspec.convert(dict(response), _Response))
    except msgspec.ValidationError as error:
        raise ValueError(f"expected a response of DetectFaces, got {error}") from None


def _boxes(response: _Response) -> list[Box]:
    boxes = []
    for face in response.face_details:
        at = face.bounding_box
        boxes.append(Box(at.left, at.top, at.left + at.width, at.top + at.height, score=face.confidence / 100))
    return boxes


def write(path: Path, images: AnnotatedImages) -> None:
    """Write one response an image."""
    for image in images:
        file = path / PurePosixPath(image.image_id + ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        faces = []
        for box in image.boxes:
            x0, y0, x1, y1 = relative_box(box, image.size_wh or (0, 0))
            faces.append(_Face(_Bounds(x1 - x0, y1 - y0, x0, y0), 100 * known_score(box)))
        file.write_bytes(msgspec.json.encode(_Response(faces)))


def _matches(path: Path, head: bytes) -> bool:
    if path.is_dir():
        first = next(iter(files_below(path, ".json")), None)
        if first is None:
            return False
        with first.open("rb") as file:
            head = file.read(4096)
    return b'"FaceDetails"' in head


FORMAT = Format(
    "Amazon Rekognition DetectFaces responses",
    read,
    write,
    matches=_matches,
    is_named=lambda name: "rekognition" in name.lower(),
    holds=frozenset({"score", "empty"}),
    is_folder=True,
    needs_size=True,
    base_names=True,
)
