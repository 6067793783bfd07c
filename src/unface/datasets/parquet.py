"""A dataset of Parquet files: images in a column of Hugging Face's `Image` struct, or of plain bytes."""

import json
import re
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unface.datasets import media
from unface.datasets.archives import Archives, ArchiveSink
from unface.datasets.dataset import MAX_FILE_BYTES, Entry
from unface.datasets.storage import Storage
from unface.errors import ImageError, InputError, one_line

SUFFIX = ".parquet"
_BATCH_ROWS = 16
_GROUP_BYTES = 1 << 28
"""A row group with more bytes is written as several."""

_ID = re.compile(r"(.*\.parquet)/(\d{8})(?:\.(.+))?", re.DOTALL | re.IGNORECASE)
_PROBED_ROWS = 64
"""Rows that are looked at to tell what a column of bytes holds; every row is checked again when it is written."""


@dataclass(frozen=True)
class ParquetDataset(Archives):
    """Parquet files below a root.

    An image's id is its file and its row in eight digits, `train.parquet/00000012`, and the column's name behind a
    dot if there are several columns of images. They come in order of rows, then of columns; empty cells are none.
    """

    kind = "parquet"
    suffix = SUFFIX

    def read(self, image_id: str) -> bytes:
        """A cell's bytes."""
        table, row, column = self._find(image_id)
        data = table.cell(row, column)
        if data is None:
            raise ImageError("expected an image, got an empty cell")
        if len(data) > MAX_FILE_BYTES:
            raise ImageError(f"expected at most {MAX_FILE_BYTES} bytes in an image, got {len(data)}")
        return data

    def sink(self, folder: Path, parts_dir: Path) -> "ParquetSink":
        """Files of the same names."""
        return ParquetSink(folder, parts_dir, dataset=self)

    def table(self, name: str) -> "Table":
        """A file, opened; InputError if it cannot be read or has no images."""
        return _open(self.storage, name, self.storage.stamp(name))

    def _entries(self, name: str) -> Iterator[Entry]:
        table = self.table(name)
        for row, cells in table.rows():
            for column, data in cells.items():
                if data is not None:
                    yield Entry(f"{name}/{table.name_of(row, column)}")

    def _holds(self, image_id: str) -> bool:
        table, row, column = self._find(image_id)
        return table.cell(row, column) is not None

    def _find(self, image_id: str) -> "tuple[Table, int, str]":
        match = _ID.fullmatch(image_id)
        if match is None:
            raise ImageError(f"image id: expected file.parquet/00000000, got {one_line(image_id)}")
        table = self.table(match[1])
        column = match[3] or table.images[0]
        if column not in table.images or int(match[2]) >= table.file.metadata.num_rows:
            raise ImageError(f"expected a row and a column of images, got {one_line(image_id)}")
        return table, int(match[2]), column


@dataclass(eq=False)
class Table:
    """A Parquet file, opened; reads forward, some rows at a time.

    Attributes:
        name: Its path below the root.
        file: The file.
        images: Names of the columns of images.
        watched: Names of other columns of bytes, in which no picture may hide.
    """

    name: str
    file: pq.ParquetFile = field(repr=False)
    images: tuple[str, ...]
    watched: tuple[str, ...]
    _batches: Iterator[Any] = field(default_factory=lambda: iter(()), repr=False)
    _cells: dict[str, list[bytes | None]] = field(default_factory=dict, repr=False)
    _start: int = 0

    def name_of(self, row: int, column: str) -> str:
        """A cell's part of an image id."""
        return f"{row:08d}" if len(self.images) == 1 else f"{row:08d}.{column}"

    def rows(self) -> Iterator[tuple[int, dict[str, bytes | None]]]:
        """Every row with its images."""
        for row in range(self.file.metadata.num_rows):
            self._go_to(row)
            yield row, {column: cells[row - self._start] for column, cells in self._cells.items()}

    def cell(self, row: int, column: str) -> bytes | None:
        """One image."""
        self._go_to(row)
        return self._cells[column][row - self._start]

    def _go_to(self, row: int) -> None:
        """Have the row among those at hand: read on, or from the beginning of its row group."""
        if self._cells and self._start <= row < self._start + self._rows_at_hand:
            return
        if not self._cells or row < self._start:
            group, self._start = self._group_of(row)
            groups = list(range(group, self.file.metadata.num_row_groups))
            self._cells = {}
            self._batches = _batches(self.file, self.name, row_groups=groups, columns=list(self.images))
        while not self._cells or row >= self._start + self._rows_at_hand:
            self._start += self._rows_at_hand
            batch = next(self._batches)
            self._cells = {column: _bytes_of(batch.column(column)) for column in self.images}

    @property
    def _rows_at_hand(self) -> int:
        return len(next(iter(self._cells.values()))) if self._cells else 0

    def _group_of(self, row: int) -> tuple[int, int]:
        start = 0
        for group in range(self.file.metadata.num_row_groups):
            rows = self.file.metadata.row_group(group).num_rows
            if row < start + rows:
                return group, start
            start += rows
        raise ImageError(f"expected a row of the file, got {row}")


