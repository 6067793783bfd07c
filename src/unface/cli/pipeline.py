"""The stages wired to the engine and to files; commands call these in turn."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unface import __version__
from unface.datasets import Folder, FolderSink, Listing
from unface.detect import Detector
from unface.detect.stage import DetectStage, provenance
from unface.engine import (
    FAILURES_SCHEMA,
    Item,
    Ledger,
    LocalExecutor,
    Progress,
    Shard,
    Stage,
    StageReport,
    cut,
    run_stage,
    shard_size,
)
from unface.faces.table import with_metadata
from unface.obfuscate.methods import Obfuscation
from unface.obfuscate.stage import ObfuscateStage, Writing
from unface.verify.stage import VerifyStage


@dataclass(frozen=True)
class Session:
    """Who works and who tells."""

    executor: LocalExecutor
    progress: Progress


def find_faces(
    session: Session, dataset: Folder, listing: Listing, detector: Detector, threshold: float, work: Path, to: Path
) -> StageReport:
    """Detect: write `faces.parquet` to `to`, one row per image, refused entries included."""
    stage = DetectStage(dataset, detector.name, threshold)
    items = [Item(image.image_id, image.stamp) for image in listing.images]
    metadata = provenance(detector, threshold, __version__)
    return _run(session, stage, items, len(items), work, to, metadata)


def hide_faces(
    session: Session,
    dataset: Folder,
    listing: Listing,
    faces: pa.Table,
    obfuscation: Obfuscation,
    writing: Writing,
    dst: Path,
    failed: frozenset[str] = frozenset(),
) -> StageReport:
    """Obfuscate: write `images/` and `manifest.parquet`; what is not in the manifest is not in `images/`.

    Args:
        session: Who works and who tells.
        dataset: The originals.
        listing: Its images.
        faces: A table of `FACES_SCHEMA`.
        obfuscation: How faces are hidden.
        writing: How files are written.
        dst: The output folder.
        failed: Images that an earlier stage of this run has recorded as failures.
    """
    sink = FolderSink(dst / "images", dst / ".unface" / "parts")
    sink.open()
    earlier = published_ids(dst)
    stamps = {image.image_id: image.stamp for image in listing.images}
    twins = _case_twins(stamps) if sink.folds_case() else set()
    left_out = failed | twins
    absent = sorted(set(faces["image_id"].to_pylist()) - stamps.keys() - failed)
    plan = [(i, stamp) for i, stamp in stamps.items() if i not in left_out]
    plan += [(image_id, "") for image_id in absent]
    records = _records(faces, [image_id for image_id, _ in plan])
    items = (Item(i, stamp, record) for (i, stamp), record in zip(plan, records, strict=True))
    stage = ObfuscateStage(dataset, sink, obfuscation, writing)
    report = _run(session, stage, items, len(plan), dst / ".unface", dst / "manifest.parquet", {})
    for image_id in left_out | (earlier - published_ids(dst)):
        sink.remove(image_id)
    sink.close()
    message = "expected names that differ in more than case on this file system, got two that do not"
    rows = [_failure(image_id, stage.name, message) for image_id in sorted(twins)]
    return replace(report, failure_rows=pa.concat_tables([report.failure_rows, _failures(rows)]))


def check_faces(
    session: Session,
    dataset: Folder,
    listing: Listing,
    dst: Path,
    detector_name: str,
    threshold: float,
    same_detector: bool,
) -> StageReport:
    """Verify: write `verify.parquet`, one row per image of the dataset or of `DST/images`."""
    published = Folder((dst / "images").resolve())
    stage = VerifyStage(dataset, published, detector_name, threshold, same_detector)
    stamps = {image.image_id: image.stamp for image in listing.images}
    output_stamps = published.files()
    ids = sorted(stamps.keys() | output_stamps.keys())
    faces = pq.read_table(dst / "faces.parquet")
    manifest = pq.read_table(dst / "manifest.parquet")
    failed = set(read_failures(dst)["image_id"].to_pylist())

    def items() -> Iterator[Item]:
        rows = zip(ids, _records(faces, ids), _records(manifest, ids), strict=True)
        for image_id, face_record, manifest_record in rows:
            stamp = f"{stamps.get(image_id)} {output_stamps.get(image_id)}"
            records = {"faces": face_record, "manifest": manifest_record, "failed": image_id in failed}
            yield Item(image_id, stamp, records)

    return _run(session, stage, items(), len(ids), dst / ".unface", dst / "verify.parquet", {})


def failure_rows(listing: Listing, *reports: StageReport) -> pa.Table:
    """The rows of `failures.parquet`: refused entries of the dataset, then each stage's failures."""
    refused = _failures(_failure(entry.image_id, "open", entry.message) for entry in listing.refused)
    return pa.concat_tables([refused, *(report.failure_rows for report in reports)])


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


def published_ids(dst: Path) -> set[str]:
    """The images in `DST/manifest.parquet`, none where there is no file."""
    path = dst / "manifest.parquet"
    return set(pq.read_table(path, columns=["image_id"])["image_id"].to_pylist()) if path.exists() else set()


def _run(
    session: Session, stage: Stage, items: Iterable[Item], images: int, work: Path, to: Path, metadata: dict[str, str]
) -> StageReport:
    shards: Iterator[Shard] = cut(items, shard_size(images), {"version": __version__, **stage.parameters})
    ledger = Ledger(work / stage.name)
    schema = with_metadata(stage.schema.empty_table(), metadata).schema
    return run_stage(stage, schema, shards, images, ledger, to, session.executor, session.progress)


def _failure(image_id: str, stage_name: str, message: str) -> dict[str, str]:
    return {"image_id": image_id, "stage": stage_name, "error_class": "ImageError", "message": message}


def _failures(rows: Iterable[dict[str, str]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=FAILURES_SCHEMA)


def _records(table: pa.Table, ids: list[str], at_once: int = 1024) -> Iterator[dict[str, Any] | None]:
    """For each id its row of the table as a dict, None where there is none; lazily, some rows at a time."""
    places = pc.index_in(pa.array(ids, pa.string()), value_set=table["image_id"].combine_chunks())
    rows = places.to_numpy(zero_copy_only=False)
    for start in range(0, len(ids), at_once):
        some = rows[start : start + at_once]
        there = ~np.isnan(some) if some.dtype.kind == "f" else np.ones(len(some), bool)
        found = iter(table.take(pa.array(some[there].astype(np.int64))).to_pylist())
        yield from (next(found) if known else None for known in there)


def _case_twins(ids: Iterable[str]) -> set[str]:
    """Ids that another one equals but for upper and lower case."""
    seen: dict[str, list[str]] = {}
    for image_id in ids:
        seen.setdefault(image_id.casefold(), []).append(image_id)
    return {image_id for twins in seen.values() if len(twins) > 1 for image_id in twins}
