"""`predictions/<run>.parquet`: one row per evaluated image, with what the network said of it.

Whoever evaluates writes these files, whoever analyses reads them; they meet here and nowhere else.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from unface.errors import InputError, one_line

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.int32()),
        ("top5", pa.list_(pa.int32())),
        ("logits", pa.list_(pa.float16())),
    ]
)
"""`label` and `top5` are class indices; `top5` holds the five classes with the highest logits, best first (all
classes where there are fewer than five); `logits` holds one number per class."""

METADATA_KEY = "unface.predictions"
PRETRAINED = "pretrained"
"""The setting `train` of a network whose weights came from elsewhere."""

_ROWS_PER_GROUP = 4096
_FLOAT16_MAX = float(np.finfo(np.float16).max)

Batch = tuple[Sequence[str], ArrayLike, ArrayLike]
"""Image ids; their class indices, shape (N,); their logits, shape (N, classes), any float dtype."""


@dataclass(frozen=True)
class Evaluation:
    """Which network said it, of which images.

    Attributes:
        architecture: Such as `resnet18`.
        train: Setting that the network was trained on, or `PRETRAINED`.
        eval: Setting that it was evaluated on.
        seed: Of the training; None where there is none to tell.
        classes: Name of each class, by index.
        dataset: What the images are of.
        checkpoint_sha256: Of the file with the network's weights.
        unface_version: Of the unface that evaluated.
    """

    architecture: str
    train: str
    eval: str
    seed: int | None
    classes: tuple[str, ...]
    dataset: str
    checkpoint_sha256: str
    unface_version: str

    @property
    def file_name(self) -> str:
        """Name of its file in the folder `predictions`.

        >>> Evaluation("resnet18", "blurred", "original", 1, ("cat", "dog"), "pets", "0" * 64, "1.0").file_name
        'resnet18-blurred-original-s1.parquet'
        """
        seed = "" if self.seed is None else f"-s{self.seed}"
        return f"{self.architecture}-{self.train}-{self.eval}{seed}.parquet"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """All rows of a file without their logits.

    Attributes:
        image_ids: N different texts.
        labels: True class indices, int32, shape (N,).
        top5: Class indices, best first, int32, shape (N, 5), or (N, classes) where there are fewer than five.
    """

    image_ids: pa.Array
    labels: NDArray[np.int32]
    top5: NDArray[np.int32]


@dataclass(frozen=True)
class Predictions:
    """A file of predictions whose columns and metadata are sound; rows are checked when they are read."""

    path: Path
    evaluation: Evaluation
    images: int

    def outcomes(self) -> Outcomes:
        """Read everything but the logits.

        Raises:
            InputError: A repeated image, an index that is no class, or a `top5` of another length.
        """
        table = _read(self.path, ["image_id", "label", "top5"])
        _check_ids(self.path, table["image_id"])
        ids = table["image_id"].combine_chunks()
        shown = min(5, len(self.evaluation.classes))
        top5 = self._matrix(table["top5"], "top5", shown, 0).astype(np.int32)
        labels = _indices(self.path, table["label"])
        for name, indices in (("label", labels[:, None]), ("top5", top5)):
            bad = ((indices < 0) | (indices >= len(self.evaluation.classes))).any(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                raise InputError(
                    f"{self.path}: {ids[row].as_py()!r}: {name}: expected class indices from 0 to "
                    f"{len(self.evaluation.classes) - 1}, got {indices[row].tolist()}"
                )
        if (np.diff(np.sort(top5, axis=1), axis=1) == 0).any():
            row = int(np.argmax((np.diff(np.sort(top5, axis=1), axis=1) == 0).any(axis=1)))
            raise InputError(f"{self.path}: {ids[row].as_py()!r}: top5: expected different classes, got {top5[row]}")
        return Outcomes(ids, labels, top5)

    def logits(self, rows: int = _ROWS_PER_GROUP) -> Iterator[NDArray[Any]]:
        """Read the logits, at most so many images at a time, in the order of `outcomes`.

        Yields:
            Finite floats as in the file (float16), shape (at most `rows`, classes).

        Raises:
            InputError: Not one number per class, or a number that is not finite.
        """
        place = 0
        for column in _read_batches(self.path, "logits", rows):
            logits = self._matrix(column, "logits", len(self.evaluation.classes), place)
            if not np.isfinite(logits).all():
                row = place + int(np.argmin(np.isfinite(logits).all(axis=1)))
                raise InputError(f"{self.path}: row {row}: logits: expected finite numbers, got NaN or infinity")
            place += len(logits)
            yield logits

    def _matrix(self, column: Any, name: str, width: int, place: int) -> NDArray[Any]:
        """A column of lists of one length as an array, shape (N, width); `place` is the first row's."""
        lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy()
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise InputError(
                f"{self.path}: row {place + row}: {name}: expected {width} numbers, got {max(lengths[row], 0)}"
            )
        flat = pc.list_flatten(column)
        if flat.null_count:
            raise InputError(f"{self.path}: {name}: expected numbers, got {flat.null_count} nulls")
        return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, width)


