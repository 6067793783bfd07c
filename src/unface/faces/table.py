"""`faces.parquet`: one row per image, with its boxes in upright pixels."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unface.boxes import Boxes, as_boxes, clip, is_covered
from unface.errors import InputError, one_line

SCHEMA_VERSION = "1"

_BOX = pa.struct(
    [
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("label", pa.string()),
        ("source", pa.string()),
    ]
)
FACES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
        ("boxes", pa.list_(_BOX)),
        ("candidates", pa.list_(_BOX)),
        ("uncertainty", pa.float32()),
    ]
)
"""`candidates` (optional on reading) holds what the detector saw below its threshold: not faces, kept for
verify and for reviewers. `uncertainty` (optional too): see `FaceRow`."""

_OPTIONAL = ("candidates", "uncertainty")

STATUSES = ("detected", "reviewed", "failed")


@dataclass(frozen=True, eq=False)
class Faces:
    """The boxes of one image; a bad one cannot be constructed.

    Attributes:
        boxes_xyxy: Upright pixels, float32, shape (N, 4), half-open, x0 < x1 and y0 < y1.
        scores: Confidence in [0, 1], float32, shape (N,).
        label: What all boxes show ("face"), or one label per box.
        source: Who found them (a detector's name, "human"), or one per box.
    """

    boxes_xyxy: Boxes
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes_xyxy", as_boxes(self.boxes_xyxy))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float32).reshape(-1))
        lengths = {len(self.boxes_xyxy), len(self.scores), len(self.labels), len(self.sources)}
        if len(lengths) != 1:
            raise ValueError(f"faces: expected boxes, scores, labels, sources of one length, got {lengths}")

    @classmethod
    def make(cls, boxes_xyxy: Any, scores: Any | None = None, label: str = "face", source: str = "unknown") -> Self:
        """Faces with one label and source for all boxes; scores default to 1."""
        boxes = as_boxes(boxes_xyxy)
        given = np.ones(len(boxes), np.float32) if scores is None else np.asarray(scores, np.float32)
        return cls(boxes, given, (label,) * len(boxes), (source,) * len(boxes))

    def __len__(self) -> int:
        return len(self.boxes_xyxy)

    def __getitem__(self, index: Any) -> "Faces":
        """The faces that a mask, slice or index array selects."""
        kept = np.arange(len(self))[index].reshape(-1)
        return Faces(
            self.boxes_xyxy[kept],
            self.scores[kept],
            tuple(self.labels[i] for i in kept),
            tuple(self.sources[i] for i in kept),
        )

    def __add__(self, other: "Faces") -> "Faces":
        """Both, one after the other."""
        boxes = np.concatenate([self.boxes_xyxy, other.boxes_xyxy])
        scores = np.concatenate([self.scores, other.scores])
        return Faces(boxes, scores, self.labels + other.labels, self.sources + other.sources)

    def clipped(self, width: int, height: int) -> "Faces":
        """The same faces cut to the image; those outside it are dropped."""
        boxes, kept = clip(self.boxes_xyxy, width, height)
        inside = self[kept]
        return Faces(boxes, inside.scores, inside.labels, inside.sources)

    def structs(self) -> list[dict[str, Any]]:
        """The boxes as the table's list of structs."""
        return [
            {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "score": score, "label": label, "source": source}
            for (x0, y0, x1, y1), score, label, source in zip(
                self.boxes_xyxy.tolist(), self.scores.tolist(), self.labels, self.sources, strict=True
            )
        ]

    @classmethod
    def from_structs(cls, structs: Iterable[Mapping[str, Any]]) -> Self:
        """Faces from the table's list of structs; ValueError if one is not a box."""
        rows = list(structs)
        return cls(
            np.array([[row[side] for side in ("x0", "y0", "x1", "y1")] for row in rows], np.float32),
            np.array([1.0 if row.get("score") is None else row["score"] for row in rows], np.float32),
            tuple(row.get("label") or "face" for row in rows),
            tuple(row.get("source") or "unknown" for row in rows),
        )


NO_FACES = Faces.make([])


@dataclass(frozen=True, eq=False)
class FaceRow:
    """One image of `faces.parquet`: its upright size, status (detected, reviewed, failed) and faces.

    `candidates` is None where no detector looked below its threshold, `uncertainty` where none told it: in [0, 1], how
    near the most doubtful box or candidate lies to the threshold.
    """

    image_id: str
    width: int
    height: int
    status: str
    faces: Faces = field(default_factory=lambda: NO_FACES)
    candidates: Faces | None = None
    uncertainty: float | None = None

    def record(self) -> dict[str, Any]:
        """The row as a dict of the table's columns."""
        return {
            "image_id": self.image_id,
            "width": self.width,
            "height": self.height,
            "status": self.status,
            "boxes": self.faces.structs(),
            "candidates": None if self.candidates is None else self.candidates.structs(),
            "uncertainty": self.uncertainty,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """A row from a dict of the table's columns; ValueError if a box is none."""
        return cls(
            record["image_id"],
            record["width"] or 0,
            record["height"] or 0,
            record["status"],
            Faces.from_structs(record["boxes"]) if record["boxes"] else NO_FACES,
            None if record.get("candidates") is None else Faces.from_structs(record["candidates"]),
            record.get("uncertainty"),
        )


def faces_table(rows: Iterable[FaceRow], metadata: Mapping[str, str] | None = None) -> pa.Table:
    """Rows as an Arrow table of `FACES_SCHEMA`, with schema version and provenance in its metadata."""
    table = pa.Table.from_pylist([row.record() for row in rows], schema=FACES_SCHEMA)
    return with_metadata(table, metadata or {})


@dataclass(frozen=True, eq=False)
class FaceColumns:
    """Many images' faces as columns, for what is too much to be held as `FaceRow`s.

    Attributes:
        image_ids: One per image, M of them.
        sizes_wh: Upright width and height in pixels, 0 where not known, int32, shape (M, 2).
        statuses: One of `STATUSES` per image.
        counts: How many of the boxes are of each image, in order, shape (M,).
        boxes_xyxy: Upright pixels, float32, shape (N, 4).
        scores: float32, shape (N,).
        labels: One per box.
        sources: One per box.
    """

    image_ids: Sequence[str] | pa.Array
    sizes_wh: NDArray[np.int32]
    statuses: Sequence[str] | pa.Array
    counts: NDArray[np.int64]
    boxes_xyxy: Boxes
    scores: NDArray[np.float32]
    labels: Sequence[str] | pa.Array
    sources: Sequence[str] | pa.Array

    def table(self) -> pa.Table:
        """An Arrow table of `FACES_SCHEMA` without what is optional; `check_faces` says whether it is sound."""
        offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int32)
        sides = [pa.array(np.ascontiguousarray(side, np.float32)) for side in self.boxes_xyxy.reshape(-1, 4).T]
        scores = pa.array(np.asarray(self.scores, np.float32))
        texts = [pa.array(texts, pa.string()) for texts in (self.labels, self.sources)]
        boxes = pa.StructArray.from_arrays([*sides, scores, *texts], fields=list(_BOX))
        columns = [
            pa.array(self.image_ids, pa.string()),
            *(pa.array(np.ascontiguousarray(sizes, np.int32)) for sizes in self.sizes_wh.reshape(-1, 2).T),
            pa.array(self.statuses, pa.string()),
            pa.ListArray.from_arrays(pa.array(offsets), boxes),
            pa.nulls(len(self.counts), pa.list_(_BOX)),
            pa.nulls(len(self.counts), pa.float32()),
        ]
        return pa.table(columns, schema=FACES_SCHEMA)


def with_metadata(table: pa.Table, metadata: Mapping[str, str]) -> pa.Table:
    """The table with `unface.*` keys in its schema's metadata."""
    entries = {"schema_version": SCHEMA_VERSION, **metadata}
    return table.replace_schema_metadata({f"unface.{key}": value for key, value in entries.items()})


def face_rows(table: pa.Table) -> Iterator[FaceRow]:
    """The rows of a table, one image at a time."""
    for batch in table.to_batches(max_chunksize=1024):
        for record in batch.to_pylist():
            yield FaceRow.from_record(record)


def with_more_faces(table: pa.Table, more: Mapping[str, Faces]) -> pa.Table:
    """The table with faces added to some images; candidates that are faces now are taken out.

    Args:
        table: Of `FACES_SCHEMA`.
        more: Faces to add, by image id; ids that the table does not hold are left out.
    """
    if not more:
        return table
    changed = pc.is_in(table["image_id"], value_set=pa.array(list(more), pa.string()))
    places = np.flatnonzero(changed.to_numpy())
    rows = [_with_more(row, more[row.image_id]).record() for row in face_rows(table.filter(changed))]
    added = pa.Table.from_pylist(rows, schema=FACES_SCHEMA)
    both = pa.concat_tables([table.replace_schema_metadata(None), added])
    order = np.arange(len(table))
    order[places] = len(table) + np.arange(len(places))
    return both.take(pa.array(order)).combine_chunks().replace_schema_metadata(table.schema.metadata)


def _with_more(row: FaceRow, more: Faces) -> FaceRow:
    faces = row.faces + more
    candidates = row.candidates
    if candidates is not None:
        candidates = candidates[~is_covered(candidates.boxes_xyxy, faces.boxes_xyxy)]
    return replace(row, faces=faces, candidates=candidates)


def only_labels(table: pa.Table, labels: Collection[str]) -> pa.Table:
    """The table with just the boxes that have one of these labels; every image stays."""
    flat = pc.list_flatten(table["boxes"]).combine_chunks()
    kept = pc.is_in(pc.fill_null(pc.struct_field(flat, "label"), "face"), value_set=pa.array(list(labels), pa.string()))
    owners = pc.list_parent_indices(table["boxes"]).combine_chunks().filter(kept).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(table)))]).astype(np.int32)
    boxes = pa.ListArray.from_arrays(pa.array(offsets), flat.filter(kept))
    return table.set_column(table.schema.get_field_index("boxes"), FACES_SCHEMA.field("boxes"), boxes)


