"""How a review goes: counts, rate, cost, agreement, workers, hardest images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import case, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from unface.review.consensus import accuracy, agreement_with_others, krippendorff_alpha
from unface.review.policy import Policy
from unface.review.results import Given, answers_on
from unface.review.tables import Account, Answer, Assignment, Image, Item, Slot, Task
from unface.review.work import is_paused

PAPER_IMAGES, PAPER_COST = 1_431_093, 2_500
"""Images that the paper's authors had reviewed, and about what it cost them in US dollars (App. A)."""

_RATE_OVER = timedelta(hours=1)
_COMPARED = 1000
_HARDEST = 20


@dataclass(frozen=True)
class WorkerProgress:
    """One worker: gold answers judged and right, with a 95 % interval; mean agreement with others on shared images."""

    account_id: int
    name: str
    tasks_submitted: int
    tasks_open: int
    answers: int
    seconds_per_answer: float | None
    gold_right: int
    gold_judged: int
    gold_low: float
    gold_high: float
    agreement: float | None
    last_answer_at: datetime | None


@dataclass(frozen=True)
class HardImage:
    """An image on which workers agree least."""

    id: int
    image_id: str
    agreement: float
    decision: str


@dataclass(frozen=True)
class Dashboard:
    """Everything an admin wants to know.

    `images_*` count images to review (gold apart): agreed by workers, adjudicated, waiting for a reviewer
    (`images_disputed`), and without a decision yet. `hours_left` and `images_per_hour` go by the last hour. Costs are
    in US dollars; `cost_paper_scale` is what the paper's images would cost at this price. `alpha` is Krippendorff's,
    of the number of faces per image (interval).
    """

    paused: bool
    images_total: int
    images_agreed: int
    images_adjudicated: int
    images_disputed: int
    images_undecided: int
    slots_total: int
    slots_submitted: int
    slots_open: int
    answers: int
    images_per_hour: float
    hours_left: float | None
    price_per_task: float
    cost_so_far: float
    cost_expected: float
    cost_paper_scale: float
    cost_paper: float
    agreement: float | None
    alpha: float | None
    workers: list[WorkerProgress]
    hardest: list[HardImage]


def dashboard(session: Session, policy: Policy, now: datetime) -> Dashboard:
    """How the review stands."""
    decisions = _counts(session, Image.decision)
    states = _counts(session, Assignment.state)
    total = session.scalar(select(func.count(Item.id)).join(Task).where(~Item.gold, ~Task.followup)) or 0
    slots = session.scalar(select(func.count(Slot.id))) or 0
    agreed, adjudicated, disputed = (decisions.get(name, 0) for name in ("agreed", "adjudicated", "adjudicate"))
    submitted = states.get("submitted", 0)
    rate = _rate(session, now)
    left = (slots - submitted) * policy.images_per_task
    compared = _compared(session)
    expected = slots * policy.price
    return Dashboard(
        paused=is_paused(session),
        images_total=total,
        images_agreed=agreed,
        images_adjudicated=adjudicated,
        images_disputed=disputed,
        images_undecided=total - agreed - adjudicated - disputed,
        slots_total=slots,
        slots_submitted=submitted,
        slots_open=states.get("open", 0),
        answers=session.scalar(select(func.count(Answer.id))) or 0,
        images_per_hour=rate,
        hours_left=left / rate if rate else None,
        price_per_task=policy.price,
        cost_so_far=submitted * policy.price,
        cost_expected=expected,
        cost_paper_scale=expected / total * PAPER_IMAGES if total else 0.0,
        cost_paper=PAPER_COST,
        agreement=session.scalar(select(func.avg(Image.agreement))),
        alpha=_alpha(compared),
        workers=_workers(session, compared),
        hardest=_hardest(session),
    )


def _counts(session: Session, column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).where(column.is_not(None)).group_by(column))
    return {str(name): count for name, count in rows}


def _rate(session: Session, now: datetime) -> float:
    """Answers per hour since the first one of the last hour; 0 where there is none."""
    count, first = session.execute(
        select(func.count(Answer.id), func.min(Answer.answered_at)).where(
            Answer.answered_at > now - _RATE_OVER, Answer.version == 1
        )
    ).one()
    if not count:
        return 0.0
    return float(count) / max((now - first) / timedelta(hours=1), 1 / 60)


def _compared(session: Session) -> list[list[Given]]:
    """The answers on the latest images that two or more workers answered."""
    chosen = select(Image.id).where(Image.agreement.is_not(None)).order_by(Image.id.desc()).limit(_COMPARED)
    return list(answers_on(session, list(session.scalars(chosen))).values())


def _alpha(compared: Sequence[Sequence[Given]]) -> float | None:
    workers = sorted({given.account_id for answers in compared for given in answers})
    counts = np.full((len(workers), len(compared)), math.nan)
    for unit, answers in enumerate(compared):
        for given in answers:
            counts[workers.index(given.account_id), unit] = len(given.faces)
    return _or_none(krippendorff_alpha(counts, "interval"))


def _workers(session: Session, compared: Sequence[Sequence[Given]]) -> list[WorkerProgress]:
    tasks: dict[tuple[int, str], int] = {}
    rows = select(Assignment.account_id, Assignment.state, func.count()).group_by(
        Assignment.account_id, Assignment.state
    )
    for account_id, state, count in session.execute(rows):
        tasks[account_id, state] = count
    agreements: dict[int, list[float]] = {}
    for answers in compared:
        shares = agreement_with_others([given.faces.boxes_xyxy for given in answers])
        for given, share in zip(answers, shares, strict=True):
            agreements.setdefault(given.account_id, []).append(share)
    by_worker = (
        select(
            Account.id,
            Account.name,
            func.count(Answer.id).label("answers"),
            func.avg(Answer.seconds).label("seconds"),
            func.count(Answer.passed).label("judged"),
            func.sum(case((Answer.passed.is_(True), 1), else_=0)).label("right"),
            func.max(Answer.answered_at).label("last"),
        )
        .join(Assignment, Assignment.account_id == Account.id)
        .join(Answer, Answer.assignment_id == Assignment.id)
        .group_by(Account.id, Account.name)
        .order_by(Account.id)
    )
    made = []
    for row in session.execute(by_worker):
        gold = accuracy(row.right or 0, row.judged)
        made.append(
            WorkerProgress(
                row.id,
                row.name,
                tasks.get((row.id, "submitted"), 0),
                tasks.get((row.id, "open"), 0),
                row.answers,
                row.seconds,
                gold.right,
                gold.judged,
                gold.low,
                gold.high,
                _or_none(float(np.mean(agreements.get(row.id, [math.nan])))),
                row.last,
            )
        )
    return made


def _hardest(session: Session) -> list[HardImage]:
    chosen = select(Image).where(Image.agreement.is_not(None)).order_by(Image.agreement, Image.id).limit(_HARDEST)
    return [
        HardImage(image.id, image.image_id, image.agreement or 0.0, image.decision or "")
        for image in session.scalars(chosen)
    ]


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number
