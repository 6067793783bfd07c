"""The verify stage: an image's original, its published file and their records in, findings out."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unface.boxes import coverage, iou, is_covered
from unface.datasets import Dataset
from unface.detect import Detector, make_detector
from unface.engine import Item, Outcome, Shard
from unface.errors import InputError
from unface.faces import FaceRow, Faces
from unface.obfuscate.methods import Obfuscation
from unface.verify.beside import differences
from unface.verify.chain import BROKEN
from unface.verify.measures import SAME_FACE_IOU, Finding, finding, measured, outside, pixel_findings

_PLACE = [(side, pa.float32()) for side in ("x0", "y0", "x1", "y1")]
_FINDING = pa.struct(
    [
        ("check", pa.string()),
        ("definite", pa.bool_()),
        ("message", pa.string()),
        *_PLACE,
        ("score", pa.float32()),
        ("coverage", pa.float32()),
        ("detector", pa.string()),
    ]
)
_FACE = pa.struct(
    [
        *_PLACE,
        ("residual_weight", pa.float32()),
        ("sigma_px", pa.float32()),
        ("least_sigma_px", pa.float32()),
        ("values", pa.int64()),
        ("values_left", pa.int64()),
        ("score", pa.float32()),
        ("second_score", pa.float32()),
    ]
)
_SEEN = pa.struct([*_PLACE, ("score", pa.float32()), ("covered", pa.bool_())])
VERIFY_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),
        ("rechecked", pa.bool_()),
        ("residual_weight", pa.float32()),
        ("change_outside", pa.float32()),
        ("faces", pa.list_(_FACE)),
        ("second", pa.list_(_SEEN)),
        ("findings", pa.list_(_FINDING)),
    ]
)
"""`faces`: what was measured of each recorded face in the published pixels. `second`: what the second detector sees in
the original, and whether recorded boxes cover it; null where none looked."""

MIN_FACE_WEIGHT = 0.99
"""A smaller weight of the obfuscated layer inside a face box is worth a warning."""


@dataclass(frozen=True)
class Checking:
    """How images are checked.

    Attributes:
        detector_name: The run's own detector, whose word is definite.
        threshold: The run's own threshold.
        same_detector: Whether it is the detector that `faces.parquet` is of: then what it saw below its threshold is
            recorded, and images whose pixels did not change are not searched again.
        second_name: Another detector, whose word is listed; empty for none.
        cells: Of a mosaic: cells across a face's longer side.
    """

    detector_name: str
    threshold: float
    same_detector: bool
    second_name: str = ""
    cells: int = 8


@dataclass
class VerifyStage:
    """Check one image.

    Attributes:
        dataset: The originals.
        published: What was published.
        checking: How.
        device: What networks run on; see `unface.detect.network.providers`.
    """

    dataset: Dataset
    published: Dataset
    checking: Checking
    device: str = "auto"
    name = "verify"
    schema = VERIFY_SCHEMA

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What decides the output."""
        names = filter(None, (self.checking.detector_name, self.checking.second_name))
        models = {name: make_detector(name, device=self.device).models for name in names}
        return {**asdict(self.checking), "models": models}

    def setup(self) -> None:
        """Load the detectors."""
        self._detector: Detector = make_detector(self.checking.detector_name, device=self.device)
        second = self.checking.second_name
        self._second = make_detector(second, device=self.device) if second else None

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
        if published and not damage and (beside := list(differences(self.dataset, self.published, shard.part))):
            yield Item(shard.part.name, {"beside": beside})

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
        if "beside" in records:
            message = "beside the images of the archive, "
            return _outcome(item, [finding("changed", message + what) for what in records["beside"]])
        if records["damage"]:
            return _outcome(item, [finding("changed", f"the published archive cannot be read: {records['damage']}")])
        if not self.published.has(item.image_id):
            return self._unpublished(item, records)
        if records["manifest"] is None:
            message = "is published, but no manifest row says how it was made"
            return _outcome(item, [finding("extra", message)])
        if records["faces"] is None:
            return _outcome(item, [finding("extra", "is published, but has no row in faces.parquet")])
        if not self.dataset.has(item.image_id):
            return _outcome(item, [finding("extra", "is published, but the dataset has no such image")])
        return self._published(item, FaceRow.from_record(records["faces"]), records["manifest"])

    def failed(self, item: Item) -> Mapping[str, Any]:
        """An image that could not be checked is listed as unchecked, never as clean."""
        return _row(item, "unchecked", [], {})

    def _unpublished(self, item: Item, records: Mapping[str, Any]) -> Outcome:
        if records["manifest"] is None and records["failed"]:
            return _outcome(item, [])
        return _outcome(item, [finding("missing", "is neither published nor among the failures")])

    def _published(self, item: Item, row: FaceRow, manifest: Mapping[str, Any]) -> Outcome:
        from unface.images import audit, scrub

        source, output = self.dataset.read(item.image_id), self.published.read(item.image_id)
        findings = []
        if hashlib.sha256(output).hexdigest() != manifest["output_sha256"]:
            findings.append(finding("changed", "the published file is not the one in the manifest"))
        if hashlib.sha256(source).hexdigest() != manifest["input_sha256"]:
            findings.append(finding("changed", "the original is not the one in the manifest"))
        findings += [finding("metadata", f"the published file holds: {what}") for what in audit(output)]
        if manifest.get(BROKEN):
            message = "its line of the manifest, or one beside it, is not the one that was sealed"
            findings.append(finding("manifest", message))
        findings += _weight_findings(row, manifest)
        known, unchanged = None, False
        if manifest["mode"] == "copied":
            unchanged = scrub(source) == output
            if not unchanged:
                findings.append(finding("changed", "the published pixels are not the original's"))
            if self.checking.same_detector and row.candidates is not None:
                if self._second is None:
                    findings += self._own_findings(row.candidates, row)
                    return _outcome(item, findings, bytes_in=len(output))
                known = row.candidates
        before = None if unchanged else source
        return _outcome(item, *self._looked_at(before, output, row, manifest, findings, known), len(output))

    def _looked_at(
        self,
        source: bytes | None,
        output: bytes,
        row: FaceRow,
        manifest: Mapping[str, Any],
        findings: list[Finding],
        known: Faces | None,
    ) -> tuple[list[Finding], dict[str, Any]]:
        """Findings and measures of an image that is decoded.

        `source` is None where its pixels are those of `output`; `known` is what the own detector is known to see.
        """
        from unface.images import decode

        after = decode(output)
        before = after if source is None else decode(source)
        measures: dict[str, Any] = {"rechecked": known is None}
        facts = [(p.format, p.mode, p.orientation, p.upright_size, str(p.pixels.dtype)) for p in (before, after)]
        same = facts[0] == facts[1]
        if not same:
            message = f"format, mode, orientation, size, depth: expected {facts[0]}, got {facts[1]}"
            findings.append(finding("geometry", message))
        width, height = after.upright_size
        own = known if known is not None else self._detector.detect(after.rgb()).clipped(width, height)
        findings += self._own_findings(own, row)
        second = again = None
        if self._second is not None:
            second = self._second.detect(before.rgb())
            again = second if after is before else self._second.detect(after.rgb())
            findings += self._second_findings(again, own, row)
            measures["second"] = _seen(second, row)
        if same and len(row.faces):
            obfuscation = Obfuscation(manifest["method"], manifest["preset"] or "safe", cells=self.checking.cells)
            measures["faces"] = measured(before, after, row.faces, obfuscation, own, again)
            findings += pixel_findings(measures["faces"], obfuscation)
            if manifest["mode"] != "copied":
                measures["change_outside"], more = outside(before, after, row.faces, obfuscation, manifest["mode"])
                findings += more
        return findings, measures

    def _own_findings(self, seen: Faces, row: FaceRow) -> list[Finding]:
        """One finding per thing that looks like a face; only what people have not judged can be definite."""
        covered = is_covered(seen.boxes_xyxy, row.faces.boxes_xyxy)
        findings = []
        for place, score, hidden in zip(_places(seen, row), seen.scores, covered, strict=True):
            if hidden:
                findings.append(finding("covered", "an obfuscated face still looks like a face", False, **place))
            else:
                definite = bool(score >= self.checking.threshold) and row.status == "detected"
                findings.append(finding("uncovered", _UNCOVERED, definite, **place))
        return findings

    def _second_findings(self, seen: Faces, own: Faces, row: FaceRow) -> list[Finding]:
        """What the second detector sees and no recorded box covers: never definite, since it condemns too easily."""
        assert self._second is not None
        uncovered = seen[~is_covered(seen.boxes_xyxy, row.faces.boxes_xyxy)]
        agreed = np.any(iou(uncovered.boxes_xyxy, own.boxes_xyxy) >= SAME_FACE_IOU, axis=1).tolist()
        findings = []
        for place, score, both in zip(_places(uncovered, row), uncovered.scores, agreed, strict=True):
            if score < self._second.threshold:
                continue
            check, message = ("agreed", _AGREED) if both else ("second", _SECOND)
            findings.append(finding(check, message, False, **place, detector=self._second.name))
        return findings


