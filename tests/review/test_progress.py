from datetime import timedelta

import krippendorff
import numpy as np
import pytest

from review.reviews import FACE, NOON, OTHER, SMALL, add, answer, make_review
from review.test_work import do_all, gold_positions, save, take_one
from unface.review.policy import Policy
from unface.review.progress import dashboard


def board(store, policy, now=NOON):
    with store.read() as session:
        return dashboard(session, policy, now)


def test_of_a_new_review(store, tmp_path):
    make_review(store, tmp_path / "src")
    new = board(store, SMALL)
    assert (new.images_total, new.images_undecided, new.slots_total, new.answers) == (9, 9, 3, 0)
    assert (new.images_per_hour, new.hours_left, new.agreement, new.alpha) == (0, None, None, None)
    assert (new.workers, new.hardest) == ([], [])


def test_rate_time_left_and_cost(store, tmp_path):
    policy = SMALL.model_copy(update={"price": 2.0})
    make_review(store, tmp_path / "src", policy=policy)
    do_all(store, add(store, "ann"), policy, now=NOON)
    found = board(store, policy, NOON + timedelta(minutes=30))
    assert found.images_per_hour == pytest.approx(8)
    assert found.hours_left == pytest.approx(1)
    assert (found.cost_so_far, found.cost_expected) == (2, 6)
    assert found.cost_paper_scale == pytest.approx(6 / 9 * 1_431_093)
    assert board(store, policy, NOON + timedelta(hours=2)).images_per_hour == 0


def test_agreement_and_alpha_are_those_of_the_answers(store, tmp_path):
    policy = Policy(images_per_task=4, gold_per_task=1, replicas=2, most_replicas=2)
    make_review(store, tmp_path / "src", policy=policy)
    ann, bob = add(store, "ann"), add(store, "bob")
    do_all(store, ann, policy, [FACE])
    do_all(store, ann, policy, [FACE, OTHER])
    do_all(store, ann, policy, [])
    while do_all(store, bob, policy, [FACE]):
        pass
    found = board(store, policy)
    counts = np.array([[1] * 3 + [2] * 3 + [0] * 3, [1] * 9], float)
    assert found.alpha == pytest.approx(krippendorff.alpha(reliability_data=counts, level_of_measurement="interval"))
    assert found.agreement == pytest.approx((3 * 1 + 3 * 2 / 3 + 0) / 9)
    assert [worker.agreement for worker in found.workers] == pytest.approx([found.agreement] * 2)
    assert (found.images_agreed, found.images_disputed) == (3, 6)
    assert [image.agreement for image in found.hardest] == sorted(image.agreement for image in found.hardest)


def test_gold_of_each_worker(store, tmp_path):
    make_review(store, tmp_path / "src")
    ann = add(store, "ann")
    for _ in range(3):
        assignment = take_one(store, ann)
        (gold,) = gold_positions(store, assignment)
        save(store, ann, assignment, gold, answer([0.0, 0.0, 3.0, 3.0]))
        do_all(store, ann)
    (worker,) = board(store, SMALL).workers
    assert (worker.gold_right, worker.gold_judged, worker.tasks_submitted) == (0, 3, 3)
    assert (worker.gold_low, worker.seconds_per_answer) == (0, 1.5)
    assert worker.last_answer_at == NOON
