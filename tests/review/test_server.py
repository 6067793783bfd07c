import io
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image as Pillow
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select, text

from review.reviews import FACE, SMALL
from review.site import URL, Site, box, problem_of, put, take
from unface.errors import InputError
from unface.review.policy import Policy
from unface.review.server import Settings, create_app
from unface.review.server.app import NO_PAGE
from unface.review.store import open_store
from unface.review.tables import Adjudication, Answer, Assignment, Base, Image, Item

A_FACE = box(*FACE)


@pytest.fixture
def site(tmp_path):
    store = open_store(str(tmp_path / "review.db"), create=True)
    yield Site(store, tmp_path / "src")
    store.close()


def content(store) -> str:
    """Everything in the store."""
    with store.engine.connect() as connection:
        rows = {
            t.name: connection.execute(select(t).order_by(*t.primary_key)).all() for t in Base.metadata.sorted_tables
        }
    return repr(rows)


def truths(site, task_id) -> dict[int, list]:
    with site.store.read() as session:
        task = session.get_one(Assignment, task_id).task_id
        rows = session.execute(select(Item.position, Image.truth).join(Image).where(Item.task_id == task, Item.gold))
        return {p: [box(b["x0"], b["y0"], b["x1"], b["y1"]) for b in truth] for p, truth in rows}


def finish(site, client, task, boxes):
    gold = truths(site, task["id"])
    for image in task["images"]:
        given = gold.get(image["position"], boxes)
        assert put(client, task, image["position"], given).status_code == 200
    return client.post(f"/api/tasks/{task['id']}/submit", json={"attempt": task["attempt"]})


def test_a_whole_review_by_three_workers_a_reviewer_and_an_admin(store, tmp_path):
    policy = SMALL.model_copy(update={"replicas": 2, "most_replicas": 2, "price": 0.5})
    site = Site(store, tmp_path / "src", policy)
    ann, bob, ida, rea = (
        site.person(n, r) for n, r in (("ann", "worker"), ("bob", "worker"), ("ida", "admin"), ("rea", "reviewer"))
    )
    task = take(ann)
    gold = truths(site, task["id"])
    (position, truth) = next(iter(gold.items()))
    wrong = [box(0, 0, 3, 3)]
    first = put(ann, task, position, wrong).json()
    assert first == {"version": 1, "attempt": 1, "lives": 1, "restarted": False, "truth": truth}
    assert ann.get(f"/api/tasks/{task['id']}").json()["images"][position]["truth"] == truth
    for other in range(4):
        assert put(ann, task, other, [A_FACE]).json()["lives"] == 1
    assert ann.post(f"/api/tasks/{task['id']}/submit", json={"attempt": 1}).json() == {"state": "submitted"}
    for client, boxes in ((ann, [A_FACE]), (bob, [])):
        while task := take(client):
            assert finish(site, client, task, boxes).json() == {"state": "submitted"}
    waiting = rea.get("/api/disputes").json()
    assert waiting["total"] == 9
    dispute = waiting["images"][0]
    assert sorted(len(given["boxes"]) for given in dispute["answers"]) == [0, 1]
    assert dispute["proposal"] == [A_FACE], "a tie keeps the face"
    assert rea.get(dispute["url"]).headers["content-type"] == "image/jpeg"
    for number, each in enumerate(waiting["images"]):
        body = {"key": f"decision{number}", "boxes": [A_FACE]}
        for _ in range(2):
            assert rea.put(f"/api/disputes/{each['id']}", json=body).json() == {"decision": "adjudicated"}
    board = ida.get("/api/dashboard").json()
    assert (board["images_total"], board["images_adjudicated"], board["images_undecided"]) == (9, 9, 0)
    assert (board["slots_total"], board["slots_submitted"], board["cost_so_far"]) == (6, 6, 3.0)
    assert board["cost_paper_scale"] == pytest.approx(3 / 9 * 1_431_093)
    workers = {row["name"]: row for row in board["workers"]}
    assert (workers["ann"]["gold_right"], workers["ann"]["gold_judged"]) == (2, 3)
    assert (workers["bob"]["tasks_submitted"], workers["bob"]["agreement"]) == (3, 0)
    assert (board["agreement"], len(board["hardest"])) == (0, 9)
    with store.read() as session:
        assert session.scalar(select(func.count(Adjudication.id))) == 9
    check_nothing_told(site, {"ann", "bob"})


