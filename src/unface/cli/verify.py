"""`unface verify`: does any face show in an output folder?"""

from pathlib import Path
from typing import Annotated

import typer

from unface.cli.options import (
    DEFAULT_DETECTOR,
    PRELOAD,
    Executor,
    ExecutorName,
    GpusPerWorker,
    Json,
    RayAddress,
    Source,
    Threshold,
    Workers,
    print_json,
)


def verify(
    src: Source,
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder that unface wrote.", show_default=False)],
    detector_name: Annotated[
        str | None,
        typer.Option("--detector", metavar="NAME", help="Detector of the second pass.", show_default="the run's"),
    ] = None,
    threshold: Threshold = None,
    workers: Workers = None,
    executor_name: Executor = ExecutorName.local,
    ray_address: RayAddress = None,
    gpus_per_worker: GpusPerWorker = 0.0,
    as_json: Json = False,
) -> None:
    """Check that no face shows in DST.

    Compares DST with the dataset it was made from, and searches it again for faces. Exit code 3 if something
    definite shows.
    """
    import pyarrow.parquet as pq

    from unface.cli.destination import locked, now, read_record
    from unface.cli.outcome import finish, model_facts
    from unface.cli.pipeline import Session, check_faces, detection_provenance, ledger_of, read_failures, write_ledger
    from unface.cli.rows import Rows, TableRows
    from unface.cli.sharing import opened_executor
    from unface.datasets import open_dataset
    from unface.detect import make_detector
    from unface.engine import Progress
    from unface.errors import InputError, one_line
    from unface.faces import read_faces
    from unface.verify.stage import VERIFY_SCHEMA

    dataset = open_dataset(src)
    record = read_record(dst)
    if record is None or not (dst / "manifest.parquet").exists() or not (dst / "images").is_dir():
        raise InputError(f"{one_line(str(dst))}: expected a folder that unface wrote (run.json, manifest.parquet)")
    found_by = detection_provenance(dst / "faces.parquet")
    detector = make_detector(detector_name or found_by.get("detector", DEFAULT_DETECTOR))
    same_detector = detector.name == found_by.get("detector")
    if threshold is None:
        threshold = float(found_by["threshold"]) if same_detector else detector.threshold
    with locked(dst):
        survey = dataset.survey()
        tables = {
            "faces": read_faces(dst / "faces.parquet"),
            "manifest": pq.read_table(dst / "manifest.parquet"),
            "failures": read_failures(dst),
        }
        inputs: dict[str, Rows] = {name: TableRows(table, survey.parts) for name, table in tables.items()}
        ledger = ledger_of(dst, "verify")
        if all(ledger.statistics(index) for index in range(len(survey.parts))):
            ledger.prune(0)  # it was verified before: look again; an interrupted one goes on
        with opened_executor(executor_name, workers, PRELOAD, ray_address, gpus_per_worker) as executor:
            session = Session(executor, Progress())
            checked = check_faces(session, dataset, survey, inputs, dst, detector.name, threshold, same_detector)
        write_ledger(ledger, survey.parts, VERIFY_SCHEMA, dst / "verify.parquet")
        record.setdefault("stages", {})["verify"] = checked.record()
        record["verified"] = {"detector": detector.name, "threshold": threshold, "at": now()}
        record.setdefault("models", model_facts(detector.models))
        code = finish(dst, record)
    if as_json:
        print_json(record)
    raise typer.Exit(code)
