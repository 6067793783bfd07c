"""The stages wired to the engine and to files; commands call these in turn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unface import __version__
from unface.cli.rows import FileRows, Rows, files_of, part_names
from unface.datasets import Dataset, Part, Survey
from unface.detect.stage import DetectStage
from unface.engine import (
    FAILURES_SCHEMA,
    Executor,
    Ledger,
    Progress,
    Stage,
    StageReport,
    join,
    plan,
    run_stage,
    summary,
)
from unface.faces.table import with_metadata
from unface.obfuscate.methods import Obfuscation
from unface.obfuscate.stage import ABSENT, MANIFEST_SCHEMA, ObfuscateStage, Writing
from unface.verify.chain import seal_manifest
from unface.verify.stage import Checking, VerifyStage


@dataclass(frozen=True)
class Session:
    """Who works, on what share of the parts, and who tells.

    Attributes:
        executor: Who works.
        progress: Who tells.
        rank: Which of `world_size` machines this is.
        world_size: How many machines share the work.
        retry_failed: Whether what failed in an earlier run is tried again.
        device: What networks run on; see `unface.detect.network.providers`.
    """

    executor: Executor
    progress: Progress
    rank: int = 0
    world_size: int = 1
    retry_failed: bool = False
    device: str = "auto"

    def share(self, parts: Sequence[Part]) -> list[tuple[int, Part]]:
        """The parts that this machine does, with their places in the plan."""
        return list(enumerate(parts))[self.rank :: self.world_size]


def find_faces(
    session: Session, dataset: Dataset, survey: Survey, detector_name: str, threshold: float, ledger: Ledger
) -> StageReport:
    """Detect: the rows of `faces.parquet` are in the ledger then."""
    stage = DetectStage(dataset, detector_name, threshold, session.device)
    return _run(session, stage, survey.parts, survey.images, ledger, {})


def hide_faces(
    session: Session,
    dataset: Dataset,
    survey: Survey,
    faces: Rows,
    obfuscation: Obfuscation,
    writing: Writing,
    dst: Path,
) -> StageReport:
    """Obfuscate: write `images/`; the rows of `manifest.parquet` are in the ledger `.unface/obfuscate` then.

    Args:
        session: Who works and who tells.
        dataset: The originals.
        survey: What it holds.
        faces: Rows of `faces.parquet`.
        obfuscation: How faces are hidden.
        writing: How files are written.
        dst: The output folder.
    """
    sink = dataset.sink(dst / "images", dst / ".unface" / f"parts{session.rank}")
    sink.open()
    earlier = published_ids(dst)
    message = "expected names that differ in more than case on this file system, got two that do not"
    clashing = dict.fromkeys(sink.clashes(survey.parts), message)
    stage = ObfuscateStage(dataset, sink, obfuscation, writing, clashing)
    ledger = ledger_of(dst, stage.name)
    report = _run(session, stage, survey.parts, survey.images, ledger, {"faces": faces})
    for name in part_names(earlier) - {part.name for part in survey.parts}:
        sink.remove_part(name)
    planned = {image_id for part in survey.parts for image_id in part.images or ()}
    for image_id in set(earlier.to_pylist()) - planned:
        sink.remove(image_id)
    sink.close()
    return report


def check_faces(
    session: Session,
    dataset: Dataset,
    survey: Survey,
    inputs: Mapping[str, Rows],
    dst: Path,
    checking: Checking,
) -> StageReport:
    """Verify: the rows of `verify.parquet` are in the ledger `.unface/verify` then.

    Args:
        session: Who works and who tells.
        dataset: The originals.
        survey: What it holds.
        inputs: Rows of `faces` and `manifest`, and `failures` with the ids of images that are known to have failed.
        dst: The output folder.
        checking: How.
    """
    published = dataset.published(dst / "images")
    stage = VerifyStage(dataset, published, checking, session.device)
    files = published.files()
    parts = [*survey.parts, *_rest(survey.parts, files)]
    inputs = {**inputs, "published": FileRows(files)}
    ledger = ledger_of(dst, stage.name)
    if len(parts) == len(survey.parts):
        ledger.forget(len(parts))
    return _run(session, stage, parts, survey.images, ledger, inputs)


def ledger_of(dst: Path, stage_name: str) -> Ledger:
    """Where a stage of an output folder records what it did."""
    return Ledger(dst / ".unface" / stage_name)


def whole(report: StageReport, ledger: Ledger, parts: Sequence[Part]) -> StageReport:
    """A stage's report over all parts, also those that other machines did."""
    images = summary(ledger, _places(parts), 0, 0).images
    return summary(ledger, _places(parts), report.seconds, report.resumed + images - report.images)


