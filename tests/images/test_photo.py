import io
import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from builders import EXAMPLES, encode_image
from images.image_files import (
    PROFILE,
    chunk,
    every_kind,
    make_exif,
    make_file,
    make_pil,
    make_pixels,
    read_cv2,
    with_chunks,
)
from unface.boxes import orient
from unface.errors import ImageError
from unface.images import SUFFIXES, audit, decode, encode, probe, scrub
from unface.images.codecs import vp8

EVERY_KIND = every_kind()
LOSSLESS = [name for name in EVERY_KIND if not name.startswith("JPEG") and name[:5] + name[-2:] != "WEBP--0"]
LOSSLESS_FORMATS = [
    ("PNG", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {}),
    ("BMP", {}),
    ("WEBP", {"lossless": True, "exact": True}),
]


def make_jpeg(pixels=None, mode="RGB", **options):
    target = io.BytesIO()
    make_pil(mode, 48, 64).save(target, "JPEG", **options)
    return target.getvalue()


def open_pil(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def halve(pixels, top=2, bottom=6, left=2, right=9):
    """Upright pixels with a darker patch."""
    changed = pixels.copy()
    changed[top:bottom, left:right] //= 2
    return changed


def exif_for(format, options, orientation):
    """EXIF as of a camera; just the orientation where Pillow can write no more (compressed TIFF)."""
    if format != "TIFF" or not options:
        return make_exif(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def error_against(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize("name", EVERY_KIND)
def test_decoded_pixels_are_those_of_other_readers(name):
    photo = decode(EVERY_KIND[name])
    if "16x" in name:
        theirs = read_cv2(EVERY_KIND[name])[:, :, [2, 1, 0, 3][: int(name.split("x")[1][0])]]
        assert np.array_equal(photo.pixels, theirs)
        assert np.array_equal(photo.rgb(), theirs[:, :, :3] >> 8)
        return
    theirs = open_pil(EVERY_KIND[name])
    if theirs.mode.startswith("I;16"):
        assert photo.pixels.dtype == np.uint16
        assert np.array_equal(photo.pixels, np.asarray(theirs))
    else:
        assert photo.mode == {"1": "L", "P": "RGB"}.get(theirs.mode, theirs.mode) or photo.format in ("bmp", "gif")
        assert np.array_equal(photo.rgb(), np.asarray(theirs.convert("RGB")))
    header = probe(EVERY_KIND[name])
    assert (header.format, header.mode, header.orientation) == (photo.format, photo.mode, photo.orientation)
    assert (header.height, header.width) == photo.pixels.shape[:2]


@pytest.mark.parametrize("name", EVERY_KIND)
def test_decoded_pixels_are_read_only(name):
    photo = decode(EVERY_KIND[name])
    for pixels in (photo.pixels, photo.upright()):
        with pytest.raises(ValueError, match="read-only"):
            pixels[0] = 0
    assert photo.rgb().flags.c_contiguous
    assert photo.rgb().dtype == np.uint8
    assert np.shares_memory(photo.upright(), photo.pixels)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_encoded_files_are_clean_and_of_the_same_kind(name):
    photo = decode(EVERY_KIND[name])
    data = encode(photo, halve(photo.upright()))
    assert audit(data) == []
    assert scrub(data) == data
    again = decode(data)
    assert (again.format, again.mode, again.orientation) == (photo.format, photo.mode, photo.orientation)
    assert (again.pixels.shape, again.pixels.dtype) == (photo.pixels.shape, photo.pixels.dtype)
    before, after = open_pil(EVERY_KIND[name]), open_pil(data)
    assert before.mode == after.mode


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_keep_what_did_not_change(name):
    photo = decode(EVERY_KIND[name])
    assert np.array_equal(decode(encode(photo, photo.upright())).pixels, photo.pixels)
    changed = halve(photo.upright())
    again = decode(encode(photo, changed)).upright()
    same = np.ones(changed.shape[:2], bool)
    same[2:6, 2:9] = False
    assert np.array_equal(again[same], photo.upright()[same])
    if photo.coding.indices is None:
        assert np.array_equal(again, changed)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("format", "options"), LOSSLESS_FORMATS[:2] + LOSSLESS_FORMATS[4:] + [("JPEG", {})])
def test_orientation(format, options, orientation):
    data = make_file("RGB", format, exif=exif_for(format, options, orientation), **options)
    photo = decode(data)
    theirs = np.asarray(ImageOps.exif_transpose(open_pil(data)))
    assert photo.orientation == orientation
    assert np.array_equal(photo.upright(), theirs)
    assert photo.upright_size == (theirs.shape[1], theirs.shape[0])
    changed = halve(photo.upright())
    new = encode(photo, changed)
    shown = np.asarray(ImageOps.exif_transpose(open_pil(new)))
    assert shown.shape == changed.shape
    assert error_against(shown, changed) < (12 if format == "JPEG" else 1e-9)
    assert probe(new) == probe(data)
    height, width = photo.pixels.shape[:2]
    box = orient(np.array([[3, 4, 8, 6]], np.float32), width, height, orientation)[0].astype(int)
    x0, y0, x1, y1 = box
    stored = np.zeros((height, width), bool)
    stored[4:6, 3:8] = True
    turned = type(photo)("png", "L", stored, orientation, photo.coding).upright()
    assert turned[y0:y1, x0:x1].all()
    assert turned.sum() == 10


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [5, 50, 92, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_coding_stays(subsampling, quality, progressive):
    data = make_jpeg(subsampling=subsampling, quality=quality, progressive=progressive)
    photo = decode(data)
    before, after = open_pil(data), open_pil(encode(photo, photo.upright()))
    assert before.quantization == after.quantization
    assert before.layer == after.layer
    assert before.info.get("progressive") == after.info.get("progressive")
    assert before.info["jfif_density"] == after.info["jfif_density"]
    assert error_against(np.asarray(before), np.asarray(after)) < 1.5


def test_jpeg_lopsided_quantisation_tables_stay():
    """A table that differs from its transpose shows a mix-up of zigzag and natural order."""
    first, second = [list(range(1, 65)), [200 - i for i in range(64)]]
    for tables in ([first], [first, second], [first, second, first], [first, [3 * v for v in second]]):
        data = make_jpeg(qtables=tables)
        photo = decode(data)
        after = encode(photo, photo.upright())
        assert open_pil(after).quantization == open_pil(data).quantization
        assert _tables_in_file(after) == _tables_in_file(data)


def test_jpeg_quantisation_tables_of_16_bits_stay():
    data = make_jpeg(qtables=[list(range(200, 264)), list(range(300, 364))])
    photo = decode(data)
    after = open_pil(encode(photo, photo.upright()))
    assert after.quantization == open_pil(data).quantization
    assert max(after.quantization[0]) == 263


def _tables_in_file(data):
    """Bodies of the DQT segments, found without a parser."""
    header = data[: data.index(b"\xff\xda")]
    return [header[m.end() : m.end() + 65] for m in re.finditer(rb"\xff\xdb..", header, re.DOTALL)]


def test_jpeg_other_subsamplings_become_444():
    data = cv2.imencode(
        ".jpg", make_pixels(48, 64), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
    )[1].tobytes()
    photo = decode(data)
    assert open_pil(data).layer[0][1:3] == (1, 2)
    after = open_pil(encode(photo, photo.upright()))
    assert [layer[1:3] for layer in after.layer] == [(1, 1)] * 3


def test_jpeg_rgb_without_transform_stays_right():
    data = make_jpeg(keep_rgb=True, subsampling=0, quality=95)
    photo = decode(data)
    after = encode(photo, photo.upright())
    assert open_pil(after).info["adobe_transform"] == 0
    assert error_against(np.asarray(open_pil(after)), np.asarray(open_pil(data))) < 1
    assert error_against(read_cv2(after), read_cv2(data)) < 1


@pytest.mark.parametrize("adobe", [True, False])
def test_jpeg_cmyk_stays_right(adobe):
    data = make_jpeg(mode="CMYK", quality=95)
    at = data.index(b"\xff\xee")
    data = data if adobe else data[:at] + data[at + 16 :]
    photo = decode(data)
    assert photo.mode == "CMYK"
    theirs = open_pil(data)
    assert np.array_equal(photo.pixels, np.asarray(theirs))
    assert error_against(photo.rgb(), np.asarray(theirs.convert("RGB"))) < 1
    after = encode(photo, photo.upright())
    assert (b"Adobe" in after) == adobe
    assert error_against(np.asarray(open_pil(after)), np.asarray(theirs)) < 1
    assert error_against(read_cv2(after), read_cv2(data)) < 1


def test_jpeg_ycck_becomes_cmyk():
    """Components marked as YCCK; Pillow converts them to CMYK when it reads."""
    data = bytearray(make_jpeg(mode="CMYK", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    photo = decode(bytes(data))
    after = encode(photo, photo.upright())
    assert open_pil(after).info["adobe_transform"] == 0
    assert error_against(np.asarray(open_pil(after)), photo.pixels) < 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profile_and_resolution_stay(format):
    options = {} if format == "WEBP" else {"dpi": (300, 300)}
    data = make_file(format=format, icc_profile=PROFILE, **options)
    photo = decode(data)
    after = open_pil(encode(photo, halve(photo.upright())))
    assert after.info["icc_profile"] == PROFILE
    assert after.info.get("dpi") == open_pil(data).info.get("dpi")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "group4"])
def test_tiff_compression_stays(compression):
    data = make_file("1" if compression == "group4" else "RGB", "TIFF", compression=compression)
    photo = decode(data)
    after = open_pil(encode(photo, photo.upright()))
    assert after.info["compression"] == open_pil(data).info["compression"] == compression


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("color", [0, 3])
def test_png_depth_and_palette_stay(depth, color):
    height, width = 7, 11
    indices = np.random.default_rng(0).integers(0, 1 << depth, (height, width), np.uint8)
    bits = np.unpackbits(indices[:, :, None], axis=2)[:, :, 8 - depth :].reshape(height, -1)
    rows = np.pad(np.packbits(bits, axis=1), ((0, 0), (1, 0)))
    colors = np.random.default_rng(1).integers(0, 256, (1 << depth, 3), np.uint8)
    palette = chunk(b"PLTE", colors.tobytes()) if color == 3 else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + palette
    data += chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    photo = decode(data)
    assert np.array_equal(photo.rgb(), np.asarray(open_pil(data).convert("RGB")))
    changed = photo.upright().copy()
    changed[2:5, 3:8] = photo.upright()[0, 0]
    after = encode(photo, changed)
    assert after[:33] == data[:33]
    assert np.array_equal(decode(after).pixels, changed)
    assert np.array_equal(np.asarray(open_pil(after).convert("RGB")), decode(after).rgb())
    if color == 3:
        assert palette in after


def make_transparent(format, alphas):
    """Palette image whose first colours have these alphas."""
    image = make_pil("RGB", 20, 20).quantize(16)
    options = {"transparency": alphas} if format == "PNG" else {"transparency": 0, "optimize": False}
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


@pytest.mark.parametrize(
    ("format", "alphas"), [("PNG", b"\0"), ("PNG", b"\0\x80\x40\xff\0"), ("PNG", b"\x80"), ("GIF", b"\0")]
)
def test_changed_palette_pixels_stay_transparent_or_opaque(format, alphas):
    data = make_transparent(format, alphas)
    photo = decode(data)
    assert photo.mode == "RGBA"
    assert np.array_equal(photo.pixels, np.asarray(open_pil(data).convert("RGBA")))
    changed = photo.upright().copy()
    changed[:, :, :3] = changed[::-1, ::-1, :3] // 2
    again = decode(encode(photo, changed)).pixels
    assert np.array_equal(again[:, :, 3] == 0, photo.pixels[:, :, 3] == 0)
    assert (again[:, :, 3][photo.pixels[:, :, 3] == 255] == 255).all()


def test_palette_pixels_take_the_nearest_color():
    photo = decode(make_file("P", "PNG"))
    changed = 255 - photo.upright()
    again = decode(encode(photo, changed)).pixels.reshape(-1, 3).astype(int)
    colors = photo.coding.colors.astype(int)
    best = ((changed.reshape(-1, 1, 3).astype(int) - colors) ** 2).sum(axis=2).min(axis=1)
    assert np.array_equal(((again - changed.reshape(-1, 3)) ** 2).sum(axis=1), best)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_png_color_key(mode):
    """A tRNS chunk makes one colour transparent: no changed pixel becomes it, none that has it loses it."""
    pixels = make_pixels(channels=3 if mode == "RGB" else 1)
    pixels[0:4, 0:4] = 40
    image = Image.fromarray(pixels if mode == "RGB" else pixels[:, :, 0])
    target = io.BytesIO()
    image.save(target, "PNG", transparency=(40, 40, 40) if mode == "RGB" else 40)
    photo = decode(target.getvalue())
    changed = photo.upright().copy()
    changed[2:8, 2:8] = 40
    changed[0, 0] = 99
    after = open_pil(encode(photo, changed)).convert("RGBA")
    alpha = np.asarray(after)[:, :, 3]
    before = np.asarray(open_pil(target.getvalue()).convert("RGBA"))[:, :, 3]
    assert np.array_equal(alpha, before)
    assert np.abs(np.asarray(after.convert("RGB")).astype(int)[2:8, 2:8] - 40).max() <= 1


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_16_bits(channels):
    pixels = make_pixels(channels=channels, dtype=np.uint16) + np.uint16(3)
    rows = np.pad(pixels.astype(">u2").view(np.uint8).reshape(len(pixels), -1), ((0, 0), (1, 0)))
    color = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), 16, color, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes()))
    data += chunk(b"IEND", b"")
    photo = decode(data)
    assert np.array_equal(photo.pixels, pixels)
    changed = halve(photo.upright())
    assert np.array_equal(decode(encode(photo, changed)).pixels, changed)


