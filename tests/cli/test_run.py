"""The main street on the photos shipped with the project."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from builders import EXAMPLES, write_image

FACELESS = ["brick/wall.png", "cat/chelsea.png", "clock/wall.jpg", "coffee/espresso.png", "coffee/round.png"]
FACELESS += ["rocket/launch.jpg"]


BOX = {"x0": 1.0, "y0": 1.0, "x1": 20.0, "y1": 20.0, "score": 1.0, "label": "face", "source": "me"}


def unface(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unface", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def outputs(folder: Path) -> dict[str, str]:
    """Hashes of everything that a run is to reproduce; `run.json`, the report and the ledger hold times."""
    timed = {"run.json", "report.html", "privacy.json", "privacy.html"}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in timed and ".unface" not in path.parts
    }


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    out = tmp_path_factory.mktemp("examples") / "out"
    return out, unface("run", EXAMPLES, out, "--json")


def test_it_ends_with_0_and_says_what_it_did(examples):
    out, done = examples
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "done"
    assert record["verdict"]["passed"]
    assert record["stages"]["detect"]["images"] == len(list(EXAMPLES.rglob("*.*")))
    assert record == json.loads((out / "run.json").read_text())
    assert not (out / "failures.parquet").exists()


def test_the_faces_are_found(examples):
    faces = pd.read_parquet(examples[0] / "faces.parquet").set_index("image_id").boxes.map(len)
    assert faces["astronaut/collins.png"] >= 1
    assert faces["astronaut/turned.jpg"] >= 1
    assert faces["physicists/solvay_1927.jpg"] >= 27
    assert not faces[FACELESS].any()


def test_images_without_faces_keep_their_pixels_and_the_others_only_change_near_faces(examples):
    out, _ = examples
    rows = pd.read_parquet(out / "faces.parquet").set_index("image_id")
    for path in EXAMPLES.rglob("*.*"):
        image_id = path.relative_to(EXAMPLES).as_posix()
        with Image.open(path) as before, Image.open(out / "images" / image_id) as after:
            assert (before.format, before.size, before.mode) == (after.format, after.size, after.mode)
            assert before.getexif().get(0x0112, 1) == after.getexif().get(0x0112, 1)
            upright = [np.asarray(ImageOps.exif_transpose(image)).astype(int) for image in (before, after)]
            is_jpeg = before.format == "JPEG"
        changed = np.abs(upright[0] - upright[1]).reshape(*upright[0].shape[:2], -1).max(axis=2)
        outside = changed.copy()
        for box in rows.loc[image_id].boxes:
            reach = 0.5 * np.hypot(box["x1"] - box["x0"], box["y1"] - box["y0"])
            y0, x0 = max(0, int(box["y0"] - reach)), max(0, int(box["x0"] - reach))
            inside = changed[int(box["y0"]) : int(box["y1"]), int(box["x0"]) : int(box["x1"])]
            assert inside.max() > 10
            outside[y0 : int(box["y1"] + reach), x0 : int(box["x1"] + reach)] = 0
        if is_jpeg and image_id not in FACELESS:
            assert outside.mean() < 1  # requantised with the file's own tables
        else:
            assert outside.max() == 0


def test_no_metadata_survives(examples):
    published = (examples[0] / "images/astronaut/turned.jpg").read_bytes()
    assert b"unface example" not in published
    assert published.count(b"\xff\xd8\xff") == 1  # no second JPEG: no thumbnail
    with Image.open(examples[0] / "images/astronaut/turned.jpg") as image:
        assert dict(image.getexif()) == {0x0112: 6}


def test_the_same_command_again_finds_everything_done(examples):
    out, _ = examples
    before = outputs(out)
    done = unface("run", EXAMPLES, out, "--json")
    assert done.returncode == 0
    for stage in json.loads(done.stdout)["stages"].values():
        assert stage["resumed"] == stage["images"]
    assert outputs(out) == before


def test_detect_then_obfuscate_then_verify_equals_run(examples, tmp_path):
    out, _ = examples
    assert unface("detect", EXAMPLES, "-o", tmp_path / "faces.parquet").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".faces.parquet.work", "faces.parquet"]
    assert unface("obfuscate", EXAMPLES, tmp_path / "faces.parquet", tmp_path / "out").returncode == 0
    assert unface("verify", EXAMPLES, tmp_path / "out", "--detector", "none").returncode == 0
    expected = outputs(out)
    found = outputs(tmp_path / "out")
    assert found.keys() == expected.keys()
    different = {name for name in expected if found[name] != expected[name]}
    assert different <= {"faces.parquet"}  # other row groups; the rows are the same
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out/faces.parquet"), pd.read_parquet(out / "faces.parquet")
    )


def test_verify_ends_with_3_where_a_face_shows(examples, tmp_path):
    out = shutil.copytree(examples[0], tmp_path / "out")
    shutil.copy(EXAMPLES / "astronaut/collins.png", out / "images/astronaut/collins.png")
    done = unface("verify", EXAMPLES, out, "--json")
    assert done.returncode == 3
    assert "astronaut/collins.png: changed" in done.stderr
    assert json.loads(done.stdout)["verdict"]["passed"] is False


def test_obfuscate_publishes_only_what_the_table_knows(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / "src" / name)
    table = pd.DataFrame({"image_id": ["a.png", "b.png", "gone.png"]})
    table["width"], table["height"], table["boxes"] = 64, 48, [[], [], []]
    table["boxes"] = [
        [{"x0": 1.0, "y0": 1.0, "x1": 20.0, "y1": 20.0, "score": 1.0, "label": "face", "source": "me"}]
    ] * 3
    table["status"] = ["reviewed", "failed", "reviewed"]
    table.to_parquet(tmp_path / "mine.parquet")
    done = unface("obfuscate", tmp_path / "src", tmp_path / "mine.parquet", tmp_path / "out")
    assert done.returncode == 1
    assert [path.name for path in (tmp_path / "out/images").iterdir()] == ["a.png"]
    failures = pd.read_parquet(tmp_path / "out/failures.parquet").set_index("image_id").message
    assert set(failures.index) == {"b.png", "c.png", "gone.png"}
    assert "never looked at" in failures["c.png"]


def test_a_table_of_another_size_is_refused_per_image(tmp_path):
    write_image(tmp_path / "src/a.png")
    row = {"image_id": "a.png", "width": 48, "height": 64, "status": "reviewed", "boxes": [BOX]}
    pd.DataFrame([row]).to_parquet(tmp_path / "mine.parquet")
    done = unface("obfuscate", tmp_path / "src", tmp_path / "mine.parquet", tmp_path / "out")
    assert done.returncode == 1
    assert "expected the 48x64 px of faces.parquet, got 64x48 px" in done.stderr


def test_a_changed_dataset_is_brought_up_to_date(tmp_path):
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        write_image(tmp_path / "src" / name, seed=seed)
    command = ("run", tmp_path / "src", tmp_path / "out", "--detector", "yunet")
    assert unface(*command).returncode == 0
    (tmp_path / "src/b.png").unlink()
    write_image(tmp_path / "src/c.png", seed=7)
    write_image(tmp_path / "src/d.png", seed=8)
    assert unface(*command).returncode == 0
    assert {path.name for path in (tmp_path / "out/images").iterdir()} == {"a.png", "c.png", "d.png"}
    with Image.open(tmp_path / "src/c.png") as now, Image.open(tmp_path / "out/images/c.png") as published:
        assert np.array_equal(np.asarray(now), np.asarray(published))


@pytest.mark.parametrize("seed", range(4))
def test_kill_at_any_moment_and_the_same_command_goes_on(tmp_path, seed):
    """The outputs after kill -9 of the whole process tree and a second run equal those of an undisturbed run."""
    root = tmp_path
    src = root / "src"
    for number in range(40):
        write_image(src / f"{number % 3}/{number}.png", width=150, height=100, seed=number)
    shutil.copy(EXAMPLES / "astronaut/turned.jpg", src / "0/turned.jpg")
    command = [sys.executable, "-m", "unface", "run", str(src), str(root / "out"), "--detector", "yunet"]
    assert unface("run", src, root / "undisturbed", "--detector", "yunet").returncode == 0
    wait = random.Random(seed).uniform(0.5, 3)
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    time.sleep(wait)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert outputs(root / "out") == outputs(root / "undisturbed")
    assert not [path for path in (root / "out").rglob("*") if path.suffix == ".part" or path.name == "parts"]


def test_ctrl_c_says_so_and_the_same_command_goes_on(tmp_path):
    for number in range(60):
        write_image(tmp_path / f"src/{number}.png", width=400, height=300, seed=number)
    command = [
        sys.executable,
        "-m",
        "unface",
        "run",
        str(tmp_path / "src"),
        str(tmp_path / "out"),
        "--detector",
        "yunet",
    ]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "out/.unface/detect").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "unface: interrupted; the same command again goes on from here"
    assert "Traceback" not in said
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_two_runs_cannot_share_a_destination(tmp_path):
    from filelock import FileLock

    write_image(tmp_path / "src/a.png")
    command = ("run", tmp_path / "src", tmp_path / "out", "--detector", "yunet")
    assert unface(*command).returncode == 0
    with FileLock(tmp_path / "out/.unface/lock"):
        done = unface(*command)
    assert done.returncode == 2
    assert "another unface is at work" in done.stderr


def test_peak_memory_does_not_grow_with_the_dataset(tmp_path):
    peaks = []
    for images in (10, 300):
        src = tmp_path / f"src{images}"
        for number in range(images):
            path = write_image(src / f"{number}.jpg", width=320, height=240, seed=number % 5)
        assert path.exists()
        done = unface("run", src, tmp_path / f"out{images}", "--detector", "yunet", "--json")
        assert done.returncode == 0, done.stderr
        stages = json.loads(done.stdout)["stages"].values()
        peaks.append(max(stage["peak_memory_bytes"] for stage in stages))
    assert peaks[1] < 1.15 * peaks[0]
