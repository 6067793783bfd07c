"""`unface convert`: annotations of one tool for another."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unface.cli.options import Json, print_json, tell, tell_some

if TYPE_CHECKING:
    import pyarrow as pa

    from unface.faces.formats import Pictures


class MergeRule(StrEnum):
    """What becomes of several inputs."""

    UNION = "union"
    INTERSECTION = "intersection"
    REPLACE = "replace"


class ReadStatus(StrEnum):
    """What is said of images whose format does not tell it."""

    DETECTED = "detected"
    REVIEWED = "reviewed"


def convert(
    paths: Annotated[list[Path], typer.Argument(metavar="IN... OUT", help="Files or folders.", show_default=False)],
    source_format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Format of IN.", show_default="told by its content")
    ] = None,
    target_format: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help="Format of OUT.", show_default="told by its name")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="The images: for sizes, orientation and whole names.", show_default=False),
    ] = None,
    merge: Annotated[
        MergeRule | None, typer.Option(help="Merge several IN; replace: the later one's images stand.")
    ] = None,
    iou: Annotated[float, typer.Option(min=0.01, max=1, help="Overlap from which two boxes are one face.")] = 0.5,
    labels: Annotated[
        list[str] | None, typer.Option("--label", help="Take only boxes with this label; may be repeated.")
    ] = None,
    status: Annotated[
        ReadStatus, typer.Option(help="Of images whose format does not tell it; reviewed: people saw them all.")
    ] = ReadStatus.DETECTED,
    stored: Annotated[
        bool, typer.Option("--stored", help="The foreign side is in pixels as stored, EXIF orientation not applied.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert annotations between formats, or merge some.

    Formats: faces (faces.parquet), imagenet, coco, voc, yolo, wider, rekognition, cvat, labelstudio, openimages, via,
    fiftyone, huggingface, csv.
    """
    import gc

    import pyarrow.compute as pc

    from unface.errors import InputError, one_line
    from unface.faces.formats import guess_target
    from unface.faces.table import only_labels, with_metadata

    gc.set_threshold(100_000)  # the records that are read make no cycles; looking for some takes a third of the time
    *sources, output = paths
    if not sources:
        raise InputError("expected IN and OUT, got one path")
    if (merge is None) != (len(sources) == 1):
        raise InputError(f"expected --merge with several IN and without it one, got {len(sources)} IN")
    target = target_format or guess_target(output)
    inputs = [read_input(source, source_format, images, stored, status) for source in sources]
    table, merged = _merge(
        [only_labels(found.table, labels) if labels else found.table for found in inputs], merge, iou
    )
    pictures = next((found.pictures for found in inputs if found.pictures), None)
    table = with_metadata(table, _provenance(inputs, merge))
    lost = _write(output, table, target, pictures, stored)
    facts: dict[str, Any] = {"output": str(output), "format": target, "images": len(table)}
    facts["faces"] = pc.sum(pc.list_value_length(table["boxes"])).as_py() or 0
    for found in inputs:
        _tell_counts(f"{one_line(str(found.path))} ({found.format}): left out or changed:", found.notes)
    _tell_counts("merged:", merged)
    _tell_counts(f"{target} does not hold:", lost)
    tell(f"{facts['images']} images, {facts['faces']} faces: {one_line(str(output))} ({target})")
    if as_json:
        print_json({**facts, "inputs": [found.record() for found in inputs], "merged": merged, "lost": lost})


@dataclass(frozen=True)
class Input:
    """One IN, read."""

    path: Path
    format: str
    table: "pa.Table"
    notes: dict[str, int]
    pictures: "Pictures | None"

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        facts = {"path": str(self.path), "format": self.format, "images": len(self.table)}
        return {**facts, "left_out_or_changed": self.notes}


def read_input(path: Path, name: str | None, images: str | None, stored: bool, status: str) -> Input:
    """Read annotations in a format that is named, or told by the content; see `Reading` for the rest."""
    from unface.faces import read_faces
    from unface.faces.formats import NATIVE, Reading, guess_format, load_format, read_table

    name = name or guess_format(path)
    if name == NATIVE:
        return Input(path, name, read_faces(path), {}, _pictures(images))
    source = load_format(name)
    beside = path / source.images_folder
    pictures = _pictures(images or (str(beside) if source.images_folder and beside.is_dir() else None))
    table, notes = read_table(Reading(path, name, source, pictures, stored, status))
    if pictures is not None:
        notes["images of the dataset without a row"] = len(pictures) - len(table)
    return Input(path, name, table, dict(+notes), pictures)


def _pictures(place: str | None) -> "Pictures | None":
    from unface.datasets import open_dataset
    from unface.faces.formats import Pictures

    if place is None:
        return None
    dataset = open_dataset(place)
    entries = (entry for part in dataset.survey().parts for entry in dataset.entries(part))
    return Pictures([entry.image_id for entry in entries if not entry.refused], dataset.read)


def _merge(tables: list["pa.Table"], rule: MergeRule | None, iou: float) -> tuple["pa.Table", dict[str, int]]:
    from unface.faces.merging import merge_faces

    merged, told = tables[0], Counter[str]()
    for table in tables[1:]:
        merged, counts = merge_faces(merged, table, str(rule), iou)
        told += counts
    return merged, dict(told)


def _provenance(inputs: list[Input], rule: MergeRule | None) -> dict[str, str]:
    """What the table says of its origin; a table of ours that was only filtered keeps what it said."""
    import json

    from unface import __version__
    from unface.faces.formats import NATIVE

    if rule is None and inputs[0].format == NATIVE:
        metadata = inputs[0].table.schema.metadata or {}
        own = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in metadata.items()}
        return {key.removeprefix("unface."): value for key, value in own.items() if key.startswith("unface.")}
    origin = [{"file": found.path.name, "format": found.format} for found in inputs]
    return {"version": __version__, "converted_from": json.dumps(origin), **({"merge": rule.value} if rule else {})}


def _write(output: Path, table: "pa.Table", target: str, pictures: "Pictures | None", stored: bool) -> dict[str, int]:
    from unface.faces import write_faces
    from unface.faces.formats import NATIVE, load_format, write_table

    if target != NATIVE:
        return dict(write_table(output, table, target, load_format(target), pictures, stored))
    write_faces(output, table)
    return {}


def _tell_counts(title: str, counts: dict[str, int]) -> None:
    tell_some(title, [f"{number} {what}" for what, number in counts.items()], len(counts))