_UNCOVERED = "looks like a face, and no recorded box covers it"
_SECOND = "looks like a face to the second detector alone, and no recorded box covers it"
_AGREED = "looks like a face to both detectors, less than sure to the run's own, and no recorded box covers it"


def _seen(second: Faces, row: FaceRow) -> list[dict[str, Any]]:
    covered = is_covered(second.boxes_xyxy, row.faces.boxes_xyxy)
    return [
        {**_place(box), "score": float(score), "covered": bool(hidden)}
        for box, score, hidden in zip(second.boxes_xyxy, second.scores, covered, strict=True)
    ]


def _places(seen: Faces, row: FaceRow) -> list[dict[str, float]]:
    shares = coverage(seen.boxes_xyxy, row.faces.boxes_xyxy)
    return [
        {**_place(box), "score": float(score), "coverage": float(share)}
        for box, score, share in zip(seen.boxes_xyxy, seen.scores, shares, strict=True)
    ]


def _place(box: NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(("x0", "y0", "x1", "y1"), box.tolist(), strict=True))


def _weight_findings(row: FaceRow, manifest: Mapping[str, Any]) -> list[Finding]:
    if len(row.faces) != manifest["faces"] or (len(row.faces) and manifest["mode"] == "copied"):
        message = f"{len(row.faces)} faces are recorded, {manifest['faces']} were obfuscated"
        return [finding("weight", message)]
    weight = manifest["min_face_weight"]
    if manifest["method"] == "none" and len(row.faces):
        return [finding("weight", f"{len(row.faces)} faces are not hidden at all (method none)")]
    if _hides_all(manifest):
        return [] if weight == 1 else [finding("weight", f"weight inside a face box is {weight:.3f}, not 1")]
    if weight < MIN_FACE_WEIGHT:
        message = f"{1 - weight:.0%} of the original is mixed in inside a face box ({manifest['preset']} preset)"
        return [finding("weight", message, definite=False)]
    return []


def _hides_all(manifest: Mapping[str, Any]) -> bool:
    """Whether the method promises that nothing of the original is mixed in inside a face box."""
    return bool(manifest["method"] in ("overlay", "mosaic") or manifest["preset"] == "safe")


def _outcome(
    item: Item, findings: list[Finding], measures: Mapping[str, Any] | None = None, bytes_in: int = 0
) -> Outcome:
    status: Literal["passed", "listed", "failed"] = "listed" if findings else "passed"
    if any(each["definite"] for each in findings):
        status = "failed"
    return Outcome(_row(item, status, findings, measures or {}), bytes_in=bytes_in)


def _row(item: Item, status: str, findings: list[Finding], measures: Mapping[str, Any]) -> dict[str, Any]:
    weights = [face["residual_weight"] for face in measures.get("faces", ()) if face["residual_weight"] is not None]
    return {
        "image_id": item.image_id,
        "status": status,
        "rechecked": measures.get("rechecked", False),
        "residual_weight": max(weights, default=None),
        "change_outside": measures.get("change_outside"),
        "faces": measures.get("faces", []),
        "second": measures.get("second"),
        "findings": findings,
    }
