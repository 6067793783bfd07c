"""`unface run`: detect, obfuscate, verify, report."""

from pathlib import Path
from typing import Any

import typer

from unface.cli import options
from unface.cli.options import preload, print_json


def run(
    src: options.Source,
    dst: options.Destination,
    detector_name: options.DetectorName = options.DEFAULT_DETECTOR,
    mode: options.Mode = None,
    threshold: options.Threshold = None,
    device: options.Device = "auto",
    yes: options.Yes = False,
    method: options.Method = "blur",
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
    gpus_per_worker: options.GpusPerWorker = 0.0,
    rank: options.Rank = 0,
    world_size: options.WorldSize = 1,
    as_json: options.Json = False,
) -> None:
    """Make a safe copy of a dataset of images.

    Detects faces, obfuscates them, verifies the result and writes a report. DST gets images/, faces.parquet,
    manifest.parquet, verify.parquet, report.html and run.json, and failures.parquet if an image failed; such an
    image is not published. Interrupted? The same command again goes on where it stopped.
    """
    from unface.cli.sharing import Share, opened_executor

    share = Share(rank, world_size)
    with opened_executor(executor_name, workers, preload(jpeg), ray_address, gpus_per_worker) as executor:
        from unface.cli.cost import confirm_cost
        from unface.cli.destination import claimed, write_record
        from unface.cli.outcome import require_images
        from unface.cli.pipeline import Session, find_faces, ledger_of
        from unface.cli.repair import hide_until_verified
        from unface.datasets import open_dataset
        from unface.detect import make_detector
        from unface.engine import Progress
        from unface.errors import InputError
        from unface.obfuscate.methods import Obfuscation
        from unface.obfuscate.stage import Writing, parameters

        obfuscation = Obfuscation(method, preset, color, cells)
        if method == "none":
            raise InputError("method: expected blur, overlay or mosaic, got 'none', which only unface obfuscate takes")
        writing = Writing(jpeg.value, quality, link)
        dataset = open_dataset(src)
        detector = make_detector(options.with_mode(detector_name, mode), device=device)
        threshold = detector.threshold if threshold is None else threshold
        config: dict[str, Any] = {
            "detector": detector.name,
            "threshold": threshold,
            **parameters(obfuscation, writing),
        }
        with claimed(dst, dataset.root, config, share, overwrite) as record:
            survey = dataset.survey()
            require_images(src, survey)
            confirm_cost(
                detector, survey.images, yes, "; looking again at each image with faces, once or more, adds to it"
            )
            write_record(dst, record)
            session = Session(executor, Progress(), rank, world_size, retry_failed, device)
            found = find_faces(session, dataset, survey, detector.name, threshold, ledger_of(dst, "detect"))
            hidden, checked = hide_until_verified(
                session, dataset, survey, detector.name, threshold, obfuscation, writing, dst
            )
            share.end(dst / ".unface", "the tables")
            code = _conclude(dst, dataset, survey, detector, threshold, record, (found, hidden, checked))
    if as_json:
        print_json(record)
    raise typer.Exit(code)


def _conclude(
    dst: Path,
    dataset: Any,
    survey: Any,
    detector: Any,
    threshold: float,
    record: dict[str, Any],
    reports: tuple[Any, Any, Any],
) -> int:
    """Write tables, record and report, once all machines are done; returns the exit code."""
    from unface import __version__
    from unface.cli.destination import now
    from unface.cli.outcome import dataset_facts, finish, model_facts
    from unface.cli.pipeline import (
        failure_rows,
        ledger_of,
        whole,
        write_failures,
        write_ledger,
        write_manifest,
        write_table,
    )
    from unface.cli.repair import repaired_faces
    from unface.detect.stage import provenance
    from unface.faces import FACES_SCHEMA
    from unface.verify.stage import VERIFY_SCHEMA

    parts = survey.parts
    stages = {
        name: whole(report, ledger_of(dst, name), parts)
        for name, report in zip(("detect", "obfuscate", "verify"), reports, strict=True)
    }
    found_by = provenance(detector, threshold, __version__)
    write_table(repaired_faces(dst), parts, FACES_SCHEMA, found_by, dst / "faces.parquet")
    record["manifest"] = write_manifest(dst, parts, record)
    write_ledger(ledger_of(dst, "verify"), parts, VERIFY_SCHEMA, dst / "verify.parquet")
    failures = [stages[name].failure_rows for name in ("detect", "obfuscate")]
    write_failures(dst / "failures.parquet", failure_rows(survey, *failures))
    record["dataset"] = dataset_facts(dataset, survey, stages["detect"].images)
    record["models"] = model_facts(detector.models)
    record["stages"] = {name: report.record() for name, report in stages.items()}
    record["finished"] = now()
    return finish(dst, record)
