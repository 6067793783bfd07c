"""Leaks: counted, estimated and by group, against closed forms and simulations."""

import numpy as np
import pyarrow as pa
import pytest

from builders import make_faces
from unface.errors import InputError
from unface.faces import faces_table
from unface.report.leaks import estimated_leaks, group_leaks, rate_of, read_groups, redetected, true_leaks
from unface.verify.stage import VERIFY_SCHEMA

FACE, OTHER = (10, 10, 30, 30), (40, 10, 60, 30)


def verify_table(hidden: list[int], second: list[list[tuple[float, bool]]]) -> pa.Table:
    rows = [
        {
            "image_id": f"{i}.jpg",
            "faces": [{} for _ in range(count)],
            "second": [{"score": score, "covered": covered} for score, covered in marks],
        }
        for i, (count, marks) in enumerate(zip(hidden, second, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=VERIFY_SCHEMA)


def test_a_rate_of_nothing_and_of_no_hits():
    rng = np.random.default_rng(0)
    assert rate_of(np.zeros(3, np.int64), np.zeros(3, np.int64), rng) is None
    rate = rate_of(np.zeros(40, np.int64), np.ones(40, np.int64), rng)
    assert (rate.share, rate.low) == (0, 0)
    assert rate.high == pytest.approx(0.0876, abs=1e-3)  # Wilson of 0 of 40: z^2 / (n + z^2)


def test_clusters_widen_the_limits():
    rng = np.random.default_rng(0)
    numbers = np.full(30, 20, np.int64)
    apart = rate_of(np.full(30, 10, np.int64), numbers, rng)
    together = rate_of(np.repeat([0, 20], 15), numbers, rng)
    assert apart.share == together.share == 0.5
    assert together.high - together.low > 3 * (apart.high - apart.low)


@pytest.mark.parametrize(("first", "second"), [(0.8, 0.6), (0.95, 0.5), (0.6, 0.9)])
def test_independent_detectors_give_the_true_rate(first, second):
    """The assumptions planted, the estimate is right."""
    rng = np.random.default_rng(3)
    hidden, marks = [], []
    for _ in range(400):
        faces = rng.integers(0, 8)
        by_first, by_second = rng.random(faces) < first, rng.random(faces) < second
        hidden.append(int(by_first.sum()))
        marks.append([(0.9, bool(covered)) for covered in by_first[by_second]])
    estimate = estimated_leaks(verify_table(hidden, marks), 0.5)
    assert estimate.share == pytest.approx(1 - first, abs=0.03)
    assert estimate.low < 1 - first < estimate.high


def test_chapman_by_hand():
    """n1 = 9, n2 = 4, m = 3: N = 10 * 5 / 4 - 1 = 11.5."""
    estimate = estimated_leaks(verify_table([9], [[(0.9, True)] * 3 + [(0.9, False)]]), 0.5)
    assert estimate.share == pytest.approx(1 - 9 / 11.5)
    assert estimate.more == pytest.approx(2.5)


def test_false_alarms_and_hard_faces_widen_the_limits():
    """Sure marks are all covered, doubtful ones are not: the limits say how far the answer depends on that."""
    marks = [[(0.9, True)] * 5 + [(0.35, False)] * 2 for _ in range(50)]
    estimate = estimated_leaks(verify_table([5] * 50, marks), 0.5)
    assert estimate.share < 0.01
    assert estimate.high > 0.25


def test_nothing_to_estimate():
    nobody = pa.Table.from_pylist([{"image_id": "a", "faces": [], "second": None}], schema=VERIFY_SCHEMA)
    assert estimated_leaks(nobody, 0.5) is None
    none_seen = estimated_leaks(verify_table([0], [[]]), 0.5)
    assert (none_seen.share, none_seen.low, none_seen.high) == (0, 0, 1)


def test_true_leaks():
    truth = faces_table(
        [make_faces("a.jpg", [FACE, OTHER]), make_faces("b.jpg", []), make_faces("unpublished.jpg", [FACE])]
    )
    recorded = faces_table([make_faces("a.jpg", [(11, 11, 29, 29)]), make_faces("b.jpg", [])])
    leaks = true_leaks(truth, recorded, ["a.jpg", "b.jpg"])
    assert (leaks.images, leaks.unknown) == (2, 1)
    assert (leaks.faces.hits, leaks.faces.number) == (1, 2)
    assert (leaks.with_faces.hits, leaks.with_faces.number) == (1, 1)
    assert leaks.covered == {"0.5": 0.5, "0.75": 0.5, "0.9": 0.0, "0.95": 0.0}  # 18 x 18 of 20 x 20 is .81


def test_groups_and_their_gap():
    rng = np.random.default_rng(0)
    labels, rows = [], []
    for i in range(300):
        group = "ab"[i % 2]
        missed = rng.random() < {"a": 0.3, "b": 0.05}[group]
        rows.append(make_faces(f"{i}.jpg", [] if missed else [FACE]))
        labels.append({"image_id": f"{i}.jpg", "group": group, "box": list(FACE), "subject": f"p{i // 2}"})
    leaks = group_leaks(labels, None, faces_table(rows))
    assert (leaks.worst, leaks.best, leaks.units) == ("a", "b", "people")
    assert leaks.gap_low < 0.25 < leaks.gap_high
    assert leaks.rates["a"].share - leaks.rates["b"].share == pytest.approx(leaks.gap)


def test_groups_take_boxes_from_the_truth():
    labels = [{"image_id": f"{name}.jpg", "group": name, "box": None, "subject": ""} for name in "ab"]
    truth = faces_table([make_faces("a.jpg", [FACE]), make_faces("b.jpg", [FACE])])
    recorded = faces_table([make_faces("a.jpg", [FACE]), make_faces("b.jpg", [])])
    leaks = group_leaks(labels, truth, recorded)
    assert (leaks.gap, leaks.worst, leaks.units) == (1.0, "b", "images")
    with pytest.raises(InputError, match="boxes"):
        group_leaks(labels, None, recorded)
    with pytest.raises(InputError, match="two groups"):
        group_leaks(labels[:1], truth, recorded)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id\na.jpg\n", "columns image_id and group"),
        ("image_id,group\na.jpg,\n", "line 2: expected an image_id and a group"),
        ("image_id,group,x0,y0,x1,y1\na.jpg,x,5,5,1,9\n", "line 2: expected x0 < x1"),
        ("image_id,group,x0,y0,x1,y1\na.jpg,x,5,,1,9\n", "line 2: expected x0 < x1"),
        ("image_id,group,x0,y0,x1,y1\na.jpg,x,nan,1,2,9\n", "line 2: expected x0 < x1"),
    ],
)
def test_bad_group_labels_are_refused(tmp_path, text, message):
    path = tmp_path / "groups.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_groups(path)


def test_group_labels_are_read(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffgroup,image_id,x0,y0,x1,y1,subject\nold,a.jpg,1,2,3,4,p\nyoung,b.jpg,,,,,\n", "utf-8")
    assert read_groups(path) == [
        {"image_id": "a.jpg", "group": "old", "box": [1, 2, 3, 4], "subject": "p"},
        {"image_id": "b.jpg", "group": "young", "box": None, "subject": ""},
    ]
    with pytest.raises(InputError, match="expected a CSV file"):
        read_groups(tmp_path / "missing.csv")


def test_redetection_counts_what_was_looked_at():
    rows = [{"image_id": "a", "faces": [{"score": 0.6}, {"score": 0.2}, {"score": None}]}, {"image_id": "b"}]
    table = pa.Table.from_pylist(rows, schema=VERIFY_SCHEMA)
    assert (redetected(table, "score", 0.5).hits, redetected(table, "score", 0.1).hits) == (1, 2)
    assert redetected(table, "second_score", 0.1) is None
