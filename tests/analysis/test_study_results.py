"""Reading a study's files: what belongs together is compared, what does not is refused with one line."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix

from studies import MadeUp
from unface.analysis.study.comparisons import comparisons, differences, drop, paired
from unface.analysis.study.confusions import find_swings, precisions
from unface.analysis.study.results import Cell, read_results
from unface.errors import InputError
from unface.predictions import Evaluation, read_predictions, write_predictions

EVALUATION = Evaluation("resnet18", "original", "original", 1, ("a", "b", "c"), "letters", "0" * 64, "0.1.0")
OTHER = replace(EVALUATION, train="blurred", eval="blurred")


def put(folder, evaluation, ids, labels, answers):
    """A file whose highest logit is the answer."""
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    logits = np.eye(len(evaluation.classes))[answers]
    write_predictions(folder / "predictions" / evaluation.file_name, evaluation, [(ids, labels, logits)])


def test_runs_are_put_on_the_images_that_all_have(tmp_path):
    put(tmp_path, EVALUATION, ["1", "2", "3", "4"], [0, 1, 2, 0], [0, 1, 2, 0])
    put(tmp_path, OTHER, ["4", "3", "9", "1"], [0, 2, 1, 0], [0, 1, 1, 2])
    results = read_results(tmp_path)
    assert sorted(results.image_ids.to_pylist()) == ["1", "3", "4"]
    assert results.left_out == 2
    (comparison,) = comparisons(results)
    found = dict(
        zip(
            results.image_ids.to_pylist(), differences(results, paired(results, comparison), 1)[0].tolist(), strict=True
        )
    )
    assert found == {"1": 1, "3": 1, "4": 0}
    assert results.labels[results.image_ids.to_pylist().index("3")] == 2


def test_top1_is_the_mean_of_right_answers(tmp_path):
    put(tmp_path, EVALUATION, list("12345"), [0, 1, 2, 0, 1], [0, 1, 1, 2, 1])
    results = read_results(tmp_path)
    (run,) = results.cells[Cell("resnet18", "original", "original")].values()
    assert results.correct(run, 1).mean() == 3 / 5
    assert results.correct(run, 5).mean() == 1  # three classes are all among five


def test_seeds_are_paired(tmp_path):
    for seed, evaluation in ((1, EVALUATION), (2, EVALUATION), (2, OTHER), (3, OTHER)):
        put(tmp_path, replace(evaluation, seed=seed), ["1", "2"], [0, 1], [0, 1])
    results = read_results(tmp_path)
    (comparison,) = comparisons(results)
    assert [(pair.architecture, pair.seed) for pair in paired(results, comparison)] == [("resnet18", 2)]


@pytest.mark.parametrize(
    ("other", "ids", "labels", "message"),
    [
        (replace(OTHER, classes=("a", "b", "d")), ["1", "2"], [0, 1], "classes: expected that of"),
        (replace(OTHER, dataset="digits"), ["1", "2"], [0, 1], "dataset: expected that of"),
        (OTHER, ["1", "2"], [0, 2], "'2': label: expected 2 as in the other runs, got 1"),
        (OTHER, ["2", "1"], [2, 0], "'2': label: expected 2 as in the other runs, got 1"),
        (OTHER, ["3", "4"], [0, 1], "expected images that all 2 runs were evaluated on"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, other, ids, labels, message):
    put(tmp_path, EVALUATION, ["1", "2"], [0, 1], [0, 1])
    put(tmp_path, other, ids, labels, [0, 1])
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)


def test_two_files_of_one_run(tmp_path):
    put(tmp_path, EVALUATION, ["1", "2"], [0, 1], [0, 1])
    path = tmp_path / "predictions" / EVALUATION.file_name
    (path.parent / "again.parquet").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="one file a run"):
        read_results(tmp_path)


def test_no_files(tmp_path):
    with pytest.raises(InputError, match="found none"):
        read_results(tmp_path)


def test_average_precision_is_sklearns_on_logits_and_on_softmax(tmp_path):
    study = MadeUp(classes=8, images=12, seeds=1, architectures=("resnet18",))
    results = read_results(study.write(tmp_path))
    (run,) = results.cells[Cell("resnet18", "original", "original")].values()
    found = precisions(results, run, list(range(8)))
    logits = np.concatenate(list(run.predictions.logits())).astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.eye(8)[results.labels]
    np.testing.assert_allclose(found.logits, average_precision_score(truth, logits, average=None))
    np.testing.assert_allclose(found.softmax, average_precision_score(truth, softmax, average=None), rtol=1e-6)
    assert (found.logits != found.softmax).any()


def test_average_precision_by_its_definition(tmp_path):
    """Of one class: the mean, over its images, of the share of its images among all that rank as high."""
    study = MadeUp(classes=5, images=9, seeds=1, architectures=("resnet18",))
    results = read_results(study.write(tmp_path))
    (run,) = results.cells[Cell("resnet18", "original", "original")].values()
    logits = np.concatenate(list(run.predictions.logits()))
    for k, ours in enumerate(precisions(results, run, list(range(5))).logits):
        own = results.labels == k
        shares = [own[logits[:, k] >= logit].mean() for logit in logits[own, k]]
        assert ours == pytest.approx(np.mean(shares))


def test_average_precision_follows_the_images_of_the_study(tmp_path):
    study = MadeUp(classes=4, images=10, seeds=1, architectures=("resnet18",))
    study.write(tmp_path)
    path = next((tmp_path / "predictions").glob("*-blurred-*.parquet"))
    predictions = read_predictions(path)
    outcomes, logits = predictions.outcomes(), np.concatenate(list(predictions.logits()))
    order = np.random.default_rng(0).permutation(40)[:30]
    ids = outcomes.image_ids.take(pa.array(order)).to_pylist()
    write_predictions(path, predictions.evaluation, [(ids, outcomes.labels[order], logits[order])])
    results = read_results(tmp_path)
    (run,) = results.cells[Cell("resnet18", "blurred", "blurred")].values()
    expected = average_precision_score(np.eye(4)[outcomes.labels[order]], logits[order], average=None)
    np.testing.assert_allclose(precisions(results, run, [0, 1, 2, 3]).logits, expected)


def twins(folder, trainings, moved, seed=0, luck=0.0):
    """Class 0's images are answered with class 1 more often where blurred, and the other way round less."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(6), 40)
    names = tuple("abcdef")
    for seed in range(1, trainings + 1):
        for evaluation in (EVALUATION, OTHER):
            answers = np.where(rng.random(240) < 0.3, rng.integers(0, 6, 240), labels)
            change = (moved if evaluation is OTHER else 0) + rng.normal(0, luck)
            answers[:40] = np.where(rng.random(40) < 0.3 + change, 1, answers[:40])
            answers[40:80] = np.where(rng.random(40) < 0.3 - change, 0, answers[40:80])
            put(folder, replace(evaluation, seed=seed, classes=names), [str(i) for i in range(240)], labels, answers)
    results = read_results(folder)
    return find_swings(results, drop(results, comparisons(results)[0]))


