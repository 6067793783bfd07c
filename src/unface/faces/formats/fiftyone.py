"""A FiftyOne dataset folder (`FiftyOneImageDetectionDataset`): `labels.json`, `data.json`, and images in `data/`.

`labels.json` knows images by their path without its suffix, `data.json` says the whole path; `bounding_box` is x, y,
width, height in fractions of the image's size. https://docs.voxel51.com/user_guide/dataset_creation/datasets.html
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from unface.errors import InputError
from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes, known_score, relative_box
from unface.faces.formats.files import json_object
from unface.faces.formats.names import distinct, without_suffix

_LABELS, _DATA, _IMAGES = "labels.json", "data.json", "data"


class _Detection(msgspec.Struct):
    label: str | int
    bounding_box: tuple[float, float, float, float]
    confidence: float | None = None
    attributes: dict[str, Any] | None = None


class _Labels(msgspec.Struct):
    labels: dict[str, list[_Detection] | None]
    classes: list[str] | None = None


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read a folder, or its `labels.json`; an image whose labels are null was never looked at and is left out."""
    folder = path if path.is_dir() else path.parent
    file = folder / _LABELS if path.is_dir() else path
    content = json_object(file, _Labels)
    manifest = json_object(folder / _DATA, dict[str, str]) if (folder / _DATA).exists() else {}
    whole = {without_suffix(name): name for name in manifest}
    for name, detections in content.labels.items():
        if detections is None:
            notes.count("images without labels")
            continue
        boxes = [
            _box(found, content.classes, f"{file}: {name!r}: record {number}")
            for number, found in enumerate(detections, 1)
        ]
        yield Annotated(whole.get(name, name), boxes, file.name, relative=True)


def _box(found: _Detection, classes: list[str] | None, where: str) -> Box:
    label = found.label
    if isinstance(label, int):
        if classes is None or not 0 <= label < len(classes):
            raise InputError(f"{where}: label: expected a name or the number of a class, got {label}")
        label = classes[label]
    x, y, width, height = found.bounding_box
    source = str((found.attributes or {}).get("source") or "")
    return Box(x, y, x + width, y + height, label, found.confidence, source)


def write(path: Path, images: AnnotatedImages) -> None:
    """Write both files; ValueError where two images differ in nothing but their suffix."""
    labels, manifest = {}, {}
    for image, name in distinct(images, ""):
        labels[name] = [_detection(box, image.size_wh or (0, 0)) for box in image.boxes]
        manifest[image.image_id] = f"{_IMAGES}/{image.image_id}"
    (path / _LABELS).write_bytes(msgspec.json.encode({"classes": images.labels, "labels": labels}))
    (path / _DATA).write_bytes(msgspec.json.encode(manifest))


def _detection(box: Box, size_wh: tuple[int, int]) -> _Detection:
    x0, y0, x1, y1 = relative_box(box, size_wh)
    return _Detection(box.label, (x0, y0, x1 - x0, y1 - y0), known_score(box), {"source": box.source})


def _matches(path: Path, head: bytes) -> bool:
    return (path / _LABELS).is_file() if path.is_dir() else b'"bounding_box"' in head and b'"labels"' in head


FORMAT = Format(
    "FiftyOne image detection dataset",
    read,
    write,
    matches=_matches,
    is_named=lambda name: "fiftyone" in name.lower(),
    holds=frozenset({"score", "label", "source", "empty"}),
    is_folder=True,
    needs_size=True,
    images_folder=_IMAGES,
)
