import csv
import statistics

import numpy as np
import pytest

from unface.analysis.paper import published
from unface.analysis.transfer import compare, read_transfers
from unface.analysis.transfer_precision import (
    Ranked,
    attribute_values,
    detection_precisions,
    detection_values,
    ranked,
)
from unface.analysis.transfer_tables import paper_value, table_of, transfer_tables
from unface.errors import InputError
from unface.predictions import Evaluation, write_predictions
from unface.predictions.attributes import average_precisions, read_attributes, write_attributes
from unface.predictions.detections import Found, Objects, read_detections, write_detections

metrics = pytest.importorskip("sklearn.metrics")


def attributes(images=60, names=5, seed=0, steps=None):
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, names)) < np.linspace(0.1, 0.6, names)).astype(np.int8)
    labels[0] = 1
    logits = rng.normal(0, 1, (images, names)) + labels
    if steps:  # many that score the same
        logits = np.round(logits * steps) / steps
    return logits.astype(np.float16), labels


@pytest.mark.parametrize("steps", [None, 1, 3])
def test_average_precision_is_that_of_scikit_learn(steps):
    logits, labels = attributes(steps=steps)
    wanted = [metrics.average_precision_score(labels[:, k], logits[:, k]) for k in range(5)]
    np.testing.assert_allclose(average_precisions(logits, labels), wanted)
    wanted_map = metrics.average_precision_score(labels, logits.astype(np.float64), average="macro")
    assert attribute_values(logits, labels).mean() == pytest.approx(wanted_map)


def test_attributes_that_nobody_has_count_nowhere():
    logits, labels = attributes()
    labels[:, 2] = 0
    assert np.isnan(average_precisions(logits, labels)[2])
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(attribute_values(logits, labels), attribute_values(logits[:, kept], labels[:, kept]))


@pytest.mark.parametrize("steps", [None, 2])
def test_pseudo_values_are_derivatives_by_weight(steps):
    """Against scikit-learn's average precision with one image a little heavier."""
    logits, labels = attributes(30, 1, steps=steps)
    scores = logits[:, 0].astype(np.float64)
    values = attribute_values(logits, labels)
    whole = metrics.average_precision_score(labels[:, 0], scores)
    for image in range(30):
        heavier = np.ones(30)
        heavier[image] += 1e-6
        change = metrics.average_precision_score(labels[:, 0], scores, sample_weight=heavier) - whole
        assert values[image] - whole == pytest.approx(30 * change / 1e-6, abs=1e-3)


def test_their_spread_is_that_of_the_bootstrap():
    """The standard error that pseudo-values give, against resampling the images through scikit-learn."""
    logits, labels = attributes(400, 1, seed=3)
    scores, truth, rng = logits[:, 0].astype(np.float64), labels[:, 0], np.random.default_rng(0)
    drawn = [rng.integers(0, 400, 400) for _ in range(400)]
    theirs = np.std([metrics.average_precision_score(truth[some], scores[some]) for some in drawn])
    assert attribute_values(logits, labels).std() / 20 == pytest.approx(theirs, rel=0.15)


def row(*marks, objects):
    """Detections best first, one an image: `+` found, `-` wrong."""
    right = np.array([mark == "+" for mark in marks], np.bool_)
    counts = np.zeros(max(len(marks), 1), np.int64)
    counts[: len(objects)] = objects
    return Ranked(np.arange(len(marks)), right, ~right, counts)


def test_average_precision_of_a_case_computed_by_hand():
    """Four objects; found, found, wrong, found, and one never.

    Recall and precision: 1/4, 1; 2/4, 1; 2/4, 2/3; 3/4, 3/4. Highest precision at recall 0 to .5 is 1 (six of the
    eleven points), at .6 and .7 it is 3/4 (two), from .8 on 0 (three). Area: .5 at 1, a quarter at 3/4.
    """
    ap = detection_precisions(row("+", "+", "-", "+", objects=[1, 1, 1, 1]))
    assert ap["11-point"] == pytest.approx((6 + 2 * 0.75) / 11)
    assert ap["area"] == pytest.approx(0.5 + 0.25 * 0.75)


@pytest.mark.parametrize(
    ("case", "eleven", "area"),
    [
        (row(objects=[1]), 0, 0),
        (row("-", objects=[1]), 0, 0),
        (row("+", objects=[1]), 1, 1),
        (row("+", "-", objects=[1, 1]), 6 / 11, 0.5),
        (row("-", "+", objects=[1, 0]), 0.5, 0.5),
        (row(*"+++", objects=[10]), 4 / 11, 0.3),  # recall .3 is reached exactly
    ],
)
def test_simple_cases(case, eleven, area):
    ap = detection_precisions(case)
    assert ap["11-point"][0] == pytest.approx(eleven)
    assert ap["area"][0] == pytest.approx(area)


