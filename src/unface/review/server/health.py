"""Health, and metrics for Prometheus."""

import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unface.review.server.desk import NotAllowed, Reviewer, desk_of, problems
from unface.review.server.messages import Health, Problem
from unface.review.tables import Assignment, Image

router = APIRouter()

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """What Prometheus may ask for: requests, their times, and how many images and tasks are where."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "unface_review_requests", "Requests.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "unface_review_request_seconds", "Time of a request.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.images = Gauge("unface_review_images", "Images by decision.", ["decision"], registry=self.registry)
        self.tasks = Gauge("unface_review_assignments", "Assignments by state.", ["state"], registry=self.registry)


class Measured:
    """Counts and times requests by their route, never by their address: that may hold a link."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)


@router.get("/api/health", responses={503: {"model": Problem, "description": "The store cannot be reached."}})
def health(request: Request) -> Health:
    """Whether the server and its store work; needs no token."""
    try:
        with desk_of(request).store.read() as session:
            session.execute(text("SELECT 1"))
    except DBAPIError:
        raise NotAllowed(503, "unavailable", "the store cannot be reached") from None
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={**problems(), 200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
def metrics(request: Request, account: Reviewer) -> Response:
    """Metrics for Prometheus, which sends the token of a reviewer."""
    kept: Metrics = request.app.state.metrics
    with desk_of(request).store.read() as session:
        decisions = session.execute(select(Image.decision, func.count()).group_by(Image.decision))
        for decision, count in decisions:
            kept.images.labels(decision or "none").set(count)
        for state, count in session.execute(select(Assignment.state, func.count()).group_by(Assignment.state)):
            kept.tasks.labels(state).set(count)
    return Response(generate_latest(kept.registry), media_type=CONTENT_TYPE_LATEST)
