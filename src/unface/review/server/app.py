"""The application: routes, guards, and one shape for every refusal."""

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from unface import __version__
from unface.errors import one_line
from unface.review.creation import load_review
from unface.review.pictures import Originals, Pictures
from unface.review.policy import Policy
from unface.review.server import admin, health, reviewer, turk, worker
from unface.review.server.desk import Desk, NotAllowed
from unface.review.server.guard import Guard, problem
from unface.review.store import Store
from unface.review.submission import Refused

PAGE_DIR = Path(__file__).parents[1] / "page"
"""The built pages."""

NO_PAGE = (
    "the page is not built in this installation. Install Node.js 20.19 or newer with npm (or let the npm registry be "
    "reached), then unface again: pip install --force-reinstall --no-deps unface, or in a checkout: uv sync "
    "--reinstall-package unface. The interface itself works: /api/openapi.json"
)

_ENTRY, _OTHER_PAGES = "review.html", {"/admin": "admin.html"}

_STATUS = {
    "unknown": 404,
    "invalid": 422,
    "ended": 409,
    "stale": 409,
    "incomplete": 409,
    "conflict": 409,
    "paused": 409,
}
_THREADS = 4
_CODES = {404: "unknown", 413: "too_large"}


@dataclass(frozen=True)
class Settings:
    """How the server is reached.

    Attributes:
        url: Where browsers reach it, such as `https://review.example.org`, without a slash at the end.
        hosts: Further host names that requests may name.
        frames: Sites that may show the page in a frame.
    """

    url: str
    hosts: Sequence[str] = ()
    frames: Sequence[str] = field(default=())


def create_app(store: Store, dataset: Originals, settings: Settings) -> FastAPI:
    """The server's application.

    Args:
        store: Holds a review.
        dataset: Its images.
        settings: How it is reached.

    Raises:
        InputError: The store holds no review.
    """
    with store.read() as session:
        review = load_review(session)
        desk = Desk(store, Policy.model_validate(review.policy), review.link_key, Pictures(dataset), settings.url)
        name = review.name
    metrics = health.Metrics()
    app = make_app(
        "unface review",
        "People correct boxes. Boxes are pixels of the upright image. Every refusal changes nothing.",
        settings,
        [Middleware(health.Measured, metrics=metrics)],
    )
    app.state.desk, app.state.name, app.state.metrics = desk, name, metrics
    for router in (worker.router, reviewer.router, admin.router, turk.router, health.router):
        app.include_router(router)
    mount_page(app, _ENTRY, _OTHER_PAGES)
    return app


def make_app(title: str, description: str, settings: Settings, outermost: Sequence[Middleware] = ()) -> FastAPI:
    """An application without routes: guards, security headers, one shape for every refusal."""
    hosts = [str(urlsplit(settings.url).hostname), *settings.hosts]
    return FastAPI(
        title=title,
        version=__version__,
        description=description,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        middleware=[
            *outermost,
            Middleware(Guard, frames=settings.frames, https=settings.url.startswith("https:")),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers=_HANDLERS,
        lifespan=_few_threads,
    )


@asynccontextmanager
async def _few_threads(_: FastAPI) -> AsyncIterator[None]:
    """Few threads at once: more would only wait for each other, for Python's lock and for the store's writer."""
    current_default_thread_limiter().total_tokens = _THREADS
    yield


def is_page_built(page: str = _ENTRY) -> bool:
    """Whether this installation has a page."""
    return (PAGE_DIR / page).is_file()


def mount_page(app: FastAPI, page: str, others: Mapping[str, str] = MappingProxyType({})) -> None:
    """Serve a built page at `/`, others at their paths, and what they are made of."""
    for path, name in {"/": page, **others}.items():
        app.add_api_route(path, _page(name), include_in_schema=False)
    app.mount("/assets", _Assets(directory=PAGE_DIR / "assets", check_dir=False), name="assets")


def _page(name: str) -> Callable[[], Response]:
    def page() -> Response:
        return FileResponse(PAGE_DIR / name) if is_page_built(name) else PlainTextResponse(f"{NO_PAGE}\n", 503)

    return page


class _Assets(StaticFiles):
    """Scripts, styles and icons: their names change with what they hold, so browsers may keep them."""

    def file_response(self, *given: Any, **named: Any) -> Response:
        """One file."""
        response = super().file_response(*given, **named)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def _refused(_: Request, error: Any) -> JSONResponse:
    return problem(_STATUS.get(error.code, 409), error.code, str(error))


def _not_allowed(_: Request, error: Any) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if error.wait:
        headers["Retry-After"] = str(math.ceil(error.wait))
    return problem(error.status, error.code, str(error), headers)


def _not_valid(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return problem(422, "invalid", one_line(f"{place or 'body'}: {first['msg']}"[:300]))


def _http(_: Request, error: Any) -> JSONResponse:
    status = 422 if error.status_code == 400 else error.status_code  # a body that cannot be parsed
    return problem(status, _CODES.get(status, "invalid"), one_line(str(error.detail)), error.headers)


def _unavailable(_: Request, error: Any) -> JSONResponse:
    return problem(503, "unavailable", "the store is busy or cannot be reached; try again", {"Retry-After": "1"})


_HANDLERS: dict[Any, Any] = {
    Refused: _refused,
    NotAllowed: _not_allowed,
    RequestValidationError: _not_valid,
    HTTPException: _http,
    DBAPIError: _unavailable,
}
