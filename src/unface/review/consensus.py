"""From several people's boxes of one image to one set of boxes, and how far people agree. Pure.

An answer is a box array of shape (N, 4); answers come in a fixed order, one per worker.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, as_boxes, iou

MIN_IOU = 0.5
"""Boxes of two workers that overlap by less are not of the same face."""


def match_answers(answers: Sequence[Boxes], min_iou: float = MIN_IOU) -> NDArray[np.int64]:
    """Tell which boxes of which workers mean the same face.

    The pairs that overlap most are joined first; a face has at most one box of each worker. The order of the
    workers does not matter, but for pairs that overlap exactly alike.

    Args:
        answers: k box arrays.
        min_iou: Least IoU of two boxes of one face.

    Returns:
        Shape (faces, k): the index of each worker's box of the face, -1 where he has none.
    """
    owners = [worker for worker, boxes in enumerate(answers) for _ in boxes]
    places = [place for boxes in answers for place in range(len(boxes))]
    starts = np.cumsum([0, *map(len, answers)])
    pairs: list[tuple[float, int, int]] = []
    for a, b in combinations(range(len(answers)), 2):
        overlaps = iou(answers[a], answers[b])
        for i, j in np.argwhere(overlaps >= min_iou):
            pairs.append((-float(overlaps[i, j]), int(starts[a] + i), int(starts[b] + j)))
    faces = {node: [node] for node in range(len(owners))}
    face_of = list(range(len(owners)))
    for _, one, other in sorted(pairs):
        kept, joined = sorted((face_of[one], face_of[other]))
        if kept == joined or {owners[n] for n in faces[kept]} & {owners[n] for n in faces[joined]}:
            continue
        for node in faces[joined]:
            face_of[node] = kept
        faces[kept] += faces.pop(joined)
    matched = np.full((len(faces), len(answers)), -1, np.int64)
    for row, nodes in zip(matched, faces.values(), strict=True):
        for node in nodes:
            row[owners[node]] = places[node]
    return matched


def merge_boxes(answers: Sequence[Boxes], matched: NDArray[np.int64]) -> Boxes:
    """One box per matched face: the median of each side over the workers who drew it; shape (faces, 4)."""
    merged = [
        np.median([answers[worker][place] for worker, place in enumerate(row) if place >= 0], axis=0) for row in matched
    ]
    return as_boxes(np.array(merged))


def is_kept(matched: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which matched faces at least half of the workers drew; a tie keeps the face, the safe side; shape (faces,)."""
    votes = (matched >= 0).sum(axis=1)
    return np.asarray(2 * votes >= matched.shape[1])


def agreement(a_xyxy: Boxes, b_xyxy: Boxes, min_iou: float = MIN_IOU) -> float:
    """How far two answers agree: IoU of matched boxes, summed, over the mean number of boxes; 1 if both have none.

    >>> agreement(as_boxes([[0, 0, 4, 4]]), as_boxes([[0, 0, 4, 4], [8, 8, 9, 9]]))
    0.6666666666666666
    """
    if not len(a_xyxy) and not len(b_xyxy):
        return 1.0
    matched = match_answers([a_xyxy, b_xyxy], min_iou)
    both = matched[(matched >= 0).all(axis=1)]
    shared = iou(a_xyxy, b_xyxy)[both[:, 0], both[:, 1]].sum(dtype=float)
    return 2 * float(shared) / (len(a_xyxy) + len(b_xyxy))


def mean_agreement(answers: Sequence[Boxes]) -> float:
    """Mean `agreement` over all pairs of answers; NaN for fewer than two."""
    pairs = [agreement(a, b) for a, b in combinations(answers, 2)]
    return float(np.mean(pairs)) if pairs else math.nan


def agreement_with_others(answers: Sequence[Boxes]) -> list[float]:
    """Each worker's mean `agreement` with every other one; NaN for a single worker."""
    table = np.full((len(answers), len(answers)), math.nan)
    for a, b in combinations(range(len(answers)), 2):
        table[a, b] = table[b, a] = agreement(answers[a], answers[b])
    return [float(np.nanmean(row)) if len(answers) > 1 else math.nan for row in table]


def next_step(
    answers: Sequence[Boxes], replicas: int, most_replicas: int, min_agreement: float
) -> Literal["ask", "agreed", "adjudicate"]:
    """The stopping rule: ask another worker, take the answers as they are, or let a reviewer decide.

    Answers are taken when there are `replicas` of them, their mean agreement is at least `min_agreement`, and no
    face was drawn by exactly half of the workers. A single answer, where one is asked for, is taken.
    """
    if len(answers) < replicas:
        return "ask"
    if len(answers) == 1:
        return "agreed"
    votes = (match_answers(answers) >= 0).sum(axis=1)
    if mean_agreement(answers) >= min_agreement and not (2 * votes == len(answers)).any():
        return "agreed"
    return "ask" if len(answers) < most_replicas else "adjudicate"


def krippendorff_alpha(values: NDArray[np.float64], level: Literal["nominal", "interval"]) -> float:
    """Agreement beyond chance: 1 is perfect, 0 is what chance gives, below 0 is systematic disagreement.

    Source: Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), section C, with coincidences of units
    that at least two workers judged.

    Args:
        values: Shape (workers, units), NaN where a worker did not judge the unit.
        level: `nominal`: values are the same or not; `interval`: their squared difference counts.

    Returns:
        Alpha; NaN where no unit has two values, or all values are the same.
    """
    judged = ~np.isnan(values)
    counts = judged.sum(axis=0)
    values, counts = values[:, counts >= 2], counts[counts >= 2]
    present = values[~np.isnan(values)]
    kinds, index = np.unique(present, return_inverse=True)
    if len(kinds) < 2:
        return math.nan
    units = np.broadcast_to(np.arange(values.shape[1]), values.shape)[~np.isnan(values)]
    table = np.zeros((values.shape[1], len(kinds)))
    np.add.at(table, (units, index), 1)
    weighted = table / (counts - 1)[:, None]
    coincidences = table.T @ weighted - np.diag(weighted.sum(axis=0))
    distances = (kinds[:, None] != kinds) if level == "nominal" else (kinds[:, None] - kinds) ** 2
    totals = coincidences.sum(axis=0)
    expected = np.outer(totals, totals) / (totals.sum() - 1)
    return float(1 - (coincidences * distances).sum() / (expected * distances).sum())


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers with its 95 % Wilson interval; the widest one where nothing was judged."""

    right: int
    judged: int
    share: float
    low: float
    high: float


_Z95 = 1.959963984540054


def accuracy(right: int, judged: int) -> Accuracy:
    """A worker's accuracy on gold images. Source: Wilson (1927).

    >>> accuracy(0, 0)
    Accuracy(right=0, judged=0, share=nan, low=0.0, high=1.0)
    """
    if not judged:
        return Accuracy(0, 0, math.nan, 0.0, 1.0)
    share, square = right / judged, _Z95**2
    middle = (share + square / (2 * judged)) / (1 + square / judged)
    half = _Z95 / (1 + square / judged) * math.sqrt(share * (1 - share) / judged + square / (4 * judged**2))
    return Accuracy(right, judged, share, max(0.0, middle - half), min(1.0, middle + half))
