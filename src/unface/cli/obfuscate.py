"""`unface obfuscate`: hide recorded faces."""

from pathlib import Path
from typing import Annotated

import typer

from unface.cli import options
from unface.cli.options import preload, print_json


def obfuscate(
    src: options.Source,
    faces_path: Annotated[Path, typer.Argument(metavar="FACES", help="faces.parquet.", show_default=False)],
    dst: options.Destination,
    method: options.MethodOrNone = "blur",
    preset: options.Preset = "safe",
    color: options.Color = "mean",
    cells: options.Cells = 8,
    jpeg: options.Jpeg = options.JpegWriting.region,
    quality: options.Quality = None,
    link: options.Link = False,
    retry_failed: options.RetryFailed = False,
    overwrite: options.Overwrite = False,
    workers: options.Workers = None,
    executor_name: options.Executor = options.ExecutorName.local,
    ray_address: options.RayAddress = None,
    rank: options.Rank = 0,
    world_size: options.WorldSize = 1,
    as_json: options.Json = False,
) -> None:
    """Hide the faces that FACES records.

    Writes a safe copy of SRC to DST. An image without a row in FACES, or whose row says that it failed, is not
    published.
    """
    from unface.cli.destination import claimed, now, write_record
    from unface.cli.outcome import dataset_facts, finish, require_images
    from unface.cli.pipeline import (
        Session,
        absent_failures,
        failure_rows,
        hide_faces,
        ledger_of,
        whole,
        write_failures,
        write_manifest,
    )
    from unface.cli.rows import TableRows
    from unface.cli.sharing import Share, opened_executor
    from unface.datasets import open_dataset
    from unface.engine import Progress
    from unface.faces import read_faces, write_faces
    from unface.obfuscate.methods import Obfuscation
    from unface.obfuscate.stage import Writing, parameters

    share = Share(rank, world_size)
    obfuscation = Obfuscation(method, preset, color, cells)
    writing = Writing(jpeg.value, quality, link)
    dataset = open_dataset(src)
    faces = read_faces(faces_path)
    config = {"faces": str(faces_path.resolve()), **parameters(obfuscation, writing)}
    with claimed(dst, dataset.root, config, share, overwrite) as record:
        survey = dataset.survey()
        require_images(src, survey)
        write_record(dst, record)
        rows = TableRows(faces, survey.parts)
        with opened_executor(executor_name, workers, preload(jpeg), ray_address, 0.0) as executor:
            session = Session(executor, Progress(), rank, world_size, retry_failed)
            hidden = hide_faces(session, dataset, survey, rows, obfuscation, writing, dst)
        share.end(dst / ".unface", "the tables")
        ledger = ledger_of(dst, "obfuscate")
        hidden = whole(hidden, ledger, survey.parts)
        record["manifest"] = write_manifest(dst, survey.parts, record)
        write_faces(dst / "faces.parquet", faces)
        failures = failure_rows(survey, hidden.failure_rows, absent_failures(rows.unused_ids))
        write_failures(dst / "failures.parquet", failures)
        record["dataset"] = dataset_facts(dataset, survey, hidden.images)
        record["stages"] = {"obfuscate": hidden.record()}
        record["finished"] = now()
        code = finish(dst, record)
    if as_json:
        print_json(record)
    raise typer.Exit(code)
