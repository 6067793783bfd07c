"""Gold images: judging an answer against the truth, and making deliberately wrong boxes to start from. Pure."""

from dataclasses import dataclass

import numpy as np

from unface.boxes import Boxes, as_boxes, clip, coverage, size_wh, union_area
from unface.review.policy import Policy


@dataclass(frozen=True)
class Verdict:
    """Whether a gold answer is right, and the number that decided: see `judge`."""

    right: bool
    score: float


def judge(answer_xyxy: Boxes, truth_xyxy: Boxes, policy: Policy) -> Verdict:
    """Judge the answer on a gold image by the policy's rule.

    Where there is no face, any box is wrong, by both rules.

    Args:
        answer_xyxy: The worker's boxes, shape (N, 4), inside the image.
        truth_xyxy: The true boxes, shape (M, 4).
        policy: `union`: right if `union_iou` is at least `min_iou` (the paper's published page, App. A). `faces`:
            right if each true face is covered by at least `min_coverage`, and the area outside the true faces is
            at most `max_excess` of theirs.

    Returns:
        The verdict; its score is the IoU, or the least coverage of a face (0 if only the excess is too large).
    """
    if not len(truth_xyxy):
        return Verdict(not len(answer_xyxy), float(not len(answer_xyxy)))
    if policy.rule == "union":
        score = union_iou(answer_xyxy, truth_xyxy)
        return Verdict(score >= policy.min_iou, score)
    covered = float(coverage(truth_xyxy, answer_xyxy).min())
    if excess(answer_xyxy, truth_xyxy) > policy.max_excess:
        return Verdict(False, 0.0)
    return Verdict(covered >= policy.min_coverage, covered)


def union_iou(a_xyxy: Boxes, b_xyxy: Boxes) -> float:
    """Intersection over union of the areas that two sets of boxes cover; 1 where both cover none.

    The paper's page counts pixels of a canvas with a longer side of 600; this is exact, at any size.
    """
    both = union_area(np.concatenate([a_xyxy, b_xyxy]))
    return (union_area(a_xyxy) + union_area(b_xyxy) - both) / both if both else 1.0


def excess(answer_xyxy: Boxes, truth_xyxy: Boxes) -> float:
    """Area of the answer outside the true boxes, as a share of the true boxes' area (not 0)."""
    true = union_area(truth_xyxy)
    return (union_area(np.concatenate([answer_xyxy, truth_xyxy])) - true) / true


_TRIES = 20
_LARGEST_INVENTED = 0.4  # of the image's sides


def corrupt(truth_xyxy: Boxes, width: int, height: int, policy: Policy, rng: np.random.Generator) -> Boxes:
    """Boxes that are wrong on purpose, to start a gold image from: some shifted, dropped or invented.

    Args:
        truth_xyxy: The true boxes, shape (M, 4).
        width: Width of the image in pixels.
        height: Its height.
        policy: Its rule judges the result wrong, so nobody passes by doing nothing.
        rng: Source of randomness.

    Returns:
        Boxes inside the image, shape (N, 4), in random order.
    """
    for _ in range(_TRIES):
        wrong = _corrupted(truth_xyxy, width, height, rng)
        if not judge(wrong, truth_xyxy, policy).right:
            return wrong
    return as_boxes([]) if len(truth_xyxy) else _invented(truth_xyxy, width, height, rng)


def _corrupted(truth_xyxy: Boxes, width: int, height: int, rng: np.random.Generator) -> Boxes:
    fates = rng.choice(["keep", "shift", "drop"], size=len(truth_xyxy), p=[0.3, 0.4, 0.3])
    sides = size_wh(truth_xyxy)
    shifts = rng.uniform(0.4, 0.9, sides.shape) * rng.choice([-1, 1], sides.shape) * sides
    moved = truth_xyxy + np.tile(shifts, 2) * (fates == "shift")[:, None]
    parts = [moved[fates != "drop"]]
    if not len(truth_xyxy) or rng.random() < 0.5:
        parts.append(_invented(truth_xyxy, width, height, rng))
    wrong, _ = clip(as_boxes(np.concatenate(parts)), width, height)
    return rng.permutation(wrong)


def _invented(truth_xyxy: Boxes, width: int, height: int, rng: np.random.Generator) -> Boxes:
    """One box where nothing is, as large as a true one, or of any size where there is none; shape (1, 4)."""
    largest = _LARGEST_INVENTED * np.array([width, height])
    if len(truth_xyxy):
        sides = size_wh(truth_xyxy)[rng.integers(len(truth_xyxy))]
    else:
        sides = np.repeat(rng.uniform(0.25, 1) * largest.min(), 2) * np.array([0.8, 1])
    sides = np.minimum(sides, largest)
    corner = rng.uniform(0, 1, 2) * (np.array([width, height]) - sides)
    return as_boxes([[*corner, *(corner + sides)]])
