import hashlib
import io
import re

import pytest
from PIL import ExifTags, Image, ImageChops, ImageOps, ImageStat

from builders import EXAMPLES

PHOTOS = sorted(path for path in EXAMPLES.rglob("*") if path.is_file())
PROVENANCE = (EXAMPLES.parent / "PROVENANCE.md").read_text()


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
def test_every_photo_opens_and_has_a_provenance(path):
    with Image.open(path) as image:
        image.load()
    section = PROVENANCE.split(f"## photos/{path.relative_to(EXAMPLES).as_posix()}\n")[1].split("##")[0]
    assert hashlib.sha256(path.read_bytes()).hexdigest() in section
    assert re.search(r"licence: (CC0|public domain)", section)


def test_nothing_is_listed_that_is_not_there():
    listed = re.findall(r"^## photos/(.+)$", PROVENANCE, re.MULTILINE)
    assert sorted(listed) == sorted(path.relative_to(EXAMPLES).as_posix() for path in PHOTOS)


def test_the_photos_are_many_and_small():
    assert len(PHOTOS) >= 8
    assert max(path.stat().st_size for path in PHOTOS) < 1_000_000
    assert sum(path.stat().st_size for path in PHOTOS) < 3_000_000


def test_one_is_stored_turned_with_a_thumbnail_and_a_place():
    with Image.open(EXAMPLES / "astronaut/turned.jpg") as image:
        exif = image.getexif()
        first = exif.get_ifd(ExifTags.IFD.IFD1)
        assert exif[ExifTags.Base.Orientation] == 6
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        start = image.info["exif"].removeprefix(b"Exif\0\0")
        thumbnail = start[first[0x0201] :][: first[0x0202]]
    with Image.open(io.BytesIO(thumbnail)) as small:
        with Image.open(EXAMPLES / "astronaut/turned.jpg") as image:
            assert image.width > image.height
            upright = ImageOps.exif_transpose(image).resize(small.size, Image.Resampling.LANCZOS)
        assert small.height > small.width
        difference = ImageStat.Stat(ImageChops.difference(upright, small.convert("RGB"))).mean
        assert max(difference) < 20  # about 5; each wrong way round gives over 60


def test_one_has_alpha_and_one_is_a_grey_jpeg():
    modes = set()
    for path in PHOTOS:
        with Image.open(path) as image:
            modes.add((image.format, image.mode))
    assert {("PNG", "RGBA"), ("JPEG", "L")} <= modes
