"""What decides where a detector looks, with networks that see what the test says."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.detect.looks import (
    LONG_SIDE_PX,
    as_batch,
    first_and_reduced,
    first_scale,
    fused,
    in_image,
    is_whole,
    resized,
    resized_to,
    tiles,
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


def test_fused_keeps_the_better_of_two_that_overlap():
    boxes, scores = fused(seen((0, 0, 10, 10, 0.5), (50, 50, 60, 60, 0.3)), seen((1, 1, 11, 11, 0.8)))
    assert boxes.tolist() == [[1, 1, 11, 11], [50, 50, 60, 60]]
    np.testing.assert_allclose(scores, [0.8, 0.3])


@pytest.mark.parametrize(
    ("shape", "scale", "sides"),
    [
        ((1, 1), 1.0, (32, 32)),
        ((375, 500), 1.0, (384, 512)),
        ((64, 96), 1.0, (64, 96)),
        ((64, 64), 2.0, (128, 128)),
        ((330, 500), 1.5, (480, 736)),
        ((330, 500), 0.5, (192, 256)),
        ((33, 65), 1.1, (64, 96)),
    ],
)
def test_resized_to_multiples_of_32(shape, scale, sides):
    image = resized(blank(*shape), scale)
    assert image.shape == (*sides, 3)
    assert as_batch(image[None]).shape == (1, 3, *sides)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.integers(0, 99))
def test_reducing_by_a_power_of_two_is_the_mean_of_what_falls_on_a_pixel(width, height, halvings, seed):
    times = 1 << halvings
    image = np.random.default_rng(seed).integers(0, 256, (height * times, width * times, 3), np.uint8)
    means = image.reshape(height, times, width, times, 3).mean(axis=(1, 3))
    assert np.abs(resized_to(image, width, height) - means).max() <= 0.5


@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.5, 1), st.randoms(use_true_random=False))
def test_no_pixel_of_a_larger_image_is_left_out(width, height, scale, random):
    image = np.zeros((height, width, 3), np.uint8)
    image[random.randrange(height), random.randrange(width)] = 255
    assert resized_to(image, round(width * scale), round(height * scale)).any()


def test_boxes_come_back_to_the_image():
    image, small = blank(300, 500), blank(150, 100)
    boxes = in_image(np.float32([[10, 20, 100, 150]]), small, image)
    np.testing.assert_allclose(boxes, [[50, 40, 500, 300]])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2048, 2048), (2080, 32), (4000, 3008), (30016, 2080)])
def test_tiles_cover_the_image_and_overlap_by_a_face(width, height):
    parts = tiles(width, height)
    assert len(parts) == 1 or max(width, height) > LONG_SIDE_PX
    for low, high, side in ((0, 2, width), (1, 3, height)):
        spans = sorted({(part[low], part[high]) for part in parts})
        assert spans[0][0] == 0
        assert spans[-1][1] == side
        assert all(end - start <= LONG_SIDE_PX for start, end in spans)
        assert all(end - start >= 200 for (_, end), (start, _) in itertools.pairwise(spans))
        assert all(start % 32 == 0 for start, _ in spans)
    assert len(parts) == len(set(parts))


def test_a_face_cut_by_a_tile_is_its_neighbours():
    boxes = np.float32([[10, 10, 50, 50], [-3, 10, 40, 50], [80, 10, 101, 50], [10, -5, 50, 50], [10, 60, 50, 101]])
    assert is_whole(boxes, (0, 0, 100, 100), 300, 300).tolist() == [True, True, False, True, False]
    assert is_whole(boxes, (200, 200, 300, 300), 300, 300).tolist() == [True, False, True, False, True]
    assert is_whole(boxes, (0, 0, 100, 100), 100, 100).all()
