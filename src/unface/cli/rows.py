"""Rows of tables for each part of a plan: from a table that is there as a whole, or from an earlier stage's ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unface.datasets import Part
from unface.engine import FAILURES_SCHEMA, Ledger
from unface.faces import Faces
from unface.faces.table import with_more_faces

_ARCHIVE = r"(?is)^(?P<part>.*?\.(?:tar|parquet))/"
"""Ids of images in archives begin with the archive's path."""

_FILES = pa.schema([("name", pa.string()), ("stamp", pa.string())])


class Rows(Protocol):
    """Rows by part."""

    def of(self, index: int, part: Part) -> pa.Table:
        """The rows of the part at a place of the plan."""


class TableRows:
    """Rows of one table, joined by image id with a plan's parts.

    Args:
        table: With a column `image_id`, no id twice.
        parts: The plan.
    """

    def __init__(self, table: pa.Table, parts: Sequence[Part]) -> None:
        self._table = table.combine_chunks()
        ids = self._table["image_id"].combine_chunks() if len(table) else pa.array([], pa.string())
        known = [part.images for part in parts if part.images is not None]
        wanted = pa.array([image_id for images in known for image_id in images], pa.string())
        places = _filled(pc.index_in(wanted, value_set=ids))
        ends = np.cumsum([len(images) for images in known]) if known else np.zeros(0, np.int64)
        self._lists = iter(np.split(places, ends[:-1]) if known else ())
        self._rows: list[np.ndarray] = []
        names = [part.name for part in parts if part.images is None]
        archive = pc.struct_field(pc.extract_regex(ids, _ARCHIVE), "part") if names else pa.nulls(len(ids), pa.string())
        numbers = _filled(pc.index_in(archive, value_set=pa.array(names, pa.string()), skip_nulls=True))
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], np.arange(len(names) + 1))
        number = 0
        for part in parts:
            if part.images is not None:
                rows = next(self._lists)
                self._rows.append(rows[rows >= 0])
            else:
                self._rows.append(order[bounds[number] : bounds[number + 1]])
                number += 1
        used = np.zeros(len(ids), bool)
        for rows in self._rows:
            used[rows] = True
        self._unused = np.flatnonzero(~used)
        self._ids = ids

    @property
    def unused_ids(self) -> list[str]:
        """Ids of rows that no part asks for."""
        unused: list[str] = self._ids.take(pa.array(self._unused)).to_pylist()
        return unused

    def of(self, index: int, part: Part) -> pa.Table:
        """The rows of a part."""
        rows = self._rows[index] if index < len(self._rows) else ()
        return self._table.take(pa.array(rows, pa.int64()))


@dataclass(frozen=True)
class LedgerRows:
    """What a stage wrote for the same plan."""

    ledger: Ledger
    schema: pa.Schema

    def of(self, index: int, part: Part) -> pa.Table:
        """The rows of a part; none if it is not done."""
        return self.ledger.rows(index, self.schema)


@dataclass(frozen=True)
class LedgerFailures:
    """What failed in some stages of the same plan."""

    ledgers: tuple[Ledger, ...]

    def of(self, index: int, part: Part) -> pa.Table:
        """The failures of a part."""
        tables = [ledger.failures([index]) for ledger in self.ledgers]
        return pa.concat_tables([FAILURES_SCHEMA.empty_table(), *tables])


@dataclass(frozen=True)
class FileRows:
    """The files of each part, with stamps that change with their content."""

    files: Mapping[str, str]

    def of(self, index: int, part: Part) -> pa.Table:
        """The files of a part that are there."""
        names = [name for name in files_of(part) if name in self.files]
        return pa.table({"name": names, "stamp": [self.files[name] for name in names]}, schema=_FILES)


class MoreFaces(Protocol):
    """Faces to add, by part."""

    def of(self, index: int, part: Part) -> Mapping[str, Faces]:
        """The faces to add to images of a part."""


@dataclass(frozen=True)
class WithMoreFaces:
    """Rows of `faces.parquet` with faces added."""

    rows: Rows
    more: MoreFaces

    def of(self, index: int, part: Part) -> pa.Table:
        """The rows of a part, faces added."""
        return with_more_faces(self.rows.of(index, part), self.more.of(index, part))


def files_of(part: Part) -> tuple[str, ...]:
    """The files that a part consists of: its archive, or its images."""
    return (part.name,) if part.images is None else part.images


def part_names(image_ids: pa.ChunkedArray) -> set[str]:
    """The archives that images lie in."""
    if not len(image_ids):
        return set()
    names = pc.struct_field(pc.extract_regex(image_ids, _ARCHIVE), "part")
    return set(pc.unique(names).to_pylist()) - {None}


def _filled(places: pa.Array) -> np.ndarray:
    """Places as numbers, -1 where there is none."""
    filled: np.ndarray = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return filled