def test_a_class_without_objects_has_none():
    assert np.isnan(detection_precisions(row("-", objects=[0]))["area"][0])


def scene(rng, objects, classes, difficult=0.0, most_found=2):
    """Objects that lie apart, and for each some boxes near it, a few elsewhere."""
    places = rng.permutation(16)[:objects]
    corners = np.stack([places % 4, places // 4], axis=1) * 50.0
    boxes = np.concatenate([corners, corners + rng.uniform(20, 40, (objects, 2))], axis=1).astype(np.float32)
    labels = rng.integers(0, classes, objects)
    truth = Objects(boxes, labels, rng.random(objects) < difficult)
    found = [
        (box + rng.normal(0, 3, 4), label)
        for box, label in zip(boxes, labels, strict=True)
        for _ in range(rng.integers(0, most_found + 1))
    ]
    found += [([300, 300, 330, 340], int(rng.integers(classes))) for _ in range(rng.integers(0, 2))]
    mine = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    guessed = np.array([label for _, label in found], np.int64)
    return truth, Found(mine, rng.permutation(10_000)[: len(found)].astype(np.float32) / 10_000, guessed)


def coco_precisions(scenes, classes, points):
    """Average precision at an overlap of .5 of each class, by pycocotools, at so many points of recall."""
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(box):
        return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]

    truth, found = [], []
    for image, (objects, seen) in enumerate(scenes):
        for box, label, difficult in zip(objects.boxes_xyxy, objects.labels, objects.difficult, strict=True):
            facts = {"id": len(truth) + 1, "image_id": image, "category_id": int(label), "bbox": xywh(box)}
            truth.append(facts | {"area": 1.0, "iscrowd": int(difficult)})
        for box, score, label in zip(seen.boxes_xyxy, seen.scores, seen.labels, strict=True):
            found.append({"image_id": image, "category_id": int(label), "bbox": xywh(box), "score": float(score)})
    with redirect_stdout(StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in range(len(scenes))],
            "annotations": truth,
            "categories": [{"id": label} for label in range(classes)],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.params.recThrs = np.arange(points) / (points - 1)
        judge.params.maxDets = [1000]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][0, :, :, 0, 0].mean(axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_detections_are_scored_as_by_pycocotools(seed):
    """11 points of recall, and 20,001 for the area; objects lie apart, so that both match alike."""
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, int(rng.integers(0, 7)), 3) for _ in range(23)]
    ours = [detection_precisions(ranked(*map(list, zip(*scenes, strict=True)), label)) for label in range(3)]
    counts = [sum(np.count_nonzero(truth.labels == label) for truth, _ in scenes) for label in range(3)]
    for label, (ap, theirs) in enumerate(zip(ours, coco_precisions(scenes, 3, 20_001), strict=True)):
        assert ap["area"][0] == pytest.approx(theirs, abs=2e-4), label
    for label, (ap, theirs) in enumerate(zip(ours, coco_precisions(scenes, 3, 11), strict=True)):
        if counts[label] % 10:  # else a point lies at a recall that is reached exactly, where pycocotools rounds
            assert ap["11-point"][0] == pytest.approx(theirs), label


def test_what_is_difficult_counts_neither_way():
    box = np.array([[0, 0, 10, 10]], np.float32)
    truth = [Objects(np.concatenate([box, box + 50]), np.array([0, 0]), np.array([True, False]))]
    seen = Found(np.concatenate([box, box, box + 50]), np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 0, 0]))
    of_class = ranked(truth, [seen], 0)
    assert (of_class.right.tolist(), of_class.wrong.tolist()) == ([False, False, True], [False, False, False])
    assert detection_precisions(of_class)["11-point"][0] == 1


def test_found_twice_is_wrong_and_half_an_overlap_is_enough():
    box = np.array([[0, 0, 10, 10]], np.float32)
    half, less = np.array([[0, 0, 10, 5]], np.float32), np.array([[0, 0, 10, 4.9]], np.float32)
    truth = [Objects(box, np.array([0]), np.array([False]))]
    seen = Found(np.concatenate([less, half, box]), np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 0, 0]))
    assert ranked(truth, [seen], 0).right.tolist() == [False, True, False]
    assert ranked(truth, [seen], 1).objects.tolist() == [0]


