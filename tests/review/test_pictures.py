import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from builders import encode_image, make_image
from unface.errors import ImageError
from unface.images import audit
from unface.review import pictures
from unface.review.pictures import Pictures, show

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "secret maker"
    return tags.tobytes()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_browsers_show_keeps_its_pixels_and_loses_its_metadata(suffix, mode):
    mode = "RGB" if suffix == ".webp" else mode
    data = encode_image(make_image(mode=mode), suffix, exif=exif(1), icc_profile=SRGB)
    shown = show(data)
    assert shown.media_type == {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}[suffix]
    assert np.array_equal(np.asarray(opened(shown.data)), np.asarray(opened(data)))
    assert b"secret" not in shown.data
    assert audit(shown.data) == []


KINDS = [(".tif", "RGB"), (".tif", "L"), (".bmp", "RGB"), (".gif", "P"), (".jpg", "CMYK"), (".tif", "CMYK")]


@pytest.mark.parametrize(("suffix", "mode"), KINDS)
def test_what_browsers_do_not_show_becomes_a_jpeg(suffix, mode):
    made = make_image(mode="RGB").convert(mode)
    shown = show(encode_image(made, suffix))
    assert shown.media_type == "image/jpeg"
    assert opened(shown.data).mode == "RGB"
    assert difference(opened(shown.data), made) < 12


@pytest.mark.parametrize("orientation", range(2, 9))
def test_rotated_images_are_shown_upright(orientation):
    made = make_image(width=60, height=40)
    shown = opened(show(encode_image(made, ".jpg", quality=95, exif=exif(orientation))).data)
    turned = cv2.imdecode(
        np.frombuffer(encode_image(made, ".jpg", quality=95, exif=exif(orientation)), np.uint8), cv2.IMREAD_COLOR
    )
    assert not shown.getexif()
    assert difference(shown, Image.fromarray(turned[:, :, ::-1])) < 3


@pytest.mark.parametrize("values", [np.uint16(65535), np.uint16(0x8000)])
def test_16_bits_become_8(values):
    _, data = cv2.imencode(".png", np.full((20, 30, 3), values, np.uint16))
    shown = np.asarray(opened(show(data.tobytes()).data))
    assert abs(int(shown.mean()) - (int(values) >> 8)) <= 1


def test_what_a_transparent_pixel_hides_is_shown():
    pixels = np.asarray(make_image(mode="RGBA")).copy()
    pixels[:, :, 3] = 0
    hidden = Image.fromarray(pixels, "RGBA")
    shown = opened(show(encode_image(hidden, ".png")).data)
    assert difference(shown, hidden) < 8
    colour = tuple(int(v) for v in pixels[0, 0, :3])
    keyed = show(encode_image(Image.fromarray(pixels[:, :, :3]), ".png", transparency=colour))
    assert "transparency" not in opened(keyed.data).info


def test_colours_of_a_profile_become_srgb():
    """A profile with red and green exchanged: so must be the colours."""
    made = Image.new("RGB", (20, 20), (40, 180, 90))
    swapped = bytearray(SRGB)
    at = {swapped[i : i + 4].decode(): i for i in range(132, 132 + 12 * int.from_bytes(swapped[128:132]), 12)}
    swapped[at["rXYZ"] : at["rXYZ"] + 4], swapped[at["gXYZ"] : at["gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    data = encode_image(made, ".tif", icc_profile=bytes(swapped))
    red, green, blue = np.asarray(opened(show(data).data)).reshape(-1, 3).mean(axis=0)
    assert red == pytest.approx(180, abs=4)
    assert green == pytest.approx(40, abs=4)
    assert blue == pytest.approx(90, abs=4)


@pytest.mark.parametrize("profile", [b"nonsense", SRGB[:200], SRGB[:36] + b"xxxx" + SRGB[40:]])
def test_a_broken_profile_breaks_nothing(profile):
    made = make_image()
    assert difference(opened(show(encode_image(made, ".tif", icc_profile=profile)).data), made) < 8
    cmyk = show(encode_image(made.convert("CMYK"), ".jpg", icc_profile=SRGB))
    assert difference(opened(cmyk.data), made) < 12


def test_large_images_are_shown_smaller(monkeypatch):
    monkeypatch.setattr(pictures, "LONGEST_SIDE_PX", 100)
    made = make_image(width=300, height=150)
    for suffix in (".jpg", ".tif"):
        assert opened(show(encode_image(made, suffix)).data).size == (100, 50)
    assert opened(show(encode_image(make_image(width=100, height=3), ".png")).data).size == (100, 3)
    assert opened(show(encode_image(make_image(width=500, height=1), ".png")).data).size == (100, 1)


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", b"GIF89a"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ImageError):
        show(data)


class Counting:
    """A dataset that counts how often a file is read."""

    kind = "folder"

    def __init__(self) -> None:
        self.read_ids: list[str] = []

    def read(self, image_id: str) -> bytes:
        self.read_ids.append(image_id)
        return encode_image(make_image(seed=int(Path(image_id).stem)), ".jpg")


def test_the_latest_pictures_stay_in_memory_and_no_more(monkeypatch):
    size = len(show(Counting().read("1.jpg")).data)
    monkeypatch.setattr(pictures, "_MEMORY_BYTES", int(size * 2.5))
    dataset = Counting()
    kept = Pictures(dataset)
    for image_id in ("1.jpg", "2.jpg", "1.jpg", "3.jpg", "1.jpg", "2.jpg"):
        assert kept.picture(image_id).media_type == "image/jpeg"
    assert dataset.read_ids == ["1.jpg", "2.jpg", "3.jpg", "2.jpg"]
