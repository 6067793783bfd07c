import json
import sys

import pytest

from builders import make_faces
from unface.cli import main
from unface.faces import FaceRow, Faces, face_rows, faces_table, read_faces, write_faces


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
        make_faces(f"{name}/{n}.jpg", [[1, 1, 9, 9]] * (name == "people"))
        for name in ["abcd", "people"]
        for n in range(6)
    ]
    rows += [make_faces(f"more{k}/{n}.jpg", []) for k in range(4) for n in range(6)]
    write_faces(tmp_path / "faces.parquet", faces_table(rows))
    return tmp_path / "faces.parquet"


def test_a_sample_is_drawn_answered_and_told(unface, faces, tmp_path):
    code, out, _ = unface("sample", faces, tmp_path / "task", "--classes", 2, "--images", 3, "--seed", 5, "--json")
    assert code == 0
    record = json.loads(out)
    assert [len(group["image_ids"]) for group in record["groups"]] == [3] * 4
    task = read_faces(tmp_path / "task" / "faces.parquet")
    assert len(task) == 12
    assert set(task["status"].to_pylist()) == {"detected"}

    def answer(row):
        """People find no face where the detector saw one, and one where it saw none, but for class b."""
        boxes = [[20, 20, 30, 30]] if not len(row.faces) and row.image_id < "b" else []
        return FaceRow(row.image_id, row.width, row.height, "reviewed", Faces.make(boxes, source="human"))

    write_faces(tmp_path / "answers.parquet", faces_table(answer(row) for row in face_rows(task)))
    code, out, _ = unface("sample", faces, tmp_path / "task", "--answers", tmp_path / "answers.parquet", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["unanswered"] == 0
    people = next(group for group in found["groups"] if group["title"] == "people")
    assert people["errors"][0]["false_positives"] == 3
    assert people["errors"][0]["images_with_false_positives"] == 3
    code, out, _ = unface("sample", faces, tmp_path / "task", "--answers", tmp_path / "answers.parquet")
    assert "Errors by class (Table 1)" in out
    assert "images for ± 1 %" in out


def test_what_nobody_answered_is_told(unface, faces, tmp_path):
    unface("sample", faces, tmp_path / "task", "--classes", 1, "--images", 2)
    code, _, err = unface("sample", faces, tmp_path / "task", "--answers", tmp_path / "task" / "faces.parquet")
    assert code == 0
    assert "4 of 4 images are not answered and not counted" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found nothing there"),
        ("{}", "expected what unface sample wrote"),
        ("[[", "expected what unface sample wrote"),
    ],
)
def test_a_bad_task_is_told_in_one_line(unface, faces, tmp_path, content, message):
    (tmp_path / "task").mkdir()
    if content is not None:
        (tmp_path / "task" / "sample.json").write_text(content)
    code, out, err = unface("sample", faces, tmp_path / "task", "--answers", faces)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_task_is_not_overwritten(unface, faces, tmp_path):
    assert unface("sample", faces, tmp_path / "task", "--images", 2)[0] == 0
    code, _, err = unface("sample", faces, tmp_path / "task", "--images", 2)
    assert code == 2
    assert "expected a folder that is empty or not there" in err
