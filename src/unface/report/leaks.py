"""How many faces were not hidden: counted against a truth, estimated without one, and by groups of people."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unface.analysis.intervals import CONFIDENCE, wilson
from unface.boxes import coverage, is_covered
from unface.errors import InputError, one_line
from unface.faces import Faces, face_rows

Counts = NDArray[np.int64]

REPLICATES = 2000
"""Of the bootstrap."""
COVERAGES = (0.5, 0.75, 0.9, 0.95)
_BOX = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % limits: the wider of Wilson's and of a bootstrap over images (or people)."""

    share: float
    hits: int
    number: int
    low: float
    high: float


def rate_of(hits: Counts, numbers: Counts, rng: np.random.Generator) -> Rate | None:
    """The share of hits in what was drawn in clusters, as faces are with their images.

    Args:
        hits: Of each image, shape (M,).
        numbers: Of each image, shape (M,).
        rng: Draws the images again.

    Returns:
        None of nothing.
    """
    hit, number = int(hits.sum()), int(numbers.sum())
    if not number:
        return None
    drawn = _drawn_again(np.stack([hits, numbers], axis=1), rng)
    low, high = _limits(drawn[:, 0] / np.maximum(drawn[:, 1], 1))
    around = wilson(hit, number)
    return Rate(hit / number, hit, number, min(low, around[0]), max(high, around[1]))


@dataclass(frozen=True)
class TrueLeaks:
    """Against a truth: faces and images of which something was not hidden, and how much of a face boxes cover.

    Attributes:
        images: Images that the truth knows and that were published.
        unknown: Images of the truth that were not published, left out.
        faces: Faces whose inner half the boxes leave more than half open.
        with_faces: Images with at least one such face, of those with faces.
        covered: Share of faces of whose whole box at least these fractions are covered.
    """

    images: int
    unknown: int
    faces: Rate | None
    with_faces: Rate | None
    covered: dict[str, float]


def true_leaks(truth: pa.Table, recorded: pa.Table, published: Sequence[str], seed: int = 0) -> TrueLeaks:
    """Compare true faces with the boxes that were obfuscated.

    Args:
        truth: Of `FACES_SCHEMA`.
        recorded: `faces.parquet`.
        published: Ids of the published images.
        seed: Of the bootstrap.
    """
    boxes = {row.image_id: row.faces.boxes_xyxy for row in face_rows(recorded)}
    known = set(published)
    missed, numbers, shares, unknown = [], [], [np.zeros(0)], 0
    for row in face_rows(truth):
        if row.image_id not in known:
            unknown += 1
            continue
        faces, hidden = row.faces.boxes_xyxy, boxes.get(row.image_id, np.zeros((0, 4), np.float32))
        missed.append(int((~is_covered(faces, hidden)).sum()))
        numbers.append(len(faces))
        shares.append(coverage(faces, hidden))
    leaks, totals, all_shares = np.array(missed, np.int64), np.array(numbers, np.int64), np.concatenate(shares)
    rng = np.random.default_rng(seed)
    some = totals > 0
    return TrueLeaks(
        len(leaks),
        unknown,
        rate_of(leaks, totals, rng),
        rate_of((leaks[some] > 0).astype(np.int64), some[some].astype(np.int64), rng),
        {str(least): float((all_shares >= least).mean()) for least in COVERAGES} if len(all_shares) else {},
    )


@dataclass(frozen=True)
class Sample:
    """What the second detector marks from some score on in the originals, and how much of it no recorded box covers."""

    score: float
    marks: int
    missed: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class EstimatedLeaks:
    """Chapman's estimate of the share of faces that were not hidden, from what two detectors see.

    Attributes:
        share: At the second detector's own threshold.
        low: Lower limit with only what the second detector is sure of: false alarms hardly count, hard faces are lost.
        high: Upper limit with all it marks at a low score: hard faces count, and false alarms with them.
        faces: How many faces the recorded boxes are, and so roughly how many more there would be.
        more: Faces that were not hidden, if the share is right.
        samples: Sure, own threshold, low score.
    """

    share: float
    low: float
    high: float
    faces: int
    more: float
    samples: tuple[Sample, Sample, Sample]