def read_predictions(path: Path) -> Predictions:
    """Open a file of predictions and check its columns and metadata; no row is read.

    Raises:
        InputError: Unreadable, a column missing or of another type, or bad metadata; the message names file and field.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, images = file.schema_arrow, file.metadata.num_rows
    except FileNotFoundError:
        raise InputError(f"{path}: expected a file of predictions, found no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a Parquet file, got {one_line(error)}") from None
    for wanted in PREDICTIONS_SCHEMA:
        if wanted.name not in schema.names:
            raise InputError(f"{path}: expected a column {wanted.name!r}, got {schema.names}")
        got = schema.field(wanted.name).type
        if not _is_like(got, wanted.type):
            raise InputError(f"{path}: column {wanted.name!r}: expected {wanted.type}, got {got}")
    if not images:
        raise InputError(f"{path}: expected at least one image, got none")
    return Predictions(path, read_evaluation(path, schema), images)


def write_predictions(path: Path, evaluation: Evaluation, batches: Iterable[Batch]) -> int:
    """Write predictions as they come, beside their place, and rename the file when whole.

    `top5` is found in the logits as given; of equal ones the lower index is first. Logits beyond float16's range are
    written as its largest number.

    Returns:
        The number of images.

    Raises:
        InputError: No image, a repeated one, a label that is no class, or logits of another shape or not finite.
    """
    _check_evaluation(path, evaluation)

    def tables(schema: pa.Schema) -> Iterator[pa.Table]:
        known = set[str]()
        for batch in batches:
            table = _table(path, evaluation, batch, schema)
            for image_id in table["image_id"].to_pylist():
                if image_id in known:
                    raise InputError(f"{path}: expected one row per image, got several of {image_id!r}")
                known.add(image_id)
            yield table

    return write_rows(path, PREDICTIONS_SCHEMA, evaluation, tables, use_dictionary=["image_id", "label"])


def write_rows(
    path: Path,
    schema: pa.Schema,
    evaluation: Evaluation,
    tables: Callable[[pa.Schema], Iterable[pa.Table]],
    **options: Any,
) -> int:
    """Write a file of results as its rows come, beside its place, and rename it when whole.

    Args:
        path: The file.
        schema: Of its rows.
        evaluation: For its metadata.
        tables: Makes the rows, with the metadata's schema.
        options: Of the ParquetWriter.

    Returns:
        The number of images.

    Raises:
        InputError: No image, or what `tables` raises; then no file is left.
    """
    schema = schema.with_metadata({METADATA_KEY: json.dumps(asdict(evaluation), ensure_ascii=False)})
    beside, count = path.with_name(path.name + ".part"), 0
    try:
        with pq.ParquetWriter(beside, schema, compression="zstd", **options) as writer:
            for table in tables(schema):
                writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
                count += len(table)
        if not count:
            raise InputError(f"{path}: expected at least one image, got none")
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.replace(path)
    return count


def read_rows(path: Path, schema: pa.Schema, what: str) -> pa.Table:
    """A whole file of results; InputError if it is no file of `what` or a column is missing."""
    try:
        table = pq.read_table(path, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a file of {what}: {one_line(error)}") from None
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        raise InputError(f"{path}: expected a column {missing[0]!r}, got {one_line(', '.join(table.schema.names))}")
    return table


def _table(path: Path, evaluation: Evaluation, batch: Batch, schema: pa.Schema) -> pa.Table:
    ids, labels, logits = list(batch[0]), np.asarray(batch[1]), np.asarray(batch[2])
    number = len(evaluation.classes)
    if logits.shape != (len(ids), number) or labels.shape != (len(ids),):
        raise InputError(
            f"{path}: expected {len(ids)} labels and logits of shape {(len(ids), number)}, "
            f"got {labels.shape} and {logits.shape}"
        )
    if not np.isfinite(logits).all():
        row = int(np.argmin(np.isfinite(logits).all(axis=1)))
        raise InputError(f"{path}: {ids[row]!r}: logits: expected finite numbers, got NaN or infinity")
    if len(ids) and not ((labels >= 0) & (labels < number)).all():
        row = int(np.argmin((labels >= 0) & (labels < number)))
        raise InputError(f"{path}: {ids[row]!r}: label: expected 0 to {number - 1}, got {labels[row]}")
    top5 = highest(logits, min(5, number))
    small = np.clip(logits, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
    columns = [pa.array(ids, pa.string()), pa.array(labels.astype(np.int32)), _lists(top5), _lists(small)]
    return pa.table(columns, schema=schema)


def highest(logits: NDArray[Any], number: int) -> NDArray[np.int32]:
    """The `number` classes with the highest logits, best first, of equal ones the lower index first.

    Args:
        logits: Shape (N, classes).
        number: At most the number of classes.

    Returns:
        Shape (N, number).

    >>> highest(np.array([[0.0, 3.0, 1.0, 3.0]]), 3).tolist()
    [[1, 3, 2]]
    """
    if not len(logits):
        return np.zeros((0, number), np.int32)
    least = np.partition(logits, logits.shape[1] - number, axis=1)[:, -number, None]
    above = (logits > least).sum(axis=1, keepdims=True)
    ties = logits == least
    chosen = (logits > least) | (ties & (np.cumsum(ties, axis=1, dtype=np.int32) <= number - above))
    indices = np.nonzero(chosen)[1].reshape(-1, number)
    order = np.argsort(-np.take_along_axis(logits, indices, axis=1), axis=1, kind="stable")
    return np.take_along_axis(indices, order, axis=1).astype(np.int32)


def _lists(matrix: NDArray[Any]) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(matrix).reshape(-1)))


def _is_like(got: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether another tool's type holds the same: wider numbers, large lists."""
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(got) or pa.types.is_large_list(got) or pa.types.is_fixed_size_list(got)
        return is_list and _is_like(got.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(got) or pa.types.is_large_string(got))
    check = pa.types.is_integer if pa.types.is_integer(wanted) else pa.types.is_floating
    return bool(check(got))


