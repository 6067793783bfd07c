"""The pages in a real browser against the real server: from a worker's first box to the published image."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PillowImage
from sqlalchemy import select

from builders import EXAMPLES
from review.browser import AXE, Served, Visit, chromium, needs_page
from unface.cli import main
from unface.datasets import open_dataset
from unface.faces import FaceRow, Faces, faces_table
from unface.review.creation import create_review
from unface.review.policy import Policy
from unface.review.store import open_store
from unface.review.tables import Account, Answer, Assignment, Image, Item

pytestmark = needs_page

TRUTH = {
    "astronaut/collins.png": [177.37, 61.91, 268.63, 177.29],
    "astronaut/turned.jpg": [59.13, 61.39, 149.87, 175.71],
}
"""Gold; numbers that occur nowhere else, so that a leak is found by looking for them."""
SIZES = {"physicists/solvay_1927.jpg": (1600, 1158), "cat/chelsea.png": (451, 300), "rocket/launch.jpg": (640, 427)}
SIZES |= {"coffee/espresso.png": (600, 400), "astronaut/collins.png": (512, 512), "astronaut/turned.jpg": (280, 400)}
PLAIN = ["physicists/solvay_1927.jpg", "cat/chelsea.png", "rocket/launch.jpg", "coffee/espresso.png"]
START = [150.0, 80.0, 250.0, 160.0]
"""The box that every image but gold begins with."""
POLICY = Policy(images_per_task=6, gold_per_task=2, replicas=2, most_replicas=2, price=0.5)
MANY = POLICY.model_copy(update={"replicas": 9, "most_replicas": 9})
"""Everybody can have the same task."""


class Project:
    """A review of real photos, and its server."""

    def __init__(self, folder: Path, policy: Policy = POLICY) -> None:
        self.folder = folder
        self.src = folder / "src"
        for image_id in SIZES:
            (self.src / image_id).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(EXAMPLES / image_id, self.src / image_id)
        rows = [FaceRow(i, *SIZES[i], "detected", Faces.make([START], source="yunet"), Faces.make([])) for i in SIZES]
        gold = [FaceRow(i, *SIZES[i], "reviewed", Faces.make([b], source="human")) for i, b in TRUTH.items()]
        self.store = open_store(str(folder / "review.db"), create=True)
        create_review(
            self.store, open_dataset(self.src), faces_table(rows), faces_table(gold), policy, pd.Timestamp.now("UTC")
        )
        self.served = Served(folder / "review.db")
        with self.store.read() as session:
            chosen = select(Item.position, Image.image_id).join(Image).where(Item.task_id == 1).order_by(Item.position)
            self.order = [image_id for _, image_id in session.execute(chosen)]

    def answers(self, image_id: str, worker: str = "Ann") -> list[list[list[float]]]:
        """Every version of a worker's answer on an image, as stored."""
        with self.store.read() as session:
            mine = select(Answer.boxes).join(Item).join(Image).where(Image.image_id == image_id)
            mine = mine.join(Assignment, Assignment.id == Answer.assignment_id).join(Account)
            chosen = mine.where(Account.name == worker).order_by(Answer.id)
            return [
                [[box[side] for side in ("x0", "y0", "x1", "y1")] for box in boxes] for boxes in session.scalars(chosen)
            ]

    def close(self) -> None:
        self.store.close()
        assert "Traceback" not in self.served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def project(tmp_path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("shared"), MANY)
    yield made
    made.close()


def do_plain(visit: Visit, name: str) -> list[list[float]]:
    """Answer an image as only the mouse can: the boxes that must be stored."""
    size = SIZES[name]
    x0, y0, x1, y1 = START
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    if name == PLAIN[0]:  # draw
        visit.drag(size, (700, 500), (900, 760))
        return [START, [700, 500, 900, 760]]
    if name == PLAIN[1]:  # move
        visit.drag(size, middle, (middle[0] + 60, middle[1] - 30))
        return [[x0 + 60, y0 - 30, x1 + 60, y1 - 30]]
    if name == PLAIN[2]:  # resize by the corner, then by a side
        visit.key("ArrowDown")
        visit.drag(size, (x1, y1), (x1 + 90, y1 + 70))
        visit.drag(size, (x0, (y0 + y1 + 70) / 2), (x0 - 40, (y0 + y1 + 70) / 2))
        return [[x0 - 40, y0, x1 + 90, y1 + 70]]
    visit.key("ArrowDown", "Delete")  # delete
    return []


