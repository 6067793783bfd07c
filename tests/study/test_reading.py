"""What a network is shown, against the files that `unface obfuscate` writes and against Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from study_sets import make_photos
from unface.errors import ImageError, InputError
from unface.obfuscate.transform import ObfuscatedFolder
from unface.study.labelled import open_images
from unface.study.packed import PackedViews, pack
from unface.study.reading import ViewReader, in_all
from unface.study.settings import SETTINGS, Setting, View, find_setting

HIDING = [name for name, setting in SETTINGS.items() if setting.hides]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    make_photos(root, (96, 72))
    return root


@pytest.fixture(scope="module")
def images(photos):
    return open_images(photos / "images", photos / "faces.parquet")


def shown(images, settings, packed=None):
    reader = ViewReader(images, settings, packed)
    return [reader.read(index) for index in range(len(images))]


@pytest.mark.parametrize("name", ["original", *HIDING])
def test_settings_show_what_the_torchvision_dataset_shows(photos, images, name):
    wanted = ObfuscatedFolder(photos / "images", photos / "faces.parquet", SETTINGS[name].obfuscation)
    for (views, which), (image, _) in zip(shown(images, [SETTINGS[name]]), wanted, strict=True):
        assert which == [0]
        np.testing.assert_array_equal(views[0], image)


def test_one_decode_serves_all_settings(images, monkeypatch):
    """Views are counted: without faces all settings that hide show one, and mean grey is shown once."""
    from unface.study import reading

    decoded, real = [], reading.decode_rows
    monkeypatch.setattr(reading, "decode_rows", lambda *given: decoded.append(1) or real(*given))
    row = [SETTINGS[name] for name in ("original", "red", "green", "blue", "mean", "overlaid", "blurred")]
    for index, (views, which) in enumerate(shown(images, row)):
        if images.face_counts[index]:
            assert which == [0, 1, 2, 3, 4, 4, 5]
            assert len(views) == 6
            assert len({view.tobytes() for view in views}) == 6
        else:
            assert which == [0] * 7
            assert len(views) == 1
    assert len(decoded) == len(images)


def test_the_control_is_compressed_as_pillow_does(photos, images):
    for index, (views, _) in enumerate(shown(images, [SETTINGS["reencoded"]])):
        buffer = io.BytesIO()
        with Image.open(photos / "images" / images.image_ids[index].as_py()) as image:
            image.convert("RGB").save(buffer, "JPEG", quality=75)
        with Image.open(buffer) as image:
            np.testing.assert_array_equal(views[0], image.convert("RGB"))


@pytest.fixture(scope="module")
def result(photos, tmp_path_factory):
    """A folder that `unface obfuscate` wrote."""
    from pipelines import obfuscate_dataset
    from unface.cli.pipeline import Session
    from unface.engine import LocalExecutor, Progress
    from unface.faces import read_faces
    from unface.obfuscate import Obfuscation
    from unface.obfuscate.stage import Writing

    dst = tmp_path_factory.mktemp("result") / "mine"
    with LocalExecutor(1) as executor:
        session = Session(executor, Progress(quiet=True))
        obfuscation = Obfuscation("overlay", color="red")
        table = read_faces(photos / "faces.parquet")
        obfuscate_dataset(session, photos / "images", table, obfuscation, Writing(), dst)
    return dst


def test_a_folder_is_shown_as_it_is(photos, images, result):
    setting = find_setting(str(result))
    assert setting == Setting("mine", folder=str(result))
    for index, (views, which) in enumerate(shown(images, [SETTINGS["original"], setting])):
        with Image.open(result / "images" / images.image_ids[index].as_py()) as image:
            np.testing.assert_array_equal(views[which[1]], image.convert("RGB"))
        assert which == ([0, 1] if images.face_counts[index] else [0, 0])


def test_only_what_every_setting_has(images, result, tmp_path):
    import shutil

    import pyarrow.parquet as pq

    shutil.copytree(result, tmp_path / "some")
    manifest = pq.read_table(result / "manifest.parquet")
    pq.write_table(manifest.slice(0, 4), tmp_path / "some/manifest.parquet")
    kept = in_all(images, [SETTINGS["original"], find_setting(str(tmp_path / "some"))])
    assert sorted(kept.image_ids.to_pylist()) == sorted(manifest["image_id"].to_pylist()[:4])
    assert kept.left_out == 5


def test_hiding_needs_faces(photos):
    with pytest.raises(InputError, match="setting blurred: expected faces"):
        in_all(open_images(photos / "images"), [SETTINGS["original"], SETTINGS["blurred"]])


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    make_photos(tmp_path)
    (tmp_path / "images/b/1.jpg").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(ImageError, match=r"^b/1\.jpg: "):
        shown(open_images(tmp_path / "images", tmp_path / "faces.parquet"), [SETTINGS["blurred"]])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_packed_copy_holds_the_same_pixels(images, tmp_path, workers):
    settings = [SETTINGS[name] for name in ("original", "blurred", "mean", "reencoded")]
    reader = ViewReader(images, settings)
    assert sum(pack(reader, tmp_path / "packed", 256, workers)) == 9
    packed = PackedViews(images, tmp_path / "packed")
    for (views, which), (wanted, wanted_which) in zip(
        shown(images, settings, packed), shown(images, settings), strict=True
    ):
        assert which == wanted_which
        for view, pixels in zip(views, wanted, strict=True):
            np.testing.assert_array_equal(view, pixels)


def test_packing_shares_goes_on_and_starts_anew(images, tmp_path):
    def made():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")}

    blurred, red = SETTINGS["blurred"], SETTINGS["red"]
    assert sum(pack(ViewReader(images, [blurred]), tmp_path, 48, 1)) == 9
    assert {path.parent.name for path in made()} == {"plain-faceless", "blur-safe-faces"}  # no face is stored in clear
    before = made()
    assert sum(pack(ViewReader(images, [blurred, red]), tmp_path, 48, 1)) == 9
    after = made()
    assert before.items() < after.items()
    assert {path.parent.name for path in after.keys() - before.keys()} == {"overlay-red-faces"}
    sizes = {path.parent.name: path.stat().st_size for path in after}
    assert sizes["plain-faceless"] == 3 * 64 * 48 * 3  # 96x72 to 64x48
    (tmp_path / "blur-safe-faces/00000.json").unlink()  # as if killed before it was whole
    list(pack(ViewReader(images, [blurred, red]), tmp_path, 48, 1))
    assert [path.parent.name for path in after if made()[path] != after[path]] == ["blur-safe-faces"]
    after = made()
    list(pack(ViewReader(images, [blurred, red]), tmp_path, 50, 1))
    assert all(made()[path] != after[path] for path in after)


def test_a_packed_copy_is_not_for_others_to_see(images, tmp_path):
    list(pack(ViewReader(images, [SETTINGS["original"]]), tmp_path / "packed", 48, 1))
    assert (tmp_path / "packed").stat().st_mode & 0o077 == 0


def test_a_damaged_packed_copy_is_refused(images, tmp_path):
    list(pack(ViewReader(images, [SETTINGS["original"]]), tmp_path, 48, 1))
    path = tmp_path / "plain-faces/00000.bin"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"00000\.json: expected \d+ bytes of pixels"):
        shown(images, [SETTINGS["original"]], PackedViews(images, tmp_path))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b"}, "plain name"),
        ({"name": ""}, "plain name"),
        ({"name": "x", "jpeg_quality": 0}, "jpeg_quality: expected 1 to 100, got 0"),
        ({"name": "x", "jpeg_quality": 75, "folder": "/y"}, "got both"),
    ],
)
def test_settings_that_are_none(options, said):
    with pytest.raises(InputError, match=said):
        Setting(**options)


def test_unknown_settings_name_the_known():
    with pytest.raises(InputError, match="setting blured: expected original, blurred, "):
        find_setting("blured")
    own = {"blurred": Setting("blurred", SETTINGS["blurred-paper"].obfuscation)}
    assert find_setting("blurred", own) is own["blurred"]
    names = [setting.view(True).name for setting in SETTINGS.values()]
    assert len(set(names)) == len(names) - 1  # overlaid is mean
    assert View().name == "plain"