def estimated_leaks(verify: pa.Table, threshold: float, seed: int = 0) -> EstimatedLeaks | None:
    """Estimate from `verify.parquet` what the truth would tell.

    Lincoln and Petersen's estimate of a population from two captures, in Chapman's form (1951, Univ. California Publ.
    Stat. 1:131-160): N = (n1 + 1) (n2 + 1) / (m + 1) - 1, the leak rate 1 - n1 / N. It assumes that the detectors err
    independently, that all faces are equally hard, and that every mark is a face. None of this holds: what is hard for
    one is hard for the other, so the estimate is too low; false alarms of the second make it too high. Hence the limits
    are those of 95 % (bootstrap over images) of two samples that lean either way.

    Args:
        verify: Of `VERIFY_SCHEMA`.
        threshold: The second detector's own.
        seed: Of the bootstrap.

    Returns:
        None where no second detector looked at any image.
    """
    rows = [row for row in verify.select(["faces", "second"]).to_pylist() if row["second"] is not None]
    if not rows:
        return None
    rng = np.random.default_rng(seed)
    hidden = np.array([len(row["faces"]) for row in rows], np.int64)
    scores = (threshold + 0.4 * (1 - threshold), threshold, 0.6 * threshold)
    sure, own, low = (_sample(rows, hidden, score, rng) for score in scores)
    faces = int(hidden.sum())
    return EstimatedLeaks(own.rate, sure.low, max(low.high, own.high), faces, _more(own, faces), (sure, own, low))


def _sample(rows: Sequence[Mapping[str, Any]], hidden: Counts, score: float, rng: np.random.Generator) -> Sample:
    seen = [[bool(mark["covered"]) for mark in row["second"] if mark["score"] >= score] for row in rows]
    counts = np.array([(len(each), sum(each)) for each in seen], np.int64).reshape(-1, 2)
    all_counts = np.column_stack([hidden, counts])
    marks, recaptured = (int(total) for total in counts.sum(axis=0))
    low, high = _limits(_chapman(_drawn_again(all_counts, rng)))
    around = wilson(marks - recaptured, marks)
    rate = float(_chapman(all_counts.sum(axis=0)[None])[0])
    return Sample(score, marks, marks - recaptured, rate, min(low, around[0]), max(high, around[1]))


def _chapman(sums: Counts) -> NDArray[np.float64]:
    """Leak rates from sums of n1, n2, m, shape (R, 3)."""
    first, second, both = (sums[:, i].astype(np.float64) for i in range(3))
    population = (first + 1) * (second + 1) / (both + 1) - 1
    return np.asarray(np.clip(1 - first / np.where(population > 0, population, np.inf), 0, 1) * (population > 0))


def _more(sample: Sample, faces: int) -> float:
    return faces * sample.rate / (1 - sample.rate) if sample.rate < 1 else float("inf")


@dataclass(frozen=True)
class GroupLeaks:
    """Faces that were not hidden, by group, and the largest gap between two groups with its 95 % limits."""

    rates: dict[str, Rate]
    gap: float
    gap_low: float
    gap_high: float
    worst: str
    best: str
    units: str


def group_leaks(
    labels: Sequence[Mapping[str, Any]], truth: pa.Table | None, recorded: pa.Table, seed: int = 0
) -> GroupLeaks:
    """Share of faces that were not hidden, for each group of people.

    Args:
        labels: As `read_groups` returns them.
        truth: Where the faces are, if the labels have no boxes; of `FACES_SCHEMA`.
        recorded: `faces.parquet`.
        seed: Of the bootstrap, which draws images again, or people where the labels name them.

    Raises:
        InputError: Neither the labels nor a truth say where the faces are, or fewer than two groups have faces.
    """
    hidden = {row.image_id: row.faces.boxes_xyxy for row in face_rows(recorded)}
    true = {row.image_id: row.faces.boxes_xyxy for row in face_rows(truth)} if truth is not None else None
    names = sorted({label["group"] for label in labels})
    units: dict[str, int] = {}
    rows: list[tuple[int, int, int, int]] = []
    for label in labels:
        box = label["box"]
        if box is None and true is None:
            raise InputError("groups: expected boxes (x0, y0, x1, y1) in the labels, or --truth, got neither")
        faces = np.array([box], np.float32) if box is not None else (true or {}).get(label["image_id"], _NO_BOXES)
        missed = int((~is_covered(faces, hidden.get(label["image_id"], _NO_BOXES))).sum())
        unit = units.setdefault(label["subject"] or label["image_id"], len(units))
        rows.append((unit, names.index(label["group"]), missed, len(faces)))
    counts = np.zeros((len(units), 2 * len(names)), np.int64)
    for unit, group, missed, number in rows:
        counts[unit, group] += missed
        counts[unit, len(names) + group] += number
    return _gaps(names, counts, "people" if any(label["subject"] for label in labels) else "images", seed)