def check_nothing_told(site, workers: set[str]):
    """No response to a worker, of all there were, told a truth, a file's name, or another worker, too early."""
    bodies = [(who, r) for who, r in site.seen if "json" in r.headers.get("content-type", "")]
    assert len(bodies) > 20
    judged_wrong: set[tuple[int, int]] = set()
    for who, response in bodies:
        if who not in workers:
            continue
        for secret in ("gold", "a/0", ".jpg", "score", "source", "yunet", *(workers - {who})):
            assert secret not in response.text, (secret, response.url)
        path = response.url.path.split("/")
        if response.request.method == "PUT" and response.json().get("truth") is not None:
            judged_wrong.add((int(path[3]), int(path[5])))
            continue
        views = [response.json()] if "images" in response.json() else [response.json().get("task") or {"images": []}]
        for view in views:
            for image in view["images"]:
                assert image["truth"] is None or (view["id"], image["position"]) in judged_wrong


def test_gold_looks_like_any_other_image(site):
    ann = site.person("ann")
    keys = set()
    for _ in range(3):
        task = take(ann)
        gold = truths(site, task["id"])
        for image in task["images"]:
            keys |= {(tuple(image), tuple(sorted(b)) if (b := (image["boxes"] or [A_FACE])[0]) else None)}
        replies = {
            position in gold: put(ann, task, position, gold.get(position, [A_FACE])).text for position in range(4)
        }
        assert replies[True] == replies[False]
        finish(site, ann, task, [A_FACE])
    assert len(keys) == 1


def test_images_are_for_the_holder_of_an_open_task_and_links_expire(site):
    ann = site.person("ann")
    task = take(ann)
    urls = [image["url"] for image in task["images"]]
    for url, image in zip(urls, task["images"], strict=True):
        shown = site.nobody.get(url)
        assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
        assert Pillow.open(io.BytesIO(shown.content)).size == (image["width"], image["height"])
    site.wait(minutes=61)
    assert problem_of(site.nobody.get(urls[0])) == (404, "unknown")
    fresh = ann.get(f"/api/tasks/{task['id']}").json()["images"][0]["url"]
    assert site.nobody.get(fresh).status_code == 200
    ann.post(f"/api/tasks/{task['id']}/return", json={})
    assert problem_of(site.nobody.get(fresh)) == (404, "unknown")


def test_no_other_image_can_be_fetched_whatever_number_is_tried(site):
    """Every number is tried in a link that was signed for another, in both kinds of links."""
    site.desk.strangers._burst = 1e9
    ann, bob = site.person("ann"), site.person("bob")
    task, other = take(ann), take(bob)
    mine = {image["url"].rsplit("/", 1)[1] for image in task["images"]}
    good = next(iter(mine))
    *_, expires, mac = good.split("-", 3)
    tried = 0
    for kind in ("image", "dispute"):
        for a, b in itertools.product(range(-1, 20), repeat=2):
            link = f"{a}-{b}-{expires}-{mac}"
            if kind == "image" and link in mine:
                continue
            tried += 1
            assert problem_of(bob.get(f"/api/images/{kind}/{link}")) == (404, "unknown")
    assert tried > 800
    for forged in (
        good[:-1],
        good + "A",
        f"{good.split('-')[0]}-{10**30}-1-x",
        "",
        "-",
        "a-b-c-d",
        "%00",
        "é",
        "1-" * 90,
    ):
        assert bob.get(f"/api/images/image/{forged}").status_code in (404, 422)
    later = f"{task['id']}-0-{int(expires) + 10**6}-{mac}"
    assert problem_of(bob.get(f"/api/images/image/{later}")) == (404, "unknown")
    assert other["id"] != task["id"]


