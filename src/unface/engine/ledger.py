"""The ledger: what is done. A finished shard's small JSON file is its resume marker."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unface.engine.shards import Shard

FAILURES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("stage", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
    ]
)


@dataclass(frozen=True)
class Done:
    """The statistics of a finished shard."""

    fingerprint: str
    images: int
    faces: int
    bytes_in: int
    bytes_out: int
    seconds: float
    peak_memory_bytes: int
    failures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """The finished shards of one stage, in a folder of its own."""

    folder: Path

    def open(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def done(self, shard: Shard) -> Done | None:
        """The shard's statistics if it was finished as it now is planned."""
        done = self.statistics(shard.index)
        return done if done is not None and done.fingerprint == shard.fingerprint else None

    def statistics(self, index: int) -> Done | None:
        """A finished shard's statistics, as it was planned then."""
        try:
            return Done(**json.loads(self._path(index, ".json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def rows(self, index: int, schema: pa.Schema) -> pa.Table:
        """A shard's rows; none if it is not done."""
        path = self._path(index, ".parquet")
        done = self._path(index, ".json").exists()
        return pq.read_table(path).cast(schema) if done else schema.empty_table()

    def good_rows(self, shard: Shard) -> dict[str, dict[str, Any]]:
        """The rows of a finished shard's images that did not fail, by image id."""
        rows = pq.read_table(self._path(shard.index, ".parquet")).to_pylist()
        failed = set(self.failures([shard.index])["image_id"].to_pylist())
        return {row["image_id"]: row for row in rows if row["image_id"] not in failed}

    def record(
        self,
        shard: Shard,
        schema: pa.Schema,
        rows: Sequence[Mapping[str, Any]],
        failures: Sequence[Mapping[str, str]],
        counts: Mapping[str, Any],
    ) -> Done:
        """Write a finished shard's tables, then its marker."""
        self._path(shard.index, ".json").unlink(missing_ok=True)
        _write_whole(self._path(shard.index, ".parquet"), rows, schema)
        failures_path = self._path(shard.index, ".failures.parquet")
        if failures:
            _write_whole(failures_path, failures, FAILURES_SCHEMA)
        else:
            failures_path.unlink(missing_ok=True)
        classes = Counter(failure["error_class"] for failure in failures)
        done = Done(shard.fingerprint, failures=dict(sorted(classes.items())), **counts)
        marker = self._path(shard.index, ".json")
        part = marker.with_suffix(".json.part")
        part.write_text(json.dumps(asdict(done)))
        part.replace(marker)
        return done

    def failures(self, shards: Iterable[int]) -> pa.Table:
        """The failures of some shards."""
        paths = (self._path(index, ".failures.parquet") for index in shards)
        tables = [pq.read_table(path) for path in paths if path.exists()]
        return pa.concat_tables([FAILURES_SCHEMA.empty_table(), *tables])

    def forget(self, index: int) -> None:
        """Take a shard for not done."""
        self._path(index, ".json").unlink(missing_ok=True)

    def prune(self, shards: int) -> None:
        """Remove what interrupted writes, and a plan of more than `shards` shards, left."""
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path.suffix == ".part" or int(path.name.split(".")[0]) >= shards:
                path.unlink()

    def _path(self, index: int, suffix: str) -> Path:
        return self.folder / f"{index:06d}{suffix}"


def _write_whole(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    part = path.with_name(path.name + ".part")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), part, compression="zstd")
    part.replace(path)


def join(tables: Iterable[pa.Table], schema: pa.Schema, to: Path) -> int:
    """Stream tables into one Parquet file with row groups of about 16,384 rows; returns its number of rows."""
    rows, waiting = 0, list[pa.Table]()
    part = to.with_name(to.name + ".part")
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for table in tables:
            waiting.append(table.cast(schema))
            rows += len(table)
            if sum(map(len, waiting)) >= 16384:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    part.replace(to)
    return rows