def draw_truth(visit: Visit, name: str) -> None:
    x0, y0, x1, y1 = TRUTH[name]
    visit.delete_all()
    visit.drag(SIZES[name], (x0 - 2, y0 - 2), (x1 + 2, y1 + 2))


def test_a_worker_does_a_task_an_admin_decides_and_the_result_is_published(project, browser, capsys):
    ann = Visit(browser, project.served.invite("Ann"))
    ann.start()
    assert "#" not in ann.page.url, "the token stays in the address"
    hearts = ann.page.locator(".lives")
    assert hearts.get_attribute("aria-label") == "2 of 2 lives"

    # the first attempt: all gold is left as it came, which is wrong
    drawn: dict[str, list[list[float]]] = {}
    failed = []
    for place, name in enumerate(project.order):
        assert ann.at() == place
        ann.loaded()
        if name not in TRUTH:
            drawn[name] = do_plain(ann, name)
        ann.go_on()
        if name in TRUTH:
            failed.append(name)
            assert ann.page.get_by_role("alertdialog").is_visible()
            assert hearts.get_attribute("aria-label") == f"{2 - len(failed)} of 2 lives"
            ann.drain()
            if len(failed) == 2:
                break
            ann.key("Enter")
    for name in drawn:
        (stored,) = project.answers(name)
        tolerance = 1.5 / ann.scale(SIZES[name])
        np.testing.assert_allclose(stored, np.reshape(drawn[name], (-1, 4)), atol=tolerance, err_msg=name)

    # without lives it starts again at the first image
    assert "starts again" in ann.page.get_by_role("alertdialog").inner_text()
    ann.key("Enter")
    ann.page.get_by_text("0 done", exact=True).wait_for()
    assert (ann.at(), hearts.get_attribute("aria-label")) == (0, "2 of 2 lives")
    for name in project.order:
        ann.loaded()
        if name in TRUTH:
            draw_truth(ann, name)
        else:
            drawn[name] = do_plain(ann, name)
        ann.go_on()
    assert hearts.get_attribute("aria-label") == "2 of 2 lives"
    check_every_number_of_others(project, ann)
    ann.key("Enter")
    ann.page.get_by_role("heading", name="Handed in").wait_for()
    check_that_truth_came_after_the_answer(project, ann.drain(), failed)
    links = sorted({url for _, url, _ in ann.bodies if "/api/images/" in url})
    assert [project.served.admin.get(link).status_code for link in links] == [404] * len(links), (
        "they die with the task"
    )
    ann.close()

    # somebody else leaves everything as it came, but for gold
    with project.served.client(project.served.invite("Bea")) as bea:
        task = bea.post("/api/tasks", json={}).json()["task"]
        for image in task["images"]:
            name = project.order[image["position"]]
            sides = TRUTH.get(name)
            boxes = [dict(zip(("x0", "y0", "x1", "y1"), sides, strict=True), label="face")] if sides else image["boxes"]
            body = {"attempt": 1, "key": f"bea-{image['position']:05d}", "seconds": 2.0, "boxes": boxes}
            assert bea.put(f"/api/tasks/{task['id']}/images/{image['position']}", json=body).json()["truth"] is None
        assert bea.post(f"/api/tasks/{task['id']}/submit", json={"attempt": 1}).status_code == 200

    decided = decide_all(project, browser)
    publish(project, decided, drawn, capsys)


def check_that_truth_came_after_the_answer(
    project: Project, bodies: list[tuple[str, str, bytes]], failed: list[str]
) -> None:
    """The truth is in the reply to the wrong answer on it, and in no other response."""
    assert len(bodies) > 30
    told = []
    for method, url, body in bodies:
        if "/api/" in url and "/api/images/" not in url:
            told += [(method, url.rpartition("/")[2], name) for name in TRUTH if holds_truth(json.loads(body), name)]
    assert told == [("PUT", str(project.order.index(name)), name) for name in failed]
    shown = [body for method, url, body in bodies if "/api/" in url and "/api/images/" not in url]
    assert not [body for body in shown if b"gold" in body or b".jpg" in body or b".png" in body], (
        "gold, or a file's name"
    )


