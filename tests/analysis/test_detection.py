"""Measures of detections against a loop-by-loop port of WIDER FACE's protocol, other libraries, and properties."""

import json
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unface.analysis.comparison import compare
from unface.analysis.detection import (
    Settings,
    area_below,
    average_precisions,
    bootstrap,
    counted_faces,
    errors_by_class,
    measure,
)
from unface.boxes import coverage, diagonal, enlarge, union_area
from unface.errors import InputError
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.formats import load_format, read_table
from unface.faces.formats.reading import Reading
from unface.faces.matching import match
from unface.faces.table import with_metadata

NOTHING = Faces.make([])


def truth_row(image_id, boxes, size=(200, 100), status="reviewed"):
    return FaceRow(image_id, *size, status, Faces.make(boxes))


def predicted_row(image_id, boxes, scores=None, candidates=NOTHING, size=(200, 100), status="detected"):
    return FaceRow(image_id, *size, status, Faces.make(boxes, scores), candidates)


def compared(truth, predicted):
    return compare(faces_table(truth), faces_table(predicted))


# The protocol, written down as its description has it: images and boxes one by one.


def wider_overlap(a, b):
    ax0, ay0, ax1, ay1 = a
    bx0, by0, bx1, by1 = b
    width = min(ax1, bx1) - max(ax0, bx0) + 1
    height = min(ay1, by1) - max(ay0, by0) + 1
    if width <= 0 or height <= 0:
        return 0.0
    size_a, size_b = (ax1 - ax0 + 1) * (ay1 - ay0 + 1), (bx1 - bx0 + 1) * (by1 - by0 + 1)
    return width * height / (size_a + size_b - width * height)


def wider_ap(images, iou_threshold=0.5):
    """AP of a list of (true boxes, places that count, predicted boxes, scores)."""
    every = [score for _, _, _, scores in images for score in scores]
    low, high = (min(every), max(every)) if every else (0, 1)
    counted = sum(len(places) for _, places, _, _ in images)
    proposals, recalls = [0] * 1000, [0] * 1000
    for truth, places, boxes, scores in images:
        if not len(truth) or not len(boxes):
            continue
        scores = [(score - low) / (high - low) if high > low else 1.0 for score in scores]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        state = [0] * len(truth)
        proposed, recalled = [], []
        for place in order:
            overlaps = [wider_overlap(boxes[place], face) for face in truth]
            best = overlaps.index(max(overlaps))
            counts = 1
            if overlaps[best] >= iou_threshold:
                if best not in places:
                    state[best], counts = -1, -1
                elif state[best] == 0:
                    state[best] = 1
            proposed.append(counts)
            recalled.append(state.count(1))
        for level in range(1000):
            at = 1 - (level + 1) / 1000
            above = [i for i, place in enumerate(order) if scores[place] >= at]
            if above:
                proposals[level] += proposed[: above[-1] + 1].count(1)
                recalls[level] += recalled[above[-1]]
    recall = [0.0, *(r / counted for r in recalls), 1.0]
    precision = [0.0, *(r / p if p else 0.0 for r, p in zip(recalls, proposals, strict=True)), 0.0]
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


corner = st.integers(0, 60)
side = st.integers(1, 40)
a_box = st.builds(lambda x, y, w, h: (x / 2, y / 2, (x + w) / 2, (y + h) / 2), corner, corner, side, side)
a_score = st.integers(0, 64).map(lambda n: n / 64)


def an_image_of(faces, found, copies):
    """Boxes at random hide hardly a face; so some predictions are true faces."""
    right = [(faces[place % len(faces)][0], score) for place, score in copies if faces]
    return faces, [*found, *right]


an_image = st.builds(
    an_image_of,
    st.lists(st.tuples(a_box, st.booleans()), max_size=5),
    st.lists(st.tuples(a_box, a_score), max_size=4),
    st.lists(st.tuples(st.integers(0, 4), a_score), max_size=4),
)
some_images = st.lists(an_image, max_size=6)


def tables_of(images):
    truth = [truth_row(f"c{i % 2}/{i}.jpg", [box for box, _ in faces], (60, 60)) for i, (faces, _) in enumerate(images)]
    predicted = [
        predicted_row(f"c{i % 2}/{i}.jpg", [box for box, _ in found], [s for _, s in found], size=(60, 60))
        for i, (_, found) in enumerate(images)
    ]
    return truth, predicted