def write_faces(path: Path, table: pa.Table) -> None:
    """Write a table of `FACES_SCHEMA` beside its place and rename it when whole."""
    beside = path.with_name(path.name + ".part")
    pq.write_table(table, beside, compression="zstd", row_group_size=16384)
    beside.replace(path)


def read_faces(path: Path, candidates: bool = True) -> pa.Table:
    """Read and check a `faces.parquet`, also one that another tool wrote with just the named columns.

    Args:
        path: The file.
        candidates: Whether they are read; there may be several times as many as faces.

    Raises:
        InputError: Unreadable, a column missing or of another type, a text that is not UTF-8, a repeated image, an
            unknown status, or a box without area; the message names file, image and field.
    """
    try:
        wanted = [name for name in FACES_SCHEMA.names if candidates or name != "candidates"]
        table = pq.read_table(path, columns=[name for name in pq.read_schema(path).names if name in wanted])
    except FileNotFoundError:
        raise InputError(f"{path}: expected a faces.parquet, found no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: expected a Parquet file, got {one_line(error)}") from None
    table = _conformed(path, table)
    check_faces(path, table)
    return table


def _conformed(path: Path, table: pa.Table) -> pa.Table:
    metadata = table.schema.metadata
    columns = []
    for wanted in FACES_SCHEMA:
        if wanted.name not in table.column_names:
            if wanted.name not in _OPTIONAL:
                raise InputError(f"{path}: expected a column {wanted.name!r}, got {table.column_names}")
            columns.append(pa.nulls(len(table), wanted.type))
            continue
        try:
            columns.append(table[wanted.name].cast(wanted.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            got = table.schema.field(wanted.name).type
            raise InputError(f"{path}: column {wanted.name!r}: expected {wanted.type}, got {got}") from None
    return pa.table(columns, schema=FACES_SCHEMA).replace_schema_metadata(metadata)


def check_faces(path: Path, table: pa.Table) -> None:
    """Refuse a table of `FACES_SCHEMA` that is not sound.

    Raises:
        InputError: An image without a name or with several rows, an unknown status, a text that is not UTF-8, or a
            box without area; the message names `path`, image and field.
    """
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: expected whole columns and texts in UTF-8, got {one_line(error)}") from None
    ids = table["image_id"]
    if ids.null_count:
        raise InputError(f"{path}: column 'image_id': expected a name in every row, got {ids.null_count} nulls")
    if len(ids.unique()) != len(ids):  # three times as fast as count_distinct
        counts = pc.value_counts(ids)
        twice = next(c["values"].as_py() for c in counts if c["counts"].as_py() > 1)
        raise InputError(f"{path}: expected one row per image, got several of {twice!r}")
    known = pc.is_in(table["status"], value_set=pa.array(STATUSES))
    if not pc.all(known).as_py() and len(table):
        row = pc.index(known, pa.scalar(False)).as_py()
        raise InputError(
            f"{path}: {ids[row].as_py()!r}: status: expected one of {', '.join(STATUSES)}, "
            f"got {table['status'][row].as_py()!r}"
        )
    for name in ("boxes", "candidates"):
        _check_boxes(path, table, name)


def _check_boxes(path: Path, table: pa.Table, name: str) -> None:
    flat = pc.list_flatten(table[name]).combine_chunks()
    if not len(flat):
        return
    x0, y0, x1, y1 = (pc.struct_field(flat, side) for side in ("x0", "y0", "x1", "y1"))
    good = pc.and_(pc.less(x0, x1), pc.less(y0, y1))
    for side in (x0, y0, x1, y1):
        good = pc.and_(good, pc.is_finite(side))
    good = pc.fill_null(good, False)
    if pc.all(good).as_py():
        return
    place = pc.index(good, pa.scalar(False)).as_py()
    row = pc.list_parent_indices(table[name]).combine_chunks()[place].as_py()
    raise InputError(
        f"{path}: {table['image_id'][row].as_py()!r}: {name}: expected finite x0 < x1 and y0 < y1, "
        f"got {[side[place].as_py() for side in (x0, y0, x1, y1)]}"
    )
