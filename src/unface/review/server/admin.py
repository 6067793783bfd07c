"""Routes of admins: how it goes, who may come in, pause and resume."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from unface.errors import InputError
from unface.review.accounts import add_account, issue_token, revoke_tokens
from unface.review.progress import Dashboard, dashboard
from unface.review.server.desk import Admin, desk_of, problems
from unface.review.server.messages import (
    AccountIn,
    Accounts,
    AccountView,
    Invited,
    Nothing,
    Number,
    Running,
)
from unface.review.submission import Refused
from unface.review.tables import Account, Event

router = APIRouter(prefix="/api")

_LINK_LASTS = timedelta(days=30)
AccountId = Annotated[Number, Path(description="The account's `id`.")]


@router.get("/dashboard", responses=problems())
def get_dashboard(request: Request, account: Admin) -> Dashboard:
    """How the review stands; ask again every few seconds."""
    desk = desk_of(request)
    with desk.store.read() as session:
        return dashboard(session, desk.policy, desk.now())


@router.post("/pause", responses=problems())
def pause(request: Request, account: Admin, _: Nothing) -> Running:
    """Give out no more tasks; open ones go on."""
    return _run(request, account, "pause")


@router.post("/resume", responses=problems())
def resume(request: Request, account: Admin, _: Nothing) -> Running:
    """Give out tasks again."""
    return _run(request, account, "resume")


@router.get("/accounts", responses=problems())
def accounts(request: Request, account: Admin) -> Accounts:
    """Everybody who may come in."""
    with desk_of(request).store.read() as session:
        return Accounts(accounts=[_view(each) for each in session.scalars(select(Account).order_by(Account.id))])


@router.post("/accounts", responses=problems(409))
def invite(request: Request, account: Admin, given: AccountIn) -> Invited:
    """Make an account and its entry link."""
    desk = desk_of(request)
    with desk.store.write() as session:
        try:
            made = add_account(session, given.name, given.role, desk.now())
        except InputError as error:
            raise Refused("invalid", str(error)) from None
        token = issue_token(session, made, desk.now(), timedelta(days=given.days))
        return Invited(account=_view(made), link=desk.entry_url(token))


@router.post("/accounts/{account_id}/link", responses=problems(404))
def new_link(request: Request, account: Admin, account_id: AccountId, _: Nothing) -> Invited:
    """A new entry link; the old ones end."""
    desk = desk_of(request)
    with desk.store.write() as session:
        found = _account(session, account_id)
        revoke_tokens(session, found, desk.now())
        token = issue_token(session, found, desk.now(), _LINK_LASTS)
        invited = Invited(account=_view(found), link=desk.entry_url(token))
    desk.known.forget()
    return invited


@router.post("/accounts/{account_id}/disable", responses=problems(404))
def disable(request: Request, account: Admin, account_id: AccountId, _: Nothing) -> AccountView:
    """Let somebody in no more; his answers stay."""
    desk = desk_of(request)
    with desk.store.write() as session:
        found = _account(session, account_id)
        found.disabled_at = found.disabled_at or desk.now()
        view = _view(found)
    desk.known.forget()
    return view


def _run(request: Request, account: Account, kind: str) -> Running:
    desk = desk_of(request)
    with desk.store.write() as session:
        session.add(Event(account_id=account.id, kind=kind, at=desk.now()))
    return Running(paused=kind == "pause")


def _account(session: Session, account_id: int) -> Account:
    found = session.get(Account, account_id)
    if found is None:
        raise Refused("unknown", "expected an account, got another number")
    return found


def _view(account: Account) -> AccountView:
    return AccountView(
        id=account.id,
        name=account.name,
        role=account.role,
        created_at=account.created_at,
        disabled=account.disabled_at is not None,
    )
