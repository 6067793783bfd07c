"""The upper rows of an image, against Pillow's pixels of the whole."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from builders import EXAMPLES, encode_image, make_image
from images.image_files import every_kind
from unface.errors import ImageError
from unface.images import decode, decode_rows

ROWS = (1, 7, 8, 15, 16, 17, 31, 32, 33, 70, 71)
EVERY_KIND = every_kind()


def first(rows):
    return lambda header: min(rows, header.upright_size[1])


def whole(header):
    return header.upright_size[1]


def pillows(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True}])
def test_the_rows_are_pillows_and_what_is_below_is_unknown(mode, subsampling, options, capfd):
    data = encode_image(make_image(90, 71, mode), quality=90, subsampling=subsampling, **options)
    wanted = pillows(data)
    for rows in ROWS:
        photo = decode_rows(data, first(rows))
        np.testing.assert_array_equal(photo.rgb()[:rows], wanted[:rows])
        assert not photo.rgb()[rows:].any()
        assert photo.upright_size == (90, 71)
        if rows < 71:
            assert photo.known_xyxy.tolist() == [[0, 0, 90, rows]]
        else:
            assert photo.known_xyxy is None
    assert capfd.readouterr() == ("", "")  # libjpeg would complain of what follows the rows


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_rows_of_photos(path):
    data = path.read_bytes()
    wanted = decode(data).rgb()
    for rows in (1, wanted.shape[0] // 3, wanted.shape[0] - 1, wanted.shape[0]):
        photo = decode_rows(data, first(rows))
        known = wanted.shape[0] if photo.known_xyxy is None else rows
        np.testing.assert_array_equal(photo.rgb()[:known], wanted[:known])


@pytest.mark.parametrize("name", sorted(EVERY_KIND))
def test_every_kind_of_file_is_read(name):
    """CMYK, turned, and whatever is no JPEG, as a whole."""
    wanted, photo = decode(EVERY_KIND[name]), decode_rows(EVERY_KIND[name], first(5))
    rows = wanted.upright_size[1] if photo.known_xyxy is None else 5
    np.testing.assert_array_equal(photo.rgb()[:rows], wanted.rgb()[:rows])
    assert (photo.mode, photo.orientation, photo.upright_size) == (
        wanted.mode,
        wanted.orientation,
        wanted.upright_size,
    )


def test_what_codes_the_rest_is_not_looked_at():
    data = bytearray(encode_image(make_image(160, 160), quality=90))
    wanted = pillows(bytes(data))
    for place in range(len(data) * 3 // 4, len(data) - 2, 7):
        if 0xFF not in data[place - 1 : place + 1]:  # markers stay
            data[place] = 0x55
    np.testing.assert_array_equal(decode_rows(bytes(data), first(60)).rgb()[:60], wanted[:60])


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_what_it_is_for_decode(seed):
    """As a whole: the same pixels, or refused as well."""
    rng = np.random.default_rng(seed)
    sound = encode_image(make_image(60, 50, seed=seed), quality=85, progressive=bool(seed % 2))
    outcomes = set()
    for _ in range(60):
        data = bytearray(sound)
        for place in rng.integers(20, len(data), 3):
            data[place] = rng.integers(256)
        try:
            wanted = decode(bytes(data)).rgb()
        except ImageError:
            with pytest.raises(ImageError):
                decode_rows(bytes(data), whole)
            outcomes.add("refused")
            continue
        np.testing.assert_array_equal(decode_rows(bytes(data), whole).rgb(), wanted)
        outcomes.add("read")
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize("cut", [10, 200, -2])
def test_a_truncated_file_is_refused_whatever_is_asked_for(cut):
    data = encode_image(make_image(60, 50))
    with pytest.raises(ImageError, match=r"truncated|whole"):
        decode_rows(data[:cut], first(1))


def test_large_images_are_refused_before_they_are_decoded():
    with pytest.raises(ImageError, match=r"expected at most 100 pixels, got 64 x 48"):
        decode_rows(encode_image(make_image()), first(1), max_pixels=100)
