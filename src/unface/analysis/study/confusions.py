"""Pairs of classes between which obfuscation moves the answers (Table 4), found, and their average precision."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unface.analysis.study.comparisons import Drop, Pair
from unface.analysis.study.results import Results, Run
from unface.analysis.study.uncertainty import benjamini_hochberg

PAIRS_SHOWN = 4
"""As many as the paper's Table 4 has."""

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
    """Look at all pairs of classes, the surest first; empty where fewer than three trainings can be compared.

    Tested is the mean over the trainings by Student's t: two classes that look alike are told apart otherwise by
    every training, and only what all of them share comes from the pictures.
    """
    from scipy import stats

    if len(drop.pairs) < 3:
        return []
    number, counts = len(results.classes), np.bincount(results.labels, minlength=len(results.classes))
    mean, squares = np.zeros((number, number)), np.zeros((number, number))
    for done, pair in enumerate(drop.pairs, 1):
        swing = _swings(results, pair, counts)
        step = swing - mean
        mean += step / done
        squares += step * (swing - mean)
    losers, winners = np.nonzero(np.triu(squares > 0))
    runs = len(drop.pairs)
    errors = np.sqrt(squares[losers, winners] / (runs - 1) / runs)
    found = mean[losers, winners]
    p = 2 * stats.t.sf(np.abs(found) / errors, runs - 1)
    rows = zip(
        losers.tolist(), winners.tolist(), found.tolist(), p.tolist(), benjamini_hochberg(p).tolist(), strict=True
    )
    swings = [Swing(a, b, s, p, q) if s > 0 else Swing(b, a, -s, p, q) for a, b, s, p, q in rows]
    return sorted(swings, key=lambda swing: (swing.q, -swing.swing))


def _swings(results: Results, pair: Pair, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """For a row a and a column b: how much more often a is answered with b, less the same of b with a."""
    number = len(counts)
    change = np.zeros(number * number)
    for run, sign in ((pair.other, 1), (pair.reference, -1)):
        places = results.labels.astype(np.int64) * number + run.predicted
        change += sign * np.bincount(places, minlength=number * number)
    shares = change.reshape(number, number) / np.maximum(counts, 1)[:, None]
    np.fill_diagonal(shares, 0)
    return np.asarray(shares - shares.T)


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
