"""Table 1: what a table of faces gets wrong, by the answers of people who looked at a sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from unface.analysis.intervals import images_needed, wilson
from unface.analysis.paper import published
from unface.analysis.sampling import HARDEST, RANDOM, Sample
from unface.analysis.tables import Cell, Share, Table
from unface.faces import FaceRow, face_rows
from unface.faces.matching import match

IOU_THRESHOLD = 0.5
"""From this overlap a box and an answer are one face. The paper has no number: its inspectors judged by eye."""

_PER_IMAGES = 50
"""The paper counts errors per 50 images."""


@dataclass(frozen=True)
class Errors:
    """Counts over some images: boxes that are no face, faces without a box, and images with such."""

    images: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    images_with_false_positives: int = 0
    images_with_false_negatives: int = 0

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(*(a + b for a, b in zip(self._counts(), other._counts(), strict=True)))

    def _counts(self) -> tuple[int, ...]:
        return (
            self.images,
            self.false_positives,
            self.false_negatives,
            self.images_with_false_positives,
            self.images_with_false_negatives,
        )


@dataclass(frozen=True)
class GroupAudit:
    """One class of the sample: its errors in every audited table, in order."""

    stratum: str
    title: str
    errors: tuple[Errors, ...]


@dataclass(frozen=True)
class Audit:
    """What the answers say of some tables.

    Attributes:
        tables: Names of the audited tables.
        groups: By class, as drawn.
        unanswered: Images of the sample that nobody has answered; they count nowhere else.
    """

    tables: tuple[str, ...]
    groups: tuple[GroupAudit, ...]
    unanswered: int

    def total(self, stratum: str, table: int) -> Errors:
        """The errors of a stratum in one table."""
        return sum((group.errors[table] for group in self.groups if group.stratum == stratum), Errors())


def audit(
    sample: Sample, answers: pa.Table, audited: dict[str, pa.Table], iou_threshold: float = IOU_THRESHOLD
) -> Audit:
    """Compare tables with the answers, image by image.

    Args:
        sample: What was drawn.
        answers: The task as people answered it; only images with status `reviewed` count as answered.
        audited: The tables by name. An image that a table lacks, or that failed in it, has no box there.
        iou_threshold: From which overlap a box and an answer are one face.
    """
    answered = answers.filter(pc.equal(answers["status"], "reviewed"))
    truth, *others = (_rows(table, sample.image_ids) for table in (answered, *audited.values()))
    groups, unanswered = [], 0
    for group in sample.groups:
        known = [image_id for image_id in group.image_ids if image_id in truth]
        unanswered += len(group.image_ids) - len(known)
        errors = tuple(
            sum((_errors(truth[image_id], rows.get(image_id), iou_threshold) for image_id in known), Errors())
            for rows in others
        )
        groups.append(GroupAudit(group.stratum, group.title or "all", errors))
    return Audit(tuple(audited), tuple(groups), unanswered)


def _rows(table: pa.Table, image_ids: Sequence[str]) -> dict[str, FaceRow]:
    chosen = table.filter(pc.is_in(table["image_id"], value_set=pa.array(image_ids, pa.string())))
    return {row.image_id: row for row in face_rows(chosen)}


def _errors(truth: FaceRow, row: FaceRow | None, iou_threshold: float) -> Errors:
    boxes = truth.faces.boxes_xyxy[:0] if row is None or row.status == "failed" else row.faces.boxes_xyxy
    pairs = len(match(boxes, truth.faces.boxes_xyxy, iou_threshold))
    extra, missed = len(boxes) - pairs, len(truth.faces) - pairs
    return Errors(1, extra, missed, int(extra > 0), int(missed > 0))


def table1(found: Audit, is_ilsvrc: bool) -> Table:
    """Errors by class, and their mean per 50 images; the paper's means below where the classes are ImageNet's."""
    header = ["stratum", "class", "images"]
    header += [f"{what}, {name}" for name in found.tables for what in ("false positives", "missed")]
    rows: list[list[Cell]] = []
    for stratum in (RANDOM, HARDEST):
        groups = [group for group in found.groups if group.stratum == stratum]
        for group in groups:
            rows.append([stratum, group.title, group.errors[0].images, *_pairs(group.errors)])
        totals = [found.total(stratum, table) for table in range(len(found.tables))]
        if totals[0].images:
            scale = _PER_IMAGES / totals[0].images
            means = [scale * number for number in _pairs(totals)]
            rows.append([stratum, f"mean per {_PER_IMAGES} images", totals[0].images, *means])
    if is_ilsvrc:
        rows += _paper_rows(len(found.tables))
    return Table("table1", "Errors by class (Table 1)", header, rows)


def _pairs(errors: Sequence[Errors]) -> list[int]:
    return [number for one in errors for number in (one.false_positives, one.false_negatives)]


def _paper_rows(tables: int) -> list[list[Cell]]:
    """The paper's means: first Rekognition's, then those after people's corrections."""
    rows: list[list[Cell]] = []
    for stratum in ("mammal", "most-faces"):
        theirs = [row for row in published("table1") if row["stratum"] == stratum]
        columns = ["fp_detected", "fn_detected", "fp_reviewed", "fn_reviewed"][: 2 * tables]
        means = [sum(int(row[column]) for row in theirs) / len(theirs) for column in columns]
        rows.append([f"paper: {stratum}", f"mean per {_PER_IMAGES} images", 50 * len(theirs), *means])
    return rows


def certainty(found: Audit, precision: float) -> Table:
    """Fractions of images with an error, their 95 % intervals (Wilson), and the images that a precision takes.

    Errors within an image depend on each other, so that images are counted, not boxes.
    """
    rows: list[list[Cell]] = []
    for stratum in (RANDOM, HARDEST):
        for place, name in enumerate(found.tables):
            total = found.total(stratum, place)
            for what, hits in (
                ("with a false positive", total.images_with_false_positives),
                ("with a missed face", total.images_with_false_negatives),
            ):
                if total.images:
                    low, high = wilson(hits, total.images)
                    needed = images_needed(hits / total.images, precision)
                    shares = [Share(share) for share in (hits / total.images, low, high)]
                    rows.append([stratum, name, f"images {what}", *shares, needed])
    header = ["stratum", "table", "", "fraction", "from", "to", f"images for ± {100 * precision:g} %"]
    return Table("certainty", "How sure that is (95 %)", header, rows)
