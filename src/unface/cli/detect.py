"""`unface detect`: find the faces."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from unface.cli import options
from unface.cli.options import PRELOAD, SHOWN, print_json, tell, tell_failures


def detect(
    src: options.Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FACES", help="Table to write.")] = Path(
        "faces.parquet"
    ),
    detector_name: options.DetectorName = options.DEFAULT_DETECTOR,
    mode: options.Mode = None,
    threshold: options.Threshold = None,
    device: options.Device = "auto",
    yes: options.Yes = False,
    retry_failed: options.RetryFailed = False,
    overwrite: options.Overwrite = False,
    workers: options.Workers = None,
    executor_name: options.Executor = options.ExecutorName.local,
    ray_address: options.RayAddress = None,
    gpus_per_worker: options.GpusPerWorker = 0.0,
    rank: options.Rank = 0,
    world_size: options.WorldSize = 1,
    as_json: options.Json = False,
) -> None:
    """Find the faces; write faces.parquet.

    Interrupted? The same command again goes on where it stopped. What it needs for that lies beside FACES in a
    hidden folder, .FACES.work, which may be deleted.
    """
    from unface.cli.sharing import Share, opened_executor

    share = Share(rank, world_size)
    with opened_executor(executor_name, workers, PRELOAD, ray_address, gpus_per_worker) as executor:
        from unface import __version__
        from unface.cli.cost import confirm_cost
        from unface.cli.destination import locked
        from unface.cli.outcome import ALL_DONE, SOME_FAILED, require_images
        from unface.cli.pipeline import Session, failure_rows, find_faces, whole, write_failures, write_table
        from unface.cli.rows import LedgerRows
        from unface.datasets import open_dataset
        from unface.detect import make_detector
        from unface.detect.stage import provenance
        from unface.engine import Ledger, Progress
        from unface.faces import FACES_SCHEMA

        dataset = open_dataset(src)
        detector = make_detector(options.with_mode(detector_name, mode), device=device)
        threshold = detector.threshold if threshold is None else threshold
        survey = dataset.survey()
        require_images(src, survey)
        made_by = provenance(detector, threshold, __version__)
        if not overwrite:
            _require_own(output, made_by)
        confirm_cost(detector, survey.images, yes)
        work = output.with_name(f".{output.name}.work")
        ledger = Ledger(work / "detect")
        with locked(work, share):
            share.begin(work)
            session = Session(executor, Progress(), rank, world_size, retry_failed, device)
            report = find_faces(session, dataset, survey, detector.name, threshold, ledger)
            share.end(work, str(output))
            report = whole(report, ledger, survey.parts)
            write_table(LedgerRows(ledger, FACES_SCHEMA), survey.parts, FACES_SCHEMA, made_by, output)
    failures = failure_rows(survey, report.failure_rows)
    failures_path = output.with_name(output.stem + ".failures.parquet")
    write_failures(failures_path, failures)
    tell(f"{report.images} images, {report.faces} faces: {output}")
    tell_failures(failures.slice(0, SHOWN).to_pylist(), len(failures), failures_path)
    if as_json:
        print_json({"output": str(output), "failures": len(failures), "detect": report.record()})
    raise typer.Exit(SOME_FAILED if len(failures) else ALL_DONE)


def _require_own(output: Path, made_by: Mapping[str, str]) -> None:
    """Refuse to write over a table that something else has made: another detector, or people."""
    from unface.cli.pipeline import detection_provenance
    from unface.errors import InputError, one_line
    from unface.faces import read_faces

    if not output.exists():
        return
    read_faces(output)
    found_by = detection_provenance(output)
    if any(found_by.get(name) != value for name, value in made_by.items()):
        raise InputError(
            f"{one_line(str(output))}: expected no table, or one that this command made, got another one; name "
            "another with -o, or --overwrite this one"
        )
