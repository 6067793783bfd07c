import json
import subprocess
import sys

import pytest

from unface import __version__

HEAVY = ["numpy", "cv2", "PIL", "pyarrow", "onnxruntime", "pydantic", "jinja2"]


def unface(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "unface", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("statement", ["import unface", "import unface.cli"])
def test_import_loads_nothing_heavy(statement):
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["run", "detect", "obfuscate", "verify", "models"])
def test_every_command_has_help(command):
    assert command in unface("--help").stdout
    done = unface(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_the_help_states_the_exit_codes():
    assert "Exit codes: 0" in unface("--help").stdout


def test_version():
    assert unface("--version").stdout.strip() == __version__


@pytest.mark.parametrize("arguments", [["frobnicate"], ["run"], ["run", "a"], ["run", "a", "b", "--workers", "0"]])
def test_wrong_use_ends_with_2(arguments):
    done = unface(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_models_list_names_licences():
    models = {row["name"]: row for row in json.loads(unface("models", "list", "--json").stdout)["models"]}
    assert models["yunet"]["path"]
    assert models["centerface"]["licence"] == "MIT"
    assert models["nudenet"]["accept_licence"]
    assert "centerface" in unface("models", "list").stdout


def test_models_with_a_restrictive_licence_need_consent(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFACE_MODELS", str(tmp_path))
    done = unface("models", "pull", "nudenet")
    assert done.returncode == 2
    assert "--accept-license" in done.stderr
