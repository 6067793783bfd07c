"""What obfuscation looks at, and that decoding no more than that makes the same file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import make_faces
from images.exact_files import every_kind, turned
from unface.errors import ImageError
from unface.images import decode, decode_region, encode_region
from unface.obfuscate import Obfuscation, obfuscate
from unface.obfuscate.methods import reach
from unface.obfuscate.photo import obfuscate_photo

EVERY = [
    Obfuscation(),
    Obfuscation(preset="paper"),
    Obfuscation(preset="imagenet"),
    Obfuscation("overlay"),
    Obfuscation("mosaic"),
]
KINDS = sorted(every_kind(8, 8))
EDGES = {
    "left top": [[0, 0, 9, 11]],
    "right top": [[75, 0, 83, 9]],
    "left bottom": [[0, 37, 9, 45]],
    "right bottom": [[76, 38, 83, 45]],
    "all corners": [[0, 0, 9, 11], [75, 0, 83, 9], [0, 37, 9, 45], [76, 38, 83, 45]],
    "whole": [[0, 0, 83, 45]],
    "larger": [[-40, -30, 120, 99]],
    "tiny": [[40.2, 20.1, 40.4, 20.3]],
    "many": [[x, y, x + 6, y + 5] for x in range(0, 80, 8) for y in range(0, 44, 9)],
    "nested": [[10, 10, 60, 40], [20, 15, 30, 25], [58, 38, 70, 44]],
}


def method_id(obfuscation):
    return f"{obfuscation.method}-{obfuscation.preset}"


def files_by_both_ways(data, boxes_xyxy, obfuscation):
    """The file that decoding everything leads to, and the one that decoding the reach leads to."""
    results = []
    whole = decode(data)
    row = make_faces("a.jpg", boxes_xyxy, *whole.upright_size)
    part = decode_region(data, lambda header: reach(row.faces.boxes_xyxy, obfuscation, header.upright_size))
    for photo in (whole, part):
        hidden = obfuscate_photo(photo, row, obfuscation)
        results.append((*encode_region(photo, hidden.pixels, hidden.touched_xyxy), hidden.min_face_weight))
    return results, part


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("obfuscation", EVERY, ids=method_id)
def test_the_same_file(obfuscation, edge):
    for kind, data in every_kind(45, 83, interval=3).items():
        (whole, part), photo = files_by_both_ways(data, EDGES[edge], obfuscation)
        assert part == whole
        assert part[1] == "region"
        assert (photo.known_xyxy is None) == (kind in ("cmyk", "ycck"))


@st.composite
def cases(draw):
    kind, high, wide = draw(st.sampled_from(KINDS)), draw(st.integers(1, 99)), draw(st.integers(1, 99))
    data = every_kind(high, wide, draw(st.integers(0, 9)), draw(st.integers(5, 100)), draw(st.integers(0, 4)))[kind]
    data = turned(data, draw(st.integers(1, 8)))
    wide, high = decode(data).upright_size
    return data, draw(boxes_in(wide, high))


@st.composite
def boxes_in(draw, wide, high):
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        x, y = draw(st.floats(-9, wide - 0.5, width=32)), draw(st.floats(-9, high - 0.5, width=32))
        size = draw(st.sampled_from([0.3, 3, 12, 40, 150]))
        boxes.append([x, y, max(x, 0) + draw(st.floats(0.25, 1)) * size, max(y, 0) + draw(st.floats(0.25, 1)) * size])
    return boxes


@settings(max_examples=100, deadline=None)
@given(case=cases(), obfuscation=st.sampled_from(EVERY))
def test_the_same_file_of_anything(case, obfuscation):
    (whole, part), _ = files_by_both_ways(*case, obfuscation)
    assert part == whole


@settings(max_examples=200, deadline=None)
@given(data=st.data(), obfuscation=st.sampled_from(EVERY), mode=st.sampled_from(["L", "RGB"]))
def test_pixels_outside_the_reach_change_nothing(data, obfuscation, mode):
    wide, high = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 120))
    boxes = np.array(data.draw(boxes_in(wide, high)), np.float32)
    shape = (high, wide) if mode == "L" else (high, wide, 3)
    one, other = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    within = np.zeros((high, wide), bool)
    for x0, y0, x1, y1 in reach(boxes, obfuscation, (wide, high)):
        assert 0 <= x0 < x1 <= wide
        assert 0 <= y0 < y1 <= high
        within[y0:y1, x0:x1] = True
    other[within] = one[within]
    first, second = (obfuscate(image, boxes, obfuscation, mode) for image in (one, other))
    assert first.min_face_weight == second.min_face_weight
    np.testing.assert_array_equal(first.touched_xyxy, second.touched_xyxy)
    np.testing.assert_array_equal(first.pixels[within], second.pixels[within])
    np.testing.assert_array_equal(second.pixels[~within], other[~within])
    for x0, y0, x1, y1 in first.touched_xyxy:
        assert within[y0:y1, x0:x1].all()


def test_reach_of_nothing():
    for obfuscation in (*EVERY, Obfuscation("none")):
        assert reach([], obfuscation, (9, 9)).shape == (0, 4)
    assert reach([[1, 1, 5, 5]], Obfuscation("none"), (9, 9)).shape == (0, 4)
    assert reach([[5, 5, 5, 9]], Obfuscation(preset="paper"), (9, 9)).shape == (0, 4)
    assert reach([[20, 20, 25, 29]], Obfuscation(), (9, 9)).shape == (0, 4)


def test_reach_refuses_what_obfuscate_refuses():
    for boxes in ([[np.nan, 0, 1, 1]], [[0, 0, 1e9, 1]], [[1, 2, 3]]):
        with pytest.raises(ImageError):
            reach(boxes, Obfuscation(), (9, 9))


def test_reach_is_far_from_the_whole_image():
    """Else nothing would be won."""
    (hull,) = reach([[100, 100, 140, 150]], Obfuscation(), (1000, 800)).tolist()
    assert (hull[2] - hull[0]) * (hull[3] - hull[1]) < 0.04 * 1000 * 800


@pytest.mark.parametrize("obfuscation", EVERY, ids=method_id)
def test_all_real_files(test_data, obfuscation):
    paths = sorted((test_data / "imagenet_val" / "images").rglob("*.JPEG"))
    for number, path in enumerate(paths):
        data = path.read_bytes()
        wide, high = decode(data).upright_size
        x, y, size = (
            number * 37 % (wide * 2 // 3),
            number * 53 % (high * 2 // 3),
            8 + number * 7 % (min(wide, high) // 3),
        )
        boxes = [[x, y, min(x + size, wide), min(y + size, high)], [0, 0, 20, 25], [wide - 20, high - 25, wide, high]]
        (whole, part), _ = files_by_both_ways(data, boxes, obfuscation)
        assert part == whole
