"""`unface run`: detect, obfuscate, verify, report."""

from dataclasses import asdict
from typing import Any

import typer

from unface.cli.options import (
    DEFAULT_DETECTOR,
    Cells,
    Color,
    Destination,
    DetectorName,
    Jpeg,
    JpegWriting,
    Json,
    Link,
    Method,
    Preset,
    Quality,
    Source,
    Threshold,
    Workers,
    preload,
    print_json,
    worker_count,
)


def run(
    src: Source,
    dst: Destination,
    detector_name: DetectorName = DEFAULT_DETECTOR,
    threshold: Threshold = None,
    method: Method = "blur",
    preset: Preset = "safe",
    color: Color = "mean",
    cells: Cells = 8,
    jpeg: Jpeg = JpegWriting.region,
    quality: Quality = None,
    link: Link = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Make a safe copy of a folder of images.

    Detects faces, obfuscates them, verifies the result and writes a report. DST gets images/, faces.parquet,
    manifest.parquet, verify.parquet, report.html and run.json, and failures.parquet if an image failed; such an
    image is not published. Interrupted? The same command again goes on where it stopped.
    """
    from unface.engine import LocalExecutor, Progress

    with LocalExecutor(worker_count(workers), preload(jpeg)) as executor:
        from unface.cli.destination import claimed, now, write_record
        from unface.cli.outcome import dataset_facts, finish, model_facts, require_images
        from unface.cli.pipeline import Session, find_faces
        from unface.cli.repair import hide_until_verified
        from unface.datasets import open_dataset
        from unface.detect import make_detector
        from unface.errors import InputError
        from unface.obfuscate.methods import Obfuscation
        from unface.obfuscate.stage import Writing

        obfuscation = Obfuscation(method, preset, color, cells)
        if method == "none":
            raise InputError("method: expected blur, overlay or mosaic, got 'none', which only unface obfuscate takes")
        writing = Writing(jpeg.value, quality, link)
        dataset = open_dataset(src)
        detector = make_detector(detector_name)
        threshold = detector.threshold if threshold is None else threshold
        config: dict[str, Any] = {
            "detector": detector.name,
            "threshold": threshold,
            **asdict(obfuscation),
            "jpeg": jpeg.value,
            "quality": quality,
        }
        with claimed(dst, dataset.root, config) as record:
            listing = dataset.listing()
            require_images(src, listing)
            write_record(dst, record)
            session = Session(executor, Progress())
            detected_path = dst / ".unface" / "detected.parquet"
            found = find_faces(session, dataset, listing, detector, threshold, dst / ".unface", detected_path)
            hidden, checked = hide_until_verified(
                session, dataset, listing, detector.name, threshold, obfuscation, writing, found, detected_path, dst
            )
            record["dataset"] = dataset_facts(listing)
            record["models"] = model_facts(detector.models)
            stages = {"detect": found, "obfuscate": hidden, "verify": checked}
            record["stages"] = {name: report.record() for name, report in stages.items()}
            record["finished"] = now()
            code = finish(dst, record)
    if as_json:
        print_json(record)
    raise typer.Exit(code)
