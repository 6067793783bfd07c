"""YOLO text files in the layout of ultralytics: `data.yaml`, and `labels/<image id without its suffix>.txt`.

A line is `class x_centre y_centre width height` in fractions of the image's size; predictions have the score as
a sixth number, segments have the corners of a polygon. A file without lines is an image without faces.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unface.errors import InputError, one_line
from unface.faces.formats.annotated import FACE, Annotated, AnnotatedImages, Box, Format, Notes, relative_box
from unface.faces.formats.files import number_of, text_lines, whole_number_of
from unface.faces.formats.names import distinct, files_below
from unface.faces.formats.shapes import around

_DATA, _CLASSES, _LABELS = "data.yaml", "classes.txt", "labels"


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read every label file below `labels`, or below the folder where it has none."""
    names = _class_names(path)
    root = path / _LABELS if (path / _LABELS).is_dir() else path
    for file in files_below(root, ".txt"):
        if file == path / _CLASSES:
            continue
        boxes = [_box(text.split(), file, line, names) for line, text in text_lines(file) if text.strip()]
        place = file.relative_to(root).as_posix()
        yield Annotated(place.removesuffix(".txt"), boxes, place, relative=True)


def _class_names(path: Path) -> dict[int, str]:
    if (path / _DATA).exists():
        return _yaml_names(path / _DATA)
    if (path / _CLASSES).exists():
        return {line - 1: name for line, name in text_lines(path / _CLASSES)}
    return {0: FACE}


def _yaml_names(path: Path) -> dict[int, str]:
    import yaml  # type: ignore[import-untyped]

    try:
        content: Any = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise InputError(f"{path}: expected YAML, got {one_line(error)[:200]}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise InputError(f"{path}: names: expected a list of class names, got {one_line(repr(names))[:100]}")
    return {key: str(name) for key, name in names.items()}


def _box(words: list[str], path: Path, line: int, names: dict[int, str]) -> Box:
    place = f"line {line}"
    if len(words) not in (5, 6) and (len(words) < 7 or len(words) % 2 == 0):
        raise InputError(f"{path}: {place}: expected 5 numbers, 6 with a score, or a polygon, got {len(words)}")
    number = whole_number_of(words[0], "class", path, place)
    if number not in names:
        raise InputError(f"{path}: {place}: class: expected one that {_DATA} or {_CLASSES} names, got {number}")
    values = [number_of(word, "coordinate", path, place) for word in words[1:]]
    if len(values) > 5:
        return Box(*around(list(zip(values[::2], values[1::2], strict=True))), names[number])
    x, y, width, height = values[:4]
    score = values[4] if len(values) == 5 else None
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2, names[number], score)


def write(path: Path, images: AnnotatedImages) -> None:
    """Write labels and `data.yaml`; ValueError where two images have one label file.

    Boxes are cut to the image, because ultralytics refuses others.
    """
    import yaml

    labels = images.labels
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(labels))}
    (path / _DATA).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    (path / _LABELS).mkdir()
    for image, name in distinct(images, ".txt"):
        file = path / _LABELS / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(_lines(image, labels)), encoding="utf-8")


def _lines(image: Annotated, labels: list[str]) -> Iterator[str]:
    for box in image.boxes:
        x0, y0, x1, y1 = (min(max(side, 0.0), 1.0) for side in relative_box(box, image.size_wh or (0, 0)))
        if x0 < x1 and y0 < y1:
            numbers = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
            yield f"{labels.index(box.label)} {' '.join(f'{number:.12g}' for number in numbers)}\n"


def _matches(path: Path, head: bytes) -> bool:
    return path.is_dir() and ((path / _LABELS).is_dir() or (path / _DATA).exists() or (path / _CLASSES).exists())


FORMAT = Format(
    "YOLO text files, as ultralytics lays them out",
    read,
    write,
    matches=_matches,
    is_named=lambda name: "yolo" in name.lower(),
    holds=frozenset({"label", "empty"}),
    unit="line",
    is_folder=True,
    needs_size=True,
    images_folder="images",
)
