import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

import httpx2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from builders import EXAMPLES, write_image
from review.turk_server import turk_server
from unface.cli import main
from unface.faces import FaceRow, Faces, faces_table, read_faces, write_faces

WIDTH, HEIGHT = 320, 240
FACE = [100.0, 60.0, 180.0, 160.0]


def unface(*arguments: str | Path) -> subprocess.CompletedProcess:
    """The command, run in this process: a process of its own takes seconds to begin."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["unface", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def make_project(folder: Path) -> Path:
    """A dataset of six images, their detections (a wrong one in each), and a seventh and eighth that are gold."""
    rows, gold = [], []
    for number in range(8):
        image_id = f"sub/{number}.jpg"
        write_image(folder / "src" / image_id, width=WIDTH, height=HEIGHT, seed=number)
        detected = Faces.make([FACE, [10, 10, 40, 40]], source="yunet")
        rows.append(FaceRow(image_id, WIDTH, HEIGHT, "detected", detected, Faces.make([])))
        if number >= 6:
            gold.append(FaceRow(image_id, WIDTH, HEIGHT, "reviewed", Faces.make([FACE], source="human")))
    write_faces(folder / "faces.parquet", faces_table(rows, {"detector": "yunet", "threshold": "0.6"}))
    write_faces(folder / "gold.parquet", faces_table(gold))
    return folder


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A project whose review was created, served, and done by Ann, whom the admin invited."""
    project = make_project(tmp_path_factory.mktemp("done"))
    made = create(project, "--json", "--price", "0.25")
    assert json.loads(made.stdout) | {"store": ""} == {"store": "", "images": 6, "gold": 2, "tasks": 2, "slots": 2}
    invited = unface("review", "invite", "Ann", "--store", project / "review.db", "--url", "https://r.example")
    assert invited.stdout.startswith("https://r.example/#token=")
    with Serving(project / "review.db") as serving:
        assert serving.client.get("/api/me").json()["role"] == "admin"
        serving.client.headers["Authorization"] = f"Bearer {invited.stdout.strip().partition('=')[2]}"
        assert serving.client.get("/api/me").json()["name"] == "Ann"
        assert do_everything(serving.client) == 2
    assert "Traceback" not in serving.err
    assert serving.err.startswith(f"admin: {serving.url}/#token=")
    return project


SMALL = ("--images-per-task", "4", "--gold-per-task", "1")


def create(project, *more):
    store = project / "review.db"
    gold = ("--gold", project / "gold.parquet")
    return unface(
        "review", "create", project / "src", project / "faces.parquet", "--store", store, *gold, *SMALL, *more
    )


class Serving:
    """`unface review serve` in a process of its own."""

    def __init__(self, store: Path, *more: str) -> None:
        command = [sys.executable, "-m", "unface", "review", "serve", "--store", str(store), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--json", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "BROWSER": "true"},
        )  # fmt: skip

    def __enter__(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        told = json.loads(line)
        self.url, self.token = told["url"], told["link"].partition("#token=")[2]
        self.client = httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)
        return self

    def __exit__(self, *_):
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        self.out, self.err = self.process.communicate(timeout=30)


def kill(serving) -> None:
    serving.process.kill()
    serving.process.wait()


def do_everything(client) -> int:
    """Answer all tasks rightly, as the admin who began the review; the number of tasks."""
    tasks = 0
    while task := client.post("/api/tasks", json={}).json()["task"]:
        tasks += 1
        for image in task["images"]:
            shown = client.get(image["url"])
            assert shown.headers["content-type"] == "image/jpeg"
            box = dict(zip(("x0", "y0", "x1", "y1"), FACE, strict=True), label="face")
            body = {"attempt": 1, "key": f"the-key-{image['position']}-{tasks}", "seconds": 3, "boxes": [box]}
            saved = client.put(f"/api/tasks/{task['id']}/images/{image['position']}", json=body).json()
            assert saved["truth"] is None
        assert client.post(f"/api/tasks/{task['id']}/submit", json={"attempt": 1}).status_code == 200
    return tasks


def test_the_export_is_what_obfuscate_takes(done):
    reviewed = done / "reviewed.parquet"
    exported = unface("review", "export", "--store", done / "review.db", "-o", reviewed)
    assert exported.returncode == 0
    assert "8 images, 8 of them reviewed" in exported.stderr
    table = pd.read_parquet(reviewed)
    assert table["workers"].fillna(-1).tolist() == [1] * 6 + [-1, -1]
    assert table["agreement"].isna().all()
    assert read_faces(reviewed).num_rows == 8
    command = ["obfuscate", done / "src", reviewed, done / "dst", "--method", "overlay", "--color", "red"]
    hidden = subprocess.run([sys.executable, "-m", "unface", *map(str, command)], capture_output=True, text=True)
    assert hidden.returncode == 0, hidden.stderr
    pixels = np.asarray(Image.open(done / "dst" / "images" / "sub" / "0.jpg").convert("RGB"), int)
    x0, y0, x1, y1 = map(int, FACE)
    assert np.abs(pixels[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8] - [255, 0, 0]).mean() < 8
    original = np.asarray(Image.open(done / "src" / "sub" / "0.jpg").convert("RGB"), int)
    assert np.abs(pixels[:40, :40] - original[:40, :40]).mean() < 3, (
        "the wrong detection was deleted, so nothing is hidden"
    )


