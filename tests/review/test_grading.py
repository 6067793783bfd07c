import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.boxes import as_boxes
from unface.review.grading import corrupt, excess, judge, union_iou
from unface.review.policy import Policy

PAPER = Policy()
FACES = Policy(rule="faces")

SIDE = 40
box = st.tuples(*[st.integers(0, SIDE - 2)] * 2, *[st.integers(1, SIDE)] * 2).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], SIDE), min(b[1] + b[3], SIDE))
)
boxes = st.lists(box, max_size=6)


def raster(boxes_xyxy) -> np.ndarray:
    """The pixels that integer boxes cover, painted one by one: the paper's way."""
    canvas = np.zeros((SIDE, SIDE), bool)
    for x0, y0, x1, y1 in boxes_xyxy:
        canvas[y0:y1, x0:x1] = True
    return canvas


@given(boxes, boxes)
def test_union_iou_counts_pixels(a, b):
    pa, pb = raster(a), raster(b)
    expected = (pa & pb).sum() / (pa | pb).sum() if (pa | pb).any() else 1.0
    assert union_iou(as_boxes(a), as_boxes(b)) == pytest.approx(expected)


@given(boxes, boxes)
def test_the_papers_rule(answer, truth):
    pa, pt = raster(answer), raster(truth)
    expected = (pa & pt).sum() / (pa | pt).sum() >= 0.72 if truth else not answer
    assert judge(as_boxes(answer), as_boxes(truth), PAPER).right == expected


@given(boxes, boxes)
def test_the_rule_for_each_face(answer, truth):
    pa, pt = raster(answer), raster(truth)
    covered = [pa[y0:y1, x0:x1].mean() >= 0.9 for x0, y0, x1, y1 in truth]
    expected = all(covered) and (pa & ~pt).sum() <= 0.5 * pt.sum() if truth else not answer
    assert judge(as_boxes(answer), as_boxes(truth), FACES).right == expected


def test_a_missed_small_face_beside_a_large_one_passes_the_papers_rule_only():
    truth = as_boxes([[0, 0, 200, 200], [300, 300, 320, 320]])
    assert judge(truth[:1], truth, PAPER).right
    assert not judge(truth[:1], truth, FACES).right


def test_a_huge_box_passes_neither():
    truth = as_boxes([[10, 10, 20, 20]])
    for policy in (PAPER, FACES):
        assert not judge(as_boxes([[0, 0, 100, 100]]), truth, policy).right
    assert excess(as_boxes([[0, 0, 100, 100]]), truth) == 99


@pytest.mark.parametrize("policy", [PAPER, FACES])
def test_the_truth_is_right_and_nothing_is_wrong(policy):
    truth = as_boxes([[1, 2, 30, 40]])
    assert judge(truth, truth, policy).right
    assert not judge(as_boxes([]), truth, policy).right
    assert judge(as_boxes([]), as_boxes([]), policy).right
    assert not judge(truth, as_boxes([]), policy).right


@pytest.mark.parametrize("policy", [PAPER, FACES, Policy(min_iou=0), Policy(rule="faces", max_excess=100)])
@given(truth=boxes, seed=st.integers(0, 2**32 - 1))
def test_corrupted_boxes_are_wrong_and_inside(policy, truth, seed):
    wrong = corrupt(as_boxes(truth), SIDE, SIDE, policy, np.random.default_rng(seed))
    as_boxes(wrong)
    assert (wrong >= 0).all()
    assert (wrong <= SIDE).all()
    if policy.min_iou:
        assert not judge(wrong, as_boxes(truth), policy).right


def test_corruption_shifts_drops_and_adds():
    truth = as_boxes([[100, 100, 150, 160], [300, 200, 360, 260]])
    counts = {len(corrupt(truth, 640, 480, PAPER, np.random.default_rng(seed))) for seed in range(50)}
    assert {0, 1, 2, 3} <= counts


@pytest.mark.parametrize(
    "wrong", [{"gold_per_task": 50}, {"replicas": 5}, {"lives": 0}, {"min_iou": 2}, {"colour": 1}, {"idle_minutes": 0}]
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "replicas" not in wrong else "most_replicas"):
        Policy(**wrong)