def write_table(rows: Rows, parts: Sequence[Part], schema: pa.Schema, metadata: Mapping[str, str], to: Path) -> int:
    """Write the rows of all parts into one file; returns how many there are."""
    noted = with_metadata(schema.empty_table(), metadata).schema
    return join((rows.of(index, part) for index, part in enumerate(parts)), noted, to)


def write_ledger(ledger: Ledger, parts: Sequence[Part], schema: pa.Schema, to: Path) -> int:
    """Write what a stage has recorded into one file; returns how many rows there are."""
    noted = with_metadata(schema.empty_table(), {}).schema
    return join((ledger.rows(index, schema) for index in _places(parts)), noted, to)


def write_manifest(dst: Path, parts: Sequence[Part], record: Mapping[str, Any]) -> dict[str, Any]:
    """Write `manifest.parquet` and seal it; returns the seal. `record` is the run's, so far."""
    path = dst / "manifest.parquet"
    write_ledger(ledger_of(dst, "obfuscate"), parts, MANIFEST_SCHEMA, path)
    how = {name: record["config"][name] for name in ("method", "preset", "color", "cells", "jpeg", "quality")}
    return seal_manifest(path, {"unface_version": record["unface_version"], **how})


def absent_failures(image_ids: Iterable[str]) -> pa.Table:
    """Failures of images that are in `faces.parquet` and in no part of the dataset."""
    return _failures({"image_id": i, "stage": "obfuscate", "message": ABSENT} for i in sorted(image_ids))


def failure_rows(survey: Survey, *tables: pa.Table) -> pa.Table:
    """The rows of `failures.parquet`: refused entries of the dataset, then each stage's failures; an image once."""
    refused = _failures({"image_id": e.image_id, "stage": "open", "message": e.refused} for e in survey.refused)
    rows = pa.concat_tables([refused, *tables]).combine_chunks()
    ids = rows["image_id"].to_pylist()
    first = {ids[place]: place for place in reversed(range(len(ids)))}
    return rows.take(pa.array(sorted(first.values()), pa.int64()))


def write_failures(path: Path, rows: pa.Table) -> None:
    """Write `failures.parquet`; no file at all where nothing failed."""
    if not len(rows):
        path.unlink(missing_ok=True)
        return
    part = path.with_name(path.name + ".part")
    pq.write_table(rows, part, compression="zstd")
    part.replace(path)


def read_failures(dst: Path) -> pa.Table:
    """The rows of `DST/failures.parquet`, none where there is no file."""
    path = dst / "failures.parquet"
    return pq.read_table(path) if path.exists() else FAILURES_SCHEMA.empty_table()


def detection_provenance(faces_path: Path) -> dict[str, str]:
    """Who found the faces of a table: detector, threshold, …; empty where unface did not, or people have edited it."""
    metadata = pq.read_schema(faces_path).metadata or {}
    entries = {key.decode(): value.decode() for key, value in metadata.items()}
    found_by = {key.removeprefix("unface."): entries[key] for key in entries if key.startswith("unface.")}
    return found_by if {"detector", "threshold"} <= found_by.keys() else {}


def published_ids(dst: Path) -> pa.ChunkedArray:
    """The images in `DST/manifest.parquet`, none where there is no file."""
    path = dst / "manifest.parquet"
    if not path.exists():
        return pa.chunked_array([], pa.string())
    return pq.read_table(path, columns=["image_id"])["image_id"]


def _run(
    session: Session,
    stage: Stage,
    parts: Sequence[Part],
    images: int | None,
    ledger: Ledger,
    inputs: Mapping[str, Rows],
) -> StageReport:
    def rows_of(index: int, part: Any) -> dict[str, pa.Table]:
        return {name: rows.of(index, part) for name, rows in inputs.items()}

    parameters = {"version": __version__, **stage.parameters}
    shards = plan(parts, parameters, rows_of, session.rank, session.world_size)
    share = images if session.world_size == 1 else None
    report = run_stage(stage, shards, share, ledger, session.executor, session.progress, session.retry_failed)
    if session.world_size == 1:
        ledger.prune(len(parts))
    return report


def _rest(parts: Sequence[Part], files: Mapping[str, str]) -> list[Part]:
    """One more part if there are files that no part should have made."""
    rest = files.keys() - {name for part in parts for name in files_of(part)}
    return [Part("", "", tuple(sorted(rest)))] if rest else []


def _places(parts: Sequence[Part]) -> range:
    """The places of the parts in a plan, and of what verify finds beside them."""
    return range(len(parts) + 1)


def _failures(rows: Iterable[dict[str, str]]) -> pa.Table:
    return pa.Table.from_pylist([{"error_class": "ImageError", **row} for row in rows], schema=FAILURES_SCHEMA)
