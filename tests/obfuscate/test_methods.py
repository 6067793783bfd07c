import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from unface.errors import ImageError, InputError
from unface.obfuscate import Obfuscation, obfuscate

SHAPES = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}
SAFE = Obfuscation()
PUBLISHED = [Obfuscation(preset="imagenet"), Obfuscation(preset="paper")]
EVERY = [SAFE, *PUBLISHED, Obfuscation("overlay"), Obfuscation("mosaic")]
HIDING = [SAFE, Obfuscation("overlay"), Obfuscation("mosaic")]


def method_id(obfuscation):
    return f"{obfuscation.method}-{obfuscation.preset}"


def noise(width, height, mode="RGB", dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, *SHAPES[mode]))
    pixels = values.astype(dtype)
    pixels.flags.writeable = False
    return pixels


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def published_mask(size, boxes_xyxy, true_diagonal):
    """The published code: white mask, black boxes, blurred; and the one sigma of mask and image."""
    mask, largest = Image.new("L", size, "white"), 0.0
    for x0, y0, x1, y1 in boxes_xyxy.tolist():
        if x0 >= x1 or y0 >= y1:
            continue
        side = math.hypot(x1 - x0, y1 - y0) if true_diagonal else max(x1 - x0, y1 - y0)
        largest = max(largest, side)
        corners = [x0 - 0.1 * side, y0 - 0.1 * side, x1 + 0.1 * side, y1 + 0.1 * side]
        ImageDraw.Draw(mask).rectangle(corners, fill="black")
    return mask.filter(ImageFilter.GaussianBlur(0.1 * largest)), 0.1 * largest


def whole_image_blur(pixels, boxes_xyxy, true_diagonal, mode):
    """The published code, on the whole image."""
    image = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    mask, sigma = published_mask(image.size, boxes_xyxy, true_diagonal)
    return np.asarray(Image.composite(image, image.filter(ImageFilter.GaussianBlur(sigma)), mask))


