"""Running the server: its socket, its first link, and uvicorn."""

import ipaddress
import socket
from datetime import datetime, timedelta

from fastapi import FastAPI

from unface.errors import InputError, one_line
from unface.review.accounts import add_account, find_account, issue_token
from unface.review.store import Store
from unface.review.tables import Role

FIRST_ADMIN = "admin"
"""The account of whoever starts the server."""

_LINK_LASTS = timedelta(days=7)
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections; port 0 takes a free one. InputError where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sends small answers without delay only where the protocol is named; create_server does not name it
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(host, port, error) from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _unusable(host, port, error) from None
    return listening


def _unusable(host: str, port: int, error: OSError) -> InputError:
    reason = error.strerror or one_line(error)
    return InputError(f"{one_line(host)}:{port}: expected a free address of this machine: {reason}")


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def entry_token(store: Store, name: str, role: Role, now: datetime, valid: timedelta = _LINK_LASTS) -> str:
    """A new token for the account of this name, which is made if it is not there.

    Raises:
        InputError: The account is there with another role, or was disabled; or the name cannot be one.
    """
    with store.write() as session:
        account = find_account(session, name) or add_account(session, name, role, now)
        if account.role != role or account.disabled_at is not None:
            state = "disabled" if account.disabled_at is not None else account.role
            raise InputError(f"{name}: expected a new name or an account that is {role}, this one is {state}")
        return issue_token(session, account, now, valid)


def run_server(app: FastAPI, listening: socket.socket) -> None:
    """Serve until interrupted. Addresses are not logged: they may hold links."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_keep_alive=75)
    uvicorn.Server(config).run(sockets=[listening])
