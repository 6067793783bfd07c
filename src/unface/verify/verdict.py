"""The verdict: what all of `verify.parquet` amounts to."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unface.errors import one_line
from unface.faces import Faces


@dataclass(frozen=True)
class Verdict:
    """What verify found.

    Attributes:
        passed: Nothing definite was found.
        definite: Number of definite findings.
        listed: Number of findings by check, definite ones included.
        images: Images by status: passed, listed, failed, unchecked.
        checked: What was tried, in sentences.
        not_checked: What was not tried, in sentences.
    """

    passed: bool
    definite: int
    listed: dict[str, int]
    images: dict[str, int]
    checked: list[str]
    not_checked: list[str]

    def record(self) -> dict[str, Any]:
        """The verdict as `run.json` holds it."""
        return asdict(self)


def read_verdict(path: Path) -> Verdict:
    """Sum up a `verify.parquet`."""
    table = pq.read_table(path)
    findings = _findings(table)
    images = _counts(table["status"])
    rechecked = pc.sum(table["rechecked"]).as_py() or 0
    definite = pc.sum(findings["definite"]).as_py() or 0
    unchecked = images.get("unchecked", 0)
    checked = [
        "Every image of the dataset is published or among the failures, and the published files are those of "
        "the manifest.",
        "Published files hold no metadata beyond colour profile and orientation.",
        "Images without recorded faces equal their originals, pixel for pixel.",
        f"{rechecked} images were decoded and searched again by the detector, and their face boxes searched "
        "for remains of the original.",
    ]
    not_checked = [
        "Whether a face that no detector saw is there: only people or ground truth can tell.",
        "Whether hidden faces can be recovered by trained attacks, or people recognised by body, clothes or place.",
    ]
    if unchecked:
        not_checked.insert(0, f"{unchecked} images that could not be read again.")
    return Verdict(definite == 0, definite, _counts(findings["check"]), images, checked, not_checked)


def definite_findings(path: Path, most: int) -> list[str]:
    """One line for each of the first definite findings: image, check, message."""
    table = pq.read_table(path, columns=["image_id", "status", "findings"])
    lines: list[str] = []
    for row in table.filter(pc.equal(table["status"], "failed")).to_pylist():
        for finding in row["findings"]:
            if finding["definite"] and len(lines) < most:
                score = "" if finding["score"] is None else f" (score {finding['score']:.2f})"
                lines.append(f"{one_line(row['image_id'])}: {finding['check']}: {finding['message']}{score}")
    return lines


def uncovered_faces(table: pa.Table, source: str) -> dict[str, Faces]:
    """For each image the detections that are definite and that no recorded box covers, `source` as their source.

    Args:
        table: Of `VERIFY_SCHEMA`.
        source: Who saw them.
    """
    found = {}
    for row in table.filter(pc.equal(table["status"], "failed")).to_pylist():
        uncovered = [f for f in row["findings"] if f["check"] == "uncovered" and f["definite"]]
        if uncovered:
            found[row["image_id"]] = Faces.from_structs([{**f, "label": "face", "source": source} for f in uncovered])
    return found


def _findings(table: pa.Table) -> pa.Table:
    flat = pc.list_flatten(table["findings"]).combine_chunks()
    names = ("check", "definite")
    return pa.table({name: pc.struct_field(flat, name) for name in names})


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counts = {entry["values"].as_py(): entry["counts"].as_py() for entry in pc.value_counts(column)}
    return dict(sorted(counts.items()))
