"""The rows of a `faces.parquet` as columns in memory, and the questions that are asked of them: pure, read-only.

A question is answered by one pass over a few columns, some 10 ms for 1.4 million rows, so nothing is kept between two.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.boxes import Boxes
from unface.faces import FaceRow, Faces
from unface.faces.classes import NO_CLASS, classes_of
from unface.faces.table import STATUSES

ORDERS = ("table", "faces", "largest", "smallest", "score")
"""As the table has them; most faces first; largest face first; smallest face first; least sure face first. The last
three begin with images that have faces. What is equal stays in the table's order."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Filter:
    """Which images are wanted; what is None or empty asks for nothing.

    Height and score are asked of faces: an image is wanted if one of its faces satisfies all four limits at once. All
    limits include their ends.

    Attributes:
        classes: Any of these; the empty text means images without a class.
        statuses: Any of these.
        min_faces: Of the image.
        max_faces: Of the image.
        min_height: In pixels.
        max_height: In pixels.
        min_score: From 0 to 1.
        max_score: From 0 to 1.
    """

    classes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    min_faces: int | None = None
    max_faces: int | None = None
    min_height: float | None = None
    max_height: float | None = None
    min_score: float | None = None
    max_score: float | None = None


@dataclass(frozen=True)
class ClassCount:
    """A class, its title for people, and how many of its images are wanted."""

    name: str
    title: str
    images: int


@dataclass(frozen=True)
class Counts:
    """What a filter finds, and what it would find with another class or status.

    Attributes:
        images: Images that the filter finds.
        faces: Faces in them.
        statuses: Images of each status that all but the filter's statuses find.
        classes: The same of classes: those with most images, the filter's own first.
        classes_found: How many classes there are of which some are told, beside the filter's own.
    """

    images: int
    faces: int
    statuses: dict[str, int]
    classes: list[ClassCount]
    classes_found: int


@dataclass(frozen=True, eq=False)
class BoxColumns:
    """The boxes of all images, one image after the other.

    Attributes:
        ends: Where each image's boxes end, shape (M,).
        boxes_xyxy: Upright pixels, float32, shape (N, 4).
        scores: Float32, shape (N,).
        labels: Place in `label_names`, shape (N,).
        sources: Place in `source_names`, shape (N,).
        label_names: Every label, once.
        source_names: Every source, once.
    """

    ends: NDArray[np.int64]
    boxes_xyxy: Boxes
    scores: NDArray[np.float32]
    labels: NDArray[Any]
    sources: NDArray[Any]
    label_names: list[str]
    source_names: list[str]

    def counts(self) -> NDArray[np.int32]:
        """How many boxes each image has, shape (M,)."""
        return np.diff(self.ends, prepend=0).astype(np.int32)

    def count(self, number: int) -> int:
        """How many boxes one image has."""
        return int(self.ends[number] - (self.ends[number - 1] if number else 0))

    def of(self, number: int) -> Faces:
        """One image's boxes."""
        places = slice(self.ends[number] - self.count(number), self.ends[number])
        return Faces(
            self.boxes_xyxy[places],
            self.scores[places],
            tuple(self.label_names[i] for i in self.labels[places]),
            tuple(self.source_names[i] for i in self.sources[places]),
        )