def test_nothing_works_without_a_token_or_with_a_bad_one(site):
    ann = site.person("ann")
    task = take(ann)
    routes = [(m.upper(), path) for path, item in ann.get("/api/openapi.json").json()["paths"].items() for m in item]
    assert len(routes) == 20
    free = {"/api/mturk/enter", "/api/health", "/api/images/image/{link}", "/api/images/dispute/{link}"}
    ended = site.token("eve")
    site.wait(days=2)
    before = content(site.store)
    for token in ("", "x", "é" * 40, ended, "a" * 100_000):
        site.desk.strangers._buckets.clear()
        client = site.client("")
        headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
        for method, path in routes:
            if path in free:
                continue
            url = path.replace("{task_id}", str(task["id"])).replace("{position}", "0").replace("{image}", "1")
            url = url.replace("{account_id}", "1")
            refused = client.request(method, url, headers=headers, json={})
            assert problem_of(refused)[0] in (401, 422, 429), (method, path, refused.text)
            if refused.status_code == 401:
                assert refused.headers["www-authenticate"] == "Bearer"
    assert content(site.store) == before


@pytest.mark.parametrize(("role", "allowed"), [("worker", 0), ("reviewer", 1), ("admin", 2)])
def test_roles(site, role, allowed):
    client = site.person("x", role)
    assert client.get("/api/me").json()["role"] == role
    for needed, (method, path) in (
        (1, ("GET", "/api/disputes")),
        (1, ("GET", "/metrics")),
        (2, ("GET", "/api/dashboard")),
        (2, ("GET", "/api/accounts")),
        (2, ("POST", "/api/pause")),
        (2, ("POST", "/api/resume")),
    ):
        done = client.request(method, path, **({"json": {}} if method == "POST" else {}))
        if allowed >= needed:
            assert done.status_code == 200, path
        else:
            assert problem_of(done) == (403, "forbidden"), path


def test_tasks_of_others_are_refused_and_nothing_changes(site):
    ann, bob = site.person("ann"), site.person("bob")
    task = take(ann)
    before = content(site.store)
    url = f"/api/tasks/{task['id']}"
    assert problem_of(bob.get(url)) == (404, "unknown")
    assert problem_of(put(bob, task, 0, [A_FACE])) == (404, "unknown")
    assert problem_of(bob.post(f"{url}/submit", json={"attempt": 1})) == (404, "unknown")
    assert problem_of(bob.post(f"{url}/return", json={})) == (404, "unknown")
    assert content(site.store) == before


HOSTILE = [
    [{**A_FACE, "x0": value}]
    for value in (float("nan"), float("inf"), -float("inf"), -5, 1e9, 1e39, 41, "1", None, True)
] + [
    [A_FACE] * 10_000,
    [{**A_FACE, "label": "dog"}],
    [{**A_FACE, "score": 1}],
    [{"x0": 1}],
    [[1, 2, 3, 4]],
    [{**A_FACE, "x1": 10.0000001}],
    [{**A_FACE, "x1": 10.5}],
    [box(0, 0, 64.5, 500)],
    "boxes",
    None,
    {},
]


