"""The verify stage: an image's original, its published file and their records in, findings out."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from unface.boxes import coverage, is_covered
from unface.datasets import Dataset
from unface.detect import Detector, make_detector
from unface.engine import Item, Outcome, Shard
from unface.errors import InputError
from unface.faces import FaceRow, Faces
from unface.verify.pixels import residual_weight

_FINDING = pa.struct(
    [
        ("check", pa.string()),
        ("definite", pa.bool_()),
        ("message", pa.string()),
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("coverage", pa.float32()),
    ]
)
VERIFY_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),
        ("rechecked", pa.bool_()),
        ("residual_weight", pa.float32()),
        ("findings", pa.list_(_FINDING)),
    ]
)

MAX_RESIDUAL = 0.25
"""More of the original's fine detail than this inside a box that should hold none is a leak; requantised
JPEG blocks and mosaic edges measure under .15."""

MIN_FACE_WEIGHT = 0.99
"""A smaller weight of the obfuscated layer inside a face box is worth a warning."""

Finding = dict[str, Any]


@dataclass
class VerifyStage:
    """Check one image.

    Attributes:
        dataset: The originals.
        published: What was published.
        detector_name: The detector of the second pass.
        threshold: The run's own threshold.
        same_detector: Whether it is the detector that `faces.parquet` is of: then what it saw below its threshold is
            recorded, and images whose pixels did not change are not searched again.
    """

    dataset: Dataset
    published: Dataset
    detector_name: str
    threshold: float
    same_detector: bool
    name = "verify"
    schema = VERIFY_SCHEMA

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What decides the output."""
        return {
            "detector": self.detector_name,
            "threshold": self.threshold,
            "same_detector": self.same_detector,
        }

    def setup(self) -> None:
        """Load the detector."""
        self._detector: Detector = make_detector(self.detector_name)

    def items(self, shard: Shard) -> Iterator[Item]:
        """The images of a part, then what is published beside them.

        Each comes with its records in the tables `faces` and `manifest`, and whether it is in `failures`.
        """
        faces, manifest = (
            {record["image_id"]: record for record in shard.inputs[name].to_pylist()} for name in ("faces", "manifest")
        )
        failed = set(shard.inputs["failures"]["image_id"].to_pylist())
        published, damage = self._published_ids(shard)
        seen = set()

        def item(image_id: str) -> Item:
            seen.add(image_id)
            records = {"faces": faces.get(image_id), "manifest": manifest.get(image_id), "failed": image_id in failed}
            return Item(image_id, {**records, "damage": damage})

        try:
            for entry in self.dataset.entries(shard.part):
                if not entry.refused or entry.image_id in published:
                    yield item(entry.image_id)
        except InputError as error:
            yield Item(shard.part.name, refused=str(error))
        yield from (item(image_id) for image_id in published if image_id not in seen)

    def _published_ids(self, shard: Shard) -> tuple[dict[str, None], str]:
        """The published images of a part, in order, and what is wrong with its archive."""
        if not self.published.has_part(shard.part):
            return {}, ""
        try:
            return {entry.image_id: None for entry in self.published.entries(shard.part)}, ""
        except InputError as error:
            return {}, str(error)

    def process(self, item: Item) -> Outcome:
        """Check one image; `item.inputs` holds its records: faces, manifest (each may be None), failed."""
        records = item.inputs
        if records["damage"]:
            return _outcome(item, [_finding("changed", f"the published archive cannot be read: {records['damage']}")])
        if not self.published.has(item.image_id):
            return self._unpublished(item, records)
        if records["manifest"] is None:
            message = "is published, but no manifest row says how it was made"
            return _outcome(item, [_finding("extra", message)])
        if records["faces"] is None:
            return _outcome(item, [_finding("extra", "is published, but has no row in faces.parquet")])
        if not self.dataset.has(item.image_id):
            return _outcome(item, [_finding("extra", "is published, but the dataset has no such image")])
        return self._published(item, FaceRow.from_record(records["faces"]), records["manifest"])

    def failed(self, item: Item) -> Mapping[str, Any]:
        """An image that could not be checked is listed as unchecked, never as clean."""
        return _row(item, "unchecked", [], False, None)

    def _unpublished(self, item: Item, records: Mapping[str, Any]) -> Outcome:
        if records["manifest"] is None and records["failed"]:
            return _outcome(item, [])
        return _outcome(item, [_finding("missing", "is neither published nor among the failures")])

    def _published(self, item: Item, row: FaceRow, manifest: Mapping[str, Any]) -> Outcome:
        from unface.images import audit, scrub

        source, output = self.dataset.read(item.image_id), self.published.read(item.image_id)
        findings = []
        if hashlib.sha256(output).hexdigest() != manifest["output_sha256"]:
            findings.append(_finding("changed", "the published file is not the one in the manifest"))
        if hashlib.sha256(source).hexdigest() != manifest["input_sha256"]:
            findings.append(_finding("changed", "the original is not the one in the manifest"))
        findings += [_finding("metadata", f"the published file holds: {what}") for what in audit(output)]
        findings += _weight_findings(row, manifest)
        if manifest["mode"] == "copied":
            if scrub(source) != output:
                findings.append(_finding("changed", "the published pixels are not the original's"))
            if self.same_detector and row.candidates is not None:
                findings += self._detector_findings(row.candidates, row)
                return _outcome(item, findings, bytes_in=len(output))
        more, residual = self._pixel_findings(source, output, row, manifest)
        return _outcome(item, findings + more, True, residual, len(output))

    def _pixel_findings(
        self, source: bytes, output: bytes, row: FaceRow, manifest: Mapping[str, Any]
    ) -> tuple[list[Finding], float | None]:
        from unface.images import decode

        before, after = decode(source), decode(output)
        findings, residual = [], None
        facts = [(p.format, p.mode, p.orientation, p.upright_size, str(p.pixels.dtype)) for p in (before, after)]
        if facts[0] != facts[1]:
            message = f"format, mode, orientation, size, depth: expected {facts[0]}, got {facts[1]}"
            findings.append(_finding("geometry", message))
        elif len(row.faces):
            residual = residual_weight(before.upright(), after.upright(), row.faces.boxes_xyxy)
            if residual is not None and residual > MAX_RESIDUAL:
                message = f"{residual:.0%} of the original's fine detail is left inside a face box"
                findings.append(_finding("weight", message, definite=_hides_all(manifest)))
        width, height = after.upright_size
        seen = self._detector.detect(after.rgb()).clipped(width, height)
        return findings + self._detector_findings(seen, row), residual

    def _detector_findings(self, seen: Faces, row: FaceRow) -> list[Finding]:
        """One finding per thing that looks like a face; only what people have not judged can be definite."""
        covered = is_covered(seen.boxes_xyxy, row.faces.boxes_xyxy)
        shares = coverage(seen.boxes_xyxy, row.faces.boxes_xyxy)
        findings = []
        for box, score, share, hidden in zip(seen.boxes_xyxy, seen.scores, shares, covered, strict=True):
            if hidden:
                check, message, definite = "covered", "an obfuscated face still looks like a face", False
            else:
                check = "uncovered"
                definite = bool(score >= self.threshold) and row.status == "detected"
                message = "looks like a face, and no recorded box covers it"
            x0, y0, x1, y1 = box.tolist()
            place = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": float(score), "coverage": float(share)}
            findings.append(_finding(check, message, definite, **place))
        return findings


