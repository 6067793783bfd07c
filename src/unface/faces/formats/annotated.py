"""What every format is read into and written from: one image and its boxes at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FACE = "face"

_ROWS_AT_ONCE = 65536


class Box(NamedTuple):
    """One box; `score` is None where the format does not tell it, `source` is empty there."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str = FACE
    score: float | None = None
    source: str = ""


class Annotated(NamedTuple):
    """One image as a format tells it.

    Attributes:
        image_id: Its name, as the format has it.
        boxes: In pixels, or in fractions of width and height where `relative`.
        place: Where it stands in the file: the number of a line or record, or a file below a folder.
        size_wh: Width and height in pixels; None or zeros where the format does not tell them.
        status: None where the format does not tell it.
        relative: Whether the boxes are fractions of the image's size.
    """

    image_id: str
    boxes: Sequence[Box]
    place: int | str = ""
    size_wh: tuple[int, int] | None = None
    status: str | None = None
    relative: bool = False


@dataclass(frozen=True, eq=False)
class AnnotatedImages:
    """The rows of a table as the writers of formats want them; may be iterated over again."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> list[str]:
        """All labels that occur, sorted; `face` where there is no box."""
        labels = pc.struct_field(pc.list_flatten(self.table["boxes"]), "label")
        found = {label or FACE for label in pc.unique(labels).to_pylist()}
        return sorted(found) or [FACE]

    def __iter__(self) -> Iterator[Annotated]:
        for start in range(0, len(self.table), _ROWS_AT_ONCE):
            yield from _rows(self.table.slice(start, _ROWS_AT_ONCE), start)


def _rows(table: pa.Table, start: int) -> Iterator[Annotated]:
    flat = pc.list_flatten(table["boxes"]).combine_chunks()
    sides = [_shortest(pc.struct_field(flat, side)) for side in ("x0", "y0", "x1", "y1")]
    scores = _shortest(pc.fill_null(pc.struct_field(flat, "score"), 1.0))
    labels = pc.fill_null(pc.struct_field(flat, "label"), FACE).to_pylist()
    sources = pc.fill_null(pc.struct_field(flat, "source"), "").to_pylist()
    boxes = [Box(*values) for values in zip(*sides, labels, scores, sources, strict=True)]
    ends = np.cumsum(pc.fill_null(pc.list_value_length(table["boxes"]), 0).to_numpy()).tolist()
    names, statuses = table["image_id"].to_pylist(), table["status"].to_pylist()
    widths, heights = (pc.fill_null(table[side], 0).to_pylist() for side in ("width", "height"))
    first = 0
    for row, (name, width, height, status, end) in enumerate(
        zip(names, widths, heights, statuses, ends, strict=True), start + 1
    ):
        yield Annotated(name, boxes[first:end], row, (width, height), status)
        first = end


def _shortest(numbers: pa.Array) -> list[float]:
    """Float32 numbers as the float64 with the fewest digits, so that 0.1 is written `0.1`."""
    texts: list[float] = numbers.cast(pa.string()).cast(pa.float64()).to_pylist()
    return texts


class Notes(Protocol):
    """What a reader tells beside the images."""

    def count(self, what: str, number: int = 1) -> None:
        """Count something that was left out or changed."""


Reader = Callable[[Path, Notes], Iterator[Annotated]]
Writer = Callable[[Path, AnnotatedImages], None]


@dataclass(frozen=True)
class Format:
    """A foreign format.

    Attributes:
        title: What people call it.
        read: From a file or folder; raises InputError that names file, place and field.
        write: To a file or folder that is not there yet.
        matches: Whether a path, with the first bytes of it if it is a file, looks like one.
        is_named: Whether a name that is to be written looks like one.
        holds: Which of `score`, `label`, `source`, `status`, `size` and `empty` (images without faces) it can say.
        unit: What a number that is a `place` counts.
        is_folder: Whether it is written as a folder.
        needs_size: Whether it cannot be written without the images' sizes.
        base_names: Whether its names may lack folders or the suffix.
        skips_turned: Whether boxes with x0 > x1 or y0 > y1 occur, and are left out like those without area.
        images_folder: Folder beside the annotations where it keeps the images.
    """

    title: str
    read: Reader
    write: Writer
    matches: Callable[[Path, bytes], bool]
    is_named: Callable[[str], bool]
    holds: frozenset[str]
    unit: str = "record"
    is_folder: bool = False
    needs_size: bool = False
    base_names: bool = False
    skips_turned: bool = False
    images_folder: str = ""


def relative_box(box: Box, size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box in fractions of the image's width and height."""
    width, height = size_wh
    return box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height


def known_score(box: Box) -> float:
    """The box's score, 1 where it has none."""
    return 1.0 if box.score is None else box.score


def first_of(record: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first key that is there and not None."""
    return next((record[key] for key in keys if record.get(key) is not None), None)
