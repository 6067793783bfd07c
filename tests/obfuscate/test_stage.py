"""How files are written: regions, whole pictures, a quality, links; the files are read back by other libraries."""

import io
import shutil
from pathlib import Path

import jpeglib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from builders import encode_image, make_faces, make_image
from pipelines import obfuscate_dataset
from unface.cli.pipeline import Session
from unface.engine import LocalExecutor, Progress
from unface.errors import InputError
from unface.faces import faces_table
from unface.images import decode, encode
from unface.obfuscate import Obfuscation
from unface.obfuscate.stage import ObfuscateStage, Writing

FACE = [(20, 16, 80, 80)]
FILES = {
    "fine.jpg": (FACE, {"quality": 95, "subsampling": 0}),
    "grey.jpg": (FACE, {"quality": 90}),
    "none.jpg": ([], {"quality": 95, "subsampling": 1, "progressive": True}),
    "face.png": (FACE, {}),
    "none.png": ([], {}),
}


@pytest.fixture(scope="module")
def session():
    with LocalExecutor(1) as executor:
        yield Session(executor, Progress(quiet=True))


@pytest.fixture
def src(tmp_path):
    (tmp_path / "src").mkdir()
    for seed, (name, (_, options)) in enumerate(FILES.items()):
        image = make_image(120, 100, seed=seed, mode="L" if name.startswith("grey") else "RGB")
        (tmp_path / "src" / name).write_bytes(encode_image(image, Path(name).suffix, **options))
    return tmp_path / "src"


def publish(session, src, dst, obfuscation, writing):
    """Run the stage over the folder; returns the mode of each file."""
    rows = [make_faces(name, boxes, 120, 100) for name, (boxes, _) in FILES.items()]
    report = obfuscate_dataset(session, src, faces_table(rows), obfuscation, writing, dst)
    assert not report.failures
    return pd.read_parquet(dst / "manifest.parquet").set_index("image_id")["mode"].to_dict()


def tables_of(data):
    """Quantisation tables and sampling, as Pillow reads them."""
    with Image.open(io.BytesIO(data)) as image:
        return image.quantization, [(layer[1], layer[2]) for layer in image.layer]


def test_regions_by_default(session, src, tmp_path):
    modes = publish(session, src, tmp_path / "dst", Obfuscation(), Writing())
    assert modes == {
        "fine.jpg": "region",
        "grey.jpg": "region",
        "none.jpg": "copied",
        "face.png": "reencoded",
        "none.png": "copied",
    }
    before, after = (jpeglib.read_dct(str(folder / "fine.jpg")) for folder in (src, tmp_path / "dst/images"))
    assert (before.Y != after.Y).any()
    np.testing.assert_array_equal(before.Y[12:], after.Y[12:])  # 80 px and the feather end in the 12th block


def test_reencode_keeps_tables_and_files_without_faces(session, src, tmp_path):
    modes = publish(session, src, tmp_path / "dst", Obfuscation(), Writing("reencode"))
    assert modes["fine.jpg"] == modes["grey.jpg"] == "reencoded"
    assert modes["none.jpg"] == "copied"
    before, after = ((folder / "fine.jpg").read_bytes() for folder in (src, tmp_path / "dst/images"))
    assert tables_of(before) == tables_of(after)


@pytest.mark.parametrize("quality", [1, 75, 100])
def test_quality_is_that_of_libjpeg_for_every_jpeg(session, src, tmp_path, quality):
    """As the paper wrote its images: Pillow's own `save(quality=…)`, which is 4:2:0."""
    modes = publish(session, src, tmp_path / "dst", Obfuscation(), Writing("reencode", quality))
    assert {name for name, mode in modes.items() if mode == "copied"} == {"none.png"}
    for name in ("fine.jpg", "grey.jpg", "none.jpg"):
        written = (tmp_path / "dst/images" / name).read_bytes()
        by_pillow = io.BytesIO()
        with Image.open(io.BytesIO(written)) as image:
            assert "progressive" not in image.info
            image.save(by_pillow, "JPEG", quality=quality)
        assert tables_of(written) == tables_of(by_pillow.getvalue())
    with Image.open(src / "none.jpg") as image:
        by_pillow = io.BytesIO()
        image.save(by_pillow, "JPEG", quality=quality)
    written, wanted = (Image.open(io.BytesIO(data)) for data in (written, by_pillow.getvalue()))
    np.testing.assert_array_equal(written, wanted)


