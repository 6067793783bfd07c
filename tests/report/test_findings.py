import pytest

from builders import make_faces
from unface.report.findings import summarise, verdict
from unface.report.folder import read_folder


def finding(definite=False, check="uncovered", score=None):
    place = dict.fromkeys(("x0", "y0", "x1", "y1", "coverage"))
    return {"check": check, "definite": definite, "message": "why", "score": score, **place}


def judged(output):
    folder = read_folder(output.path)
    return verdict(folder, summarise(folder))


@pytest.fixture
def two(output):
    output.faces([make_faces("a.png"), make_faces("b.png")]).manifest({"a.png": 1, "b.png": 1})
    return output.verify({"a.png": [], "b.png": []})


def test_passed_without_run_json(two):
    assert judged(two).state == "passed"


def test_definite_finding_fails_whatever_run_json_says(two):
    two.verify({"a.png": [], "b.png": [finding(True, "changed")]}).run(verdict={"passed": True})
    result = judged(two)
    assert result.state == "failed"
    assert "found 1 definite fault in 1 image: do not share" in result.sentence


def test_run_json_alone_fails_but_never_passes(two):
    two.run(verdict={"passed": False, "definite": 3})
    assert judged(two).state == "failed"
    (two.path / "verify.parquet").unlink()
    assert judged(two).sentence == "Verify found 3 definite faults: do not share this folder."
    two.run(verdict={"passed": True})
    assert judged(two).state == "unchecked"
    assert "cannot be read" in judged(two).sentence


def test_a_finding_that_does_not_say_is_definite(two):
    two.verify({"a.png": [finding(None)], "b.png": []}, status="listed")
    assert judged(two).state == "failed"


def test_status_failed_without_findings_fails(two):
    two.verify({"a.png": [], "b.png": []}, status="failed")
    assert judged(two).state == "failed"


def test_all_unchecked_is_unchecked(two):
    two.verify({"a.png": [], "b.png": []}, status="unchecked", rechecked=False)
    assert judged(two).state == "unchecked"


def test_images_that_verify_left_out_are_counted(two):
    two.verify({"a.png": []})
    result = judged(two)
    assert result.state == "passed"
    assert "looked at 1 of 2 published images" in result.sentence
    assert "1 published image was not checked" in result.sentence


def test_findings_are_ordered_by_check_then_score(two):
    weak = [finding(check="covered", score=0.9), finding(score=0.3), finding(score=0.7), finding(check="new")]
    two.verify({"a.png": weak, "b.png": [finding(True, "extra")]})
    summary = summarise(read_folder(two.path))
    assert [(f["check"], round(f["score"] or 0, 1)) for f in summary.listed] == [
        ("uncovered", 0.7),
        ("uncovered", 0.3),
        ("covered", 0.9),
        ("new", 0),
    ]
    assert [(c.check, c.definite, c.listed) for c in summary.checks] == [
        ("uncovered", 0, 2),
        ("covered", 0, 1),
        ("extra", 1, 0),
        ("new", 0, 1),
    ]


def test_verify_table_without_findings_is_no_pass(two):
    two.table("verify", [{"image_id": "a.png", "status": "passed"}])
    assert judged(two).state == "unchecked"
    assert read_folder(two.path).notes
