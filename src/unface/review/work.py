"""What a worker does: take a task, answer its images, submit it, or give it back.

Each function works inside one transaction of the store (`Store.write`), and locks the rows it decides upon, so that
two workers never hold one slot and an answer sent twice is kept once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import BindParameter, Select, and_, bindparam, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from unface import __version__
from unface.faces import FaceRow, Faces
from unface.review.creation import add_tasks
from unface.review.grading import Verdict, judge
from unface.review.planning import cut_tasks
from unface.review.policy import Policy
from unface.review.results import decide
from unface.review.submission import Refused, Submission, fit
from unface.review.tables import LIVE, Account, Answer, Assignment, Event, Hit, Image, Item, Slot, Task


@dataclass(frozen=True)
class Saved:
    """What became of an answer; `truth` is told only after a wrong answer on a gold image."""

    version: int
    attempt: int
    lives: int
    restarted: bool
    truth: Faces | None


@dataclass(frozen=True)
class ItemState:
    """One image of a task as its worker sees it: never whether it is gold, but for gold answered wrongly (`truth`)."""

    position: int
    width: int
    height: int
    faces: Faces
    version: int
    truth: Faces | None


def take(session: Session, account: Account, now: datetime, policy: Policy, task_id: int | None = None) -> int | None:
    """Give the worker a task.

    The open one he has, else one he lost for not answering and nobody has taken since, else the first free slot of a
    task that he has not done. Tasks of others who have not answered for `idle_minutes` are free again.

    Args:
        session: Of the store, writing.
        account: The worker.
        now: The time.
        policy: The rules.
        task_id: Only this task; else any that is not offered on Mechanical Turk.

    Returns:
        Key of the assignment; None where no task is left for this worker.

    Raises:
        Refused: `paused`.
    """
    session.execute(select(Account.id).where(Account.id == account.id).with_for_update())
    mine = select(Assignment).where(Assignment.account_id == account.id).order_by(Assignment.id)
    if task_id is not None:
        mine = mine.where(Assignment.task_id == task_id)
    for held in session.scalars(mine.where(Assignment.state == "open")):
        return held.id
    if is_paused(session):
        raise Refused("paused", "the review is paused; answers are still saved")
    _expire(session, now)
    deadline = now + timedelta(minutes=policy.idle_minutes)
    for lost in session.scalars(mine.where(Assignment.state == "expired")):
        if _lock_if_free(session, lost.slot_id) and not _has_done(session, account, lost.task_id):
            lost.state, lost.expires_at, lost.ended_at = "open", deadline, None
            return lost.id
    slot = _free_slot(session, account, task_id)
    if slot is None and task_id is None and cut_followups(session, policy):
        slot = _free_slot(session, account, None)
    return None if slot is None else _assign(session, account, slot, now, deadline, policy)


def item_states(session: Session, assignment: Assignment) -> list[ItemState]:
    """The images of a task, each with the worker's latest answer in this attempt or the boxes to start from."""
    answers: dict[int, list[Answer]] = {}
    chosen = select(Answer).where(Answer.assignment_id == assignment.id, Answer.attempt == assignment.attempt)
    for answer in session.scalars(chosen.order_by(Answer.version)):
        answers.setdefault(answer.item_id, []).append(answer)
    rows = session.execute(
        select(Item, Image).join(Image).where(Item.task_id == assignment.task_id).order_by(Item.position)
    )
    states = []
    for item, image in rows:
        given = answers.get(item.id, [])
        start = image.boxes if item.start is None else item.start
        failed = bool(given) and given[0].passed is False
        states.append(
            ItemState(
                item.position,
                image.width,
                image.height,
                Faces.from_structs(given[-1].boxes if given else start),
                given[-1].version if given else 0,
                Faces.from_structs(image.truth or []) if failed else None,
            )
        )
    return states


def find_assignment(session: Session, account: Account, assignment_id: int, lock: bool = False) -> Assignment:
    """The worker's own assignment; Refused (`unknown`) where he has none of this key."""
    chosen = select(Assignment).where(Assignment.id == assignment_id, Assignment.account_id == account.id)
    assignment = session.scalar(chosen.with_for_update() if lock else chosen)
    if assignment is None:
        raise Refused("unknown", "expected a task of yours, got another number")
    return assignment


