"""What the answers say: decisions on images, reviewers' adjudications, and the reviewed `faces.parquet`."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from unface import __version__
from unface.boxes import Boxes, is_covered
from unface.errors import InputError, one_line
from unface.faces import FACES_SCHEMA, FaceRow, Faces, read_faces
from unface.faces.table import with_metadata
from unface.review.consensus import is_kept, match_answers, mean_agreement, merge_boxes, next_step
from unface.review.creation import load_review
from unface.review.policy import Policy
from unface.review.submission import Refused, fit
from unface.review.tables import Account, Adjudication, Answer, Assignment, Image, Item

_AT_ONCE = 500

REVIEWED_SCHEMA = FACES_SCHEMA.append(pa.field("workers", pa.int32())).append(pa.field("agreement", pa.float32()))
"""Of the export: `workers` is null on images that no worker answered (gold, never reviewed), `agreement` where there
are no two answers to compare."""


@dataclass(frozen=True)
class Given:
    """One worker's answer on an image that counts: the last version, in the attempt that he handed in."""

    account_id: int
    faces: Faces


def answers_on(session: Session, image_pks: Sequence[int]) -> dict[int, list[Given]]:
    """The answers that count, by image, in the order in which the tasks were taken."""
    rows = session.execute(
        select(Item.image_pk, Assignment.id, Assignment.account_id, Answer.boxes)
        .join(Item, Item.id == Answer.item_id)
        .join(Assignment, Assignment.id == Answer.assignment_id)
        .where(
            Item.image_pk.in_(image_pks),
            ~Item.gold,
            Assignment.state == "submitted",
            Answer.attempt == Assignment.attempt,
        )
        .order_by(Assignment.id, Answer.version)
    )
    latest: dict[tuple[int, int], tuple[int, list[dict[str, object]]]] = {}
    for image_pk, assignment_id, account_id, boxes in rows:
        latest[image_pk, assignment_id] = (account_id, boxes)
    answers: dict[int, list[Given]] = {image_pk: [] for image_pk in image_pks}
    for (image_pk, _), (account_id, boxes) in latest.items():
        answers[image_pk].append(Given(account_id, Faces.from_structs(boxes)))
    return answers


def decide(session: Session, image_pks: Sequence[int], policy: Policy) -> None:
    """Apply the stopping rule to images that just got an answer."""
    images = session.scalars(select(Image).where(Image.id.in_(image_pks)).order_by(Image.id).with_for_update())
    locked = list(images)  # only now: an answer committed while we waited counts
    answers = answers_on(session, image_pks)
    for image in locked:
        boxes = [given.faces.boxes_xyxy for given in answers[image.id]]
        if image.decision == "adjudicated" or len(boxes) < policy.replicas:
            continue
        image.decision = next_step(boxes, policy.replicas, policy.most_replicas, policy.min_agreement)
        agreement = mean_agreement(boxes)
        image.agreement = None if math.isnan(agreement) else agreement


def merged(answers: Sequence[Faces]) -> Faces:
    """The consensus of several answers: faces that at least half drew, each with the label that most gave it."""
    boxes: list[Boxes] = [faces.boxes_xyxy for faces in answers]
    matched = match_answers(boxes)
    matched = matched[is_kept(matched)]
    labels = []
    for row in matched:
        given = [answers[worker].labels[place] for worker, place in enumerate(row) if place >= 0]
        labels.append(Counter(sorted(given)).most_common(1)[0][0])
    joined = merge_boxes(boxes, matched)
    return Faces(joined, np.ones(len(joined), np.float32), tuple(labels), ("human",) * len(joined))