_NO_BOXES = np.zeros((0, 4), np.float32)


def _gaps(names: Sequence[str], counts: Counts, units: str, seed: int) -> GroupLeaks:
    rng = np.random.default_rng(seed)
    some = [i for i in range(len(names)) if counts[:, len(names) + i].sum()]
    if len(some) < 2:
        raise InputError(f"groups: expected faces of at least two groups, got {len(some)} of {len(names)} with faces")
    rates = {names[i]: rate_of(counts[:, i], counts[:, len(names) + i], rng) for i in some}
    drawn = _drawn_again(counts, rng).astype(np.float64)
    totals = drawn[:, [len(names) + i for i in some]]
    shares = np.where(totals > 0, drawn[:, some] / np.maximum(totals, 1), np.nan)
    low, high = _limits(np.nanmax(shares, axis=1) - np.nanmin(shares, axis=1))
    known = {name: rate for name, rate in rates.items() if rate is not None}
    worst, best = max(known, key=lambda name: known[name].share), min(known, key=lambda name: known[name].share)
    gap = known[worst].share - known[best].share
    return GroupLeaks(known, gap, min(low, gap), max(high, gap), worst, best, units)


def read_groups(path: Path) -> list[dict[str, Any]]:
    """Group labels of a CSV: `image_id`, `group`, and optionally `x0, y0, x1, y1` of the face and `subject`.

    Returns:
        One dict per row: image_id, group, box (four numbers of upright pixels, or None), subject (empty if not known).

    Raises:
        InputError: Unreadable, a column missing, or a box that is none; the message names file, line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"image_id", "group"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{one_line(str(path))}: expected columns image_id and group, "
                    f"got {one_line(', '.join(reader.fieldnames or ()))}"
                )
            return [_label(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{one_line(str(path))}: expected a CSV file, got {one_line(error)}") from None


def _label(path: Path, line: int, row: Mapping[str, str | None]) -> dict[str, Any]:
    texts = [(row.get(side) or "").strip() for side in _BOX]
    if not row["image_id"] or not row["group"]:
        raise InputError(f"{one_line(str(path))}: line {line}: expected an image_id and a group, got none")
    box = None
    if any(texts):
        try:
            box = [float(text) for text in texts]
            Faces.make([box])
        except ValueError:
            got = one_line(", ".join(texts))
            raise InputError(f"{one_line(str(path))}: line {line}: expected x0 < x1, y0 < y1, got {got}") from None
    return {"image_id": row["image_id"], "group": row["group"], "box": box, "subject": row.get("subject") or ""}


def redetected(verify: pa.Table, column: str, score: float) -> Rate | None:
    """How many hidden faces a detector still sees as faces, from some score on.

    Args:
        verify: Of `VERIFY_SCHEMA`.
        column: `score`, the run's own detector, or `second_score`.
        score: From which on it counts.
    """
    rows = [[face[column] for face in row or ()] for row in verify["faces"].to_pylist()]
    known = [[value for value in scores if value is not None] for scores in rows]
    hits = np.array([sum(value >= score for value in scores) for scores in known], np.int64)
    return rate_of(hits, np.array([len(scores) for scores in known], np.int64), np.random.default_rng(0))


def _drawn_again(counts: Counts, rng: np.random.Generator) -> Counts:
    """Sums over images that are drawn again, shape (REPLICATES, columns); equal images are drawn together."""
    kinds, images = np.unique(counts, axis=0, return_counts=True)
    drawn = rng.multinomial(len(counts), images / images.sum(), size=REPLICATES)
    return np.asarray(drawn @ kinds, np.int64)


def _limits(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