@given(some_images)
@settings(max_examples=60, deadline=None)
def test_average_precision_is_that_of_the_loops(images):
    comparison = compared(*tables_of(images))
    counts = np.array([counts for faces, _ in images for _, counts in faces], bool)
    (found,) = average_precisions(comparison, {"some": counts})
    if not counts.any():
        assert found.ap is None
        return
    plain = [
        (
            [box for box, _ in faces],
            {place for place, (_, counts) in enumerate(faces) if counts},
            [box for box, _ in found],
            [score for _, score in found],
        )
        for faces, found in images
    ]
    assert found.ap == pytest.approx(wider_ap(plain), abs=1e-12)


@given(some_images, st.sampled_from([0.3, 0.5, 0.75, 1.0]), st.sampled_from([0.0, 0.1]), a_score)
@settings(max_examples=80, deadline=None)
def test_leak_recall_and_area_are_those_of_single_images(images, tau, margin, threshold):
    truth, predicted = tables_of(images)
    found = measure(compared(truth, predicted), Settings(threshold, tau, margin))
    leaks, hidden, coverages, areas = [], [], [], []
    for (faces, seen), row in zip(images, truth, strict=True):
        boxes = np.float32([box for box, score in seen if score >= threshold]).reshape(-1, 4)
        boxes = np.clip(enlarge(boxes, margin * diagonal(boxes)), 0, 60)
        inside = np.float32([box for box, _ in faces]).reshape(-1, 4)
        if len(row.faces):
            covered = coverage(inside, boxes)
            coverages += covered.tolist()
            hidden += (covered >= tau - 1e-6).tolist()
            leaks.append((covered < tau - 1e-6).any())
        areas.append((union_area(np.concatenate([boxes, inside])) - union_area(inside)) / 3600)
    if images:
        assert found.area.all == pytest.approx(np.mean(areas), abs=1e-5)
    if leaks:
        assert found.leak.share == pytest.approx(np.mean(leaks))
        assert found.recall.share == pytest.approx(np.mean(hidden))
        assert found.mean_coverage == pytest.approx(np.mean(coverages), abs=1e-5)
        assert found.leaked_per_1000 == pytest.approx(1000 * (len(hidden) - sum(hidden)) / len(images))


@given(some_images)
@settings(max_examples=60, deadline=None)
def test_a_higher_threshold_leaks_more_and_costs_less(images):
    curve = measure(compared(*tables_of(images))).curve
    for lower, higher in pairwise(curve):
        if lower.leak is not None:
            assert lower.leak <= higher.leak
            assert lower.recall >= higher.recall
        if lower.area is not None:
            assert lower.area >= higher.area - 1e-12
        if lower.touched is not None:
            assert lower.touched >= higher.touched


