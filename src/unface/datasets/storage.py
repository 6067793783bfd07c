"""Where the archives of a dataset lie: a folder, or a URL that fsspec opens (s3://, gs://, hf://, …)."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from unface.datasets.dataset import Part, inside
from unface.errors import InputError, one_line

_COPY_BYTES = 1 << 22


def is_url(place: str) -> bool:
    """Whether a place is a URL rather than a path."""
    return "://" in place


@dataclass(frozen=True)
class Storage:
    """A tree of files.

    Attributes:
        root: Absolute path of a folder, or a URL.
    """

    root: str

    def files(self) -> dict[str, str]:
        """Every file below the root but hidden ones: its path and a stamp that changes with its content.

        Links that leave a folder are left out.

        Raises:
            InputError: The root cannot be listed.
        """
        return self._remote_files() if is_url(self.root) else self._local_files()

    def archives(self, suffix: str, names: tuple[str, ...] | None) -> tuple[tuple[Part, ...], Mapping[str, int]]:
        """The files with a suffix, sorted by name, as parts, and counts of all others by their suffixes.

        Args:
            suffix: With its dot, lower case.
            names: The files that are meant; None for all.

        Raises:
            InputError: One of the names is not there.
        """
        files = self.files()
        chosen = [name for name in files if name.lower().endswith(suffix)] if names is None else names
        missing = [name for name in chosen if name not in files]
        if missing:
            raise InputError(f"{one_line(self.root)}: expected {one_line(missing[0])}, found no such file")
        others = Counter(PurePosixPath(name).suffix.lower() for name in files.keys() - set(chosen))
        return tuple(Part(name, files[name]) for name in sorted(chosen)), dict(sorted(others.items()))

    def open(self, name: str) -> IO[bytes]:
        """A file to read from any place; a remote one is fetched into a nameless file that dies with the process.

        Raises:
            InputError: It cannot be read.
        """
        try:
            if not is_url(self.root):
                return (Path(self.root) / inside(name)).open("rb")
            filesystem, root = _filesystem(self.root)
            fetched: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
            with filesystem.open(f"{root}/{inside(name)}", "rb") as remote:
                while block := remote.read(_COPY_BYTES):
                    fetched.write(block)
            fetched.seek(0)
            return fetched
        except OSError as error:
            raise InputError(
                f"{one_line(name)}: expected a readable file: {error.strerror or one_line(error)}"
            ) from None

    def read(self, name: str, most: int) -> bytes:
        """Up to `most` first bytes of a file; OSError if it cannot be read."""
        filesystem, root = _filesystem(self.root)
        with filesystem.open(f"{root}/{inside(name)}", "rb") as remote:
            data: bytes = remote.read(most)
            return data

    def stamp(self, name: str) -> str:
        """A local file's stamp; a remote one is taken not to change while it is worked on."""
        if is_url(self.root):
            return ""
        try:
            return _stamp(os.stat(Path(self.root) / inside(name)))
        except OSError:
            return ""

    def _local_files(self) -> dict[str, str]:
        root, found = Path(self.root), {}
        for folder, _, names in os.walk(root, onerror=_refuse):
            for name in names:
                path = Path(folder) / name
                if name.startswith(".") or not path.resolve().is_relative_to(root) or not path.is_file():
                    continue
                found[path.relative_to(root).as_posix()] = _stamp(path.stat())
        return found

    def _remote_files(self) -> dict[str, str]:
        filesystem, root = _filesystem(self.root)
        try:
            listing = filesystem.find(root, detail=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{one_line(self.root)}: expected a place that can be listed: {one_line(error)}") from None
        found = {}
        for path, facts in listing.items():
            name = path.removeprefix(root).lstrip("/") or PurePosixPath(path).name
            if not PurePosixPath(name).name.startswith("."):
                changed = facts.get("ETag") or facts.get("LastModified") or facts.get("mtime") or facts.get("created")
                found[name] = f"{facts.get('size')}-{changed}"
        return found


def _filesystem(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the root in its own words."""
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{one_line(url)}: expected the package fsspec for a URL: install unface[remote]") from None
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{one_line(url)}: expected a URL that can be opened: {one_line(error)}") from None
    return filesystem, root.rstrip("/")


def _stamp(facts: os.stat_result) -> str:
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _refuse(error: OSError) -> None:
    raise InputError(f"{one_line(str(error.filename))}: expected a readable folder: {error.strerror}")