def move_in_cvat(path: Path) -> None:
    """As somebody who drags the first image's box by 32 pixels, and saves."""
    tree = ElementTree.parse(path)
    box = tree.find("image/box")
    for side in ("xtl", "xbr"):
        box.set(side, str(float(box.get(side)) + 32))
    tree.write(path)


def move_in_label_studio(path: Path) -> None:
    """The same; there, places are per cent of the image."""
    tasks = json.loads(path.read_text())
    tasks[0]["annotations"][0]["result"][0]["value"]["x"] += 100 * 32 / WIDTH
    path.write_text(json.dumps(tasks))


@pytest.mark.parametrize(
    ("form", "suffix", "move"), [("cvat", ".xml", move_in_cvat), ("labelstudio", ".json", move_in_label_studio)]
)
def test_other_tools_take_what_was_reviewed_and_give_it_back(done, tmp_path, form, suffix, move):
    reviewed, foreign, back = tmp_path / "reviewed.parquet", tmp_path / f"foreign{suffix}", tmp_path / "back.parquet"
    images = ("--images", done / "src")
    unface("review", "export", "--store", done / "review.db", "-o", reviewed)
    assert unface("convert", reviewed, foreign, "--to", form, *images).returncode == 0
    move(foreign)
    assert unface("convert", foreign, back, "--from", form, *images).returncode == 0
    table = pd.read_parquet(back).set_index("image_id")
    assert set(table.status) == {"reviewed"}
    moved = [FACE[0] + 32, FACE[1], FACE[2] + 32, FACE[3]]
    for image_id, expected in [("sub/0.jpg", moved), ("sub/1.jpg", FACE)]:
        (box,) = table.boxes[image_id]
        assert [box[side] for side in ("x0", "y0", "x1", "y1")] == pytest.approx(expected, abs=0.01)
    gold = ("--gold", done / "gold.parquet")
    again = unface("review", "create", done / "src", back, "--store", tmp_path / "again.db", *gold, *SMALL, "--json")
    assert json.loads(again.stdout)["images"] == 6, "workers start from what was corrected elsewhere"


def test_what_one_worker_answered_is_not_gold(done):
    unface("review", "export", "--store", done / "review.db", "-o", done / "once.parquet")
    again = unface(
        "review", "create", done / "src", done / "faces.parquet", "--store", done / "again.db",
        "--gold", done / "once.parquet", *SMALL, "--json",
    )  # fmt: skip
    assert json.loads(again.stdout)["gold"] == 2


def test_status(done):
    told = unface("review", "status", "--store", done / "review.db").stdout
    assert "6 of 6 settled" in told
    assert "$0.50 of $0.50" in told
    assert "Ann" in told
    as_json = json.loads(unface("review", "status", "--store", done / "review.db", "--json").stdout)
    assert as_json["workers"][0]["gold_right"] == 2
    refused = unface("review", "invite", "Ann", "--role", "admin", "--store", done / "review.db")
    assert_one_line(refused, "expected a new name or an account that is admin, this one is worker")