@pytest.mark.parametrize("boxes", HOSTILE, ids=lambda boxes: json.dumps(boxes)[:50])
def test_boxes_that_are_none_are_refused_and_nothing_changes(site, boxes):
    ann = site.person("ann")
    task = take(ann)
    before = content(site.store)
    body = json.dumps({"attempt": 1, "key": "12345678", "seconds": 1, "boxes": boxes})
    url = f"/api/tasks/{task['id']}/images/0"
    status, code = problem_of(ann.put(url, content=body, headers={"content-type": "application/json"}))
    assert (status, code) in ((422, "invalid"), (413, "too_large"))
    assert content(site.store) == before


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 0}, {"attempt": 2**31}, {"key": "short"}, {"key": "a" * 65}, {"key": "ab cd ef gh"},
        {"key": "\u0000" * 8}, {"seconds": -1}, {"seconds": float("nan")}, {"seconds": 1e300}, {"gold": True},
    ],
    ids=str,
)  # fmt: skip
def test_answers_that_are_none_are_refused(site, change):
    ann = site.person("ann")
    task = take(ann)
    body = {"attempt": 1, "key": "12345678", "seconds": 1, "boxes": [], **change}
    refused = ann.put(f"/api/tasks/{task['id']}/images/0", content=json.dumps(body))
    assert problem_of(refused) == (422, "invalid")
    with site.store.read() as session:
        assert session.scalar(select(func.count(Answer.id))) == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"attempt": 1' + b" " * 300_000 + b"}", b"null", b"[]", b'"\\ud800"'],
    ids=lambda body: repr(body[:20]),
)
def test_bodies_that_are_no_json_object_are_refused(site, body):
    ann = site.person("ann")
    task = take(ann)
    refused = ann.put(f"/api/tasks/{task['id']}/images/0", content=body)
    assert problem_of(refused)[0] in (400, 413, 422)
    assert ann.get("/api/health").json() == {"status": "ok"}


def test_a_body_without_end_is_cut_off(site):
    ann = site.person("ann")
    task = take(ann)
    refused = ann.put(f"/api/tasks/{task['id']}/images/0", content=(b" " * 65536 for _ in range(100)))
    assert problem_of(refused) == (413, "too_large")


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "\ud800", "a" * 101, "ann", "\u202eevil", "\u0000"])
def test_hostile_names_are_refused(site, name):
    ida = site.person("ida", "admin")
    site.token("ann")
    before = content(site.store)
    body = json.dumps({"name": name, "role": "worker"})
    assert problem_of(ida.post("/api/accounts", content=body)) == (422, "invalid")
    assert content(site.store) == before


@pytest.mark.parametrize("name", ["'; DROP TABLE answer; --", "<script>alert(1)</script>", "O'Brien", "Ωμέγα 你好"])
def test_odd_names_are_just_names(site, name):
    ida = site.person("ida", "admin")
    invited = ida.post("/api/accounts", json={"name": name, "role": "reviewer"}).json()
    assert invited["link"].startswith(f"{URL}/#token=")
    token = invited["link"].partition("#token=")[2]
    assert site.client(token).get("/api/me").json()["name"] == name
    assert name in [account["name"] for account in ida.get("/api/accounts").json()["accounts"]]


def test_links_can_be_renewed_and_people_shut_out(site):
    ida = site.person("ida", "admin")
    invited = ida.post("/api/accounts", json={"name": "ann", "role": "worker", "days": 1}).json()
    first = site.client(invited["link"].partition("=")[2])
    number = invited["account"]["id"]
    task = take(first)
    renewed = ida.post(f"/api/accounts/{number}/link", json={}).json()
    assert problem_of(first.get("/api/me")) == (401, "unauthorized")
    second = site.client(renewed["link"].partition("=")[2])
    assert take(second)["id"] == task["id"]
    assert ida.post(f"/api/accounts/{number}/disable", json={}).json()["disabled"]
    assert problem_of(second.get("/api/me")) == (401, "unauthorized")
    assert problem_of(site.nobody.get(task["images"][0]["url"])) == (404, "unknown")
    assert problem_of(ida.post("/api/accounts/999/link", json={})) == (404, "unknown")


def test_tokens_are_kept_as_hashes(site, tmp_path):
    token = site.token("ann")
    site.client(token).get("/api/me")
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("review.db*"))
    assert token.encode() not in stored
    with site.store.engine.connect() as connection:
        assert all(len(row) == 64 for row in connection.execute(text("SELECT sha256 FROM token")).scalars())


