from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.faces import FaceRow, Faces
from unface.review.planning import choose_images, cut_tasks, uncertainty
from unface.review.policy import Policy


@st.composite
def plans(draw):
    per_task = draw(st.integers(1, 12))
    per_gold = draw(st.integers(0, per_task - 1))
    policy = Policy(images_per_task=per_task, gold_per_task=per_gold)
    gold = draw(st.integers(per_gold, per_gold + 5))
    return draw(st.integers(0, 60)), gold, policy, draw(st.integers(0, 99))


@given(plans())
def test_every_image_is_in_one_task_and_every_task_has_its_gold(plan):
    images, gold, policy, seed = plan
    tasks = list(cut_tasks(np.arange(images), gold, policy, np.random.default_rng(seed)))
    assert sorted(p.number for task in tasks for p in task if not p.gold) == list(range(images))
    used = Counter(p.number for task in tasks for p in task if p.gold)
    for task in tasks:
        numbers = [p.number for p in task if p.gold]
        assert len(set(numbers)) == len(numbers) == policy.gold_per_task
        assert len(task) <= policy.images_per_task
    if used and len(tasks) * policy.gold_per_task >= gold:
        assert set(used) == set(range(gold))
        assert max(used.values()) - min(used.values()) <= 2


def test_gold_may_be_anywhere_in_a_task():
    tasks = cut_tasks(np.arange(4000), 5, Policy(images_per_task=5, gold_per_task=1), np.random.default_rng(0))
    places = Counter(next(i for i, p in enumerate(task) if p.gold) for task in list(tasks)[:1000])
    assert min(places[i] for i in range(5)) > 150


@pytest.mark.parametrize(("share", "expected"), [(0, 0), (0.25, 3), (1, 10)])
def test_all_images_with_boxes_and_a_sample_of_the_rest(share, expected):
    boxes = np.array([0, 3] * 10)
    policy = Policy(sample_without=share)
    chosen = choose_images(boxes, np.zeros(20), policy, np.random.default_rng(0))
    assert len(set(chosen)) == len(chosen) == 10 + expected
    assert (boxes[chosen] > 0).sum() == 10


def test_the_most_uncertain_come_first():
    uncertainties = np.array([0.1, 0.9, 0.5, 0.0])
    chosen = choose_images(np.ones(4, int), uncertainties, Policy(order="uncertain"), np.random.default_rng(0))
    assert chosen.tolist() == [1, 2, 0, 3]


def test_uncertainty_is_the_number_of_errors_to_expect():
    """Boxes are right with probability `score`, so the expected count of wrong and missed ones is a plain sum."""
    rng = np.random.default_rng(0)
    boxes, candidates = rng.uniform(0.5, 1, 4), rng.uniform(0, 0.5, 3)
    shape = np.tile([0, 0, 1, 1], (4, 1))
    made = FaceRow("a", 9, 9, "detected", Faces.make(shape, boxes), Faces.make(shape[:3], candidates))
    errors = (rng.random((200_000, 4)) > boxes).sum(1) + (rng.random((200_000, 3)) < candidates).sum(1)
    assert uncertainty(made) == pytest.approx(errors.mean(), abs=0.02)
    assert uncertainty(FaceRow("a", 9, 9, "detected")) == 0
