"""The command, run and killed."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def unface(*words: object) -> Done:
    """The command, run in this process: it imports torch only once."""
    from unface.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.object(sys, "argv", ["unface", *map(str, words)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Done(code, out.getvalue(), err.getvalue())


def kill_when(condition: Callable[[], bool], *words: object) -> bool:
    """Start the command and kill -9 it as soon as the condition holds; whether it was still at work then."""
    process = _started(words, subprocess.DEVNULL)
    was_at_work = _wait_for(process, condition)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return was_at_work


def kill_process_when(find: Callable[[int], int | None], *words: object) -> Done:
    """Start the command, kill -9 one of its processes as soon as it is found, and wait for the command's own end.

    Args:
        find: Tells which process, given that of the command; None while there is none yet.
        words: The command.
    """
    process = _started(words, subprocess.PIPE)
    found: list[int] = []

    def kill() -> bool:
        found.extend(pid for pid in [find(process.pid)] if pid is not None)
        return bool(found)

    assert _wait_for(process, kill), process.stderr.read()
    os.kill(found[0], signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    return Done(process.returncode, out, err)


def processes_below(pid: int) -> list[int]:
    """A process's children, theirs, and so on (Linux)."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it may have ended just now
            children += [int(word) for word in path.read_text().split()]
    return children + [below for child in children for below in processes_below(child)]


def _started(words: tuple[object, ...], pipe: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "unface", *map(str, words)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, env=ENVIRONMENT, text=True)


def _wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> bool:
    """Wait until the condition holds; False if the process ended before."""
    deadline = time.monotonic() + 600
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline, "the command did not get there"
        time.sleep(0.01)
    return process.poll() is None


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.rglob(pattern)) if folder.exists() else []
