"""The verify stage: an image's original, its published file and their records in, findings out."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unface.boxes import Boxes, coverage, diagonal, enlarge, iou, is_covered, outer_pixels, size_wh
from unface.datasets import Dataset
from unface.detect import Detector, make_detector
from unface.engine import Item, Outcome, Shard
from unface.errors import InputError
from unface.faces import FaceRow, Faces
from unface.images import Photo
from unface.obfuscate.methods import Obfuscation, averages_left, paint_cells, reach
from unface.verify.beside import differences
from unface.verify.chain import BROKEN
from unface.verify.pixels import change_outside, effective_sigma, residual_weights

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

MAX_RESIDUAL = 0.3
"""More of the original's fine detail than this inside a box that should hold none is a leak. In 625 faces of WIDER FACE
photos, encoded anew, blur `safe` measured up to .05, overlay .14, mosaic .25."""

MIN_SIGMA = 0.7
"""A smaller share of the promised sigma is a leak. On 247 faces of such photos `safe` measured .78 and more, 1 % under
.90; with a third of its sigma .42 and less."""

MAX_CHANGE = {"exact": 0.0, "blocks": 0.0, "lossy": 24.0}
"""Largest change, in levels, where nothing should have been changed."""

MIN_FACE_WEIGHT = 0.99
"""A smaller weight of the obfuscated layer inside a face box is worth a warning."""

SAME_FACE_IOU = 0.3
_SAFE_SIGMA_PER_DIAGONAL, _SAFE_SIGMA_PX = 0.15, 3.0
_SAFE_FEATHER_PER_DIAGONAL, _SAFE_FEATHER_PX = 0.1, 2
_LOSSLESS = ("png", "bmp", "tiff", "gif")

Finding = dict[str, Any]


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
        return asdict(self.checking)

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
            return _outcome(item, [_finding("changed", message + what) for what in records["beside"]])
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
        return _row(item, "unchecked", [], {})

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
        if manifest.get(BROKEN):
            message = "its line of the manifest, or one beside it, is not the one that was sealed"
            findings.append(_finding("manifest", message))
        findings += _weight_findings(row, manifest)
        known, unchanged = None, False
        if manifest["mode"] == "copied":
            unchanged = scrub(source) == output
            if not unchanged:
                findings.append(_finding("changed", "the published pixels are not the original's"))
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
            findings.append(_finding("geometry", message))
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
            measures["faces"] = _measured(before, after, row.faces, obfuscation, own, again)
            findings += _pixel_findings(measures["faces"], obfuscation)
            if manifest["mode"] != "copied":
                measures["change_outside"], more = _outside(before, after, row.faces, obfuscation, manifest["mode"])
                findings += more
        return findings, measures

    def _own_findings(self, seen: Faces, row: FaceRow) -> list[Finding]:
        """One finding per thing that looks like a face; only what people have not judged can be definite."""
        covered = is_covered(seen.boxes_xyxy, row.faces.boxes_xyxy)
        findings = []
        for place, score, hidden in zip(_places(seen, row), seen.scores, covered, strict=True):
            if hidden:
                findings.append(_finding("covered", "an obfuscated face still looks like a face", False, **place))
            else:
                definite = bool(score >= self.checking.threshold) and row.status == "detected"
                findings.append(_finding("uncovered", _UNCOVERED, definite, **place))
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
            findings.append(_finding(check, message, False, **place, detector=self._second.name))
        return findings


_UNCOVERED = "looks like a face, and no recorded box covers it"
_SECOND = "looks like a face to the second detector alone, and no recorded box covers it"
_AGREED = "looks like a face to both detectors, less than sure to the run's own, and no recorded box covers it"


def least_sigma_px(boxes_xyxy: Boxes, obfuscation: Obfuscation) -> list[float | None]:
    """The blur that a method promises each face, as sigma in pixels; None for methods that promise none."""
    if obfuscation.method == "mosaic":
        cells_px = np.maximum(np.ceil(size_wh(boxes_xyxy).max(axis=1, initial=0) / obfuscation.cells), 4)
        return [float(cell_px) / 12**0.5 for cell_px in cells_px]
    if obfuscation.preset == "safe":
        return [max(_SAFE_SIGMA_PER_DIAGONAL * float(size), _SAFE_SIGMA_PX) for size in diagonal(boxes_xyxy)]
    return [None] * len(boxes_xyxy)


def _measured(
    before: Photo, after: Photo, faces: Faces, obfuscation: Obfuscation, own: Faces, second: Faces | None
) -> list[dict[str, Any]]:
    """What the published pixels say of each face that lies in the image."""
    original, published = before.upright(), after.upright()
    boxes = faces.clipped(*before.upright_size).boxes_xyxy
    allowed = cells = None
    if obfuscation.method == "mosaic":
        allowed = paint_cells(original, faces.boxes_xyxy, obfuscation, before.mode)
    elif obfuscation.preset == "safe":
        cells = paint_cells(original, faces.boxes_xyxy, obfuscation, before.mode)
    channels = 1 if original.ndim == 2 else original.shape[2]
    pixels = averages_left(boxes, Obfuscation("none"), before.upright_size)
    averages = averages_left(faces.boxes_xyxy, obfuscation, before.upright_size)
    columns = zip(
        boxes.tolist(),
        residual_weights(original, published, boxes, allowed),
        [effective_sigma(original, published, box, cells) for box in boxes],
        least_sigma_px(boxes, obfuscation),
        pixels.tolist(),
        averages.tolist(),
        _scores(boxes, own),
        _scores(boxes, second),
        strict=True,
    )
    return [
        {
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "residual_weight": weight,
            "sigma_px": sigma,
            "least_sigma_px": least,
            "values": channels * all_of_it,
            "values_left": channels * left,
            "score": score,
            "second_score": second_score,
        }
        for box, weight, sigma, least, all_of_it, left, score, second_score in columns
    ]


def _scores(boxes_xyxy: Boxes, seen: Faces | None) -> list[float | None]:
    """The best score of a detection of each face, 0 where it is seen no more; None where nobody looked."""
    if seen is None:
        return [None] * len(boxes_xyxy)
    same = iou(boxes_xyxy, seen.boxes_xyxy) >= SAME_FACE_IOU
    return [float(seen.scores[row].max(initial=0)) for row in same]


def _pixel_findings(measures: list[dict[str, Any]], obfuscation: Obfuscation) -> list[Finding]:
    findings = []
    hides_all = obfuscation.method in ("overlay", "mosaic") or obfuscation.preset == "safe"
    for face in measures:
        place = {side: face[side] for side in ("x0", "y0", "x1", "y1")}
        weight, sigma, least = face["residual_weight"], face["sigma_px"], face["least_sigma_px"]
        if weight is not None and weight > MAX_RESIDUAL:
            message = f"{weight:.0%} of the original's fine detail is left inside a face box"
            findings.append(_finding("weight", message, hides_all, **place))
        if sigma is not None and least is not None and sigma < MIN_SIGMA * least:
            message = f"a face is blurred with a sigma of {sigma:.1f} px, expected {least:.1f} px"
            findings.append(_finding("sigma", message, **place))
    return findings


def _outside(
    before: Photo, after: Photo, faces: Faces, obfuscation: Obfuscation, mode: str
) -> tuple[float, list[Finding]]:
    """The largest change where the method changes nothing, and a finding if it is too large."""
    kind = "exact" if before.format in _LOSSLESS else "blocks" if mode == "region" else "lossy"
    touched = _touched(faces.boxes_xyxy, obfuscation, before.upright_size)
    change, box = change_outside(before.upright(), after.upright(), touched, kind)
    if box is None or change <= MAX_CHANGE[kind]:
        return change, []
    place = dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True))
    message = f"pixels that no recorded face explains were changed, by up to {change:.0f} levels"
    return change, [_finding("changed", message, kind != "lossy", **place)]


def _touched(boxes_xyxy: Boxes, obfuscation: Obfuscation, size: tuple[int, int]) -> NDArray[np.int64]:
    """What a method may change."""
    if obfuscation.preset in ("paper", "imagenet"):
        return reach(boxes_xyxy, obfuscation, size)
    whole = outer_pixels(boxes_xyxy, *size)
    if obfuscation.preset != "safe" or not len(whole):
        return whole
    feathers = np.maximum(np.ceil(_SAFE_FEATHER_PER_DIAGONAL * (diagonal(boxes_xyxy) + 2)), _SAFE_FEATHER_PX)
    return outer_pixels(enlarge(boxes_xyxy, feathers + 1), *size)


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


def _finding(check: str, message: str, definite: bool = True, **facts: Any) -> Finding:
    return {"check": check, "definite": definite, "message": message, **facts}


def _outcome(
    item: Item, findings: list[Finding], measures: Mapping[str, Any] | None = None, bytes_in: int = 0
) -> Outcome:
    status: Literal["passed", "listed", "failed"] = "listed" if findings else "passed"
    if any(finding["definite"] for finding in findings):
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