def extended_box(sigma):
    """The kernel of ones with a fraction at each end that has this variance, found by bisection."""

    def kernel(radius):
        whole = int(radius)
        return np.array([radius - whole, *[1.0] * (2 * whole + 1), radius - whole]) / (2 * radius + 1)

    def variance(radius):
        taps = kernel(radius)
        return (taps * (np.arange(len(taps)) - len(taps) // 2) ** 2).sum()

    low, high = 0.0, 2 * sigma + 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if variance(middle) < sigma**2 else (low, middle)
    return kernel(low)


def even_edges(side, full):
    """The safe blur's cells along a side of which `full` pixels would be seen without the image's border."""
    cells = max(1, min(4, int(side // max(4, full / 4))))
    return [side * i // cells for i in range(cells + 1)]


def square_edges(side, cell):
    """The mosaic's cells along a side; a rest under 4 px joins the last."""
    edges = [*range(0, side, cell), side]
    if len(edges) > 2 and edges[-1] - edges[-2] < 4:
        del edges[-2]
    return edges


def faces_of(found, width, height):
    """(Clipped rectangle, full width, full height) of the faces that reach into the image."""
    for x0, y0, x1, y1 in found.astype(np.float64):
        x0, y0, x1, y1 = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
        seen = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if seen[0] < seen[2] and seen[1] < seen[3]:
            yield seen, x1 - x0, y1 - y0


def cell_labels(found, width, height, obfuscation):
    """One label per set of pixels that share their cell in each of the faces; 0 outside all."""
    labels = np.zeros((height, width), np.int64)
    covered = np.zeros((height, width), bool)
    for (x0, y0, x1, y1), full_width, full_height in faces_of(found, width, height):
        if obfuscation.method == "mosaic":
            cell = max(4, math.ceil(max(full_width, full_height) / obfuscation.cells))
            rows, columns = square_edges(y1 - y0, cell), square_edges(x1 - x0, cell)
        else:
            rows, columns = even_edges(y1 - y0, full_height), even_edges(x1 - x0, full_width)
        mine = np.zeros_like(labels)
        for n, ((r0, r1), (c0, c1)) in enumerate(product(pairwise(rows), pairwise(columns)), start=1):
            mine[y0 + r0 : y0 + r1, x0 + c0 : x0 + c1] = n
        covered |= mine > 0
        pairs = np.stack([labels.ravel(), mine.ravel()])
        labels = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(labels.shape)
    return np.where(covered, labels + 1, 0)


def permuted(pixels, labels, seed=0):
    """The image, pixels shuffled among those with the same label; label 0 stays."""
    result, rng = pixels.copy(), np.random.default_rng(seed)
    for label in np.unique(labels[labels > 0]):
        result[labels == label] = rng.permutation(result[labels == label])
    return result


def painted(pixels, labels):
    """Each labelled cell replaced by its mean, rounded half up."""
    result = pixels.copy()
    for label in np.unique(labels[labels > 0]):
        cell = pixels[labels == label].astype(np.int64)
        result[labels == label] = (2 * cell.sum(axis=0) + len(cell)) // (2 * len(cell))
    return result


def outside(shape, rectangles):
    mask = np.ones(shape[:2], bool)
    for x0, y0, x1, y1 in rectangles:
        mask[y0:y1, x0:x1] = False
    return mask


@st.composite
def scenes(draw, modes=tuple(SHAPES), dtype=np.uint8):
    width, height = draw(st.integers(1, 120)), draw(st.integers(1, 120))
    mode = draw(st.sampled_from(modes))
    number = st.floats(-30, 150, width=32)
    side = st.floats(0.125, 160, width=32)
    rows = draw(st.lists(st.tuples(number, number, side, side), min_size=1, max_size=6))
    found = boxes(*[(x, y, x + w, y + h) for x, y, w, h in rows])
    return noise(width, height, mode, dtype, draw(st.integers(0, 9))), found, mode


EDGE_CASES = {
    "one": boxes((30, 20, 70, 60)),
    "on the edge": boxes((0, 0, 20, 30), (80, 50, 100, 80)),
    "partly outside": boxes((-15, -5, 20, 30), (90.5, 10, 130, 30)),
    "outside": boxes((200, 200, 220, 230)),
    "just outside": boxes((-10, 10, -0.5, 30), (100, 10, 110, 30)),
    "whole image": boxes((0, 0, 100, 80)),
    "beyond the image": boxes((-1e6, -1e6, 1e6, 1e6)),
    "sub-pixel": boxes((50.25, 40.25, 50.5, 40.5)),
    "three pixels": boxes((50, 40, 53, 43)),
    "big and tiny": boxes((5, 5, 65, 65), (90, 70, 93, 73)),
    "overlap": boxes((20, 20, 60, 60), (40, 30, 80, 50), (41, 30, 81, 50)),
    "twice": boxes((20, 20, 60, 60), (20, 20, 60, 60)),
    "hundred": boxes(*[(x, y, x + 6, y + 5) for x in range(0, 100, 10) for y in range(0, 80, 8)]),
}
every_case = pytest.mark.parametrize("found", EDGE_CASES.values(), ids=EDGE_CASES.keys())
every_method = pytest.mark.parametrize("obfuscation", EVERY, ids=method_id)


class TestContract:
    @every_method
    @every_case
    @pytest.mark.parametrize("mode", SHAPES)
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_shape_dtype_and_what_is_untouched(self, obfuscation, found, mode, dtype):
        pixels = noise(100, 80, mode, dtype)
        before = pixels.copy()
        result = obfuscate(pixels, found, obfuscation, mode)
        assert result.pixels.shape == pixels.shape
        assert result.pixels.dtype == dtype
        assert not np.shares_memory(result.pixels, pixels)
        assert result.touched_xyxy.dtype == np.int64
        assert (result.touched_xyxy >= 0).all()
        assert (result.touched_xyxy <= [100, 80, 100, 80]).all()
        same = outside(pixels.shape, result.touched_xyxy)
        np.testing.assert_array_equal(result.pixels[same], pixels[same])
        np.testing.assert_array_equal(pixels, before)

    @every_method
    def test_no_boxes_returns_the_given_array(self, obfuscation):
        pixels = noise(20, 10)
        result = obfuscate(pixels, [], obfuscation)
        assert result.pixels is pixels
        assert result.min_face_weight == 1.0
        assert result.touched_xyxy.shape == (0, 4)

    @pytest.mark.parametrize("obfuscation", HIDING, ids=method_id)
    @every_case
    def test_hiding_methods_weigh_one(self, obfuscation, found):
        assert obfuscate(noise(100, 80), found, obfuscation).min_face_weight == 1.0

    @every_method
    @pytest.mark.parametrize("size", [(30_000, 10), (10, 30_000), (40_000, 3), (1, 1)])
    def test_extreme_shapes(self, obfuscation, size):
        pixels = noise(*size)
        result = obfuscate(pixels, [[0, 0, 1, 1], [0, 0, *size]], obfuscation)
        assert result.pixels.shape == pixels.shape

    @pytest.mark.parametrize("obfuscation", HIDING, ids=method_id)
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @settings(deadline=None, max_examples=40)
    @given(data=st.data())
    def test_transposed_view_gives_the_transposed_result(self, obfuscation, dtype, data):
        pixels, found, mode = data.draw(scenes(dtype=dtype))
        turned = obfuscate(pixels.swapaxes(0, 1), found[:, [1, 0, 3, 2]], obfuscation, mode)
        straight = obfuscate(pixels, found, obfuscation, mode)
        difference = turned.pixels.swapaxes(0, 1).astype(int) - straight.pixels
        assert np.abs(difference).max() <= (1 if dtype == np.uint8 else 257)

    def test_a_transposed_view_is_copied_as_it_lies(self):
        """Which is many times faster than straightening it."""
        view = noise(60, 40).swapaxes(0, 1)
        assert obfuscate(view, [[2, 2, 9, 9]], SAFE).pixels.strides == view.strides

    @pytest.mark.parametrize(
        "options",
        [
            {"method": "pixelate"},
            {"preset": "strong"},
            {"preset": ""},
            {"method": "mosaic", "preset": "paper"},
            {"method": "overlay", "color": "pink"},
            {"color": "#12345"},
            {"cells": 0},
            {"cells": 2.5},
        ],
    )
    def test_wrong_options(self, options):
        with pytest.raises(InputError, match=r"expected .* got"):
            Obfuscation(**options)

    def test_other_methods_have_no_preset(self):
        assert Obfuscation("mosaic") == Obfuscation("mosaic", preset="")

    @pytest.mark.parametrize(
        ("pixels", "mode"),
        [
            (np.zeros((4, 4, 3), np.float32), "RGB"),
            (np.zeros((4, 4, 3), np.uint8), "L"),
            (np.zeros((4, 4), np.uint8), "RGB"),
            (np.zeros((0, 4, 3), np.uint8), "RGB"),
            (np.zeros((4, 4, 3), np.uint8), "HSV"),
            (np.zeros((2, 4, 4, 3), np.uint8), "RGB"),
        ],
    )
    def test_wrong_pixels(self, pixels, mode):
        with pytest.raises(ImageError, match=r"expected .* got"):
            obfuscate(pixels, [[0, 0, 1, 1]], SAFE, mode)

    @every_method
    @pytest.mark.parametrize("bad", [[[0, 0, np.nan, 1]], [[0, 0, 1]], [[0, 0, np.inf, 1]], [[0, 0, 1e30, 1]]])
    def test_wrong_boxes(self, obfuscation, bad):
        with pytest.raises(ImageError, match=r"expected .* got"):
            obfuscate(noise(8, 8), bad, obfuscation)

    @pytest.mark.parametrize("obfuscation", HIDING, ids=method_id)
    def test_box_without_area_is_refused(self, obfuscation):
        with pytest.raises(ImageError, match="expected x0 < x1"):
            obfuscate(noise(8, 8), [[3, 3, 3, 5]], obfuscation)

    @pytest.mark.parametrize("obfuscation", PUBLISHED, ids=method_id)
    def test_box_without_area_is_skipped_as_published(self, obfuscation):
        pixels, found = noise(40, 40), boxes((10, 10, 20, 20), (30, 30, 30, 35))
        with_it = obfuscate(pixels, found, obfuscation)
        np.testing.assert_array_equal(with_it.pixels, obfuscate(pixels, found[:1], obfuscation).pixels)
        assert obfuscate(pixels, found[1:], obfuscation).pixels is pixels


class TestPublishedBlur:
    """Identical to the whole-image computation, pixel for pixel."""

    @pytest.mark.parametrize("obfuscation", PUBLISHED, ids=method_id)
    @every_case
    @pytest.mark.parametrize("mode", SHAPES)
    def test_equals_the_whole_image_formula(self, obfuscation, found, mode):
        pixels = noise(100, 80, mode)
        expected = whole_image_blur(pixels, found, obfuscation.preset == "paper", mode)
        np.testing.assert_array_equal(obfuscate(pixels, found, obfuscation, mode).pixels, expected)

    @pytest.mark.parametrize("obfuscation", PUBLISHED, ids=method_id)
    @settings(deadline=None, max_examples=150)
    @given(scene=scenes())
    def test_equals_the_whole_image_formula_anywhere(self, obfuscation, scene):
        pixels, found, mode = scene
        expected = whole_image_blur(pixels, found, obfuscation.preset == "paper", mode)
        np.testing.assert_array_equal(obfuscate(pixels, found, obfuscation, mode).pixels, expected)

    @pytest.mark.parametrize("obfuscation", PUBLISHED, ids=method_id)
    def test_transposed_view(self, obfuscation):
        """Compared with Pillow on the transposed image: its rounding favours rows, by up to 2 levels."""
        pixels, found = noise(80, 100).swapaxes(0, 1), EDGE_CASES["big and tiny"]
        expected = whole_image_blur(np.ascontiguousarray(pixels), found, obfuscation.preset == "paper", "RGB")
        np.testing.assert_array_equal(obfuscate(pixels, found, obfuscation).pixels, expected)

    def test_faces_far_apart_share_one_sigma_and_no_hull(self):
        pixels, found = noise(900, 700), boxes((20, 30, 70, 80), (800, 600, 812, 612), (300, 20, 310, 40))
        result = obfuscate(pixels, found, PUBLISHED[0])
        np.testing.assert_array_equal(result.pixels, whole_image_blur(pixels, found, False, "RGB"))
        assert len(result.touched_xyxy) == 3
        assert (result.touched_xyxy[:, 2:] - result.touched_xyxy[:, :2]).max() < 100

    @pytest.mark.parametrize("gap", range(28, 44))
    def test_neighbours_are_blurred_from_the_original(self, gap):
        """Apart enough to be computed one by one, near enough that one's blur looks at the other."""
        pixels, found = noise(180, 70), boxes((20, 15, 60, 55), (60 + gap, 15, 100 + gap, 55))
        result = obfuscate(pixels, found, PUBLISHED[0])
        np.testing.assert_array_equal(result.pixels, whole_image_blur(pixels, found, False, "RGB"))

    @every_case
    @pytest.mark.parametrize("mode", ["L", "LA", "RGB"])
    def test_sixteen_bits_are_the_same_filter_in_floating_point(self, found, mode):
        if np.abs(found).max() > 1000:
            pytest.skip("a kernel of 100,000 taps")
        pixels = noise(100, 80, mode, np.uint16)
        mask, sigma = published_mask((100, 80), found, True)
        blurred = pixels.astype(np.float64)
        for axis in (1, 1, 1, 0, 0, 0):
            blurred = ndimage.convolve1d(blurred, extended_box(sigma / 3**0.5), axis, mode="nearest")
        weight = 1 - np.asarray(mask) / 255
        weight = weight if pixels.ndim == 2 else weight[:, :, None]
        expected = blurred * weight + pixels * (1 - weight)
        result = obfuscate(pixels, found, PUBLISHED[1], mode).pixels
        assert np.abs(result - expected).max() <= 1

    @pytest.mark.parametrize(
        ("ratio", "at_centre", "mean"),
        [(0.5, 0.0, 0.15), (0.33, 0.08, 0.29), (0.25, 0.26, 0.41), (0.2, 0.42, 0.52), (0.1, 0.80, 0.82)],
    )
    def test_small_faces_beside_a_big_one_leak(self, ratio, at_centre, mean):
        """Weight of the original, read off a checkerboard, whose blur is flat grey."""
        board = (np.indices((600, 900)).sum(axis=0) % 2 * 255).astype(np.uint8)
        side = round(200 * ratio)
        found = boxes((100, 100, 300, 300), (700, 400, 700 + side, 400 + side))
        result = obfuscate(board, found, PUBLISHED[0], "L")
        original = np.abs(result.pixels.astype(int) - 127.5) / 127.5
        small = original[400 : 400 + side, 700 : 700 + side]
        assert small[side // 2, side // 2] == pytest.approx(at_centre, abs=0.02)
        assert small[side // 2, side // 2] == pytest.approx(1 - math.erf(6 * ratio / 2**0.5) ** 2, abs=0.02)
        assert small.mean() == pytest.approx(mean, abs=0.02)
        everywhere = np.concatenate([small.ravel(), original[100:300, 100:300].ravel()])
        assert result.min_face_weight == pytest.approx(1 - everywhere.max(), abs=0.01)
        safe = obfuscate(board, found, SAFE, "L").pixels[400 : 400 + side, 700 : 700 + side].astype(int)
        assert np.abs(np.diff(safe, 2, axis=0)).max() <= 2

    def test_even_one_face_keeps_a_third_at_its_corners(self):
        result = obfuscate(noise(400, 400), boxes((100, 100, 300, 300)), PUBLISHED[0])
        assert result.min_face_weight == pytest.approx(0.70, abs=0.02)


class TestWhatSurvives:
    """Nothing but the averages of whole cells."""

    averaging = pytest.mark.parametrize(
        "obfuscation", [SAFE, Obfuscation("mosaic"), Obfuscation("mosaic", cells=3)], ids=repr
    )

    @averaging
    @every_case
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_pixels_shuffled_within_cells_give_the_same_bytes(self, obfuscation, found, dtype):
        pixels = noise(100, 80, "RGB", dtype)
        shuffled = permuted(pixels, cell_labels(found, 100, 80, obfuscation))
        expected = obfuscate(pixels, found, obfuscation).pixels
        np.testing.assert_array_equal(obfuscate(shuffled, found, obfuscation).pixels, expected)

    @averaging
    @settings(deadline=None, max_examples=60)
    @given(scene=scenes(), seed=st.integers(0, 3))
    def test_pixels_shuffled_within_cells_give_the_same_bytes_anywhere(self, obfuscation, scene, seed):
        pixels, found, mode = scene
        labels = cell_labels(found, pixels.shape[1], pixels.shape[0], obfuscation)
        expected = obfuscate(pixels, found, obfuscation, mode).pixels
        shuffled = permuted(pixels, labels, seed)
        np.testing.assert_array_equal(obfuscate(shuffled, found, obfuscation, mode).pixels, expected)

    @averaging
    def test_another_average_gives_another_result(self, obfuscation):
        pixels, found = noise(100, 80, "L"), EDGE_CASES["one"]
        labels = cell_labels(found, 100, 80, obfuscation)
        expected = obfuscate(pixels, found, obfuscation, "L").pixels
        for label in np.unique(labels[labels > 0]):
            brighter = np.where(labels == label, np.minimum(pixels.astype(int) + 120, 255), pixels)
            changed = obfuscate(brighter.astype(np.uint8), found, obfuscation, "L").pixels
            assert (changed != expected).any()

    @averaging
    def test_a_small_box_in_a_big_one_shows_nothing_finer(self, obfuscation):
        """As when a detector finds a face, and an "eye" in it."""
        face, eye = (10, 10, 74, 74), (21, 22, 37, 38)
        pixels = noise(90, 80)
        alone = obfuscate(pixels, [face], obfuscation).pixels[10:74, 10:74]
        both = obfuscate(pixels, [eye, face], obfuscation).pixels[10:74, 10:74]
        np.testing.assert_array_equal(both, alone)

    @averaging
    def test_overlapping_grids_cannot_be_solved_for_finer_detail(self, obfuscation):
        """No pixel is in two averages: what the second grid would tell of the first face is not used."""
        first, second = boxes((10, 10, 58, 58)), boxes((11, 10, 59, 58))
        pixels = noise(90, 80)
        shuffled = permuted(pixels, cell_labels(first, 90, 80, obfuscation))
        shuffled[10:58, 58] = 255 - pixels[10:58, 58]  # a sliver of the second face's cells
        both = np.concatenate([first, second])
        expected = obfuscate(pixels, both, obfuscation).pixels
        np.testing.assert_array_equal(obfuscate(shuffled, both, obfuscation).pixels, expected)

    def test_the_published_blur_does_depend_on_single_pixels(self):
        """That the tests above can fail."""
        pixels, found = noise(100, 80), EDGE_CASES["one"]
        shuffled = permuted(pixels, cell_labels(found, 100, 80, SAFE))
        for obfuscation in PUBLISHED:
            results = [obfuscate(image, found, obfuscation).pixels for image in (pixels, shuffled)]
            assert (results[0] != results[1]).any()


class TestSafeBlur:
    @pytest.mark.parametrize(("width", "height"), [(10, 10), (16, 16), (40, 40), (40, 90), (200, 160), (600, 600)])
    def test_sigma_is_at_least_the_stated_one(self, width, height):
        """Sigma from the slope of an edge between two cells, against scipy's; in alpha, which has no noise."""
        x0, y0 = width, height
        pixels = np.zeros((3 * height, 3 * width, 2), np.uint16)
        pixels[:, x0 + width // 2 :, 1] = 65535
        found = boxes((x0, y0, x0 + width, y0 + height))
        row = obfuscate(pixels, found, SAFE, "LA").pixels[y0 + height // 2, :, 1].astype(np.float64)
        stated = max(3.0, 0.15 * math.hypot(width, height))
        reference = ndimage.gaussian_filter1d(pixels[0, :, 1].astype(np.float64), stated)
        steepest = np.diff(row[x0 : x0 + width]).max()
        assert steepest <= np.diff(reference).max()
        assert 65535 / (math.sqrt(2 * math.pi) * steepest) == pytest.approx(stated, rel=0.06)

    @pytest.mark.parametrize("side", [8, 24, 96, 400])
    @pytest.mark.parametrize("place", [(0, 0), (60, 45)])
    def test_inside_is_the_blurred_painting(self, side, place):
        """Of the face alone: what lies around it is not mixed in. In alpha, which has no noise."""
        pixels = np.full((side + 70, side + 90, 2), 100, np.uint8)
        box = np.s_[place[1] : place[1] + side, place[0] : place[0] + side, 1]
        cells = min(side // 4, 4)
        tones = np.random.default_rng(side).integers(50, 206, (cells, cells)).astype(np.uint8)
        texture = noise(side, side, "L") // 5
        pixels[box] = np.kron(tones, np.ones((side // cells, side // cells), np.uint8)) + texture
        found = boxes((*place, place[0] + side, place[1] + side))
        painting = painted(pixels, cell_labels(found, side + 90, side + 70, SAFE))[box].astype(np.float64)
        sigma = max(3.0, 0.15 * math.hypot(side, side))
        expected = ndimage.gaussian_filter(painting, sigma, mode="nearest")
        result = obfuscate(pixels, found, SAFE, "LA").pixels[box]
        assert np.abs(result - expected).max() < 4
        assert np.abs(painting - expected).max() > 25

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_noise_is_drawn_anew_for_each_picture(self, dtype):
        """Of faces of one cell and one colour, 64 levels either way shared by the channels, 16 in each."""
        scale = 257 if dtype == np.uint16 else 1
        greys = np.arange(100, 156) * scale
        colors = np.stack(np.meshgrid(greys, greys[:40], 170 * scale), axis=-1).reshape(-1, 3)
        moves = []
        for color in colors:
            pixels = np.broadcast_to(color.astype(dtype), (4, 4, 3))
            result = obfuscate(pixels, [[0, 0, 4, 4]], SAFE).pixels
            assert np.ptp(result, axis=(0, 1)).max() == 0
            moves.append((result[0, 0].astype(int) - color) / scale)
        moves = np.array(moves)
        assert np.abs(moves).max() <= 80 + 1
        assert np.abs(moves.mean(axis=0)).max() < 4
        shared, own = (129**2 - 1) / 12, (33**2 - 1) / 12  # variances of whole numbers in -64..64 and -16..16
        expected = np.full((3, 3), shared) + np.eye(3) * own
        np.testing.assert_allclose(np.cov(moves.T), expected, rtol=0.08)
        neighbours = np.corrcoef(moves[:-1, 0], moves[1:, 0])[0, 1]
        assert abs(neighbours) < 0.1

    def test_a_grey_photo_stays_grey(self):
        pixels = np.repeat(noise(90, 80, "L")[:, :, None], 3, axis=2)
        result = obfuscate(pixels, [[10, 10, 74, 74]], SAFE).pixels
        assert np.ptp(result, axis=2).max() == 0

    def test_all_noise_stays_in_range(self):
        for level in (0, 255):
            pixels = np.full((40, 40, 3), level, np.uint8)
            result = obfuscate(pixels, [[4, 4, 36, 36]], SAFE).pixels.astype(int)
            assert np.abs(result - level).max() <= 80

    @pytest.mark.parametrize("side", [3, 12, 60, 300])
    def test_feather_is_a_tenth_of_the_diagonal_and_smooth(self, side):
        """On a line board, whose blur is flat, the original's share is the distance from grey."""
        board = np.zeros((2 * side + 60, 2 * side + 60), np.uint8)
        board[::2] = 255
        x0 = side // 2 + 30
        result = obfuscate(board, boxes((x0, x0, x0 + side, x0 + side)), SAFE, "L")
        margin = max(2, math.ceil(0.1 * math.hypot(side, side)))
        rectangle = [x0 - margin, x0 - margin, x0 + side + margin, x0 + side + margin]
        assert result.touched_xyxy.tolist() == [rectangle]
        share = np.abs(np.diff(result.pixels[x0 : x0 + 2].astype(int), axis=0))[0] / 255
        right = share[x0 + side - 1 : x0 + side + margin + 1]
        assert right[0] <= 2 / 255
        assert right[-1] == 1
        assert (np.diff(right) >= -2 / 255).all()
        assert np.diff(right).max() <= math.pi / 2 / (margin + 1) + 0.05

    def test_a_feather_brings_no_original_into_another_face(self):
        pixels = noise(120, 80)
        found = boxes((20, 20, 60, 60), (61, 20, 101, 60))
        shuffled = permuted(pixels, cell_labels(found, 120, 80, SAFE))
        result = obfuscate(pixels, found, SAFE)
        np.testing.assert_array_equal(obfuscate(shuffled, found, SAFE).pixels, result.pixels)

    def test_where_faces_overlap_the_wider_blur_stands(self):
        pixels = noise(300, 300)
        big, small = (20, 20, 220, 220), (180, 180, 240, 240)
        both = obfuscate(pixels, [small, big], SAFE).pixels[150:220, 150:220].astype(np.float64)
        assert np.abs(np.diff(both, axis=0)).max() <= 160 / (math.sqrt(2 * math.pi) * 0.15 * 283) + 1

    def test_alpha_and_grey_are_hidden_too(self):
        pixels = noise(60, 60, "LA")
        result = obfuscate(pixels, [[10, 10, 50, 50]], SAFE, "LA").pixels[15:45, 15:45]
        assert (np.ptp(result, axis=(0, 1)) < 60).all()
        assert np.abs(result[:, :, 1] - 127.5).max() < 30


class TestOverlay:
    @pytest.mark.parametrize(
        ("color", "mode", "expected"),
        [
            ("mean", "RGB", (124, 116, 104)),
            ("red", "RGB", (255, 0, 0)),
            ("green", "RGB", (0, 255, 0)),
            ("blue", "RGB", (0, 0, 255)),
            ("#0aFf80", "RGB", (10, 255, 128)),
            ("mean", "RGBA", (124, 116, 104, 255)),
            ("mean", "L", 117),
            ("red", "L", 76),
            ("green", "LA", (150, 255)),
            ("mean", "CMYK", (131, 139, 151, 0)),
            ("blue", "CMYK", (255, 255, 0, 0)),
        ],
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_colour_in_each_mode(self, color, mode, expected, dtype):
        pixels, scale = noise(30, 20, mode, dtype), 257 if dtype == np.uint16 else 1
        result = obfuscate(pixels, [[4.5, 3.2, 9.1, 8]], Obfuscation("overlay", color=color), mode)
        np.testing.assert_array_equal(
            result.pixels[3:8, 4:10],
            np.broadcast_to(np.array(expected) * scale, result.pixels[3:8, 4:10].shape),
        )
        assert result.touched_xyxy.tolist() == [[4, 3, 10, 8]]

    @pytest.mark.parametrize("mode", SHAPES)
    def test_decodes_to_the_colour(self, mode):
        result = obfuscate(noise(8, 8, mode), [[0, 0, 8, 8]], Obfuscation("overlay", color="#404040"), mode)
        image = Image.frombytes(mode, (8, 8), result.pixels.tobytes()).convert("RGB")
        assert image.getpixel((3, 3)) == (64, 64, 64)


class TestMosaic:
    @pytest.mark.parametrize("cells", [1, 3, 8, 1000])
    @pytest.mark.parametrize(
        "found",
        [boxes((10, 10, 50, 50)), boxes((3, 5, 36, 22)), boxes((70, 2, 73, 4)), boxes((-40, 10, 30, 90))],
        ids=str,
    )
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_each_cell_is_its_mean(self, cells, found, dtype):
        pixels, obfuscation = noise(100, 80, "RGB", dtype), Obfuscation("mosaic", cells=cells)
        labels = cell_labels(found, 100, 80, obfuscation)
        result = obfuscate(pixels, found, obfuscation)
        np.testing.assert_array_equal(result.pixels, painted(pixels, labels))
        each = np.unique(labels[labels > 0])
        for before, after in zip(np.moveaxis(pixels, 2, 0), np.moveaxis(result.pixels, 2, 0), strict=True):
            means, shown = ndimage.mean(before, labels, each), ndimage.mean(after, labels, each)
            assert np.abs(means - shown).max() <= 0.5

    def test_cells_are_square_and_never_below_four_pixels(self):
        result = obfuscate(noise(64, 64, "L"), [[0, 0, 38, 30]], Obfuscation("mosaic"), "L").pixels
        assert np.flatnonzero(np.diff(result[0].astype(int))).tolist()[:7] == [4, 9, 14, 19, 24, 29, 37]
        small = obfuscate(noise(64, 64, "L"), [[0, 0, 9, 9]], Obfuscation("mosaic"), "L").pixels
        assert len(np.unique(small[:9, :9])) <= 4
