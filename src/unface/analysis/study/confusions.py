"""Pairs of classes between which obfuscation moves the answers (Table 4), found, and their average precision."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unface.analysis.study.comparisons import Drop
from unface.analysis.study.results import Results, Run
from unface.analysis.study.uncertainty import benjamini_hochberg

PAIRS_SHOWN = 4
"""As many as the paper's Table 4 has."""

ALIKE = 0.02
"""Classes are alike from this mean share of answers that are the other one, over both settings and directions; a share
that says nothing of which way answers move (Bourgon, Gentleman and Huber 2010)."""

PAPER_PAIRS = (
    ("n02109961", "n02110185"),  # eskimo dog, siberian husky
    ("n04008634", "n03773504"),  # projectile, missile
    ("n04493381", "n02808440"),  # tub, bathtub
    ("n01682714", "n01693334"),  # american chameleon, green lizard
)
"""The classes of the paper's Table 4; the first of each loses, the second wins."""


class Swing(NamedTuple):
    """Answers that go from one class to another.

    Attributes:
        loser: Class whose images are answered with the other more often than before.
        winner: The other.
        swing: How much more often, added to how much less often the other's images are answered with this one.
        p: That the trainings show it by chance.
        q: The same, adjusted for all pairs that were looked at (Benjamini and Hochberg).
    """

    loser: int
    winner: int
    swing: float
    p: float
    q: float


def find_swings(results: Results, drop: Drop) -> list[Swing]:
    """Look at all pairs of classes that are alike, the surest first; none with fewer than three trainings.

    Tested is the mean over the trainings, by Student's t: two classes that look alike are told apart otherwise by
    every training, and only what all trainings share comes from the pictures. Few trainings tell little of how much
    this differs, so each pair is taken to differ at least as much, for its number of confusions, as the mean of all.
    """
    from scipy import stats

    runs = len(drop.pairs)
    if runs < 3:
        return []
    number, counts = len(results.classes), np.bincount(results.labels, minlength=len(results.classes))
    mean, squares, confused = (np.zeros((number, number)) for _ in range(3))
    for done, pair in enumerate(drop.pairs, 1):
        before, after = (_confusions(results, run, counts) for run in (pair.reference, pair.other))
        swing = (after - before) - (after - before).T
        step = swing - mean
        mean += step / done
        squares += step * (swing - mean)
        confused += (before + after + (before + after).T) / runs
    losers, winners = np.nonzero(np.triu(confused, 1) >= 4 * ALIKE)  # two settings, two directions
    if not len(losers):
        return []
    variances = squares[losers, winners] / (runs - 1)
    usual = confused[losers, winners] * variances.mean() / confused[losers, winners].mean()
    freedom = np.where(usual > variances, (runs - 1) * len(losers), runs - 1)
    found = mean[losers, winners]
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(found) / np.sqrt(np.maximum(variances, usual) / runs), freedom)
    p = np.where(found == 0, 1.0, p)
    columns = (losers, winners, found, p, benjamini_hochberg(p))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    swings = [Swing(a, b, s, p, q) if s > 0 else Swing(b, a, -s, p, q) for a, b, s, p, q in rows]
    return sorted(swings, key=lambda swing: (swing.q, -swing.swing))


def _confusions(results: Results, run: Run, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the images of a row's class that are answered with a column's."""
    number = len(counts)
    places = results.labels.astype(np.int64) * number + run.predicted
    found = np.bincount(places, minlength=number * number).reshape(number, number).astype(np.float64)
    found /= np.maximum(counts, 1)[:, None]
    np.fill_diagonal(found, 0)
    return found


@dataclass(frozen=True, eq=False)
class Precisions:
    """Average precision of some classes against all others, in one run.

    Attributes:
        logits: Images ranked by the class's raw logit, as the paper's code does, shape (K,).
        softmax: Ranked by its probability, which is another order, shape (K,).
    """

    logits: NDArray[np.float64]
    softmax: NDArray[np.float64]


def precisions(results: Results, run: Run, classes: list[int]) -> Precisions:
    """Read a run's logits, some thousand images at a time, and rank all images for each of the classes.

    Raises:
        InputError: Logits that are none.
    """
    from sklearn.metrics import average_precision_score

    size = run.predictions.images
    logits, chances = np.empty((size, len(classes)), np.float32), np.empty((size, len(classes)), np.float64)
    place = 0
    for batch in run.predictions.logits():
        wide = batch.astype(np.float32)
        highest = wide.max(axis=1, keepdims=True)
        total = np.log(np.exp(wide - highest).sum(axis=1, keepdims=True, dtype=np.float64)) + highest
        logits[place : place + len(wide)] = wide[:, classes]
        chances[place : place + len(wide)] = wide[:, classes] - total  # the logarithm keeps the order and no ties
        place += len(wide)
    truth = results.labels[:, None] == np.asarray(classes)
    scores = []
    for ranked in (logits[run.order], chances[run.order]):
        scores.append(
            [
                average_precision_score(truth[:, k], ranked[:, k]) if truth[:, k].any() else np.nan
                for k in range(len(classes))
            ]
        )
    return Precisions(np.array(scores[0]), np.array(scores[1]))
