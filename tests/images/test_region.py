"""Decoding a region: the pixels of Pillow (libjpeg-turbo), bit for bit, and the same file in the end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.exact_files import by_cjpeg, by_cv2, by_jpegtran, by_pillow, every_kind, in_scans, turned
from images.image_files import every_kind as image_files
from images.image_files import make_pixels
from unface.errors import ImageError
from unface.images import decode, decode_region, encode, encode_region

KINDS = every_kind(8, 8)
WHOLE_ONLY = {"cmyk", "ycck"}
"""Four components are decoded as a whole, by Pillow."""


def region(data, areas_xyxy):
    return decode_region(data, lambda header: np.array(areas_xyxy, np.int64).reshape(-1, 4))


def check(data, areas_xyxy, is_region=True, seed=0):
    """Pixels in the areas are Pillow's, and new pixels there make the same file by both ways."""
    whole, part = decode(data), region(data, areas_xyxy)
    assert (part.known_xyxy is not None) == is_region
    assert (part.format, part.mode, part.orientation) == (whole.format, whole.mode, whole.orientation)
    old, known = whole.upright(), part.upright()
    assert known.shape == old.shape
    random = np.random.default_rng(seed)
    wanted, changed = old.copy(), known.copy()
    for x0, y0, x1, y1 in np.array(areas_xyxy).reshape(-1, 4).tolist():
        np.testing.assert_array_equal(known[y0:y1, x0:x1], old[y0:y1, x0:x1])
        new = old[y0:y1, x0:x1] // 2 + random.integers(0, 128, old[y0:y1, x0:x1].shape, np.uint8)
        wanted[y0:y1, x0:x1] = changed[y0:y1, x0:x1] = new
    touched = np.array(areas_xyxy, np.int64).reshape(-1, 4)
    written = encode_region(part, changed, touched)
    assert written == encode_region(whole, wanted, touched)
    return written


def corner_areas(wide, high, side):
    """Small areas at every corner and edge, and in the middle."""
    xs, ys = [0, (wide - side) // 2, wide - side], [0, (high - side) // 2, high - side]
    return [[x, y, x + side, y + side] for y in ys for x in xs]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (9, 17), (16, 16), (33, 34), (45, 83)])
