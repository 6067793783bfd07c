"""`unface browse` as people meet it: its command, its page, and Debian's Chromium."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from review.browser import AXE, Visit, chromium, needs_page
from review.browsers import BOXES, NOT_SHOWN, SHOWN, likeness, original_of, pixels_of, row, textured, write_images
from unface.faces import FaceRow, Faces, faces_table, write_faces

pytestmark = needs_page
MORE = 70
"""Images without faces, so that there are two pages."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("page")
    rows = write_images(root / "src")
    rows += [row(f"n02123045/{i:02d}.jpg", faces=Faces.make([]), candidates=Faces.make([])) for i in range(MORE)]
    (root / "src" / "n02123045").mkdir()
    for each in rows[-MORE:]:
        textured(11).save(root / "src" / each.image_id)
    write_faces(root / "faces.parquet", faces_table(rows))
    return root


class Browsed:
    """`unface browse`, from the command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [
            sys.executable,
            "-m",
            "unface",
            "browse",
            "faces.parquet",
            "--images",
            "src",
            "--no-browser",
            "--json",
        ]
        self.process = subprocess.Popen(
            [*command, *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        self.link: str = json.loads(line)["link"]

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=30)
        return err


@pytest.fixture(scope="module")
def served(folder) -> Iterator[Browsed]:
    made = Browsed(folder)
    yield made
    err = made.stop()
    assert "Traceback" not in err
    assert err.startswith("browse: http://127.0.0.1:")


def opened(browser: Any, link: str, **how: Any) -> Visit:
    visit = Visit(browser, link, **how)
    visit.page.locator(".card").first.wait_for()
    return visit


def close(visit: Visit) -> None:
    """End; that some images cannot be shown is told by the browser, too."""
    visit.context.close()
    errors = [error for error in visit.errors if "404" not in error]
    assert not errors, errors


def names(visit: Visit) -> list[str]:
    return visit.page.locator(".card-name").all_inner_texts()


def found(visit: Visit, text: str) -> None:
    visit.page.locator("h1.found", has_text=text).wait_for()


def test_filter_page_open_and_come_back(browser, served):
    visit = opened(browser, served.link)
    page = visit.page
    assert "token" not in page.url
    found(visit, "80 images")
    assert len(names(visit)) == 60
    page.get_by_role("button", name="Next page").first.click()
    visit.until(lambda: len(names(visit)) == 20)
    assert "start=60" in page.url
    page.get_by_label("tabby").check()
    found(visit, "70 images")
    page.get_by_label("tabby").uncheck()
    found(visit, "80 images")
    page.get_by_role("group", name="Faces in the image").get_by_label("At least").fill("1")
    found(visit, "10 images")
    page.get_by_role("group", name="Score of a face").get_by_label("At least").fill("0.9")
    found(visit, "2 images")
    assert names(visit) == ["4.jpg", "outside.jpg"]
    page.get_by_label("Order").select_option("faces")
    visit.until(lambda: "order=faces" in page.url)
    assert parse_qs(urlsplit(page.url).query) == {"min_faces": ["1"], "min_score": ["0.9"], "order": ["faces"]}
    page.reload()
    found(visit, "2 images")
    assert page.get_by_role("group", name="Score of a face").get_by_label("At least").input_value() == "0.9"
    page.go_back()
    visit.until(lambda: "order" not in page.url)
    page.get_by_role("button", name="Clear").click()
    found(visit, "80 images")
    page.get_by_label("Failed").check()
    found(visit, "1 image")
    page.locator(".placeholder", has_text="detection failed").wait_for()
    page.get_by_label("Find a class").fill("no such class")
    page.get_by_text("No class fits.").wait_for()
    page.get_by_role("group", name="Height of a face, px").get_by_label("At most").fill("3")
    page.get_by_text("No image fits these filters").wait_for()
    close(visit)


def test_the_keyboard_goes_everywhere(browser, served):
    visit = opened(browser, served.link)
    page, key = visit.page, visit.page.keyboard
    page.locator(".card").first.focus()
    for name in ("ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        key.press(name)
    page.locator("dialog .mark").first.wait_for(state="attached")
    assert page.locator(".viewer-where").inner_text() == "2 of 80"
    assert page.locator(".viewer-title").inner_text() == "cat/1.png"
    key.press("ArrowRight")
    page.locator(".viewer-title", has_text="dog/2.jpg").wait_for()
    assert "open=2" in page.url
    page.locator(".faces li", has_text="yunet").wait_for()
    assert page.locator(".mark-maybe").is_hidden()
    key.press("c")
    assert page.locator(".mark-maybe").is_visible()
    key.press("b")
    assert page.locator(".mark").first.is_hidden()
    link = page.url
    key.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    visit.until(lambda: "open" not in page.url)
    assert page.evaluate("document.activeElement.title") == "dog/2.jpg", "the focus is on the image that was open"
    page.goto(link)
    page.locator(".viewer-title", has_text="dog/2.jpg").wait_for()
    page.goto(link.replace("open=2", "open=59"))
    page.locator(".viewer-where", has_text="60 of 80").wait_for()
    key.press("ArrowRight")
    page.locator(".viewer-where", has_text="61 of 80").wait_for()
    assert "start=60" in page.url
    key.press("Escape")
    key.press("ArrowLeft")
    visit.until(lambda: "start" not in page.url)
    close(visit)


def test_nothing_that_the_page_receives_shows_a_face_and_with_the_option_it_does(browser, served, folder):
    for options, low, high in (((), -0.35, 0.35), (("--show-originals",), 0.95, 1.0)):
        server = Browsed(folder, *options) if options else served
        visit = opened(browser, server.link, width=1400, height=2000)
        page = visit.page
        seen = []
        for number, name in enumerate(SHOWN):
            page.locator(".card").nth(number).click()
            page.get_by_role("img", name=f"in {name}").wait_for()
            drawn = page.evaluate("document.querySelector('.drawing canvas').toDataURL()").partition(",")[2]
            seen.append((number, pixels_of(base64.b64decode(drawn))))
            page.keyboard.press("Escape")
        for _, url, body in visit.drain():
            if "/api/images/small/" in url and body[:2] == b"\xff\xd8":
                number = int(url.rpartition("/")[2].split("-")[0])
                seen += [(number, pixels_of(body))] if number < len(SHOWN) else []
        assert sorted(number for number, _ in seen) == sorted([*range(len(SHOWN))] * 2)
        for number, picture in seen:
            original = original_of(number, (picture.shape[1], picture.shape[0]))
            assert likeness(picture, original, (0, 380, 300, 480)) > 0.95
            assert all(low < likeness(picture, original, box) <= high for box in BOXES)
        assert page.get_by_text("Faces are shown" if options else "Faces are hidden").first.is_visible()
        close(visit)
        if options:
            assert "warning: faces are shown" in server.stop()


def test_who_has_no_link_sees_nothing(browser, served):
    for link, text in ((served.link.partition("#")[0], "open the link"), (served.link + "x", "link has ended")):
        visit = Visit(browser, link)
        visit.page.get_by_text(text).first.wait_for()
        assert visit.page.locator("img, .card").count() == 0
        visit.errors = [error for error in visit.errors if "401" not in error]
        visit.close()


def test_a_link_that_is_copied_lets_another_window_in(browser, served):
    visit = opened(browser, served.link, permissions=["clipboard-read", "clipboard-write"])
    visit.page.get_by_label("Reviewed by people").check()
    found(visit, "1 image")
    visit.page.get_by_role("button", name="Copy link").click()
    visit.page.get_by_text("Copied").wait_for()
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    other = opened(browser, copied)
    found(other, "1 image")
    assert names(other) == ["4.jpg"]
    close(visit)
    close(other)


@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm ci in web/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser, served, scheme):
    visit = opened(browser, served.link, color_scheme=scheme, bypass_csp=True)
    visit.page.locator(".placeholder").first.wait_for()
    visit.page.locator(".frame-loaded img").first.wait_for()
    assert visit.axe() == []
    visit.page.locator(".card").first.click()
    visit.page.locator(".mark").first.wait_for(state="attached")
    assert visit.axe() == []
    visit.page.keyboard.press("Escape")
    narrow = opened(browser, served.link, width=390, height=844, color_scheme=scheme, bypass_csp=True)
    narrow.page.get_by_role("button", name="Filters").click()
    assert narrow.page.get_by_label("Reviewed by people").is_visible()
    assert narrow.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert narrow.axe() == []
    close(narrow)
    close(visit)


def test_hostile_names_are_text(browser, tmp_path):
    evil = '<img src=x onerror="document.title=1">/"><script>document.title=1</script>.jpg'
    write_images(tmp_path / "src")
    rows = [FaceRow(evil, 640, 480, "detected", Faces.make([[1, 1, 9, 9]], label="<b>x", source="<i>y")), row("4.jpg")]
    write_faces(tmp_path / "faces.parquet", faces_table(rows))
    server = Browsed(tmp_path)
    visit = opened(browser, server.link)
    visit.page.locator(".card").first.click()
    visit.page.locator(".faces li", has_text="<i>y").wait_for()
    assert visit.page.locator(".viewer-title").inner_text() == evil
    assert "2 images" in visit.page.title()
    close(visit)
    server.stop()


def test_every_reason_is_shown_in_the_images_place(browser, served):
    visit = opened(browser, served.link, width=1400, height=2000)
    visit.until(lambda: visit.page.locator(".placeholder").count() == len(NOT_SHOWN))
    shown = " ".join(visit.page.locator(".placeholder").all_inner_texts())
    assert all(reason in shown for reason in NOT_SHOWN.values())
    close(visit)
