"""Run one stage: skip what is done, process the rest, join the tables."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from unface.engine.ledger import Done, Ledger
from unface.engine.local import ItemEvent, LocalExecutor, ShardEvent
from unface.engine.progress import Progress
from unface.engine.shards import Shard
from unface.engine.stage import Stage


@dataclass(frozen=True)
class StageReport:
    """What a stage did, over all shards; `resumed` images were done by an earlier run."""

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
    schema: pa.Schema,
    shards: Iterable[Shard],
    images: int,
    ledger: Ledger,
    to: Path,
    executor: LocalExecutor,
    progress: Progress,
) -> StageReport:
    """Run `stage` over `shards` and write its table to `to`.

    Args:
        stage: What to do with each image.
        schema: The stage's schema, with what metadata its table is to have.
        shards: The plan, in order; consumed lazily.
        images: How many images the plan holds, for the progress display.
        ledger: Where finished shards are recorded.
        to: The stage's joined table.
        executor: Who does the work.
        progress: Who tells the user.

    Raises:
        UnfaceError: The stage cannot be set up, or the machine refuses.
    """
    started = time.perf_counter()
    ledger.open()
    finished: list[Done] = []
    planned = resumed = 0

    def unfinished() -> Iterator[Shard]:
        nonlocal planned, resumed
        for shard in shards:
            planned += 1
            done = ledger.done(shard)
            if done is None:
                yield shard
                continue
            finished.append(done)
            resumed += done.images
            progress.advance(done.images, done.faces, sum(done.failures.values()), resumed=True)

    with progress.stage(stage.name, images):
        for event in executor.run(stage, ledger, unfinished()):
            if isinstance(event, ItemEvent):
                progress.advance(event.images, event.faces, event.failed)
            elif isinstance(event, ShardEvent):
                finished.append(event.done)
    ledger.prune(planned)
    ledger.merge(planned, schema, to)
    failures: Counter[str] = Counter()
    for done in finished:
        failures.update(done.failures)
    return StageReport(
        images=sum(done.images for done in finished),
        faces=sum(done.faces for done in finished),
        failures=dict(sorted(failures.items())),
        seconds=time.perf_counter() - started,
        resumed=resumed,
        bytes_in=sum(done.bytes_in for done in finished),
        bytes_out=sum(done.bytes_out for done in finished),
        peak_memory_bytes=max((done.peak_memory_bytes for done in finished), default=0),
        failure_rows=ledger.failures(planned),
    )
