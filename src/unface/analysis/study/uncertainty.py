"""How sure the study's numbers are: standard errors, the paired bootstrap, tests of many classes at once.

Two things vary: which images are tested, and how the training came out (its seed). Networks are compared on the same
images and, where both settings were trained with the same seeds, seed by seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unface.analysis.intervals import CONFIDENCE, wilson

DRAWS = 2000
_DRAWS_AT_ONCE = 100


class Interval(NamedTuple):
    """A number, its confidence interval, and the two-sided p-value of its being 0."""

    value: float
    low: float
    high: float
    p: float


def sem(values: ArrayLike, ddof: int = 1) -> float | None:
    """Standard error of the mean; None where there are not more values than `ddof`.

    The paper's code takes `ddof` 2, which with its three seeds is sqrt(2) times the usual.

    >>> round(sem([1.0, 2.0, 3.0]), 4), round(sem([1.0, 2.0, 3.0], ddof=2), 4), sem([1.0])
    (0.5774, 0.8165, None)
    """
    from scipy import stats

    numbers = np.asarray(values, np.float64)
    return float(stats.sem(numbers, ddof=ddof)) if len(numbers) > ddof else None


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap draws of Q quantities for each of A architectures.

    Attributes:
        estimates: Shape (Q, A).
        draws: Shape (Q, A, draws).
        images: How many were tested.
        same: Whether no image differs at all, shape (Q, A).
    """

    estimates: NDArray[np.float64]
    draws: NDArray[np.float64]
    images: int
    same: NDArray[np.bool_]

    def of(self, quantity: int, architecture: int | None = None) -> Interval:
        """The interval of a quantity, of one architecture or of the mean over all."""
        chosen = slice(None) if architecture is None else [architecture]
        value = float(self.estimates[quantity, chosen].mean())
        if self.same[quantity, chosen].all():
            bound = wilson(0, self.images)[1]  # nothing was seen to change; how often it might all the same
            return Interval(value, value - bound, value + bound, 1.0)
        draws = self.draws[quantity, chosen].mean(axis=0)
        low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Interval(value, float(low), float(high), _two_sided(draws))

    def ratio(self, upper: int, lower: int) -> Interval | None:
        """One quantity's mean over the architectures as a share of another's; None where the other might be 0."""
        top, bottom = self.draws[upper].mean(axis=0), self.draws[lower].mean(axis=0)
        tail = (1 - CONFIDENCE) / 2
        if np.quantile(bottom, tail) <= 0 <= np.quantile(bottom, 1 - tail):
            return None
        value = float(self.estimates[upper].mean() / self.estimates[lower].mean())
        low, high = np.nanquantile(top / np.where(bottom == 0, np.nan, bottom), [tail, 1 - tail])
        return Interval(value, float(low), float(high), _two_sided(top))


def _two_sided(draws: NDArray[np.float64]) -> float:
    below, above = (1 + np.count_nonzero(draws <= 0)), (1 + np.count_nonzero(draws >= 0))
    return float(min(1.0, 2 * min(below, above) / (len(draws) + 1)))


def bootstrap(differences: Sequence[NDArray[np.int8]], seed: int = 0, draws: int = DRAWS) -> Draws:
    """Paired bootstrap over images and seeds.

    Images are drawn with replacement, the same for every quantity, architecture and seed (Efron and Tibshirani 1993,
    chapter 6). Three seeds are too few to be drawn from: the variance between seeds, beyond what the finite number of
    images alone makes of it (the analysis of variance of crossed effects; Searle, Casella and McCulloch 1992, chapter
    4), is estimated over all architectures together and added as draws of Student's t. With one seed nothing is known
    of it, and the interval tells only of the images.

    Args:
        differences: For each architecture Q differences for each of its seeds and N images, shape (Q, seeds, N).
        seed: Of the random numbers.
        draws: How many.
    """
    rng = np.random.default_rng(seed)
    means = np.stack([one.mean(axis=1, dtype=np.float32) for one in differences], axis=1)
    images = means.shape[2]
    drawn = _resampled_means(means, rng, draws)
    drawn += _seed_noise(differences, rng, draws)
    estimates = np.stack([one.mean(axis=(1, 2), dtype=np.float64) for one in differences], axis=1)
    same = np.stack([~one.any(axis=(1, 2)) for one in differences], axis=1)
    return Draws(estimates, drawn, images, same)


