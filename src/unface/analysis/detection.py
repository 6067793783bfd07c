"""How good detections are: average precision, faces left visible, area hidden in vain, errors by class.

Average precision follows WIDER FACE's own evaluation step by step (Yang et al.: "WIDER FACE: A Face Detection
Benchmark", CVPR 2016; the authors' Matlab code), its flaw included: what is found in images without a true face costs
nothing. The other measures ask what privacy asks: how much of each face do the boxes hide, and what else do they hide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unface.analysis.audit import Audit, Errors, GroupAudit
from unface.analysis.comparison import Comparison, Floats, Places
from unface.analysis.hiding import NEVER, Hiding
from unface.analysis.intervals import CONFIDENCE, wilson
from unface.errors import InputError
from unface.faces.classes import NO_CLASS, classes_of

TAUS = (0.5, 0.75, 0.9, 0.95, 0.99)
"""Fractions of a face from which it counts as hidden."""

SIZES_PX = (("< 16", 0, 16), ("16 to 32", 16, 32), ("32 to 96", 32, 96), ("≥ 96", 96, np.inf))
"""Heights of faces: title, from, below."""

IOU_THRESHOLD = 0.5
"""From this overlap a box is a face's."""

REPLICATES = 2000
"""Of the bootstrap."""

_LEVELS = 1000
_STEPS = np.arange(101) / 100

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % limits: Wilson's, and those of a bootstrap over images.

    Wilson's is None where what is counted depends on each other, as faces of one image do.
    """

    share: float
    hits: int
    number: int
    wilson: tuple[float, float] | None
    bootstrap: tuple[float, float]


@dataclass(frozen=True)
class Precision:
    """Average precision over the faces of one difficulty, and the curve it is the area of, from the best score down."""

    difficulty: str
    faces: int
    ap: float | None
    precision: tuple[float, ...]
    recall: tuple[float, ...]


@dataclass(frozen=True)
class SizeRecall:
    """Of the faces of some height, the share that is hidden to each fraction of `TAUS`; None of no faces."""

    title: str
    faces: int
    recall: tuple[float | None, ...]


@dataclass(frozen=True)
class Area:
    """What is hidden outside every true face: mean fraction of the image. None where no such image has a known size.

    `touched` is the share of the images without a face in which anything is hidden.
    """

    all: float | None
    with_faces: float | None
    without_faces: float | None
    sized: int
    face_free: int
    touched: float | None


@dataclass(frozen=True)
class Point:
    """What a threshold gives: share of images that leak, share of faces hidden, area hidden in vain."""

    threshold: float
    leak: float | None
    recall: float | None
    area: float | None
    touched: float | None


@dataclass(frozen=True)
class Settings:
    """What counts.

    Attributes:
        threshold: Smallest score of a box that is hidden; None for the prediction's own.
        tau: Fraction of a face from which it counts as hidden.
        margin: By which fraction of its diagonal each side of a box is moved outward before it hides.
        min_height_px: Lower faces may be found or not.
        leak_rate: Share of images with faces that may leak: asks for the threshold that costs least.
        seed: Of the bootstrap.
    """

    threshold: float | None = None
    tau: float = 0.95
    margin: float = 0.1
    min_height_px: float = 0.0
    leak_rate: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Quality:
    """What `measure` tells.

    Attributes:
        settings: What counted, the threshold filled in.
        images: Images that were compared.
        with_faces: Those with a face that counts.
        faces: Faces that count.
        missing: Images without a prediction, in which nothing was found.
        failed: Images whose prediction failed, in which nothing was found.
        unknown: Predicted images left out because no truth is known.
        precisions: By difficulty.
        sizes: By height; the last is of all.
        recall: Share of faces hidden to `tau`.
        mean_coverage: Of a face's area, how much is hidden.
        leak: Share of images with faces of which at least one is not hidden to `tau`.
        leaked_per_1000: Faces not hidden to `tau`, per 1,000 images.
        area: What is hidden in vain.
        curve: From low thresholds to high.
        best: The highest threshold whose leak is at most `leak_rate`; None if none is, or nothing was asked.
    """

    settings: Settings
    images: int
    with_faces: int
    faces: int
    missing: int
    failed: int
    unknown: int
    precisions: tuple[Precision, ...]
    sizes: tuple[SizeRecall, ...]
    recall: Interval | None
    mean_coverage: float | None
    leak: Interval | None
    leaked_per_1000: float | None
    area: Area
    curve: tuple[Point, ...]
    best: Point | None


def measure(
    comparison: Comparison, settings: Settings | None = None, difficulties: Mapping[str, Mask] | None = None
) -> Quality:
    """Measure predictions against the truth.

    Args:
        comparison: Both, side by side.
        settings: What counts.
        difficulties: Which true faces count for each difficulty, shape (N,); by default all that are high enough.
    """
    chosen = settings or Settings()
    threshold = comparison.threshold if chosen.threshold is None else chosen.threshold
    chosen = Settings(**{**vars(chosen), "threshold": threshold})
    stored = as_stored(threshold)
    counted = comparison.truth.heights_px >= chosen.min_height_px
    hiding = Hiding.of(comparison, chosen.margin, (*TAUS, chosen.tau), stored)
    seen = counted & hiding.visible
    leaks = _Leaks(hiding.critical[:, -1], comparison.truth.owners, seen, len(comparison))
    areas = _Areas(hiding, comparison)
    best = None
    if chosen.leak_rate is not None and (found := leaks.threshold_for(chosen.leak_rate)) is not None:
        best = _point(found, leaks, areas)
    rng = np.random.default_rng(chosen.seed)
    return Quality(
        chosen,
        images=len(comparison),
        with_faces=leaks.images,
        faces=leaks.faces,
        missing=comparison.missing,
        failed=comparison.failed,
        unknown=comparison.unknown,
        precisions=average_precisions(comparison, difficulties or {"all": counted}),
        sizes=_by_size(comparison, hiding, seen, stored),
        recall=leaks.recall(stored, rng),
        mean_coverage=float(hiding.coverage[seen].mean()) if seen.any() else None,
        leak=leaks.rate(stored, rng),
        leaked_per_1000=1000 * leaks.leaked(stored) / len(comparison) if len(comparison) else None,
        area=areas.at(stored),
        curve=tuple(_point(float(step), leaks, areas) for step in _STEPS),
        best=best,
    )


def as_stored(threshold: float) -> float:
    """A threshold as a table would hold it, in float32, so that a score of 0.35 reaches a threshold of 0.35."""
    return float(np.float32(threshold))


def average_precisions(
    comparison: Comparison, difficulties: Mapping[str, Mask], iou_threshold: float = IOU_THRESHOLD
) -> tuple[Precision, ...]:
    """WIDER FACE's average precision, for each set of faces that count.

    1. Scores are stretched to [0, 1] over all images.
    2. A prediction is of the face that it overlaps most, if by `iou_threshold` or more; widths are taken one pixel
       larger than they are, as that evaluation does.
    3. A prediction of a face that does not count is no false positive. Each face is found once; a second prediction
       of it is a false positive.
    4. Images without a true face, or without a prediction, add no false positives.
    5. Precision and recall at 1,000 levels of the score; the area below, precision made to fall (VOC 2010).
    """
    best, overlaps = _most_overlapped(comparison)
    scores = _stretched(comparison.predicted.scores)
    levels = 1 - np.arange(1, _LEVELS + 1) / _LEVELS
    met = comparison.truth.counts[comparison.predicted.owners] > 0
    hit = overlaps >= iou_threshold
    found = []
    for name, counts in difficulties.items():
        right = hit & counts[best] if len(counts) else hit
        proposed = _at_least(scores[met & (~hit | right)], levels)
        first = np.full(len(counts), -1.0)
        np.maximum.at(first, best[right], scores[right])
        recalled = _at_least(first[first >= 0], levels)
        precision = recalled / np.maximum(proposed, 1)
        number = int(counts.sum())
        recall = recalled / max(number, 1)
        ap = area_below(recall, precision) if number else None
        found.append(Precision(name, number, ap, tuple(precision.tolist()), tuple(recall.tolist())))
    return tuple(found)


def area_below(recall: Floats, precision: Floats) -> float:
    """Area below the curve, each precision raised to the largest at its recall or more (PASCAL VOC 2010).

    Args:
        recall: Not falling, shape (K,).
        precision: Shape (K,).
    """
    steps = np.diff(recall, prepend=0.0)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((steps * highest).sum())


def _most_overlapped(comparison: Comparison) -> tuple[Places, Floats]:
    """Of each prediction, the true face that it overlaps most, and by how much (-1 where there is none)."""
    number = int(comparison.predicted.counts.sum())
    best, overlaps = np.zeros(number, np.int64), np.full(number, -1.0)
    for predictions, faces in comparison.pairs():
        if not len(predictions):
            continue
        iou = _iou(comparison, predictions, faces, 1.0)
        starts = np.flatnonzero(np.diff(predictions, prepend=-1))
        most = np.maximum.reduceat(iou, starts)
        lengths = np.diff(starts, append=len(predictions))
        is_most = np.where(iou == np.repeat(most, lengths), faces, np.iinfo(np.int64).max)
        best[predictions[starts]] = np.minimum.reduceat(is_most, starts)  # the first of equals
        overlaps[predictions[starts]] = most
    return best, overlaps


def _iou(comparison: Comparison, predictions: Places, faces: Places, extra_px: float) -> Floats:
    """Intersection over union of pairs, every width and height `extra_px` larger."""
    a, b = comparison.predicted.boxes_xyxy[predictions], comparison.truth.boxes_xyxy[faces]
    size_a, size_b = (box[:, 2:] - box[:, :2] + extra_px for box in (a, b))
    shared = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + extra_px
    both = np.clip(shared, 0, None).prod(axis=1)
    return np.asarray(both / (size_a.prod(axis=1) + size_b.prod(axis=1) - both))


def _stretched(scores: Floats) -> Floats:
    """Scores stretched to [0, 1]; 1 where all are the same."""
    if not len(scores) or scores.min() == scores.max():
        return np.ones(len(scores))
    return np.asarray((scores - scores.min()) / (scores.max() - scores.min()))


def _at_least(scores: Floats, levels: Floats) -> Places:
    """How many scores reach each level."""
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), levels, "left"))


class _Leaks:
    """Faces that are not hidden, and images with such, at any threshold."""

    def __init__(self, critical: Floats, owners: Places, seen: Mask, images: int) -> None:
        faces = np.bincount(owners[seen], minlength=images)
        weakest = np.full(images, np.inf)
        np.minimum.at(weakest, owners[seen], critical[seen])
        self._critical, self._owners = critical[seen], owners[seen]
        self._faces_of = faces
        self._with_faces = faces > 0
        self._sorted, self._weakest = np.sort(self._critical), np.sort(weakest[self._with_faces])
        self.faces, self.images = len(self._critical), len(self._weakest)

    def leaked(self, threshold: float) -> int:
        return int(np.searchsorted(self._sorted, threshold, "left"))

    def leaking(self, threshold: float) -> int:
        return int(np.searchsorted(self._weakest, threshold, "left"))

    def rate(self, threshold: float, rng: np.random.Generator) -> Interval | None:
        """The share of images with faces that leak."""
        if not self.images:
            return None
        hits = self.leaking(threshold)
        leaks = np.repeat([1, 0], [hits, self.images - hits])
        limits = bootstrap(leaks, np.ones(self.images, np.int64), rng)
        return Interval(hits / self.images, hits, self.images, wilson(hits, self.images), limits)

    def recall(self, threshold: float, rng: np.random.Generator) -> Interval | None:
        """The share of faces that are hidden."""
        if not self.faces:
            return None
        hidden = self._critical >= threshold
        hits = np.bincount(self._owners[hidden], minlength=len(self._faces_of))
        limits = bootstrap(hits[self._with_faces], self._faces_of[self._with_faces], rng)
        return Interval(float(hidden.mean()), int(hidden.sum()), self.faces, None, limits)

    def threshold_for(self, leak_rate: float) -> float | None:
        """The highest threshold at which at most this share of the images leaks."""
        allowed = int(np.floor(leak_rate * self.images + 1e-9))
        if not self.images or allowed >= self.images:
            return 1.0
        highest = float(self._weakest[allowed])
        return None if highest == NEVER else min(highest, 1.0)


def bootstrap(
    hits: NDArray[np.int64], numbers: NDArray[np.int64], rng: np.random.Generator, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Limits of sum(hits) / sum(numbers) over images that are drawn again (percentiles; Efron 1979).

    Images with equal counts are drawn together, which is the same and takes no longer for a million of them.

    Args:
        hits: Of each image, shape (M,).
        numbers: Of each image, shape (M,).
        rng: Draws the images.
        replicates: How often.
    """
    kinds, images = np.unique(np.stack([hits, numbers], axis=1), axis=0, return_counts=True)
    drawn = rng.multinomial(len(hits), images / images.sum(), size=replicates)
    shares = drawn @ kinds[:, 0] / np.maximum(drawn @ kinds[:, 1], 1)
    low, high = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


