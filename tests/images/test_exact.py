"""Region-exact JPEG: read back by jpeglib, Pillow and OpenCV, compared with scipy's DCT."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from images.exact_files import (
    SAMPLINGS,
    by_cjpeg,
    by_cv2,
    by_jpegtran,
    by_pillow,
    check_kept,
    coefficients,
    every_kind,
    in_scans,
    reached_blocks,
    turned,
)
from images.image_files import PROFILE, make_exif, make_pixels, read_cv2
from unface.errors import ImageError
from unface.images import audit, decode, encode, encode_region
from unface.images.containers import jpeg

KINDS = every_kind(8, 8)
REPO = Path(__file__).parents[2]


def changed_photo(data, touched_xyxy, seed=1):
    """The decoded file, and upright pixels that differ in the rectangles."""
    photo = decode(data)
    pixels = photo.upright().copy()
    noise = np.random.default_rng(seed).integers(0, 256, pixels.shape, np.uint8)
    for x0, y0, x1, y1 in touched_xyxy:
        pixels[y0:y1, x0:x1] = pixels[y0:y1, x0:x1] // 2 + noise[y0:y1, x0:x1] // 4 + 60
    return photo, pixels


def rewritten(data, touched_xyxy, seed=1):
    """The file with changes in the rectangles, once it has passed every check that needs no second encoder."""
    touched = np.array(touched_xyxy, np.int64).reshape(-1, 4)
    photo, pixels = changed_photo(data, touched, seed)
    written, mode = encode_region(photo, pixels, touched)
    assert mode == "region"
    assert audit(written) == []
    check_kept(data, written, touched)
    check_readable(data, written)
    check_pixels(photo, pixels, written, touched)
    return written


def check_readable(data, written):
    """Other decoders read it without a word, if they read the original so."""
    theirs = Image.open(io.BytesIO(written))
    theirs.load()
    assert theirs.size == Image.open(io.BytesIO(data)).size
    before, after = read_cv2(data), read_cv2(written)
    assert (before is None) == (after is None)
    if before is not None:
        assert before.shape == after.shape


def check_pixels(photo, wanted, written, touched_xyxy):
    """In the rectangles the file shows the wanted pixels, about as well as a plain encoder would have it."""
    ours = decode(written).upright().astype(int)
    plain = decode(encode(photo, wanted)).upright().astype(int)
    odd = {(c.horizontal, c.vertical) for c in photo.coding.parts.components} - {(1, 1), (2, 1), (2, 2)}
    lost = 30 if odd or photo.coding.parts.color == "YCCK" else 2.5  # `encode` has no such subsampling; it makes 4:4:4
    for x0, y0, x1, y1 in touched_xyxy:
        if x1 - x0 > 3 and y1 - y0 > 3:
            mine, other = (np.abs(p - wanted)[y0:y1, x0:x1].mean() for p in (ours, plain))
            assert mine <= 1.15 * other + lost


@pytest.mark.parametrize("interval", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, interval, capfd):
    data = every_kind(45, 83, interval=interval)[kind]
    written = rewritten(data, [[10, 7, 31, 30], [60, 20, 83, 45]])
    assert jpeg.read(written).adobe_transform == jpeg.read(data).adobe_transform
    markers = [written.count(bytes([0xFF, 0xD0 + i])) for i in range(8)]
    assert markers == [data.count(bytes([0xFF, 0xD0 + i])) for i in range(8)]
    assert (sum(markers) > 0) == (interval > 0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rectangles_are_upright(sampling, orientation):
    data = turned(by_cv2(make_pixels(45, 83), sampling), orientation)
    wide, high = decode(data).upright_size
    assert (wide, high) == ((45, 83) if orientation >= 5 else (83, 45))
    written = rewritten(data, [[3, 20, 12, 31]])
    assert decode(written).orientation == orientation


@st.composite
def cases(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    data = every_kind(height, width, draw(st.integers(0, 99)), draw(st.integers(1, 100)), draw(st.integers(0, 5)))
    file = turned(data[kind], draw(st.integers(1, 8)))
    wide, high = decode(file).upright_size
    corners = [(draw(st.integers(-3, wide)), draw(st.integers(-3, high))) for _ in range(draw(st.integers(0, 3)))]
    return file, [[x, y, x + draw(st.integers(0, 50)), y + draw(st.integers(0, 50))] for x, y in corners]


@settings(max_examples=80, deadline=None)
@given(case=cases())
def test_any_file_and_rectangles(case):
    data, touched = case
    touched = np.array(touched, np.int64).reshape(-1, 4)
    photo, pixels = changed_photo(data, np.maximum(touched, 0))
    written, mode = encode_region(photo, pixels, touched)
    assert mode == "region"
    assert audit(written) == []
    check_kept(data, written, touched)
    check_readable(data, written)


def test_nothing_touched_keeps_every_byte_of_the_scans():
    pixels = make_pixels(40, 50)
    for data in (by_cv2(pixels, "411", 2), by_pillow(pixels, progressive=True), in_scans(pixels)):
        photo = decode(data)
        for none in (np.zeros((0, 4), np.int64), np.array([[5, 5, 5, 9]])):
            written, mode = encode_region(photo, photo.upright(), none)
            assert mode == "region"
            assert jpeg.read(written).body == jpeg.read(data).body


def test_one_byte_of_the_scan_before_the_touched_mcus_does_not_change():
    """Bits are copied, not coded again."""
    data = by_pillow(make_pixels(64, 64), subsampling=0)
    photo, pixels = changed_photo(data, [[0, 56, 64, 64]])
    written, _ = encode_region(photo, pixels, np.array([[0, 56, 64, 64]]))
    before, after = (jpeg.read(file).body[-1] for file in (data, written))
    common = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    assert common > 0.8 * len(before)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (16, 16), (17, 33), (8, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_image_touched(size, kind):
    data = every_kind(*size)[kind]
    wide, high = decode(data).upright_size
    written = rewritten(data, [[0, 0, wide, high]])
    assert written != data


@pytest.mark.parametrize("box", [[0, 0, 5, 5], [78, 0, 83, 5], [0, 40, 5, 45], [78, 40, 83, 45], [-9, -9, 4, 99]])
@pytest.mark.parametrize("kind", KINDS)
def test_rectangles_on_the_edge(box, kind):
    rewritten(every_kind(45, 83)[kind], np.maximum([box], 0))


def test_padding_shows_nothing_of_the_original():
    """Beyond the image, encoders repeat its edge: what a touched edge left there goes too."""
    pixels = np.full((9, 9), 40, np.uint8)
    photo = decode(by_pillow(pixels, quality=100))
    flat = np.full((9, 9), 200, np.uint8)
    written, _ = encode_region(photo, flat, np.array([[0, 0, 9, 9]]))
    (plane,) = coefficients(written)
    assert plane.shape[:2] == (2, 2)
    assert (np.abs(plane[:, :, 0, 0] - plane[0, 0, 0, 0]) == 0).all()
    assert not plane.reshape(4, 64)[:, 1:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_are_wholly_reached_depend_on_the_new_pixels_alone(kind):
    """The same new pixels make the same coefficients, whatever was there before: nothing survives."""
    touched = np.array([[8, 8, 68, 40]])
    planes = []
    for seed in (0, 5):
        data = every_kind(48, 80, seed=seed, quality=90)[kind]
        photo = decode(data)
        pixels = photo.upright().copy()
        new = np.random.default_rng(3).integers(0, 256, pixels.shape, np.uint8)
        pixels[8:40, 8:68] = new[8:40, 8:68]
        written, mode = encode_region(photo, pixels, touched)
        assert mode == "region"
        check_kept(data, written, touched)
        planes.append(coefficients(written))
        outside = np.ones(pixels.shape[:2], bool)
        outside[8:40, 8:68] = False
        partly = reached_blocks(photo.coding.parts, outside)
    for first, second, beyond in zip(*planes, partly, strict=True):
        rows, columns = beyond.shape
        inside = ~beyond
        assert inside.any()
        assert np.array_equal(first[:rows, :columns][inside], second[:rows, :columns][inside])


@settings(max_examples=50, deadline=None)
@given(
    quality=st.integers(1, 100),
    seed=st.integers(0, 99),
    x=st.integers(0, 20),
    y=st.integers(0, 20),
    size=st.integers(1, 20),
)
def test_partly_reached_blocks_by_another_dct(quality, seed, x, y, size):
    """Samples that are not reached keep their exact value: the only error is that of rounding coefficients."""
    data = by_pillow(make_pixels(24, 32, 1, seed)[:, :, 0], quality=quality)
    photo = decode(data)
    pixels = photo.upright().copy()
    pixels[y : y + size, x : x + size] = np.random.default_rng(seed).integers(0, 256, (24, 32))[:size, :size][
        : len(pixels[y : y + size]), : len(pixels[0, x : x + size])
    ]
    written, _ = encode_region(photo, pixels, np.array([[x, y, x + size, y + size]]))
    table = np.array(photo.coding.parts.tables[0]).reshape(8, 8)
    (old,), (new,) = coefficients(data), coefficients(written)
    for row in range(3):
        for column in range(4):
            samples = scipy.fft.idctn(old[row, column] * table, norm="ortho")
            part = np.s_[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            reached = np.zeros((24, 32), bool)
            reached[y : y + size, x : x + size] = True
            samples[reached[part]] = pixels[part][reached[part]] - 128.0
            exact = scipy.fft.dctn(samples, norm="ortho") / table
            assert np.abs(np.clip(exact, -1023, 1023) - new[row, column]).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("interval", [0, 1, 3])
@pytest.mark.parametrize("optimize", [False, True])
def test_tables_that_lack_codes(optimize, interval):
    """A flat picture has almost no symbols; what is new in it needs more of them."""
    pixels = np.full((64, 64, 3), 100, np.uint8)
    pixels[:, :, 1] += (np.arange(64) // 16).astype(np.uint8)
    data = by_pillow(pixels, optimize=optimize, quality=95, restart_marker_blocks=interval)
    written = rewritten(data, [[20, 20, 50, 44]])
    tables = [[part for part in jpeg.read(file).body if part[1] == 0xC4] for file in (data, written)]
    assert (tables[0] == tables[1]) == (not optimize)
    again = rewritten(written, [[0, 0, 20, 20]], seed=2)
    check_kept(data, again, np.array([[20, 20, 50, 44], [0, 0, 20, 20]]))


def test_tables_that_lack_codes_in_one_of_several_scans():
    """All scans have tables of the same number: each keeps, or gets, its own."""
    pixels = np.full((64, 64, 3), 100, np.uint8)
    pixels[8:16, 8:16] = make_pixels(8, 8)
    data = in_scans(pixels, ((1, 1),) * 3, quality=95)
    photo = decode(data)
    changed = photo.upright().copy()
    changed[30:50, 30:50] = np.random.default_rng(0).integers(0, 256, (20, 20, 1))
    touched = np.array([[30, 30, 50, 50]])
    written, mode = encode_region(photo, changed, touched)
    assert mode == "region"
    assert check_kept(data, written, touched) > 0
    assert np.abs(decode(written).pixels[30:50, 30:50].astype(int) - changed[30:50, 30:50]).mean() < 5


def test_other_tools_files():
    pixels = make_pixels(45, 83)
    files = [
        by_cjpeg(pixels, "-sample", "2x2", "-restart", "1B"),
        by_cjpeg(pixels, "-sample", "4x1", "-optimize"),
        by_cjpeg(pixels, "-sample", "1x4"),
        by_cjpeg(pixels, "-sample", "2x2,2x1,1x1", "-quality", "70"),
        by_cjpeg(pixels, "-sample", "2x1,1x1,2x1", "-baseline", "-quality", "5"),
        by_cjpeg(pixels, "-quality", "2"),
        by_jpegtran(by_cv2(pixels), "-optimize", "-restart", "2B"),
    ]
    if files[0] is None or files[-1] is None:
        pytest.skip("needs cjpeg and jpegtran of libjpeg-turbo-progs")
    for data in files:
        rewritten(data, [[10, 7, 31, 30], [60, 20, 83, 45]])


@pytest.mark.parametrize("script", ["0;1;2;", "0;1,2;", "0,1;2;", "2;1;0;"])
def test_scans_by_jpegtran(script, tmp_path):
    path = tmp_path / "scans"
    path.write_text(script)
    data = by_jpegtran(by_cv2(make_pixels(45, 83), "420"), "-scans", str(path), "-restart", "1")
    if data is None:
        pytest.skip("needs jpegtran of libjpeg-turbo-progs")
    rewritten(data, [[10, 7, 31, 30], [60, 20, 83, 45]])


def test_what_is_not_baseline_is_encoded_again():
    pixels = make_pixels(45, 83)
    files = [
        by_pillow(pixels, progressive=True),
        by_jpegtran(by_cv2(pixels), "-arithmetic"),
        cut_short(by_cv2(pixels, "420")),
        cut_short(by_cv2(pixels, "420", 2)),
    ]
    for data in (file for file in files if file is not None):
        photo, changed = changed_photo(data, [[10, 7, 31, 30]])
        written, mode = encode_region(photo, changed, np.array([[10, 7, 31, 30]]))
        assert (written, mode) == (encode(photo, changed), "reencoded")


def cut_short(data):
    """The file without the last bytes of its scan: libjpeg shrugs."""
    return data[:-100] + b"\xff\xd9"


def test_other_formats_are_encoded_as_ever():
    target = io.BytesIO()
    Image.fromarray(make_pixels()).save(target, "PNG")
    photo, changed = changed_photo(target.getvalue(), [[2, 2, 5, 5]])
    written, mode = encode_region(photo, changed, np.array([[2, 2, 5, 5]]))
    assert mode == "reencoded"
    assert np.array_equal(decode(written).pixels, changed)


def test_metadata_goes_as_ever():
    data = by_pillow(make_pixels(45, 83), exif=make_exif(6), icc_profile=PROFILE, comment=b"SecretComment")
    written = rewritten(data, [[3, 20, 12, 31]])
    assert b"Secret" not in written
    assert jpeg.read(written).profile == PROFILE


def test_changes_outside_the_rectangles_are_refused():
    """They would be lost without a word, and with them perhaps a face's blur."""
    photo, changed = changed_photo(by_pillow(make_pixels(45, 83)), [[10, 7, 31, 30]])
    for few in ([[10, 7, 31, 29]], [[11, 7, 31, 30]], []):
        with pytest.raises(ImageError, match="outside the touched"):
            encode_region(photo, changed, np.array(few, np.int64).reshape(-1, 4))


