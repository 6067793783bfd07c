"""Tasks become HITs, as many as the budget allows, each once; and HITs come to an end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from unface.errors import InputError
from unface.review.creation import load_review
from unface.review.links import sign
from unface.review.mturk.entry import HIT_LINK
from unface.review.mturk.market import campaign_of, cents_of, committed_cents, cost_cents, dollars
from unface.review.policy import Policy
from unface.review.store import Store
from unface.review.tables import LIVE, Assignment, Campaign, Hit, Slot, Task
from unface.review.work import cut_followups

_FRAME_HEIGHT_PX = 0  # MTurk: 0 is as high as the worker's window

_PERCENT_APPROVED, _NUMBER_APPROVED = "000000000000000000L0", "00000000000000000040"
"""System qualifications: share of a worker's assignments that were approved, and their number."""


@dataclass(frozen=True)
class Offer:
    """How tasks are offered.

    Attributes:
        url: Where workers reach the review's server, by HTTPS.
        reward_cents: For a task.
        bonus_cents: For a task without a wrong gold answer.
        budget_cents: The most that all of it may cost, fees included.
        title: What workers see.
        minutes: Time for a task.
        days: How long tasks are offered.
        min_approved_percent: Of a worker's earlier assignments.
        min_approved: Number of a worker's approved assignments.
    """

    url: str
    reward_cents: int
    bonus_cents: int
    budget_cents: int
    title: str = "Draw boxes around faces in photos"
    minutes: int = 90
    days: int = 7
    min_approved_percent: int = 95
    min_approved: int = 100


@dataclass(frozen=True)
class Plan:
    """What publishing would do: HITs, their cost, what is committed already, what does not fit the budget."""

    hits: int
    cost_cents: int
    committed_cents: int
    budget_cents: int
    left_out: int


def plan(session: Session, offer: Offer) -> Plan:
    """What `publish` would do now."""
    tasks = _unoffered(session)
    committed = committed_cents(session)
    chosen, cost = _affordable(tasks, offer, committed)
    return Plan(len(chosen), cost, committed, offer.budget_cents, len(tasks) - len(chosen))


def publish(
    store: Store, client: Any, endpoint: str, offer: Offer, now: datetime, confirm: Callable[[Plan], bool]
) -> int:
    """Offer tasks as HITs, as many as the budget allows, once the plan is confirmed.

    HITs that an earlier run reserved and did not send are sent first.

    Args:
        store: The review's.
        client: Of Mechanical Turk.
        endpoint: Which one it speaks to; a review stays with one.
        offer: Rewards and budget; a later call may change the budget alone.
        now: The time.
        confirm: Shown the plan; nothing is reserved unless it says yes.

    Returns:
        How many HITs were made.

    Raises:
        InputError: The campaign was begun otherwise, or the account's balance is too small.
    """
    with store.write() as session:
        policy = Policy.model_validate(load_review(session).policy)
        cut_followups(session, policy)
        planned = plan(session, offer)
    if planned.hits:
        _require_balance(client, planned.cost_cents)
        if not confirm(planned):
            return 0
    hit_type_id = _hit_type(client, offer)
    with store.write() as session:
        _begin(session, endpoint, offer, hit_type_id, now)
        _reserve(session, offer, now)
    return _send(store, client, hit_type_id, offer, now)


def _begin(session: Session, endpoint: str, offer: Offer, hit_type_id: str, now: datetime) -> None:
    terms = {
        "endpoint": endpoint,
        "url": offer.url,
        "reward_cents": offer.reward_cents,
        "bonus_cents": offer.bonus_cents,
    }
    campaign = session.scalar(select(Campaign).with_for_update())
    if campaign is None:
        session.add(Campaign(id=1, **terms, hit_type_id=hit_type_id, budget_cents=offer.budget_cents, created_at=now))
        return
    for name, value in terms.items():
        if getattr(campaign, name) != value:
            raise InputError(f"{name}: the campaign was begun with {getattr(campaign, name)}, this call has {value}")
    campaign.budget_cents = offer.budget_cents
    campaign.hit_type_id = hit_type_id


def _reserve(session: Session, offer: Offer, now: datetime) -> None:
    name = load_review(session).name
    chosen, _ = _affordable(_unoffered(session), offer, committed_cents(session))
    for task_id, slots in chosen:
        session.add(
            Hit(
                task_id=task_id,
                request_token=f"{name}-{task_id}",
                assignments=slots,
                reserved_cents=cost_cents(offer.reward_cents, slots),
                reserved_at=now,
            )
        )


def _unoffered(session: Session) -> list[tuple[int, int]]:
    """Tasks that are not offered and that nobody has, with the number of their slots."""
    offered = exists().where(Hit.task_id == Task.id)
    had = exists().where(Assignment.task_id == Task.id, Assignment.state.in_(LIVE))
    rows = select(Task.id, func.count(Slot.id)).join(Slot).where(~offered, ~had).group_by(Task.id).order_by(Task.id)
    return [(task_id, slots) for task_id, slots in session.execute(rows)]


