"""What the routes stand on: the store, the rules, the clock, and who is asking."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from unface.review.accounts import Known, may
from unface.review.links import sign
from unface.review.pictures import Pictures
from unface.review.policy import Policy
from unface.review.server.messages import Problem
from unface.review.store import Store
from unface.review.tables import Account, Role
from unface.review.throttle import Throttle

LINKS_LAST = timedelta(hours=1)
"""Links to images; the page gets fresh ones with the task."""

TASK_IMAGE, DISPUTE_IMAGE = "image", "dispute"
"""Purposes of links."""


class NotAllowed(Exception):
    """A request without a good token (401), without the role (403), or one too many (429)."""

    def __init__(self, status: int, code: str, message: str, wait: float = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.wait = status, code, wait


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Desk:
    """Everything that a route needs; one per server, in `app.state.desk`.

    Attributes:
        store: The review's store.
        policy: Its rules.
        link_key: Signs links to images.
        pictures: The dataset's images for browsers.
        url: Where browsers reach the server.
        now: The clock.
        known: Whose tokens have been seen lately.
        callers: Limits the requests of each account and of each task's links.
        strangers: Limits requests with bad tokens or links, by address.
    """

    store: Store
    policy: Policy
    link_key: str
    pictures: Pictures
    url: str
    now: Callable[[], datetime] = _utc_now
    known: Known = field(default_factory=Known)
    callers: Throttle = field(default_factory=lambda: Throttle(20, 200, time.monotonic))
    strangers: Throttle = field(default_factory=lambda: Throttle(0.5, 30, time.monotonic))

    def image_url(self, purpose: str, *numbers: int) -> str:
        """A fresh link to an image."""
        return f"/api/images/{purpose}/{sign(self.link_key, purpose, numbers, self.now() + LINKS_LAST)}"

    def entry_url(self, token: str) -> str:
        """The link that lets somebody in; browsers keep what follows # to themselves."""
        return f"{self.url}/#token={token}"

    def count(self, *caller: object) -> None:
        """Count a request; NotAllowed (429) if the caller sends too many."""
        wait = self.callers.wait(caller)
        if wait:
            raise NotAllowed(429, "slow_down", "too many requests", wait)

    def stranger(self, request: Request, status: int, code: str, message: str) -> NotAllowed:
        """The refusal of somebody we do not know, who is slowed down if he goes on."""
        wait = self.strangers.wait(request.client.host if request.client else "")
        return NotAllowed(429, "slow_down", "too many requests", wait) if wait else NotAllowed(status, code, message)


def desk_of(request: Request) -> Desk:
    """The server's desk."""
    desk: Desk = request.app.state.desk
    return desk


_bearer = HTTPBearer(auto_error=False, description="The token of an entry link, `…/#token=TOKEN`.")


def _caller(role: Role) -> Callable[..., Awaitable[Account]]:
    async def caller(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Account:
        desk = desk_of(request)
        account = None
        if credentials is not None:  # one quick look-up: cheaper here than on another thread
            account = desk.known.account_of(desk.store, credentials.credentials, desk.now())
        if account is None:
            raise desk.stranger(request, 401, "unauthorized", "token: expected a good one, got none or one that ended")
        desk.count("account", account.id)
        if not may(account.role, role):
            raise NotAllowed(403, "forbidden", f"expected the role {role}, this token has {account.role}")
        return account

    return caller


Worker = Annotated[Account, Security(_caller("worker"))]
Reviewer = Annotated[Account, Security(_caller("reviewer"))]
Admin = Annotated[Account, Security(_caller("admin"))]

_MEANINGS = {
    401: "No token, or one that has ended.",
    403: "Not with this role, or a request from another site.",
    404: "Nothing of yours has this number.",
    409: "ended, stale, incomplete, conflict or paused.",
    413: "The body is too large.",
    422: "Something in the request is not as described.",
    429: "Too many requests; see Retry-After.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its description; those of every route are added."""
    known = sorted({*statuses, 401, 403, 413, 422, 429})
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in known}
