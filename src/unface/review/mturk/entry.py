"""The way in for workers of Mechanical Turk who accepted a HIT."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from unface.review.accounts import add_account, find_account
from unface.review.creation import load_review
from unface.review.links import BadLink, opened
from unface.review.policy import Policy
from unface.review.submission import Refused
from unface.review.tables import LIVE, Account, Assignment, Hit, Turk
from unface.review.work import take

HIT_LINK = "hit"
"""Purpose of the links in HITs."""


def enter(
    session: Session, link: str, turk_assignment_id: str, turk_worker_id: str, now: datetime, policy: Policy
) -> tuple[Account, int]:
    """Let a Mechanical Turk worker in who accepted a HIT: his account, and his assignment of the HIT's task.

    Mechanical Turk does not sign what it tells, so who has seen the HIT could give another worker's name. He is paid
    only for an assignment that Mechanical Turk itself reports as that worker's.

    Args:
        session: Of the store, writing.
        link: As in the HIT's address.
        turk_assignment_id: Mechanical Turk's name for it.
        turk_worker_id: Mechanical Turk's name for him.
        now: The time.
        policy: The rules.

    Raises:
        Refused: `unknown` link, or an assignment that is another worker's; `ended`; `paused`.
    """
    try:
        (task_id,) = opened(load_review(session).link_key, HIT_LINK, link, 1, now)
    except BadLink as error:
        raise Refused("unknown", str(error)) from None
    if session.get(Hit, task_id) is None:
        raise Refused("unknown", "expected a task that is offered, got another number")
    turk = session.scalar(select(Turk).where(Turk.turk_assignment_id == turk_assignment_id).with_for_update())
    if turk is not None and (turk.turk_worker_id != turk_worker_id or turk.task_id != task_id):
        raise Refused("unknown", "expected an assignment of yours, got another worker's")
    name = f"mturk {turk_worker_id}"
    account = find_account(session, name) or add_account(session, name, "worker", now)
    if turk is not None and turk.assignment_id is not None:
        if session.get_one(Assignment, turk.assignment_id).state in LIVE:
            return account, turk.assignment_id
        turk.assignment_id = None
    assignment_id = take(session, account, now, policy, task_id)
    if assignment_id is None and _make_room(session, task_id, now):
        assignment_id = take(session, account, now, policy, task_id)
    if assignment_id is None:
        raise Refused("ended", "expected a task with a free place, this one has none left")
    if turk is None:
        turk = Turk(
            turk_assignment_id=turk_assignment_id, turk_worker_id=turk_worker_id, task_id=task_id, bonus_cents=0
        )
        session.add(turk)
    turk.assignment_id = assignment_id
    return account, assignment_id


def _make_room(session: Session, task_id: int, now: datetime) -> bool:
    """Free the place whose worker was idle longest: Mechanical Turk lets in no more than there are, so one has left."""
    chosen = select(Assignment).where(Assignment.task_id == task_id, Assignment.state == "open")
    idle = session.scalar(chosen.order_by(Assignment.expires_at).limit(1).with_for_update())
    if idle is None:
        return False
    idle.state, idle.ended_at = "expired", now
    session.flush()
    return True
