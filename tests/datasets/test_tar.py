"""WebDataset: read what webdataset writes, be read by it, and take nothing hostile from an archive."""

import io
import tarfile
import tracemalloc

import pytest
import webdataset

from archives import listed, picture, read_tar, rewrite, write_tar, write_webdataset
from unface.datasets import Part, open_dataset
from unface.errors import ImageError, InputError


def test_images_of_every_shard_in_order(tmp_path):
    ids = write_webdataset(tmp_path / "src", shards=3)
    (tmp_path / "src/README.md").write_text("about")
    dataset = open_dataset(tmp_path / "src")
    assert dataset.kind == "webdataset"
    assert listed(tmp_path / "src") == dict.fromkeys(ids, "")
    assert dataset.survey().others == {".md": 1}
    assert dataset.read(ids[7]) == picture(7)
    assert dataset.read(ids[1]) == picture(1)
    assert dataset.has(ids[7])
    assert not dataset.has("set-000000.tar/nothing.jpg")
    assert not dataset.has("nothing.tar/a.jpg")


def test_a_pattern_and_one_shard(tmp_path):
    ids = write_webdataset(tmp_path, shards=3)
    assert list(listed(f"{tmp_path}/set-{{000001..000002}}.tar")) == ids[5:]
    assert list(listed(tmp_path / "set-000001.tar")) == ids[5:10]
    with pytest.raises(InputError, match=r"expected set-000003\.tar, found no such file"):
        listed(f"{tmp_path}/set-{{000001..000003}}.tar")


def test_nothing_but_images_changes(tmp_path):
    ids = write_webdataset(tmp_path / "src")
    out = rewrite(tmp_path / "src", tmp_path, {ids[1]: b"short", ids[7]: b"x" * 20_000})
    assert sorted(path.name for path in out.iterdir()) == ["set-000000.tar", "set-000001.tar"]
    for shard in ("set-000000.tar", "set-000001.tar"):
        before, after = read_tar(tmp_path / "src" / shard), read_tar(out / shard)
        assert list(before) == list(after)
        for name in before:
            wanted = {ids[1]: b"short", ids[7]: b"x" * 20_000}.get(f"{shard}/{name}", before[name])
            assert after[name] == wanted
        with tarfile.open(tmp_path / "src" / shard) as a, tarfile.open(out / shard) as b:
            assert [(i.mode, i.uid, i.uname, i.mtime) for i in a] == [(i.mode, i.uid, i.uname, i.mtime) for i in b]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_webdataset_reads_what_was_written(tmp_path):
    write_webdataset(tmp_path / "src")
    out = rewrite(tmp_path / "src", tmp_path)
    urls = [str(out / "set-000000.tar"), str(out / "set-000001.tar")]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg;png", "cls", "json"))
    assert [cls for _, cls, _ in samples] == [number % 3 for number in range(10)]
    assert samples[3][2] == {"caption": "ein Bild, Nummer 3 – ünï"}
    assert all(image.size == (120, 100) for image, _, _ in samples)


def test_a_sample_whose_image_failed_is_left_out_whole(tmp_path):
    ids = write_webdataset(tmp_path / "src", shards=1)
    out = rewrite(tmp_path / "src", tmp_path, {ids[2]: None})
    names = list(read_tar(out / "set-000000.tar"))
    assert len(names) == 12
    assert not [name for name in names if name.startswith("sample0002")]


def test_a_sample_of_two_images_keeps_the_good_one(tmp_path):
    members = [("a.left.jpg", picture(1)), ("a.right.jpg", picture(2)), ("a.txt", b"two"), ("b.txt", b"none")]
    write_tar(tmp_path / "src/x.tar", members)
    out = rewrite(tmp_path / "src", tmp_path, {"x.tar/a.left.jpg": None})
    assert read_tar(out / "x.tar") == dict(members[1:])
    out = rewrite(tmp_path / "src", tmp_path, {"x.tar/a.left.jpg": None, "x.tar/a.right.jpg": None})
    assert read_tar(out / "x.tar") == {"b.txt": b"none"}


def test_an_image_is_known_by_its_content_too(tmp_path):
    """A JPEG by another name must not pass as a file of another kind."""
    members = [("a.dat", picture(1)), ("b", picture(2, ".png")), ("c.jpg", b"no image"), ("d.npy", b"\x93NUMPY...")]
    write_tar(tmp_path / "x.tar", members)
    assert listed(tmp_path) == {"x.tar/a.dat": "", "x.tar/b": "", "x.tar/c.jpg": ""}


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"\xff\x0a", b"%PDF-1.7", b"8BPS"]
)
def test_what_may_show_people_and_cannot_be_read_is_left_out(tmp_path, head):
    write_tar(tmp_path / "src/x.tar", [("a.mp4", head + bytes(100)), ("a.txt", b"a"), ("b.jpg", picture(1))])
    ((name, why),) = [(k, v) for k, v in listed(tmp_path / "src").items() if v]
    assert name == "x.tar/a.mp4"
    assert "expected an image that can be read" in why
    assert list(read_tar(rewrite(tmp_path / "src", tmp_path) / "x.tar")) == ["b.jpg"]


