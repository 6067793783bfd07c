import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from unface import boxes as bx

SIDE = 24


@st.composite
def integer_boxes(draw, most=8):
    found = []
    for _ in range(draw(st.integers(0, most))):
        x0, y0 = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
        found.append([x0, y0, draw(st.integers(x0 + 1, SIDE)), draw(st.integers(y0 + 1, SIDE))])
    return bx.as_boxes(found)


def raster(boxes) -> np.ndarray:
    """The union as a bitmap, drawn by Pillow: an independent truth for integer boxes."""
    image = Image.new("1", (SIDE, SIDE))
    for x0, y0, x1, y1 in boxes.astype(int).tolist():
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=1)
    return np.asarray(image)


@given(integer_boxes())
def test_union_area_counts_pixels(boxes):
    assert bx.union_area(boxes) == raster(boxes).sum()


@given(integer_boxes(), integer_boxes())
def test_coverage_counts_pixels(boxes, by):
    cover = raster(by)
    expected = [(raster(box[None]) & cover).sum() / raster(box[None]).sum() for box in boxes]
    np.testing.assert_allclose(bx.coverage(boxes, by), expected, atol=1e-6)


@given(integer_boxes(), integer_boxes())
def test_iou_counts_pixels(a, b):
    for i, j in np.ndindex(len(a), len(b)):
        one, other = raster(a[i][None]), raster(b[j][None])
        assert bx.iou(a, b)[i, j] == pytest.approx((one & other).sum() / (one | other).sum())


@given(integer_boxes(), st.integers(1, 8))
def test_orient_moves_boxes_as_pillow_moves_pixels(boxes, orientation):
    transpose = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    stored = Image.fromarray(raster(boxes)).crop((0, 0, SIDE, SIDE - 5))
    kept, _ = bx.clip(boxes, SIDE, SIDE - 5)
    upright = stored if orientation == 1 else stored.transpose(transpose[orientation])
    moved = bx.orient(kept, SIDE, SIDE - 5, orientation)
    drawn = raster(moved)[: upright.height, : upright.width]
    assert np.array_equal(drawn, np.asarray(upright))


@pytest.mark.parametrize("orientation", [0, 9, -1])
def test_orient_refuses_what_exif_does_not_know(orientation):
    with pytest.raises(ValueError, match="1 to 8"):
        bx.orient(bx.as_boxes([[0, 0, 1, 1]]), 2, 2, orientation)


@pytest.mark.parametrize(
    "bad",
    [
        [[0, 0, 0, 1]],
        [[0, 0, 1, 0]],
        [[2, 0, 1, 1]],
        [[0, 0, float("nan"), 1]],
        [[0, 0, float("inf"), 1]],
        [[0, 0, 1]],
        [0, 0, 1, 1],
    ],
)
def test_a_bad_box_is_refused(bad):
    with pytest.raises(ValueError, match=r"box(es)?: expected"):
        bx.as_boxes(bad)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([2, 3, 4, 5], [[2, 3, 4, 5]]),
        ([-5, -5, 4, 5], [[0, 0, 4, 5]]),
        ([2, 3, 400, 500], [[2, 3, 10, 8]]),
        ([-1, -1, 11, 9], [[0, 0, 10, 8]]),
        ([10, 0, 12, 5], []),
        ([-3, 0, 0, 5], []),
    ],
)
def test_clip(box, expected):
    kept, mask = bx.clip(bx.as_boxes([box]), 10, 8)
    assert kept.tolist() == expected
    assert mask.tolist() == [bool(expected)]


def test_outer_pixels_hold_every_touched_pixel():
    assert bx.outer_pixels(bx.as_boxes([[1.2, 2.9, 3.0, 3.1], [-4, 5.5, 99, 99]]), 10, 8).tolist() == [
        [1, 2, 3, 4],
        [0, 5, 10, 8],
    ]


def test_enlarge_takes_one_margin_or_one_per_box_or_per_side():
    boxes = bx.as_boxes([[10, 10, 13, 14], [0, 0, 6, 8]])
    assert bx.enlarge(boxes, [[1, 0], [-1, -2]]).tolist() == [[9, 10, 14, 14], [1, 2, 5, 6]]
    assert bx.enlarge(boxes, 1).tolist() == [[9, 9, 14, 15], [-1, -1, 7, 9]]
    assert bx.enlarge(boxes, 0.1 * bx.diagonal(boxes)).tolist() == [[9.5, 9.5, 13.5, 14.5], [-1, -1, 7, 9]]


def greedy(boxes, scores, threshold):
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if bx.iou(boxes[[best]], boxes[[i]])[0, 0] <= threshold]
    return kept


@settings(max_examples=50)
@given(integer_boxes(12), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.7]))
def test_suppression_is_the_greedy_rule(boxes, seed, threshold):
    scores = np.random.default_rng(seed).random(len(boxes)).astype(np.float32)
    assert bx.non_maximum_suppression(boxes, scores, threshold).tolist() == greedy(boxes, scores, threshold)


def test_nothing_is_mutated():
    boxes = bx.as_boxes([[-1, -1, 5, 5], [2, 2, 30, 30]])
    before = boxes.copy()
    boxes.flags.writeable = False
    bx.clip(boxes, 10, 10)
    bx.enlarge(boxes, 2)
    bx.coverage(boxes, boxes)
    bx.union_area(boxes)
    bx.orient(boxes, 10, 10, 6)
    assert np.array_equal(boxes, before)
