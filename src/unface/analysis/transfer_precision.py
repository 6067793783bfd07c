"""Mean average precision of attributes and of detected objects, and what each image makes of it.

An image's part in a number is told by its pseudo-value: their mean is the number, and comparisons of two networks
treat them as accuracies of single images. Of attributes it comes out of the derivative of average precision by the
image's weight (the infinitesimal jackknife), of detections out of leaving the image out (the jackknife; both Efron
1982, chapters 2 and 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unface.boxes import iou
from unface.predictions.attributes import average_precisions, last_of_equals
from unface.predictions.detections import Found, Objects

OVERLAP = 0.5
"""Intersection over union from which a box is right (VOC)."""

_IMAGES_AT_ONCE = 64


def attribute_values(logits: NDArray[np.float16], labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Pseudo-values of mean average precision over the attributes that some image has, shape (N,).

    Args:
        logits: Shape (N, attributes).
        labels: 0 or 1, of that shape.
    """
    has = labels.any(axis=0)
    precisions = average_precisions(logits[:, has], labels[:, has])
    influences = [_influence(*columns) for columns in zip(logits[:, has].T, labels[:, has].T, strict=True)]
    return np.asarray(precisions.mean() + len(labels) * np.mean(influences, axis=0), np.float64)


def _influence(scores: NDArray[np.float16], labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Derivative of average precision by each image's weight; they add up to 0.

    With weights w, AP = sum_i w_i y_i T_i / C_i / sum_i w_i y_i, where T_i and C_i are the weights of the positives
    and of all that score at least as high as i.
    """
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    y = labels[order].astype(np.float64)
    ends = last_of_equals(scores[order])
    starts = len(y) - 1 - last_of_equals(scores[order][::-1])[::-1]  # of those that score the same
    found, counted = np.cumsum(y)[ends], ends + 1.0
    total = y.sum()
    below = np.cumsum((y / counted)[::-1])[::-1][starts]  # those that score as high or lower have i above them
    lost = np.cumsum((y * found / counted**2)[::-1])[::-1][starts]
    ap = (y * found / counted).sum() / total
    influence = np.empty(len(y))
    influence[order] = (y * found / counted + y * below - lost - ap * y) / total
    return influence


@dataclass(frozen=True, eq=False)
class Ranked:
    """What was found of one class, best first.

    Attributes:
        images: Place of the image of each, shape (D,).
        right: Whether it is a true object found for the first time, shape (D,).
        wrong: Whether it is none, or one found again; what is difficult is neither; shape (D,).
        objects: True objects of each image that count, shape (N,).
    """

    images: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    objects: NDArray[np.int64]


def ranked(truth: Sequence[Objects], found: Sequence[Found], label: int) -> Ranked:
    """Match what was found of a class with the true objects, as VOC does it (Everingham et al. 2010, section 4.2).

    Best first, each box belongs to the true object of its class that it overlaps most, if by at least a half.
    """
    images, scores, right, wrong = [], [], [], []
    objects = np.zeros(len(truth), np.int64)
    for place, (true, mine) in enumerate(zip(truth, found, strict=True)):
        is_true, chosen = true.labels == label, np.flatnonzero(mine.labels == label)
        difficult = true.difficult[is_true]
        objects[place] = np.count_nonzero(~difficult)
        chosen = chosen[np.argsort(-mine.scores[chosen], kind="stable")]
        overlaps = iou(mine.boxes_xyxy[chosen], true.boxes_xyxy[is_true])
        taken = np.zeros(len(difficult), np.bool_)
        for row, box in enumerate(chosen.tolist()):
            best = int(np.argmax(overlaps[row])) if len(difficult) else -1
            hits = best >= 0 and bool(overlaps[row, best] >= OVERLAP)
            ignored = hits and bool(difficult[best])
            first = hits and not ignored and not taken[best]
            if first:
                taken[best] = True
            images.append(place)
            scores.append(float(mine.scores[box]))
            right.append(first)
            wrong.append(not first and not ignored)
    order = np.argsort(-np.array(scores), kind="stable")
    return Ranked(
        np.array(images, np.int64)[order], np.array(right, np.bool_)[order], np.array(wrong, np.bool_)[order], objects
    )


def eleven_points(
    hits: NDArray[np.int64], precision: NDArray[np.float64], total: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of the highest precision at recall 0, .1, …, 1 or more (VOC 2007).

    Args:
        hits: Objects found so far, shape (B, D).
        precision: So far, of that shape.
        total: Objects, shape (B,).

    Returns:
        Shape (B,).
    """
    reached = (
        np.where(10 * hits >= tenth * total[:, None], precision, 0).max(axis=1, initial=0) for tenth in range(11)
    )
    return np.asarray(sum(reached) / 11)


def area(hits: NDArray[np.int64], precision: NDArray[np.float64], total: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area under the highest precision at this recall or more (VOC 2010 and later); as `eleven_points`."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gained = np.diff(hits, axis=1, prepend=0)
    return np.asarray((gained * highest).sum(axis=1) / np.maximum(total, 1))


FLAVOURS = {"11-point": eleven_points, "area": area}


def detection_precisions(of_class: Ranked, left_out: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.float64]]:
    """Average precision of a class in each flavour, with all images, or once without each of some.

    Returns:
        Shape (1,), or (number left out,); NaN without objects.
    """
    if left_out is None:
        kept, total = np.ones((1, len(of_class.images)), np.bool_), of_class.objects.sum(keepdims=True)
    else:
        kept = of_class.images[None, :] != left_out[:, None]
        total = of_class.objects.sum() - of_class.objects[left_out]
    hits: NDArray[np.int64] = np.cumsum(kept & of_class.right, axis=1, dtype=np.int64)
    seen = hits + np.cumsum(kept & of_class.wrong, axis=1, dtype=np.int64)
    precision = hits / np.maximum(seen, 1)
    return {name: np.where(total > 0, of(hits, precision, total), np.nan) for name, of in FLAVOURS.items()}


def detection_values(of_class: Ranked) -> dict[str, NDArray[np.float64]]:
    """Pseudo-values of a class's average precision in each flavour, shape (N,)."""
    images = len(of_class.objects)
    values = {}
    whole = detection_precisions(of_class)
    concerned = np.union1d(of_class.images, np.flatnonzero(of_class.objects))
    batches = [
        detection_precisions(of_class, concerned[start : start + _IMAGES_AT_ONCE])
        for start in range(0, len(concerned), _IMAGES_AT_ONCE)
    ]
    for name, ap in whole.items():
        without = np.full(images, ap[0])
        if batches:
            without[concerned] = np.concatenate([batch[name] for batch in batches])
        without = np.where(np.isnan(without), ap[0], without)  # the only image with the class
        values[name] = ap[0] + (images - 1) * (without.mean() - without)
    return values