class _Areas:
    """What is hidden in vain at any threshold, as a mean over the images whose size is known."""

    def __init__(self, hiding: Hiding, comparison: Comparison) -> None:
        sizes = comparison.sizes_wh.prod(axis=1).astype(np.float64)
        sized, free = sizes > 0, comparison.truth.counts == 0
        owners = hiding.piece_owners
        order = np.argsort(-hiding.piece_scores, kind="stable")
        order = order[sized[owners[order]]]
        fractions = hiding.pieces_px[order] / sizes[owners[order]]
        self._scores = -hiding.piece_scores[order]
        self._sums = [
            np.concatenate([[0.0], np.cumsum(np.where(part[owners[order]], fractions, 0.0))])
            for part in (np.ones(len(sizes), bool), ~free, free)
        ]
        self._numbers = [int((sized & part).sum()) for part in (np.ones(len(sizes), bool), ~free, free)]
        self.sized, self._free = self._numbers[0], int(free.sum())
        highest = np.full(len(sizes), NEVER)
        np.maximum.at(highest, comparison.predicted.owners, comparison.predicted.scores)
        self._highest = np.sort(highest[free])

    def at(self, threshold: float) -> Area:
        pieces = int(np.searchsorted(self._scores, -threshold, "right"))
        every, with_faces, without = (
            float(sums[pieces] / number) if number else None
            for sums, number in zip(self._sums, self._numbers, strict=True)
        )
        touched = self._free - int(np.searchsorted(self._highest, threshold, "left"))
        return Area(every, with_faces, without, self.sized, self._free, touched / self._free if self._free else None)


