"""`unface detect`: find the faces."""

from pathlib import Path
from typing import Annotated

import typer

from unface.cli.options import (
    DEFAULT_DETECTOR,
    SHOWN,
    DetectorName,
    Json,
    Source,
    Threshold,
    Workers,
    print_json,
    tell,
    tell_failures,
    worker_count,
)


def detect(
    src: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FACES", help="Table to write.")] = Path(
        "faces.parquet"
    ),
    detector_name: DetectorName = DEFAULT_DETECTOR,
    threshold: Threshold = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Find the faces; write faces.parquet.

    Interrupted? The same command again goes on where it stopped.
    """
    import shutil

    from unface.cli.outcome import ALL_DONE, SOME_FAILED, require_images
    from unface.cli.pipeline import Session, failure_rows, find_faces, write_failures
    from unface.datasets import open_dataset
    from unface.detect import make_detector
    from unface.engine import LocalExecutor, Progress

    dataset = open_dataset(src)
    detector = make_detector(detector_name)
    threshold = detector.threshold if threshold is None else threshold
    listing = dataset.listing()
    require_images(src, listing)
    work = output.with_name(output.name + ".work")
    with LocalExecutor(worker_count(workers)) as executor:
        session = Session(executor, Progress())
        report = find_faces(session, dataset, listing, detector, threshold, work, output)
    failures = failure_rows(listing, report)
    failures_path = output.with_name(output.stem + ".failures.parquet")
    write_failures(failures_path, failures)
    shutil.rmtree(work)
    tell(f"{report.images} images, {report.faces} faces: {output}")
    tell_failures(failures.slice(0, SHOWN).to_pylist(), len(failures), failures_path)
    if as_json:
        print_json({"output": str(output), "failures": len(failures), "detect": report.record()})
    raise typer.Exit(SOME_FAILED if len(failures) else ALL_DONE)
