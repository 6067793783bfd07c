import json
import sys

import pytest
from PIL import Image

from builders import make_faces
from unface.cli import main
from unface.faces import faces_table, write_faces


@pytest.fixture
def unface(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unface", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out = capsys.readouterr()
        return end.value.code or 0, out.out, out.err

    return run


@pytest.fixture
def faces(tmp_path):
    rows = [
        make_faces("train/n01514859/1.JPEG"),
        make_faces("train/n01514859/2.JPEG", []),
        make_faces("train/n02206856/3.JPEG", [], status="reviewed"),
        make_faces("train/n02206856/4.JPEG", [], width=0, height=0, status="failed"),
    ]
    write_faces(tmp_path / "faces.parquet", faces_table(rows))
    return tmp_path / "faces.parquet"


def test_the_tables_are_on_standard_output(unface, faces):
    code, out, err = unface("stats", faces, "--synset", "hen.n.02")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "images 3" in lines
    assert "images with faces 1" in lines
    assert "images that failed, not counted 1" in lines
    assert "bird.n.01 1 2 50.00 %" in lines
    assert "hen.n.02 1 2 50.00 %" in lines
    assert "n01514859 hen 2 1 50.00 % 1" in lines
    assert "paper" not in out


def test_json_and_files(unface, faces, tmp_path):
    code, out, _ = unface("stats", faces, "-o", tmp_path / "out", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["with_faces"] == 1
    assert record["by_class"][0]["title"] == "hen"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "classes.csv", "faces_per_image.csv", "figure2.png", "figure2.svg", "least_affected.csv", "most_affected.csv",
        "overview.csv", "table2.csv",
    ]  # fmt: skip
    with Image.open(tmp_path / "out" / "figure2.png") as picture:
        picture.load()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.parquet"], "found no such file"),
        (["faces.parquet", "--synset", "x.n.01"], "expected a noun of WordNet"),
    ],
)
def test_wrong_use_is_told_in_one_line(unface, faces, monkeypatch, arguments, message):
    monkeypatch.chdir(faces.parent)
    code, out, err = unface("stats", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
