"""A worker's work: one shard, image by image or in groups. The same for every executor."""

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from unface.engine.ledger import Done, Ledger
from unface.engine.shards import Item, Shard
from unface.engine.stage import Grouping, Outcome, Stage
from unface.errors import ImageError, InputError, UnfaceError, one_line

FATAL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""System errors that are no image's fault: they end the run, which can be resumed."""

_SECONDS_BETWEEN_EVENTS = 0.1
_DEATHS_OF_ONE_IMAGE = 2
_MOST_NAMELESS_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Task:
    """A shard to do.

    Attributes:
        shard: The shard.
        careful: Whether each image is told of before it is begun: after a crash, so that the next one can be blamed.
        retry: Whether the shard is done but for its failures, and only these are to be done again. An archive, which is
            written as a whole, is done again as a whole.
        crashed: Images that killed their workers, with what is known of it.
    """

    shard: Shard
    careful: bool = False
    retry: bool = False
    crashed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Begun:
    """An image was begun."""

    image_id: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """Images were processed; counts are negative where a dead worker's shard starts again."""

    images: int
    faces: int
    failed: int


@dataclass(frozen=True, slots=True)
class Finished:
    """One shard was finished."""

    done: Done


Event = Begun | Advanced | Finished


class WorkerDied(UnfaceError):
    """A worker process ended while it processed an image."""


def set_up(stage: Stage) -> None:
    """Make a stage ready in a worker, of which there is one per core: OpenCV would start a thread for each in each."""
    import cv2

    cv2.setNumThreads(1)
    stage.setup()


def do_task(stage: Stage, ledger: Ledger, task: Task, tell: Callable[[Event], None]) -> Done:
    """Process a shard and record it.

    Args:
        stage: The stage, set up.
        ledger: Where to record.
        task: The shard.
        tell: Told how it goes on.

    Raises:
        OSError: One of `FATAL_ERRNOS`.
    """
    started = time.perf_counter()
    tally = _Tally(tell, 0.0 if task.careful else _SECONDS_BETWEEN_EVENTS)
    rows: list[Mapping[str, Any]] = []
    failures: list[dict[str, str]] = []
    try:
        good = ledger.good_rows(task.shard) if task.retry and task.shard.part.images is not None else {}
        for item, made in _made(stage, task, good, tell):
            if isinstance(made, Outcome):
                rows.append(made.row)
                tally.count(made.faces, made.bytes_in, made.bytes_out)
                continue
            _raise_if_fatal(made)
            failures.append(failure(item.image_id, stage.name, made))
            if (row := stage.failed(item)) is not None:
                rows.append(row)
            tally.count(failed=1)
    except Exception as error:
        _raise_if_fatal(error)
        name = task.shard.part.name or f"part {task.shard.index}"
        rows, failures = [], [failure(name, stage.name, error)]
    tally.flush()
    seconds = time.perf_counter() - started
    facts = {**tally.totals, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes()}
    return ledger.record(task.shard, stage.schema, rows, failures, facts)


def _made(
    stage: Stage, task: Task, good: Mapping[str, Mapping[str, Any]], tell: Callable[[Event], None]
) -> Iterator[tuple[Item, Outcome | Exception]]:
    """Each image of a shard, in order, with what the stage made of it, or why it failed."""
    grouping = stage if isinstance(stage, Grouping) and stage.at_once > 1 and not task.careful else None
    items = stage.items(task.shard)
    while group := list(islice(items, grouping.at_once if grouping else 1)):
        known = [_known(item, task, good) for item in group]
        unknown = [item for item, answer in zip(group, known, strict=True) if answer is None]
        if task.careful:
            for item in unknown:
                tell(Begun(item.image_id))
        made = iter(grouping.process_group(unknown) if grouping else [_processed(stage, item) for item in unknown])
        yield from ((item, answer or next(made)) for item, answer in zip(group, known, strict=True))


def _known(item: Item, task: Task, good: Mapping[str, Mapping[str, Any]]) -> Outcome | Exception | None:
    """What is known of an image before it is processed: its row of an earlier run, or why it fails."""
    if item.image_id in good:
        return Outcome(good[item.image_id])
    if item.image_id in task.crashed:
        return WorkerDied(task.crashed[item.image_id])
    return ImageError(item.refused) if item.refused else None


