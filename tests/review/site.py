"""A server under test, reached in this process: people with tokens, a clock that can be moved."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
from fastapi.testclient import TestClient

from review.reviews import NOON, SMALL, add, make_review
from unface.datasets import open_dataset
from unface.review.accounts import find_account, issue_token
from unface.review.policy import Policy
from unface.review.server import Settings, create_app
from unface.review.store import Store
from unface.review.tables import Role

URL = "http://127.0.0.1:8000"


class Site:
    """The server of one review."""

    def __init__(self, store: Store, root: Path, policy: Policy = SMALL, **how: int) -> None:
        self.store, self.policy = store, policy
        make_review(store, root, policy=policy, **how)
        self.dataset = open_dataset(root)
        self.app = create_app(store, self.dataset, Settings(URL))
        self.now = NOON
        self.desk = self.app.state.desk
        self.desk.now = lambda: self.now
        self.seen: list[tuple[str, httpx.Response]] = []
        self.nobody = self.client("")

    def wait(self, **time: float) -> datetime:
        self.now += timedelta(**time)
        return self.now

    def token(self, name: str, role: Role = "worker") -> str:
        with self.store.read() as session:
            known = find_account(session, name)
        account = known or add(self.store, name, role)
        with self.store.write() as session:
            return issue_token(session, account, self.now, timedelta(days=1))

    def client(self, token: str, name: str = "") -> TestClient:
        client = TestClient(self.app, base_url=URL, raise_server_exceptions=False)
        if token:
            client.headers["Authorization"] = f"Bearer {token}"
        client.event_hooks["response"].append(lambda response: self._note(name, response))
        return client

    def person(self, name: str, role: Role = "worker") -> TestClient:
        return self.client(self.token(name, role), name)

    def _note(self, name: str, response: httpx.Response) -> None:
        response.read()
        self.seen.append((name, response))


def box(x0: float, y0: float, x1: float, y1: float, label: str = "face") -> dict[str, Any]:
    return {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "label": label}


def take(client: TestClient) -> dict[str, Any] | None:
    taken = client.post("/api/tasks", json={})
    assert taken.status_code == 200, taken.text
    return taken.json()["task"]


_number = 0


def put(client: TestClient, task: dict, position: int, boxes: list, **other: Any) -> httpx.Response:
    global _number
    _number += 1
    body = {"attempt": task["attempt"], "key": f"key-{_number:08d}", "seconds": 2.5, "boxes": boxes, **other}
    return client.put(f"/api/tasks/{task['id']}/images/{position}", json=body)


def problem_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code; every refusal is one line that says why."""
    body = response.json()
    assert set(body) == {"code", "message"}, body
    assert body["message"].isprintable()
    assert body["message"]
    return response.status_code, body["code"]
