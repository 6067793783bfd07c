"""Who may come in: accounts, their roles, and the tokens they come in with."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from unface.errors import InputError, one_line
from unface.review.store import Store
from unface.review.tables import Account, Role, Token

ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""

_LONGEST_NAME = 100
_KNOWN_FOR = timedelta(seconds=30)
_MOST_KNOWN = 10_000


def may(role: Role, needed: Role) -> bool:
    """Whether a role includes another.

    >>> may("admin", "worker"), may("worker", "reviewer")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)


def add_account(session: Session, name: str, role: Role, now: datetime) -> Account:
    """Add an account.

    Raises:
        InputError: An unknown role, or a name that is taken, empty, too long or not printable.
    """
    if role not in ROLES:
        raise InputError(f"role: expected one of {', '.join(ROLES)}, got {one_line(role)}")
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError(f"name: expected 1 to {_LONGEST_NAME} printable characters")
    if find_account(session, name) is not None:
        raise InputError(f"name: expected a new one, {name} is taken")
    account = Account(name=name, role=role, created_at=now)
    session.add(account)
    session.flush()
    return account


def find_account(session: Session, name: str) -> Account | None:
    """The account of this name."""
    return session.scalar(select(Account).where(Account.name == name))


def issue_token(session: Session, account: Account, now: datetime, valid: timedelta) -> str:
    """A new token of an account: shown once, only its SHA-256 is kept."""
    token = secrets.token_urlsafe(32)
    session.add(Token(sha256=_sha256(token), account_id=account.id, created_at=now, expires_at=now + valid))
    return token


def account_of(session: Session, token: str, now: datetime) -> Account | None:
    """Whose token this is; None if it is nobody's, has expired, or the account was disabled."""
    found = _find_token(session, _sha256(token), now)
    return None if found is None else found[0]


class Known:
    """The accounts of tokens that were looked up lately: most requests need no look into the store.

    An account that is changed in another process is seen as it was for at most `_KNOWN_FOR`.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[Account, datetime]] = {}
        self._forgotten = 0

    def account_of(self, store: Store, token: str, now: datetime) -> Account | None:
        """As the function `account_of`."""
        sha256 = _sha256(token)
        account, until = self._found.get(sha256, (None, now))
        if now < until:
            return account
        before = self._forgotten
        with store.read() as session:
            found = _find_token(session, sha256, now)
        if found is None:
            return None
        if before == self._forgotten:  # else it may just have been changed
            if len(self._found) >= _MOST_KNOWN:
                self._found = {}
            self._found[sha256] = found[0], min(found[1], now + _KNOWN_FOR)
        return found[0]

    def forget(self) -> None:
        """Look everybody up anew; to be called when an account or its tokens have changed."""
        self._forgotten += 1
        self._found = {}


def revoke_tokens(session: Session, account: Account, now: datetime) -> None:
    """End every token of an account."""
    for token in session.scalars(select(Token).where(Token.account_id == account.id, Token.expires_at > now)):
        token.expires_at = now


def _find_token(session: Session, sha256: str, now: datetime) -> tuple[Account, datetime] | None:
    """The account of a token that is good, and until when it is."""
    chosen = select(Account, Token.expires_at).join(Token, Token.account_id == Account.id).where(Token.sha256 == sha256)
    found = session.execute(chosen).first()
    if found is None or found.expires_at <= now or found.Account.disabled_at is not None:
        return None
    return found.Account, found.expires_at


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