@given(some_images, st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_images_makes_no_difference(images, random):
    truth, predicted = tables_of(images)
    straight = measure(compared(truth, predicted))
    random.shuffle(truth)
    random.shuffle(predicted)
    shuffled = measure(compared(truth, predicted))
    assert json.dumps(rounded(asdict(shuffled))) == json.dumps(rounded(asdict(straight)))


def rounded(record):
    if isinstance(record, dict):
        return {key: rounded(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [rounded(value) for value in record]
    return round(record, 9) if isinstance(record, float) else record


@given(some_images.filter(lambda images: any(faces for faces, _ in images)))
@settings(max_examples=60, deadline=None)
def test_perfect_detections(images):
    distinct = [({box: None for box, _ in faces}, None) for faces, _ in images]
    truth, _ = tables_of([([(box, True) for box in boxes], []) for boxes, _ in distinct])
    found = measure(compared(truth, truth), Settings(margin=0.0, leak_rate=0.0))
    assert found.precisions[0].ap == pytest.approx(1.0)
    assert found.leak.share == 0
    assert found.area.all == 0
    assert found.best.threshold == 1
    audit = errors_by_class({"same": (compared(truth, truth), 0.5)})
    assert audit.total("all", 0).false_positives == audit.total("all", 0).false_negatives == 0


@given(some_images, st.sampled_from([0.0, 0.2, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_the_best_threshold_keeps_the_leak_and_is_the_highest(images, leak_rate):
    comparison = compared(*tables_of(images))
    found = measure(comparison, Settings(leak_rate=leak_rate))
    if found.best is None:
        assert measure(comparison, Settings(0.0)).leak.share > leak_rate
        return
    assert found.best.leak is None or found.best.leak <= leak_rate
    if found.best.threshold < 1:
        higher = measure(comparison, Settings(float(np.nextafter(np.float32(found.best.threshold), np.float32(2)))))
        assert higher.leak.share > leak_rate
    at = measure(comparison, Settings(found.best.threshold))
    assert at.area.all == found.best.area


@given(some_images)
@settings(max_examples=60, deadline=None)
def test_errors_by_class_are_those_of_pairing_image_by_image(images):
    truth, predicted = tables_of(images)
    audit = errors_by_class({"found": (compared(truth, predicted), 0.5)})
    if not images:
        assert audit.groups == ()
        return
    expected = {"c0": [0, 0, 0], "c1": [0, 0, 0]}
    for row, other in zip(truth, predicted, strict=True):
        sure = other.faces[other.faces.scores >= 0.5]
        order = np.argsort(-sure.scores, kind="stable")
        pairs = len(match(sure.boxes_xyxy[order], row.faces.boxes_xyxy, 0.5))
        sums = expected[row.image_id[:2]]
        for place, number in enumerate((1, len(sure) - pairs, len(row.faces) - pairs)):
            sums[place] += number
    for group in audit.groups:
        errors = group.errors[0]
        assert [errors.images, errors.false_positives, errors.false_negatives] == expected[group.title]


def test_the_area_below_a_curve_is_the_mean_of_the_highest_precisions():
    """Scikit-learn gives the curve, and the same area where precision only falls as recall grows."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.4
    scores = labels + rng.normal(0, 0.7, 200)
    precision, recall, _ = precision_recall_curve(labels, scores)
    highest = [precision[recall >= found / labels.sum() - 1e-9].max() for found in range(1, labels.sum() + 1)]
    assert area_below(recall[::-1], precision[::-1]) == pytest.approx(np.mean(highest), abs=1e-12)
    assert np.mean(highest) > average_precision_score(labels, scores) + 1e-3
    falling = np.repeat([True, False], [40, 60])
    scores = np.where(falling, 1.0, 0.5)
    precision, recall, _ = precision_recall_curve(falling, scores)
    assert area_below(recall[::-1], precision[::-1]) == average_precision_score(falling, scores) == 1


def test_average_precision_is_that_of_pycocotools_on_separate_faces():
    """COCO samples the same envelope at 101 recalls; every image has a face and a box, and boxes are large."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    truth, predicted = [], []
    for i in range(300):
        face = np.array([200, 200, 500, 600]) + rng.integers(-50, 50, 4)
        seen = [face + rng.normal(0, 12, 4), rng.uniform(0, 300, 4).cumsum() + np.array([600, 600, 650, 700])]
        truth.append(truth_row(f"{i}.jpg", [face], (3000, 3000)))
        scores = [rng.beta(5, 2), rng.beta(2, 5)]
        predicted.append(predicted_row(f"{i}.jpg", seen, scores, size=(3000, 3000)))
    ground = COCO()
    ground.dataset = {
        "images": [{"id": i} for i in range(300)],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": i + 1,
                "image_id": i,
                "category_id": 1,
                "iscrowd": 0,
                "area": 1.0,
                "bbox": xywh(row.faces.boxes_xyxy[0]),
            }
            for i, row in enumerate(truth)
        ],
    }
    ground.createIndex()
    answers = ground.loadRes(
        [
            {"image_id": i, "category_id": 1, "bbox": xywh(box), "score": float(score)}
            for i, row in enumerate(predicted)
            for box, score in zip(row.faces.boxes_xyxy, row.faces.scores, strict=True)
        ]
    )
    theirs = COCOeval(ground, answers, "bbox")
    theirs.params.iouThrs, theirs.params.areaRng = np.array([0.5]), [[0, 1e10]]
    theirs.params.areaRngLbl, theirs.params.maxDets = ["all"], [100]
    theirs.evaluate()
    theirs.accumulate()
    ours = measure(compared(truth, predicted)).precisions[0].ap
    assert 0.7 < ours < 0.999
    assert ours == pytest.approx(float(theirs.eval["precision"].mean()), abs=0.01)


def xywh(box):
    x0, y0, x1, y1 = map(float, box)
    return [x0, y0, x1 - x0, y1 - y0]


def test_the_bootstrap_is_that_of_scipy():
    from scipy import stats

    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 6, 400)
    hits = rng.binomial(numbers, 0.8)
    low, high = bootstrap(hits, numbers, np.random.default_rng(1), 20_000)
    theirs = stats.bootstrap(
        (hits, numbers),
        lambda h, n, axis: h.sum(axis) / n.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=5000,
        batch=200,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.003)


def test_what_is_missing_counts_as_nothing_found():
    truth = [truth_row(f"{i}.jpg", [[10, 10, 40, 40]]) for i in range(4)]
    predicted = [
        predicted_row("0.jpg", [[10, 10, 40, 40]]),
        predicted_row("1.jpg", [], status="failed", size=(0, 0)),
        predicted_row("9.jpg", [[1, 1, 50, 50]]),
    ]
    truth[3] = truth_row("3.jpg", [], (0, 0), status="failed")
    found = measure(compared(truth, predicted))
    assert (found.images, found.missing, found.failed, found.unknown) == (3, 1, 1, 1)
    assert found.leak.hits == 2
    assert found.area.sized == 3


def test_the_threshold_is_the_predictions_own_and_candidates_lie_below_it():
    candidate = Faces.make([[10, 10, 40, 40]], [0.2])
    truth = [truth_row("a.jpg", [[10, 10, 40, 40], [60, 10, 90, 40]])]
    table = faces_table([predicted_row("a.jpg", [[60, 10, 90, 40]], [0.8], candidate)])
    stated = compare(faces_table(truth), with_metadata(table, {"threshold": "0.35"}))
    assert stated.threshold == 0.35
    assert measure(stated).recall.share == 0.5
    assert measure(stated, Settings(0.2)).recall.share == 1.0
    assert compare(faces_table(truth), table).threshold == pytest.approx(0.8)
    odd = compare(faces_table(truth), with_metadata(table, {"threshold": "high"}))
    assert odd.threshold == pytest.approx(0.8)


def test_a_score_reaches_a_threshold_of_the_same_decimals():
    truth = [truth_row("a.jpg", [[10, 10, 40, 40]])]
    comparison = compared(truth, [predicted_row("a.jpg", [[10, 10, 40, 40], [60, 10, 90, 40]], [0.35, 0.9])])
    found = measure(comparison, Settings(0.35))
    assert found.leak.share == 0
    assert found.curve[35].leak == 0
    assert found.curve[36].leak == 1
    assert errors_by_class({"found": (comparison, 0.35)}).total("all", 0).false_negatives == 0


def test_what_people_reviewed_is_certain():
    candidate = Faces.make([[60, 10, 90, 40]], [0.9])
    truth = [truth_row("a.jpg", [[10, 10, 40, 40]])]
    row = predicted_row("a.jpg", [[10, 10, 40, 40]], [0.1], candidate, status="reviewed")
    found = compared(truth, [row])
    assert found.threshold == 1
    assert measure(found).recall.share == 1
    assert measure(found).area.all < 0.05


def test_small_faces_may_be_found_or_not():
    truth = [truth_row("a.jpg", [[10, 10, 40, 40], [60, 10, 66, 16]])]
    comparison = compared(truth, [predicted_row("a.jpg", [[10, 10, 40, 40]])])
    assert measure(comparison).leak.share == 1
    found = measure(comparison, Settings(min_height_px=10))
    assert (found.faces, found.leak.share, found.precisions[0].ap) == (1, 0.0, 1.0)
    both = compared(truth, [predicted_row("a.jpg", [[10, 10, 40, 40], [60, 10, 66, 16]])])
    assert measure(both, Settings(min_height_px=10, margin=0)).area.all == 0


def test_false_positives_in_images_without_a_face_cost_no_precision():
    """A flaw of the protocol that is kept, so that figures compare."""
    truth = [truth_row("a.jpg", [[10, 10, 40, 40]]), truth_row("b.jpg", [])]
    seen = [predicted_row("a.jpg", [[10, 10, 40, 40]], [0.5]), predicted_row("b.jpg", [[1, 1, 90, 90]], [0.9])]
    found = measure(compared(truth, seen))
    assert found.precisions[0].ap == 1
    assert found.area.touched == 1


@pytest.mark.parametrize("score", [np.nan, -0.5, 1.5, np.inf])
def test_a_score_that_is_none(score):
    truth = faces_table([truth_row("a.jpg", [[10, 10, 40, 40]])])
    with pytest.raises(InputError, match=r"'a.jpg': boxes: score: expected a number from 0 to 1"):
        compare(truth, faces_table([predicted_row("a.jpg", [[10, 10, 40, 40]], [score])]))


def test_two_sizes():
    with pytest.raises(InputError, match="expected 200 x 100 as in the truth, got 20 x 10 in the prediction"):
        compared([truth_row("a.jpg", [])], [predicted_row("a.jpg", [], size=(20, 10))])


@pytest.mark.parametrize(
    ("truth", "predicted"),
    [
        ([], []),
        ([truth_row("a.jpg", [])], []),
        ([truth_row("a.jpg", [])], [predicted_row("a.jpg", [])]),
        ([], [predicted_row("a.jpg", [[0, 0, 5, 5]])]),
        ([truth_row("a.jpg", [[0, 0, 5, 5]])], []),
        ([truth_row("a.jpg", [[0, 0, 5, 5]], (0, 0))], [predicted_row("a.jpg", [[0, 0, 5, 5]], size=(0, 0))]),
        ([truth_row("a.jpg", [[300, 0, 500, 5]])], [predicted_row("a.jpg", [[300, 0, 500, 5]])]),
    ],
)
def test_nothing_and_little(truth, predicted):
    found = measure(compared(truth, predicted), Settings(leak_rate=0.01))
    json.dumps(asdict(found), allow_nan=False)
    errors_by_class({"found": (compared(truth, predicted), 0.5)})


@pytest.mark.parametrize("many", ["truth", "predicted"])
def test_many_boxes_in_one_image(many):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 4000, (20_000, 2))
    crowd = np.concatenate([corners, corners + rng.uniform(5, 60, (20_000, 2))], axis=1)
    few = crowd[:50] + 0.25
    truth, seen = (crowd, few) if many == "truth" else (few, crowd)
    comparison = compared(
        [truth_row("a.jpg", truth, (4096, 4096))],
        [predicted_row("a.jpg", seen, rng.random(len(seen)), size=(4096, 4096))],
    )
    found = measure(comparison, Settings(0.0, margin=0.0))
    expected = coverage(np.float32(truth), np.float32(seen))
    assert found.mean_coverage == pytest.approx(expected.mean(), abs=0.002 if many == "truth" else 0.02)


def test_difficulty():
    truth = [truth_row("e/a.jpg", [[0, 0, 9, 9], [20, 0, 29, 9]]), truth_row("e/b.jpg", [[0, 0, 9, 9]])]
    comparison = compared(truth, [])
    masks = counted_faces(comparison, {"a.jpg": {"easy": [1], "hard": [0, 1]}, "e/b.jpg": {"hard": [0]}, "c.jpg": {}})
    assert masks["easy"].tolist() == [False, True, False]
    assert masks["hard"].tolist() == [True, True, True]
    with pytest.raises(InputError, match=r"'a.jpg': easy: expected a face from 0 to 1, got 2"):
        counted_faces(comparison, {"a.jpg": {"easy": [2]}})
    twice = compared([truth_row("e/a.jpg", []), truth_row("f/a.jpg", [])], [])
    with pytest.raises(InputError, match=r"fits 'e/a.jpg' and 'f/a.jpg'"):
        counted_faces(twice, {"a.jpg": {}})


def test_wider_faces_against_the_loops(test_data):
    """Real truth with its three difficulties; detections are the truth moved, doubled and thinned out."""
    path = test_data / "face" / "wider_face_val_bbx_gt.txt"
    truth, _ = read_table(Reading(path, "wider", load_format("wider")))
    rng = np.random.default_rng(0)
    rows, plain = [], []
    levels = json.loads((test_data / "face" / "val_difficulty.json").read_text())
    for record in truth.to_pylist():
        true = FaceRow.from_record(record)
        boxes = true.faces.boxes_xyxy
        moved = np.repeat(boxes, rng.integers(0, 3, len(boxes)), axis=0)
        moved = np.float32(moved + rng.normal(0, 0.12, moved.shape) * (moved[:, 2:] - moved[:, :2]).repeat(2, axis=1))
        moved = moved[(moved[:, :2] < moved[:, 2:]).all(axis=1)]
        faces = Faces.make(moved, rng.random(len(moved)))
        rows.append(FaceRow(true.image_id, 0, 0, "detected", faces, NOTHING))
        plain.append((true.image_id, boxes.astype(float).tolist(), faces))
    comparison = compare(truth, faces_table(rows))
    found = average_precisions(comparison, counted_faces(comparison, levels))
    assert {precision.difficulty for precision in found} == {"easy", "medium", "hard"}
    for precision in found:
        images = [
            (boxes, set(levels[name][precision.difficulty]), faces.boxes_xyxy.tolist(), faces.scores.tolist())
            for name, boxes, faces in plain
        ]
        assert precision.faces == sum(len(places) for _, places, _, _ in images)
        assert precision.ap == pytest.approx(wider_ap(images), abs=1e-9)
