"""Boxes of the objects that images are of, as ILSVRC's localisation task gives them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from unface.boxes import Boxes, as_boxes
from unface.errors import InputError, one_line
from unface.faces.formats import voc
from unface.faces.formats.reading import Tally

_COLUMNS = ("file", "object_boxes_xyxy")


def read_objects(path: Path) -> dict[str, Boxes]:
    """Object boxes by the file's name without folder and suffix, which is how ILSVRC's files are told apart.

    Args:
        path: A CSV file with the columns `file` and `object_boxes_xyxy` (a JSON list of boxes), or a folder of Pascal
            VOC XML files, as ILSVRC comes. Boxes without area are left out.

    Raises:
        InputError: Unreadable, a bad box, or two files of one name; the message names file and line.
    """
    if not path.exists():
        raise InputError(f"{path}: expected object boxes (a CSV file, or a folder of VOC XML), found nothing there")
    found: dict[str, Boxes] = {}
    for name, boxes, where in _from_voc(path) if path.is_dir() else _from_csv(path):
        stem = PurePosixPath(name).stem
        if stem in found:
            raise InputError(f"{where}: expected one row per image, got several of {one_line(stem)!r}")
        found[stem] = boxes
    if not found:
        raise InputError(f"{path}: expected object boxes of at least one image, got none")
    return found


def _from_voc(folder: Path) -> Iterator[tuple[str, Boxes, str]]:
    for image in voc.read(folder, Tally()):
        sides = [(box.x0, box.y0, box.x1, box.y1) for box in image.boxes]
        yield str(image.place), _boxes(sides, f"{folder}: {image.place}"), f"{folder}: {image.place}"


def _from_csv(path: Path) -> Iterator[tuple[str, Boxes, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: expected the columns {', '.join(_COLUMNS)}, got no {', '.join(missing)}")
            for row in reader:
                where = f"{path}: line {reader.line_num}"
                yield row["file"], _boxes(_json(row["object_boxes_xyxy"], where), where), where
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file, got {one_line(error)}") from None


def _json(text: str | None, where: str) -> object:
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        raise InputError(f"{where}: object_boxes_xyxy: expected a JSON list, got {one_line(text or '')!r}") from None


def _boxes(sides: object, where: str) -> Boxes:
    try:
        if not isinstance(sides, list):
            raise ValueError("expected a list of boxes")
        return as_boxes([box for box in sides if not (box[0] >= box[2] or box[1] >= box[3])])
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{where}: object box: {one_line(error)}") from None
