import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unface.datasets import Folder, FolderSink, Part, open_dataset
from unface.datasets.dataset import inside
from unface.datasets.folder import part_size, parts_of
from unface.errors import ImageError, InputError


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def ids(root: Path) -> list[str]:
    dataset = open_dataset(root)
    return [entry.image_id for part in dataset.survey().parts for entry in dataset.entries(part)]


def refused(root: Path) -> dict[str, str]:
    return {entry.image_id: entry.refused for entry in open_dataset(root).survey().refused}


def test_images_of_every_kind_are_found_sorted(tmp_path):
    names = ["b/2.JPEG", "b/10.png", "a.jpg", "a/x.WebP", "c/d/e/f.tif", "z.gif", "z.bmp", "B/2.JPEG"]
    assert ids(fill(tmp_path, *names)) == sorted(names)


def test_other_files_are_counted_and_left_out(tmp_path):
    fill(tmp_path, "a.jpg", "labels.csv", "b/notes.txt", "c/x.txt", "README", ".DS_Store", "b/._a.jpg", "x.heic")
    assert ids(tmp_path) == ["a.jpg"]
    assert open_dataset(tmp_path).survey().others == {"": 2, ".csv": 1, ".heic": 1, ".jpg": 1, ".txt": 2}


@pytest.mark.parametrize("name", ["with space.jpg", "new\nline.jpg", "<script>.jpg", "ünï.jpg", "a;b'\".jpg", "-x.jpg"])
def test_odd_names_are_read_and_written(tmp_path, name):
    dataset = open_dataset(fill(tmp_path / "src", f"c/{name}"))
    assert ids(dataset.root) == [f"c/{name}"]
    sink = FolderSink(tmp_path / "out", tmp_path / "parts")
    sink.open()
    sink.write(f"c/{name}", dataset.read(f"c/{name}"))
    assert Folder(tmp_path / "out").read(f"c/{name}") == f"c/{name}".encode()


def test_a_name_that_is_not_utf8_is_refused_in_one_printable_line(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    ((name, message),) = refused(tmp_path).items()
    assert name == "caf\\udce9.jpg"
    assert "UTF-8" in message
    name.encode()


def test_links(tmp_path):
    root = fill(tmp_path / "src", "a/real.jpg", "d/1.jpg")
    outside = fill(tmp_path / "other", "secret.jpg", "sub/x.jpg")
    (root / "inner.jpg").symlink_to("a/real.jpg")
    (root / "outer.jpg").symlink_to(outside / "secret.jpg")
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "folder").symlink_to(outside / "sub")
    (root / "a" / "up").symlink_to("..")
    assert ids(root) == ["a/real.jpg", "d/1.jpg", "inner.jpg"]
    found = refused(root)
    assert found.keys() == {"outer.jpg", "broken.jpg", "loop.jpg", "folder", "a/up"}
    assert "leaves" in found["outer.jpg"]
    assert "leaves" in found["folder"]
    assert "not followed" in found["a/up"]
    assert "link" in found["broken.jpg"]
    assert "link" in found["loop.jpg"]


def test_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "pipe" in refused(tmp_path)["pipe.jpg"]


def test_a_folder_with_an_image_name_is_walked(tmp_path):
    assert ids(fill(tmp_path, "folder.jpg/1.png")) == ["folder.jpg/1.png"]


def test_the_stamp_changes_with_the_file(tmp_path):
    fill(tmp_path, "a.jpg")
    before = open_dataset(tmp_path).survey().parts[0].stamp
    (tmp_path / "a.jpg").write_bytes(b"longer than before")
    assert open_dataset(tmp_path).survey().parts[0].stamp != before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_unreadable_files_and_folders_are_refused():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to others
        tmp_path = Path(folder)
        tmp_path.chmod(0o755)
        fill(tmp_path, "ok.jpg", "closed/1.jpg", "closed.jpg")
        (tmp_path / "closed").chmod(0)
        (tmp_path / "closed.jpg").chmod(0)
        script = (
            "import os, sys; from pathlib import Path; import unface.datasets as d, unface.images;"
            "os.setuid(65534);"
            "folder = d.Folder(Path(sys.argv[1])); survey = folder.survey();"
            "print(list(survey.parts[0].images), [r.image_id for r in survey.refused]);"
            "folder.read('closed.jpg')"
        )
        done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout, done.stderr
    assert done.stdout.strip() == "['closed.jpg', 'ok.jpg'] ['closed']"
    assert "ImageError: expected a readable file: Permission denied" in done.stderr


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_bytes(b"x"), lambda p: p.symlink_to(p)])
def test_what_is_no_folder_is_refused(tmp_path, make):
    make(tmp_path / "src")
    with pytest.raises(InputError, match="expected a folder of images"):
        open_dataset(tmp_path / "src")


@pytest.mark.parametrize("image_id", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "a\0b.jpg", "", ".."])
def test_no_id_leaves_the_root(tmp_path, image_id):
    with pytest.raises(ImageError, match="below the dataset's root"):
        inside(image_id)
    sink = FolderSink(tmp_path / "out", tmp_path / "parts")
    sink.open()
    with pytest.raises(ImageError):
        sink.write(image_id, b"x")
    with pytest.raises(ImageError):
        Folder(tmp_path).read(image_id)


def test_a_missing_image_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        Folder(tmp_path).read("a.jpg")


def test_sink_leaves_nothing_behind(tmp_path):
    sink = FolderSink(tmp_path / "out", tmp_path / "parts")
    sink.open()
    (tmp_path / "parts" / "interrupted").write_bytes(b"x")
    sink.write("a/1.jpg", b"1")
    sink.write("a/1.jpg", b"2")
    sink.remove("a/1.jpg")
    sink.remove("a/1.jpg")
    sink.close()
    assert not (tmp_path / "parts").exists()
    assert Folder(tmp_path / "out").files() == {}


def test_sink_knows_whether_names_fold(tmp_path):
    sink = FolderSink(tmp_path / "out", tmp_path / "parts")
    sink.open()
    (tmp_path / "a").touch()
    parts = [Part("", "", ("a.jpg", "b.jpg")), Part("", "", ("A.jpg",))]
    assert sink.clashes(parts) == ({"a.jpg", "A.jpg"} if (tmp_path / "A").exists() else set())


@pytest.mark.parametrize("images", [0, 1, 8, 9, 10_000, 1_431_093])
def test_parts_hold_every_image_once(images):
    names = [(str(i), "stamp") for i in range(min(images, 20_000))]
    parts = list(parts_of(names))
    assert [image_id for part in parts for image_id in part.images] == [name for name, _ in names]
    assert images == 0 or 8 <= part_size(images) <= 512


@pytest.mark.parametrize("length", [200, 251])
def test_long_names_can_be_written(tmp_path, length):
    name = "x" * length + ".jpg"
    sink = FolderSink(tmp_path / "out", tmp_path / "parts")
    sink.open()
    sink.write(name, b"1")
    assert sink.root.joinpath(name).read_bytes() == b"1"
