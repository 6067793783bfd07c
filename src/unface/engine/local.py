"""Run shards on this machine: one process per core, each replaced if it dies."""

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from unface import processes
from unface.engine.ledger import Ledger
from unface.engine.stage import Stage
from unface.engine.work import Blame, Event, Finished, Task, Worker, do_task, set_up, told
from unface.errors import UnfaceError


@dataclass(frozen=True, slots=True)
class _Ready:
    """A worker has set up its stage."""


@dataclass(eq=False)
class _Process(Worker):
    """A worker process; `ready` when it has set up its stage."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"
    ready: bool = False

    def give(self, task: Task, stage: Stage, ledger: Ledger) -> None:
        if self.stage is not stage:
            self.stage, self.ready = stage, False
            self.pipe.send((stage, ledger))
        self.take(task)
        self.pipe.send(task)


class LocalExecutor:
    """A pool of worker processes that outlives the stages run on it.

    Args:
        workers: Number of processes.
        preload: Modules that the workers will need, imported once for all of them where the system can.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self._context = processes.context((__name__, *preload))
        self._pool: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._pool:
            if error is not None:
                worker.process.terminate()
            worker.pipe.close()
        for worker in self._pool:
            worker.process.join()
        self._pool.clear()

    def run(self, stage: Stage, ledger: Ledger, tasks: Iterable[Task]) -> Iterator[Event]:
        """Do tasks, in any order; yields events as they come.

        Raises:
            UnfaceError: The stage cannot be set up, or the machine refuses (disk full).
        """
        waiting = iter(tasks)
        again: list[Task] = []
        blame = Blame()
        busy: list[_Process] = []
        idle = list(self._pool)
        while True:
            while len(busy) < self.workers and (task := again.pop() if again else next(waiting, None)):
                worker = idle.pop() if idle else self._start()
                worker.give(task, stage, ledger)
                busy.append(worker)
            if not busy:
                return
            ready = set(wait([worker.pipe for worker in busy]))
            for worker in [worker for worker in busy if worker.pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    busy.remove(worker)
                    again.append(self._bury(worker, blame))
                    yield worker.undone()
                    continue
                if isinstance(message, UnfaceError):
                    raise message
                if isinstance(message, _Ready):
                    worker.ready = True
                    continue
                worker.note(message)
                if isinstance(message, Finished):
                    busy.remove(worker)
                    idle.append(worker)
                yield message

    def _start(self) -> _Process:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        with processes.interrupt_held_back():
            process.start()
        theirs.close()
        worker = _Process(process, ours)
        self._pool.append(worker)
        return worker

    def _bury(self, worker: _Process, blame: Blame) -> Task:
        """Remove a dead worker; returns the task to do in place of its own."""
        worker.process.join()
        worker.pipe.close()
        self._pool.remove(worker)
        cause = _cause(worker.process.exitcode)
        if worker.task is None or not worker.ready:
            raise UnfaceError(f"a worker process ended outside any image ({cause})")
        return blame.again(worker.task, worker.begun, cause)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit code {exitcode}"


def _work(pipe: "Connection[Any, Any]") -> None:
    """A worker's life: receive a stage, then its shards, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stage: Stage | None = None
    ledger: Ledger | None = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            message = pipe.recv()
            try:
                if isinstance(message, Task):
                    assert stage is not None
                    assert ledger is not None
                    pipe.send(Finished(do_task(stage, ledger, message, pipe.send)))
                else:
                    stage, ledger = message
                    set_up(stage)
                    pipe.send(_Ready())
            except BrokenPipeError:
                raise
            except Exception as error:
                pipe.send(told(error))