def test_all_real_files(test_data, capfd):
    paths = sorted((test_data / "imagenet_val" / "images").rglob("*.JPEG"))
    assert len(paths) > 200
    for number, path in enumerate(paths):
        data = path.read_bytes()
        wide, high = decode(data).upright_size
        x, y = number * 37 % (wide * 2 // 3), number * 53 % (high * 2 // 3)
        rewritten(data, [[x, y, x + wide // 3, y + high // 3], [0, 0, 9, 9]])
    assert capfd.readouterr().err == ""


def run_again(script, **environment):
    """Run a few of these checks in a process of its own, with other settings of numba."""
    code = f"import sys; sys.path.insert(0, {str(REPO / 'tests')!r})\n{script}"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_as_plain_python():
    """The same functions without the compiler, where numpy checks every index."""
    run_again(
        "from images.test_exact import every_kind, rewritten\n"
        "import unface.images.region.kernels as k; assert not hasattr(k.read_scan, 'signatures')\n"
        "for kind, data in every_kind(19, 33, interval=2).items(): rewritten(data, [[5, 4, 21, 15]])\n",
        NUMBA_DISABLE_JIT="1",
    )


def test_unface_does_not_import_numba_before_it_is_needed():
    run_again("import sys, unface.images, unface.cli; assert 'numba' not in sys.modules")


def test_fuzz(tmp_path, pytestconfig):
    """Two seconds of damaged files, compiled with checks of every index everywhere."""
    script = REPO / "benchmarks" / "fuzz_jpeg.py"
    command = [sys.executable, str(script), "--minutes", "0.033", "--seed", "1", "--keep", str(tmp_path)]
    checks = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(pytestconfig.cache.mkdir("numba_checked"))}
    done = subprocess.run(command, env=os.environ | checks, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_indices_are_checked_while_reading():
    """Even arguments that no caller gives end in an exception."""
    from unface.images.region import kernels

    limits = np.zeros((2, 17), np.int32)
    with pytest.raises(IndexError):
        kernels.read_scan(
            np.zeros(80, np.uint32),
            np.array([12]),
            4,
            np.array([0]),
            np.full((2, 1 << kernels.LOOKUP_BITS), 2 << 8, np.int32),
            np.full((1, 1 << kernels.STRIDE_BITS), 2 << 16 | 256, np.int32),
            limits,
            limits,
            np.zeros((2, 256), np.uint8),
            np.array([-1, -1, 7, -1]),
            np.zeros((4, 2), np.int64),
            np.zeros((1, 1), np.int64),
            np.zeros((1, 1, 64), np.int16),
        )
