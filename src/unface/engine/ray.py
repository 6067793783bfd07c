"""Run shards on a Ray cluster: one actor per CPU, each replaced if it dies. Needs the extra `ray`.

Only names, rows and counts travel through Ray. Images are read and written by the actors, so the dataset and the
output folder must lie where every node sees them.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from unface.engine.ledger import Ledger
from unface.engine.stage import Stage
from unface.engine.work import Blame, Event, Finished, Task, Worker, do_task, set_up, told
from unface.errors import InputError, UnfaceError, one_line

_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_START = 120.0
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # reports nothing to anybody
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would send the working folder to every node
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(eq=False)
class _OnCluster(Worker):
    """An actor; `answer` tells of what it is doing, event by event."""

    actor: Any
    answer: Any = None


class RayExecutor:
    """Actors on a cluster, which outlive the stages run on them.

    Args:
        workers: Number of actors; None for one per CPU of the cluster.
        address: The cluster's address; None for the cluster of this machine, which is started if there is none.
        gpus_per_worker: Share of a GPU that each actor gets.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, workers: int | None, address: str | None, gpus_per_worker: float) -> None:
        os.environ.update(_SETTINGS)
        try:
            import ray
        except ImportError:
            raise InputError("executor: expected Ray to be installed for it: install unface[ray]") from None
        if address is not None:
            _require_listener(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"ray-address: expected a Ray cluster, got none there: {one_line(error)}") from None
        self._ray: Any = ray
        self._pool: list[_OnCluster] = []
        options = {"num_cpus": 1, "num_gpus": gpus_per_worker, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        self._actor = self._ray.remote(**options)(_Actor)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._pool:
            self._ray.kill(worker.actor)
        self._pool.clear()
        self._ray.shutdown()

    def run(self, stage: Stage, ledger: Ledger, tasks: Iterable[Task]) -> Iterator[Event]:
        """Do tasks, in any order; yields events as they come.

        An actor gets a task only once it has set up the stage, so one that finds no place on the cluster holds none.

        Raises:
            UnfaceError: The stage cannot be set up, or a machine refuses (disk full).
        """
        waiting = iter(tasks)
        again: list[Task] = []
        blame = Blame()
        task = next(waiting, None)
        while task is not None or any(worker.task is not None for worker in self._pool):
            while len(self._pool) < self.workers and task is not None:
                self._pool.append(_OnCluster(self._actor.remote()))
            for worker in self._pool:
                if worker.answer is None and worker.stage is not stage:
                    worker.answer = worker.actor.begin.remote(stage, ledger)
                elif worker.answer is None and task is not None:
                    worker.take(task)
                    worker.answer = worker.actor.do.options(num_returns="streaming").remote(task)
                    task = again.pop() if again else next(waiting, None)
            for worker in self._answered():
                try:
                    event = self._event_of(worker, stage)
                except self._ray.exceptions.RayError as error:
                    self._pool.remove(worker)
                    if worker.task is None:
                        raise UnfaceError(f"a worker ended outside any image ({one_line(error)})") from None
                    lost = worker.task if _is_of_node(error) else blame.again(worker.task, worker.begun, _cause(error))
                    if task is None:
                        task = lost
                    else:
                        again.append(lost)
                    yield worker.undone()
                    continue
                if event is not None:
                    yield event

    def _answered(self) -> list[_OnCluster]:
        """The workers of which there is something to tell; waits for one."""
        answers = {worker.answer: worker for worker in self._pool if worker.answer is not None}
        ready, _ = self._ray.wait(list(answers), num_returns=1, timeout=_SECONDS_TO_START, fetch_local=False)
        if not ready and not any(worker.task is not None for worker in self._pool):
            raise UnfaceError(f"no worker could start on the Ray cluster within {_SECONDS_TO_START:.0f} s")
        return [answers[answer] for answer in ready]

    def _event_of(self, worker: _OnCluster, stage: Stage) -> Event | None:
        """What a worker tells; None when it has set up the stage."""
        if worker.task is None:
            message = self._ray.get(worker.answer)
            worker.answer, worker.stage = None, stage
        else:
            message = self._ray.get(next(worker.answer))
        if isinstance(message, UnfaceError):
            raise message
        if message is None:
            return None
        worker.note(message)
        if isinstance(message, Finished):
            worker.answer = None
        event: Event = message
        return event


def _require_listener(address: str) -> None:
    """Refuse an address at which nothing answers: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"ray-address: expected HOST:PORT, got {one_line(address)}")
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"ray-address: expected a Ray cluster at {one_line(address)}: {one_line(error)}") from None


class _Actor:
    """A worker on the cluster."""

    def begin(self, stage: Stage, ledger: Ledger) -> UnfaceError | None:
        """Set up a stage; returns what is wrong."""
        self._stage, self._ledger = stage, ledger
        try:
            set_up(stage)
        except Exception as error:
            return told(error)
        return None

    def do(self, task: Task) -> Iterator[Event | UnfaceError]:
        """Do a task in a thread, and pass on what it tells."""
        events: SimpleQueue[Event | UnfaceError] = SimpleQueue()

        def work() -> None:
            try:
                events.put(Finished(do_task(self._stage, self._ledger, task, events.put)))
            except Exception as error:
                events.put(told(error))

        threading.Thread(target=work, daemon=True).start()
        while True:
            event = events.get()
            yield event
            if isinstance(event, Finished | UnfaceError):
                return


def _is_of_node(error: Exception) -> bool:
    """Whether a whole node was lost, which is no image's fault."""
    said = str(error).lower()
    return "node" in said and ("died" in said or "dead" in said or "terminated" in said) and "unexpected" in said


def _cause(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else type(error).__name__)[:200]
