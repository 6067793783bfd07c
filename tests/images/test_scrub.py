import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from images.image_files import (
    PROFILE,
    chunk,
    every_kind,
    make_exif,
    make_file,
    make_pil,
    read_cv2,
    read_pil,
    segment,
    with_chunks,
    with_segments,
)
from unface.errors import ImageError
from unface.images import audit, decode, probe, scrub

EVERY_KIND = every_kind()
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>SecretXmp</x:xmpmeta>"


def make_zip():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("secret.txt", "SecretZip")
    return target.getvalue()


def assert_clean_and_same(data):
    """The cleaned file is clean, keeps pixels, orientation and profile, and is stable."""
    clean = scrub(data)
    assert audit(clean) == []
    assert scrub(clean) == clean
    assert b"Secret" not in clean
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(clean))
    assert (before.mode, before.size) == (after.mode, after.size)
    assert np.array_equal(np.asarray(before), np.asarray(after))
    assert np.array_equal(read_cv2(data), read_cv2(clean))
    assert before.getexif().get(0x0112, 1) == after.getexif().get(0x0112, 1)
    assert before.info.get("icc_profile") == after.info.get("icc_profile")
    assert np.array_equal(decode(data).pixels, decode(clean).pixels)
    assert probe(data) == probe(clean)
    return clean