def test_pseudo_values_of_detections_leave_images_out():
    rng = np.random.default_rng(1)
    scenes = [scene(rng, int(rng.integers(0, 5)), 2, difficult=0.2) for _ in range(70)]
    truth, found = map(list, zip(*scenes, strict=True))
    values = detection_values(ranked(truth, found, 0))
    for flavour in ("11-point", "area"):
        whole = detection_precisions(ranked(truth, found, 0))[flavour][0]
        without = np.array(
            [
                detection_precisions(ranked(truth[:k] + truth[k + 1 :], found[:k] + found[k + 1 :], 0))[flavour][0]
                for k in range(70)
            ]
        )
        np.testing.assert_allclose(values[flavour], whole + 69 * (without.mean() - without), atol=1e-12)
        assert values[flavour].mean() == pytest.approx(whole)


IDS = [f"{number:03}.jpg" for number in range(50)]


def evaluation(architecture="resnet18", start="original", seed=1, dataset="cifar10", classes=("a", "b", "c")):
    return Evaluation(architecture, start, "original", seed, classes, dataset, "0" * 64, "0.1.0")


def write_classes(folder, start, seed, right, dataset="cifar10", architecture="resnet18", ids=IDS):
    """Predictions of which the first so many are right."""
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    logits = np.zeros((len(ids), 3))
    logits[np.arange(len(ids)), (np.arange(len(ids)) >= right).astype(int)] = 1
    facts = evaluation(architecture, start, seed, dataset)
    write_predictions(folder / "predictions" / facts.file_name, facts, [(ids, np.zeros(len(ids)), logits)])


def test_table_5(tmp_path):
    rights = {"none": (20, 22, 24), "original": (30, 32, 37), "blurred": (31, 33, 38)}
    for start, counts in rights.items():
        for seed, right in enumerate(counts, 1):
            write_classes(tmp_path / "cifar10", start, seed, right)
    (table,) = transfer_tables(tmp_path)
    assert table.name == "table5_cifar10"
    (cells,) = [dict(zip(table.header, line, strict=True)) for line in table.rows]
    assert cells["network"] == "resnet18"
    assert cells["seeds"] == 3
    for start, counts in rights.items():
        percents = [2 * count for count in counts]
        assert cells[start] == pytest.approx(statistics.mean(percents))
        assert cells[f"{start} SEM"] == pytest.approx(statistics.stdev(percents) / 3**0.5)
    assert cells["none gain"] == pytest.approx(-22)
    assert cells["none gain from"] < -22 < cells["none gain to"] < 0
    assert cells["blurred gain"] == pytest.approx(2)
    assert (cells["none paper"], cells["original paper"], cells["blurred paper"]) == (92.8, 96.1, 96.1)
    assert list(table_of(read_transfers(tmp_path / "cifar10"), ddof=2).rows[0])[5:7] != [None, None]


def test_interval_against_the_plain_bootstrap(tmp_path):
    """One seed: images alone, as resampled here."""
    write_classes(tmp_path, "original", 1, 25)
    write_classes(tmp_path, "blurred", 1, 35)
    interval = compare(read_transfers(tmp_path), "blurred", "original", "top-1").of("resnet18")
    rng = np.random.default_rng(5)
    difference = np.where((np.arange(50) >= 25) & (np.arange(50) < 35), 1.0, 0.0)
    drawn = [difference[rng.integers(0, 50, 50)].mean() for _ in range(4000)]
    assert interval.value == pytest.approx(0.2)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.025)


def test_what_is_no_published_dataset_stands_alone(tmp_path):
    write_classes(tmp_path, "none", 1, 20, dataset="cifar10-altered")
    write_classes(tmp_path, "overlaid", 1, 30, dataset="cifar10-altered")
    table = table_of(read_transfers(tmp_path))
    assert not [name for name in table.header if "paper" in name]
    assert table.title.endswith("gain: over none")
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert cells["overlaid gain"] == pytest.approx(20)
    assert table.name == "transfer_cifar10-altered"


def test_the_mean_row_needs_every_network(tmp_path):
    for architecture in ("resnet18", "alexnet"):
        write_classes(tmp_path, "original", 1, 30, architecture=architecture)
    write_classes(tmp_path, "none", 1, 20)
    table = table_of(read_transfers(tmp_path))
    cells = dict(zip(table.header, table.rows[-1], strict=True))
    assert cells["network"] == "average"
    assert cells["original"] == pytest.approx(60)
    assert cells["none"] is None
    assert cells["original paper"] == pytest.approx((90.6 + 96.1) / 2)


