"""Cutting images into tasks. Pure: numbers in, places of images out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unface.faces import FaceRow
from unface.review.policy import Policy


@dataclass(frozen=True)
class Place:
    """One place of a task: the number of an image, or of a gold image."""

    number: int
    gold: bool


def uncertainty(row: FaceRow) -> float:
    """What the detector told of its doubt in an image, else the errors to be expected, taking scores for probabilities.

    A box is wrong with probability 1 - score, a candidate below the threshold is a missed face with its score.
    """
    if row.uncertainty is not None:
        return row.uncertainty
    missed = float(row.candidates.scores.sum()) if row.candidates is not None else 0.0
    return float((1 - row.faces.scores).sum()) + missed


def choose_images(
    boxes: NDArray[np.int64], uncertainties: NDArray[np.float64], policy: Policy, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Which images are reviewed, in which order.

    All that have boxes, and a random `sample_without` of the others (rounded up).

    Args:
        boxes: Number of boxes of each image, shape (N,).
        uncertainties: Of each image, shape (N,).
        policy: Its order and its share of images without boxes.
        rng: Source of randomness.

    Returns:
        Numbers of images, shape (M,).
    """
    without = np.flatnonzero(boxes == 0)
    sampled = rng.permutation(without)[: int(np.ceil(policy.sample_without * len(without)))]
    chosen = rng.permutation(np.concatenate([np.flatnonzero(boxes > 0), sampled]))
    if policy.order == "uncertain":
        chosen = chosen[np.argsort(-uncertainties[chosen], kind="stable")]
    return chosen


def cut_tasks(images: NDArray[np.int64], gold: int, policy: Policy, rng: np.random.Generator) -> Iterator[list[Place]]:
    """Cut images into tasks, in their order, and mix gold images into each.

    Every task has `gold_per_task` different gold images, also a shorter last one; all gold images are used about
    equally often. Within a task the order is random.

    Args:
        images: Numbers of images in the order of their tasks.
        gold: How many gold images there are; at least `gold_per_task`.
        policy: Sizes.
        rng: Source of randomness.
    """
    plain = policy.images_per_task - policy.gold_per_task
    draws = _draw_gold(gold, policy.gold_per_task, rng)
    for start in range(0, len(images), plain):
        places = [Place(int(number), False) for number in images[start : start + plain]]
        places += [Place(number, True) for number in next(draws)]
        yield [places[i] for i in rng.permutation(len(places))]


def _draw_gold(gold: int, at_once: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Different numbers below `gold`, `at_once` at a time, none twice until all had their turn."""
    waiting: list[int] = []
    while True:
        drawn = waiting[:at_once]
        waiting = waiting[at_once:]
        if len(drawn) < at_once:
            again = [int(number) for number in rng.permutation(gold)]
            fresh = [number for number in again if number not in drawn][: at_once - len(drawn)]
            drawn += fresh
            waiting = [number for number in again if number not in fresh]
        yield drawn