@pytest.mark.parametrize("name", EVERY_KIND)
def test_clean_files_stay_as_they_are(name):
    data = EVERY_KIND[name]
    assert audit(data) == []
    clean = scrub(data)
    before, after = read_pil(data), read_pil(clean)
    assert before is not None
    assert before[0] == after[0]
    assert np.array_equal(before[1], after[1])
    assert scrub(clean) == clean
    if not name.startswith("TIFF"):
        assert clean == data


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_leaves_only_the_orientation(format, orientation):
    data = make_file(format=format, exif=make_exif(orientation))
    found = audit(data)
    assert "EXIF" in found
    assert "GPS" in found
    if format != "TIFF":
        assert {"EXIF thumbnail", "maker note"} <= set(found)
    clean = scrub(data)
    assert audit(clean) == []
    assert b"Secret" not in clean
    exif = Image.open(io.BytesIO(clean)).getexif()
    assert exif.get(0x0112, 1) == orientation
    assert set(exif) <= {0x0112} if format != "TIFF" else not {0x8769, 0x8825, 0x010F} & set(exif)
    assert probe(data).orientation == probe(clean).orientation == decode(clean).orientation == orientation
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(upright), decode(clean).upright())
    assert decode(clean).upright_size == upright.size == probe(clean).upright_size


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_invalid_orientation_is_upright(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = make_file(exif=exif.tobytes())
    assert probe(data).orientation == 1
    assert audit(data) == ["EXIF"]
    assert b"Exif" not in scrub(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_sound_profile_stays(format):
    assert_clean_and_same(make_file(format=format, icc_profile=PROFILE))
    assert audit(make_file(format=format, icc_profile=PROFILE)) == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "profile",
    [
        b"SecretNotAProfile" * 20,
        PROFILE + b"Secret",
        PROFILE[:36] + b"xxxx" + PROFILE[40:],
        PROFILE[:128] + b"\xff\xff\xff\xff" + PROFILE[132:],
    ],
)
def test_a_damaged_profile_goes(format, profile):
    data = make_file(format=format, icc_profile=profile)
    assert audit(data) == ["damaged ICC profile"]
    clean = scrub(data)
    assert audit(clean) == []
    assert Image.open(io.BytesIO(clean)).info.get("icc_profile") is None


def test_a_profile_of_many_segments():
    big = bytearray(PROFILE + bytes(150_000))
    struct.pack_into(">I", big, 0, len(big))
    clean = assert_clean_and_same(make_file(icc_profile=bytes(big)))
    assert Image.open(io.BytesIO(clean)).info["icc_profile"] == bytes(big)


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (segment(0xE1, XMP), "XMP"),
        (segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x06Secret"), "IPTC"),
        (segment(0xFE, b"SecretComment"), "comment"),
        (segment(0xE2, b"MPF\0Secret"), "MPF preview"),
        (segment(0xE0, b"JFXX\0\x10Secret"), "JFXX thumbnail"),
        (segment(0xE5, b"Secret"), "APP5 segment"),
        (segment(0xE2, b"FPXR\0Secret"), "APP2 segment"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
def test_jpeg_segments(extra, name, options):
    data = with_segments(make_file(**options), extra)
    assert audit(data) == [name]
    assert_clean_and_same(data)


def test_jpeg_segments_between_scans():
    data = make_file(progressive=True)
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    data = data[:second_scan] + segment(0xFE, b"SecretComment") + data[second_scan:]
    assert audit(data) == ["comment"]
    assert_clean_and_same(data)


def test_jpeg_jfif_thumbnail():
    plain = make_file()
    body = plain[6:18] + b"\x02\x02" + b"Secret-thumb"
    data = plain[:2] + segment(0xE0, body) + plain[20:]
    assert audit(data) == ["JFIF thumbnail"]
    assert assert_clean_and_same(data) == plain


def test_jpeg_second_image_and_zip_behind_the_end():
    first, second = make_file(), make_file(seed=5)
    tail = second + make_zip()
    data = with_segments(first, segment(0xE2, b"MPF\0Secret")) + tail
    assert audit(data) == ["MPF preview", f"{len(tail)} bytes behind the end"]
    assert scrub(data) == first


def test_a_pillow_mpo_loses_its_second_image():
    target = io.BytesIO()
    make_pil("RGB").save(target, "MPO", save_all=True, append_images=[make_pil("RGB", seed=3)])
    clean = scrub(target.getvalue())
    assert audit(clean) == []
    assert Image.open(io.BytesIO(clean)).format == "JPEG"


def test_jpeg_fill_bytes_and_restart_markers_pass():
    plain = make_file(restart_marker_blocks=1)
    assert b"\xff\xd0" in plain
    data = plain[:2] + b"\xff\xff\xff" + plain[2:-2] + b"\xff\xff" + plain[-2:]
    assert audit(data) == ["5 bytes that are not part of the image"]
    assert scrub(data) == plain


def test_jpeg_adobe_marker_stays():
    for mode, options in (("CMYK", {}), ("RGB", {"keep_rgb": True})):
        data = make_file(mode, **options)
        assert b"Adobe" in data
        assert assert_clean_and_same(data) == data


def test_jpeg_arithmetic_frames_are_copied_and_lossless_ones_refused():
    plain = make_file()
    at = plain.index(b"\xff\xc0")
    lossless = plain[: at + 1] + b"\xc3" + plain[at + 2 :]
    with pytest.raises(ImageError, match="lossless"):
        scrub(lossless)
    arithmetic = plain[: at + 1] + b"\xc9" + plain[at + 2 :]
    assert scrub(arithmetic) == arithmetic


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (chunk(b"tEXt", b"Comment\0SecretText"), "text"),
        (chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"SecretText")), "text"),
        (chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0Secret"), "XMP"),
        (chunk(b"iTXt", b"Comment\0\0\0\0\0Secret"), "text"),
        (chunk(b"tIME", bytes([7, 230, 1, 2, 3, 4, 5])), "time"),
        (chunk(b"prVt", b"Secret"), "prVt chunk"),
        (chunk(b"gAMA", b"SecretLong"), "gAMA chunk"),
        (chunk(b"eXIf", make_exif(1)[6:]), "EXIF"),
    ],
)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_png_chunks(extra, name, before):
    data = with_chunks(make_file(format="PNG"), extra, before=before)
    assert audit(data)[0] == name
    assert_clean_and_same(data)


def test_png_color_chunks_stay():
    extra = [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        chunk(b"sRGB", b"\0"),
        chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    ]
    data = with_chunks(make_file(format="PNG"), *extra)
    assert audit(data) == []
    assert scrub(data) == data


def test_png_profile_name_is_not_kept():
    named = chunk(b"iCCP", b"SecretName\0\0" + zlib.compress(PROFILE))
    data = with_chunks(make_file(format="PNG"), named)
    assert audit(data) == ["ICC profile name"]
    assert_clean_and_same(data)


