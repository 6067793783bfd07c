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
    alike = _alike(results, drop)
    if not len(alike.losers):
        return []
    found, variances = alike.swings.mean(axis=0), alike.swings.var(axis=0, ddof=1)
    usual = alike.confused * variances.mean() / alike.confused.mean()
    freedom = np.where(usual > variances, (runs - 1) * len(found), runs - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(np.abs(found) / np.sqrt(np.maximum(variances, usual) / runs), freedom)
    p = np.where(found == 0, 1.0, p)
    columns = (alike.losers, alike.winners, found, p, benjamini_hochberg(p))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    swings = [Swing(a, b, s, p, q) if s > 0 else Swing(b, a, -s, p, q) for a, b, s, p, q in rows]
    return sorted(swings, key=lambda swing: (swing.q, -swing.swing))


class _Alike(NamedTuple):
    """K pairs of classes that are alike.

    Attributes:
        losers: The class of the lower index, shape (K,).
        winners: The other, shape (K,).
        confused: Shares of images that are answered with the other class, summed over both settings and directions,
            mean over the trainings, shape (K,).
        swings: Of each training, shape (trainings, K).
    """

    losers: NDArray[np.int64]
    winners: NDArray[np.int64]
    confused: NDArray[np.float64]
    swings: NDArray[np.float64]


def _alike(results: Results, drop: Drop) -> _Alike:
    """Look only at wrong answers, of which there are few, and not at all pairs of classes."""
    number, runs = len(results.classes), len(drop.pairs)
    labels = results.labels.astype(np.int64)
    share = 1 / np.bincount(labels, minlength=number)[labels]
    keys, numbers, shares, signs = [], [], [], []
    for training, pair in enumerate(drop.pairs):
        for run, sign in ((pair.other, 1.0), (pair.reference, -1.0)):
            wrong = run.predicted != labels
            low, high = np.minimum(labels, run.predicted)[wrong], np.maximum(labels, run.predicted)[wrong]
            keys.append(low * number + high)
            numbers.append(np.full(len(low), training))
            shares.append(share[wrong])
            signs.append(np.where(labels[wrong] == low, sign, -sign))
    pairs, places = np.unique(np.concatenate(keys), return_inverse=True)
    weights = np.concatenate(shares)
    confused = np.bincount(places, weights, len(pairs)) / runs
    kept = confused >= 4 * ALIKE
    cells = np.concatenate(numbers) * len(pairs) + places
    swings = np.bincount(cells, weights * np.concatenate(signs), runs * len(pairs)).reshape(runs, -1)
    return _Alike(pairs[kept] // number, pairs[kept] % number, confused[kept], np.asarray(swings[:, kept], np.float64))


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