def holds_truth(told: Any, name: str) -> bool:
    """Whether a reply has, anywhere, a list of boxes that is the truth; though spoiled ones may hold right boxes."""
    if isinstance(told, dict):
        return any(holds_truth(value, name) for value in told.values())
    if not isinstance(told, list):
        return False
    if told and all(isinstance(box, dict) and "x0" in box for box in told):
        return [[box[side] for side in ("x0", "y0", "x1", "y1")] for box in told] == [TRUTH[name]]
    return any(holds_truth(value, name) for value in told)


def check_every_number_of_others(project: Project, visit: Visit) -> None:
    """A worker's own links with any other numbers in them, and any other task, are refused."""
    task = int(
        re.search(
            r"/api/tasks/(\d+)/",
            next(url for _, url, _ in visit.drain() if "/submit" not in url and "/api/tasks/" in url),
        )[1]
    )
    link = next(url for _, url, _ in visit.bodies if "/api/images/image/" in url).rpartition("/")[2]
    _, _, expires, mac = link.split("-", 3)
    statuses = visit.page.evaluate(
        """async ({ task, expires, mac }) => {
            const token = sessionStorage.getItem("unface.token");
            const headers = { Authorization: `Bearer ${token}` };
            const found = [];
            const ask = async (path) => found.push([path, (await fetch(path, { headers })).status]);
            for (let id = 0; id < 40; id++) if (id !== task) await ask(`/api/tasks/${id}`);
            for (let id = 0; id < 7; id++)
                for (let place = 0; place < 8; place++)
                    if (id !== task) await ask(`/api/images/image/${id}-${place}-${expires}-${mac}`);
            for (let id = 0; id < 12; id++) await ask(`/api/images/dispute/1-${id}-${expires}-${mac}`);
            await ask("/api/disputes"); await ask("/api/dashboard"); await ask("/api/accounts"); await ask("/metrics");
            return found;
        }""",
        {"task": task, "expires": expires, "mac": mac},
    )
    assert len(statuses) > 90
    assert {status for _, status in statuses} <= {403, 404, 422, 429}, [s for s in statuses if s[1] == 200]
    visit.errors = [error for error in visit.errors if "Failed to load resource" not in error]


def decide_all(project: Project, browser: Any) -> dict[str, list[list[float]]]:
    """An admin sees how it stands, and decides what is in dispute: one with an own box, the others as proposed."""
    admin = Visit(browser, project.served.link)
    page = admin.page
    page.get_by_role("heading", name="settled").wait_for()
    assert page.url.endswith("/admin")
    figures = page.locator(".cards").inner_text()
    assert "$1.00" in figures
    assert "$2,500" in figures
    assert "Ann" in page.get_by_role("region", name="Workers").inner_text()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    in_dispute = int(page.locator(".badge").inner_text())
    assert in_dispute >= 3
    page.get_by_role("link", name=re.compile("^Disputes")).click()
    decided = {}
    for left in range(in_dispute, 0, -1):
        page.locator(".dispute-title").wait_for()
        name = page.locator(".dispute-title").inner_text()
        assert name in PLAIN
        if name == PLAIN[1]:
            admin.delete_all()
            admin.drag(SIZES[name], (170, 60), (330, 240))
            decided[name] = [[170.0, 60.0, 330.0, 240.0]]
        admin.key("d")
        if left > 1:
            admin.until(lambda before=name: page.locator(".dispute-title").inner_text() != before)
    page.get_by_role("heading", name="Nothing in dispute").wait_for()
    admin.close()
    assert PLAIN[1] in decided
    return decided


