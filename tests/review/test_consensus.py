import math

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from unface.boxes import as_boxes, iou
from unface.review.consensus import (
    accuracy,
    agreement,
    agreement_with_others,
    is_kept,
    krippendorff_alpha,
    match_answers,
    mean_agreement,
    merge_boxes,
    next_step,
)

box = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(4, 30)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
answer = st.lists(box, max_size=5, unique=True).map(as_boxes)
A, B, C = [0, 0, 10, 10], [100, 0, 120, 20], [50, 50, 90, 90]


@given(st.lists(answer, min_size=1, max_size=4))
def test_every_box_is_in_one_face_and_a_face_has_one_box_of_a_worker(answers):
    matched = match_answers(answers)
    for worker, boxes in enumerate(answers):
        places = matched[:, worker]
        assert sorted(places[places >= 0]) == list(range(len(boxes)))
    assert (matched >= 0).any(axis=1).all()


@given(answer, answer)
def test_two_answers_are_matched_about_as_well_as_can_be(a, b):
    """The Hungarian method is the optimum; taking the best pairs first gets at least half of it."""
    matched = match_answers([a, b])
    both = matched[(matched >= 0).all(axis=1)]
    overlaps = iou(a, b) if len(a) and len(b) else np.zeros((len(a), len(b)))
    ours = overlaps[both[:, 0], both[:, 1]].sum()
    worth = np.where(overlaps >= 0.5, overlaps, 0)
    best = worth[linear_sum_assignment(-worth)].sum()
    assert best / 2 - 1e-6 <= ours <= best + 1e-6


@given(st.lists(answer, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_workers_does_not_matter(answers, random):
    overlaps = np.concatenate([iou(a, b).ravel() for i, a in enumerate(answers) for b in answers[i + 1 :]])
    overlaps = overlaps[overlaps >= 0.5]
    assume(len(np.unique(overlaps)) == len(overlaps))
    order = random.sample(range(len(answers)), len(answers))
    straight = {tuple(row) for row in match_answers(answers)}
    turned = match_answers([answers[i] for i in order])
    assert {tuple(row[order.index(i)] for i in range(len(answers))) for row in turned} == straight


def test_the_median_of_those_who_drew_it():
    answers = [as_boxes([A]), as_boxes([B, [1, 1, 11, 11]]), as_boxes([[0, 0, 12, 10]])]
    matched = match_answers(answers)
    merged = merge_boxes(answers, matched)
    assert merged[is_kept(matched)].tolist() == [[0, 0, 11, 10]]
    assert merged[~is_kept(matched)].tolist() == [B]


def test_a_tie_keeps_the_face():
    matched = match_answers([as_boxes([A]), as_boxes([])])
    assert is_kept(matched).tolist() == [True]
    assert merge_boxes([as_boxes([])], match_answers([as_boxes([])])).shape == (0, 4)


@given(answer, answer)
def test_agreement_is_symmetric_and_between_0_and_1(a, b):
    assert agreement(a, b) == pytest.approx(agreement(b, a))
    assert 0 <= agreement(a, b) <= 1 + 1e-6
    assert agreement(a, a) == pytest.approx(1)


def test_agreement_of_none_with_some_is_0():
    assert agreement(as_boxes([]), as_boxes([A])) == 0
    assert math.isnan(mean_agreement([as_boxes([A])]))
    assert math.isnan(agreement_with_others([as_boxes([A])])[0])
    assert agreement_with_others([as_boxes([A]), as_boxes([A]), as_boxes([])]) == [0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("answers", "replicas", "most", "expected"),
    [
        ([], 1, 3, "ask"),
        ([[A]], 1, 3, "agreed"),
        ([[A]], 2, 3, "ask"),
        ([[A], [A]], 2, 3, "agreed"),
        ([[], []], 2, 3, "agreed"),
        ([[A, B, C], [A, B]], 2, 3, "ask"),
        ([[A, B, C], [A, B]], 2, 2, "adjudicate"),
        ([[A, B, C], [A, B], [A, B]], 2, 3, "agreed"),
        ([[A], [B], [C]], 2, 3, "adjudicate"),
        ([[A], [B], [C]], 2, 4, "ask"),
    ],
)
def test_the_stopping_rule(answers, replicas, most, expected):
    assert next_step([as_boxes(a) for a in answers], replicas, most, 0.7) == expected


ratings = st.integers(2, 5).flatmap(
    lambda workers: st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=workers, max_size=workers), min_size=1, max_size=12
    )
)


@pytest.mark.parametrize("level", ["nominal", "interval"])
@given(rows=ratings)
def test_alpha_is_that_of_the_krippendorff_package(level, rows):
    values = np.array([[math.nan if v is None else v for v in row] for row in rows], float).T
    judged = values[:, (~np.isnan(values)).sum(axis=0) >= 2]
    if len(np.unique(judged[~np.isnan(judged)])) < 2:
        assert math.isnan(krippendorff_alpha(values, level))
        return
    expected = krippendorff.alpha(reliability_data=values, level_of_measurement=level)
    assert krippendorff_alpha(values, level) == pytest.approx(expected)


def test_alpha_of_krippendorffs_own_example():
    """ "Computing Krippendorff's alpha-reliability", section C: 4 observers, 12 units, nominal .743, interval .849."""
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    values = np.array([[math.nan if v == "." else float(v) for v in row.split()] for row in rows])
    assert krippendorff_alpha(values, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(values, "interval") == pytest.approx(0.849, abs=5e-4)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts):
    right, judged = counts
    interval = binomtest(right, judged).proportion_ci(0.95, "wilson")
    ours = accuracy(right, judged)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert ours.share == right / judged