def _resampled_means(means: NDArray[np.float32], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Means over images drawn with replacement; `means` has shape (Q, A, N), the result (Q, A, draws)."""
    images = means.shape[2]
    found = np.empty((*means.shape[:2], draws))
    for start in range(0, draws, _DRAWS_AT_ONCE):
        chosen = [
            np.bincount(rng.integers(0, images, images), minlength=images)
            for _ in range(min(_DRAWS_AT_ONCE, draws - start))
        ]
        found[..., start : start + len(chosen)] = means @ np.array(chosen, np.float32).T / images
    return found


def _seed_noise(
    differences: Sequence[NDArray[np.int8]], rng: np.random.Generator, draws: int
) -> NDArray[np.float64] | float:
    """Draws of what the choice of seeds adds, shape (Q, A, draws)."""
    freedom = sum(one.shape[1] - 1 for one in differences)
    if not freedom:
        return 0.0
    covariance = sum(_between_seeds(one) for one in differences) / freedom
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    quantities = len(root)
    normal = rng.standard_normal((quantities, len(differences), draws))
    noise = np.einsum("qr,rad->qad", root, normal) / np.sqrt(rng.chisquare(freedom, draws) / freedom)
    return np.asarray(noise / np.sqrt([one.shape[1] for one in differences])[:, None])


def _between_seeds(differences: NDArray[np.int8]) -> Any:
    """Sum of squares between seeds beyond what the images make of it, shape (Q, Q), for `seeds - 1` degrees."""
    seeds, images = differences.shape[1:]
    if seeds < 2 or images < 2:
        return np.zeros((len(differences), len(differences)))
    means = differences.mean(axis=2, dtype=np.float64)
    deviations = means - means.mean(axis=1, keepdims=True)
    residuals = differences - differences.mean(axis=1, keepdims=True, dtype=np.float32)
    residuals -= deviations[:, :, None].astype(np.float32)
    flat = residuals.reshape(len(residuals), -1)
    within = (flat @ flat.T).astype(np.float64) / ((seeds - 1) * (images - 1))
    return deviations @ deviations.T - (seeds - 1) * within / images


class ClassTests(NamedTuple):
    """Drops class by class, each of shape (C,); NaN where a class has too few images."""

    drops: NDArray[np.float64]
    errors: NDArray[np.float64]
    p: NDArray[np.float64]


def class_tests(differences: NDArray[np.int8], labels: NDArray[np.int32], classes: int) -> ClassTests:
    """Test for each class whether its mean difference is 0.

    Trainings and images are crossed random effects: the variance of the mean is the sum of what varies between
    trainings and between images, less what both count (Searle, Casella and McCulloch 1992, chapter 4), and never less
    than the larger of them; Student's t with Satterthwaite's degrees of freedom. Few trainings tell little of how much
    luck a class has in training, so each class is taken to have at least as much as the mean of all.

    Args:
        differences: For each training and image, shape (R, N).
        labels: Class of each image, shape (N,).
        classes: Their number C.
    """
    from scipy import stats

    runs = len(differences)
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    by_image = differences.mean(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_run = np.stack([np.bincount(labels, one, classes) for one in differences]) / counts
        means = by_run.mean(axis=0)
        of_runs = counts * ((by_run - means) ** 2).sum(axis=0)
        of_images = runs * np.bincount(labels, (by_image - means[labels]) ** 2, classes)
        total = np.bincount(labels, (differences.astype(np.float32) ** 2).sum(axis=0), classes)
        of_both = np.maximum(total - runs * counts * means**2 - of_runs - of_images, 0)
        degrees = np.stack([counts - 1, np.full(classes, runs - 1.0), (counts - 1) * (runs - 1)])
        squares = np.where(degrees > 0, np.stack([of_images, of_runs, of_both]) / degrees, 0)
        luck = np.nanmean(np.where(counts > 1, (squares[1] - squares[2]) / counts, np.nan)) if runs > 1 else 0.0
        usual = squares[2] + counts * luck
        degrees[1] = np.where(usual > squares[1], (runs - 1) * classes, runs - 1)
        squares[1] = np.maximum(squares[1], usual)
        parts = squares / (counts * runs)
        variances = np.maximum(parts[0] + parts[1] - parts[2], np.maximum(parts[0], parts[1]))
        freedom = variances**2 / np.where(degrees > 0, parts**2 / degrees, 0).sum(axis=0)
        errors = np.sqrt(variances)
        p = 2 * stats.t.sf(np.abs(means) / errors, np.maximum(freedom, 1))
    p = np.where((errors == 0) | ~np.isfinite(p), np.where(means == 0, 1.0, np.nan), p)
    few = counts < 2
    return ClassTests(np.where(counts > 0, means, np.nan), np.where(few, np.nan, errors), np.where(few, np.nan, p))


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted so that of what is below q, a fraction q is false (Benjamini, Hochberg 1995); NaN stays."""
    from scipy import stats

    adjusted = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values adjusted so that any one below q is false with probability q (Holm 1979); NaN stays.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else 0
    return adjusted
