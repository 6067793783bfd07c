import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.boxes import iou
from unface.faces.matching import match

corner = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 12)] * 2)
boxes = st.lists(corner.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), max_size=6).map(
    lambda rows: np.array(rows, np.float32).reshape(-1, 4)
)


def test_the_best_pair_is_taken_first():
    a = np.array([[0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
    b = np.array([[1, 0, 11, 10], [40, 40, 50, 50]], np.float32)
    assert match(a, b, 0.5).tolist() == [[1, 0]]
    assert match(a, b[:1], 0.5, ["face", "nsfw"], ["face"]).tolist() == [[0, 0]]


def test_the_threshold_is_reached_by_equality():
    a, b = np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 0, 10, 20]], np.float32)
    assert match(a, b, 0.5).tolist() == [[0, 0]]
    assert match(a, b, 0.51).tolist() == []


def test_boxes_apart_are_never_paired():
    a, b = np.array([[0, 0, 1, 1]], np.float32), np.array([[5, 5, 6, 6]], np.float32)
    assert match(a, b, 0.0).shape == (0, 2)


@given(boxes, boxes, st.sampled_from([0.1, 0.5, 0.9]))
def test_pairs_are_one_to_one_maximal_and_symmetric(a, b, threshold):
    pairs = match(a, b, threshold)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    overlaps = iou(a, b)
    assert (overlaps[pairs[:, 0], pairs[:, 1]] >= threshold).all()
    left = np.delete(np.delete(overlaps, pairs[:, 0], axis=0), pairs[:, 1], axis=1)
    assert not (left >= threshold).any()
    total = overlaps[pairs[:, 0], pairs[:, 1]]
    assert (np.diff(total) <= 0).all()


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_empty(n, m):
    some = np.array([[0, 0, 1, 1]] * 3, np.float32)
    assert match(some[:n], some[:m], 0.5).shape == (0, 2)