def test_another_sites_page_can_do_nothing(site):
    ann = site.person("ann")
    before = content(site.store)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:8001", "http://[", ""):
        refused = ann.post("/api/tasks", json={}, headers={"Origin": origin})
        assert problem_of(refused) == (403, "forbidden"), origin
        assert "access-control-allow-origin" not in refused.headers
    assert content(site.store) == before
    assert ann.post("/api/tasks", json={}, headers={"Origin": URL}).status_code == 200


def test_other_host_names_are_refused(site):
    assert site.nobody.get("/api/health", headers={"Host": "evil.example"}).status_code == 400
    assert site.nobody.get("/api/health", headers={"Host": "127.0.0.1:9"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/health", "/api/me", "/nowhere", "/api/images/image/x", "/api/openapi.json"]
)
def test_every_response_carries_the_security_headers(site, path):
    headers = site.nobody.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
    assert "set-cookie" not in headers


def test_frames_and_https(site, tmp_path):
    settings = Settings("https://review.example.org", frames=("https://worker.mturk.com",))
    app = create_app(site.store, site.dataset, settings)
    from fastapi.testclient import TestClient

    headers = TestClient(app, base_url="https://review.example.org").get("/api/health").headers
    assert "frame-ancestors https://worker.mturk.com" in headers["content-security-policy"]
    assert "form-action https://worker.mturk.com" in headers["content-security-policy"]
    assert "x-frame-options" not in headers
    assert headers["strict-transport-security"].startswith("max-age=")


def test_too_many_requests_are_slowed_down(site):
    ann = site.person("ann")
    codes = [ann.get("/api/me").status_code for _ in range(300)]
    assert codes[:200] == [200] * 200
    slowed = ann.get("/api/me")
    assert problem_of(slowed) == (429, "slow_down")
    assert int(slowed.headers["retry-after"]) >= 1
    assert site.person("bob").get("/api/me").status_code == 200


def test_guessing_is_slowed_down(site):
    codes = [site.client(f"guess{i}").get("/api/me").status_code for i in range(60)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert site.person("ann").get("/api/me").status_code == 200


def test_pause_and_resume(site):
    ida, ann = site.person("ida", "admin"), site.person("ann")
    assert ida.post("/api/pause", json={}).json() == {"paused": True}
    assert ann.get("/api/me").json()["review"]["paused"]
    assert problem_of(ann.post("/api/tasks", json={})) == (409, "paused")
    assert ida.post("/api/resume", json={}).json() == {"paused": False}
    assert take(ann)


def test_lives_and_restart_over_http(store, tmp_path):
    site = Site(store, tmp_path / "src", Policy(images_per_task=6, gold_per_task=3))
    ann = site.person("ann")
    task = take(ann)
    gold = truths(site, task["id"])
    one, two, _ = gold
    nonsense = [box(0, 0, 2, 2)]
    assert put(ann, task, one, nonsense).json() == {
        "version": 1, "attempt": 1, "lives": 1, "restarted": False, "truth": gold[one],
    }  # fmt: skip
    assert put(ann, task, one, nonsense).json() == {
        "version": 2, "attempt": 1, "lives": 1, "restarted": False, "truth": None,
    }  # fmt: skip
    last = put(ann, task, two, nonsense, key="the-last-life")
    assert last.json() == {"version": 1, "attempt": 2, "lives": 2, "restarted": True, "truth": gold[two]}
    assert put(ann, task, two, nonsense, key="the-last-life").json() == last.json()
    assert problem_of(put(ann, task, 0, [A_FACE])) == (409, "stale")
    assert problem_of(ann.post(f"/api/tasks/{task['id']}/submit", json={"attempt": 1})) == (409, "stale")
    again = ann.get(f"/api/tasks/{task['id']}").json()
    assert (again["attempt"], again["lives"]) == (2, 2)
    assert [(i["boxes"], i["version"], i["truth"]) for i in again["images"]] == [
        (i["boxes"], 0, None) for i in task["images"]
    ]
    assert problem_of(ann.post(f"/api/tasks/{task['id']}/submit", json={"attempt": 2})) == (409, "incomplete")
    assert finish(site, ann, again, [A_FACE]).json() == {"state": "submitted"}
    assert problem_of(put(ann, again, 0, [A_FACE])) == (409, "ended")
    assert ann.get(f"/api/tasks/{task['id']}").json()["state"] == "submitted"


def test_the_page_says_that_it_is_missing_or_is_served(site, tmp_path, monkeypatch):
    from unface.review.server import app as module

    monkeypatch.setattr(module, "PAGE_DIR", tmp_path / "page")
    from fastapi.testclient import TestClient

    app = create_app(site.store, site.dataset, Settings(URL))
    client = TestClient(app, base_url=URL)
    missing = client.get("/")
    assert (missing.status_code, missing.text.strip()) == (503, NO_PAGE)
    assert not module.is_page_built()
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "page" / "review.html").write_text("<title>review</title>")
    (tmp_path / "page" / "admin.html").write_text("<title>admin</title>")
    (tmp_path / "page" / "browse.html").write_text("<title>of another server</title>")
    (tmp_path / "page" / "assets" / "a.js").write_text("1")
    (tmp_path / "secret").write_text("secret")
    assert "review" in client.get("/").text
    assert "admin" in client.get("/admin").text
    assert client.get("/").headers["cache-control"] == "no-store"
    script = client.get("/assets/a.js").headers
    assert script["content-type"].startswith("text/javascript")
    assert "immutable" in script["cache-control"]
    assert client.get("/api/health").json() == {"status": "ok"}
    for path in ("/browse.html", "/../secret", "/%2e%2e/secret", "/assets/%2e%2e/%2e%2e/secret", "//etc/passwd"):
        assert client.get(path).status_code == 404


def test_metrics_tell_counts_and_no_address(site):
    rea, ann = site.person("rea", "reviewer"), site.person("ann")
    task = take(ann)
    site.nobody.get(task["images"][0]["url"])
    site.nobody.get("/nowhere/secret")
    told = rea.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(told)}
    samples = {(s.name, s.labels.get("state")): s.value for s in families["unface_review_assignments"].samples}
    assert samples["unface_review_assignments", "open"] == 1
    routes = {s.labels["route"] for s in families["unface_review_requests"].samples}
    assert "/api/images/image/{link}" in routes
    assert "secret" not in told
    assert task["images"][0]["url"].rsplit("-", 1)[1] not in told


