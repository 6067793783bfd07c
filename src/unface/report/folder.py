"""What an output folder holds: its tables and its run, each of which may be missing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unface.errors import InputError, one_line
from unface.faces.table import read_faces

_MANIFEST = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),
        ("mode", pa.string()),
        ("method", pa.string()),
        ("preset", pa.string()),
        ("faces", pa.int64()),
        ("min_face_weight", pa.float64()),
    ]
)
_FAILURES = pa.schema([(name, pa.string()) for name in ("image_id", "stage", "error_class", "message")])
_FINDING = {
    "check": pa.string(),
    "definite": pa.bool_(),
    "message": pa.string(),
    **{name: pa.float32() for name in ("x0", "y0", "x1", "y1", "score", "coverage")},
}
_VERIFY = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),
        ("rechecked", pa.bool_()),
        ("residual_weight", pa.float64()),
    ]
)


class Run:
    """`run.json`, any part of which may be missing or of another type than expected."""

    def __init__(self, content: object = None):
        self._content = content

    def at(self, *keys: str) -> Any:
        """What stands under the keys, or None."""
        value: Any = self._content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def text(self, *keys: str) -> str | None:
        """A text or a number as text."""
        value = self.at(*keys)
        return None if value in (None, "") or isinstance(value, dict | list) else str(value)

    def number(self, *keys: str) -> float | None:
        """A number of zero or more."""
        value = self.at(*keys)
        good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18
        return value if good else None

    def mapping(self, *keys: str) -> dict[str, Any]:
        """An object, empty if there is none."""
        value = self.at(*keys)
        return value if isinstance(value, dict) else {}

    def texts(self, *keys: str) -> list[str]:
        """A list's texts."""
        value = self.at(*keys)
        return [str(item) for item in value if item is not None] if isinstance(value, list) else []

    def objects(self, *keys: str) -> list["Run"]:
        """A list's objects."""
        value = self.at(*keys)
        return [Run(item) for item in value if isinstance(item, dict)] if isinstance(value, list) else []


@dataclass(frozen=True, eq=False)
class Folder:
    """An output folder's tables; None where a file is missing or unreadable.

    Attributes:
        path: The folder.
        faces: `faces.parquet`.
        manifest: `manifest.parquet`, without its checksums.
        failures: `failures.parquet`.
        verify: `verify.parquet`, one row per image, without its findings.
        findings: Its findings, one row each: image_id, check, definite, message, x0 to y1, score, coverage.
        run: `run.json`.
        notes: One sentence for each file that could not be read.
    """

    path: Path
    faces: pa.Table | None = None
    manifest: pa.Table | None = None
    failures: pa.Table | None = None
    verify: pa.Table | None = None
    findings: pa.Table | None = None
    run: Run = field(default_factory=Run)
    notes: tuple[str, ...] = ()

    @property
    def published(self) -> pa.Table | None:
        """The manifest's rows of images that lie in `images/`."""
        return None if self.manifest is None else self.manifest.filter(pc.equal(self.manifest["status"], "done"))

    @property
    def provenance(self) -> dict[str, str]:
        """What the metadata of `faces.parquet` says of its origin, by key."""
        metadata = (self.faces.schema.metadata if self.faces is not None else None) or {}
        entries = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in metadata.items()}
        return {key[7:]: value for key, value in sorted(entries.items()) if key.startswith("unface.")}


def read_folder(path: Path) -> Folder:
    """Read the tables of an output folder; a damaged one becomes a note, so that the rest is still told."""
    notes: list[str] = []
    found = {
        name: _attempt(path / file, read, notes)
        for name, file, read in (
            ("faces", "faces.parquet", read_faces),
            ("manifest", "manifest.parquet", lambda file: _conformed(_parquet(file), _MANIFEST)),
            ("failures", "failures.parquet", lambda file: _conformed(_parquet(file), _FAILURES)),
            ("run", "run.json", _run),
        )
    }
    verify, findings = _attempt(path / "verify.parquet", _verify, notes) or (None, None)
    run = found.pop("run") or Run()
    return Folder(path, **found, verify=verify, findings=findings, run=run, notes=tuple(notes))


def _attempt(path: Path, read: Any, notes: list[str]) -> Any:
    if not path.exists():
        return None
    try:
        return read(path)
    except (InputError, pa.ArrowException, OSError, ValueError, RecursionError) as error:
        notes.append(f"{path.name} could not be read, so what it says is missing here: {one_line(error)}")
        return None


def _parquet(path: Path) -> pa.Table:
    table = pq.ParquetFile(path).read()
    table.validate(full=True)
    return table


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if "image_id" not in table.column_names:
        raise ValueError(f"expected a column 'image_id', got {table.column_names}")
    return pa.table(
        [
            table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in schema
        ],
        schema=schema,
    )


def _verify(path: Path) -> tuple[pa.Table, pa.Table]:
    table = _parquet(path)
    return _conformed(table, _VERIFY), _findings(table)


def _findings(table: pa.Table) -> pa.Table:
    lists = table["findings"].combine_chunks() if "findings" in table.column_names else pa.nulls(len(table))
    kind = lists.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        raise ValueError(f"column 'findings': expected a list of structs, got {kind}")
    flat = pc.list_flatten(lists)
    present = {flat.type.field(i).name for i in range(flat.type.num_fields)}
    columns: Mapping[str, Any] = {
        "image_id": table["image_id"].cast(pa.string()).take(pc.list_parent_indices(lists)),
        **{
            name: pc.struct_field(flat, name).cast(kind) if name in present else pa.nulls(len(flat), kind)
            for name, kind in _FINDING.items()
        },
    }
    return pa.table(columns)


def _run(path: Path) -> Run:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    return Run(content)