def test_png_data_behind_the_end_and_behind_the_pixels():
    plain = make_file(format="PNG")
    assert audit(plain + b"Secret") == ["6 bytes behind the end"]
    assert scrub(plain + b"Secret") == plain
    start = plain.index(b"IDAT")
    length = int.from_bytes(plain[start - 4 : start], "big")
    packed = plain[start + 4 : start + 4 + length]
    rows = zlib.decompress(packed)
    for longer in (packed + b"Secret", zlib.compress(rows + b"Secret more rows")):
        data = plain[: start - 4] + chunk(b"IDAT", longer) + chunk(b"IEND", b"")
        assert audit(data) == ["data behind the pixels"]
        assert_clean_and_same(data)
    second = plain[: start - 4] + chunk(b"IDAT", packed) + chunk(b"IDAT", b"Secret") + chunk(b"IEND", b"")
    assert audit(second) == ["data behind the pixels"]
    assert_clean_and_same(second)


def test_png_interlaced():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 1))
    columns_and_rows = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2))  # the passes of Adam7 that 4 x 4 pixels have
    rows = b"".join((b"\0" + bytes(range(3 * columns))) * lines for columns, lines in columns_and_rows)
    for extra, found in ((b"", []), (b"Secret", ["data behind the pixels"])):
        packed = chunk(b"IDAT", zlib.compress(rows + extra))
        data = b"\x89PNG\r\n\x1a\n" + header + packed + chunk(b"IEND", b"")
        assert audit(data) == found
        assert_clean_and_same(data)


@pytest.mark.parametrize(
    ("kind", "body", "name"),
    [
        (b"XMP ", b"SecretXmp", "XMP"),
        (b"EXIF", make_exif(1)[6:], "EXIF"),
        (b"ABCD", b"Secret", "unknown chunk"),
    ],
)
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_chunks(kind, body, name, lossless):
    plain = make_file("RGBA", "WEBP", lossless=lossless, exif=make_exif(6))
    extra = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    data = b"RIFF" + struct.pack("<I", len(plain) - 8 + len(extra)) + plain[8:] + extra
    assert name in audit(data)
    clean = assert_clean_and_same(data)
    assert clean[20] & 0x3C == 0x18


def test_webp_data_behind_the_end():
    plain = make_file(format="WEBP")
    assert audit(plain + b"Secret") == ["6 bytes behind the end"]
    assert scrub(plain + b"Secret") == plain


def test_tiff_tags():
    info = Image.Exif()
    for tag, value in (
        (270, "SecretDescription"),
        (305, "SecretSoftware"),
        (700, b"SecretXmp"),
        (315, "Secret"),
    ):
        info[tag] = value
    data = make_file(format="TIFF", exif=info, dpi=(300, 300))
    assert {"description", "software", "XMP", "artist"} <= set(audit(data))
    clean = assert_clean_and_same(data)
    assert Image.open(io.BytesIO(clean)).info["dpi"] == (300, 300)
    assert "bytes that are not part" in audit(make_file(format="TIFF") + b"Secret")[0]
    assert_clean_and_same(make_file(format="TIFF") + b"Secret")


def test_tiff_hidden_rows_go():
    """A strip may be longer than the rows of the image that it holds."""
    data = bytearray(make_file(format="TIFF", height=20))
    tag = struct.pack("<HH", 257, 4)
    at = data.find(tag) if tag in data else data.find(struct.pack("<HH", 257, 3))
    data[at + 8] = 7
    rows = (
        data.find(struct.pack("<HH", 278, 3))
        if struct.pack("<HH", 278, 3) in data
        else data.find(struct.pack("<HH", 278, 4))
    )
    data[rows + 8] = 7
    clean = scrub(bytes(data))
    assert "bytes that are not part" in audit(bytes(data))[0]
    assert len(clean) < 7 * 17 * 3 + 250
    assert decode(clean).pixels.shape == (7, 17, 3)


def test_gif_extensions():
    data = make_file("P", "GIF", comment=b"SecretComment", loop=0)
    assert set(audit(data)) >= {"comment"}
    assert_clean_and_same(data)
    plain = make_file("P", "GIF")
    at = plain.index(b",\0\0\0\0")
    extra = b"!\xff\x0bXMP DataXMP" + b"\x06Secret" + b"\0"
    assert audit(plain[:at] + extra + plain[at:]) == ["application extension"]
    assert scrub(plain[:at] + extra + plain[at:]) == plain
    assert audit(plain + b"Secret") == ["6 bytes behind the end"]