def save_answer(
    session: Session,
    account: Account,
    assignment_id: int,
    position: int,
    given: Submission,
    now: datetime,
    policy: Policy,
) -> Saved:
    """Keep one answer, judge it if it is the attempt's first on a gold image, and go on with the clock.

    Args:
        session: Of the store, writing.
        account: The worker.
        assignment_id: His assignment.
        position: Place of the image in its task, from 0.
        given: The answer.
        now: The time.
        policy: The rules.

    Raises:
        Refused: `unknown` task or image; `invalid` boxes; `conflict`, the key came with another answer; `ended`;
            `stale`, the task has started again since.
    """
    assignment, item, image = _place(session, account, assignment_id, position)
    faces = fit(given.faces, image)
    here = and_(Answer.item_id == item.id, Answer.attempt == given.attempt)
    mine = select(Answer).where(Answer.assignment_id == assignment.id, or_(Answer.key == given.key, here))
    earlier = list(session.scalars(mine))
    for before in (answer for answer in earlier if answer.key == given.key):
        if before.item_id != item.id or before.boxes != faces.structs():
            raise Refused("conflict", "key: expected a new one for another answer, got one that was used")
        return _saved(before, image)
    _require_open(assignment)
    if given.attempt != assignment.attempt:
        raise Refused("stale", f"attempt: expected {assignment.attempt} (the task started again), got {given.attempt}")
    verdict = _verdict(item, image, faces, policy) if not earlier else None
    if verdict is not None and not verdict.right:
        assignment.lives -= 1
        if not assignment.lives:
            assignment.attempt, assignment.lives = assignment.attempt + 1, policy.lives
    assignment.expires_at = now + timedelta(minutes=policy.idle_minutes)
    answer = Answer(
        assignment_id=assignment.id,
        item_id=item.id,
        attempt=given.attempt,
        version=1 + max((answer.version for answer in earlier), default=0),
        key=given.key,
        boxes=faces.structs(),
        seconds=given.seconds,
        answered_at=now,
        passed=None if verdict is None else verdict.right,
        score=None if verdict is None else verdict.score,
        attempt_after=assignment.attempt,
        lives_after=assignment.lives,
        unface_version=__version__,
    )
    session.add(answer)
    return _saved(answer, image)


def submit(session: Session, account: Account, assignment_id: int, attempt: int, now: datetime, policy: Policy) -> None:
    """Hand a task in, and decide about its images; a second time changes nothing.

    Raises:
        Refused: `unknown`, `ended`, `stale`, or `incomplete`: images without an answer in this attempt.
    """
    assignment = find_assignment(session, account, assignment_id, lock=True)
    if assignment.state == "submitted":
        return
    _require_open(assignment)
    if attempt != assignment.attempt:
        raise Refused("stale", f"attempt: expected {assignment.attempt} (the task started again), got {attempt}")
    missing = [state.position for state in item_states(session, assignment) if not state.version]
    if missing:
        raise Refused("incomplete", f"expected an answer on every image, {len(missing)} have none: {missing[0]}, …")
    assignment.state, assignment.ended_at = "submitted", now
    session.flush()
    plain = select(Item.image_pk).where(Item.task_id == assignment.task_id, ~Item.gold)
    decide(session, list(session.scalars(plain)), policy)


def give_back(session: Session, account: Account, assignment_id: int, now: datetime) -> None:
    """Give a task back, so that somebody else can have it; its answers are kept but do not count.

    Raises:
        Refused: `unknown` or `ended`.
    """
    assignment = find_assignment(session, account, assignment_id, lock=True)
    if assignment.state == "returned":
        return
    _require_open(assignment)
    assignment.state, assignment.ended_at = "returned", now


def is_paused(session: Session) -> bool:
    """Whether an admin has paused the review."""
    return session.scalar(select(Event.kind).order_by(Event.id.desc()).limit(1)) == "pause"


def cut_followups(session: Session, policy: Policy) -> int:
    """Cut the images about which one more worker must be asked into tasks; returns how many tasks."""
    waiting = select(Image).where(Image.decision == "ask").order_by(Image.id)
    images = list(session.scalars(waiting.with_for_update(skip_locked=True)))
    if not images:
        return 0
    known = list(session.scalars(select(Image).where(Image.truth.is_not(None)).order_by(Image.id)))
    rng = np.random.default_rng([policy.seed, session.scalar(select(func.count(Task.id))) or 0])
    plan = list(cut_tasks(np.array([image.id for image in images]), len(known), policy, rng))
    add_tasks(session, plan, lambda number: (known[number].id, _true_row(known[number])), policy, rng, followup=True)
    for image in images:
        image.decision = "asked"
    session.flush()
    return len(plan)


