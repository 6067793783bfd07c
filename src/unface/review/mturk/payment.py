"""What Mechanical Turk has of the workers, and what they are paid: approvals and bonuses, each once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from unface.review.mturk.market import campaign_of, committed_cents, cost_cents, dollars
from unface.review.store import Store
from unface.review.tables import Answer, Assignment, Campaign, Hit, Turk


@dataclass(frozen=True)
class Standing:
    """How the campaign stands; money in cents. `unmatched` were submitted there but not handed in here."""

    hits: int
    unsent: int
    committed_cents: int
    budget_cents: int
    submitted: int
    approved: int
    rejected: int
    unmatched: list[str]


def collect(store: Store, client: Any) -> Standing:
    """Ask Mechanical Turk what was submitted, approved and rejected, and write it down."""
    with store.read() as session:
        hits = session.execute(select(Hit.task_id, Hit.hit_id).where(Hit.hit_id.is_not(None))).all()
    for task_id, hit_id in hits:
        found = list(_assignments(client, str(hit_id)))
        with store.write() as session:
            for told in found:
                turk = session.get(Turk, told["AssignmentId"])
                if turk is None:
                    turk = Turk(
                        turk_assignment_id=told["AssignmentId"],
                        turk_worker_id=told["WorkerId"],
                        task_id=task_id,
                        bonus_cents=0,
                    )
                    session.add(turk)
                turk.status = told["AssignmentStatus"]
                if turk.turk_worker_id != told["WorkerId"]:
                    turk.turk_worker_id, turk.assignment_id = told["WorkerId"], None
    with store.read() as session:
        return standing(session)


def _assignments(client: Any, hit_id: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_assignments_for_hit").paginate(HITId=hit_id):
        yield from page["Assignments"]


def standing(session: Session) -> Standing:
    """How the campaign stands, as last collected; InputError where there is none."""
    campaign = campaign_of(session)
    statuses = {
        status: count for status, count in session.execute(select(Turk.status, func.count()).group_by(Turk.status))
    }
    unmatched = [turk.turk_assignment_id for turk in session.scalars(_waiting()) if not _is_handed_in(session, turk)]
    return Standing(
        hits=session.scalar(select(func.count(Hit.task_id))) or 0,
        unsent=session.scalar(select(func.count(Hit.task_id)).where(Hit.hit_id.is_(None))) or 0,
        committed_cents=committed_cents(session),
        budget_cents=campaign.budget_cents,
        submitted=statuses.get("Submitted", 0),
        approved=statuses.get("Approved", 0),
        rejected=statuses.get("Rejected", 0),
        unmatched=unmatched,
    )


def approve(store: Store, client: Any, now: datetime) -> tuple[int, int]:
    """Approve what was handed in here, where every task has passed its gold; send bonuses while the budget lasts.

    What Mechanical Turk has and was not handed in here is left to people: nothing is ever rejected by itself.

    Returns:
        How many assignments were approved, and how many bonuses sent.
    """
    collect(store, client)
    approved = 0
    with store.read() as session:
        due = [turk.turk_assignment_id for turk in session.scalars(_waiting()) if _is_handed_in(session, turk)]
    for turk_assignment_id in due:
        _approve(client, turk_assignment_id)
        with store.write() as session:
            session.get_one(Turk, turk_assignment_id).status = "Approved"
        approved += 1
    return approved, _send_bonuses(store, client, now)


def _approve(client: Any, turk_assignment_id: str) -> None:
    try:
        client.approve_assignment(AssignmentId=turk_assignment_id, OverrideRejection=False)
    except client.exceptions.RequestError:  # as above
        if client.get_assignment(AssignmentId=turk_assignment_id)["Assignment"]["AssignmentStatus"] != "Approved":
            raise


def _waiting() -> Any:
    return select(Turk).where(Turk.status == "Submitted").order_by(Turk.turk_assignment_id)


def _is_handed_in(session: Session, turk: Turk) -> bool:
    ours = None if turk.assignment_id is None else session.get(Assignment, turk.assignment_id)
    return ours is not None and ours.state == "submitted"


def _send_bonuses(store: Store, client: Any, now: datetime) -> int:
    with store.write() as session:
        campaign = session.scalar(select(Campaign).with_for_update())
        if campaign is None or not campaign.bonus_cents:
            return 0
        for turk in session.scalars(select(Turk).where(Turk.status == "Approved", Turk.bonus_cents == 0)):
            affordable = committed_cents(session) + cost_cents(campaign.bonus_cents) <= campaign.budget_cents
            if affordable and turk.assignment_id is not None and _is_flawless(session, turk.assignment_id):
                turk.bonus_cents = campaign.bonus_cents
                session.flush()
        due = list(session.scalars(select(Turk).where(Turk.bonus_cents > 0, Turk.bonus_sent_at.is_(None))))
        session.flush()
        session.expunge_all()
    for turk in due:
        if not _has_bonus(client, turk):
            _send_bonus(client, turk)
        with store.write() as session:
            session.get_one(Turk, turk.turk_assignment_id).bonus_sent_at = now
    return len(due)


def _send_bonus(client: Any, turk: Turk) -> None:
    try:
        client.send_bonus(
            WorkerId=turk.turk_worker_id,
            BonusAmount=dollars(turk.bonus_cents)[1:],
            AssignmentId=turk.turk_assignment_id,
            Reason="Every check was right. Thank you!",
            UniqueRequestToken=f"bonus-{turk.turk_assignment_id}",
        )
    except client.exceptions.RequestError:  # as above
        if not _has_bonus(client, turk):
            raise


def _is_flawless(session: Session, assignment_id: int) -> bool:
    wrong = exists().where(Answer.assignment_id == assignment_id, Answer.passed.is_(False))
    return not session.scalar(select(wrong))


def _has_bonus(client: Any, turk: Turk) -> bool:
    pages = client.get_paginator("list_bonus_payments").paginate(AssignmentId=turk.turk_assignment_id)
    return any(page["BonusPayments"] for page in pages)