def publish(project: Project, decided: dict[str, Any], drawn: dict[str, Any], capsys: Any) -> None:
    """What people drew is in the exported table, and hidden in the published images."""
    reviewed, out = project.folder / "reviewed.parquet", project.folder / "out"
    run("review", "export", "--store", project.folder / "review.db", "-o", reviewed)
    table = pd.read_parquet(reviewed).set_index("image_id")
    assert set(table.status) == {"reviewed"}
    boxes = {name: [[box[s] for s in ("x0", "y0", "x1", "y1")] for box in table.boxes[name]] for name in table.index}
    for name, expected in decided.items():
        np.testing.assert_allclose(boxes[name], expected, atol=1.5)
        assert table.workers[name] == 2
    for name, expected in TRUTH.items():
        np.testing.assert_allclose(boxes[name], [expected], atol=1e-3)
    run("obfuscate", project.src, reviewed, out, "--workers", "1")
    name = PLAIN[1]
    before, after = (
        np.asarray(PillowImage.open(root / name).convert("RGB"), int) for root in (project.src, out / "images")
    )
    changed = np.abs(before - after).sum(axis=2)
    assert (changed[80:220, 190:310] > 0).mean() > 0.9
    assert not changed[:, 400:].any()


def run(*arguments: Any) -> None:
    """The command, in this process."""
    import sys
    from unittest import mock

    with mock.patch.object(sys, "argv", ["unface", *map(str, arguments)]), pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code


def test_a_task_by_keyboard_alone(shared, browser):
    ann = Visit(browser, shared.served.invite("Bea"))
    ann.page.locator(":focus", has_text="Start").wait_for()
    ann.key("Enter")
    ann.page.locator(".work").wait_for()
    ann.loaded()
    ann.key("?")
    assert ann.page.get_by_role("dialog").is_visible()
    ann.key("Escape")
    assert not ann.page.get_by_role("dialog").is_visible()
    before = ann.count()
    ann.key("n", "2")
    assert ann.count() == before + 1
    said = ann.page.locator(".stage [role=status]")
    assert "NSFW" in said.inner_text()
    pressed = ann.page.locator(".box-item[aria-pressed=true]")
    left, width, height = sides_of(pressed.text_content())
    ann.key(*["Shift+ArrowRight"] * 10, *["Alt+Shift+ArrowDown"] * 10)
    moved = 30 / ann.scale(SIZES[shared.order[0]])
    expected = pytest.approx([left + moved, width, height + moved], abs=2)
    assert sides_of(pressed.text_content()) == expected
    for _ in range(22):
        ann.key("Control+z")
    assert ann.count() == before
    ann.key("Control+Shift+z")
    assert ann.count() == before + 1
    ann.key("Delete" if before else "Escape", "h")
    assert ann.page.get_by_role("button", name="Hide boxes").get_attribute("aria-pressed") == "true"
    ann.key("h", "+", "+", "0", "]", "[", "Escape")
    ann.key("ArrowRight")
    ann.until(lambda: ann.at() == 1 or ann.page.get_by_role("alertdialog").is_visible())
    ann.key("Enter")
    ann.page.get_by_role("heading", name="Image 2 of 6").wait_for()
    ann.key("a")
    ann.page.get_by_role("heading", name="Image 1 of 6").wait_for()
    ann.close()


def sides_of(told: str) -> list[int]:
    """From the left, width, height, as the list of boxes tells them."""
    width, height, left = re.search(r"(\d+) × (\d+)pixels, (\d+) from the left", told).groups()
    return [int(left), int(width), int(height)]


def test_nothing_is_lost_offline_or_by_a_reload(shared, browser):
    link = shared.served.invite("Carl")
    ann = Visit(browser, link)
    ann.start()
    places = [place for place, name in enumerate(shared.order) if name not in TRUTH]
    first, second = places[0], places[1]
    ann.page.locator(".cell").nth(first).click()
    ann.drag(SIZES[shared.order[first]], (20, 20), (120, 140))
    count = ann.count()
    ann.page.reload()
    ann.page.locator(".work").wait_for()
    assert (ann.at(), ann.count()) == (first, count), "what was drawn and not saved"

    ann.loaded()
    ann.context.set_offline(True)
    ann.key("d")
    ann.page.locator(".state-stuck").wait_for()
    ann.until(lambda: ann.at() != first)
    ann.page.locator(".cell").nth(second).click()
    ann.drag(SIZES[shared.order[second]], (20, 20), (120, 140))
    ann.key("d")
    ann.page.get_by_text("2 answers kept here").wait_for()
    assert shared.answers(shared.order[first], "Carl") == []

    ann.page.close()  # the tab is closed before the network is back
    ann.context.set_offline(False)
    ann.page = ann.context.new_page()
    ann.page.goto(link)
    ann.page.locator(".work").wait_for()
    ann.page.get_by_text("Saved", exact=True).wait_for()
    for place in (first, second):
        (stored,) = shared.answers(shared.order[place], "Carl")
        assert len(stored) == 2
        np.testing.assert_allclose(stored[1], [20, 20, 120, 140], atol=1.5 / ann.scale(SIZES[shared.order[place]]))
    assert ann.page.locator(".cell-answered").count() == 2
    ann.close()