def _true_row(image: Image) -> FaceRow:
    return FaceRow(image.image_id, image.width, image.height, image.status, Faces.from_structs(image.truth or []))


def _assign(session: Session, account: Account, slot: Slot, now: datetime, deadline: datetime, policy: Policy) -> int:
    assignment = Assignment(
        slot_id=slot.id,
        task_id=slot.task_id,
        account_id=account.id,
        state="open",
        attempt=1,
        lives=policy.lives,
        taken_at=now,
        expires_at=deadline,
    )
    session.add(assignment)
    session.flush()
    return assignment.id


def _expire(session: Session, now: datetime) -> None:
    idle = update(Assignment).where(Assignment.state == "open", Assignment.expires_at <= now)
    session.execute(idle.values(state="expired", ended_at=now))


def _free_slot(session: Session, account: Account, task_id: int | None) -> Slot | None:
    """The first slot that nobody has and this worker may have, locked."""
    asked = {"account_id": account.id} | ({} if task_id is None else {"task_id": task_id})
    for followup in (False, True):  # apart: most tasks need no look at who saw their images
        free = _free_slots(followup, one_task=task_id is not None)
        while isinstance(slot := session.scalar(free, asked), Slot):
            if _lock_if_free(session, slot.id):
                return slot
    return None


@cache
def _free_slots(followup: bool, one_task: bool) -> Select[Any]:
    """The question for the first free slot, made once: making it takes longer than its answer."""
    me: BindParameter[int] = bindparam("account_id")
    taken = exists().where(Assignment.slot_id == Slot.id, Assignment.state.in_(LIVE))
    done = exists().where(Assignment.task_id == Slot.task_id, Assignment.account_id == me, Assignment.state.in_(LIVE))
    here, there = aliased(Item), aliased(Item)
    seen = exists().where(
        here.task_id == Slot.task_id,
        ~here.gold,
        there.image_pk == here.image_pk,
        Assignment.task_id == there.task_id,
        Assignment.account_id == me,
        Assignment.state.in_(LIVE),
    )
    offered = exists().where(Hit.task_id == Slot.task_id, Hit.expired_at.is_(None))
    here_only = Slot.task_id == bindparam("task_id") if one_task else ~offered
    free = (
        select(Slot).join(Task).where(~taken, ~done, here_only, Task.followup & ~seen if followup else ~Task.followup)
    )
    return free.order_by(Slot.task_id, Slot.replica).limit(1).with_for_update(skip_locked=True, of=Slot)


def _lock_if_free(session: Session, slot_id: int) -> bool:
    """Lock a slot, and only then look: who had it locked before may just have taken it."""
    session.execute(select(Slot.id).where(Slot.id == slot_id).with_for_update())
    return not session.scalar(select(exists().where(Assignment.slot_id == slot_id, Assignment.state.in_(LIVE))))


def _has_done(session: Session, account: Account, task_id: int) -> bool:
    mine = exists().where(
        Assignment.task_id == task_id, Assignment.account_id == account.id, Assignment.state.in_(LIVE)
    )
    return bool(session.scalar(select(mine)))


def _place(session: Session, account: Account, assignment_id: int, position: int) -> tuple[Assignment, Item, Image]:
    """The worker's assignment, locked, and the image at a position of it: one question, since it is asked most."""
    here = and_(Item.task_id == Assignment.task_id, Item.position == position)
    chosen = select(Assignment, Item, Image).outerjoin(Item, here).outerjoin(Image, Image.id == Item.image_pk)
    mine = chosen.where(Assignment.id == assignment_id, Assignment.account_id == account.id)
    found = session.execute(mine.with_for_update(of=Assignment)).first()
    if found is None:
        raise Refused("unknown", "expected a task of yours, got another number")
    if found.Item is None:
        raise Refused("unknown", "expected an image of the task, got another position")
    return found.Assignment, found.Item, found.Image


def _require_open(assignment: Assignment) -> None:
    if assignment.state != "open":
        raise Refused("ended", f"expected an open task, this one was {assignment.state}")


def _verdict(item: Item, image: Image, faces: Faces, policy: Policy) -> Verdict | None:
    if not item.gold:
        return None
    truth = Faces.from_structs(image.truth or [])
    return judge(faces.boxes_xyxy, truth.boxes_xyxy, policy)


def _saved(answer: Answer, image: Image) -> Saved:
    truth = Faces.from_structs(image.truth or []) if answer.passed is False else None
    return Saved(
        answer.version, answer.attempt_after, answer.lives_after, answer.attempt_after != answer.attempt, truth
    )