def _processed(stage: Stage, item: Item) -> Outcome | Exception:
    try:
        return stage.process(item)
    except Exception as error:
        return error


class _Tally:
    """Counts images, and tells of them now and then."""

    def __init__(self, tell: Callable[[Event], None], seconds: float) -> None:
        self.totals = {"images": 0, "faces": 0, "bytes_in": 0, "bytes_out": 0}
        self._tell, self._seconds = tell, seconds
        self._images = self._faces = self._failed = 0
        self._told = time.perf_counter()

    def count(self, faces: int = 0, bytes_in: int = 0, bytes_out: int = 0, failed: int = 0) -> None:
        for name, more in (("images", 1), ("faces", faces), ("bytes_in", bytes_in), ("bytes_out", bytes_out)):
            self.totals[name] += more
        self._images, self._faces, self._failed = self._images + 1, self._faces + faces, self._failed + failed
        if time.perf_counter() - self._told >= self._seconds:
            self.flush()

    def flush(self) -> None:
        if self._images:
            self._tell(Advanced(self._images, self._faces, self._failed))
        self._images = self._faces = self._failed = 0
        self._told = time.perf_counter()


def _raise_if_fatal(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in FATAL_ERRNOS:
        raise error


def failure(image_id: str, stage_name: str, error: Exception) -> dict[str, str]:
    """A row of `failures.parquet`."""
    return {
        "image_id": image_id,
        "stage": stage_name,
        "error_class": type(error).__name__,
        "message": one_line(error),
    }


def peak_memory_bytes() -> int:
    """The largest resident size this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def told(error: Exception) -> UnfaceError:
    """What went wrong outside any image, as an error of one line."""
    if isinstance(error, UnfaceError):
        return error
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno else error
        return InputError(f"{one_line(error.filename or 'the system')}: {one_line(reason)}")
    return UnfaceError(f"{type(error).__name__}: {one_line(error)}")


@dataclass(eq=False)
class Worker:
    """What an executor knows of one of its workers.

    Attributes:
        stage: The stage that it was told to set up.
        task: What it is doing.
        begun: The image that it has begun, where it tells.
        done: What it has done of the task.
    """

    stage: Stage | None = field(default=None, kw_only=True)
    task: Task | None = field(default=None, kw_only=True)
    begun: str | None = field(default=None, kw_only=True)
    done: Advanced = field(default=Advanced(0, 0, 0), kw_only=True)

    def take(self, task: Task) -> None:
        """Note that it begins a task."""
        self.task, self.begun, self.done = task, None, Advanced(0, 0, 0)

    def note(self, event: Event) -> None:
        """Note what it tells."""
        done = self.done
        if isinstance(event, Begun):
            self.begun = event.image_id
        elif isinstance(event, Advanced):
            self.done = Advanced(done.images + event.images, done.faces + event.faces, done.failed + event.failed)
        else:
            self.task = None

    def undone(self) -> Advanced:
        """What to take back if it died."""
        return Advanced(-self.done.images, -self.done.faces, -self.done.failed)


class Blame:
    """Which images killed their workers: one that did so twice is a failure.

    A worker that dies in a shard's first run leaves no name; then the shard is done again carefully, and the first
    death is blamed on the image of the second.
    """

    def __init__(self) -> None:
        self._deaths: dict[str, int] = {}
        self._nameless: dict[int, int] = {}

    def again(self, task: Task, image_id: str | None, cause: str) -> Task:
        """The task to do after a worker died of this one.

        Args:
            task: What it was doing.
            image_id: The image that it had begun, if that is known.
            cause: What is known of its death.
        """
        index = task.shard.index
        if image_id is None:
            self._nameless[index] = self._nameless.get(index, 0) + 1
            if self._nameless[index] > _MOST_NAMELESS_DEATHS:
                raise UnfaceError(f"a worker process ended outside any image, again and again ({cause})")
            return replace(task, careful=True)
        deaths = self._deaths.get(image_id, 0) + 1 + min(self._nameless.pop(index, 0), 1)
        self._deaths[image_id] = deaths
        if deaths < _DEATHS_OF_ONE_IMAGE:
            return replace(task, careful=True)
        message = f"the worker process died twice on this image ({cause})"
        return replace(task, careful=True, crashed={**task.crashed, image_id: message})
