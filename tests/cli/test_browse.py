import json
import signal
import subprocess
import sys

import httpx2 as httpx
import pytest

from builders import make_faces, write_image
from unface.cli import main
from unface.faces import faces_table, write_faces
from unface.review.server import is_page_built
from unface.review.server.app import NO_PAGE


@pytest.fixture
def unface(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unface", "browse", *map(str, arguments), "--no-browser"])
        with pytest.raises(SystemExit) as end:
            main()
        out = capsys.readouterr()
        return end.value.code or 0, out.out, out.err

    return run


@pytest.fixture
def built(monkeypatch):
    monkeypatch.setattr("unface.review.server.is_page_built", lambda page="": True)


@pytest.fixture
def faces(tmp_path):
    write_image(tmp_path / "src" / "a" / "1.jpg")
    write_faces(tmp_path / "faces.parquet", faces_table([make_faces("a/1.jpg"), make_faces("a/2.jpg")]))
    return tmp_path / "faces.parquet"


def refused(result) -> str:
    """The one line of a refusal."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("unface: ")
    return err


@pytest.mark.usefixtures("built")
def test_images_of_another_dataset_are_refused(unface, faces, tmp_path):
    write_image(tmp_path / "other" / "3.jpg")
    err = refused(unface(faces, "--images", tmp_path / "other"))
    assert "expected the images of FACES, found none of 2 that were looked for, such as a/2.jpg" in err


@pytest.mark.usefixtures("built")
def test_what_cannot_be_used_is_told(unface, faces, tmp_path):
    assert "faces.parquet, found no such file" in refused(unface(tmp_path / "no.parquet", "--images", tmp_path / "src"))
    assert "found nothing there" in refused(unface(faces, "--images", tmp_path / "no"))
    write_faces(tmp_path / "empty.parquet", faces_table([]))
    assert "expected rows, got none" in refused(unface(tmp_path / "empty.parquet", "--images", tmp_path / "src"))
    code, _, err = unface(faces)
    assert (code, "--images" in err) == (2, True)


def test_a_page_that_is_not_built_is_told(unface, faces, tmp_path, monkeypatch):
    monkeypatch.setattr("unface.review.server.is_page_built", lambda page="": False)
    assert NO_PAGE in refused(unface(faces, "--images", tmp_path / "src"))


@pytest.mark.usefixtures("built")
def test_a_port_that_is_taken_is_told(unface, faces, tmp_path):
    from unface.review.serving import listen

    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert "expected a free address" in refused(unface(faces, "--images", tmp_path / "src", "--port", port))


@pytest.mark.skipif(not is_page_built("browse.html"), reason="needs the built page")
def test_one_link_is_printed_and_only_it_lets_in(faces, tmp_path):
    command = [sys.executable, "-m", "unface", "browse", faces, "--images", tmp_path / "src", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        told = json.loads(process.stdout.readline())
        token = told["link"].removeprefix(f"{told['url']}/#token=")
        with httpx.Client(base_url=told["url"]) as nobody:
            assert nobody.get("/api/rows").status_code == 401
            assert nobody.get("/api/rows", headers={"Authorization": f"Bearer {token}"}).json()["total"] == 2
            page = nobody.get("/")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert nobody.get("/", headers={"Host": "evil.example"}).status_code == 400
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out == ""
    assert err.splitlines()[0] == f"browse: {told['link']}"
    assert "Traceback" not in err
