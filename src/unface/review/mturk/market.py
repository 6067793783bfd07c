"""The marketplace: its servers, its sites, its money."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from unface.errors import InputError, one_line
from unface.review.tables import Campaign, Hit, Turk

SANDBOX = "https://mturk-requester-sandbox.us-east-1.amazonaws.com"
LIVE_ENDPOINT = "https://mturk-requester.us-east-1.amazonaws.com"

_FRAME_SITES = {LIVE_ENDPOINT: ("https://worker.mturk.com", "https://www.mturk.com")}
_SANDBOX_SITES = ("https://workersandbox.mturk.com",)

_FEE_PERCENT = 20
"""Mechanical Turk's share of rewards and bonuses, for HITs of up to 9 assignments; at least a cent each."""


def connect(endpoint: str) -> Any:
    """A client of Mechanical Turk; credentials come from where boto3 looks for them."""
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    retries = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=30)
    return boto3.client("mturk", region_name="us-east-1", endpoint_url=endpoint, config=retries)


def campaign_of(session: Session) -> Campaign:
    """The campaign of a review; InputError where there is none."""
    campaign = session.get(Campaign, 1)
    if campaign is None:
        raise InputError("expected a review that is offered on Mechanical Turk, got one that is not")
    return campaign


def frame_sites(session: Session) -> tuple[str, ...]:
    """The sites of Mechanical Turk that show the page in a frame; none where nothing is offered there."""
    campaign = session.get(Campaign, 1)
    return () if campaign is None else _FRAME_SITES.get(campaign.endpoint, _SANDBOX_SITES)


def committed_cents(session: Session) -> int:
    """Cents that HITs and bonuses have cost or may cost."""
    hits = session.scalar(select(func.sum(Hit.reserved_cents))) or 0
    bonuses = session.scalars(select(Turk.bonus_cents).where(Turk.bonus_cents > 0))
    return int(hits) + sum(cost_cents(cents) for cents in bonuses)


def cost_cents(cents: int, times: int = 1) -> int:
    """What rewards or bonuses cost with the fee.

    >>> cost_cents(50, 3), cost_cents(2)
    (180, 3)
    """
    return times * (cents + max(1, -(-cents * _FEE_PERCENT // 100))) if cents else 0


def dollars(cents: int) -> str:
    """Cents as dollars.

    >>> dollars(1205)
    '$12.05'
    """
    return f"${cents // 100}.{cents % 100:02d}"


def cents_of(amount: str) -> int:
    """Dollars as Mechanical Turk writes them, in cents."""
    try:
        whole, _, part = amount.partition(".")
        return int(whole) * 100 + int((part + "00")[:2])
    except ValueError:
        raise InputError(f"Mechanical Turk: expected an amount, got {one_line(amount)}") from None
