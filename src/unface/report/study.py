"""The page of a study: what hiding faces costs recognition, told to readers who never saw the paper."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from unface import __version__
from unface.analysis.study.comparisons import PRETRAINED_ON, TITLES, TOPS, TRAINED, TRANSFERRED, Drop
from unface.analysis.study.formats import condensed, is_number, shown
from unface.analysis.study.replication import paper_drop, paper_mean_drop
from unface.analysis.study.results import ORIGINAL, REENCODED
from unface.analysis.study.story import Setting, Story
from unface.analysis.study.tables import (
    AVERAGE,
    accuracies,
    class_title,
    classes,
    correlations,
    mean_matrix,
    most_affected,
    recompressed,
    tables_of,
)
from unface.analysis.study.uncertainty import DRAWS
from unface.analysis.tables import Table
from unface.analysis.transfer import NONE
from unface.analysis.transfer_tables import transfer_tables
from unface.errors import ImageError, one_line
from unface.predictions import PRETRAINED
from unface.report.folder import Folder, Run, read_folder
from unface.report.page import template
from unface.report.study_charts import SCATTER_WH, Intervals, Line, bin_rows, intervals, scatter
from unface.report.thumbnails import thumbnail_uri

CLASSES_SHOWN = 100
EXAMPLES = 3
"""Pictures that illustrate a setting."""

_LESS = (" p", "(Holm)")
"""Columns of classes that the page leaves to the CSV files."""

HIDDEN_WEIGHT = 0.99
"""A picture is shown only where each face is hidden at least by this weight."""

DESCRIPTIONS = {
    ORIGINAL: "The pictures as they are. All other settings are compared with this one.",
    "blurred": "Every face is blurred so strongly that it cannot be recognised; the rest of the picture stays.",
    "overlaid": "Every face is covered by a box in one colour, the mean colour of ImageNet’s pictures.",
    "mean": "Every face is covered by a box in one colour, the mean colour of ImageNet’s pictures.",
    "red": "Every face is covered by a red box.",
    "green": "Every face is covered by a green box.",
    "blue": "Every face is covered by a blue box.",
    "mosaic": "Every face is replaced by a few large squares, each in the mean colour of what it covers.",
    REENCODED: "A control: nothing is hidden, but every picture is encoded again as JPEG, as obfuscation does. What "
    "this setting loses, compression has cost and not the missing faces.",
    "blurred-paper": "Faces are blurred by the paper’s published formula; small ones stay partly visible.",
    "blurred-imagenet": "Faces are blurred by the program that made the published blurred ImageNet; small ones stay "
    "partly visible.",
}


def write_study_report(out: Path, story: Story) -> Path:
    """Write `report.html` into a study's output folder: one file, no script, nothing loaded from elsewhere.

    Args:
        out: The folder; `study.json` and `examples/<setting>/` (output folders of `unface obfuscate`) are used where
            they are there, and what `unface transfer` left in `transfer/`.
        story: What its result files tell.

    Returns:
        The path of the page.
    """
    path, beside = out / "report.html", out / "report.html.part"
    beside.write_text(render_study(out, story), encoding="utf-8", newline="\n")
    beside.replace(path)
    return path


def render_study(out: Path, story: Story) -> str:
    """The page's HTML."""
    study = _study(out, story)
    lead = story.settings[0].categories.drop if story.settings else story.drops[0]
    return template("study.html.jinja").render(
        story=story,
        study=study,
        name=study.text("name") or story.results.dataset or out.resolve().name,
        lead=_lead(story, lead),
        keys=_keys(story),
        settings=[_card(out, study, setting) for setting in story.results.settings],
        drops=_drop_chart(story),
        networks=_network_chart(story, lead) if len(lead.architectures) > 1 else None,
        lead_title=lead.comparison.title,
        hurts=[_hurt(story, setting) for setting in story.settings],
        correlations=_table(story, correlations(story)) if any(s.blurred for s in story.settings) else None,
        recompression=_recompression(story),
        matrices=[_table(story, mean_matrix(story, top)) for top in TOPS],
        confusions=_confusions(story),
        transfers=_transfers(out, story),
        accuracies=[
            _table(story, accuracies(story, kind, top))
            for kind in TITLES
            for top in TOPS
            if any(drop.comparison.kind == kind for drop in story.drops)
        ],
        unknown=_unknown(story),
        SCATTER_WH=SCATTER_WH,
        DRAWS=DRAWS,
        CLASSES_SHOWN=CLASSES_SHOWN,
        version=study.text("unface_version") or __version__,
    )