def test_a_control_arm_encodes_the_same_files_and_hides_nothing(session, src, tmp_path):
    for writing in (Writing("reencode"), Writing("reencode", 75)):
        arms = {}
        for method in ("blur", "none"):
            dst = tmp_path / f"{method}{writing.quality}"
            arms[method] = publish(session, src, dst, Obfuscation(method), writing)
        assert arms["blur"] == arms["none"]
        photo = decode((src / "fine.jpg").read_bytes())
        assert (dst / "images/fine.jpg").read_bytes() == encode(photo, photo.upright(), writing.quality)
        np.testing.assert_array_equal(Image.open(dst / "images/face.png"), Image.open(src / "face.png"))
        weights = pd.read_parquet(dst / "manifest.parquet").set_index("image_id")["min_face_weight"]
        assert weights["fine.jpg"] == 0
        assert weights["none.jpg"] == 1


def test_links_share_what_needs_no_change(session, src, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Somebody"
    with Image.open(src / "none.png") as image:
        image.save(src / "none.png", exif=exif)
    link = Writing(link=True)
    publish(session, src, tmp_path / "dst", Obfuscation(), link)
    images = tmp_path / "dst/images"
    assert (images / "none.jpg").read_bytes() == (src / "none.jpg").read_bytes()
    assert (images / "none.png").read_bytes() != (src / "none.png").read_bytes()
    shared = {name for name in FILES if (images / name).samefile(src / name)}
    assert shared <= {"none.jpg"}  # empty where the file system has reflinks
    plain = publish(session, src, tmp_path / "plain", Obfuscation(), Writing())
    assert publish(session, src, tmp_path / "dst", Obfuscation(), link) == plain  # again, over what is there
    for name in FILES:
        assert (images / name).read_bytes() == (tmp_path / "plain/images" / name).read_bytes()
    originals = {name: (src / name).read_bytes() for name in FILES}
    shutil.rmtree(tmp_path / "dst")
    assert {name: (src / name).read_bytes() for name in FILES} == originals


def test_a_hard_link_where_there_are_no_reflinks(session, src, tmp_path, monkeypatch):
    from unface.datasets import FolderSink, folder

    monkeypatch.setattr(folder, "_reflink", lambda original, target: False)
    sink = FolderSink(tmp_path / "images", tmp_path / "parts")
    sink.open()
    (src / "symbolic.jpg").symlink_to("none.jpg")
    for _ in range(2):
        sink.link("deep/none.jpg", src / "symbolic.jpg")
    sink.close()
    published = tmp_path / "images/deep/none.jpg"
    assert published.samefile(src / "none.jpg")
    assert not published.is_symlink()
    sink.remove("deep/none.jpg")
    assert (src / "none.jpg").exists()


@pytest.mark.parametrize(
    ("writing", "said"),
    [
        ({"jpeg": "lossless"}, "jpeg: expected region, reencode, got 'lossless'"),
        ({"quality": 75}, "quality: expected jpeg 'reencode' with it, got 'region'"),
        ({"jpeg": "reencode", "quality": 0}, "quality: expected 1 to 100, got 0"),
        ({"jpeg": "reencode", "quality": 101}, "quality: expected 1 to 100, got 101"),
    ],
)
def test_what_does_not_go_together(writing, said):
    with pytest.raises(InputError, match=said):
        Writing(**writing)


def test_hiding_nothing_needs_reencoding():
    with pytest.raises(InputError, match="method 'none'"):
        ObfuscateStage(None, None, Obfuscation("none"), Writing())