def read_evaluation(path: Path, schema: pa.Schema) -> Evaluation:
    """What the metadata of a file's schema tell; InputError where they are missing or bad."""
    metadata = (schema.metadata or {}).get(METADATA_KEY.encode())
    if metadata is None:
        raise InputError(f"{path}: metadata: expected the key {METADATA_KEY!r}, got none")
    try:
        record = json.loads(metadata)
    except ValueError as error:
        raise InputError(f"{path}: metadata {METADATA_KEY!r}: expected JSON, got {one_line(error)}") from None
    names = [field.name for field in fields(Evaluation)]
    missing = sorted(set(names) - set(record)) if isinstance(record, dict) else names
    if missing:
        raise InputError(f"{path}: metadata {METADATA_KEY!r}: expected {', '.join(names)}, got no {', '.join(missing)}")
    classes = record["classes"]
    evaluation = Evaluation(
        **{name: record[name] for name in names if name != "classes"},
        classes=tuple(classes) if isinstance(classes, list) else classes,
    )
    _check_evaluation(path, evaluation)
    return evaluation


def _check_evaluation(path: Path, evaluation: Evaluation) -> None:
    where = f"{path}: metadata {METADATA_KEY!r}"
    for field in fields(Evaluation):
        value = getattr(evaluation, field.name)
        if field.name == "seed":
            if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
                raise InputError(f"{where}: seed: expected a whole number or null, got {value!r}")
        elif field.name == "classes":
            if not isinstance(value, tuple) or not value or not all(isinstance(name, str) for name in value):
                raise InputError(f"{where}: classes: expected one name per class, got {one_line(repr(value))[:80]}")
        elif not isinstance(value, str):
            raise InputError(f"{where}: {field.name}: expected a text, got {value!r}")
    for name in ("architecture", "train", "eval"):
        value = getattr(evaluation, name)
        if not value or not value.isprintable() or "/" in value or "\\" in value or value.startswith("."):
            raise InputError(f"{where}: {name}: expected a plain name, got {value!r}")


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a whole Parquet file, got {one_line(error)}") from None


def _read_batches(path: Path, column: str, rows: int) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=[column], use_threads=False):
                yield batch.column(0)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a whole Parquet file, got {one_line(error)}") from None


def _check_ids(path: Path, ids: pa.ChunkedArray) -> None:
    if ids.null_count:
        raise InputError(f"{path}: column 'image_id': expected a name in every row, got {ids.null_count} nulls")
    if len(ids.unique()) != len(ids):  # four times as fast as count_distinct
        twice = next(c["values"].as_py() for c in pc.value_counts(ids) if c["counts"].as_py() > 1)
        raise InputError(f"{path}: expected one row per image, got several of {twice!r}")


def _indices(path: Path, column: pa.ChunkedArray) -> NDArray[np.int32]:
    if column.null_count:
        raise InputError(f"{path}: column 'label': expected a class in every row, got {column.null_count} nulls")
    return np.asarray(np.clip(column.to_numpy(), -1, np.iinfo(np.int32).max), np.int32)