def _study(out: Path, story: Story) -> Run:
    path = out / "study.json"
    if not path.exists():
        return Run()
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, got {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        story.notes.append(f"study.json could not be read, so what it says is missing here: {one_line(error)}")
        return Run()
    return Run(content)


class Lead(NamedTuple):
    """The headline: what is lost, and in a sentence from what to what."""

    strong: str
    sentence: str


def _lead(story: Story, drop: Drop) -> Lead:
    top1, top5 = (drop.draws.of(number) for number in range(len(TOPS)))
    title = drop.comparison.title
    strong = f"{shown(100 * abs(top1.value))} points of top-1 accuracy {'lost' if top1.value >= 0 else 'gained'}"
    if top1.low <= 0 <= top1.high:
        strong = f"No loss of top-1 accuracy beyond chance (drop: {shown(100 * top1.value)} points)"
    before = np.mean([story.results.correct(pair.reference, 1).mean() for pair in drop.pairs])
    after = np.mean([story.results.correct(pair.other, 1).mean() for pair in drop.pairs])
    sentence = (
        f"{title[0].upper()}{title[1:]} pictures, {_plural(len(drop.architectures), 'network')} "
        f"{'reaches' if len(drop.architectures) == 1 else 'reach on average'} {shown(100 * after)} % where the same on "
        f"original pictures {'reaches' if len(drop.architectures) == 1 else 'reach'} {shown(100 * before)} %. "
        f"The 95 % interval of the drop is {_range(top1)} points; for top-5 it is {shown(100 * top5.value)} points "
        f"({_range(top5)})."
    )
    return Lead(strong, sentence)


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _range(interval: Any) -> str:
    return f"{shown(100 * interval.low)} to {shown(100 * interval.high)}"


def _keys(story: Story) -> list[tuple[str, str, str]]:
    """Names, numbers and what to add, of the row of key numbers."""
    results = story.results
    trained = {(cell[0], cell[1], seed) for cell, seed, _ in results.runs() if cell.train != PRETRAINED}
    images = len(results.labels)
    keys = [
        ("Networks", f"{len(results.architectures):,}", "of different architecture"),
        ("Trainings", f"{len(trained):,}", f"{_seeds(story)} each" if trained else "pretrained weights only"),
        ("Evaluations", f"{sum(1 for _ in results.runs()):,}", "one network, one setting"),
        ("Test images", f"{images:,}", f"{len(np.unique(results.labels)):,} classes"),
    ]
    if story.with_faces is not None:
        keys.append(("With faces", f"{story.with_faces:,}", f"{100 * story.with_faces / images:.1f} % of images"))
    return [*keys, ("Settings", f"{len(results.settings):,}", "of the pictures")]


def _seeds(story: Story) -> str:
    counts = {len(runs) for cell, runs in story.results.cells.items() if cell.train != PRETRAINED}
    low, high = min(counts), max(counts)
    return _plural(low, "seed") if low == high else f"{low} to {high} seeds"


@dataclass(frozen=True)
class Card:
    """What a setting does, its details, and pictures as data URIs."""

    name: str
    text: str
    facts: list[tuple[str, str]]
    pictures: list[str]


def _card(out: Path, study: Run, name: str) -> Card:
    facts = study.mapping("settings", "evaluation", name) or study.mapping("settings", "train", name)
    folders = [out / "examples" / name, *([Path(str(facts["folder"]))] if facts.get("folder") else [])]
    pictures: list[str] = []
    for folder in folders:
        if not pictures and name not in (ORIGINAL, REENCODED) and (folder / "manifest.parquet").is_file():
            pictures = _pictures(read_folder(folder))
    return Card(name, DESCRIPTIONS.get(name, "A setting of this study’s own."), _facts(facts), pictures)


def _facts(definition: dict[str, Any]) -> list[tuple[str, str]]:
    """How a setting is defined, without places on the disk."""
    obfuscation = definition.get("obfuscation")
    how = obfuscation if isinstance(obfuscation, dict) else {}
    detail = {"blur": "preset", "overlay": "color", "mosaic": "cells"}.get(str(how.get("method")), "")
    told = {"method": how.get("method"), detail: how.get(detail), "JPEG quality": definition.get("jpeg_quality")}
    return [(key, str(value)) for key, value in told.items() if key and value not in (None, "", "none")]


def _pictures(folder: Folder) -> list[str]:
    """Pictures whose faces are all hidden by the folder's own record; those with the fewest, so largest, first."""
    if folder.published is None:
        return []
    hidden = pc.and_(
        pc.greater(folder.published["faces"], 0),
        pc.greater_equal(pc.fill_null(folder.published["min_face_weight"], 0), HIDDEN_WEIGHT),
    )
    faulty = set() if folder.findings is None else set(folder.findings["image_id"].to_pylist())
    rows = folder.published.filter(hidden).sort_by([("faces", "ascending"), ("image_id", "ascending")])
    found: list[str] = []
    for image_id in rows["image_id"].to_pylist():
        if len(found) == EXAMPLES:
            break
        if image_id not in faulty:
            try:
                found.append(thumbnail_uri(folder.path / "images", image_id))
            except ImageError:
                continue
    return found


def _drop_chart(story: Story) -> Intervals:
    lines = []
    for drop in story.drops:
        comparison = drop.comparison
        note = _plural(len(drop.architectures), "network")
        if comparison.kind != PRETRAINED_ON:
            note += f", {_plural(drop.seeds, 'seed')}"
        found = [
            (
                f"top-{top}",
                drop.of(top),
                paper_mean_drop(comparison.kind, comparison.setting, top, drop.architectures) if story.paper else None,
            )
            for top in TOPS
        ]
        lines.append(Line(comparison.title, note, found))
    return intervals(lines)


def _network_chart(story: Story, drop: Drop) -> Intervals:
    kind, setting = drop.comparison.kind, drop.comparison.setting
    lines = [
        Line(
            name,
            "",
            [
                (f"top-{top}", drop.of(top, name), paper_drop(kind, setting, top, name) if story.paper else None)
                for top in TOPS
            ],
        )
        for name in drop.architectures
    ]
    mean = [
        (
            f"top-{top}",
            drop.of(top),
            paper_mean_drop(kind, setting, top, drop.architectures) if story.paper else None,
        )
        for top in TOPS
    ]
    return intervals([*lines, Line(AVERAGE, "", mean)])


@dataclass(frozen=True)
class Shown:
    """A table for the page: the header's groups and their widths, names, which columns are numbers, texts."""

    title: str
    groups: list[tuple[str, int]]
    names: list[str]
    numbers: list[bool]
    rows: list[list[str]]


def _table(story: Story, table: Table, without: tuple[str, ...] = (), value: str = "accuracy") -> Shown:
    """A table whose columns of one setting stand together; the one with the setting's bare name is its `value`."""
    short = condensed(table)
    columns = list(zip(*short.rows, strict=True)) or [()] * len(short.header)
    kept = [
        place
        for place, name in enumerate(short.header)
        if not name.endswith(without)
        and (not short.rows or any(cell is not None for cell in columns[place]))
        and not (name == "class" and columns[place] == columns[place + 1])
    ]
    heads = [_group(story, short.header[place], value) for place in kept]
    groups = [(name, len(list(members))) for name, members in groupby(heads, key=lambda head: head[0])]
    is_grouped = any(name and width > 1 for name, width in groups)
    return Shown(
        short.title,
        groups if is_grouped else [],
        [name for _, name in heads] if is_grouped else [short.header[place] for place in kept],
        [is_number(short, place) for place in kept],
        [[shown(row[place]) for place in kept] for row in short.rows],
    )


def _group(story: Story, name: str, value: str) -> tuple[str, str]:
    """A column's group, if it has one, and its name within that."""
    for group in (*story.results.settings, NONE, PRETRAINED, *(f"top-{top}" for top in TOPS)):
        if name == group:
            return group, value
        if name.startswith(f"{group} "):
            return group, name.removeprefix(f"{group} ")
    return "", name


@dataclass(frozen=True)
class Hurt:
    """Where one setting hurts: charts for Figures 3 and 4, the most affected classes, and all of them."""

    title: str
    figures: list[dict[str, Any]]
    affected: list[Shown]
    counts: list[tuple[int, int]]
    classes: Shown
    classes_total: int


def _hurt(story: Story, setting: Setting) -> Hurt:
    names = [class_title(name) for name in story.results.classes]
    figures = []
    for relations, what in ((setting.blurred, "image"), (setting.covered, "object")):
        if relations:
            kinds = [(f"top-{top}", relation) for top, relation in zip(TOPS, relations, strict=True)]
            figures.append(
                {"what": what, "bins": bin_rows(kinds), "scatter": scatter(kinds, names), "relations": kinds}
            )
    categories = setting.categories
    total = int((categories.images > 0).sum())
    everything = classes(story, setting)
    order = np.argsort(-np.array([_drop(row[6]) for row in everything.rows]), kind="stable")
    first = Table(everything.name, everything.title, everything.header, [everything.rows[i] for i in order])
    limited = Table(first.name, first.title, first.header, first.rows[:CLASSES_SHOWN])
    return Hurt(
        categories.drop.comparison.title,
        figures,
        [
            _table(story, table, (*_LESS, "class", "images", "paper"))
            for table in (most_affected(story, setting, top) for top in TOPS)
            if table.rows
        ],
        [(top, len(categories.found(top))) for top in TOPS],
        _table(story, limited, _LESS),
        total,
    )


def _drop(cell: Any) -> float:
    return float(cell) if isinstance(cell, float) else -np.inf


def _recompression(story: Story) -> Shown | None:
    return _table(story, recompressed(story)) if story.recompression else None


def _transfers(out: Path, story: Story) -> list[Shown]:
    tables = transfer_tables(out / "transfer", story.choices.ddof)
    return [_table(story, table, value="mean") for table in tables]


def _confusions(story: Story) -> list[Shown]:
    names = ("pairs", "table4_")
    return [_table(story, table) for table in tables_of(story) if table.name.startswith(names)]


def _unknown(story: Story) -> Iterator[str]:
    """What could not be measured, in sentences."""
    yield from story.notes
    kinds = {drop.comparison.kind for drop in story.drops}
    if TRAINED not in kinds:
        yield "No network was trained on obfuscated pictures: what training on them costs is not known."
    elif TRANSFERRED not in kinds:
        yield (
            "No network that was trained on obfuscated pictures was evaluated on original ones, so it is not known how "
            "well such networks do where faces show (Table 8)."
        )
    if not story.recompression:
        yield (
            "There is no control with pictures that were encoded again and not obfuscated (the setting “reencoded”), "
            "so it is not known which part of the drops comes from compression."
        )
