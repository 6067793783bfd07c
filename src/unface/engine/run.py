"""Run one stage: skip what is done, process the rest."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa

from unface.engine.ledger import Ledger
from unface.engine.progress import Progress
from unface.engine.shards import Shard
from unface.engine.stage import Stage
from unface.engine.work import Advanced, Event, Task


class Executor(Protocol):
    """Who does the work: processes of this machine, or a Ray cluster."""

    def run(self, stage: Stage, ledger: Ledger, tasks: Iterable[Task]) -> Iterator[Event]:
        """Do tasks, in any order; yields events as they come.

        Raises:
            UnfaceError: The stage cannot be set up, or the machine refuses (disk full).
        """


@dataclass(frozen=True)
class StageReport:
    """What a stage did, over all shards of the plan; `resumed` images were done by an earlier run."""

    images: int
    faces: int
    failures: dict[str, int]
    seconds: float
    resumed: int
    bytes_in: int
    bytes_out: int
    peak_memory_bytes: int
    failure_rows: pa.Table

    def after(self, earlier: "StageReport | None") -> "StageReport":
        """The report of a stage that ran several times in one run: this one's results, the time of all."""
        if earlier is None:
            return self
        return replace(self, seconds=earlier.seconds + self.seconds, resumed=earlier.resumed)

    def record(self) -> dict[str, Any]:
        """The report as `run.json` holds it."""
        rate = (self.images - self.resumed) / self.seconds if self.seconds else 0.0
        return {
            "images": self.images,
            "resumed": self.resumed,
            "faces": self.faces,
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(rate, 2),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "peak_memory_bytes": self.peak_memory_bytes,
        }


def run_stage(
    stage: Stage,
    shards: Iterable[Shard],
    images: int | None,
    ledger: Ledger,
    executor: Executor,
    progress: Progress,
    retry_failed: bool = False,
) -> StageReport:
    """Run `stage` over `shards`; its rows are in the ledger then.

    Args:
        stage: What to do with each image.
        shards: The plan, in order; consumed lazily.
        images: How many images the plan holds, for the progress display; None if that is not known.
        ledger: Where finished shards are recorded.
        executor: Who does the work.
        progress: Who tells the user.
        retry_failed: Whether images that failed in finished shards are tried again.

    Raises:
        UnfaceError: The stage cannot be set up, or the machine refuses.
    """
    started = time.perf_counter()
    ledger.open()
    planned: list[int] = []
    resumed = 0

    def unfinished() -> Iterator[Task]:
        nonlocal resumed
        for shard in shards:
            planned.append(shard.index)
            done = ledger.done(shard)
            if done is None or (retry_failed and done.failures):
                yield Task(shard, retry=done is not None)
                continue
            resumed += done.images
            progress.advance(done.images, done.faces, sum(done.failures.values()), resumed=True)

    with progress.stage(stage.name, images):
        for event in executor.run(stage, ledger, unfinished()):
            if isinstance(event, Advanced):
                progress.advance(event.images, event.faces, event.failed)
    return summary(ledger, planned, time.perf_counter() - started, resumed)


def summary(ledger: Ledger, indices: Iterable[int], seconds: float, resumed: int) -> StageReport:
    """What the ledger says of some shards.

    Args:
        ledger: Where they are recorded.
        indices: Their places in the plan.
        seconds: How long the stage took here.
        resumed: Images of these shards that were done before, or elsewhere.
    """
    places = sorted(indices)
    finished = [done for index in places if (done := ledger.statistics(index)) is not None]
    failures: Counter[str] = Counter()
    for done in finished:
        failures.update(done.failures)
    return StageReport(
        images=sum(done.images for done in finished),
        faces=sum(done.faces for done in finished),
        failures=dict(sorted(failures.items())),
        seconds=seconds,
        resumed=resumed,
        bytes_in=sum(done.bytes_in for done in finished),
        bytes_out=sum(done.bytes_out for done in finished),
        peak_memory_bytes=max((done.peak_memory_bytes for done in finished), default=0),
        failure_rows=ledger.failures(places),
    )