def test_whole_image(size, kind):
    for quality, interval in ((1, 0), (85, 1), (100, 3)):
        data = every_kind(*size, quality=quality, interval=interval)[kind]
        check(data, [[0, 0, size[1], size[0]]], kind not in WHOLE_ONLY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_corners_and_edges(kind, orientation):
    data = turned(every_kind(45, 83)[kind], orientation)
    wide, high = decode(data).upright_size
    for side in (1, 7):
        for area in corner_areas(wide, high, side):
            check(data, [area], kind not in WHOLE_ONLY)


@st.composite
def cases(draw):
    kind = draw(st.sampled_from(sorted(set(KINDS) - WHOLE_ONLY)))
    high, wide = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    data = every_kind(high, wide, draw(st.integers(0, 99)), draw(st.integers(1, 100)), draw(st.integers(0, 5)))
    file = turned(data[kind], draw(st.integers(1, 8)))
    wide, high = decode(file).upright_size
    areas = []
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(st.integers(0, wide - 1)), draw(st.integers(0, high - 1))
        areas.append([x, y, draw(st.integers(x + 1, wide)), draw(st.integers(y + 1, high))])
    return file, areas


@settings(max_examples=120, deadline=None)
@given(case=cases())
def test_any_file_and_areas(case):
    check(*case)


def test_other_tools_files(tmp_path):
    pixels, files = make_pixels(45, 83), []
    for sampling in ("4x1", "1x4", "2x2,2x1,1x1", "2x1,1x1,2x1", "4x2", "2x2,1x2,1x1"):
        files.append(by_cjpeg(pixels, "-sample", sampling))
    (tmp_path / "scans").write_text("0;1,2;")
    files.append(by_jpegtran(by_cv2(pixels, "420"), "-scans", str(tmp_path / "scans"), "-restart", "1"))
    if None in files:
        pytest.skip("needs cjpeg and jpegtran of libjpeg-turbo-progs")
    for data in files:
        check(data, [[0, 0, 83, 45]])
        check(data, [[31, 5, 60, 44], [3, 20, 9, 22]])


def test_contrast_beyond_the_range_of_samples():
    """Ringing around black and white is clipped alike."""
    noise = (np.random.default_rng(0).integers(0, 2, (64, 64, 3)) * 255).astype(np.uint8)
    for quality in (5, 20, 50, 95):
        for sampling in ("444", "420", "440"):
            check(by_cv2(noise, sampling, quality=quality), [[0, 0, 64, 64]])


def test_all_colours():
    """Each luma and chroma: a flat block of each, in steps that hit every rounding."""
    values = np.stack(np.meshgrid(*[np.arange(0, 256, 17)] * 3), -1).reshape(-1, 16 * 16, 3).astype(np.uint8)
    data = by_pillow(values.repeat(8, 0).repeat(8, 1), subsampling=0, quality=100)
    check(data, [[0, 0, values.shape[1] * 8, values.shape[0] * 8]])


def test_coefficients_that_decoders_read_differently_are_left_to_pillow():
    data = by_cv2(make_pixels(45, 83), "420", quality=100)
    start = data.index(b"\xff\xdb") + 5
    loud = data[:start] + b"\xff" * 64 + data[start + 64 :]
    whole, part = decode(loud), region(loud, [[0, 0, 9, 9]])
    assert part.known_xyxy is None
    assert np.array_equal(part.pixels, whole.pixels)


def test_what_is_not_baseline_or_damaged_is_decoded_as_a_whole():
    sound = by_cv2(make_pixels(45, 83), "420")
    for data in (
        by_pillow(make_pixels(45, 83), progressive=True),
        sound[:-100] + b"\xff\xd9",
        sound[:700] + sound[740:],
        sound.replace(b"\xff\xc4", b"\xff\xfe"),  # libjpeg-turbo has tables for those who have none
        *(file for file in image_files().values() if not file.startswith(b"\xff\xd8")),
    ):
        whole, part = decode(data), region(data, [[0, 0, 5, 5]])
        assert part.known_xyxy is None
        assert np.array_equal(part.pixels, whole.pixels)
        assert np.array_equal(
            decode(encode(part, part.upright())).pixels, decode(encode(whole, whole.upright())).pixels
        )


def tables_last(data):
    """The quantisation tables behind the scan, where they are of no use."""
    tables = b""
    while (start := data.find(b"\xff\xdb")) >= 0:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        tables, data = tables + data[start:end], data[:start] + data[end:]
    return data[:-2] + tables + data[-2:]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x07", 1),
        lambda data: data[: data.index(b"\xff\xc4") + 5] + bytes([1] * 16) + data[data.index(b"\xff\xc4") + 21 :],
        lambda data: b"not a picture",
        lambda data: tables_last(data),
    ],
)
def test_what_decode_refuses(change):
    data = change(by_pillow(make_pixels(45, 83)))
    said = []
    for function in (decode, lambda data: region(data, [[0, 0, 5, 5]])):
        with pytest.raises(ImageError) as error:
            function(data)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_too_many_pixels_are_refused():
    with pytest.raises(ImageError, match="at most 99 pixels"):
        decode_region(by_pillow(make_pixels(10, 10)), lambda header: np.zeros((0, 4), np.int64), 99)


def test_a_region_is_not_encoded_as_a_whole():
    photo = region(by_pillow(make_pixels(45, 83)), [[8, 8, 30, 30]])
    with pytest.raises(ImageError, match="decoded as a whole"):
        encode(photo, photo.upright())


def test_changes_beyond_what_was_decoded_are_refused():
    photo = region(by_pillow(make_pixels(45, 83)), [[8, 8, 30, 30], [40, 8, 50, 30]])
    changed = photo.upright().copy()
    changed[10:12, 10:12] ^= 255
    encode_region(photo, changed, np.array([[10, 10, 12, 12]]))
    for touched in ([7, 8, 30, 30], [8, 8, 31, 30], [20, 8, 45, 30], [60, 8, 70, 30]):
        with pytest.raises(ImageError, match="areas that were decoded"):
            encode_region(photo, changed, np.array([touched]))
    with pytest.raises(ImageError, match="outside the touched"):
        encode_region(photo, changed, np.array([[10, 10, 12, 11]]))


def test_a_photo_can_be_written_again_and_again():
    photo = region(in_scans(make_pixels(45, 83)), [[8, 8, 30, 30]])
    changed = photo.upright().copy()
    changed[8:30, 8:30] //= 2
    touched = np.array([[8, 8, 30, 30]])
    first = encode_region(photo, changed, touched)
    assert encode_region(photo, changed, touched) == first


def test_all_real_files(test_data):
    paths = sorted((test_data / "imagenet_val" / "images").rglob("*.JPEG"))
    assert len(paths) > 200
    for number, path in enumerate(paths):
        data = path.read_bytes()
        wide, high = decode(data).upright_size
        x, y = number * 37 % (wide * 2 // 3), number * 53 % (high * 2 // 3)
        check(data, [[0, 0, wide, high]])
        check(data, [[x, y, x + wide // 3, y + high // 3]])