def _point(threshold: float, leaks: _Leaks, areas: _Areas) -> Point:
    stored = as_stored(threshold)
    area = areas.at(stored)
    return Point(
        threshold,
        leaks.leaking(stored) / leaks.images if leaks.images else None,
        1 - leaks.leaked(stored) / leaks.faces if leaks.faces else None,
        area.all,
        area.touched,
    )


def _by_size(comparison: Comparison, hiding: Hiding, seen: Mask, threshold: float) -> tuple[SizeRecall, ...]:
    heights = comparison.truth.heights_px
    hidden = hiding.critical[:, : len(TAUS)] >= threshold
    rows = []
    for title, low, high in (*SIZES_PX, ("all", 0, np.inf)):
        mine = seen & (heights >= low) & (heights < high)
        shares = hidden[mine].mean(axis=0).tolist() if mine.any() else [None] * len(TAUS)
        rows.append(SizeRecall(title, int(mine.sum()), tuple(shares)))
    return tuple(rows)


def errors_by_class(comparisons: Mapping[str, tuple[Comparison, float]], iou_threshold: float = IOU_THRESHOLD) -> Audit:
    """Table 1: false positives and missed faces by class, of several predictions of the same truth.

    Boxes and faces are paired, the pair of largest overlap first; what is left over is an error. A class is the folder
    that an image lies in; images that lie in none are a class without a name.

    Args:
        comparisons: By name; with each the smallest score of a box that counts.
        iou_threshold: Smallest overlap of a pair.
    """
    image_ids = next(iter(comparisons.values()))[0].image_ids
    names, classes = classes_of(image_ids)
    classes = np.where(classes == NO_CLASS, len(names), classes)
    columns = [_errors(found, at, classes, len(names) + 1, iou_threshold) for found, at in comparisons.values()]
    groups = (
        GroupAudit("all", name, errors) for name, errors in zip([*names, ""], zip(*columns, strict=True), strict=True)
    )
    return Audit(tuple(comparisons), tuple(group for group in groups if group.errors[0].images), 0)


