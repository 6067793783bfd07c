import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders import make_faces, write_image
from unface.faces import FaceRow, Faces
from unface.faces.table import faces_table, write_faces

VERIFY = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),
        ("rechecked", pa.bool_()),
        ("residual_weight", pa.float32()),
        (
            "findings",
            pa.list_(
                pa.struct(
                    [("check", pa.string()), ("definite", pa.bool_()), ("message", pa.string())]
                    + [(name, pa.float32()) for name in ("x0", "y0", "x1", "y1", "score", "coverage")]
                )
            ),
        ),
    ]
)
PLACE = {"x0": 1.0, "y0": 2.0, "x1": 20.0, "y1": 30.0, "score": 0.61, "coverage": 0.1}
NOWHERE = dict.fromkeys(PLACE)


class OutputFolder:
    """An output folder that tests fill piece by piece."""

    def __init__(self, path: Path):
        self.path = path

    def faces(self, rows: list[FaceRow], **metadata: str) -> "OutputFolder":
        write_faces(self.path / "faces.parquet", faces_table(rows, metadata))
        return self

    def images(self, *image_ids: str, **how: int) -> "OutputFolder":
        for image_id in image_ids:
            write_image(self.path / "images" / image_id, **how)
        return self

    def manifest(self, faces_by_id: dict[str, int], **changes: object) -> "OutputFolder":
        rows = [
            {"image_id": image_id, "input_sha256": "a", "output_sha256": "b", "status": "done", "method": "blur"}
            | {"mode": "region" if faces else "copied", "preset": "safe", "faces": faces, "min_face_weight": 1.0}
            | {"error": None}
            | changes
            for image_id, faces in faces_by_id.items()
        ]
        return self.table("manifest", rows)

    def verify(self, findings_by_id: dict[str, list[dict]], **changes: object) -> "OutputFolder":
        rows = []
        for image_id, findings in findings_by_id.items():
            status = "failed" if any(f["definite"] for f in findings) else "listed" if findings else "passed"
            row = {"image_id": image_id, "status": status, "rechecked": True, "residual_weight": 0.02}
            rows.append({**row, "findings": findings, **changes})
        pq.write_table(pa.Table.from_pylist(rows, schema=VERIFY), self.path / "verify.parquet")
        return self

    def table(self, name: str, rows: list[dict]) -> "OutputFolder":
        pq.write_table(pa.Table.from_pylist(rows), self.path / f"{name}.parquet")
        return self

    def run(self, **content: object) -> "OutputFolder":
        (self.path / "run.json").write_text(json.dumps(content))
        return self


def finding(check: str = "uncovered", definite: bool = False, message: str = "looks like a face", **place) -> dict:
    return {"check": check, "definite": definite, "message": message, **NOWHERE, **place}


@pytest.fixture
def output(tmp_path: Path) -> OutputFolder:
    return OutputFolder(tmp_path)


@pytest.fixture
def whole(output: OutputFolder) -> OutputFolder:
    """Three classes, nine images, one of which failed; every table there is."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(9):
        corners = rng.uniform(0, 20, (i % 4, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(4, 28, (i % 4, 2))], axis=1)
        faces = Faces.make(boxes, rng.uniform(0.5, 1, i % 4), source="yunet")
        candidates = Faces.make([[1, 1, 9, 9]] * (i % 3), rng.uniform(0.1, 0.5, i % 3))
        rows.append(FaceRow(f"{'abc'[i % 3]}/{i}.png", 64, 48, "detected", faces, candidates))
    rows.append(make_faces("c/broken.png", [], status="failed"))
    done = {row.image_id: len(row.faces) for row in rows[:9]}
    found = {image_id: [] for image_id in done}
    found["a/0.png"] = [finding(**PLACE), finding("covered", message="still looks like a face", **PLACE)]
    output.faces(rows, threshold="0.5", detector="yunet", weights_sha256="8f" * 32).images(*done).manifest(done)
    output.verify(found)
    message = "truncated: expected 90 bytes, got 12"
    failure = {"image_id": "c/broken.png", "stage": "detect", "error_class": "ImageError", "message": message}
    output.table("failures", [failure])
    return output.run(
        unface_version="0.1.0",
        command=["unface", "run", "my photos", "out"],
        source="/data/my photos",
        config={"detector": "yunet", "threshold": 0.5, "method": "blur", "color": None},
        finished="2025-03-04T10:00:31+00:00",
        dataset={"kind": "folder", "images": 10, "other_files": 2, "other_suffixes": {".txt": 2}},
        stages={
            "detect": {
                "images": 10,
                "faces": 12,
                "failures": {"ImageError": 1},
                "seconds": 2.0,
                "images_per_second": 5.0,
            },
            "obfuscate": {"images": 9, "faces": 12, "failures": {}, "seconds": 3.0, "bytes_in": 1234567},
        },
        verdict={"passed": True, "definite": 0, "checked": ["Files are whole."], "not_checked": ["Bodies."]},
        models=[{"name": "yunet", "sha256": "8f" * 32, "licence": "MIT"}],
        versions={"python": "3.11"},
    )
