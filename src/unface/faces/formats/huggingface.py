"""An `objects` column as Hugging Face's object detection datasets have it.

It stands in a Parquet file, or in the `metadata.jsonl` of a folder of images. `objects` holds `bbox` (x, y, width,
height in pixels, as in COCO) and `category`, either as a struct of lists or as a list of structs.
https://huggingface.co/docs/datasets/image_dataset#object-detection
"""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from unface.errors import ImageError, InputError, one_line
from unface.faces.formats.annotated import FACE, Annotated, AnnotatedImages, Box, Format, Notes, first_of, known_score
from unface.faces.formats.files import json_object, text_lines
from unface.faces.formats.names import files_below
from unface.images import probe

_OBJECTS = pa.struct(
    [
        ("bbox", pa.list_(pa.list_(pa.float64(), 4))),
        ("category", pa.list_(pa.string())),
        ("score", pa.list_(pa.float64())),
        ("source", pa.list_(pa.string())),
    ]
)
_SCHEMA = pa.schema(
    [
        ("file_name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
        ("objects", _OBJECTS),
    ]
)
_COLUMNS = ("file_name", "image_id", "image", "width", "height", "status", "objects")
_LINES = ".jsonl"


class _Record(msgspec.Struct):
    objects: dict[str, Any] | list[dict[str, Any]] | None = None
    file_name: str | None = None
    image: str | dict[str, Any] | None = None
    image_id: str | int | None = None
    width: int | None = None
    height: int | None = None
    status: str | None = None


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one file, or every Parquet file below a folder."""
    for file in [path] if path.is_file() else files_below(path, ".parquet"):
        if file.suffix == _LINES:
            names: list[str] = []
            for line, text in text_lines(file):
                if text.strip():
                    yield _annotated(json_object(file, _Record, text.encode(), f"line {line}"), names, file, line)
        else:
            yield from _parquet(file)


def _parquet(path: Path) -> Iterator[Annotated]:
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
            if "objects" not in columns:
                raise InputError(f"{path}: expected a column 'objects', got {file.schema_arrow.names}")
            names, rows = _class_names(file.schema_arrow, path), count(1)
            for batch in file.iter_batches(1024, columns=columns):
                for row, record in zip(rows, batch.to_pylist(), strict=False):
                    yield _annotated(_converted(record, path, row), names, path, row)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a Parquet file, got {one_line(error)[:200]}") from None


def _converted(record: Mapping[str, Any], path: Path, row: int) -> _Record:
    try:
        return msgspec.convert(record, _Record)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: record {row}: {one_line(error)[:200]}") from None


def _class_names(schema: pa.Schema, path: Path) -> list[str]:
    """Names of the classes, where `datasets` wrote them into the file."""
    said = (schema.metadata or {}).get(b"huggingface")
    if not said:
        return []
    features = json_object(path, dict[str, Any], said, "metadata").get("info", {}).get("features", {})
    found: list[Any] = [features.get("objects")]
    while found:
        node = found.pop()
        if isinstance(node, dict):
            if node.get("_type") == "ClassLabel" and isinstance(node.get("names"), list):
                return [str(name) for name in node["names"]]
            found += node.values()
        elif isinstance(node, list):
            found += node
    return []


def _annotated(record: _Record, names: list[str], path: Path, place: int) -> Annotated:
    where = f"{path}: record {place}"
    image = record.image if isinstance(record.image, dict) else {"path": record.image}
    name = record.file_name or image.get("path") or record.image_id
    if not isinstance(name, str):
        raise InputError(f"{where}: file_name: expected a name in file_name, image.path or image_id, got none")
    size_wh = (record.width or 0, record.height or 0)
    data = image.get("bytes")
    if not all(size_wh) and isinstance(data, bytes):
        try:
            size_wh = probe(data).upright_size
        except ImageError as error:
            raise InputError(f"{where}: image: {error}") from None
    boxes = [_box(found, names, where) for found in _structs(record.objects, where)]
    return Annotated(name, boxes, place, size_wh, record.status)


def _structs(objects: Any, where: str) -> list[dict[str, Any]]:
    """The objects one by one, however they are laid out."""
    if isinstance(objects, list):
        return objects
    lists = {key: values for key, values in (objects or {}).items() if isinstance(values, list)}
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{where}: objects: expected lists of one length, got {lengths}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _box(found: Mapping[str, Any], names: list[str], where: str) -> Box:
    try:
        x, y, width, height = msgspec.convert(found.get("bbox"), tuple[float, float, float, float])
        score = msgspec.convert(first_of(found, "score", "confidence"), float | None)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: objects: bbox or score: {one_line(error)[:200]}") from None
    category = first_of(found, "category", "categories", "label", "labels", "category_id")
    if isinstance(category, int) and names and 0 <= category < len(names):
        category = names[category]
    label = FACE if category is None else str(category)
    return Box(x, y, x + width, y + height, label, score, str(found.get("source") or ""))


def write(path: Path, images: AnnotatedImages) -> None:
    """Write Parquet, or JSON lines where the name ends in `.jsonl`."""
    if path.name.removesuffix(".part").endswith(_LINES):
        with path.open("wb") as file:
            for image in images:
                file.write(msgspec.json.encode(_record(image)) + b"\n")
        return
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        rows: list[dict[str, Any]] = []
        for image in images:
            rows.append(_record(image))
            if len(rows) == 16384:
                writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))


def _record(image: Annotated) -> dict[str, Any]:
    width, height = image.size_wh or (0, 0)
    return {
        "file_name": image.image_id,
        "width": width,
        "height": height,
        "status": image.status,
        "objects": {
            "bbox": [[box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0] for box in image.boxes],
            "category": [box.label for box in image.boxes],
            "score": [known_score(box) for box in image.boxes],
            "source": [box.source for box in image.boxes],
        },
    }


def _matches(path: Path, head: bytes) -> bool:
    if path.is_dir():
        first = next(iter(files_below(path, ".parquet")), None)
        return first is not None and _has_objects(first)
    return (head.startswith(b"PAR1") and _has_objects(path)) or (path.suffix == _LINES and b'"objects"' in head)


def _has_objects(path: Path) -> bool:
    try:
        return "objects" in pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return False


FORMAT = Format(
    "Hugging Face objects column",
    read,
    write,
    matches=_matches,
    is_named=lambda name: name.endswith(_LINES),
    holds=frozenset({"score", "label", "source", "status", "size", "empty"}),
)
