"""The output folder: whose it is, what it was made with, and `run.json`."""

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from unface import __version__
from unface.cli.sharing import Share
from unface.errors import InputError, one_line

ALONE = Share()
_PACKAGES = ("numpy", "pillow", "opencv-python-headless", "onnxruntime", "pyarrow")


@contextmanager
def claimed(
    dst: Path, src: Any, config: Mapping[str, Any], share: Share = ALONE, overwrite: bool = False
) -> Iterator[dict[str, Any]]:
    """Take an output folder for a run; yields the record to be written by `write_record`.

    Args:
        dst: The output folder; made if it is not there.
        src: The dataset it is made from: a folder, or a URL.
        config: The parameters that decide what is in it.
        share: This machine's share of the work; each takes the folder for its own.
        overwrite: Whether to do away with what unface made there with other parameters.

    Raises:
        InputError: The folder holds something else, was made with other parameters, lies inside the dataset
            or around it, or another run works in it.
    """
    place = dst.resolve()
    if isinstance(src, Path) and (place == src or place in src.parents or src in place.parents):
        raise InputError(f"{one_line(str(dst))}: expected an output folder apart from the dataset {src}")
    difference = _difference(dst, {"source": str(src), **config})
    if difference and not overwrite:
        raise InputError(f"{one_line(str(dst))}: {difference}; choose another output folder, or --overwrite this one")
    with locked(dst, share):
        if difference:
            _clear(dst)
        share.begin(dst / ".unface")
        yield new_record(src, config)


@contextmanager
def locked(dst: Path, share: Share = ALONE) -> Iterator[None]:
    """Work alone in an output folder, or on a share of it; InputError if another run is at work there."""
    from filelock import FileLock, Timeout

    (dst / ".unface").mkdir(parents=True, exist_ok=True)
    lock = FileLock(dst / ".unface" / ("lock" if share.is_all else f"lock-{share.rank}-of-{share.world_size}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{one_line(str(dst))}: another unface is at work there") from None
    try:
        yield
    finally:
        lock.release()


def _difference(dst: Path, config: Mapping[str, Any]) -> str:
    """Which parameter the folder was made with otherwise; empty if it is new or made with these."""
    if not dst.exists():
        return ""
    if not dst.is_dir():
        raise InputError(f"{one_line(str(dst))}: expected an output folder, got a file")
    if all(path.name == ".unface" for path in dst.iterdir()):  # nothing was done: work begins after `run.json`
        return ""
    before = read_record(dst)
    if before is None:
        raise InputError(
            f"{one_line(str(dst))}: expected an empty folder or one that unface made, got one with other files"
        )
    made = {"source": before.get("source"), **before.get("config", {})}
    for name in sorted(made.keys() | config.keys()):
        if made.get(name) != config.get(name):
            return f"was made with {name} {made.get(name)!r}, this run has {config.get(name)!r}"
    return ""


def _clear(dst: Path) -> None:
    """Remove what unface makes, the record last, so that an interrupted removal goes on."""
    for name in ("images", ".unface"):
        for path in sorted((dst / name).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.parent != dst / ".unface" or not path.name.startswith("lock"):
                path.unlink()
    for name in ("faces", "manifest", "verify", "failures"):
        (dst / f"{name}.parquet").unlink(missing_ok=True)
    for name in ("report.html", "privacy.html", "privacy.json", "attacks.json"):
        (dst / name).unlink(missing_ok=True)
    (dst / "run.json").unlink(missing_ok=True)


def new_record(src: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The beginnings of `run.json`."""
    return {
        "unface_version": __version__,
        "status": "running",
        "command": ["unface", *sys.argv[1:]],
        "source": str(src),
        "config": dict(config),
        "started": now(),
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in _PACKAGES},
        },
        "machine": {"system": platform.platform(), "processor": platform.machine()},
    }


def read_record(dst: Path) -> dict[str, Any] | None:
    """`run.json` of an output folder; None where there is none that can be read."""
    try:
        record = json.loads((dst / "run.json").read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_record(dst: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json` whole."""
    part = dst / "run.json.part"
    part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    part.replace(dst / "run.json")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
