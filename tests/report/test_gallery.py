import base64
import io
import os

import numpy as np
import pytest
from PIL import Image

from builders import make_faces, make_image
from unface.errors import ImageError
from unface.report import write_report
from unface.report.folder import read_folder
from unface.report.gallery import make_gallery, select, spread
from unface.report.thumbnails import LONG_SIDE_PX, thumbnail_uri


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


def tiles(output, count: int = 60):
    return [tile for group in make_gallery(read_folder(output.path), count).groups for tile in group.tiles]


@pytest.mark.parametrize("count", [0, 1, 7, 60, 500])
@pytest.mark.parametrize("flagged_share", [0, 0.02, 1])
@pytest.mark.parametrize("face_share", [0, 0.1, 1])
def test_select_fills_the_count_without_repeats(count, flagged_share, face_share):
    rng = np.random.default_rng(0)
    total = 300
    faces = (rng.random(total) < face_share) * rng.integers(1, 9, total)
    flags = (rng.random(total) < flagged_share) * rng.integers(1, 4, total)
    chosen = select(faces, flags, rng.integers(0, 12, total), count)
    places = np.concatenate(list(chosen.values()))
    assert len(places) == len(set(places.tolist())) == min(count, total)
    assert (flags[chosen["flagged"]] > 0).all()
    assert (faces[chosen["most"]] > 0).all()
    assert (faces[chosen["none"]] == 0).all()
    if len(chosen["most"]):
        rest = np.setdiff1d(np.arange(total), np.concatenate([chosen["flagged"], chosen["most"]]))
        assert faces[chosen["most"]].min() >= faces[rest].max(initial=0)


def test_select_of_nothing():
    empty = np.zeros(0, np.int64)
    assert not any(len(places) for places in select(empty, empty, empty, 10).values())


def test_spread_takes_every_class_before_any_twice():
    classes = np.array([0] * 50 + [1] * 2 + [2] * 10)
    for count, expected in ((2, 2), (3, 3), (6, 3)):
        picked = spread(classes, count)
        assert len(set(picked.tolist())) == count
        assert len(set(classes[picked].tolist())) == expected
    assert np.bincount(classes[spread(classes, 6)]).tolist() == [2, 2, 2]


def test_spread_is_even_within_one_class():
    picked = spread(np.zeros(1000, np.int64), 10)
    assert np.diff([0, *picked, 1000]).max() < 250


def test_thumbnail_is_the_published_picture_not_the_original(tmp_path):
    original, published = make_image(900, 600, seed=1), Image.new("RGB", (900, 600), (10, 90, 200))
    (tmp_path / "images").mkdir()
    original.save(tmp_path / "original.png")
    published.save(tmp_path / "images" / "1.png")
    small = opened(thumbnail_uri(tmp_path / "images", "1.png"))
    assert small.size == (LONG_SIDE_PX, 213)
    assert np.abs(np.asarray(small).astype(int) - (10, 90, 200)).max() <= 3


def test_thumbnail_is_upright_and_bare(tmp_path):
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (0, 0, 100, 100))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "who is it"
    image.save(tmp_path / "1.jpg", exif=exif, comment=b"who is it", icc_profile=b"who is it", quality=95)
    uri = thumbnail_uri(tmp_path, "1.jpg")
    small = opened(uri)
    assert small.size == (100, 200)
    assert np.asarray(small)[20].mean() > 200 > 50 > np.asarray(small)[180].mean()
    assert not small.getexif()
    assert b"who is it" not in base64.b64decode(uri.partition(",")[2])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_thumbnail_of_every_mode(tmp_path, mode):
    base = np.linspace(0, 255, 64 * 48).reshape(48, 64)
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray((base * 200).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    else:
        image = Image.fromarray(base.astype(np.uint8)).convert("RGB").convert(mode)
    image.save(tmp_path / "1.tif")
    small = np.asarray(opened(thumbnail_uri(tmp_path, "1.tif")).convert("L")).astype(int)
    assert small.shape == (48, 64)
    assert small[:8].mean() < 60
    assert small[-8:].mean() > 190


def test_nothing_outside_the_folder_is_opened(tmp_path):
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    make_image().save(tmp_path / "secret.png")
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    (images / "dir.png").symlink_to(images / "sub")
    os.mkfifo(images / "pipe.png")
    (images / "text.png").write_text("no picture")
    (images / "vector.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    outside = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "..", "")
    inside = ("dir.png", "pipe.png", "text.png", "vector.eps", "none.png", "a\0b", "n" * 5000)
    for image_id in outside + inside:
        with pytest.raises(ImageError):
            thumbnail_uri(images, image_id)


def test_files_that_do_not_open_become_text(output):
    output.faces([make_faces("good.png"), make_faces("bad.png"), make_faces("gone.png")]).images("good.png", "bad.png")
    (output.path / "images" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    by_id = {tile.image_id: tile for tile in tiles(output)}
    assert by_id["good.png"].uri
    assert by_id["bad.png"].uri is None
    assert "cannot be opened" in by_id["bad.png"].reason
    assert "no such file" in by_id["gone.png"].reason


def test_only_published_images_without_a_definite_fault_are_shown(output):
    names = ["done.png", "failed.png", "faulty.png", "refused.png", "unknown.png"]
    output.faces([make_faces(name, status="failed" if name == "failed.png" else "detected") for name in names])
    output.images(*names).manifest(dict.fromkeys(("done.png", "failed.png", "faulty.png", "refused.png"), 1))
    place = dict.fromkeys(("x0", "y0", "x1", "y1", "score", "coverage"))
    weak = {"check": "covered", "definite": False, "message": "m", **place}
    output.verify({"done.png": [weak], "faulty.png": [{**weak, "definite": True}], "refused.png": []})
    gallery = make_gallery(read_folder(output.path), 60)
    assert [tile.image_id for group in gallery.groups for tile in group.tiles] == ["done.png", "refused.png"]
    assert (gallery.shown, gallery.withheld) == (2, 1)


def test_outlines_are_the_recorded_boxes(output):
    output.faces([make_faces("1.png", [(10, 8, 40, 40), (1.5, 2, 3, 4.25)])]).images("1.png")
    place = {"x0": 5.0, "y0": 6.0, "x1": 15.0, "y1": 26.0, "score": 0.5, "coverage": 0.0}
    output.verify({"1.png": [{"check": "uncovered", "definite": False, "message": "m", **place}]})
    (tile,) = tiles(output)
    assert tile.face_outline == "M10 8h30v32h-30zM1.5 2h1.5v2.2h-1.5z"
    assert tile.finding_outline == "M5 6h10v20h-10z"
    assert tile.checks == ["uncovered"]


def test_the_page_stays_small(output):
    noise = np.random.default_rng(0).integers(0, 256, (LONG_SIDE_PX, LONG_SIDE_PX, 3), np.uint8)
    (output.path / "images").mkdir()
    names = [f"{i}.bmp" for i in range(120)]
    for name in names:
        Image.fromarray(noise).save(output.path / "images" / name)
    output.faces([make_faces(name) for name in names])
    assert write_report(output.path, 120).stat().st_size < 6_000_000
    assert any("left out to keep this page small" in tile.reason for tile in tiles(output, 120))
