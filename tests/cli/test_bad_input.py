"""One dataset of everything that goes wrong, run once through the real command."""

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from builders import encode_image, make_image, write_image

ODD_NAME = os.fsdecode(b"odd/caf\xe9.jpg")

PUBLISHED = [
    "good/1.jpg",
    "good/cmyk.jpg",
    "good/grey.jpg",
    "good/palette.png",
    "good/16-bit.png",
    "good/16-bit-rgb.png",
    "good/tiny.png",
    "good/long.png",
    "good/inner-link.jpg",
    "odd/with space.jpg",
    "odd/new\nline.jpg",
    "odd/<script>alert(1).jpg",
    "case/a.jpg",
    "case/A.jpg",
]

REFUSED = {
    "bad/truncated.jpg": "ImageError",
    "bad/text.jpg": "ImageError",
    "bad/empty.jpg": "ImageError",
    "bad/bomb.png": "ImageError",
    "bad/animated.gif": "ImageError",
    "bad/outer-link.jpg": "ImageError",
    "bad/loop.jpg": "ImageError",
    "odd/caf\\udce9.jpg": "ImageError",
}


def png_bomb(side: int) -> bytes:
    """A small PNG that claims to be side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def animated_gif() -> bytes:
    frames = [make_image(mode="P", seed=seed) for seed in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Source, output, and what the command said."""
    root = tmp_path_factory.mktemp("bad")
    src = root / "src"
    jpeg = encode_image(make_image())
    for name in PUBLISHED:
        if name.endswith(".jpg") and "link" not in name:
            (src / name).parent.mkdir(parents=True, exist_ok=True)
            (src / name).write_bytes(jpeg)
    write_image(src / "good/cmyk.jpg", mode="CMYK")
    write_image(src / "good/grey.jpg", mode="L")
    write_image(src / "good/palette.png", mode="P")
    deep = (np.arange(40 * 30, dtype=np.uint16) * 50).reshape(30, 40)
    Image.fromarray(deep).save(src / "good/16-bit.png")
    import cv2

    assert cv2.imwrite(str(src / "good/16-bit-rgb.png"), np.dstack([deep, deep[::-1], deep.T.reshape(30, 40)]))
    write_image(src / "good/tiny.png", width=1, height=1)
    write_image(src / "good/long.png", width=30000, height=10)
    (src / "good/inner-link.jpg").symlink_to("1.jpg")
    (src / "bad").mkdir()
    (src / "bad/truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (src / "bad/text.jpg").write_text("I am no picture")
    (src / "bad/empty.jpg").touch()
    (src / "bad/bomb.png").write_bytes(png_bomb(60_000))
    (src / "bad/animated.gif").write_bytes(animated_gif())
    (root / "secret.jpg").write_bytes(jpeg)
    (src / "bad/outer-link.jpg").symlink_to(root / "secret.jpg")
    (src / "bad/loop.jpg").symlink_to("loop.jpg")
    (src / ODD_NAME).write_bytes(jpeg)
    (src / "notes.txt").write_text("not an image")
    command = [sys.executable, "-m", "unface", "run", str(src), str(root / "out"), "--detector", "yunet", "--json"]
    return src, root / "out", subprocess.run(command, capture_output=True, text=True)


def test_the_run_ends_with_1_and_no_traceback(bad):
    _, _, done = bad
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    record = json.loads(done.stdout)
    assert record["dataset"]["other_suffixes"] == {".txt": 1}
    assert record["verdict"]["passed"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_ordinary_odd_images_are_published(bad, name):
    src, out, _ = bad
    with Image.open(src / name) as before, Image.open(out / "images" / name) as after:
        assert before.size == after.size
        assert before.mode == after.mode
        assert np.array_equal(np.asarray(before), np.asarray(after))


@pytest.mark.parametrize(("name", "error_class"), REFUSED.items())
def test_broken_images_are_failures_and_not_published(bad, name, error_class):
    _, out, _ = bad
    failures = pd.read_parquet(out / "failures.parquet").set_index("image_id")
    assert failures.loc[name].error_class == error_class
    assert failures.loc[name].message.isprintable()
    assert not os.path.lexists(out / "images" / name)


def test_nothing_else_is_published_and_nothing_else_failed(bad):
    _, out, _ = bad
    published = {path.relative_to(out / "images").as_posix() for path in (out / "images").rglob("*.*")}
    assert published == set(PUBLISHED)
    assert set(pd.read_parquet(out / "failures.parquet").image_id) == set(REFUSED)
    assert set(pd.read_parquet(out / "manifest.parquet").image_id) == set(PUBLISHED)


def test_a_failed_image_is_a_row_of_the_faces_table(bad):
    _, out, _ = bad
    status = pd.read_parquet(out / "faces.parquet").set_index("image_id").status
    assert status["bad/text.jpg"] == "failed"
    assert status["good/1.jpg"] == "detected"


def test_the_page_is_inert(bad):
    page = (bad[1] / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def unface(*arguments: str | Path, **how) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unface", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **how)


def assert_one_line(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("unface: ")
    for word in words:
        assert word in done.stderr


@pytest.fixture
def src(tmp_path):
    write_image(tmp_path / "src" / "a.png")
    return tmp_path / "src"


def test_a_missing_source(tmp_path):
    assert_one_line(unface("run", tmp_path / "nowhere", tmp_path / "out"), 2, "nowhere", "found nothing there")
    assert not (tmp_path / "out").exists()


def test_an_empty_source(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "notes.txt").touch()
    assert_one_line(unface("run", tmp_path / "src", tmp_path / "out"), 2, "expected images, found none (1 files")
    write_image(tmp_path / "other" / "a.png")
    assert unface("run", tmp_path / "other", tmp_path / "out").returncode == 0  # the folder is still free


def test_a_destination_with_other_files(tmp_path, src):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    assert_one_line(unface("run", src, tmp_path / "out"), 2, "expected an empty folder")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"


def test_a_destination_made_with_other_parameters(tmp_path, src):
    assert unface("run", src, tmp_path / "out", "--detector", "yunet").returncode == 0
    before = (tmp_path / "out" / "images" / "a.png").read_bytes()
    done = unface("run", src, tmp_path / "out", "--detector", "yunet", "--method", "overlay")
    assert_one_line(done, 2, "made with method 'blur'", "has 'overlay'")
    assert (tmp_path / "out" / "images" / "a.png").read_bytes() == before


@pytest.mark.parametrize("dst", ["src/out", "src", "."])
def test_a_destination_in_or_around_the_source(tmp_path, src, dst):
    assert_one_line(unface("run", src, tmp_path / dst), 2, "apart from the dataset")
    assert sorted(path.name for path in src.iterdir()) == ["a.png"]


def test_a_destination_that_is_a_file(tmp_path, src):
    (tmp_path / "out").write_text("x")
    assert_one_line(unface("run", src, tmp_path / "out"), 2, "got a file")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--detector", "psychic"], ["psychic", "expected one of", "yunet"]),
        (["--method", "smear"], ["smear", "blur, overlay, mosaic"]),
        (["--preset", "mild"], ["mild", "safe, paper, imagenet"]),
        (["--method", "overlay", "--color", "beige-ish"], ["beige-ish", "#rrggbb"]),
        (["--method", "mosaic", "--cells", "0"], ["at least 1"]),
    ],
)
def test_wrong_options(tmp_path, src, option, words):
    assert_one_line(unface("run", src, tmp_path / "out", *option), 2, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_destination_without_permission():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        write_image(Path(folder) / "src" / "a.png")
        script = (
            "import os, zoneinfo, onnxruntime, cv2, jinja2, filelock; from unface.cli import main;"
            "import unface.cli.outcome, unface.detect.yunet, unface.weights; os.setuid(65534); main()"
        )
        quiet = ("-W", "ignore:resource_tracker")  # no child of nobody's can start a Python that lies in /root
        done = subprocess.run(
            [sys.executable, *quiet, "-c", script, "run", f"{folder}/src", f"{folder}/out", "--detector", "yunet"],
            capture_output=True,
            text=True,
        )
    assert_one_line(done, 2, f"{folder}/out", "Permission denied")
