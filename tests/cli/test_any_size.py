"""Archives, kills, several machines and a Ray cluster: always the output of one undisturbed run on a folder."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from archives import FACE, SIZE, picture, write_hugging_face, write_webdataset
from builders import make_faces
from unface.faces import faces_table, write_faces

IMAGES = 60


def unface(*arguments, check=True, **how) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unface", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, **how)
    assert not check or done.returncode == 0, done.stderr
    return done


def write_source(kind: str, src: Path, images: int = IMAGES) -> list[str]:
    """A dataset of some kind whose every second image has a face; returns its ids."""
    if kind == "webdataset":
        return write_webdataset(src, shards=4, samples=images // 4)
    if kind == "parquet":
        return [i for n in range(2) for i in write_hugging_face(src / f"part-{n}.parquet", images // 2)]
    ids = [f"{number % 3}/{number:04d}.jpg" for number in range(images)]
    for number, image_id in enumerate(ids):
        (src / image_id).parent.mkdir(parents=True, exist_ok=True)
        (src / image_id).write_bytes(picture(number))
    return sorted(ids)


def write_table(ids: list[str], path: Path) -> Path:
    write_faces(path, faces_table(make_faces(i, [FACE] if n % 2 else [], *SIZE) for n, i in enumerate(ids)))
    return path


def digests(folder: Path) -> dict[str, str]:
    """Every file of the output that is the same in every run: no times, no report."""
    files = [*(folder / "images").rglob("*"), *folder.glob("*.parquet")]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def no_leftovers(folder: Path) -> bool:
    return not [path for path in folder.rglob("*") if "part" in path.suffix and path.suffix != ".parquet"] and not list(
        (folder / ".unface").glob("parts*")
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet"])
def test_a_full_disk_ends_the_run_with_one_line_and_the_same_command_goes_on(tmp_path, kind):
    table = write_table(write_source(kind, tmp_path / "src"), tmp_path / "faces.parquet")
    unface("obfuscate", tmp_path / "src", table, tmp_path / "whole")
    pages = sum(-(-path.stat().st_size // 4096) for path in (tmp_path / "whole").rglob("*") if path.is_file())
    out = tmp_path / "out"
    out.mkdir()
    size = f"size={pages * 4096 // 2}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(out)], capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        done = unface("obfuscate", tmp_path / "src", table, out, check=False)
        assert done.returncode == 2
        assert "No space left on device" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
        unface("obfuscate", tmp_path / "src", table, out)
        assert digests(out) == digests(tmp_path / "whole")
        assert no_leftovers(out)
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.fixture(scope="module", params=["folder", "webdataset", "parquet"])
def source(request, tmp_path_factory):
    """A dataset, its faces, and the output of an undisturbed run."""
    root = tmp_path_factory.mktemp(request.param)
    ids = write_source(request.param, root / "src")
    faces = write_table(ids, root / "faces.parquet")
    unface("obfuscate", root / "src", faces, root / "undisturbed")
    return root


def test_every_image_is_published_once(source):
    manifest = pd.read_parquet(source / "undisturbed/manifest.parquet")
    assert manifest.image_id.tolist() == pd.read_parquet(source / "faces.parquet").image_id.tolist()
    assert set(manifest["mode"]) == {"region", "copied", "reencoded"} if source.name == "webdataset0" else {"region"}
    assert not (source / "undisturbed/failures.parquet").exists()
    assert no_leftovers(source / "undisturbed")


@pytest.mark.parametrize("seed", [0])
def test_killed_at_random_moments_and_gone_on_with(source, tmp_path, seed):
    """The whole process tree, some times in one run; the command is then run to its end."""
    moments = random.Random(seed)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "unface",
        "obfuscate",
        str(source / "src"),
        str(source / "faces.parquet"),
        str(out),
    ]
    for _ in range(3):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while (
            process.poll() is None and not list(out.glob(".unface/obfuscate/*")) and not list(out.glob(".unface/pa*"))
        ):
            time.sleep(0.01)
        time.sleep(moments.random() * 0.4)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    unface(*command[3:])
    assert digests(out) == digests(source / "undisturbed")
    assert no_leftovers(out)


def test_ranks_together_make_the_same(source, tmp_path):
    out = tmp_path / "out"
    arguments = ["obfuscate", source / "src", source / "faces.parquet", out, "--world-size", 3, "--rank"]
    for rank in (2, 0):
        said = unface(*arguments, rank).stderr
        assert f"rank {rank} of 3 is done" in said
        assert not (out / "manifest.parquet").exists()
    unface(*arguments, 1)
    assert digests(out) == digests(source / "undisturbed")
    assert json.loads((out / "run.json").read_text())["stages"]["obfuscate"]["images"] == IMAGES


def test_a_rank_that_is_none(tmp_path):
    done = unface("obfuscate", tmp_path, "f", "o", "--rank", 3, "--world-size", 3, check=False)
    assert (done.returncode, done.stderr) == (2, "unface: rank: expected 0 to 2 with world size 3, got 3\n")


def test_other_parameters_need_overwrite(source, tmp_path):
    out = tmp_path / "out"
    unface("obfuscate", source / "src", source / "faces.parquet", out, "--method", "mosaic")
    done = unface("obfuscate", source / "src", source / "faces.parquet", out, check=False)
    assert done.returncode == 2
    assert "was made with method 'mosaic', this run has 'blur'" in done.stderr
    unface("obfuscate", source / "src", source / "faces.parquet", out, "--overwrite")
    assert digests(out) == digests(source / "undisturbed")


def test_overwrite_never_touches_what_unface_did_not_make(source, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/mine.jpg").write_bytes(b"mine")
    done = unface("obfuscate", source / "src", source / "faces.parquet", tmp_path, "--overwrite", check=False)
    assert done.returncode == 2
    assert (tmp_path / "images/mine.jpg").read_bytes() == b"mine"


def test_retry_failed_does_what_failed(tmp_path):
    """An image that could not be read then, and can now."""
    ids = write_source("folder", tmp_path / "src", 30)
    faces = write_table(ids, tmp_path / "faces.parquet")
    unface("obfuscate", tmp_path / "src", faces, tmp_path / "undisturbed")
    arguments = ["obfuscate", tmp_path / "src", faces, tmp_path / "out", "--json"]
    bad = tmp_path / "src" / ids[7]
    good, facts = bad.read_bytes(), bad.stat()
    bad.write_bytes(b"x" * len(good))
    os.utime(bad, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert unface(*arguments, check=False).returncode == 1
    assert not (tmp_path / "out/images" / ids[7]).exists()
    bad.write_bytes(good)
    os.utime(bad, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert unface(*arguments, check=False).returncode == 1
    record = json.loads(unface(*arguments, "--retry-failed").stdout)
    assert record["stages"]["obfuscate"]["failures"] == {}
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_a_damaged_archive_fails_alone_and_what_it_was_is_gone(tmp_path, kind):
    ids = write_source(kind, tmp_path / "src", 20)
    faces = write_table(ids, tmp_path / "faces.parquet")
    arguments = ["obfuscate", tmp_path / "src", faces, tmp_path / "out"]
    unface(*arguments)
    name = ids[0].split("/")[0]
    data = (tmp_path / "src" / name).read_bytes()
    (tmp_path / "src" / name).write_bytes(data[: len(data) // 2])
    assert unface(*arguments, check=False).returncode == 1
    failures = pd.read_parquet(tmp_path / "out/failures.parquet")
    assert failures.image_id.tolist() == [name]
    assert not (tmp_path / "out/images" / name).exists()
    manifest = pd.read_parquet(tmp_path / "out/manifest.parquet")
    assert manifest.image_id.tolist() == [i for i in ids if not i.startswith(name)]


def test_an_archive_that_left_the_dataset_leaves_the_output(tmp_path):
    ids = write_source("webdataset", tmp_path / "src", 20)
    faces = write_table(ids, tmp_path / "faces.parquet")
    arguments = ["obfuscate", tmp_path / "src", faces, tmp_path / "out"]
    unface(*arguments)
    (tmp_path / "src/set-000002.tar").unlink()
    assert unface(*arguments, check=False).returncode == 1
    assert not (tmp_path / "out/images/set-000002.tar").exists()
    failures = pd.read_parquet(tmp_path / "out/failures.parquet")
    assert failures.image_id.tolist() == [i for i in ids if i.startswith("set-000002")]


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_run_and_verify(tmp_path, kind):
    write_source(kind, tmp_path / "src", 8)
    unface("run", tmp_path / "src", tmp_path / "out", "--detector", "yunet", "--workers", 1)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["dataset"]["kind"] == kind
    assert record["dataset"]["images"] == 8
    assert "No picture" not in (tmp_path / "out/report.html").read_text()
    unface("verify", tmp_path / "src", tmp_path / "out")
    (victim, *_) = sorted((tmp_path / "out/images").iterdir())
    victim.write_bytes(victim.read_bytes()[:-20_000])
    (tmp_path / "out/images/extra.jpg").write_bytes(picture(1))
    done = unface("verify", tmp_path / "src", tmp_path / "out", check=False)
    assert done.returncode == 3
    assert "extra.jpg: extra: is published" in done.stderr
    assert f"{victim.name}/" in done.stderr
    assert "the published archive cannot be read" in done.stderr


def test_a_url(tmp_path):
    """From a local S3 server over HTTP to a local folder; the credentials come from the environment, as always."""
    import fsspec
    from moto.server import ThreadedMotoServer

    ids = write_source("webdataset", tmp_path / "src", 20)
    faces = write_table(ids, tmp_path / "faces.parquet")
    unface("obfuscate", tmp_path / "src", faces, tmp_path / "undisturbed")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        filesystem = fsspec.filesystem("s3", endpoint_url=url, key="k", secret="s")
        filesystem.mkdir("shop")
        filesystem.put(f"{tmp_path}/src/", "shop/set/", recursive=True)
        secrets = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        unface("obfuscate", "s3://shop/set", faces, tmp_path / "out", env={**os.environ, **secrets})
    finally:
        server.stop()
    assert digests(tmp_path / "out") == digests(tmp_path / "undisturbed")
