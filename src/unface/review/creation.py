"""Making a review: its images, gold and tasks are written to a new store."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from unface import __version__
from unface.errors import ImageError, InputError, one_line
from unface.faces import FaceRow, Faces, face_rows
from unface.review.grading import corrupt
from unface.review.pictures import Originals
from unface.review.planning import Place, choose_images, cut_tasks, uncertainty
from unface.review.policy import Policy
from unface.review.store import Store, new_name
from unface.review.tables import Base, Image, Item, Review, Slot, Task

_ROWS_AT_ONCE = 2000


@dataclass(frozen=True)
class Created:
    """What a new review holds."""

    images: int
    gold: int
    tasks: int
    slots: int


def create_review(
    store: Store,
    dataset: Originals,
    faces: pa.Table,
    gold: pa.Table | None,
    policy: Policy,
    now: datetime,
) -> Created:
    """Write a review into an empty store, whole or not at all.

    Images that failed are kept for the export and not reviewed; gold images are not reviewed either: they are known.

    Args:
        store: Has no review yet.
        dataset: Where the images are; they stay there.
        faces: Rows to review, of `FACES_SCHEMA`.
        gold: Rows whose boxes are true: status `reviewed`, and where columns `workers` and `agreement` exist (an
            earlier review's export) at least two workers who agreed as the policy demands. None for no gold.
        policy: The rules.
        now: The time.

    Raises:
        InputError: A review is there already, images are not in the dataset, nothing to review, or too few gold
            images.
    """
    gold_rows = _true_rows(gold, policy) if gold is not None else []
    if len(gold_rows) < policy.gold_per_task:
        raise InputError(
            f"gold: expected at least {policy.gold_per_task} verified images, got {len(gold_rows)}"
            " (0 gold images per task reviews without)"
        )
    usable = faces.filter(pc.not_equal(faces["status"], "failed"))["image_id"].to_pylist()
    _require_in(dataset, usable, "FACES")
    _require_in(dataset, [row.image_id for row in gold_rows], "gold")
    with store.write() as session:
        _claim(session, dataset, faces, policy, now)
        numbers = _add_images(session, faces, gold_rows)
        tasks = _add_tasks(session, numbers, gold_rows, policy)
        if not tasks:
            raise InputError("expected images to review, got none beside failed and gold ones")
    return Created(len(numbers.boxes), len(gold_rows), tasks, tasks * policy.replicas)


def load_review(session: Session) -> Review:
    """The store's review; InputError where none was created."""
    review = session.get(Review, 1)
    if review is None:
        raise InputError("expected a review in the store, found none; make one with `unface review create`")
    return review


def _true_rows(gold: pa.Table, policy: Policy) -> list[FaceRow]:
    true = pc.equal(gold["status"], "reviewed")
    if {"workers", "agreement"} <= set(gold.column_names):
        agreed = pc.and_(
            pc.greater_equal(gold["workers"], 2), pc.greater_equal(gold["agreement"], policy.min_agreement)
        )
        verified = pc.is_null(gold["workers"])  # was gold before
        true = pc.and_(true, pc.or_(verified, pc.fill_null(agreed, False)))
    rows = list(face_rows(gold.filter(true)))
    for row in rows:
        _require_size(row, "gold")
    return rows


def _require_size(row: FaceRow, name: str) -> None:
    if row.width <= 0 or row.height <= 0:
        raise InputError(f"{name}: {one_line(row.image_id)}: expected its size, got {row.width} x {row.height}")


def _require_in(dataset: Originals, ids: Sequence[str], name: str) -> None:
    absent = [image_id for image_id in ids if not _has(dataset, image_id)]
    if absent:
        raise InputError(f"{name}: expected images of the dataset, got {len(absent)} others: {one_line(absent[0])}, …")


def _has(dataset: Originals, image_id: str) -> bool:
    try:
        return dataset.has(image_id)
    except ImageError:  # it would lie outside the dataset
        return False


def _claim(session: Session, dataset: Originals, faces: pa.Table, policy: Policy, now: datetime) -> None:
    if session.get(Review, 1) is not None:
        raise InputError("expected a new store, got one that holds a review")
    metadata = faces.schema.metadata or {}
    provenance = {k.decode(): v.decode() for k, v in metadata.items() if k.startswith(b"unface.")}
    session.add(
        Review(
            id=1,
            name=new_name(),
            created_at=now,
            source=str(dataset.root),
            policy=json.loads(policy.model_dump_json()),
            provenance=provenance,
            link_key=secrets.token_hex(32),
            unface_version=__version__,
        )
    )
    session.flush()


@dataclass
class _Numbers:
    """What planning must know of the images to review: their keys in the store, boxes and uncertainties."""

    keys: list[int]
    boxes: list[int]
    uncertainties: list[float]


def _add_images(session: Session, faces: pa.Table, gold_rows: Sequence[FaceRow]) -> _Numbers:
    """Gold images get the keys 1, 2, …; the others follow."""
    numbers = _Numbers([], [], [])
    is_gold = {row.image_id for row in gold_rows}

    def records() -> Iterator[dict[str, Any]]:
        for key, row in enumerate(gold_rows, 1):
            yield _record(key, row, truth=row.faces)
        others = (row for row in face_rows(faces) if row.image_id not in is_gold)
        for key, row in enumerate(others, 1 + len(gold_rows)):
            yield _record(key, row)
            if row.status != "failed":
                _require_size(row, "FACES")
                numbers.keys.append(key)
                numbers.boxes.append(len(row.faces))
                numbers.uncertainties.append(uncertainty(row))

    _insert(session, Image, records())
    return numbers


def _record(key: int, row: FaceRow, truth: Faces | None = None) -> dict[str, Any]:
    return {
        "id": key,
        **row.record(),
        "truth": None if truth is None else truth.structs(),
        "uncertainty": uncertainty(row),
        "decision": None,
        "agreement": None,
    }


def _add_tasks(session: Session, numbers: _Numbers, gold_rows: Sequence[FaceRow], policy: Policy) -> int:
    rng = np.random.default_rng(policy.seed)
    order = choose_images(np.array(numbers.boxes, np.int64), np.array(numbers.uncertainties), policy, rng)
    keys = np.array(numbers.keys, np.int64)[order]
    plan = list(cut_tasks(keys, len(gold_rows), policy, rng))
    add_tasks(session, plan, lambda number: (number + 1, gold_rows[number]), policy, rng, followup=False)
    return len(plan)


def add_tasks(
    session: Session,
    plan: Sequence[Sequence[Place]],
    gold: Callable[[int], tuple[int, FaceRow]],
    policy: Policy,
    rng: np.random.Generator,
    followup: bool,
) -> None:
    """Write planned tasks, their items and their slots.

    Args:
        session: Of the store.
        plan: Tasks; the number of a place is an image's key, or says which gold image.
        gold: From a gold image's number to its key and row.
        policy: The rules; a follow-up task has one slot.
        rng: Corrupts the boxes that gold images start from.
        followup: Whether these tasks ask one more worker.
    """
    first = 1 + (session.scalar(select(func.max(Task.id))) or 0)
    tasks = list(enumerate(plan, first))

    def items() -> Iterator[dict[str, Any]]:
        for task_id, places in tasks:
            for position, place in enumerate(places):
                key, start = place.number, None
                if place.gold:
                    key, row = gold(place.number)
                    wrong = corrupt(row.faces.boxes_xyxy, row.width, row.height, policy, rng)
                    start = Faces.make(wrong, source="gold").structs()
                yield {"task_id": task_id, "position": position, "image_pk": key, "gold": place.gold, "start": start}

    slots = range(1 if followup else policy.replicas)
    _insert(session, Task, ({"id": task_id, "followup": followup} for task_id, _ in tasks))
    _insert(session, Item, items())
    _insert(session, Slot, ({"task_id": task_id, "replica": replica} for task_id, _ in tasks for replica in slots))


def _insert(session: Session, table: type[Base], records: Iterator[dict[str, Any]]) -> None:
    waiting: list[dict[str, Any]] = []
    for record in records:
        waiting.append(record)
        if len(waiting) == _ROWS_AT_ONCE:
            session.execute(insert(table), waiting)
            waiting = []
    if waiting:
        session.execute(insert(table), waiting)
