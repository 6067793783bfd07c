"""Histograms as numbers that the template draws: pure functions, arrays in, marks out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FACES_PER_IMAGE = (0, 1, 2, 3, 4, 5, 10, 20, 50)
"""Lower edges of the bins; the last one is open."""

FACE_HEIGHTS_PX = (0, 16, 32, 96, 256)

SCORE_BINS = 20
CHART_WH = (340, 170)
"""Plot area of the score chart, in its own units."""


@dataclass(frozen=True)
class Bar:
    """One bin: what it holds, how many, and its length relative to the largest bin, in [0, 1]."""

    label: str
    count: int
    length: float


def bars(labels: Sequence[str], counts: Sequence[int] | NDArray[np.int64]) -> list[Bar]:
    """One bar per label.

    >>> bars(["a", "b"], [2, 4])
    [Bar(label='a', count=2, length=0.5), Bar(label='b', count=4, length=1.0)]
    """
    largest = max([*counts, 1])
    return [Bar(label, int(n), float(n / largest)) for label, n in zip(labels, counts, strict=True)]


def faces_per_image(faces: NDArray[np.int64]) -> list[Bar]:
    """Images by their number of faces; `faces` holds one count per image."""
    edges = FACES_PER_IMAGE
    labels = [f"{low}" if high - low == 1 else f"{low}–{high - 1}" for low, high in pairwise(edges)]
    return bars([*labels, f"{edges[-1]} or more"], _counts(faces, edges))


def face_heights(heights_px: NDArray[np.floating[Any]]) -> list[Bar]:
    """Faces by their height in upright pixels."""
    edges = FACE_HEIGHTS_PX
    labels = [f"{low} to <{high}" for low, high in pairwise(edges)]
    return bars(["<16", *labels[1:], f"{edges[-1]} or more"], _counts(heights_px, edges))


def _counts(values: NDArray[Any], edges: Sequence[float]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, values, side="right") - 1, minlength=len(edges))


class Column(NamedTuple):
    """One bin of scores: two counts, and the columns' places in the chart, candidates on top of faces."""

    label: str
    faces: int
    candidates: int
    x: float
    width: float
    faces_y: float
    faces_height: float
    candidates_y: float
    candidates_height: float


class ScoreChart(NamedTuple):
    """Scores of faces and of candidates in `SCORE_BINS` equal bins of [0, 1]."""

    columns: list[Column]
    largest: int
    threshold: float | None
    threshold_x: float


def score_chart(
    face_scores: NDArray[np.floating[Any]],
    candidate_scores: NDArray[np.floating[Any]],
    threshold: float | None = None,
) -> ScoreChart:
    """A stacked histogram of the scores, and where the detector's threshold lies in it."""
    faces, candidates = _score_counts(face_scores), _score_counts(candidate_scores)
    largest = int(max((faces + candidates).max(), 1))
    width, height = CHART_WH
    step = width / SCORE_BINS
    columns = []
    for i, (lower, upper) in enumerate(zip(faces.tolist(), candidates.tolist(), strict=True)):
        faces_height, candidates_height = height * lower / largest, height * upper / largest
        columns.append(
            Column(
                f"{i / SCORE_BINS:.2f} to {(i + 1) / SCORE_BINS:.2f}",
                lower,
                upper,
                round(i * step + 1, 2),
                round(step - 2, 2),
                round(height - faces_height, 2),
                round(faces_height, 2),
                round(height - faces_height - candidates_height, 2),
                round(candidates_height, 2),
            )
        )
    known = threshold if threshold is not None and 0 <= threshold <= 1 else None
    return ScoreChart(columns, largest, known, round(width * (known or 0), 2))


def _score_counts(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    inside = scores[(scores >= 0) & (scores <= 1)].astype(np.float64)
    places = np.minimum(np.floor(np.round(inside * SCORE_BINS, 5)).astype(np.int64), SCORE_BINS - 1)
    return np.bincount(places, minlength=SCORE_BINS)