def test_swings_are_sklearns_confusions(tmp_path):
    swings = twins(tmp_path, 5, 0.1)
    results = read_results(tmp_path)
    changes = []
    for pair in paired(results, comparisons(results)[0]):
        before, after = (
            confusion_matrix(results.labels, run.predicted, normalize="true") for run in (pair.reference, pair.other)
        )
        changes.append((after - before) - (after - before).T)
    mean = np.mean(changes, axis=0)
    assert len(swings) == 15  # all pairs of six classes
    for swing in swings:
        assert swing.swing == pytest.approx(mean[swing.loser, swing.winner], abs=1e-12)
        assert swing.swing >= 0


@pytest.mark.parametrize("trainings", [3, 8])
def test_a_planted_pair_is_found(tmp_path, trainings):
    swings = twins(tmp_path, trainings, 0.2)
    assert (swings[0].loser, swings[0].winner) == (0, 1)
    assert swings[0].swing == pytest.approx(0.4, abs=0.15)
    assert swings[0].q < 0.05
    assert all(swing.q > 0.05 for swing in swings[1:])


@pytest.mark.parametrize("luck", [0.0, 0.1])
def test_no_pair_is_found_where_there_is_none(tmp_path, luck):
    """What one training does to twins is luck, even where it is large."""
    found = [any(swing.q < 0.05 for swing in twins(tmp_path / str(n), 4, 0.0, n, luck)) for n in range(12)]
    assert sum(found) <= 2


def test_two_trainings_are_too_few_for_pairs(tmp_path):
    assert twins(tmp_path, 2, 0.2) == []
