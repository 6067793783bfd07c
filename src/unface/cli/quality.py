"""`unface quality`: predicted boxes against true ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unface.cli.options import Json, print_json, tell, tell_some
from unface.errors import InputError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

    from unface.analysis.audit import Audit
    from unface.analysis.comparison import Comparison
    from unface.analysis.detection import Mask, Quality


def quality(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="The true faces.", show_default=False)],
    predicted: Annotated[Path, typer.Argument(metavar="PREDICTED", help="Boxes to judge.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write CSV tables and figures there.", show_default=False),
    ] = None,
    refined: Annotated[
        Path | None,
        typer.Option(
            metavar="FACES", help="Count errors of these boxes too, for instance after people.", show_default=False
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="The images: for sizes, orientation and whole names.", show_default=False),
    ] = None,
    difficulty: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            help="Which faces count: image to easy, medium, hard to places from 0 (WIDER FACE).",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="Take only boxes with this label; may be repeated.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Smallest score of a face.", show_default="what counts as one in PREDICTED"),
    ] = None,
    coverage: Annotated[
        float, typer.Option(min=0.01, max=1, help="Fraction of a face from which it counts as hidden.")
    ] = 0.95,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="By which fraction of its diagonal a box grows before it hides.")
    ] = 0.1,
    min_height: Annotated[float, typer.Option(min=0, help="Faces less high, in pixels, may be found or not.")] = 0.0,
    leak_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of images with faces that may leak: tell the threshold for it.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure detections: average precision, faces left visible, area hidden in vain, errors by class.

    TRUTH and PREDICTED are faces.parquet or any format of unface convert; images are matched by name. An image of
    TRUTH that PREDICTED lacks counts as one in which nothing was found; one that only PREDICTED has is left out.
    """
    from unface.analysis.comparison import compare
    from unface.analysis.detection import Settings, errors_by_class, measure
    from unface.analysis.detection_tables import quality_tables

    settings = Settings(threshold, coverage, margin, min_height, leak_rate, seed)
    true, chosen = _read(truth, images), labels or ()
    comparison = compare(true, _read(predicted, images), chosen)
    if comparison.unknown and comparison.missing == len(comparison):
        raise InputError(
            f"{one_line(str(predicted))}: expected images of {one_line(str(truth))}, found none; "
            "if the names differ, give --images"
        )
    counted = _difficulties(difficulty, truth, comparison)
    found = measure(comparison, settings, counted)
    judged = {"predicted": (comparison, found.settings.threshold or 0.0)}
    if refined:
        other = compare(true, _read(refined, images), chosen)
        judged["refined"] = (other, other.threshold)
    errors = errors_by_class(judged)
    written = _write(output, found, errors) if output else []
    for path in written:
        tell(str(path))
    if as_json:
        print_json(_record(found, errors, written))
        return
    print("\n\n".join(table.text() for table in quality_tables(found, errors)))


def _read(path: Path, images: str | None) -> "pa.Table":
    from unface.cli.convert import read_input

    found = read_input(path, None, images, False, "detected")
    lines = [f"{number} {what}" for what, number in found.notes.items()]
    tell_some(f"{one_line(str(path))} ({found.format}): left out or changed:", lines, len(lines))
    return found.table


def _difficulties(path: Path | None, truth: Path, comparison: "Comparison") -> "dict[str, Mask] | None":
    """Which true faces count, by difficulty."""
    import msgspec

    from unface.analysis.detection import counted_faces

    if path is None:
        return None
    try:
        levels = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, list[int]]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{one_line(str(path))}: expected JSON, image to difficulty to places of faces, got {one_line(error)[:200]}"
        ) from None
    return counted_faces(comparison, _without_empty(levels, truth))


def _without_empty(levels: dict[str, dict[str, list[int]]], truth: Path) -> dict[str, dict[str, list[int]]]:
    """Places among the faces that are left where WIDER FACE's own file has some without an area."""
    from unface.faces.formats import guess_format, load_format
    from unface.faces.formats.reading import Tally

    if guess_format(truth) != "wider":
        return levels
    moved = dict(levels)
    for image in load_format("wider").read(truth, Tally()):
        whole = [box.x0 < box.x1 and box.y0 < box.y1 for box in image.boxes]
        if all(whole) or image.image_id not in levels:
            continue
        place_of = {old: new for new, old in enumerate(place for place, is_whole in enumerate(whole) if is_whole)}
        try:
            moved[image.image_id] = {
                level: [place_of[place] for place in places] for level, places in levels[image.image_id].items()
            }
        except KeyError as error:
            name = one_line(repr(image.image_id))
            raise InputError(f"difficulty: {name}: expected a face with an area, got number {error}") from None
    return moved


def _record(found: "Quality", errors: "Audit", written: list[Path]) -> dict[str, Any]:
    from dataclasses import asdict

    classes = [{"title": group.title, "errors": [asdict(one) for one in group.errors]} for group in errors.groups]
    by_class = {"tables": errors.tables, "classes": classes}
    return {**asdict(found), "errors_by_class": by_class, "written": [str(path) for path in written]}


def _write(folder: Path, found: "Quality", errors: "Audit") -> list[Path]:
    from unface.analysis.detection_figure import quality_figure
    from unface.analysis.detection_tables import all_classes, overview, precision, recall, whole_curve
    from unface.analysis.figures import save

    figure = quality_figure(found)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for table in (overview(found), precision(found), recall(found), whole_curve(found), all_classes(errors)):
        paths.append(folder / f"{table.name}.csv")
        paths[-1].write_text(table.csv(), encoding="utf-8", newline="")
    return paths + save(figure, folder, "quality")
