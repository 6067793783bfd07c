"""Mechanical Turk: tasks offered as HITs, paid within a budget, never twice.

What costs money is written to the store first, with a token of its own, and done at Mechanical Turk afterwards. After
a crash the same command finds what was written, asks Mechanical Turk whether it was done, and goes on.
"""

from unface.review.mturk.entry import enter
from unface.review.mturk.market import (
    LIVE_ENDPOINT,
    SANDBOX,
    campaign_of,
    connect,
    cost_cents,
    dollars,
    frame_sites,
)
from unface.review.mturk.offering import Offer, Plan, expire, plan, publish
from unface.review.mturk.payment import Standing, approve, collect, standing

__all__ = [
    "LIVE_ENDPOINT",
    "SANDBOX",
    "Offer",
    "Plan",
    "Standing",
    "approve",
    "campaign_of",
    "collect",
    "connect",
    "cost_cents",
    "dollars",
    "enter",
    "expire",
    "frame_sites",
    "plan",
    "publish",
    "standing",
]
