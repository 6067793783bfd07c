"""Category by category: how much of its pictures is obfuscated, and how far its accuracy drops (Figures 3 and 4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.analysis.study.comparisons import TOPS, Drop, differences
from unface.analysis.study.results import Results
from unface.analysis.study.uncertainty import ClassTests, benjamini_hochberg, class_tests, holm
from unface.boxes import Boxes, clip, coverage, enlarge, size_wh, union_area
from unface.faces import face_rows

BLURRED_EDGES = (0.0, 0.01, 0.02, 0.04, 0.08, 1.0)
"""Figure 3's bins; the paper states the first and the last, and that the drop rises from 4 % on."""

COVERED_EDGES = (0.0, 0.005, 0.05, 1.0)
"""Figure 4's bins; the last ends at 57 % in the paper, the most of any category there."""

MARGIN = 0.1
"""The paper enlarges a box on each side by this fraction of its longer side (its code; the text says diagonal)."""


@dataclass(frozen=True, eq=False)
class Areas:
    """What faces cover, image by image; NaN where it is not known.

    Attributes:
        image: Of the image, shape (N,).
        objects: Of each object's box, mean over the image's boxes, shape (N,).
    """

    image: NDArray[np.float64]
    objects: NDArray[np.float64]


def areas(
    image_ids: pa.Array, faces: pa.Table, objects: Mapping[str, Boxes] | None = None, enlarged: bool = False
) -> Areas:
    """Measure the union of each image's boxes, clipped to the image.

    Args:
        image_ids: N texts.
        faces: Of `FACES_SCHEMA`; images that failed or have no size are not known.
        objects: Boxes of the objects by the file's name without folder and suffix.
        enlarged: Measure what the paper's code obfuscates, boxes with a margin, and not the boxes as they are.
    """
    image, covered = np.full(len(image_ids), np.nan), np.full(len(image_ids), np.nan)
    kept = faces.filter(pc.is_in(faces["image_id"], value_set=image_ids))
    places = pc.index_in(kept["image_id"].combine_chunks(), value_set=image_ids).to_pylist()
    for place, row in zip(places, face_rows(kept), strict=True):
        if row.status == "failed" or not row.width or not row.height:
            continue
        boxes = row.faces.boxes_xyxy
        if enlarged and len(boxes):
            boxes = enlarge(boxes, MARGIN * size_wh(boxes).max(axis=1))
        boxes, _ = clip(boxes, row.width, row.height)
        image[place] = union_area(boxes) / (row.width * row.height)
        things = (objects or {}).get(PurePosixPath(row.image_id).stem)
        if things is not None:
            things, _ = clip(things, row.width, row.height)
            covered[place] = coverage(things, boxes).mean() if len(things) else np.nan
    return Areas(image, covered)


def class_means(values: NDArray[np.float64], labels: NDArray[np.int32], classes: int) -> NDArray[np.float64]:
    """Mean of what is known in each class, shape (classes,); NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        sums = np.bincount(labels[known], values[known], classes)
        return np.asarray(sums / np.bincount(labels[known], minlength=classes))


@dataclass(frozen=True, eq=False)
class CategoryDrops:
    """One comparison, class by class.

    Attributes:
        drop: The comparison.
        images: Of each class, shape (C,).
        accuracy: With the original, top-1 and top-5, shape (2, C).
        tests: Drops, top-1 and top-5.
        false_discovery: P-values adjusted by Benjamini and Hochberg, shape (2, C).
        family_wise: P-values adjusted by Holm, shape (2, C).
    """

    drop: Drop
    images: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    tests: tuple[ClassTests, ClassTests]
    false_discovery: NDArray[np.float64]
    family_wise: NDArray[np.float64]

    def drops(self, top: int) -> NDArray[np.float64]:
        """Fractions, shape (C,)."""
        return self.tests[TOPS.index(top)].drops

    def most_affected(self, top: int, number: int) -> list[int]:
        """Classes whose accuracy drops, the largest drop first."""
        known = np.nan_to_num(self.drops(top), nan=-np.inf)
        order = np.argsort(-known, kind="stable")
        return [int(place) for place in order[:number] if known[place] > 0]

    def found(self, top: int, level: float = 0.05) -> list[int]:
        """Classes whose accuracy changes, for better or worse, at this false discovery rate; the largest drop first."""
        changed = np.flatnonzero(np.nan_to_num(self.false_discovery[TOPS.index(top)], nan=1.0) < level)
        return [int(place) for place in changed[np.argsort(-self.drops(top)[changed], kind="stable")]]


def category_drops(results: Results, drop: Drop) -> CategoryDrops:
    """Drops of every class, tested with all trainings together."""
    classes = len(results.classes)
    tests = [class_tests(differences(results, drop.pairs, top), results.labels, classes) for top in TOPS]
    images = np.bincount(results.labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        accuracy = np.stack(
            [
                sum(np.bincount(results.labels, results.correct(pair.reference, top), classes) for pair in drop.pairs)
                / (len(drop.pairs) * images)
                for top in TOPS
            ]
        )
    return CategoryDrops(
        drop,
        images,
        accuracy,
        (tests[0], tests[1]),
        np.stack([benjamini_hochberg(test.p) for test in tests]),
        np.stack([holm(test.p) for test in tests]),
    )


class Bin(NamedTuple):
    """Classes whose fraction lies in [low, high): how many, and their mean drop (None of no class)."""

    low: float
    high: float
    classes: int
    drop: float | None
    error: float | None


class Relation(NamedTuple):
    """How the drops of classes go with a fraction of their pictures.

    Attributes:
        fractions: By class, shape (C,).
        drops: By class, shape (C,).
        bins: The figure's.
        r: Pearson's correlation over the classes of which both are known; None where it is not defined.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: That there is none.
    """

    fractions: NDArray[np.float64]
    drops: NDArray[np.float64]
    bins: list[Bin]
    r: float | None
    low: float | None
    high: float | None
    p: float | None


def relate(fractions: NDArray[np.float64], drops: NDArray[np.float64], edges: tuple[float, ...]) -> Relation:
    """Correlate and bin, over the classes of which both are known; the last bin holds its upper end, too."""
    from scipy import stats

    known = ~np.isnan(fractions) & ~np.isnan(drops)
    fractions, drops = np.where(known, fractions, np.nan), np.where(known, drops, np.nan)
    places = np.searchsorted(edges[1:-1], fractions[known], side="right")
    bins = []
    for number, (low, high) in enumerate(pairwise(edges)):
        mine = drops[known][places == number]
        error = float(stats.sem(mine)) if len(mine) > 1 else None
        bins.append(Bin(low, high, len(mine), float(mine.mean()) if len(mine) else None, error))
    if known.sum() < 3 or np.ptp(fractions[known]) == 0 or np.ptp(drops[known]) == 0:
        return Relation(fractions, drops, bins, None, None, None, None)
    found = stats.pearsonr(fractions[known], drops[known])
    low, high = found.confidence_interval() if known.sum() > 3 else (np.nan, np.nan)
    return Relation(fractions, drops, bins, float(found.statistic), float(low), float(high), float(found.pvalue))
