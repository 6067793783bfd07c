import pyarrow as pa
import pytest

from builders import make_faces
from unface.cli.repair import Repairs
from unface.cli.rows import TableRows, WithMoreFaces
from unface.datasets import Part
from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.verify.stage import VERIFY_SCHEMA
from unface.verify.verdict import uncovered_faces

PART = Part("", "stamp", ("a/1.jpg", "b/2.jpg", "c/3.jpg"))


def finding(check="uncovered", definite=True, box=(30.0, 30.0, 44.0, 46.0), score=0.6):
    x0, y0, x1, y1 = box
    place = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": score, "coverage": 0.0}
    return {"check": check, "definite": definite, "message": "", **place}


def verified(findings):
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
    return uncovered_faces(pa.Table.from_pylist(rows, schema=VERIFY_SCHEMA), "me again")


DETECTED = (make_faces("a/1.jpg", [(1, 1, 9, 9)]), make_faces("b/2.jpg", []), make_faces("c/3.jpg", []))


@pytest.fixture
def repairs(tmp_path):
    return Repairs(tmp_path / "repairs")


def repaired(repairs, rows=DETECTED) -> dict[str, FaceRow]:
    table = WithMoreFaces(TableRows(faces_table(rows), [PART]), repairs).of(0, PART)
    return {row.image_id: row for row in face_rows(table)}


def test_only_definite_uncovered_faces_are_added(repairs):
    findings = {
        "a/1.jpg": [finding(), finding(definite=False), finding(check="covered", definite=False)],
        "b/2.jpg": [finding(definite=False)],
        "c/3.jpg": [finding(check="metadata")],
    }
    assert repairs.extend(0, PART, verified(findings)) == 1
    rows = repaired(repairs)
    assert list(rows) == ["a/1.jpg", "b/2.jpg", "c/3.jpg"]
    assert rows["a/1.jpg"].faces.boxes_xyxy.tolist() == [[1, 1, 9, 9], [30, 30, 44, 46]]
    assert rows["a/1.jpg"].faces.sources == ("unknown", "me again")
    assert not len(rows["b/2.jpg"].faces)
    assert not len(rows["c/3.jpg"].faces)


def test_rounds_add_up_and_survive_the_end_of_the_process(repairs):
    for box in ((30, 30, 44, 46), (50, 10, 60, 22)):
        assert Repairs(repairs.folder).extend(0, PART, verified({"b/2.jpg": [finding(box=box)]})) == 1
    assert repaired(repairs)["b/2.jpg"].faces.boxes_xyxy.tolist() == [[30, 30, 44, 46], [50, 10, 60, 22]]
    assert [path.name for path in repairs.folder.iterdir()] == ["000000.parquet"]


def test_a_repair_of_a_part_that_has_changed_is_void(repairs):
    repairs.extend(0, PART, verified({"a/1.jpg": [finding()]}))
    assert repairs.of(0, PART).keys() == {"a/1.jpg"}
    assert not repairs.of(0, Part("", "changed", PART.images))
    assert not repairs.of(1, PART)


def test_nothing_found_writes_nothing(repairs):
    assert repairs.extend(0, PART, verified({"a/1.jpg": []})) == 0
    assert not repairs.folder.exists()


def test_candidates_that_are_faces_now_are_taken_out(repairs):
    row = FaceRow("a/1.jpg", 64, 48, "detected", candidates=Faces.make([(31, 31, 43, 45), (2, 2, 9, 9)], [0.3, 0.2]))
    repairs.extend(0, PART, verified({"a/1.jpg": [finding()]}))
    assert repaired(repairs, [row])["a/1.jpg"].candidates.boxes_xyxy.tolist() == [[2, 2, 9, 9]]
