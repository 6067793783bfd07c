"""`unface verify` from the command line: truth, groups, attacks, and wrong use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from builders import EXAMPLES


def unface(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "unface", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("verify")
    (root / "src").mkdir()
    photo = next((EXAMPLES / "astronaut").glob("*.png"))
    with Image.open(photo) as image:
        image.convert("RGB").save(root / "src" / "collins.png")
    done = unface("run", root / "src", root / "out", "--detector", "yunet", "--workers", "1")
    assert done.returncode == 0, done.stderr
    return root


def test_it_counts_leaks_against_a_truth_and_by_group(made, tmp_path):
    (tmp_path / "truth.csv").write_text("image_id,x0,y0,x1,y1\ncollins.png,150,60,330,300\ncollins.png,2,2,30,30\n")
    (tmp_path / "groups.csv").write_text(
        "image_id,group,x0,y0,x1,y1\ncollins.png,face,170,80,300,270\ncollins.png,corner,2,2,30,30\n"
    )
    done = unface(
        "verify", made / "src", made / "out", "--truth", tmp_path / "truth.csv", "--groups", tmp_path / "groups.csv",
        "--detector", "none", "--workers", "1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads((made / "out" / "privacy.json").read_text())
    assert facts["leaks"]["true"]["faces"]["number"] == 2
    assert facts["leaks"]["true"]["faces"]["hits"] >= 1
    assert facts["leaks"]["groups"]["rates"]["corner"]["share"] == 1
    assert facts["leaks"]["estimated"] is None
    assert facts["made"]["seal"] == json.loads(done.stdout)["manifest"]["sha256"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "yunet"], "expected another one than the run's own"),
        (["--embedder", "dlib-resnet"], "expected --attacks N"),
        (["--attacks", "2"], "expected at least 8 faces"),
        (["--attacks", "9", "--embedder", "x"], "expected dlib-resnet or the path"),
        (["--groups", "nothing.csv"], "expected a CSV file"),
        (["--utility", "nothing.csv"], "expected a CSV of treatments"),
    ],
)
def test_wrong_use_gets_one_line(made, arguments, message):
    done = unface("verify", made / "src", made / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
