import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders import make_faces
from unface.cli.repair import Repairs
from unface.faces import FaceRow, Faces, face_rows, faces_table, write_faces
from unface.verify.stage import VERIFY_SCHEMA

STAMPS = {"a/1.jpg": "1", "b/2.jpg": "2"}


def finding(check="uncovered", definite=True, box=(30.0, 30.0, 44.0, 46.0), score=0.6):
    x0, y0, x1, y1 = box
    place = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": score, "coverage": 0.0}
    return {"check": check, "definite": definite, "message": "", **place}


def write_verify(path, findings):
    rows = [
        {
            "image_id": image_id,
            "status": "failed" if any(f["definite"] for f in found) else "listed",
            "rechecked": True,
            "residual_weight": None,
            "findings": found,
        }
        for image_id, found in findings.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=VERIFY_SCHEMA), path)


@pytest.fixture
def folder(tmp_path):
    rows = [make_faces("a/1.jpg", [(1, 1, 9, 9)]), make_faces("b/2.jpg", []), make_faces("c/3.jpg", [])]
    write_faces(tmp_path / "detected.parquet", faces_table(rows, {"detector": "me"}))
    return tmp_path


def rows_of(table) -> dict[str, FaceRow]:
    return {row.image_id: row for row in face_rows(table)}


def test_only_definite_uncovered_faces_are_added(folder):
    findings = {
        "a/1.jpg": [finding(), finding(definite=False), finding(check="covered", definite=False)],
        "b/2.jpg": [finding(definite=False)],
        "c/3.jpg": [finding(check="metadata")],
    }
    write_verify(folder / "verify.parquet", findings)
    repairs = Repairs.open(folder / "repairs.parquet", STAMPS | {"c/3.jpg": "3"})
    assert repairs.extend(folder / "verify.parquet", "me again") == 1
    table = repairs.apply(folder / "detected.parquet", folder / "faces.parquet")
    rows = rows_of(table)
    assert list(rows) == ["a/1.jpg", "b/2.jpg", "c/3.jpg"]
    assert rows["a/1.jpg"].faces.boxes_xyxy.tolist() == [[1, 1, 9, 9], [30, 30, 44, 46]]
    assert rows["a/1.jpg"].faces.sources == ("unknown", "me again")
    assert not len(rows["b/2.jpg"].faces)
    assert not len(rows["c/3.jpg"].faces)
    assert table.schema.metadata[b"unface.detector"] == b"me"
    assert pq.read_table(folder / "faces.parquet").to_pylist() == table.to_pylist()


def test_rounds_add_up_and_survive_the_end_of_the_process(folder):
    for box in ((30, 30, 44, 46), (50, 10, 60, 22)):
        write_verify(folder / "verify.parquet", {"b/2.jpg": [finding(box=box)]})
        assert Repairs.open(folder / "repairs.parquet", STAMPS).extend(folder / "verify.parquet", "me again") == 1
    rows = rows_of(Repairs.open(folder / "repairs.parquet", STAMPS).apply(folder / "detected.parquet", folder / "f"))
    assert rows["b/2.jpg"].faces.boxes_xyxy.tolist() == [[30, 30, 44, 46], [50, 10, 60, 22]]


def test_a_repair_of_an_image_that_has_changed_is_void(folder):
    write_verify(folder / "verify.parquet", {"a/1.jpg": [finding()], "b/2.jpg": [finding()]})
    Repairs.open(folder / "repairs.parquet", STAMPS).extend(folder / "verify.parquet", "me again")
    repairs = Repairs.open(folder / "repairs.parquet", {"a/1.jpg": "changed", "b/2.jpg": "2"})
    assert list(repairs.boxes) == ["b/2.jpg"]


def test_nothing_found_writes_nothing(folder):
    write_verify(folder / "verify.parquet", {"a/1.jpg": []})
    assert Repairs.open(folder / "repairs.parquet", STAMPS).extend(folder / "verify.parquet", "me again") == 0
    assert not (folder / "repairs.parquet").exists()


def test_candidates_that_are_faces_now_are_taken_out(folder):
    row = FaceRow("a/1.jpg", 64, 48, "detected", candidates=Faces.make([(31, 31, 43, 45), (2, 2, 9, 9)], [0.3, 0.2]))
    write_faces(folder / "detected.parquet", faces_table([row]))
    write_verify(folder / "verify.parquet", {"a/1.jpg": [finding()]})
    repairs = Repairs.open(folder / "repairs.parquet", STAMPS)
    repairs.extend(folder / "verify.parquet", "me again")
    rows = rows_of(repairs.apply(folder / "detected.parquet", folder / "faces.parquet"))
    assert rows["a/1.jpg"].candidates.boxes_xyxy.tolist() == [[2, 2, 9, 9]]
