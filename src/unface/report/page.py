"""The page: reads an output folder, renders one self-contained HTML file beside its tables."""

import shlex
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from unface.errors import InputError, one_line
from unface.report import charts, counts, findings, gallery, numbers
from unface.report.folder import Folder, read_folder

NAME_CHARS = 160
MESSAGE_CHARS = 400

MODES = {
    "copied": "the original file, as there was no face",
    "region": "only the faces' blocks changed",
    "reencoded": "the whole picture encoded anew",
}
"""What the manifest's modes mean."""


def write_report(dst: Path, gallery: int = 60) -> Path:
    """Write `report.html` into an output folder, from that folder's files alone.

    The page is one file: no script, no reference to anything outside it. Missing or damaged tables are
    told of, not raised. Written beside its place and renamed when whole.

    Args:
        dst: The output folder, with any of `images/`, `faces.parquet`, `manifest.parquet`,
            `failures.parquet`, `verify.parquet`, `run.json`.
        gallery: How many images to show, at most; 0 for none.

    Returns:
        The path of the page.

    Raises:
        InputError: `dst` is no folder, or `gallery` is negative.
    """
    if not dst.is_dir():
        raise InputError(f"{dst}: expected an output folder of unface, found no folder")
    if gallery < 0:
        raise InputError(f"gallery: expected 0 or more, got {gallery}")
    html = render(read_folder(dst), gallery)
    path = dst / "report.html"
    beside = dst / "report.html.part"
    beside.write_text(html, encoding="utf-8", newline="\n")
    beside.replace(path)
    return path


def render(folder: Folder, gallery_count: int) -> str:
    """The page's HTML."""
    summary = findings.summarise(folder)
    run = folder.run
    return template("report.html.jinja").render(
        folder=folder,
        run=run,
        dataset=_dataset_name(folder),
        verdict=findings.verdict(folder, summary),
        numbers=counts.key_numbers(folder),
        findings=summary,
        weights=counts.weak_weights(folder),
        distributions=counts.distributions(folder),
        methods=counts.methods(folder),
        classes=counts.classes(folder),
        failures=counts.failures(folder),
        gallery=gallery.make_gallery(folder, gallery_count) if gallery_count else None,
        stages=counts.stages(run),
        command=shlex.join(run.texts("command")),
        MIN_WEIGHT=counts.MIN_WEIGHT,
        CLASSES_SHOWN=counts.CLASSES_SHOWN,
        CLASSES_LISTED=counts.CLASSES_LISTED,
        modes=MODES,
        CHART_WH=charts.CHART_WH,
    )


def printable(value: Any) -> Any:
    r"""Text with control, bidirectional and other invisible characters escaped; anything else as it is.

    Every expression of the template passes through this, and then through HTML escaping.

    >>> printable("a\u202eb\n")
    'a\\u202eb\\n'
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return one_line(value)


def shortened(text: str | None, limit: int = NAME_CHARS) -> str:
    """Printable text of at most `limit` characters, the middle cut out.

    >>> shortened("abcdefghij", 7)
    'abc…hij'
    """
    shown: str = printable(text or "")
    if len(shown) <= limit:
        return shown
    return f"{shown[: limit // 2]}…{shown[len(shown) - (limit - 1) // 2 :]}"


def template(name: str) -> Template:
    """One of this room's templates, with the filters that all share."""
    environment = Environment(
        loader=FunctionLoader(lambda part: files("unface.report").joinpath(part).read_text("utf-8")),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": shortened,
        "cut": shortened,
        "message": lambda text: shortened(text, MESSAGE_CHARS),
        "count": numbers.count,
        "plural": numbers.plural,
        "percent": numbers.percent,
        "fraction": numbers.fraction,
        "rate": numbers.rate,
        "ratio": lambda part, whole: f"{part / whole:.2f}",
        "threshold": lambda value: f"{value:.4g}",
        "detail": lambda value: f"{max(value, 0.0):.1%}",  # less than none is measuring noise
        "moment": numbers.moment,
        "duration": numbers.duration,
        "data_size": numbers.data_size,
    }
    return environment.get_template(name)


def _dataset_name(folder: Folder) -> str:
    source = folder.run.text("source")
    name = PurePosixPath(source.replace("\\", "/")).name if source else ""
    return name or folder.path.resolve().name
