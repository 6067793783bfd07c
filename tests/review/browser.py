"""The review as people meet it: a server in a process of its own, and Debian's Chromium."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from unface.review.server import is_page_built

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
MARGIN_PX = 16
"""Around an image that is shown whole."""

needs_page = pytest.mark.skipif(not (is_page_built() and CHROMIUM), reason="needs the built page, and Chromium")


class Served:
    """`unface review serve`, from the command line."""

    def __init__(self, store: Path) -> None:
        command = [sys.executable, "-m", "unface", "review", "serve", "--store", str(store), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--json", "--no-browser"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        told = json.loads(line)
        self.url, self.link = told["url"], told["link"]
        self.admin = self.client(self.link)

    def client(self, link: str) -> httpx2.Client:
        token = link.partition("#token=")[2]
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def invite(self, name: str, role: str = "worker") -> str:
        """An entry link."""
        made = self.admin.post("/api/accounts", json={"name": name, "role": role})
        assert made.status_code == 200, made.text
        return made.json()["link"]

    def stop(self) -> str:
        self.admin.close()
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=30)
        return err


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One person's tab; keeps every response, and fails on errors of the page."""

    def __init__(self, browser: Any, link: str, width: int = 1280, height: int = 720, **how: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, **how)
        self.context.set_default_timeout(10_000)
        self.page = self.context.new_page()
        self.finished: list[Any] = []
        self.bodies: list[tuple[str, str, bytes]] = []
        self.errors: list[str] = []
        self.page.on("requestfinished", lambda request: self.finished.append(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.goto(link)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and "ERR_INTERNET_DISCONNECTED" not in message.text:
            self.errors.append(message.text)

    def drain(self) -> list[tuple[str, str, bytes]]:
        """Method, address and body of every response, in the order in which they came."""
        for request in self.finished[len(self.bodies) :]:
            self.bodies.append((request.method, request.url, request.response().body()))
        return self.bodies

    def close(self) -> None:
        self.context.close()
        assert not self.errors, self.errors

    # what a worker does

    def start(self) -> None:
        self.page.get_by_role("button", name="Start").click()
        self.page.locator(".work").wait_for()
        self.loaded()

    def loaded(self) -> None:
        self.page.locator(".blank").wait_for(state="hidden")

    def at(self) -> int:
        """Which image is shown, from 0."""
        return int(self.page.locator("h1.where").inner_text().split()[1]) - 1

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def go_on(self) -> None:
        """Save, next; waits for what comes."""
        before = self.at()
        self.key("d")
        self.until(lambda: self.at() != before or self.page.get_by_role("alertdialog").is_visible())

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait; the page's policy forbids Playwright's own way to wait for a function."""
        for _ in range(500):
            if holds():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("waited in vain")

    def on_screen(self, size: tuple[int, int], x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is, while all of it is shown: as large as it goes, in the middle."""
        left, top, width, height = self.surface()
        scale = self.scale(size)
        return left + (width - size[0] * scale) / 2 + x * scale, top + (height - size[1] * scale) / 2 + y * scale

    def scale(self, size: tuple[int, int]) -> float:
        _, _, width, height = self.surface()
        return min((width - 2 * MARGIN_PX) / size[0], (height - 2 * MARGIN_PX) / size[1])

    def surface(self) -> tuple[float, float, float, float]:
        box = self.page.locator(".surface").bounding_box()
        return box["x"], box["y"], box["width"], box["height"]

    def drag(self, size: tuple[int, int], start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press, move, let go; places are pixels of the image."""
        mouse = self.page.mouse
        mouse.move(*self.on_screen(size, *start))
        mouse.down()
        x, y = self.on_screen(size, *end)
        mouse.move((x + self.on_screen(size, *start)[0]) / 2, y, steps=3)
        mouse.move(x, y, steps=3)
        mouse.up()

    def count(self) -> int:
        return int(self.page.locator(".boxes h2").inner_text().split()[0])

    def delete_all(self) -> None:
        for _ in range(self.count()):
            self.key("ArrowDown", "Delete")
        assert self.count() == 0

    def axe(self) -> list[str]:
        """What axe-core finds wrong by WCAG 2.1 A and AA."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
        return [f"{rule['id']}: {node['html'][:120]}" for rule in found["violations"] for node in rule["nodes"]]