def test_gif_transparency_stays():
    data = make_file("P", "GIF", transparency=3, optimize=False)
    assert probe(data).mode == "RGBA"
    assert_clean_and_same(data)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp_trailing_gap_and_padding(mode):
    plain = make_file(mode, "BMP", width=18)
    assert audit(plain + b"Secret") == ["6 bytes behind the end"]
    assert scrub(plain + b"Secret") == plain
    offset = int.from_bytes(plain[10:14], "little")
    gap = plain[:10] + struct.pack("<I", offset + 6) + plain[14:offset] + b"Secret" + plain[offset:]
    assert audit(gap) == ["gap before the pixels"]
    assert scrub(gap) == plain
    if mode != "RGBA":
        padded = plain[:-1] + b"\x55"
        assert audit(padded) == ["row padding"]
        assert scrub(padded) == plain


def test_bmp_v5_profile_goes():
    pixels = make_pil("RGB", 4, 4).tobytes("raw", "BGR")
    dib = struct.pack("<IiiHHIIiiII", 124, 4, -4, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(16) + b"KNIL" + bytes(48)
    dib += struct.pack("<IIII", 4, 124 + len(pixels), 12, 0)
    assert len(dib) == 124
    data = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 138) + dib + pixels + b"Secret\\path"
    assert audit(data) == ["11 bytes behind the end"]
    clean = assert_clean_and_same(data)
    assert b"KNIL" not in clean


def test_animations_and_pages_are_refused():
    frames = {"save_all": True, "append_images": [make_pil("RGB", seed=3).convert("P")]}
    for format in ("GIF", "PNG", "WEBP", "TIFF"):
        target = io.BytesIO()
        make_pil("P").save(target, format, **frames)
        for function in (scrub, audit, decode):
            with pytest.raises(ImageError, match="not supported yet"):
                function(target.getvalue())


def test_lossy_tiff_and_bigtiff_are_refused():
    for options, message in (({"compression": "jpeg"}, "compression"), ({"big_tiff": True}, "BigTIFF")):
        with pytest.raises(ImageError, match=message):
            scrub(make_file(format="TIFF", **options))


@pytest.mark.parametrize("name", EVERY_KIND)
def test_truncated_files_are_refused(name):
    data = EVERY_KIND[name]
    for length in {0, 1, 2, 8, 12, 20, len(data) // 2, len(data) - 20, len(data) - 4, len(data) - 2}:
        for function in (scrub, audit, decode):
            with pytest.raises(ImageError) as caught:
                function(data[: max(length, 0)])
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"just some text in a file called .jpg", b"\xff\xd8\xff", b"BM", b"II*\0", b"GIF89a"]
)
def test_other_files_are_refused(data):
    for function in (probe, scrub, audit, decode):
        with pytest.raises(ImageError):
            function(data)


def test_hostile_lengths_are_fast():
    """Long runs that would cost quadratic time in a careless reader."""
    many = 400_000
    for data in (
        b"\xff\xd8" + b"\xff" * many,
        b"\xff\xd8" + b"\xff" * many + b"\0",
        b"\xff\xd8" + b"\xff\xe1\0\x02" * (many // 4),
        b"\xff\xd8\xff" + bytes(many),
        b"\x89PNG\r\n\x1a\n" + make_file(format="PNG")[8:33] + chunk(b"abCd", b"") * 20_000,
        b"GIF89a\x01\0\x01\0\0\0\0" + b"!\xfe\0" * 100_000,
    ):
        for function in (probe, scrub, audit):
            with pytest.raises(ImageError):
                function(data)


def test_tiff_strips_that_overlap_are_refused():
    count = 400
    pixels = bytes(3 * count)
    entries = [
        (256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1),
        (273, 4, count, 0), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, 0),
    ]  # fmt: skip
    place = 8 + 2 + 12 * len(entries) + 4
    tail = struct.pack(f"<{count}I", *[place] * count) + struct.pack(f"<{count}I", *[1000] * count) + pixels
    offsets = {273: place, 279: place + 4 * count}
    table = b"".join(struct.pack("<HHII", t, k, n, offsets.get(t, v)) for t, k, n, v in entries)
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + tail
    with pytest.raises(ImageError, match="overlap"):
        scrub(data)