def _errors(
    comparison: Comparison, threshold: float, classes: Places, number: int, iou_threshold: float
) -> list[Errors]:
    predicted, images = comparison.predicted, len(comparison)
    shown = predicted.scores >= as_stored(threshold)
    found = np.bincount(predicted.owners[shown], minlength=images)
    matched = np.bincount(comparison.truth.owners[_paired(comparison, shown, iou_threshold)], minlength=images)
    extra, missed = found - matched, comparison.truth.counts - matched
    sums = [
        np.bincount(classes, weights=column, minlength=number).astype(int).tolist()
        for column in (np.ones(images), extra, missed, extra > 0, missed > 0)
    ]
    return [Errors(*row) for row in zip(*sums, strict=True)]


def _paired(comparison: Comparison, shown: Mask, iou_threshold: float) -> Places:
    """The true faces that are paired with a prediction, as `faces.matching.match` pairs them."""
    overlaps, lefts, rights = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for predictions, faces in comparison.pairs():
        chosen = shown[predictions]
        predictions, faces = predictions[chosen], faces[chosen]
        iou = _iou(comparison, predictions, faces, 0.0)
        close = iou >= iou_threshold
        overlaps.append(iou[close])
        lefts.append(predictions[close])
        rights.append(faces[close])
    order = np.argsort(-np.concatenate(overlaps), kind="stable")
    free, paired = shown.copy(), np.zeros(len(comparison.truth.scores), bool)
    for left, right in zip(np.concatenate(lefts)[order], np.concatenate(rights)[order], strict=True):
        if free[left] and not paired[right]:
            free[left], paired[right] = False, True
    return np.flatnonzero(paired)


