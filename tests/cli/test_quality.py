import json
import sys

import pytest
from PIL import Image

from builders import make_faces, write_image
from unface.cli import main
from unface.faces import FaceRow, Faces, faces_table, write_faces


@pytest.fixture
def unface(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unface", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def folder(tmp_path):
    """Two classes; one face is found, one missed, one box is no face; people have corrected the last."""
    true = [
        make_faces("cat/1.jpg", [[10, 8, 40, 40]], status="reviewed"),
        make_faces("cat/2.jpg", [], status="reviewed"),
        make_faces("dog/3.jpg", [[10, 8, 40, 40]], status="reviewed"),
    ]
    found = [
        FaceRow("cat/1.jpg", 64, 48, "detected", Faces.make([[11, 8, 41, 40]], [0.9]), Faces.make([])),
        FaceRow("cat/2.jpg", 64, 48, "detected", Faces.make([[0, 0, 20, 20]], [0.6]), Faces.make([])),
        FaceRow("dog/3.jpg", 64, 48, "detected", Faces.make([]), Faces.make([[10, 8, 40, 40]], [0.2])),
    ]
    people = [found[0], make_faces("cat/2.jpg", [], status="reviewed"), found[2]]
    for name, rows in (("truth", true), ("found", found), ("people", people)):
        write_faces(tmp_path / f"{name}.parquet", faces_table(rows))
    return tmp_path


def test_the_tables_are_on_standard_output(unface, folder):
    code, out, err = unface(
        "quality", folder / "truth.parquet", folder / "found.parquet", "--refined", folder / "people.parquet"
    )
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "images compared 3" in lines
    assert "images with a face not hidden to 95 % (leak rate) 50.00 %" in lines
    assert "class images too many, predicted missed, predicted too many, refined missed, refined" in lines
    assert "cat 2 1 0 0 0" in lines
    assert "dog 1 0 1 0 1" in lines
    assert "all, per 50 images 3 16.67 16.67 0 16.67" in lines
    assert "all 2 1" in lines  # the candidate counts, the false positive in an image without a face does not


def test_json_and_files(unface, folder):
    command = ("quality", folder / "truth.parquet", folder / "found.parquet", "-o", folder / "out", "--json")
    code, out, _ = unface(*command, "--leak-rate", 0)
    assert code == 0
    record = json.loads(out)
    assert record["leak"]["hits"] == 1
    assert record["best"]["threshold"] == pytest.approx(0.2)
    assert record["best"]["leak"] == 0
    assert record["errors_by_class"]["classes"][0]["errors"][0]["false_positives"] == 1
    names = sorted(path.name for path in (folder / "out").iterdir())
    assert names == [
        "curve.csv", "overview.csv", "precision.csv", "quality.png", "quality.svg", "recall.csv", "table1.csv",
    ]  # fmt: skip
    with Image.open(folder / "out" / "quality.png") as picture:
        picture.load()
    before = (folder / "out" / "quality.svg").read_bytes()
    unface(*command, "--leak-rate", 0)
    assert (folder / "out" / "quality.svg").read_bytes() == before


def test_formats_of_convert_and_names_by_the_images(unface, folder):
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/3.jpg"):
        write_image(folder / "images" / name, width=64, height=48)
    (folder / "truth.txt").write_text(
        "1.jpg\n1\n10 8 30 32 0 0 0 0 0 0\n2.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n3.jpg\n1\n10 8 30 32 0 0 0 0 0 0\n"
    )
    code, out, _ = unface(
        "quality", folder / "truth.txt", folder / "found.parquet", "--images", folder / "images", "--json"
    )
    assert code == 0
    own = unface("quality", folder / "truth.parquet", folder / "found.parquet", "--json")[1]
    assert json.loads(out) == json.loads(own)


def test_faces_without_an_area_keep_their_number_in_the_difficulties(unface, folder):
    (folder / "truth.txt").write_text("cat/1.jpg\n2\n5 5 0 3 0 0 0 0 0 0\n10 8 30 32 0 0 0 0 0 0\n")
    (folder / "levels.json").write_text('{"cat/1.jpg": {"easy": [1], "hard": [1]}}')
    command = ("quality", folder / "truth.txt", folder / "found.parquet", "--difficulty", folder / "levels.json")
    code, out, err = unface(*command, "--json")
    assert code == 0
    assert "1 boxes without area" in err
    assert [(found["difficulty"], found["ap"]) for found in json.loads(out)["precisions"]] == [("easy", 1), ("hard", 1)]
    (folder / "levels.json").write_text('{"cat/1.jpg": {"easy": [0]}}')
    code, out, err = unface(*command)
    assert (code, out) == (2, "")
    assert "expected a face with an area, got number 0" in err


def test_labels(unface, folder):
    row = FaceRow("cat/1.jpg", 64, 48, "detected", Faces.make([[11, 8, 41, 40]], [0.9], label="nsfw"), Faces.make([]))
    write_faces(folder / "found.parquet", faces_table([row]))
    command = ("quality", folder / "truth.parquet", folder / "found.parquet", "--json")
    assert json.loads(unface(*command)[1])["leak"]["hits"] == 1
    assert json.loads(unface(*command, "--label", "face")[1])["leak"]["hits"] == 2
    candidate = Faces.make([[11, 8, 41, 40]], [0.3], label="nsfw")
    write_faces(folder / "found.parquet", faces_table([FaceRow("cat/1.jpg", 64, 48, "detected", row.faces, candidate)]))
    assert json.loads(unface(*command, "--label", "face", "--threshold", 0)[1])["leak"]["hits"] == 2
    assert json.loads(unface(*command, "--label", "nsfw", "--threshold", 0)[1])["faces"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.parquet", "found.parquet"], "found nothing there"),
        (["truth.parquet", "junk"], "expected annotations in a known format"),
        (["truth.parquet", "found.parquet", "--difficulty", "junk"], "expected JSON"),
        (["truth.parquet", "found.parquet", "--difficulty", "nothing"], "No such file"),
        (["truth.parquet", "found.parquet", "--difficulty", "wrong.json"], "expected a face from 0 to 0, got 7"),
        (["truth.parquet", "others.parquet"], "expected images of truth.parquet, found none"),
        (["truth.parquet", "nan.parquet"], "score: expected a number from 0 to 1, got nan"),
    ],
)
def test_wrong_use_is_told_in_one_line(unface, folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    (folder / "junk").write_bytes(b"\xff\x00junk")
    (folder / "wrong.json").write_text('{"cat/1.jpg": {"easy": [7]}}')
    row = FaceRow("cat/1.jpg", 64, 48, "detected", Faces.make([[1, 1, 9, 9]], [float("nan")]))
    write_faces(folder / "nan.parquet", faces_table([row]))
    write_faces(folder / "others.parquet", faces_table([make_faces("images/cat/1.jpg")]))
    code, out, err = unface("quality", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_wider_faces_against_themselves(unface, test_data):
    path = test_data / "face" / "wider_face_val_bbx_gt.txt"
    difficulty = ("--difficulty", test_data / "face" / "val_difficulty.json")
    _, out, _ = unface("quality", path, path, *difficulty, "--json")
    assert [found["ap"] for found in json.loads(out)["precisions"]] == [1, 1, 1]