def link(name, kind=tarfile.SYMTYPE, target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


HOSTILE = {
    "a link": [link("a.jpg")],
    "a hard link": [link("a.jpg", tarfile.LNKTYPE, "b.jpg")],
    "a device": [link("a.jpg", tarfile.CHRTYPE)],
    "a pipe": [link("a.jpg", tarfile.FIFOTYPE)],
    "a way out": [("../../a.jpg", b"x")],
    "a way out inside": [("c/../../a.jpg", b"x")],
    "an absolute name": [("/a.jpg", b"x")],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_hostile_members_are_refused_and_not_taken_over(tmp_path, members):
    write_tar(tmp_path / "src/x.tar", [*members, ("b.jpg", picture(1))])
    refused = {name: why for name, why in listed(tmp_path / "src").items() if why}
    assert len(refused) == 1
    for name in refused:
        with pytest.raises(ImageError):
            open_dataset(tmp_path / "src").read(name)
    out = rewrite(tmp_path / "src", tmp_path)
    assert read_tar(out / "x.tar") == {"b.jpg": picture(1)}
    assert {path.name for path in tmp_path.iterdir()} == {"src", "out"}


def test_a_name_twice_is_taken_once(tmp_path):
    write_tar(tmp_path / "src/x.tar", [("a.jpg", picture(1)), ("b.txt", b""), ("a.jpg", picture(2))])
    dataset = open_dataset(tmp_path / "src")
    (part,) = dataset.survey().parts
    first, second = dataset.entries(part)
    assert (first.image_id, first.refused) == ("x.tar/a.jpg", "")
    assert "each name once" in second.refused
    assert dataset.read("x.tar/a.jpg") == picture(1)
    assert list(read_tar(rewrite(tmp_path / "src", tmp_path) / "x.tar")) == ["a.jpg", "b.txt"]


@pytest.mark.parametrize("kept", [0, 100, 512, 1300, 15_000])
def test_a_damaged_archive_is_an_error_and_not_a_part(tmp_path, kept):
    write_webdataset(tmp_path, shards=1)
    path = tmp_path / "set-000000.tar"
    path.write_bytes(path.read_bytes()[:kept])
    if kept == 0:
        path.write_bytes(b"\1" * 5000)
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match=r"set-000000\.tar: expected an uncompressed tar"):
        list(dataset.entries(dataset.survey().parts[0]))


def test_a_header_bomb_is_refused_without_memory(tmp_path):
    """A pax header that claims to be as long as the whole (sparse) file."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 34
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 34)
    dataset = open_dataset(tmp_path)
    tracemalloc.start()
    with pytest.raises(InputError, match="headers of at most"):
        list(dataset.entries(dataset.survey().parts[0]))
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_member_too_large_is_refused_before_it_is_read(tmp_path):
    info = tarfile.TarInfo("a.jpg")
    info.size = 1 << 34
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate((1 << 34) + 10240)
    with pytest.raises(ImageError, match="expected at most"):
        open_dataset(tmp_path).read("x.tar/a.jpg")


def test_an_archive_that_changes_is_read_anew(tmp_path):
    write_tar(tmp_path / "x.tar", [("a.jpg", b"1")])
    dataset = open_dataset(tmp_path)
    assert dataset.read("x.tar/a.jpg") == b"1"
    write_tar(tmp_path / "x.tar", [("b.jpg", b"0"), ("a.jpg", b"two")])
    assert dataset.read("x.tar/a.jpg") == b"two"


def test_begin_does_away_with_what_was_published(tmp_path):
    write_webdataset(tmp_path / "src", shards=1)
    out = rewrite(tmp_path / "src", tmp_path)
    dataset = open_dataset(tmp_path / "src")
    sink = dataset.sink(out, tmp_path / "parts")
    sink.open()
    sink.begin(Part("set-000000.tar", ""))
    assert not list(out.iterdir())


def test_memory_does_not_grow_with_the_archive(tmp_path):
    big = [(f"{i:04d}.jpg", bytes(1_000_000)) for i in range(60)]
    write_tar(tmp_path / "src/x.tar", big)
    del big
    tracemalloc.start()
    rewrite(tmp_path / "src", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_names_of_any_length_and_alphabet(tmp_path):
    names = ["ü" * 60 + ".jpg", "d/" * 90 + "x.jpg", "leer zeichen.jpg", "<b>'\".jpg", "new\nline.jpg"]
    write_tar(tmp_path / "src/x.tar", [(name, picture(1)) for name in names])
    assert list(listed(tmp_path / "src")) == [f"x.tar/{name}" for name in names]
    out = rewrite(tmp_path / "src", tmp_path)
    assert list(read_tar(out / "x.tar")) == names


def test_folders_in_an_archive_stay(tmp_path):
    folder = tarfile.TarInfo("train")
    folder.type = tarfile.DIRTYPE
    write_tar(tmp_path / "src/x.tar", [folder, ("train/a.jpg", picture(1))])
    out = rewrite(tmp_path / "src", tmp_path)
    with tarfile.open(out / "x.tar") as tar:
        assert tar.getnames() == ["train", "train/a.jpg"]


def test_a_compressed_archive_is_no_dataset(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        info = tarfile.TarInfo("a.jpg")
        tar.addfile(info, io.BytesIO())
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match="uncompressed"):
        list(dataset.entries(dataset.survey().parts[0]))
