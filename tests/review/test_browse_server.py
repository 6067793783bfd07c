import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from archives import write_plain, write_tar
from builders import encode_image
from review.browsers import (
    BOXES,
    FACE,
    MAYBE,
    NOT_SHOWN,
    SHOWN,
    client_of,
    likeness,
    original_of,
    pixels_of,
    textured,
    write_images,
)
from review.site import problem_of
from unface.datasets import open_dataset
from unface.faces import FaceRow, Faces
from unface.review.pictures import Reader

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("browse") / "src"
    return root, write_images(root)


@pytest.fixture(scope="module")
def client(place):
    return client_of(*place)


@pytest.fixture(scope="module")
def open_client(place):
    return client_of(*place, originals=True)


def rows_of(client, **asked):
    answer = client.get("/api/rows", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pictures_of(client):
    """Both pictures of every image, by name and size."""
    found = {}
    for row in rows_of(client)["rows"]:
        image = client.get(f"/api/rows/{row['number']}").json()
        found[row["image_id"], "small"] = client.get(row["url"])
        found[row["image_id"], "large"] = client.get(image["url"])
    return found


def test_no_picture_holds_what_its_boxes_hide(client):
    pictures = pictures_of(client)
    for number, name in enumerate(SHOWN):
        for size, width in (("small", 480), ("large", 640)):
            answer = pictures[name, size]
            assert answer.headers["content-type"] == "image/jpeg"
            sent = pixels_of(answer.content)
            assert sent.shape == (width * 3 // 4, width, 3)
            original = original_of(number, (width, width * 3 // 4))
            for box in BOXES:
                assert abs(likeness(sent, original, box)) < 0.35, (name, size, box)
            assert likeness(sent, original, (0, 380, 300, 480)) > 0.97, "and the rest is the original"


def test_originals_are_shown_only_when_asked_for(open_client):
    assert open_client.get("/api/dataset").json()["originals"] is True
    pictures = pictures_of(open_client)
    for number, name in enumerate(SHOWN):
        for size, width in (("small", 480), ("large", 640)):
            sent = pixels_of(pictures[name, size].content)
            original = original_of(number, (width, width * 3 // 4))
            assert all(likeness(sent, original, box) > 0.97 for box in (*BOXES, (0, 0, 640, 480))), (name, size)
    assert pictures["dog/failed.jpg", "small"].status_code == 200
    assert pictures["dog/corrupt.jpg", "small"].status_code == 404


def test_what_cannot_be_hidden_is_not_shown_and_says_why(client):
    pictures = pictures_of(client)
    for name, reason in NOT_SHOWN.items():
        for size in ("small", "large"):
            assert problem_of(pictures[name, size]) == (404, "unreadable")
            assert reason in pictures[name, size].json()["message"]


def test_no_answer_holds_a_piece_of_an_original_file(client, place):
    """Whatever may be asked: none of it is the bytes of a file, thumbnails in their metadata included."""
    root, _ = place
    files = [path.read_bytes() for path in root.rglob("*.*")]
    pieces = [data[i : i + 48] for data in files for i in range(700, min(len(data) - 48, 4000), 97)]
    assert len(pieces) > 200
    answers = [*pictures_of(client).values(), *map(client.get, ("/", "/api/rows", "/api/counts", "/api/dataset"))]
    answers += [client.get(f"/{name}") for name in SHOWN]
    assert len(answers) > 20
    for answer in answers:
        assert not any(piece in answer.content for piece in pieces)
        assert answer.headers["cache-control"] == "no-store"


def test_a_page_tells_its_rows_and_the_filters_work_over_http(client):
    page = rows_of(client, **{"class": ["dog", ""]}, min_faces=1, order="faces", start=1, limit=3)
    assert page["total"] == 8
    assert [row["image_id"] for row in page["rows"]] == ["dog/outside.jpg", "dog/2.jpg", "dog/3.webp"]
    first = rows_of(client)["rows"][0]
    assert {name: first[name] for name in first if name != "url"} == {
        "number": 0, "image_id": "cat/0.jpg", "status": "detected", "faces": 1, "candidates": 1, "tallest": 220.0,
        "score": 0.75,
    }  # fmt: skip
    assert rows_of(client, start=10**9)["rows"] == []
    assert rows_of(client, min_score=0.9)["total"] == 2
    assert rows_of(client, status=["reviewed", "failed"])["total"] == 2
    counts = client.get("/api/counts", params={"status": "detected", "find": "THE DO"}).json()
    assert (counts["images"], counts["statuses"]) == (8, {"detected": 8, "reviewed": 1, "failed": 1})
    assert counts["classes"] == [{"name": "dog", "title": "the dog", "images": 6}]


def test_one_image_tells_its_boxes(client):
    image = client.get("/api/rows/0").json()
    assert (image["width"], image["height"], image["class_title"]) == (640, 480, "the cat")
    box = {"label": "face", "source": "yunet"}
    assert image["faces"] == [dict(zip(("x0", "y0", "x1", "y1"), FACE, strict=True)) | box | {"score": 0.75}]
    assert image["candidates"] == [dict(zip(("x0", "y0", "x1", "y1"), MAYBE, strict=True)) | box | {"score": 0.2}]


def test_a_size_that_the_table_lacks_is_that_of_the_upright_image(place):
    root, _ = place
    rows = [FaceRow(name, 0, 0, "detected") for name in ("dog/2.jpg", "dog/gone.jpg")]
    client = client_of(root, rows)
    sizes = [client.get(f"/api/rows/{i}").json() for i in range(2)]
    assert [(image["width"], image["height"]) for image in sizes] == [(640, 480), (0, 0)]


BAD = [
    "start=-1", "start=x", "limit=0", "limit=201", "order=up", "order=", "status=lost", "min_faces=-1", "min_faces=1.5",
    "min_faces=99999999999999999999", "max_height=nan", "max_height=inf", "min_score=2", "min_score=-0.1",
    "min_score=" + "9" * 400, "unknown=1", "class=" + "x" * 1001, "&".join(["class=a"] * 101),
    "&".join(["status=failed"] * 4), "limit=1&limit=x", "start=%00", "min_faces=",
]  # fmt: skip


@pytest.mark.parametrize("query", BAD, ids=lambda query: query[:24])
def test_odd_parameters_are_refused_in_one_line(client, query):
    assert problem_of(client.get(f"/api/rows?{query}")) == (422, "invalid")


def test_nobody_comes_in_without_the_token(client):
    paths = ["/api/dataset", "/api/rows", "/api/counts", "/api/rows/0"]
    for header in ("", "Bearer", "Bearer x", "Bearer \xff", f"Basic {client.app.state.browser.token}"):
        for path in paths:
            answer = client.get(path, headers={"Authorization": header.encode("latin-1")})
            assert problem_of(answer) == (401, "unauthorized")
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert client.get("/api/rows", headers={"Host": host}).status_code in (400, 422)


def test_links_open_one_size_of_one_image_for_an_hour(client):
    browser = client.app.state.browser
    url = rows_of(client)["rows"][0]["url"]
    stranger = {"Authorization": ""}
    assert client.get(url, headers=stranger).status_code == 200
    forged = [url.replace("small", "large"), url.replace("/0-", "/1-"), url[:-1], url + "x", "/api/images/small/0-1-x"]
    for other in forged:
        assert problem_of(client.get(other, headers=stranger)) == (404, "unknown")
    now = browser.now
    browser.now = lambda: now() + timedelta(hours=1, seconds=1)
    try:
        assert problem_of(client.get(url)) == (404, "unknown")
    finally:
        browser.now = now


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(client, method):
    for path in ("/api/rows", "/api/rows/0", "/api/counts", "/api/dataset", rows_of(client)["rows"][0]["url"]):
        assert problem_of(client.request(method, path))[0] == 405


PATHS = ["/%00", "/assets/%00", "/assets/..%2f..%2fsecret", "//etc/passwd", "/" + "x" * 5000, "/assets/" + "x" * 300,
         "/api/rows/-1", "/api/rows/99999999999", "/api/rows/10", "/api/rows/x", "/api/images/huge/1", "/api",
         "/api/images/small/" + "1-" * 150, "/api/images/small/%ff%fe", "/api/rows/%F0%9F%92%A9"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:24])
def test_odd_paths_are_refused_in_one_line(client, path):
    status, _ = problem_of(client.get(path))
    assert status in (404, 422)


def test_numbers_that_json_does_not_hold(tmp_path):
    odd = Faces.make([FACE] * 3, [float("nan"), float("inf"), 0.5])
    client = client_of(tmp_path, [FaceRow("a.jpg", 0, 0, "detected", odd), FaceRow("b.jpg", 0, 0, "detected")])
    assert [row["score"] for row in rows_of(client, order="score")["rows"]] == [0.5, None]
    image = client.get("/api/rows/0").json()
    assert [box["score"] for box in image["faces"]] == [None, None, 0.5]
    assert rows_of(client, min_score=0.1)["total"] == 1


@pytest.fixture
def quick_switches():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_archives_are_read_by_many_at_once(tmp_path, kind):
    files = {f"{i}.jpg": encode_image(textured(i), ".jpg") for i in range(6)}
    if kind == "tar":
        write_tar(tmp_path / "a.tar", list(files.items()))
        expected = {f"a.tar/{name}": data for name, data in files.items()}
    else:
        write_plain(tmp_path / "a.parquet", {"image": list(files.values())}, row_group=2)
        expected = {f"a.parquet/{i:08d}": data for i, data in enumerate(files.values())}
    reader, names = Reader(open_dataset(tmp_path)), [*expected] * 60
    with ThreadPoolExecutor(8) as pool:
        assert all(data == expected[name] for name, data in zip(names, pool.map(reader.read, names), strict=True))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_images_of_archives_are_shown(tmp_path, place, kind):
    root, rows = place
    files = [(root / row.image_id).read_bytes() for row in rows[:4]]
    if kind == "tar":
        write_tar(tmp_path / "a.tar", [(row.image_id, data) for row, data in zip(rows, files, strict=False)])
        moved = [replace(row, image_id=f"a.tar/{row.image_id}") for row in rows[:4]]
    else:
        write_plain(tmp_path / "a.parquet", {"image": files}, row_group=2)
        moved = [replace(row, image_id=f"a.parquet/{i:08d}") for i, row in enumerate(rows[:4])]
    moved.append(replace(rows[0], image_id="gone.tar/1.jpg"))
    sent = [answer.content for answer in pictures_of(client_of(tmp_path, moved)).values()]
    expected = [answer.content for answer in pictures_of(client_of(root, rows[:4])).values()]
    assert sent[:8] == expected
    assert all(b"unreadable" in content for content in sent[8:])


def test_a_thousand_hostile_requests_at_once_leave_it_standing(client):
    queries = (
        [f"/api/rows?{query}" for query in BAD] + PATHS + ["/api/rows?order=score&min_height=3", "/api/counts?find=%25"]
    )
    seen: set[int] = set()
    lock = threading.Lock()

    def send(number):
        headers = {"Authorization": "Bearer wrong"} if number % 3 == 0 else {}
        status = client.get(queries[number % len(queries)], headers=headers).status_code
        with lock:
            seen.add(status)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(send, range(1000)))
    assert seen <= {200, 401, 404, 422}
    assert rows_of(client)["total"] == 10


OPERATIONS = 5


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("number", range(OPERATIONS))
def test_the_interface_is_as_described_whatever_is_sent(client, number, mode):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", client.app, headers={"Host": "127.0.0.1"})
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    operation = operations[number]
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters):
        return  # takes nothing that could be wrong
    headers = {"Authorization": client.headers["Authorization"], "Host": "127.0.0.1"}

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def send(case):
        case.call_and_validate(headers=headers, checks=CHECKS)

    send()