def assert_one_line(done, message):
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("unface: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_use_is_one_line_and_leaves_nothing(project):
    store = project / "review.db"
    src, faces = project / "src", project / "faces.parquet"
    assert_one_line(
        unface("review", "create", src, faces, "--store", store), "expected at least 3 verified images, got 0"
    )
    assert_one_line(unface("review", "create", src, faces, "--store", store, "--gold", project / "no"), "no such file")
    assert_one_line(unface("review", "create", project / "no", faces, "--store", store), "expected a folder of images")
    assert_one_line(
        unface("review", "create", src, faces, "--store", store, "--gold-per-task", "60"), "fewer than images_per_task"
    )
    assert not list(project.glob("review.db*"))
    for command in (["serve"], ["status"], ["export"], ["invite", "Ann"], ["mturk", "status"]):
        assert_one_line(unface("review", *command, "--store", store), "expected the store of a review")
    assert_one_line(unface("review", "status", "--store", src), "expected the store of a review")
    create(project)
    assert_one_line(create(project), "expected a new store, got one that holds a review")
    assert_one_line(unface("review", "serve", "--store", store, "--host", "0.0.0.0"), "--url: expected the address")
    assert_one_line(
        unface("review", "serve", "--store", store, "--host", "192.0.2.1"), "192.0.2.1:8000: expected a free"
    )
    assert_one_line(unface("review", "serve", "--store", store, "--url", "javascript:x"), "--url: expected an address")
    assert_one_line(unface("review", "serve", "--store", store, "--source", src / "no"), "expected a folder of images")
    assert_one_line(unface("review", "mturk", "status", "--store", store), "expected a review that is offered")
    assert_one_line(
        unface("review", "mturk", "publish", "--store", store, "--url", "http://x", "--reward", "1", "--budget", "9"),
        "expected an https:// address",
    )


def test_mechanical_turk_from_the_command_line(project, monkeypatch):
    store = ("--store", project / "review.db")
    create(project)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    terms = ("--url", "https://r.example", "--reward", "0.50", "--budget", "1")
    with turk_server() as turk:
        monkeypatch.setenv("AWS_ENDPOINT_URL_MTURK", turk.endpoint)
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        unsure = unface("review", "mturk", "publish", *store, *terms)
        assert (
            "1 HITs for $0.60, fees included; $0.00 of the budget of $1.00 is committed; 1 tasks do not"
            in unsure.stderr
        )
        assert "0 HITs offered" in unsure.stderr
        assert not turk.hits
        made = unface("review", "mturk", "publish", *store, *terms, "--yes", "--json")
        assert json.loads(made.stdout) == {"hits": 1, "endpoint": turk.endpoint}
        assert len(turk.hits) == 1
        turk.submit(turk.accept(next(iter(turk.hits)), "ALAZY1"))
        told = unface("review", "mturk", "collect", *store).stdout
        assert "1 wait for approval" in told
        assert "not handed in here: decide there" in told
        assert json.loads(unface("review", "mturk", "approve", *store, "--json").stdout) == {
            "approved": 0,
            "bonuses": 0,
        }
        assert "$0.60 of $1.00 committed" in unface("review", "mturk", "status", *store).stdout
        assert "1 HITs ended" in unface("review", "mturk", "expire", *store).stderr
    assert_one_line(unface("review", "mturk", "collect", *store), "Mechanical Turk: Could not connect")
    assert_one_line(
        unface("review", "mturk", "publish", *store, *terms[:-1], "0.015"), "--budget: expected whole cents"
    )


def test_a_password_in_the_stores_url_is_not_told(monkeypatch):
    monkeypatch.setenv("UNFACE_REVIEW_STORE", "postgresql://ann:hunter2@127.0.0.1:1/x?connect_timeout=2")
    refused = unface("review", "status")
    assert refused.returncode == 2
    assert "hunter2" not in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_kill_loses_no_answer_and_links_stay_good(project):
    create(project)
    with Serving(project / "review.db") as serving:
        port = serving.url.rsplit(":", 1)[1]
        task = serving.client.post("/api/tasks", json={}).json()["task"]
        body = {"attempt": 1, "key": "12345678", "seconds": 1, "boxes": []}
        saved = serving.client.put(f"/api/tasks/{task['id']}/images/0", json=body)
        assert saved.status_code == 200
        kill(serving)
        with Serving(project / "review.db", "--port", port) as again:
            again.client.headers["Authorization"] = f"Bearer {serving.token}"
            back = again.client.get(f"/api/tasks/{task['id']}").json()
            assert [image["version"] for image in back["images"]] == [1, 0, 0, 0]
            assert again.client.get(task["images"][0]["url"]).status_code == 200
            assert again.client.put(f"/api/tasks/{task['id']}/images/0", json=body).json() == saved.json()


def test_real_photos_are_served(project):
    rows = []
    for path in sorted(EXAMPLES.rglob("*")):
        if path.is_file():
            with Image.open(path) as photo:
                rows.append(FaceRow(path.relative_to(EXAMPLES).as_posix(), *photo.size, "detected"))
    write_faces(project / "photos.parquet", faces_table(rows))
    made = unface(
        "review", "create", EXAMPLES, project / "photos.parquet", "--store", project / "photos.db",
        "--gold-per-task", "0",
    )  # fmt: skip
    assert "nobody's work is checked" in made.stderr
    with Serving(project / "photos.db") as serving:
        task = serving.client.post("/api/tasks", json={}).json()["task"]
        assert len(task["images"]) == len(rows)
        for image in task["images"]:
            assert serving.client.get(image["url"]).status_code == 200


def test_load_with_kills_loses_and_doubles_nothing(project):
    """The benchmark, small: see benchmarks/review_load.py for 200 workers."""
    script = Path(__file__).parents[2] / "benchmarks" / "review_load.py"
    options = ("--workers", "6", "--seconds", "5", "--think", "0.2", "--arrive", "1", "--kills", "2", "--json")
    command = [sys.executable, script, "--store", "sqlite", "--images", project / "src", *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["kills"], result["lost"], result["doubled"], result["changed"]) == (2, 0, 0, 0)
    assert result["saves"] > 10
    assert result["stored"] >= result["saves"]
    assert not result["problems"]
