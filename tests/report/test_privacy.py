"""The privacy verdict: what it says, and what it must never say or hold."""

import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders import make_faces
from unface.report.privacy import Known, attack_table, pareto, write_privacy
from unface.verify.stage import VERIFY_SCHEMA

FACE = {"x0": 1.0, "y0": 1.0, "x1": 40.0, "y1": 40.0, "residual_weight": 0.02, "sigma_px": 8.0, "least_sigma_px": 8.27}
FACE |= {"values": 4563, "values_left": 192, "score": 0.2, "second_score": 0.0}


def attack(treatment: str, attack: str = "embedding", gallery: str = "originals", hits: int = 5, **facts) -> dict:
    row = {"attack": attack, "treatment": treatment, "through": "as published", "gallery": gallery, "measure": "rank1"}
    return {**row, "value": hits / 10, "hits": hits, "number": 10, "chance": 0.1, "setting": None, **facts}


ATTACKS = {
    "faces": 10,
    "deblurred": 10,
    "least_side_px": 32,
    "embedder": "dlib-resnet",
    "seal": "5ea1",
    "rows": [
        attack("as published", hits=1),
        attack("as published", "Wiener", hits=2, through="JPEG"),
        attack("as published", "Wiener", "", None or 0, through="JPEG", measure="ssim", value=0.41) | {"hits": None},
        attack("none", hits=9),
        attack("overlay", hits=0),
        attack("box removed", "embedding of the surroundings", "box removed", 7),
    ],
}


@pytest.fixture
def folder(output):
    output.faces([make_faces("a.jpg", [(1, 1, 40, 40)]), make_faces("b.jpg", [])]).manifest({"a.jpg": 1, "b.jpg": 0})
    seen = [{**{side: FACE[side] for side in ("x0", "y0", "x1", "y1")}, "score": 0.9, "covered": True}]
    rows = [
        {"image_id": "a.jpg", "status": "passed", "rechecked": True, "faces": [FACE], "second": seen, "findings": []},
        {"image_id": "b.jpg", "status": "passed", "rechecked": False, "faces": [], "second": [], "findings": []},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=VERIFY_SCHEMA), output.path / "verify.parquet")
    verified = {"detector": "cascade", "threshold": 0.35, "second": "yunet", "second_threshold": 0.5}
    verdict = {"passed": True, "definite": 0, "listed": {}, "checked": ["All."], "not_checked": ["Bodies."]}
    return output.run(
        unface_version="0.1.0",
        source="/data/<script>alert(1)</script>",
        config={"method": "blur", "preset": "safe", "cells": 8},
        manifest={"sha256": "5ea1", "lines": 2},
        verified=verified,
        verdict=verdict,
    ).path


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_says_what_was_found_and_holds_no_picture(folder):
    html = write_privacy(folder).read_text()
    assert "No definite fault was found" in html
    assert "5ea1" in html
    assert "at most 192" in html
    tags = Tags(html).found
    assert not {"img", "script", "iframe", "image"} & {tag for tag, _ in tags}
    assert not re.search(r"data:image|https?://", html)
    assert "anonym" not in html.lower()


def test_the_json_holds_all_that_the_page_says(folder):
    write_privacy(folder)
    facts = json.loads((folder / "privacy.json").read_text())
    assert facts["exact"]["most_values_left"] == 192
    assert facts["exact"]["lowest_sigma_share"] == pytest.approx(8 / 8.27)
    assert [each["name"] for each in facts["redetection"]] == ["cascade", "yunet"]
    assert (facts["redetection"][0]["low"]["hits"], facts["redetection"][0]["own"]["hits"]) == (1, 0)
    assert facts["leaks"]["estimated"]["faces"] == 1
    assert any("--attacks" in text for text in facts["not_tried"])
    assert any("--truth" in text for text in facts["not_tried"])


def test_a_failed_verdict_says_so(folder):
    record = json.loads((folder / "run.json").read_text())
    record["verdict"] |= {"passed": False, "definite": 2}
    (folder / "run.json").write_text(json.dumps(record))
    html = write_privacy(folder).read_text()
    assert "do not share this folder" in html
    assert "No definite fault was found" not in html


def test_attacks_count_for_the_files_they_were_run_on(folder):
    (folder / "attacks.json").write_text(json.dumps(ATTACKS))
    html = write_privacy(folder, Known(utility={"none": 70.0, "overlay": 65.0}, measure="top-1")).read_text()
    assert "ceiling: nothing hidden" in html
    assert "linked 20 % of the faces" in html
    assert "60%–98%" in html  # Wilson's limits of 9 of 10
    assert "Privacy against utility" in html
    (folder / "attacks.json").write_text(json.dumps({**ATTACKS, "seal": "another"}))
    assert "ceiling" not in write_privacy(folder).read_text()
    (folder / "attacks.json").write_text("{")
    write_privacy(folder)


def test_the_table_of_attacks():
    rows = {row.treatment: row for row in attack_table(ATTACKS)}
    assert list(rows) == ["as published", "none", "overlay"]
    assert rows["as published"].cells["deblurred"].value == "20%"
    assert rows["as published"].cells["ssim"] == ("0.41", "")
    assert rows["none"].cells["parrot"] is None


def test_what_another_treatment_beats_is_not_on_the_front():
    rows = {"rows": [attack("none", hits=9), attack("overlay", hits=0), attack("weak", hits=9), attack("good", hits=2)]}
    utility = {"measure": "top-1", "values": {"none": 70, "overlay": 60, "weak": 60, "good": 68, "unknown": 1}}
    front = {point.treatment: point.on_front for point in pareto(attack_table(rows), utility)}
    assert front == {"none": True, "overlay": True, "weak": False, "good": True}


def test_labels_of_the_plot_do_not_lie_on_each_other():
    rows = {"rows": [attack(name, hits=5) for name in ("none", "overlay", "same")]}
    points = pareto(attack_table(rows), {"measure": "top-1", "values": {"none": 1, "overlay": 1, "same": 1}})
    assert len({(point.x, point.y) for point in points}) == 1
    low, middle, high = sorted(point.label_y for point in points)
    assert middle - low >= 12
    assert high - middle >= 12
