"""Damaged files: only ImageError may leave, and what is accepted shows the same picture as before."""

import random
import time

import numpy as np
import pytest

from images.image_files import PROFILE, every_kind, make_exif, make_file, read_pil
from unface.errors import ImageError
from unface.images import audit, decode, encode, probe, scrub

SEEDS = [
    *every_kind().values(),
    *(make_file(format=f, exif=make_exif(), icc_profile=PROFILE) for f in ("JPEG", "PNG", "WEBP", "TIFF")),
    make_file("P", "GIF", comment=b"hello"),
]
HOSTILE = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xd9\xff\xd8", b"\0\0\0\x01"]


def mutate(data, generator):
    """Change, delete, repeat or splice a few bytes; half of the time in the first hundred ones."""
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 1, 2, 4])):
        at = generator.randrange(len(changed) if generator.random() < 0.5 else min(len(changed), 100))
        end = at + generator.randrange(1, 40)
        kind = generator.randrange(7)
        if kind == 0:
            changed[at] = generator.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << generator.randrange(8)
        elif kind == 2:
            del changed[at + 1 :]
        elif kind == 3:
            changed[at:at] = changed[at:end]
        elif kind == 4:
            del changed[at + 1 : end]
        elif kind == 5:
            changed[at : at + 4] = generator.choice(HOSTILE)
        else:
            other = generator.choice(SEEDS)
            start = generator.randrange(len(other))
            changed[at:end] = other[start : start + end - at]
    return bytes(changed)


def result_of(function, data):
    refusal = None
    try:
        return function(data)
    except ImageError as error:
        refusal = error
    assert "\n" not in str(refusal)
    assert not isinstance(refusal.__cause__, Warning)
    return None


def check_scrubbed(data, clean):
    assert audit(clean) == []
    assert scrub(clean) == clean
    before, after = read_pil(data), read_pil(clean)
    if before is not None:
        assert after is not None
        assert before[0] == after[0]
        assert np.array_equal(before[1], after[1])


def check_decoded(photo, clean):
    assert np.array_equal(decode(clean).pixels, photo.pixels)
    again = decode(encode(photo, photo.upright()[::-1]))
    assert (again.format, again.mode, again.orientation) == (photo.format, photo.mode, photo.orientation)
    assert (again.pixels.shape, again.pixels.dtype) == (photo.pixels.shape, photo.pixels.dtype)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(seed, capfd):
    generator = random.Random(seed)
    slowest = 0.0
    for _ in range(1500):
        data = mutate(generator.choice(SEEDS), generator)
        start = time.perf_counter()
        result_of(probe, data)
        found, clean, photo = (result_of(function, data) for function in (audit, scrub, decode))
        slowest = max(slowest, time.perf_counter() - start)
        assert (found is None) == (clean is None)
        if clean is None:
            assert photo is None
            continue
        check_scrubbed(data, clean)
        if photo is not None:
            check_decoded(photo, clean)
    assert slowest < 2
    capfd.readouterr()  # libtiff tells of damage on standard error
