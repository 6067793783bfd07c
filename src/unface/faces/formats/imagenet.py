"""`face_annotations_ILSVRC.json`, as released with "A Study of Face Obfuscation in ImageNet" (ICML 2022).

A JSON array of `{"url": "train/<wnid>/<file>.JPEG" or "val/<file>.JPEG", "bboxes": [{"x0", "y0", "x1", "y1"}]}`. It has
boxes without area, also with x0 > x1, which the paper's code skips.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes
from unface.faces.formats.files import json_items, require_array, write_json_array


class _Corners(msgspec.Struct, gc=False):
    x0: float
    y0: float
    x1: float
    y1: float


class _Record(msgspec.Struct, gc=False):
    url: str
    bboxes: list[_Corners]


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read the released file, or one like it."""
    require_array(path)
    for number, record in json_items(path, "item", _Record):
        yield Annotated(record.url, [Box(box.x0, box.y0, box.x1, box.y1) for box in record.bboxes], number)


def write(path: Path, images: AnnotatedImages) -> None:
    """Write the same layout."""
    with path.open("wb") as file:
        write_json_array(
            file,
            (
                _Record(image.image_id, [_Corners(box.x0, box.y0, box.x1, box.y1) for box in image.boxes])
                for image in images
            ),
        )


FORMAT = Format(
    "face_annotations_ILSVRC.json of the ImageNet face release",
    read,
    write,
    matches=lambda path, head: head.lstrip().startswith(b"[") and b'"url"' in head and b'"bboxes"' in head,
    is_named=lambda name: name.endswith(".json") and ("ilsvrc" in name.lower() or "imagenet" in name.lower()),
    holds=frozenset({"empty"}),
    base_names=True,
    skips_turned=True,
)
