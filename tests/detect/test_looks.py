"""What decides where a detector looks, with networks that see what the test says."""

import numpy as np
import pytest

from unface.detect.cascade import with_closer_look, with_company
from unface.detect.looks import (
    LONG_SIDE_PX,
    as_batch,
    first_and_reduced,
    first_scale,
    fused,
    in_image,
    resized,
)


def seen(*rows):
    """Boxes and scores from rows x0, y0, x1, y1, score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return table[:, :4], table[:, 4]


def network(answers):
    """A look that answers by scale, and the list of scales it was asked for."""
    asked = []

    def look(_image, scale):
        asked.append(scale)
        return answers.get(len(asked), seen())

    return look, asked


def blank(height, width):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(("width", "scale"), [(1, 1), (500, 1), (LONG_SIDE_PX, 1), (2 * LONG_SIDE_PX, 0.5)])
def test_first_scale(width, scale):
    assert first_scale(blank(10, width)) == scale


@pytest.mark.parametrize(("size_wh", "looks"), [((640, 480), 1), ((480, 641), 2), ((4000, 3000), 2)])
def test_large_images_are_looked_at_twice(size_wh, looks):
    look, asked = network({})
    boxes, _ = first_and_reduced(look, blank(*size_wh[::-1]))
    assert len(asked) == looks
    assert len(boxes) == 0
    assert all(scale * max(size_wh) in (320, *size_wh, LONG_SIDE_PX) for scale in asked)


@pytest.mark.parametrize(
    ("first", "reduced", "count"),
    [
        (seen(), seen((0, 0, 300, 300, 0.9)), 1),
        (seen(), seen((0, 0, 200, 200, 0.9)), 0),
        (seen((20, 10, 280, 300, 0.5)), seen((0, 0, 300, 300, 0.8)), 1),
        (seen((20, 10, 280, 300, 0.2)), seen((0, 0, 300, 300, 0.8)), 1),
        (seen((50, 50, 100, 100, 0.9)), seen((0, 0, 300, 300, 0.8)), 2),
        (seen((500, 500, 600, 600, 0.9)), seen((0, 0, 300, 300, 0.9)), 2),
    ],
)
def test_the_reduced_look_gives_only_large_boxes_that_are_new(first, reduced, count):
    look, _ = network({1: first, 2: reduced})
    boxes, scores = first_and_reduced(look, blank(800, 1000))
    assert len(boxes) == len(scores) == count


@pytest.mark.parametrize(("first_score", "stays"), [(0.5, True), (0.2, False)])
def test_a_sure_box_of_the_first_look_is_not_replaced(first_score, stays):
    look, _ = network({1: seen((20, 10, 280, 300, first_score)), 2: seen((0, 0, 300, 300, 0.8))})
    boxes, scores = first_and_reduced(look, blank(800, 1000))
    assert (boxes[0].tolist() == [20, 10, 280, 300]) == stays
    assert scores[0] == pytest.approx(first_score if stays else 0.8)


@pytest.mark.parametrize(
    ("first", "closer"),
    [
        (seen(), False),
        (seen((0, 0, 20, 31, 0.9)), True),
        (seen((0, 0, 20, 33, 0.9)), False),
        (seen((0, 0, 20, 20, 0.29)), False),
        (seen((0, 0, 90, 90, 0.9), (100, 0, 120, 20, 0.5)), True),
    ],
)
def test_a_small_sure_face_asks_for_a_closer_look(first, closer):
    look, asked = network({1: seen((200, 200, 210, 212, 0.8))})
    boxes, _ = with_closer_look(look, blank(400, 500), 1.0, first)
    assert asked == [2.0] * closer
    assert len(boxes) == len(first[0]) + closer


@pytest.mark.parametrize(
    ("long_side", "scale", "asked"), [(1024, 1.0, [2.0]), (1600, 1.0, [1.28]), (1700, 1.0, []), (4000, 0.512, [])]
)
def test_the_closer_look_is_capped(long_side, scale, asked):
    look, scales = network({})
    with_closer_look(look, blank(100, long_side), scale, seen((0, 0, 12, 12, 0.9)))
    assert scales == asked


def test_company():
    drawn = with_company(np.array([0.9, 0.2], np.float32))
    np.testing.assert_allclose(drawn, [0.9, 0.2**0.7 * 0.9**0.3], rtol=1e-6)
    assert drawn.dtype == np.float32
    assert len(with_company(np.zeros(0, np.float32))) == 0


def test_company_keeps_order_and_the_best():
    scores = np.sort(np.random.default_rng(0).uniform(0.1, 1, 50).astype(np.float32))
    drawn = with_company(scores)
    assert (np.diff(drawn) > 0).all()
    assert drawn[-1] == pytest.approx(scores[-1])
    assert (drawn >= scores - 1e-6).all()


def test_fused_keeps_the_better_of_two_that_overlap():
    boxes, scores = fused(seen((0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.3)), seen((1, 1, 11, 11, 0.8)))
    assert boxes.tolist() == [[1, 1, 11, 11], [50, 50, 60, 60]]
    np.testing.assert_allclose(scores, [0.8, 0.3])


@pytest.mark.parametrize(
    ("shape", "scale", "sides"),
    [((1, 1), 1.0, (32, 32)), ((375, 500), 1.0, (384, 512)), ((64, 96), 1.0, (64, 96)), ((64, 64), 2.0, (128, 128))],
)
def test_resized_to_multiples_of_32(shape, scale, sides):
    image = resized(blank(*shape), scale)
    assert image.shape == (*sides, 3)
    assert as_batch(image[None]).shape == (1, 3, *sides)


def test_boxes_come_back_to_the_image():
    image, small = blank(300, 500), blank(150, 100)
    boxes = in_image(np.float32([[10, 20, 100, 150]]), small, image)
    np.testing.assert_allclose(boxes, [[50, 40, 500, 300]])
