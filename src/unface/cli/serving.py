"""What the commands that serve a page have in common."""

import sys
from typing import TYPE_CHECKING

from unface.cli.options import print_json, tell
from unface.errors import InputError

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI


def require_extra(command: str, *more: str) -> None:
    """InputError unless the extra `review`, and these modules, are installed."""
    from importlib.util import find_spec

    for module in ("sqlalchemy", "alembic", "fastapi", "uvicorn", "prometheus_client", *more):
        if find_spec(module) is None:
            raise InputError(f"unface {command} needs {module}: pip install 'unface[review]'")


def serve_page(
    app: "FastAPI", listening: "socket.socket", who: str, url: str, token: str, browser: bool, as_json: bool
) -> None:
    """Tell the link that lets somebody in, open it if asked to, and serve until interrupted."""
    import webbrowser

    from unface.review.serving import run_server

    link = f"{url}/#token={token}"
    tell(f"{who}: {link}")
    if as_json:
        print_json({"url": url, "link": link})
        sys.stdout.flush()
    if browser:
        webbrowser.open(link)
    run_server(app, listening)
