"""`unface obfuscate`: hide recorded faces."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from unface.cli.options import (
    Cells,
    Color,
    Destination,
    Jpeg,
    JpegWriting,
    Json,
    Link,
    MethodOrNone,
    Preset,
    Quality,
    Source,
    Workers,
    preload,
    print_json,
    worker_count,
)


def obfuscate(
    src: Source,
    faces_path: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet.", show_default=False)],
    dst: Destination,
    method: MethodOrNone = "blur",
    preset: Preset = "safe",
    color: Color = "mean",
    cells: Cells = 8,
    jpeg: Jpeg = JpegWriting.region,
    quality: Quality = None,
    link: Link = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Hide the faces that FACES records.

    Writes a safe copy of SRC to DST. An image without a row in FACES, or whose row says that it failed, is not
    published.
    """
    from unface.cli.destination import claimed, now, write_record
    from unface.cli.outcome import dataset_facts, finish, require_images
    from unface.cli.pipeline import Session, failure_rows, hide_faces, write_failures
    from unface.datasets import open_dataset
    from unface.engine import LocalExecutor, Progress
    from unface.faces import read_faces, write_faces
    from unface.obfuscate.methods import Obfuscation
    from unface.obfuscate.stage import Writing

    obfuscation = Obfuscation(method, preset, color, cells)
    writing = Writing(jpeg.value, quality, link)
    dataset = open_dataset(src)
    faces = read_faces(faces_path)
    config: dict[str, Any] = {
        "faces": str(faces_path.resolve()),
        **asdict(obfuscation),
        "jpeg": jpeg.value,
        "quality": quality,
    }
    with claimed(dst, dataset.root, config) as record:
        listing = dataset.listing()
        require_images(src, listing)
        write_record(dst, record)
        with LocalExecutor(worker_count(workers), preload(jpeg)) as executor:
            hidden = hide_faces(Session(executor, Progress()), dataset, listing, faces, obfuscation, writing, dst)
        write_faces(dst / "faces.parquet", faces)
        write_failures(dst / "failures.parquet", failure_rows(listing, hidden))
        record["dataset"] = dataset_facts(listing)
        record["stages"] = {"obfuscate": hidden.record()}
        record["finished"] = now()
        code = finish(dst, record)
    if as_json:
        print_json(record)
    raise typer.Exit(code)
