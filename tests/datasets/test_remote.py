"""Datasets behind URLs: memory://, and S3 over real HTTP."""

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from archives import listed, picture, read_tar, rewrite, write_hugging_face, write_webdataset
from unface.datasets import open_dataset
from unface.errors import ImageError, InputError


@pytest.fixture(scope="module")
def s3():
    """A bucket of a local S3 server; its URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    fsspec.config.conf["s3"] = {"endpoint_url": f"http://{host}:{port}", "key": "k", "secret": "s"}
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket"
    fsspec.config.conf.pop("s3")
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def place(request, tmp_path):
    root = "memory://tests" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{root}/{tmp_path.name}"


def upload(local, url):
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.put(f"{local}/", f"{path}/", recursive=True)


def test_a_folder(place, tmp_path):
    for number, name in enumerate(("a/1.jpg", "b/c/2.jpg", "b/notes.txt", "ü x.png")):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(picture(number))
    upload(tmp_path / "src", place)
    dataset = open_dataset(place)
    assert dataset.kind == "folder"
    assert listed(place) == dict.fromkeys(["a/1.jpg", "b/c/2.jpg", "ü x.png"], "")
    assert dataset.survey().others == {".txt": 1}
    assert dataset.read("b/c/2.jpg") == picture(1)
    assert dataset.has("a/1.jpg")
    assert not dataset.has("a/2.jpg")
    with pytest.raises(ImageError):
        dataset.read("a/2.jpg")
    with pytest.raises(ImageError):
        dataset.read("../a/2.jpg")
    before = dataset.survey().parts[0].stamp
    assert dataset.survey().parts[0].stamp == before
    (tmp_path / "src/a/1.jpg").write_bytes(picture(9))
    upload(tmp_path / "src", place)
    assert open_dataset(place).survey().parts[0].stamp != before


def test_tars(place, tmp_path):
    ids = write_webdataset(tmp_path / "src")
    upload(tmp_path / "src", place)
    assert listed(place) == dict.fromkeys(ids, "")
    assert list(listed(f"{place}/set-{{000001..000001}}.tar")) == ids[5:]
    out = rewrite(place, tmp_path)
    for shard in ("set-000000.tar", "set-000001.tar"):
        assert read_tar(out / shard) == read_tar(tmp_path / "src" / shard)


def test_parquet(place, tmp_path):
    ids = write_hugging_face(tmp_path / "src/x.parquet")
    upload(tmp_path / "src", place)
    assert listed(place) == dict.fromkeys(ids, "")
    assert listed(f"{place}/x.parquet") == dict.fromkeys(ids, "")
    assert open_dataset(place).read(ids[3]) == picture(3)


def test_what_is_not_there(place):
    with pytest.raises(InputError, match="no such file"):
        listed(f"{place}/nothing.tar")


@pytest.mark.parametrize("url", ["nothing://x/y", "s3://no-such-bucket-anywhere/x"])
def test_what_cannot_be_opened_is_one_line(url, s3):
    with pytest.raises(InputError, match="expected") as error:
        listed(url)
    assert "\n" not in str(error.value)