def test_table_6(tmp_path):
    (tmp_path / "predictions").mkdir()
    names = tuple("vwxyz")
    for seed, start in enumerate(("none", "original", "overlaid")):
        logits, labels = attributes(50, seed=7)
        noisy = (logits + np.random.default_rng(seed).normal(0, 0.2 * (3 - seed), logits.shape)).astype(np.float16)
        facts = evaluation("vgg11", start, 1, "celeba", names)
        path = tmp_path / "predictions" / facts.file_name
        assert (
            write_attributes(path, facts, [(IDS[:30], labels[:30], noisy[:30]), (IDS[30:], labels[30:], noisy[30:])])
            == 50
        )
        back = read_attributes(path)
        np.testing.assert_array_equal(back.logits, noisy)
        np.testing.assert_array_equal(back.labels, labels)
    table = table_of(read_transfers(tmp_path))
    cells = dict(zip(table.header, table.rows[0], strict=True))
    wanted = metrics.average_precision_score(labels, noisy.astype(np.float64), average="macro")
    assert cells["overlaid"] == pytest.approx(100 * wanted)
    assert (cells["original paper"], cells["none paper"]) == (56.0, 48.7)
    assert table.name == "table6_celeba"


def test_voc(tmp_path):
    (tmp_path / "predictions").mkdir()
    classes = ("cat", "dog", "person")
    for start in ("original", "blurred"):
        rng = np.random.default_rng(3)
        scenes = [scene(rng, int(rng.integers(1, 6)), 3) for _ in IDS]
        truth, found = map(list, zip(*scenes, strict=True))
        if start == "blurred":
            found = [Found(each.boxes_xyxy[:1], each.scores[:1], each.labels[:1]) for each in found]
        facts = evaluation("resnet50", start, 1, "voc", classes)
        path = tmp_path / "predictions" / facts.file_name
        write_detections(path, facts, [(IDS, truth, found)])
        back = read_detections(path)
        np.testing.assert_array_equal(back.found[4].boxes_xyxy, found[4].boxes_xyxy)
        np.testing.assert_array_equal(back.truth[4].labels, truth[4].labels)
        if start == "original":
            wanted = coco_precisions(scenes, 3, 20_001)
    table = table_of(read_transfers(tmp_path))
    rows = {line[1]: dict(zip(table.header, line, strict=True)) for line in table.rows}
    assert list(rows) == ["mAP, 11-point", "mAP, area", "AP of person, 11-point", "AP of person, area"]
    assert rows["mAP, area"]["original"] == pytest.approx(100 * wanted.mean(), abs=0.02)
    assert rows["AP of person, area"]["original"] == pytest.approx(100 * wanted[2], abs=0.02)
    assert rows["mAP, area"]["blurred gain to"] < 0
    assert rows["mAP, 11-point"]["original paper"] == 79.4
    assert rows["mAP, area"]["original paper"] is None
    assert rows["AP of person, 11-point"]["blurred paper"] == 84.8


def test_the_papers_numbers_are_those_of_its_tables():
    means = [np.mean([float(line[start]) for line in published("table6")]) for start in ("none", "original")]
    assert means == pytest.approx([45.15, 53.125])
    means = [np.mean([float(line[start]) for line in published("table6")]) for start in ("blurred", "overlaid")]
    assert means == pytest.approx([53.5875, 53.8375])
    assert paper_value("sun397", "resnet34", "overlaid", "top-1") == 57.8
    assert paper_value("cifar10", "vgg11", "original", "top-1") is None


def test_files_that_do_not_belong_together(tmp_path):
    with pytest.raises(InputError, match="expected files in predictions/, one a network; found none"):
        read_transfers(tmp_path)
    write_classes(tmp_path, "none", 1, 20)
    write_classes(tmp_path, "original", 1, 20, ids=[f"x{name}" for name in IDS])
    with pytest.raises(InputError, match=r"expected the 50 images of .*, got others"):
        read_transfers(tmp_path)
    write_classes(tmp_path, "original", 1, 20, dataset="sun397")
    with pytest.raises(InputError, match=r"dataset: expected that of .*, got sun397"):
        read_transfers(tmp_path)
    path = next((tmp_path / "predictions").iterdir())
    path.write_bytes(b"torn")
    with pytest.raises(InputError, match="expected a file of predictions"):
        read_transfers(tmp_path)


def test_a_file_that_was_written_in_part_is_none(tmp_path):
    facts = evaluation("vgg11", "none", 1, "celeba", ("a", "b"))
    path = tmp_path / "x.parquet"
    with pytest.raises(InputError, match="expected finite numbers"):
        write_attributes(path, facts, [(["a.jpg"], [[0, 1]], [[0.0, np.nan]])])
    with pytest.raises(InputError, match="expected at least one image"):
        write_attributes(path, facts, [])
    with pytest.raises(InputError, match="expected at least one image"):
        write_detections(path, facts, [])
    assert not list(tmp_path.iterdir())


def test_tables_are_csv(tmp_path):
    write_classes(tmp_path / "own", "none", 1, 20, dataset="own")
    (table,) = transfer_tables(tmp_path)
    assert len(list(csv.reader(table.csv().splitlines()))) == 2
    assert transfer_tables(tmp_path / "nowhere") == []