def _weight_findings(row: FaceRow, manifest: Mapping[str, Any]) -> list[Finding]:
    if len(row.faces) != manifest["faces"] or (len(row.faces) and manifest["mode"] == "copied"):
        message = f"{len(row.faces)} faces are recorded, {manifest['faces']} were obfuscated"
        return [_finding("weight", message)]
    weight = manifest["min_face_weight"]
    if manifest["method"] == "none" and len(row.faces):
        return [_finding("weight", f"{len(row.faces)} faces are not hidden at all (method none)")]
    if _hides_all(manifest):
        return [] if weight == 1 else [_finding("weight", f"weight inside a face box is {weight:.3f}, not 1")]
    if weight < MIN_FACE_WEIGHT:
        message = f"{1 - weight:.0%} of the original is mixed in inside a face box ({manifest['preset']} preset)"
        return [_finding("weight", message, definite=False)]
    return []


def _hides_all(manifest: Mapping[str, Any]) -> bool:
    """Whether the method promises that nothing of the original is mixed in inside a face box."""
    return bool(manifest["method"] in ("overlay", "mosaic") or manifest["preset"] == "safe")


def _finding(check: str, message: str, definite: bool = True, **place: float) -> Finding:
    return {"check": check, "definite": definite, "message": message, **place}


def _outcome(
    item: Item,
    findings: list[Finding],
    rechecked: bool = False,
    residual: float | None = None,
    bytes_in: int = 0,
) -> Outcome:
    status: Literal["passed", "listed", "failed"] = "listed" if findings else "passed"
    if any(finding["definite"] for finding in findings):
        status = "failed"
    return Outcome(_row(item, status, findings, rechecked, residual), bytes_in=bytes_in)


def _row(item: Item, status: str, findings: list[Finding], rechecked: bool, residual: float | None) -> dict[str, Any]:
    return {
        "image_id": item.image_id,
        "status": status,
        "rechecked": rechecked,
        "residual_weight": residual,
        "findings": findings,
    }
