"""`unface verify`: does any face show in an output folder?"""

from pathlib import Path
from typing import Annotated

import typer

from unface.cli.options import DEFAULT_DETECTOR, Json, Source, Threshold, Workers, print_json, worker_count


def verify(
    src: Source,
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder that unface wrote.", show_default=False)],
    detector_name: Annotated[
        str | None,
        typer.Option("--detector", metavar="NAME", help="Detector of the second pass.", show_default="the run's"),
    ] = None,
    threshold: Threshold = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Check that no face shows in DST.

    Compares DST with the dataset it was made from, and searches it again for faces. Exit code 3 if something
    definite shows.
    """
    from unface.cli.destination import locked, now, read_record
    from unface.cli.outcome import finish, model_facts
    from unface.cli.pipeline import Session, check_faces, detection_provenance
    from unface.datasets import open_dataset
    from unface.detect import make_detector
    from unface.engine import LocalExecutor, Progress
    from unface.errors import InputError, one_line

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
        with LocalExecutor(worker_count(workers)) as executor:
            session = Session(executor, Progress())
            checked = check_faces(session, dataset, dataset.listing(), dst, detector.name, threshold, same_detector)
        record.setdefault("stages", {})["verify"] = checked.record()
        record["verified"] = {"detector": detector.name, "threshold": threshold, "at": now()}
        record.setdefault("models", model_facts(detector.models))
        code = finish(dst, record)
    if as_json:
        print_json(record)
    raise typer.Exit(code)