def test_one_slot_submitted_by_many_at_once(store, tmp_path):
    site = Site(store, tmp_path / "src", images=3)
    people = [site.person(f"w{i}") for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        tasks = list(pool.map(take, people))
        (holder,) = [i for i, task in enumerate(tasks) if task]
        task = tasks[holder]
        gold = truths(site, task["id"])

        def send(client):
            done = put(client, task, 0, gold.get(0, [A_FACE]), key="the-same-key")
            return done.status_code

        codes = list(pool.map(send, people * 3))
    assert codes.count(200) == 3
    assert codes.count(404) == 21
    with store.read() as session:
        assert session.scalar(select(func.count(Answer.id))) == 1


def test_a_store_without_a_review_is_refused(tmp_path, site):
    empty = open_store(str(tmp_path / "empty.db"), create=True)
    with pytest.raises(InputError, match="expected a review in the store"):
        create_app(empty, site.dataset, Settings(URL))
    empty.close()


def test_an_image_that_cannot_be_read_says_so(site, tmp_path):
    task = take(site.person("ann"))
    for path in (tmp_path / "src").rglob("*.jpg"):
        path.write_bytes(b"gone")
    assert problem_of(site.nobody.get(task["images"][0]["url"])) == (404, "unreadable")


def test_a_store_that_fails_says_so(site):
    ann = site.person("ann")
    with site.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE token RENAME TO other"))
    assert problem_of(ann.get("/api/me")) == (503, "unavailable")
