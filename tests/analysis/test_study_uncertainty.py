"""Standard errors, intervals and tests against scipy, and against simulations whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unface.analysis.study.uncertainty import benjamini_hochberg, bootstrap, class_tests, holm, sem


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=8))
def test_sem_is_scipys(values):
    for ddof in (1, 2):
        expected = np.sqrt(np.sum((values - np.mean(values)) ** 2) / (len(values) - ddof) / len(values))
        assert sem(values, ddof) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_sem_with_three_seeds_is_root_two_times_larger_in_the_paper():
    assert sem([1, 2, 4], 2) == pytest.approx(np.sqrt(2) * sem([1, 2, 4], 1))


@pytest.mark.parametrize(("values", "ddof"), [([], 1), ([1.0], 1), ([1.0, 2.0], 2)])
def test_sem_of_too_few_is_none(values, ddof):
    assert sem(values, ddof) is None


def coin_differences(rng, drop, shape):
    """-1, 0 or 1 with the mean `drop` (an array that broadcasts to `shape`)."""
    drawn, drop = rng.random(shape), np.broadcast_to(drop, shape)
    return (drawn < 0.15 + drop / 2).astype(np.int8) - (drawn > 0.85 + drop / 2).astype(np.int8)


@pytest.mark.parametrize(
    ("networks", "seeds", "luck", "spread"),
    [(1, 1, 0.0, 0.05), (1, 3, 0.0, 0.05), (4, 3, 0.0, 0.05), (4, 3, 0.03, 0.05), (4, 2, 0.03, 0.05)],
)
def test_intervals_hold_the_truth_at_their_rate(networks, seeds, luck, spread):
    """Over new images and new trainings; 95 % of 150, give or take three standard errors and a little."""
    rng, held, repeats = np.random.default_rng(networks + 10 * seeds), 0, 150
    for repeat in range(repeats):
        images = rng.normal(0.02, spread, 600)
        differences = [
            coin_differences(rng, images + rng.normal(0, luck, (1, seeds, 1)), (1, seeds, 600)) for _ in range(networks)
        ]
        interval = bootstrap(differences, repeat, draws=300).of(0)
        held += interval.low <= 0.02 <= interval.high
    assert 0.88 <= held / repeats <= 1.0


def test_one_seed_cannot_tell_the_luck_in_training():
    """The control of the test before: where it may fail, it does."""
    rng, held = np.random.default_rng(0), 0
    for repeat in range(100):
        differences = [coin_differences(rng, 0.02 + rng.normal(0, 0.05), (1, 1, 600))]
        interval = bootstrap(differences, repeat, draws=300).of(0)
        held += interval.low <= 0.02 <= interval.high
    assert held < 80


def test_bootstrap_of_one_network_is_scipys():
    rng = np.random.default_rng(3)
    values = coin_differences(rng, 0.1, (1, 1, 500))
    ours = bootstrap([values], draws=4000).of(0)
    theirs = stats.bootstrap((values[0, 0],), np.mean, method="percentile", n_resamples=4000, rng=rng)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.006)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.006)


def test_where_no_image_differs_the_interval_is_not_nothing():
    interval = bootstrap([np.zeros((1, 3, 230), np.int8)]).of(0)
    assert (interval.value, interval.p) == (0, 1)
    assert -0.02 < interval.low < -0.01
    assert 0.01 < interval.high < 0.02


def test_bootstrap_is_the_same_again():
    differences = [coin_differences(np.random.default_rng(0), 0.1, (2, 3, 50))]
    np.testing.assert_array_equal(bootstrap(differences, 5).draws, bootstrap(differences, 5).draws)


def test_ratio_of_two_drops():
    rng = np.random.default_rng(0)
    drop = coin_differences(rng, 0.3, (3, 4000))
    control = np.where(rng.random((3, 4000)) < 0.25, drop, 0).astype(np.int8)
    share = bootstrap([np.stack([drop, control])]).ratio(1, 0)
    assert share.value == pytest.approx(control.mean() / drop.mean())
    assert share.low < 0.25 < share.high
    assert share.high - share.low < 0.1
    assert bootstrap([np.stack([coin_differences(rng, 0.0, (3, 100)), control[:, :100]])]).ratio(1, 0) is None
    assert bootstrap([np.zeros((2, 3, 9), np.int8)]).ratio(1, 0) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_keep_order_and_only_raise(p):
    values = np.array(p)
    for adjusted in (holm(values), benjamini_hochberg(values)):
        assert (adjusted >= values - 1e-12).all()
        assert (adjusted <= 1).all()
        order = np.argsort(values, kind="stable")
        assert (np.diff(adjusted[order]) >= -1e-12).all()
    assert (holm(values) >= benjamini_hochberg(values) - 1e-12).all()


def test_corrections_leave_out_what_is_not_known():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(holm(p), [0.03, np.nan, 0.06, 0.06])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.03, np.nan, 0.04, 0.04])
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_one_training_is_a_t_test_over_the_images():
    rng = np.random.default_rng(0)
    differences, labels = coin_differences(rng, 0.1, (1, 90)), np.repeat(np.arange(3), 30)
    found = class_tests(differences, labels, 3)
    for k in range(3):
        theirs = stats.ttest_1samp(differences[0, labels == k], 0)
        assert found.p[k] == pytest.approx(theirs.pvalue)
        assert found.errors[k] == pytest.approx(stats.sem(differences[0, labels == k]))


def test_classes_with_too_few_images_are_not_tested():
    found = class_tests(np.array([[1, 1, 0], [1, 0, 0]], np.int8), np.array([0, 1, 1]), 3)
    assert np.isnan(found.p[[0, 2]]).all()
    assert found.drops[0] == 1
    assert np.isnan(found.drops[2])
    nothing = class_tests(np.zeros((2, 6), np.int8), np.repeat([0, 1], 3), 2)
    assert nothing.p.tolist() == [1, 1]


def trained_twice(rng, trainings, classes, images, luck, effect=0.0):
    """Two settings' right answers, less one another; `effect` is by class, in logits."""
    labels = np.repeat(np.arange(classes), images)
    difficulty = rng.normal(0, 1, len(labels))

    def right(lost):
        noise = rng.normal(0, 1, (trainings, len(labels))) + rng.normal(0, luck, (trainings, classes))[:, labels]
        return (noise + difficulty - np.broadcast_to(lost, classes)[labels] > 0).astype(np.int8)

    return right(0.0) - right(effect), labels


@pytest.mark.parametrize("trainings", [2, 3, 6, 15])
@pytest.mark.parametrize("luck", [0.0, 0.3])
def test_in_a_null_study_no_class_is_found_beyond_the_error_rate(trainings, luck):
    """The paper's swings between twins are such luck: every image of a class goes with it."""
    rng, some = np.random.default_rng(trainings), 0
    for _ in range(40):
        found = class_tests(*trained_twice(rng, trainings, 60, 40, luck), 60)
        some += bool((benjamini_hochberg(found.p) < 0.05).any())
    assert some <= 6  # 5 % of 40, and two standard errors


def test_planted_classes_are_found_and_few_others():
    rng, effect = np.random.default_rng(0), np.zeros(60)
    effect[:10] = 1.0
    found, false = [], []
    for _ in range(20):
        affected = benjamini_hochberg(class_tests(*trained_twice(rng, 15, 60, 40, 0.1, effect), 60).p) < 0.05
        found.append(affected[:10].mean())
        false.append(affected[10:].sum() / max(affected.sum(), 1))
    assert np.mean(found) > 0.95
    assert np.mean(false) < 0.06