def adjudicate(session: Session, account: Account, image: Image, faces: Faces, key: str, now: datetime) -> Adjudication:
    """Keep a reviewer's decision on an image; the same key a second time changes nothing.

    Raises:
        Refused: `invalid` boxes; `conflict`, the key came with another decision.
    """
    fitted = fit(faces, image)
    before = session.scalar(select(Adjudication).where(Adjudication.account_id == account.id, Adjudication.key == key))
    if before is not None:
        if before.image_pk != image.id or before.boxes != fitted.structs():
            raise Refused("conflict", "key: expected a new one for another decision, got one that was used")
        return before
    decision = Adjudication(image_pk=image.id, account_id=account.id, key=key, boxes=fitted.structs(), decided_at=now)
    session.add(decision)
    image.decision = "adjudicated"
    session.flush()
    return decision


def export_reviewed(session: Session) -> pa.Table:
    """The reviewed `faces.parquet`, of `REVIEWED_SCHEMA`, its rows sorted by image.

    Agreed and adjudicated images have status `reviewed` and boxes of source `human`; gold images have their truth.
    All others are as they came: never reviewed, or not decided yet. The detector's name is kept as `detected_by`:
    these are people's boxes now, so verify looks again.
    """
    rows = [_reviewed_record(row, workers, agreement) for row, workers, agreement in _rows(session)]
    rows.sort(key=lambda record: str(record["image_id"]))
    review = load_review(session)
    metadata = {"reviewed_by": f"unface {__version__}", "policy": json.dumps(review.policy)}
    if review.provenance:
        metadata["detected_by"] = json.dumps(review.provenance)
    return with_metadata(pa.Table.from_pylist(rows, schema=REVIEWED_SCHEMA), metadata)


def read_reviewed(path: Path) -> pa.Table:
    """Read a `faces.parquet` and keep `workers` and `agreement` where it has them; see `read_faces`."""
    table = read_faces(path)
    stored = pq.read_table(path)
    for field in REVIEWED_SCHEMA:
        if field.name in stored.column_names and field.name not in table.column_names:
            try:
                table = table.append_column(field, stored[field.name].cast(field.type))
            except pa.ArrowException:
                got = stored.schema.field(field.name).type
                message = f"column {field.name!r}: expected {field.type}, got {got}"
                raise InputError(f"{one_line(str(path))}: {message}") from None
    return table


def _rows(session: Session) -> Iterator[tuple[FaceRow, int | None, float | None]]:
    latest = select(func.max(Adjudication.id)).group_by(Adjudication.image_pk)
    decided = select(Adjudication.image_pk, Adjudication.boxes).where(Adjudication.id.in_(latest))
    adjudicated = {image_pk: boxes for image_pk, boxes in session.execute(decided)}
    last = 0
    while images := list(session.scalars(select(Image).where(Image.id > last).order_by(Image.id).limit(_AT_ONCE))):
        last = images[-1].id
        answers = answers_on(session, [image.id for image in images])
        for image in images:
            yield _row(image, [given.faces for given in answers[image.id]], adjudicated.get(image.id))
        session.expunge_all()


def _row(
    image: Image, answers: list[Faces], adjudicated: list[dict[str, object]] | None
) -> tuple[FaceRow, int | None, float | None]:
    candidates = None if image.candidates is None else Faces.from_structs(image.candidates)
    came = FaceRow(image.image_id, image.width, image.height, image.status, Faces.from_structs(image.boxes), candidates)
    if image.truth is not None:
        return _with_boxes(came, Faces.from_structs(image.truth)), None, None
    if adjudicated is not None:
        return _with_boxes(came, Faces.from_structs(adjudicated)), len(answers), image.agreement
    if image.decision == "agreed":
        return _with_boxes(came, merged(answers)), len(answers), image.agreement
    return came, None, None


def _with_boxes(row: FaceRow, faces: Faces) -> FaceRow:
    candidates = row.candidates
    if candidates is not None:
        candidates = candidates[~is_covered(candidates.boxes_xyxy, faces.boxes_xyxy)]
    return replace(row, status="reviewed", faces=faces, candidates=candidates)


def _reviewed_record(row: FaceRow, workers: int | None, agreement: float | None) -> dict[str, object]:
    return {**row.record(), "workers": workers, "agreement": agreement}
