import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.boxes import coverage, union_area
from unface.errors import InputError
from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.faces.merging import merge_faces

corner = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 12)] * 2)
boxes = st.lists(corner.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), max_size=6)


def table(*rows):
    return faces_table(
        [FaceRow(name, 64, 48, status, Faces.make(b, source=source)) for name, status, source, b in rows]
    )


def merged(a, b, rule, iou=0.5):
    result, counts = merge_faces(table(*a), table(*b), rule, iou)
    return {row.image_id: row for row in face_rows(result)}, counts


A = [("both", "detected", "yunet", [[0, 0, 10, 10], [30, 30, 40, 40]]), ("a", "detected", "yunet", [[1, 1, 2, 2]])]
B = [("b", "detected", "human", []), ("both", "reviewed", "human", [[1, 0, 11, 10], [50, 30, 60, 40]])]


def test_union_has_every_face_and_pairs_become_the_box_around_both():
    rows, counts = merged(A, B, "union")
    assert list(rows) == ["both", "a", "b"]
    row = rows["both"]
    assert row.faces.boxes_xyxy.tolist() == [[0, 0, 11, 10], [30, 30, 40, 40], [50, 30, 60, 40]]
    assert row.faces.sources == ("yunet+human", "yunet", "human")
    assert row.status == "detected"
    assert counts == {"images in both": 1, "faces in both": 1}


def test_intersection_has_what_both_have():
    rows, counts = merged(A, B, "intersection")
    assert list(rows) == ["both"]
    assert rows["both"].faces.boxes_xyxy.tolist() == [[0, 0, 11, 10]]
    assert counts == {"images in both": 1, "faces in both": 1, "boxes left out": 2, "images in one only, left out": 2}


def test_replace_takes_whole_images():
    rows, _ = merged(A, B, "replace")
    assert list(rows) == ["both", "a", "b"]
    assert rows["both"].faces.boxes_xyxy.tolist() == [[1, 0, 11, 10], [50, 30, 60, 40]]
    assert rows["both"].status == "reviewed"
    assert rows["a"].faces.boxes_xyxy.tolist() == [[1, 1, 2, 2]]


def test_a_box_inside_another_is_left_out_unless_its_label_differs():
    rows, counts = merged([("x", "detected", "m", [[0, 0, 40, 40]])], [("x", "detected", "n", [[5, 5, 9, 9]])], "union")
    assert rows["x"].faces.boxes_xyxy.tolist() == [[0, 0, 40, 40]]
    assert counts["boxes left out"] == 1
    a = faces_table([FaceRow("x", 64, 48, "detected", Faces.make([[0, 0, 40, 40]], label="nsfw"))])
    b = faces_table([FaceRow("x", 64, 48, "detected", Faces.make([[5, 5, 9, 9]]))])
    (row,) = face_rows(merge_faces(a, b, "union")[0])
    assert row.faces.labels == ("nsfw", "face")


def test_an_image_that_failed_is_taken_from_the_other():
    good, bad = [("x", "detected", "m", [[0, 0, 4, 4]])], [("x", "failed", "m", [])]
    for a, b in ((good, bad), (bad, good)):
        rows, _ = merged(a, b, "union")
        assert rows["x"].status == "detected"
        assert len(rows["x"].faces) == 1
    assert merged(bad, bad, "union")[0]["x"].status == "failed"


def test_two_sizes_of_one_image_are_refused():
    a = faces_table([FaceRow("x", 64, 48, "detected", Faces.make([[0, 0, 4, 4]]))])
    b = faces_table([FaceRow("x", 48, 64, "detected")])
    with pytest.raises(InputError, match=r"x: expected one size in both files, got \[\(48, 64\), \(64, 48\)\]"):
        merge_faces(a, b, "union")
    unknown = faces_table([FaceRow("x", 0, 0, "detected")])
    (row,) = face_rows(merge_faces(unknown, a, "union")[0])
    assert (row.width, row.height) == (64, 48)


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="'xor': expected one of union, intersection, replace"):
        merge_faces(table(), table(), "xor")


@pytest.mark.parametrize("rule", ["union", "intersection", "replace"])
def test_empty_tables(rule):
    assert len(merge_faces(table(), table(), rule)[0]) == 0


@given(boxes, boxes, st.sampled_from([0.3, 0.5, 0.9]))
def test_all_that_either_hides_is_hidden_by_the_union(a, b, threshold):
    rows, _ = merged([("x", "detected", "m", a)], [("x", "detected", "n", b)], "union", threshold)
    faces = rows["x"].faces.boxes_xyxy
    both = np.array([*a, *b], np.float32).reshape(-1, 4)
    assert (coverage(both, faces) > 1 - 1e-9).all()
    assert len(faces) <= len(both)
    again, _ = merged([("x", "detected", "m", faces)], [("x", "detected", "m", faces)], "union", threshold)
    assert union_area(again["x"].faces.boxes_xyxy) == union_area(faces)


@given(boxes, boxes)
def test_with_itself_nothing_changes_but_for_boxes_inside_others(a, b):
    rows, _ = merged([("x", "detected", "m", a)], [("x", "detected", "m", a)], "intersection")
    assert sorted(rows["x"].faces.boxes_xyxy.tolist()) == sorted([list(map(float, box)) for box in a])
