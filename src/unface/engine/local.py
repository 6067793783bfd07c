"""Run shards on this machine: one process per core, each replaced if it dies."""

import errno
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from unface.engine.ledger import Done, Ledger
from unface.engine.shards import Item, Shard
from unface.engine.stage import Stage
from unface.errors import InputError, UnfaceError, one_line

FATAL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""System errors that are no image's fault: they end the run, which can be resumed."""

CRASHES_ALLOWED = 2
"""An image during which a worker died is tried once more, then it is a failure."""


@dataclass(frozen=True, slots=True)
class ItemEvent:
    """Images were processed; counts are negative where a dead worker's shard starts again."""

    images: int
    faces: int
    failed: int


@dataclass(frozen=True, slots=True)
class ShardEvent:
    """One shard was finished."""

    done: Done


Event = ItemEvent | ShardEvent


@dataclass(frozen=True, slots=True)
class _Ready:
    """A worker has set up its stage."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A shard to do; `crashed` names images that killed their workers, with what is known of it."""

    shard: Shard
    crashed: dict[str, str]


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    stage: Stage | None = None
    ready: bool = False
    task: _Task | None = None
    images: int = 0
    faces: int = 0
    failed: int = 0

    def take(self, task: _Task, stage: Stage, ledger: Ledger) -> None:
        if self.stage is not stage:
            self.stage, self.ready = stage, False
            self.pipe.send((stage, ledger))
        self.task = task
        self.images = self.faces = self.failed = 0
        self.pipe.send(task)

    def count(self, event: ItemEvent) -> None:
        self.images += event.images
        self.faces += event.faces
        self.failed += event.failed


class LocalExecutor:
    """A pool of worker processes that outlives the stages run on it.

    Args:
        workers: Number of processes.
        preload: Modules that the workers will need, imported once for all of them where the system can.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        self.workers = workers
        self._context = _context(preload)
        self._pool: list[_Worker] = []

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

    def run(self, stage: Stage, ledger: Ledger, shards: Iterable[Shard]) -> Iterator[Event]:
        """Process shards, in any order; yields events as they come.

        Raises:
            UnfaceError: The stage cannot be set up, or the machine refuses (disk full).
        """
        waiting = (_Task(shard, {}) for shard in shards)
        again: list[_Task] = []
        crashes: dict[str, int] = {}
        busy: list[_Worker] = []
        idle = list(self._pool)
        while True:
            while len(busy) < self.workers and (task := again.pop() if again else next(waiting, None)):
                worker = idle.pop() if idle else self._start()
                worker.take(task, stage, ledger)
                busy.append(worker)
            if not busy:
                return
            ready = set(wait([worker.pipe for worker in busy]))
            for worker in [worker for worker in busy if worker.pipe in ready]:
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    busy.remove(worker)
                    again.append(self._bury(worker, crashes))
                    yield ItemEvent(-worker.images, -worker.faces, -worker.failed)
                    continue
                if isinstance(message, UnfaceError):
                    raise message
                if isinstance(message, _Ready):
                    worker.ready = True
                    continue
                if isinstance(message, ItemEvent):
                    worker.count(message)
                if isinstance(message, ShardEvent):
                    busy.remove(worker)
                    idle.append(worker)
                yield message

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        with _interrupt_held_back():
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._pool.append(worker)
        return worker

    def _bury(self, worker: _Worker, crashes: dict[str, int]) -> _Task:
        """Remove a dead worker; returns its task, marked with the image it died of if that is certain."""
        worker.process.join()
        worker.pipe.close()
        self._pool.remove(worker)
        task = worker.task
        if task is None or not worker.ready or worker.images >= len(task.shard.items):
            raise UnfaceError(f"a worker process ended outside any image ({_cause(worker.process.exitcode)})")
        image_id = task.shard.items[worker.images].image_id
        crashes[image_id] = crashes.get(image_id, 0) + 1
        if crashes[image_id] < CRASHES_ALLOWED:
            return task
        message = f"the worker process died twice on this image ({_cause(worker.process.exitcode)})"
        return replace(task, crashed={**task.crashed, image_id: message})


def _context(preload: Sequence[str]) -> Any:
    """How processes start: never by forking this one, which may hold threads and locks.

    The fork server starts at once, and imports while this process gets ready.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["unface.engine.local", *preload])
    resource_tracker.ensure_running()  # by itself: it lets Ctrl-C through once it has started
    with _interrupt_held_back():
        forkserver.ensure_running()
    return context


@contextmanager
def _interrupt_held_back() -> Iterator[None]:
    """Ctrl-C is this process's to handle: workers are born deaf to it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
                if isinstance(message, _Task):
                    assert stage is not None
                    assert ledger is not None
                    pipe.send(ShardEvent(_process(stage, ledger, message, pipe)))
                else:
                    stage, ledger = message
                    stage.setup()
                    pipe.send(_Ready())
            except BrokenPipeError:
                raise
            except UnfaceError as error:
                pipe.send(error)
            except OSError as error:
                pipe.send(InputError(f"{one_line(error.filename or 'the system')}: {error.strerror or error}"))
            except Exception as error:
                pipe.send(UnfaceError(f"{type(error).__name__}: {one_line(error)}"))


def _process(stage: Stage, ledger: Ledger, task: _Task, pipe: "Connection[Any, Any]") -> Done:
    started = time.perf_counter()
    rows, failures = [], []
    counts = {"images": len(task.shard.items), "faces": 0, "bytes_in": 0, "bytes_out": 0}
    for item in task.shard.items:
        try:
            if item.image_id in task.crashed:
                raise WorkerDied(task.crashed[item.image_id])
            outcome = stage.process(item)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FATAL_ERRNOS:
                raise
            failures.append(failure(item, stage.name, error))
            row = stage.failed(item)
            if row is not None:
                rows.append(row)
            pipe.send(ItemEvent(1, 0, 1))
            continue
        rows.append(outcome.row)
        for name in ("faces", "bytes_in", "bytes_out"):
            counts[name] += getattr(outcome, name)
        pipe.send(ItemEvent(1, outcome.faces, 0))
    seconds = time.perf_counter() - started
    facts = {**counts, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes()}
    return ledger.record(task.shard, stage.schema, rows, failures, facts)


class WorkerDied(UnfaceError):
    """A worker process ended while it processed an image."""


def failure(item: Item, stage_name: str, error: Exception) -> dict[str, str]:
    """A row of `failures.parquet`."""
    return {
        "image_id": item.image_id,
        "stage": stage_name,
        "error_class": type(error).__name__,
        "message": one_line(error),
    }


def peak_memory_bytes() -> int:
    """The largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