class Catalogue:
    """The images of a table, in its order, each known by its number.

    Args:
        table: Of `FACES_SCHEMA`, checked.
        title_of: A class's name for people.
    """

    def __init__(self, table: pa.Table, title_of: Callable[[str], str] = str) -> None:
        self.image_ids = _one(table["image_id"])
        self.sizes_wh = np.stack([_integers(table[side]) for side in ("width", "height")], axis=1).astype(np.int32)
        self.statuses = pc.index_in(_one(table["status"]), pa.array(STATUSES)).to_numpy().astype(np.int8)
        self.class_names, places = classes_of(self.image_ids)
        if (places == NO_CLASS).any():
            self.class_names, places = ["", *self.class_names], places + 1
        self.classes = places.astype(np.int32)
        self.class_titles = [title_of(name) for name in self.class_names]
        self.faces = _boxes(_one(table["boxes"]))
        self.candidates = _boxes(_one(table["candidates"]))
        self.counts = self.faces.counts()
        self.owners = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        self.heights = self.faces.boxes_xyxy[:, 3] - self.faces.boxes_xyxy[:, 1]
        self.largest = _per_image(np.fmax, self.heights, self.faces.ends, self.counts)
        self.lowest_score = _per_image(np.fmin, self.faces.scores, self.faces.ends, self.counts)
        smallest = _per_image(np.fmin, self.heights, self.faces.ends, self.counts)
        self._orders = {
            "faces": _order(-self.counts),
            "largest": _order(-self.largest),
            "smallest": _order(smallest),
            "score": _order(self.lowest_score),
        }
        self._places = {name: place for place, name in enumerate(self.class_names)}
        texts = (f"{name}\n{title}" for name, title in zip(self.class_names, self.class_titles, strict=True))
        self._texts = pa.array(texts, pa.string())

    def __len__(self) -> int:
        return len(self.image_ids)

    def find(self, wanted: Filter, order: str = "table") -> NDArray[np.int32]:
        """The numbers of the images that a filter finds, in one of `ORDERS`."""
        mask = self._with_classes(wanted) & self._with_statuses(wanted) & self._with_faces(wanted)
        if order == "table":
            return np.flatnonzero(mask).astype(np.int32)
        numbers = self._orders[order]
        return numbers[mask[numbers]]

    def count(self, wanted: Filter, text: str = "", most: int = 50) -> Counts:
        """Count what a filter finds.

        Args:
            wanted: The filter.
            text: What the classes told have in their name or title; upper and lower case are the same.
            most: How many classes are told at most, beside the filter's own.
        """
        classes, statuses, faces = self._with_classes(wanted), self._with_statuses(wanted), self._with_faces(wanted)
        by_status = np.bincount(self.statuses[classes & faces], minlength=len(STATUSES)).tolist()
        by_class = np.bincount(self.classes[statuses & faces], minlength=len(self.class_names))
        found = classes & statuses & faces
        shown = by_class > 0
        if text:
            shown &= pc.match_substring(self._texts, text, ignore_case=True).to_numpy(zero_copy_only=False)
        own = self._chosen(wanted)
        others = np.flatnonzero(shown & ~own)
        best = others[np.argsort(-by_class[others], kind="stable")[:most]]
        return Counts(
            images=int(found.sum()),
            faces=int(self.counts[found].sum()),
            statuses=dict(zip(STATUSES, by_status, strict=True)),
            classes=[
                ClassCount(self.class_names[i], self.class_titles[i], int(by_class[i]))
                for i in (*np.flatnonzero(own).tolist(), *best.tolist())
            ],
            classes_found=len(others),
        )

    def row(self, number: int) -> FaceRow:
        """One image with its boxes."""
        width, height = self.sizes_wh[number].tolist()
        image_id, status = self.image_ids[number].as_py(), STATUSES[self.statuses[number]]
        return FaceRow(image_id, width, height, status, self.faces.of(number), self.candidates.of(number))

    def _chosen(self, wanted: Filter) -> Mask:
        """Which classes are the filter's own."""
        chosen = np.zeros(len(self.class_names), bool)
        chosen[[self._places[name] for name in wanted.classes if name in self._places]] = True
        return chosen

    def _with_classes(self, wanted: Filter) -> Mask:
        if not wanted.classes:
            return np.ones(len(self), bool)
        mask: Mask = self._chosen(wanted)[self.classes]
        return mask

    def _with_statuses(self, wanted: Filter) -> Mask:
        if not wanted.statuses:
            return np.ones(len(self), bool)
        mask: Mask = np.array([status in wanted.statuses for status in STATUSES])[self.statuses]
        return mask

    def _with_faces(self, wanted: Filter) -> Mask:
        mask = np.ones(len(self), bool)
        for limit in _limits(self.counts, wanted.min_faces, wanted.max_faces):
            mask &= limit
        limits = [
            *_limits(self.heights, wanted.min_height, wanted.max_height),
            *_limits(self.faces.scores, wanted.min_score, wanted.max_score),
        ]
        if limits:
            has_one = np.zeros(len(self), bool)
            has_one[self.owners[np.logical_and.reduce(limits)]] = True
            mask &= has_one
        return mask


def _limits(numbers: NDArray[Any], least: float | None, most: float | None) -> Iterator[Mask]:
    if least is not None:
        yield numbers >= least
    if most is not None:
        yield numbers <= most


def _one(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks()


def _integers(column: pa.ChunkedArray) -> NDArray[np.int32]:
    return np.asarray(pc.fill_null(_one(column), 0).to_numpy(), np.int32)


def _boxes(column: Any) -> BoxColumns:
    flat = pc.list_flatten(column)
    sides = [pc.struct_field(flat, side).to_numpy(zero_copy_only=False) for side in ("x0", "y0", "x1", "y1")]
    labels = pc.fill_null(pc.struct_field(flat, "label"), "face").dictionary_encode()
    sources = pc.fill_null(pc.struct_field(flat, "source"), "unknown").dictionary_encode()
    return BoxColumns(
        np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64),
        np.stack(sides, axis=1).astype(np.float32),
        pc.fill_null(pc.struct_field(flat, "score"), 1.0).to_numpy().astype(np.float32),
        *(texts.indices.to_numpy().astype(np.min_scalar_type(len(texts.dictionary))) for texts in (labels, sources)),
        *(texts.dictionary.to_pylist() for texts in (labels, sources)),
    )


def _per_image(
    extreme: np.ufunc, numbers: NDArray[np.float32], ends: NDArray[np.int64], counts: NDArray[np.int32]
) -> NDArray[np.float32]:
    """The largest or smallest number of each image's faces; NaN where it has none, shape (M,)."""
    found = np.full(len(counts), np.nan, np.float32)
    some = counts > 0
    if some.any():
        found[some] = extreme.reduceat(numbers, (ends - counts)[some])
    return found


def _order(keys: NDArray[Any]) -> NDArray[np.int32]:
    """Numbers of the images by a key, smallest first, NaN last, what is equal in the table's order."""
    return np.argsort(keys, kind="stable").astype(np.int32)
