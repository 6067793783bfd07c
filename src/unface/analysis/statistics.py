"""How many faces, where, how large: what the paper's Section 3 tells of a dataset, for any.

All fractions are of the images that were looked at: those that failed count for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.analysis.images import Images, below, images_of
from unface.analysis.wordnet import load_nouns
from unface.boxes import union_areas
from unface.faces.classes import NO_CLASS, is_wnid

SUPERCATEGORIES = ("clothing.n.01", "wheeled_vehicle.n.01", "musical_instrument.n.01", "bird.n.01", "insect.n.01")
"""Those of the paper's Table 2."""

FEW = 5
"""The paper tells how many images with faces have fewer."""

_ILSVRC_CLASSES = 1000
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True)
class Spread:
    """Quantiles of some numbers: smallest, 5 %, 25 %, median, 75 %, 95 %, largest; and their mean."""

    quantiles: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class ClassCount:
    """Images, images with faces, and faces of one class or supercategory."""

    name: str
    title: str
    classes: int
    images: int
    with_faces: int
    faces: int

    @property
    def fraction(self) -> float:
        """Of its images, how many have a face."""
        return self.with_faces / self.images if self.images else 0.0


@dataclass(frozen=True)
class Statistics:
    """What `summarize` tells.

    Attributes:
        images: Images that were looked at.
        failed: Images that failed; they count nowhere else.
        reviewed: Images that people have looked at.
        with_faces: Images with a face or more.
        faces: Faces in all images.
        fewer_than_five: Images with faces that have fewer than five.
        largest: The most faces in one image; with a detector's cap, the cap.
        with_largest: Images that have so many.
        faces_per_image: Images by their number of faces, from 1.
        heights_px: Of the faces' boxes.
        area_all: Fraction of an image that faces cover, over all images; None where no sizes are known.
        area_faces: The same over images with faces.
        sized: Images whose size is known.
        split: Folder whose images the classes are of; empty for all.
        by_class: One entry a class, in order of their names.
        supercategories: One entry a synset.
        is_ilsvrc: Whether the classes are 1,000 synsets, so that the paper's figures are of the same kind.
    """

    images: int
    failed: int
    reviewed: int
    with_faces: int
    faces: int
    fewer_than_five: int
    largest: int
    with_largest: int
    faces_per_image: dict[int, int]
    heights_px: Spread | None
    area_all: Spread | None
    area_faces: Spread | None
    sized: int
    split: str
    by_class: list[ClassCount] = field(repr=False)
    supercategories: list[ClassCount] = field(repr=False)
    is_ilsvrc: bool

    def more_than(self, fraction: float) -> int:
        """Classes of which more than this fraction of the images have a face."""
        return sum(entry.fraction > fraction for entry in self.by_class)


def summarize(table: pa.Table, synsets: Sequence[str] = (), split: str | None = None) -> Statistics:
    """Count a table of `FACES_SCHEMA`.

    Args:
        table: What to count.
        synsets: Supercategories beside those of the paper, where the classes are synsets.
        split: Folder of the dataset whose images the classes are counted of; all where empty. By default `train` where
            the dataset is ILSVRC and has it, as in the paper's code.

    Raises:
        InputError: A synset that WordNet does not know.
    """
    images = images_of(table)
    counts = images.faces[images.faces > 0]
    is_ilsvrc = len(images.class_names) == _ILSVRC_CLASSES and all(map(is_wnid, images.class_names))
    if split is None:
        split = "train" if is_ilsvrc and below(images, "train").any() else ""
    by_class = _by_class(images, below(images, split) if split else np.ones(len(images), bool))
    sized = (images.sizes_wh > 0).all(axis=1)
    covered = _covered(images)[sized]
    return Statistics(
        images=len(images),
        failed=len(table) - len(images),
        reviewed=int(pc.sum(pc.equal(images.statuses, "reviewed")).as_py() or 0),
        with_faces=len(counts),
        faces=int(counts.sum()),
        fewer_than_five=int((counts < FEW).sum()),
        largest=int(counts.max(initial=0)),
        with_largest=int((counts == counts.max(initial=0)).sum()),
        faces_per_image={int(n): int(m) for n, m in zip(*np.unique(counts, return_counts=True), strict=True)},
        heights_px=_spread(images.boxes_xyxy[:, 3] - images.boxes_xyxy[:, 1]),
        area_all=_spread(covered),
        area_faces=_spread(covered[images.faces[sized] > 0]),
        sized=int(sized.sum()),
        split=split,
        by_class=by_class,
        supercategories=_supercategories(by_class, synsets),
        is_ilsvrc=is_ilsvrc,
    )


def _by_class(images: Images, chosen: NDArray[np.bool_]) -> list[ClassCount]:
    chosen = chosen & (images.classes != NO_CLASS)
    classes, faces, number = images.classes[chosen], images.faces[chosen], len(images.class_names)
    totals = np.bincount(classes, minlength=number)
    with_faces = np.bincount(classes[faces > 0], minlength=number)
    all_faces = np.bincount(classes, weights=faces, minlength=number).astype(np.int64)
    columns = zip(images.class_names, totals.tolist(), with_faces.tolist(), all_faces.tolist(), strict=True)
    return [
        ClassCount(name, load_nouns().word(name), 1, total, some, faces)
        for name, total, some, faces in columns
        if total
    ]


def _supercategories(by_class: list[ClassCount], synsets: Sequence[str]) -> list[ClassCount]:
    """Table 2: sums over the classes at or below each synset; none where no class is a synset."""
    if not any(is_wnid(entry.name) for entry in by_class):
        return []
    nouns, entries = load_nouns(), {entry.name: entry for entry in by_class}
    found = []
    for synset in dict.fromkeys([*SUPERCATEGORIES, *synsets]):
        members = [entries[name] for name in nouns.among(entries, synset)]
        sums = (sum(getattr(entry, column) for entry in members) for column in ("images", "with_faces", "faces"))
        found.append(ClassCount(synset, nouns.word(nouns.wnid(synset)), len(members), *sums))
    return found


def _covered(images: Images) -> NDArray[np.float64]:
    """Fraction of each image that the union of its boxes covers; 0 where the size is not known."""
    areas = images.sizes_wh.prod(axis=1, dtype=np.float64)
    if not areas.any():
        return np.zeros(len(images))
    limits = np.repeat(np.concatenate([images.sizes_wh, images.sizes_wh], axis=1), images.faces, axis=0)
    inside = np.asarray(np.clip(images.boxes_xyxy, 0, limits), np.float32)
    return np.asarray(union_areas(inside, images.faces) / np.maximum(areas, 1))


def _spread(numbers: NDArray[Any]) -> Spread | None:
    if not len(numbers):
        return None
    quantiles = np.quantile(numbers.astype(np.float64), _QUANTILES)
    return Spread(tuple(quantiles.tolist()), float(numbers.mean(dtype=np.float64)))