def _affordable(tasks: Sequence[tuple[int, int]], offer: Offer, committed: int) -> tuple[list[tuple[int, int]], int]:
    chosen, cost = [], 0
    for task_id, slots in tasks:
        more = cost_cents(offer.reward_cents, slots)
        if committed + cost + more > offer.budget_cents:
            break
        chosen.append((task_id, slots))
        cost += more
    return chosen, cost


def _require_balance(client: Any, cents: int) -> None:
    balance = cents_of(client.get_account_balance()["AvailableBalance"])
    if balance < cents:
        raise InputError(f"balance: expected at least {dollars(cents)} at Mechanical Turk, got {dollars(balance)}")


def _hit_type(client: Any, offer: Offer) -> str:
    """The HIT type of this offer; Mechanical Turk makes one of the same properties only once."""
    at_least = "GreaterThanOrEqualTo"
    made = client.create_hit_type(
        AutoApprovalDelayInSeconds=7 * 24 * 3600,
        AssignmentDurationInSeconds=offer.minutes * 60,
        Reward=dollars(offer.reward_cents)[1:],
        Title=offer.title,
        Keywords="image, faces, boxes, annotation",
        Description="Check boxes around faces in photos: move, draw or delete them. Some may not be safe for work.",
        QualificationRequirements=[
            {
                "QualificationTypeId": kind,
                "Comparator": at_least,
                "IntegerValues": [value],
                "ActionsGuarded": "DiscoverPreviewAndAccept",
            }
            for kind, value in ((_PERCENT_APPROVED, offer.min_approved_percent), (_NUMBER_APPROVED, offer.min_approved))
        ],
    )
    return str(made["HITTypeId"])


def _send(store: Store, client: Any, hit_type_id: str, offer: Offer, now: datetime) -> int:
    with store.read() as session:
        unsent = list(session.scalars(select(Hit).where(Hit.hit_id.is_(None)).order_by(Hit.task_id)))
        key = load_review(session).link_key
    known = _known_hits(client) if any(hit.reserved_at < now for hit in unsent) else {}
    for hit in unsent:
        hit_id = known.get(hit.request_token) or _create(client, hit_type_id, offer, hit, key, now)
        with store.write() as session:
            session.get_one(Hit, hit.task_id).hit_id = hit_id
    return len(unsent)


def _known_hits(client: Any) -> dict[str, str]:
    """HITs that Mechanical Turk has, by our tokens: its own memory of tokens lasts a day only."""
    pages = client.get_paginator("list_hits").paginate()
    return {hit.get("RequesterAnnotation", ""): str(hit["HITId"]) for page in pages for hit in page["HITs"]}


def _create(client: Any, hit_type_id: str, offer: Offer, hit: Hit, key: str, now: datetime) -> str:
    lifetime = timedelta(days=offer.days)
    link = sign(key, HIT_LINK, (hit.task_id,), now + lifetime + timedelta(minutes=offer.minutes))
    try:
        made = client.create_hit_with_hit_type(
            HITTypeId=hit_type_id,
            MaxAssignments=hit.assignments,
            LifetimeInSeconds=int(lifetime.total_seconds()),
            Question=_question(f"{offer.url}/?hit={link}"),
            RequesterAnnotation=hit.request_token,
            UniqueRequestToken=hit.request_token,
        )
    except client.exceptions.RequestError:  # boto3 asks again after a lost answer: then it is there already
        known = _known_hits(client)
        if hit.request_token not in known:
            raise
        return known[hit.request_token]
    return str(made["HIT"]["HITId"])


def _question(url: str) -> str:
    schema = "http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2006-07-14/ExternalQuestion.xsd"
    return (
        f'<ExternalQuestion xmlns="{schema}"><ExternalURL>{escape(url)}</ExternalURL>'
        f"<FrameHeight>{_FRAME_HEIGHT_PX}</FrameHeight></ExternalQuestion>"
    )


def expire(store: Store, client: Any, now: datetime) -> int:
    """Offer nothing more: HITs end for those who have not begun, and their tasks are free for others here.

    Returns:
        How many HITs were ended.
    """
    with store.read() as session:
        campaign_of(session)
        hits = list(session.scalars(select(Hit).where(Hit.expired_at.is_(None))))
    for hit in hits:
        if hit.hit_id is not None:
            client.update_expiration_for_hit(HITId=hit.hit_id, ExpireAt=datetime(2000, 1, 1, tzinfo=UTC))
        with store.write() as session:
            session.get_one(Hit, hit.task_id).expired_at = now
    return len(hits)
