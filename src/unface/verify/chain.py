"""The manifest as a chain: each line's sha256 covers the line before it, so that no line can be changed unseen.

Line n has `line_sha256` = sha256(`line_sha256` of line n - 1, then the line as JSON); before the first line stands the
sha256 of the header as JSON. JSON is UTF-8, keys sorted, no spaces. Header, number of lines and the last line's sha256,
the seal, are in `run.json`; a seal that is filed elsewhere tells later whether the whole is still the same.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unface.obfuscate.stage import MANIFEST_SCHEMA

LINE = "line_sha256"
BROKEN = "broken"


def seal_manifest(path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
    """Add the chain to a manifest, in place; written beside and renamed when whole.

    Args:
        path: `manifest.parquet`.
        header: By which version, how and from what the files were made; what JSON can hold.

    Returns:
        The seal: header, lines, sha256.
    """
    last, lines = _digest("", header), 0
    beside = path.with_name(path.name + ".part")
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow.append(pa.field(LINE, pa.string()))
        with pq.ParquetWriter(beside, schema, compression="zstd") as writer:
            for batch in file.iter_batches():
                hashes = []
                for record in batch.select(MANIFEST_SCHEMA.names).to_pylist():
                    last = _digest(last, record)
                    hashes.append(last)
                lines += len(hashes)
                table = pa.Table.from_batches([batch]).append_column(LINE, pa.array(hashes, pa.string()))
                writer.write_table(table.replace_schema_metadata(schema.metadata))
    beside.replace(path)
    return {"header": dict(header), "lines": lines, "sha256": last}


def with_broken_lines(manifest: pa.Table, seal: Mapping[str, Any] | None) -> pa.Table:
    """The manifest with a column that says which lines are not as they were sealed.

    A line is broken that was changed, or that stands behind one that was removed, added or moved; and the last one
    where the whole is not what `run.json` sealed.

    Args:
        manifest: As read.
        seal: What `seal_manifest` returned; None where nothing was sealed, and then nothing is broken.
    """
    broken = [False] * len(manifest)
    if seal:
        hashes = manifest[LINE].to_pylist() if LINE in manifest.column_names else [""] * len(manifest)
        records = _records(manifest)
        last = _digest("", seal.get("header", {}))
        for place, (record, line) in enumerate(zip(records, hashes, strict=True)):
            broken[place] = line != _digest(last, record)
            last = str(line)
        if broken and (last != seal.get("sha256") or len(broken) != seal.get("lines")):
            broken[-1] = True
    return manifest.append_column(BROKEN, pa.array(broken, pa.bool_()))


def _records(manifest: pa.Table) -> Iterable[dict[str, Any]]:
    """The sealed columns of each line, in their types."""
    for batch in manifest.select(MANIFEST_SCHEMA.names).cast(MANIFEST_SCHEMA).to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _digest(previous: str, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256((previous + text).encode()).hexdigest()
