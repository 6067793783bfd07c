"""Windows around boxes: where they lie, and what is read from them."""

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from unface.boxes import iou
from unface.detect.windows import Windows, best_of_each, mirror


def ramp(height, width):
    """An image whose red is 4 x and whose green is 4 y, up to 255."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.clip(np.stack([4 * x, 4 * y, 0 * x], axis=-1), 0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    x=st.floats(-20, 500),
    y=st.floats(-20, 400),
    w=st.floats(1, 600),
    h=st.floats(1, 600),
    face=st.sampled_from([28, 40]),
)
def test_boxes_go_there_and_back(x, y, w, h, face):
    box = np.float32([[x, y, x + w, y + h]])
    windows = Windows(np.zeros((400, 500, 3), np.uint8), box, 96, face)
    assert windows.batch_rgb.shape == (1, 96, 96, 3)
    np.testing.assert_allclose(windows.in_image(windows.boxes_xyxy), box, atol=0.02)
    sides = windows.boxes_xyxy[0, 2:] - windows.boxes_xyxy[0, :2]
    assert np.sqrt(sides.prod()) == pytest.approx(face, rel=1e-3)


@pytest.mark.parametrize("centre", [(30, 30), (1, 1), (59, 2), (31, 58)])
@pytest.mark.parametrize("size", [3, 8, 14, 20])
def test_a_window_shows_what_its_coordinates_say(centre, size):
    """Where a window's point lies in the image, the image has the window's colour."""
    image = ramp(60, 60)
    box = np.float32([[centre[0] - size / 2, centre[1] - size / 2, centre[0] + size / 2, centre[1] + size / 2]])
    windows = Windows(image, box, 64, 28)
    points = np.float32([[x, y, x + 1, y + 1] for x in range(4, 60, 9) for y in range(4, 60, 9)])
    many = Windows(image, np.repeat(box, len(points), axis=0), 64, 28)
    there = many.in_image(points)
    inside = ((there[:, :2] > 1) & (there[:, 2:] < 59)).all(axis=1)
    assert inside.any()
    for point, place in zip(points[inside].astype(int), there[inside], strict=True):
        red, green, _ = windows.batch_rgb[0, point[1], point[0]].astype(float)
        x, y = (place[:2] + place[2:]) / 2 - 0.5
        assert red == pytest.approx(4 * x, abs=6)
        assert green == pytest.approx(4 * y, abs=6)


def test_a_window_stays_in_the_image_where_it_fits():
    image = np.full((100, 200, 3), 255, np.uint8)
    boxes = np.float32([[0, 0, 20, 20], [180, 80, 200, 100], [-10, 40, 10, 60]])
    assert (Windows(image, boxes, 64, 28).batch_rgb == 255).all()


def test_around_a_small_image_is_black():
    image = np.full((20, 200, 3), 255, np.uint8)
    window = Windows(image, np.float32([[90, 0, 110, 20]]), 64, 28).batch_rgb[0]
    assert (window[:, 32] == 255).any()
    assert (window[0] == 0).all()
    assert (window[-1] == 0).all()
    assert (window.max(axis=(1, 2)) == 255).mean() == pytest.approx(28 / 64, abs=0.05)


def test_shrinking_averages():
    image = np.zeros((512, 512, 3), np.uint8)
    image[::2] = 255
    window = Windows(image, np.float32([[100, 100, 324, 324]]), 64, 28).batch_rgb[0]
    assert np.abs(window.astype(int) - 127).max() < 20


def test_no_boxes():
    windows = Windows(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4), np.float32), 64, 28)
    assert windows.batch_rgb.shape == (0, 64, 64, 3)
    assert len(windows.in_image(windows.boxes_xyxy)) == 0
    boxes, scores = best_of_each([], windows.boxes_xyxy)
    assert len(boxes) == len(scores) == 0


def test_the_mirror():
    image = np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)
    windows = Windows(image, np.float32([[20, 30, 50, 70]]), 64, 28)
    batch, boxes = windows.mirrored()
    np.testing.assert_array_equal(batch[0], cv2.flip(windows.batch_rgb[0], 1))
    np.testing.assert_allclose(mirror(boxes, 64), windows.boxes_xyxy, rtol=1e-6)
    np.testing.assert_allclose(
        boxes[0, 2] - boxes[0, 0], windows.boxes_xyxy[0, 2] - windows.boxes_xyxy[0, 0], rtol=1e-5
    )


def test_the_best_box_at_the_place_counts():
    asked = np.float32([[10, 10, 30, 30], [10, 10, 30, 30], [10, 10, 30, 30]])
    near, far = [12, 12, 31, 31], [40, 40, 60, 60]
    seen = [
        (np.float32([far, near, [10, 10, 30, 31]]), np.float32([0.9, 0.6, 0.5])),
        (np.float32([far]), np.float32([0.9])),
        (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)),
    ]
    assert iou(np.float32([near]), asked)[0, 0] > 0.3
    boxes, scores = best_of_each(seen, asked)
    assert boxes.tolist() == [near, [10, 10, 30, 30], [10, 10, 30, 30]]
    np.testing.assert_allclose(scores, [0.6, 0, 0])