@lru_cache(maxsize=2)
def _open(storage: Storage, name: str, stamp: str) -> Table:
    """Open a file and find its columns of images; again when its stamp changes."""
    file = storage.open(name)
    try:
        table = _table(file, name)
    except InputError:
        file.close()
        raise
    weakref.finalize(table, file.close)
    return table


def _table(opened: IO[bytes], name: str) -> Table:
    try:
        file = pq.ParquetFile(opened)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{one_line(name)}: expected a Parquet file: {one_line(error)}") from None
    names = file.schema_arrow.names
    if len(set(names)) != len(names):
        raise InputError(f"{one_line(name)}: expected columns of different names, got {one_line(', '.join(names))}")
    images: list[str] = []
    watched: list[str] = []
    for column in file.schema_arrow:
        if _holds_bytes(column.type):
            (images if _is_of_images(file, name, column) else watched).append(column.name)
        elif _nests_bytes(column.type):
            raise InputError(
                f"{one_line(name)}: column {one_line(column.name)!r}: expected images as bytes or as Image structs, "
                f"got bytes nested in {one_line(column.type)}"
            )
    if not images:
        raise InputError(
            f"{one_line(name)}: expected a column of images (bytes, or Image structs), got {one_line(', '.join(names))}"
        )
    return Table(name, file, tuple(images), tuple(watched))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether cells are bytes, or structs with `bytes` as Hugging Face has them."""
    if pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        return names == {"bytes", "path"} and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _nests_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _nests_bytes(kind.value_type)
    if _is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _is_binary(kind)
    return any(_nests_bytes(kind.field(i).type) for i in range(kind.num_fields))


def _is_of_images(file: pq.ParquetFile, name: str, column: pa.Field) -> bool:
    """What Hugging Face's note on the column says, or else what its first rows hold."""
    try:
        notes = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        kind = notes["info"]["features"][column.name]["_type"]
    except (ValueError, KeyError, TypeError):
        kind = ""
    if kind in ("Image", "Audio"):
        return bool(kind == "Image")
    for batch in _batches(file, name, columns=[column.name]):
        cells = [cell for cell in _bytes_of(batch.column(0)) if cell is not None]
        if cells:
            return any(media.is_image(cell[: media.HEAD_BYTES]) for cell in cells)
    return False


def _batches(file: pq.ParquetFile, name: str, **options: Any) -> Iterator[Any]:
    batches = file.iter_batches(batch_size=_BATCH_ROWS, **options)
    while True:
        try:
            yield next(batches)
        except StopIteration:
            return
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{one_line(name)}: expected whole columns: {one_line(error)}") from None


def _bytes_of(column: pa.Array) -> list[bytes | None]:
    """The bytes of cells; None for empty ones."""
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    cells: list[bytes | None] = column.to_pylist()
    return cells


@dataclass(kw_only=True)
class ParquetSink(ArchiveSink):
    """Writes files of the same names: same rows, columns, row groups and notes, images in their safe form.

    The cell of an image that failed is empty; of a struct its `path` goes too, since readers would look for it.
    """

    dataset: ParquetDataset

    def _begun(self, name: str, beside: Path) -> "_Writing":
        return _Writing(_open_anew(self.dataset, name), beside)