def test_a_late_verdict_is_shown_when_the_network_is_back(shared, browser):
    ann = Visit(browser, shared.served.invite("Dora"))
    ann.start()
    place = next(place for place, name in enumerate(shared.order) if name in TRUTH)
    ann.page.locator(".cell").nth(place).click()
    ann.loaded()
    ann.context.set_offline(True)
    ann.key("d")
    ann.page.locator(".state-stuck").wait_for()
    ann.until(lambda: ann.at() != place)
    behind = ann.at()
    ann.context.set_offline(False)
    ann.page.get_by_role("alertdialog").wait_for()
    assert ann.at() == place
    ann.key("Enter")
    ann.page.locator(".message").wait_for(state="hidden")
    assert ann.at() == behind
    ann.close()


def test_fingers_draw_select_and_zoom(shared, browser):
    ann = Visit(browser, shared.served.invite("Eve"), 820, 1180, has_touch=True)
    ann.start()
    place = next(place for place, name in enumerate(shared.order) if name not in TRUTH)
    size = SIZES[shared.order[place]]
    ann.page.locator(".cell").nth(place).tap()
    ann.loaded()
    touch = ann.context.new_cdp_session(ann.page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", ann.on_screen(size, 30, 170))
    fingers("touchMove", ann.on_screen(size, 80, 220))
    fingers("touchMove", ann.on_screen(size, 130, 270))
    fingers("touchEnd")
    assert ann.count() == 2
    ann.page.touchscreen.tap(*ann.on_screen(size, 200, 120))
    assert ann.page.locator(".box-item[aria-pressed=true]").inner_text().startswith("Face 1")
    x, y, width, height = ann.surface()
    fingers("touchStart", (x + width / 2 - 40, y + height / 2), (x + width / 2 + 40, y + height / 2))
    fingers("touchMove", (x + width / 2 - 120, y + height / 2), (x + width / 2 + 120, y + height / 2))
    fingers("touchEnd")
    assert ann.count() == 2, "two fingers draw nothing"
    ann.key("d")
    ann.page.locator(".cell-answered").wait_for(state="attached")
    ann.page.get_by_text("Saved", exact=True).wait_for()
    (stored,) = shared.answers(shared.order[place], "Eve")
    np.testing.assert_allclose(stored, [START, [30, 170, 130, 270]], atol=2 / ann.scale(size))
    ann.close()


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm ci in web/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_meet_wcag_aa(shared, browser, scheme):
    for width, height in ((1280, 720), (820, 1180)):
        ann = Visit(browser, shared.served.invite(f"{scheme} {width}"), width, height, color_scheme=scheme)
        ann.page.get_by_role("button", name="Start").wait_for()
        assert ann.axe() == []
        ann.start()
        ann.key("ArrowDown")
        assert ann.axe() == []
        ann.key("?")
        assert ann.axe() == []
        ann.key("Escape")
        for _ in range(1 + min(map(shared.order.index, TRUTH))):
            ann.go_on()
        assert ann.page.get_by_role("alertdialog").is_visible()
        assert ann.axe() == []
        fits = ann.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert fits, "the page is wider than the screen"
        ann.close()
        admin = Visit(browser, shared.served.link, width, height, color_scheme=scheme)
        admin.page.get_by_role("heading", name="settled").wait_for()
        assert admin.axe() == []
        admin.page.get_by_role("link", name="People").click()
        admin.page.get_by_role("region", name="People").wait_for()
        assert admin.axe() == []
        admin.close()
