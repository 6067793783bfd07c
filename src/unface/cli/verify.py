"""`unface verify`: does any face show in an output folder?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unface.cli import options
from unface.cli.options import DEFAULT_DETECTOR, PRELOAD, print_json

if TYPE_CHECKING:
    from unface.verify.stage import Checking

NONE = "none"
_SECONDS = ("yunet", "centerface")


def verify(
    src: options.Source,
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Folder that unface wrote.", show_default=False)],
    detector_name: Annotated[
        str | None,
        typer.Option(
            "--detector",
            metavar="NAME",
            help="A second, different detector, or none. What it alone sees is listed and never fails the check.",
            show_default="yunet, or centerface where the run's own is yunet",
        ),
    ] = None,
    threshold: options.Threshold = None,
    truth_path: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="True faces, in any format of convert: counts leaks.", show_default=False
        ),
    ] = None,
    groups_path: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="CSV",
            help="image_id, group, and the face's x0, y0, x1, y1 (or --truth): leaks by group; a column subject names "
            "people.",
            show_default=False,
        ),
    ] = None,
    attacks: Annotated[
        int,
        typer.Option(
            "--attacks",
            metavar="N",
            min=0,
            help="Attack N faces: deblurring, a network trained on hidden faces, recognition (extra verify).",
        ),
    ] = 0,
    embedder_name: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            metavar="NAME",
            help="With --attacks: recognises people; dlib-resnet, or an .onnx file of ArcFace's layout.",
            show_default=False,
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="With --attacks: other methods and strengths on the same faces too.")
    ] = False,
    utility_path: Annotated[
        Path | None,
        typer.Option(
            "--utility",
            metavar="PATH",
            help="A study's folder, or a CSV of treatments and numbers: plotted against privacy.",
            show_default=False,
        ),
    ] = None,
    yes: options.Yes = False,
    workers: options.Workers = None,
    executor_name: options.Executor = options.ExecutorName.local,
    ray_address: options.RayAddress = None,
    gpus_per_worker: options.GpusPerWorker = 0.0,
    as_json: options.Json = False,
) -> None:
    """Check that no face shows in DST.

    Compares DST with the dataset it was made from, and searches it again for faces, with the run's own detector and
    a second one. Exit code 3 if something definite shows.
    """
    import pyarrow.parquet as pq

    from unface.cli.attacks import Battery, treatments
    from unface.cli.convert import read_input
    from unface.cli.cost import confirm_cost
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
    from unface.report.leaks import read_groups
    from unface.report.privacy import Known
    from unface.report.utility import read_utility
    from unface.verify.chain import with_broken_lines
    from unface.verify.stage import VERIFY_SCHEMA

    dataset = open_dataset(src)
    record = read_record(dst)
    if record is None or not (dst / "manifest.parquet").exists() or not (dst / "images").is_dir():
        raise InputError(f"{one_line(str(dst))}: expected a folder that unface wrote (run.json, manifest.parquet)")
    checking = _checking(detection_provenance(dst / "faces.parquet"), detector_name, threshold, record)
    battery = Battery.prepared(attacks, embedder_name, compare)
    measure, utility = read_utility(utility_path, treatments(record)) if utility_path else ("", None)
    truth = read_input(truth_path, None, src, False, "reviewed").table if truth_path else None
    known = Known(truth, read_groups(groups_path) if groups_path else (), utility, measure)
    with locked(dst):
        survey = dataset.survey()
        for name in filter(None, (checking.detector_name, checking.second_name)):
            confirm_cost(make_detector(name), survey.images, yes)
        tables = {
            "faces": read_faces(dst / "faces.parquet"),
            "manifest": with_broken_lines(pq.read_table(dst / "manifest.parquet"), record.get("manifest")),
            "failures": read_failures(dst),
        }
        inputs: dict[str, Rows] = {name: TableRows(table, survey.parts) for name, table in tables.items()}
        ledger = ledger_of(dst, "verify")
        if all(ledger.statistics(index) for index in range(len(survey.parts))):
            ledger.prune(0)  # it was verified before: look again; an interrupted one goes on
        with opened_executor(executor_name, workers, PRELOAD, ray_address, gpus_per_worker) as executor:
            session = Session(executor, Progress())
            checked = check_faces(session, dataset, survey, inputs, dst, checking)
        write_ledger(ledger, survey.parts, VERIFY_SCHEMA, dst / "verify.parquet")
        record.setdefault("stages", {})["verify"] = checked.record()
        record["verified"] = {
            "detector": checking.detector_name,
            "threshold": checking.threshold,
            "second": checking.second_name or None,
            "second_threshold": make_detector(checking.second_name).threshold if checking.second_name else None,
            "at": now(),
        }
        record.setdefault("models", model_facts(make_detector(checking.detector_name).models))
        if battery is not None:
            battery.run(dataset, dst, record)
        code = finish(dst, record, known)
    if as_json:
        print_json(record)
    raise typer.Exit(code)


def _checking(
    found_by: Mapping[str, str], second_name: str | None, threshold: float | None, record: Mapping[str, Any]
) -> "Checking":
    """Who looks again: the detector that the faces are of (the default one, where people or others found them)."""
    from unface.detect import make_detector
    from unface.errors import InputError
    from unface.verify.stage import Checking

    own = make_detector(found_by.get("detector", DEFAULT_DETECTOR))
    if second_name is None:
        second_name = next(name for name in _SECONDS if name != own.name)
    if second_name == own.name:
        raise InputError(f"detector: expected another one than the run's own, or none, got {second_name!r}")
    second = "" if second_name == NONE else make_detector(second_name).name
    if threshold is None:
        threshold = float(found_by["threshold"]) if found_by else own.threshold
    cells = record.get("config", {}).get("cells", 8)
    return Checking(own.name, threshold, bool(found_by), second, cells)