def _open_anew(dataset: ParquetDataset, name: str) -> Table:
    """The file a second time, since the first one's reading goes on beside the writing."""
    return _open.__wrapped__(dataset.storage, name, "")


class _Writing:
    """A file that is being written, row group by row group."""

    def __init__(self, table: Table, beside: Path) -> None:
        self.table = table
        groups = range(table.file.metadata.num_row_groups)
        self._rows = chain.from_iterable(_batches(table.file, table.name, row_groups=[group]) for group in groups)
        self._images: dict[tuple[int, str], bytes] = {}
        self._written = 0
        self._waiting: list[Any] = []
        self._ends = _group_ends(table.file)
        self._writer = pq.ParquetWriter(beside, table.file.schema_arrow, compression=_compressions(table.file))

    def put(self, image_id: str, data: bytes) -> None:
        """Take an image; rows before its own are complete."""
        match = _ID.fullmatch(image_id)
        assert match is not None
        row = int(match[2])
        self._write_until(row)
        self._images[row, match[3] or self.table.images[0]] = data

    def close(self) -> None:
        """Write the rest."""
        self._write_until(self.table.file.metadata.num_rows)
        for batch in self._rows:
            self._take(batch)
        self._flush()
        self._writer.close()

    def _write_until(self, row: int) -> None:
        """Write batches that lie wholly before a row."""
        while self._written + _BATCH_ROWS <= row:
            batch = next(self._rows, None)
            if batch is None:
                return
            self._take(batch)

    def _take(self, batch: Any) -> None:
        first = self._written
        for name in self.table.watched:
            self._check(batch, name)
        for name in self.table.images:
            place = batch.schema.get_field_index(name)
            safe = [self._images.pop((first + i, name), None) for i in range(len(batch))]
            batch = batch.set_column(place, batch.schema.field(place), _with_bytes(batch.column(place), safe))
        self._waiting.append(batch)
        self._written += len(batch)
        if self._written in self._ends or sum(each.nbytes for each in self._waiting) > _GROUP_BYTES:
            self._flush()

    def _check(self, batch: Any, name: str) -> None:
        for data in _bytes_of(batch.column(name)):
            head = (data or b"")[: media.HEAD_BYTES]
            medium = "an image" if media.is_image(head) else media.unreadable_medium(head)
            if medium:
                raise InputError(
                    f"{one_line(self.table.name)}: column {one_line(name)!r}: expected bytes that show nothing, since "
                    f"its first rows are no images, got {medium}"
                )

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            self._writer.write_table(table, row_group_size=max(len(table), 1))
            self._waiting = []


def _with_bytes(column: pa.Array, safe: list[bytes | None]) -> pa.Array:
    """The column with other bytes: empty cells as they are, and cells that lost their bytes empty."""
    if not pa.types.is_struct(column.type):
        return pa.array(safe, column.type)
    kind = column.type
    children = [
        pa.array(safe, kind.field("bytes").type) if kind.field(i).name == "bytes" else pc.struct_field(column, [i])
        for i in range(kind.num_fields)
    ]
    fields = [kind.field(i) for i in range(kind.num_fields)]
    lost = pc.and_(pc.struct_field(column, "bytes").is_valid(), pa.array([data is None for data in safe]))
    return pa.StructArray.from_arrays(children, fields=fields, mask=pc.or_(column.is_null(), lost))


def _compressions(file: pq.ParquetFile) -> dict[str, str]:
    """How each column is compressed; one that can be read only is written with zstd."""
    group = file.metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    known = {"UNCOMPRESSED": "NONE", **{name: name for name in ("SNAPPY", "GZIP", "BROTLI", "ZSTD", "LZ4")}}
    return {column.path_in_schema: known.get(column.compression, "ZSTD") for column in columns}


def _group_ends(file: pq.ParquetFile) -> set[int]:
    """Row numbers behind each row group."""
    ends, rows = set(), 0
    for group in range(file.metadata.num_row_groups):
        rows += file.metadata.row_group(group).num_rows
        ends.add(rows)
    return ends