def counted_faces(comparison: Comparison, difficulty: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, Mask]:
    """Which true faces count for each difficulty.

    Args:
        comparison: Has the truth.
        difficulty: Image to difficulty to the places, from 0, of the faces that count. An image may be named by the end
            of its id. In an image that is not named no face counts.

    Raises:
        InputError: A name that fits several images, or a face that the truth does not have.
    """
    rows = _rows_of(comparison.image_ids.to_pylist(), difficulty)
    names = dict.fromkeys(level for levels in difficulty.values() for level in levels)
    masks = {name: np.zeros(len(comparison.truth.scores), bool) for name in names}
    starts, counts = comparison.truth.starts, comparison.truth.counts
    for name, levels in difficulty.items():
        row = rows.get(name)
        if row is None:
            continue
        for level, places in levels.items():
            if any(not 0 <= place < counts[row] for place in places):
                got = next(place for place in places if not 0 <= place < counts[row])
                raise InputError(
                    f"difficulty: {name!r}: {level}: expected a face from 0 to {counts[row] - 1}, got {got}"
                )
            masks[level][starts[row] + np.asarray(places, np.int64)] = True
    return masks


def _rows_of(image_ids: Sequence[str], names: Mapping[str, object]) -> dict[str, int]:
    """The row that each name means, where it means one."""
    depths = sorted({name.count("/") for name in names})
    rows: dict[str, int] = {}
    for row, image_id in enumerate(image_ids):
        parts = image_id.split("/")
        for depth in depths:
            name = "/".join(parts[-depth - 1 :])
            if name in names:
                if name in rows:
                    raise InputError(
                        f"difficulty: {name!r}: expected the name of one image, got one that fits "
                        f"{image_ids[rows[name]]!r} and {image_id!r}"
                    )
                rows[name] = row
    return rows
