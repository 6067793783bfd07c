"""Options that several commands share, and how results are told."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from unface.errors import InputError, one_line


class JpegWriting(StrEnum):
    """How a changed JPEG is written."""

    region = "region"
    reencode = "reencode"


class ExecutorName(StrEnum):
    """Who does the work."""

    local = "local"
    ray = "ray"


class CascadeMode(StrEnum):
    """How long the default detector looks."""

    fast = "fast"
    thorough = "thorough"


Source = Annotated[
    str,
    typer.Argument(
        metavar="SRC",
        help="Folder of images, of WebDataset tars or of Parquet files; shards-{000..123}.tar; or a URL of these.",
        show_default=False,
    ),
]


def _folder(name: str) -> Path:
    if "://" in name:
        raise InputError(
            f"{one_line(name)}: expected a folder of this machine, got a URL; mount it, or copy the result"
        )
    return Path(name)


Destination = Annotated[Path, typer.Argument(metavar="DST", help="Output folder.", show_default=False, parser=_folder)]
DetectorName = Annotated[
    str,
    typer.Option(
        "--detector",
        help="cascade, yunet, centerface, retinaface, scrfd-500m, scrfd:PATH, yolo-face:PATH, rekognition, nudenet, or "
        "one of an installed package; several with +.",
        metavar="NAME",
    ),
]
Mode = Annotated[
    CascadeMode | None,
    typer.Option(
        "--mode",
        help="Of the cascade: thorough misses fewer faces and takes several times as long.",
        show_default="fast",
    ),
]
Device = Annotated[
    str, typer.Option(help="What networks run on: auto (a GPU if there is one), cpu, cuda, cuda:N or openvino.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to what a paid detector costs.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Smallest score of a face.", show_default="chosen by measurement for each detector"
    ),
]
Method = Annotated[str, typer.Option(help="blur, overlay or mosaic.")]
MethodOrNone = Annotated[
    str, typer.Option("--method", help="blur, overlay, mosaic; or none: a study's control arm, which hides nothing.")
]
Preset = Annotated[str, typer.Option(help="Of blur: safe; paper and imagenet are unsafe, for replication.")]
Color = Annotated[str, typer.Option(help="Of overlay: mean, red, green, blue or #rrggbb.")]
Cells = Annotated[int, typer.Option(help="Of mosaic: cells across a face's longer side.")]
Jpeg = Annotated[
    JpegWriting,
    typer.Option(
        help="How a changed JPEG is written: region, only the blocks that changed, all others bit for bit; reencode, "
        "the whole picture with the file's own tables."
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help="With --jpeg reencode: every JPEG, with faces or without, at this quality and 4:2:0 (the paper: 75).",
        show_default="the file's own tables",
    ),
]
Link = Annotated[
    bool,
    typer.Option(
        "--link", help="Share blocks with the original (reflink or hard link) where nothing is removed from a file."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes.", show_default="one per core that may be used")
]
Executor = Annotated[
    ExecutorName, typer.Option("--executor", help="Who does the work: processes of this machine, or a Ray cluster.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="With --executor ray: the cluster's address.",
        metavar="HOST:PORT",
        show_default="the cluster of this machine",
    ),
]
GpusPerWorker = Annotated[
    float, typer.Option("--gpus-per-worker", min=0, help="With --executor ray: share of a GPU that each worker gets.")
]
Rank = Annotated[int, typer.Option(min=0, help="Which of --world-size machines this is, counted from 0.")]
WorldSize = Annotated[
    int, typer.Option(min=1, help="Machines that share the work and DST, each started with its --rank.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try the images again that failed in a finished run, and only these.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew where the output was made with other parameters.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]

DEFAULT_DETECTOR = "cascade"
SHOWN = 10
"""Lines of a list that are shown; the rest is counted."""


PRELOAD = ("numpy", "pyarrow.parquet", "PIL.Image", "cv2", "onnxruntime", "unface.cli.pipeline")
"""What every worker needs."""


def preload(jpeg: JpegWriting) -> tuple[str, ...]:
    """What every worker of a run needs that writes JPEGs so."""
    return (*PRELOAD, "unface.images.region") if jpeg is JpegWriting.region else PRELOAD


def with_mode(detector_name: str, mode: CascadeMode | None) -> str:
    """The detector's name with the mode that is asked for; only the cascade has modes."""
    if mode is None:
        return detector_name
    if detector_name != DEFAULT_DETECTOR:
        raise InputError(f"--mode: expected --detector {DEFAULT_DETECTOR}, got {one_line(repr(detector_name))}")
    return f"{detector_name}:{mode.value}"


def worker_count(workers: int | None) -> int:
    """The number of processes: as asked, else one per core that this process may use."""
    if workers is not None:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tell(line: str) -> None:
    """Tell people something: standard error."""
    print(line, file=sys.stderr)


def tell_some(title: str, lines: list[str], total: int) -> None:
    """Tell the first lines of a list, and how many there are."""
    if total:
        tell(title)
        for line in lines[:SHOWN]:
            tell(f"  {line}")
        if total > SHOWN:
            tell(f"  … and {total - SHOWN} more")


def tell_failures(rows: list[dict[str, Any]], total: int, place: Path) -> None:
    """Tell which images failed."""
    lines = [f"{one_line(row['image_id'])}: {row['stage']}: {one_line(row['message'])}" for row in rows]
    tell_some(f"{total} images failed and are not published ({one_line(str(place))}):", lines, total)


def print_json(record: dict[str, Any]) -> None:
    """Print the command's result for programs: one JSON object on standard output."""
    print(json.dumps(record, ensure_ascii=False))