@pytest.mark.parametrize(("compression", "predictor"), [(1, 1), (5, 1), (5, 2), (8, 1), (8, 2)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_16_bits(compression, predictor, channels):
    pixels = make_pixels(channels=channels, dtype=np.uint16) + np.uint16(3)
    how = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    data = cv2.imencode(".tiff", pixels, how)[1].tobytes()
    photo = decode(data)
    theirs = pixels[:, :, 0] if channels == 1 else pixels[:, :, [2, 1, 0, 3][:channels]]
    assert np.array_equal(photo.pixels, theirs)
    changed = halve(photo.upright())
    back = read_cv2(encode(photo, changed))
    assert np.array_equal(back if channels == 1 else back[:, :, [2, 1, 0, 3][:channels]], changed)


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("height", [5, -5])
@pytest.mark.parametrize("header_bytes", [40, 56, 108, 124])
def test_bmp_layouts(bits, height, header_bytes):
    masks = {16: (0xF800, 0x7E0, 0x1F), 24: (0, 0, 0), 32: (0xFF0000, 0xFF00, 0xFF)}[bits]
    alpha = 0xFF000000 if bits == 32 and header_bytes > 40 else 0
    stride = (7 * bits + 31) // 32 * 4
    fields = struct.pack("<IiiHHIIiiII", header_bytes, 7, height, 1, bits, 0 if bits == 24 else 3, 0, 0, 0, 0, 0)
    dib = fields + struct.pack("<4I", *masks, alpha)
    dib = (dib[: max(header_bytes, 52)] if header_bytes <= 56 else dib).ljust(header_bytes, b"\0")
    pixels = np.random.default_rng(0).integers(0, 256, (5, stride), np.uint8)
    pixels[:, (7 * bits + 7) // 8 :] = 0
    start = struct.pack("<2sIHHI", b"BM", 14 + len(dib) + 5 * stride, 0, 0, 14 + len(dib))
    data = start + dib + pixels.tobytes()
    photo = decode(data)
    theirs = open_pil(data)
    assert photo.mode == theirs.mode
    assert np.array_equal(photo.pixels, np.asarray(theirs))
    same = encode(photo, photo.upright())
    assert np.array_equal(decode(same).pixels, photo.pixels)
    assert same == scrub(data) or (bits == 32 and not alpha)
    changed = halve(photo.upright())
    again = decode(encode(photo, changed)).pixels
    assert np.abs(again.astype(int) - changed).max() <= (0 if bits > 16 else 8)


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
@pytest.mark.parametrize("quality", [10, 30, 50, 75, 80, 90, 95, 100])
def test_webp_lossy_keeps_about_its_quality(name, quality):
    """The truth is what libwebp was told."""
    with Image.open(next((EXAMPLES / name).glob("*.*"))) as image:
        data = encode_image(image.convert("RGB"), ".webp", quality=quality)
    photo = decode(data)
    estimate = vp8.quality_of(photo.coding.parts.pixels)
    assert abs(estimate - quality) <= (6 if quality >= 80 else 20)
    again = encode(photo, photo.upright())
    assert 0.6 * len(data) < len(again) < 1.6 * len(data)


@given(st.binary(max_size=200))
def test_webp_quality_of_any_bytes(frame):
    assert 1 <= vp8.quality_of(frame) <= 100


def test_webp_lossy_alpha_is_lossless():
    data = make_file("RGBA", "WEBP", height=40, width=50)
    photo = decode(data)
    again = decode(encode(photo, photo.upright()))
    assert np.array_equal(again.pixels[:, :, 3], photo.pixels[:, :, 3])
    assert error_against(again.pixels, photo.pixels) < 6


def test_alpha_does_not_hide_colors():
    pixels = make_pixels(channels=4)
    pixels[:, :, 3] = 0
    target = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(target, "PNG")
    assert np.array_equal(decode(target.getvalue()).rgb(), pixels[:, :, :3])


@pytest.mark.parametrize("size", [(30000, 10), (10, 30000), (1, 1)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "GIF"])
def test_extreme_sizes(size, format):
    data = make_file("P" if format == "GIF" else "RGB", format, height=size[1], width=size[0])
    photo = decode(data)
    assert photo.upright_size == size
    after = encode(photo, photo.upright())
    assert audit(after) == []
    assert probe(after).upright_size == size


def test_large_images_are_refused_before_they_are_decoded():
    data = make_file(format="PNG")
    with pytest.raises(ImageError, match="at most 100 pixels"):
        decode(data, max_pixels=100)
    assert decode(data, max_pixels=13 * 17).upright_size == (17, 13)
    bomb = bytearray(make_file())
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    for function in (decode, scrub, audit):
        with pytest.raises(ImageError, match="at most"):
            function(bytes(bomb))


@pytest.mark.parametrize("mode", ["F", "I", "LAB", "YCbCr"])
def test_pixel_formats_that_cannot_be_kept_are_refused(mode):
    image = Image.new("RGB", (8, 8)).convert("L").convert(mode) if mode in "FI" else Image.new(mode, (8, 8))
    target = io.BytesIO()
    image.save(target, "TIFF")
    with pytest.raises(ImageError):
        decode(target.getvalue())


def test_encode_checks_what_it_is_given():
    photo = decode(make_file())
    for wrong in (photo.upright()[1:], photo.upright().astype(np.uint16), photo.upright()[:, :, 0]):
        with pytest.raises(ImageError, match="expected uint8 of shape"):
            encode(photo, wrong)


def test_text_chunks_do_not_reach_the_output():
    data = with_chunks(make_file(format="PNG"), chunk(b"tEXt", b"Comment\0SecretText"))
    photo = decode(data)
    assert b"Secret" not in encode(photo, photo.upright())


def test_suffixes_are_lower_case_with_a_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["1", "L", "LA", "RGB", "RGBA", "P"]),
    form=st.sampled_from(LOSSLESS_FORMATS),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    orientation=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_any_small_image_survives(mode, form, size, orientation, seed):
    format, options = form
    if (format == "BMP" and mode == "LA") or (format == "WEBP" and mode not in ("RGB", "RGBA")):
        return
    if format != "BMP":
        options = options | {"exif": exif_for(format, options, orientation)}
    data = make_file(mode, format, *size, seed=seed, **options)
    photo, clean = decode(data), scrub(data)
    assert audit(clean) == []
    theirs = ImageOps.exif_transpose(open_pil(data))
    assert np.array_equal(photo.rgb(), np.asarray(theirs.convert("RGB")))
    assert np.array_equal(decode(clean).upright(), photo.upright())
    same = encode(photo, photo.upright())
    assert audit(same) == []
    assert np.array_equal(decode(same).upright(), photo.upright())
    shown = ImageOps.exif_transpose(open_pil(same))
    assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(theirs.convert("RGB")))
