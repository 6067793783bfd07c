"""The study's tables: 3, 4, 7 and 8 of the paper, the whole matrix, and what the figures show."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from unface.analysis.study.categories import CategoryDrops, Relation
from unface.analysis.study.comparisons import PRETRAINED_ON, SHIFTED, TITLES, TOPS, TRAINED, TRANSFERRED, Drop
from unface.analysis.study.confusions import Precisions
from unface.analysis.study.formats import Error, Points, PValue, points
from unface.analysis.study.replication import (
    paper_accuracy,
    paper_category,
    paper_cell,
    paper_drop,
    paper_mean_drop,
    paper_relation,
)
from unface.analysis.study.results import ORIGINAL, Cell, Results, Run
from unface.analysis.study.story import LEVEL, Confusions, Setting, Story
from unface.analysis.study.uncertainty import Interval, sem
from unface.analysis.tables import Cell as Value
from unface.analysis.tables import Share, Table
from unface.analysis.wordnet import load_nouns
from unface.predictions import PRETRAINED

AVERAGE = "average"
MOST_AFFECTED = 10
NAMES = {TRAINED: "table3", TRANSFERRED: "table8", SHIFTED: "shifted", PRETRAINED_ON: "table7"}
"""Names of the accuracy tables' files, without `_top1` or `_top5`."""

_TITLES = {
    TRAINED: "trained and evaluated on the same setting (Table 3)",
    TRANSFERRED: "evaluated on the original pictures, by setting trained on (Table 8)",
    SHIFTED: "trained on the original pictures, by setting evaluated on",
    PRETRAINED_ON: "of pretrained networks, by setting evaluated on (Table 7)",
}


def tables_of(story: Story) -> list[Table]:
    """Every table, the headline first."""
    found = [headline(story)]
    found += [accuracies(story, kind, top) for kind in TITLES for top in TOPS if _drops(story, kind)]
    found += [matrix(story), *(mean_matrix(story, top) for top in TOPS)]
    if story.recompression:
        found.append(recompressed(story))
    for setting in story.settings:
        found += [most_affected(story, setting, top) for top in TOPS]
        found.append(classes(story, setting))
        for figure, relations in ((3, setting.blurred), (4, setting.covered)):
            if relations:
                found.append(bins(story, setting, figure, relations))
    if any(setting.blurred or setting.covered for setting in story.settings):
        found.append(correlations(story))
    if story.confusions:
        found += list(_confusions(story, story.confusions))
    return [_without_empty_paper_columns(table) for table in found]


def _without_empty_paper_columns(table: Table) -> Table:
    kept = [
        place
        for place, name in enumerate(table.header)
        if not name.endswith("paper") or any(row[place] is not None for row in table.rows)
    ]
    rows = [[row[place] for place in kept] for row in table.rows]
    return Table(table.name, table.title, [table.header[place] for place in kept], rows)


def headline(story: Story) -> Table:
    """Mean drop of every comparison, with its interval."""
    header = ["comparison", "networks", "seeds", "images"]
    for top in TOPS:
        header += [f"top-{top} drop", f"top-{top} drop from", f"top-{top} drop to", f"top-{top} p"]
        header += [f"top-{top} paper", f"top-{top} minus paper"] if story.paper else []
    rows: list[list[Value]] = []
    for drop in story.drops:
        comparison = drop.comparison
        row: list[Value] = [comparison.title, len(drop.architectures), drop.seeds, len(story.results.labels)]
        for top in TOPS:
            interval = drop.of(top)
            row += [*_interval(interval), None if interval is None else PValue(interval.p)]
            if story.paper:
                theirs = paper_mean_drop(comparison.kind, comparison.setting, top, drop.architectures)
                row += _beside(interval and points(interval.value), theirs)
        rows.append(row)
    return Table("headline", "Drop in accuracy, percentage points (95 % intervals)", header, rows)


def _interval(interval: Interval | None) -> list[Value]:
    return [None] * 3 if interval is None else [points(number) for number in interval[:3]]


def _beside(ours: float | None, theirs: float | None) -> list[Value]:
    """The paper's number, and ours less it."""
    if theirs is None:
        return [None, None]
    return [Points(theirs), None if ours is None else Points(ours - theirs)]


def _drops(story: Story, kind: str) -> list[Drop]:
    return [drop for drop in story.drops if drop.comparison.kind == kind]


class _Accuracy(NamedTuple):
    """Mean over a cell's seeds, and its standard error, in percent."""

    mean: float | None
    error: float | None
    seeds: int


def _accuracy(story: Story, cell: Cell, top: int) -> _Accuracy:
    runs = story.results.cells.get(cell, {}).values()
    values = [100 * float(story.results.correct(run, top).mean()) for run in runs]
    return _Accuracy(sum(values) / len(values) if values else None, sem(values, story.choices.ddof), len(values))


def accuracies(story: Story, kind: str, top: int) -> Table:
    """One row a network: accuracy with the original and with each setting, and the drops with their intervals."""
    drops = _drops(story, kind)
    first = drops[0].comparison
    columns: list[tuple[str, tuple[str, str], Drop | None]] = [(ORIGINAL, first.reference, None)]
    columns += [(drop.comparison.setting, drop.comparison.other, drop) for drop in drops]
    names = sorted({name for drop in drops for name in drop.architectures})
    has_errors = kind != PRETRAINED_ON
    header = ["network"] + (["seeds"] if has_errors else [])
    for setting, _, drop in columns:
        header += [setting, *([f"{setting} SEM"] if has_errors else [])]
        header += [f"{setting} paper", f"{setting} minus paper"] if story.paper else []
        if drop:
            header += [f"{setting} drop", f"{setting} drop from", f"{setting} drop to"]
            header += [f"{setting} drop paper", f"{setting} drop minus paper"] if story.paper else []
    rows: list[list[Value]] = []
    for name in names:
        found = [_accuracy(story, Cell(name, *sides), top) for _, sides, _ in columns]
        row: list[Value] = [name, *([max(one.seeds for one in found)] if has_errors else [])]
        for (setting, _, drop), one in zip(columns, found, strict=True):
            row += [_points(one.mean), *([None if one.error is None else Error(one.error)] if has_errors else [])]
            row += _beside(one.mean, paper_accuracy(kind, setting, top, name)) if story.paper else []
            if drop:
                row += _drop_cells(story, drop, top, name)
        rows.append(row)
    if len(names) > 1:
        rows.append(_average(story, kind, top, names, columns, has_errors))
    title = f"Top-{top} accuracy, percent, {_TITLES[kind]}"
    return Table(f"{NAMES[kind]}_top{top}", title, header, rows)


def _points(percent: float | None) -> Points | None:
    return None if percent is None else Points(percent)


def _drop_cells(story: Story, drop: Drop, top: int, name: str) -> list[Value]:
    interval, comparison = drop.of(top, name), drop.comparison
    cells = _interval(interval)
    if story.paper:
        theirs = paper_drop(comparison.kind, comparison.setting, top, name)
        cells += _beside(interval and points(interval.value), theirs)
    return cells


def _average(
    story: Story,
    kind: str,
    top: int,
    names: list[str],
    columns: list[tuple[str, tuple[str, str], Drop | None]],
    has_errors: bool,
) -> list[Value]:
    """Unweighted means over the networks; none where a network is missing, as it would be of others than the rest."""
    row: list[Value] = [AVERAGE, *([None] if has_errors else [])]
    for setting, sides, drop in columns:
        ours = _mean(_accuracy(story, Cell(name, *sides), top).mean for name in names)
        row += [_points(ours), *([None] if has_errors else [])]
        if story.paper:
            row += _beside(ours, _mean(paper_accuracy(kind, setting, top, name) for name in names))
        if drop:
            interval = drop.of(top) if drop.architectures == names else None
            row += _interval(interval)
            if story.paper:
                theirs = paper_mean_drop(kind, setting, top, names)
                row += _beside(interval and points(interval.value), theirs)
    return row


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = list(values)
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known and len(known) == len(numbers) else None


def matrix(story: Story) -> Table:
    """Every cell of the train x eval matrix, network by network."""
    rows: list[list[Value]] = []
    for cell in story.results.cells:
        row: list[Value] = [*cell, len(story.results.cells[cell])]
        for top in TOPS:
            one = _accuracy(story, cell, top)
            row += [_points(one.mean), None if one.error is None else Error(one.error)]
            if story.paper:
                row += _beside(one.mean, paper_cell(cell.train, cell.eval, top, cell.architecture))
        rows.append(row)
    header = ["network", "trained on", "evaluated on", "runs"]
    for top in TOPS:
        header += [f"top-{top}", f"top-{top} SEM"]
        header += [f"top-{top} paper", f"top-{top} minus paper"] if story.paper else []
    return Table("matrix", "Accuracy of every network, percent", header, rows)


def mean_matrix(story: Story, top: int) -> Table:
    """Rows: trained on; columns: evaluated on; means over the networks that have the whole row."""
    results = story.results
    columns = [setting for setting in results.settings if any(cell.eval == setting for cell in results.cells)]
    trained = {cell.train for cell in results.cells}
    rows: list[list[Value]] = []
    for train in [name for name in (*results.settings, PRETRAINED) if name in trained]:
        evaluated = {cell.eval for cell in results.cells if cell.train == train}
        names = [
            name
            for name in results.architectures
            if all(Cell(name, train, setting) in results.cells for setting in evaluated)
        ]
        row: list[Value] = [train, len(names)]
        for setting in columns:
            is_there = bool(names) and setting in evaluated
            cells = [Cell(name, train, setting) for name in names] if is_there else []
            ours = _mean(_accuracy(story, cell, top).mean for cell in cells)
            row.append(_points(ours))
            if story.paper:
                row += _beside(ours, _mean(paper_cell(train, setting, top, cell.architecture) for cell in cells))
        rows.append(row)
    beside = ("", " paper", " minus paper") if story.paper else ("",)
    header = ["trained on", "networks", *(f"{setting}{what}" for setting in columns for what in beside)]
    title = f"Mean top-{top} accuracy, percent, by setting trained on (rows) and evaluated on (columns)"
    return Table(f"matrix_top{top}", title, header, rows)


def recompressed(story: Story) -> Table:
    """What part of each drop the control arm, encoded again and not obfuscated, has too."""
    rows: list[list[Value]] = []
    for found in story.recompression:
        share = [None] * 3 if found.share is None else [Share(number) for number in found.share[:3]]
        rows.append(
            [found.comparison.title, f"top-{found.top}", *_interval(found.drop), *_interval(found.control), *share]
        )
    header = ["comparison", "accuracy", "drop", "drop from", "drop to"]
    header += ["control drop", "control drop from", "control drop to", "share", "share from", "share to"]
    return Table("recompression", "What encoding the pictures again explains, percentage points", header, rows)


def class_title(name: str) -> str:
    """A class in words: a synset's noun, else its name."""
    return load_nouns().word(name)


def _class_rows(story: Story, setting: Setting, chosen: Iterable[int], tops: Sequence[int]) -> list[list[Value]]:
    categories, rows = setting.categories, list[list[Value]]()
    for place in chosen:
        name = story.results.classes[place]
        row: list[Value] = [name, class_title(name), int(categories.images[place])]
        for relations in (setting.blurred, setting.covered):
            fraction = relations[0].fractions[place] if relations else np.nan
            row.append(None if np.isnan(fraction) else Share(fraction))
        for top in tops:
            row += _class_cells(categories, top, place)
        if story.paper and 5 in tops:
            row += _papers_class(setting, name, place)
        rows.append(row)
    return rows


def _papers_class(setting: Setting, name: str, place: int) -> list[Value]:
    """What the paper states of a few classes, for blurred faces."""
    if setting.name != "blurred":
        return [None] * 4
    covered = None if setting.covered is None else points(setting.covered[0].fractions[place])
    drop = points(setting.categories.drops(5)[place])
    return [
        *_beside(covered, paper_category(name, "object_covered_percent")),
        *_beside(drop, paper_category(name, "top5_drop")),
    ]


def _class_cells(categories: CategoryDrops, top: int, place: int) -> list[Value]:
    number = TOPS.index(top)
    test = categories.tests[number]
    error = points(test.errors[place])
    adjusted = (test.p, categories.false_discovery[number], categories.family_wise[number])
    return [
        points(categories.accuracy[number, place]),
        points(test.drops[place]),
        None if error is None else Error(error),
        *(None if np.isnan(p[place]) else PValue(p[place]) for p in adjusted),
    ]


def _class_header(story: Story, tops: Sequence[int]) -> list[str]:
    header = ["class", "name", "images", "of image", "of object"]
    for top in tops:
        header += [f"top-{top} {what}" for what in ("original", "drop", "drop SE", "p", "p (BH)", "p (Holm)")]
    if story.paper and 5 in tops:
        header += [f"{what} {beside}" for what in ("of object", "top-5 drop") for beside in ("paper", "minus paper")]
    return header


def most_affected(story: Story, setting: Setting, top: int) -> Table:
    """The classes with the largest drops; what is beyond chance has a small p by Benjamini and Hochberg."""
    categories = setting.categories
    rows = _class_rows(story, setting, categories.most_affected(top, MOST_AFFECTED), [top])
    sure, all_classes = len(categories.found(top, LEVEL)), int((categories.images > 0).sum())
    title = (
        f"Most affected classes, top-{top}, {categories.drop.comparison.title}: {sure:,} of {all_classes:,} beyond "
        f"chance at a false discovery rate of {100 * LEVEL:g} %"
    )
    return Table(f"most_affected_{setting.name}_top{top}", title, _class_header(story, [top]), rows)


def classes(story: Story, setting: Setting) -> Table:
    """Every class that has images."""
    chosen = np.flatnonzero(setting.categories.images > 0).tolist()
    title = f"Classes, {setting.categories.drop.comparison.title}"
    return Table(
        f"classes_{setting.name}", title, _class_header(story, TOPS), _class_rows(story, setting, chosen, TOPS)
    )


def bins(story: Story, setting: Setting, figure: int, relations: tuple[Relation, Relation]) -> Table:
    """What a figure shows: classes by the fraction that faces cover, and their mean drop."""
    rows: list[list[Value]] = []
    for place, (first, second) in enumerate(zip(relations[0].bins, relations[1].bins, strict=True)):
        row: list[Value] = [Share(first.low), Share(first.high), first.classes]
        for one in (first, second):
            error = points(one.error)
            row += [points(one.drop), None if error is None else Error(error)]
        if story.paper and figure == 3 and setting.name == "blurred":
            known = {0: "drop_below_1_percent", len(relations[0].bins) - 1: "drop_from_8_percent"}.get(place)
            theirs = paper_relation(3, 5, known) if known else None
            row += _beside(points(second.drop), theirs)
        rows.append(row)
    header = ["at least", "below", "classes", "top-1 drop", "top-1 drop SEM", "top-5 drop", "top-5 drop SEM"]
    if rows and len(rows[0]) > len(header):
        header += ["top-5 paper", "top-5 minus paper"]
    what = {3: "fraction of the image that faces cover", 4: "fraction of the object that faces cover"}[figure]
    title = f"Drop by {what} (Figure {figure}), {setting.categories.drop.comparison.title}"
    return Table(f"figure{figure}_{setting.name}", title, header, rows)


def correlations(story: Story) -> Table:
    """Pearson's correlations over the classes, of Figures 3 and 4."""
    rows: list[list[Value]] = []
    for setting in story.settings:
        for figure, relations in ((3, setting.blurred), (4, setting.covered)):
            for top, relation in zip(TOPS, relations or (), strict=False):
                number = int((~np.isnan(relation.fractions)).sum())
                row: list[Value] = [setting.name, {3: "image", 4: "object"}[figure], f"top-{top}", number]
                row += [relation.r, relation.low, relation.high, None if relation.p is None else PValue(relation.p)]
                if story.paper:
                    theirs = paper_relation(figure, top, "r") if setting.name == "blurred" else None
                    difference = None if theirs is None or relation.r is None else relation.r - theirs
                    row += [theirs, difference]
                rows.append(row)
    header = ["setting", "covered fraction of", "accuracy", "classes", "r", "r from", "r to", "p"]
    header += ["paper", "minus paper"] if story.paper else []
    return Table("correlations", "Correlation of a class's drop with what faces cover (Figures 3, 4)", header, rows)


def _confusions(story: Story, confusions: Confusions) -> Iterator[Table]:
    yield pairs(story, confusions)
    results = story.results
    for top in TOPS:
        values = {run: _class_accuracy(results, run, top, confusions.classes) for run in confusions.precisions}
        yield _table4(story, confusions, f"top{top}", f"Top-{top} accuracy", values)
    for name, what in (("ap", "Average precision on logits"), ("ap_softmax", "Average precision on softmax")):
        values = {run: _precision(one, name) for run, one in confusions.precisions.items()}
        yield _table4(story, confusions, name, what, values)


def pairs(story: Story, confusions: Confusions) -> Table:
    """Pairs of classes that change places: those found, then those of the paper."""
    names = story.results.classes
    rows: list[list[Value]] = []
    for swing in confusions.swings:
        loser, winner = names[swing.loser], names[swing.winner]
        sides = [loser, class_title(loser), winner, class_title(winner)]
        rows.append([*sides, Points(100 * swing.swing), PValue(swing.p), PValue(swing.q)])
    title = (
        f"Pairs of classes between which answers move, {confusions.drop.comparison.title}: {confusions.found:,} of "
        f"{confusions.looked_at:,} beyond chance at a false discovery rate of {100 * LEVEL:g} %"
    )
    return Table("pairs", title, ["loses", "loses: name", "wins", "wins: name", "swing", "p", "p (BH)"], rows)


def _precision(precisions: Precisions, name: str) -> dict[int, float]:
    return dict(enumerate((precisions.logits if name == "ap" else precisions.softmax).tolist()))


def _class_accuracy(results: Results, run: Run, top: int, chosen: list[int]) -> dict[int, float]:
    correct = results.correct(run, top)
    return {k: float(correct[results.labels == place].mean()) for k, place in enumerate(chosen)}


def _table4(
    story: Story, confusions: Confusions, quantity: str, what: str, values: dict[Run, dict[int, float]]
) -> Table:
    """Table 4: pooled over the networks for each seed, mean and standard error over the seeds."""
    setting = confusions.drop.comparison.setting
    beside = story.paper and setting == "blurred" and quantity != "ap_softmax"
    rows: list[list[Value]] = []
    for k, place in enumerate(confusions.classes):
        name = story.results.classes[place]
        row: list[Value] = [name, class_title(name)]
        means = []
        for is_other in (False, True):
            by_seed: dict[int | None, list[float]] = {}
            for pair in confusions.drop.pairs:
                by_seed.setdefault(pair.seed, []).append(values[pair.other if is_other else pair.reference][k])
            numbers = [100 * sum(seen) / len(seen) for seen in by_seed.values()]
            error = sem(numbers, story.choices.ddof)
            means.append(sum(numbers) / len(numbers))
            row += [Points(means[-1]), None if error is None else Error(error)]
            if beside:
                column = f"{quantity}_{'blurred' if is_other else 'original'}"
                row += _beside(means[-1], paper_category(name, column))
        row.append(Points(means[0] - means[1]))
        if beside:
            row += _beside(means[0] - means[1], paper_category(name, f"{quantity}_delta"))
        rows.append(row)
    header = ["class", "name"]
    for side in (ORIGINAL, setting):
        header += [side, f"{side} SEM", *([f"{side} paper", f"{side} minus paper"] if beside else [])]
    header += ["drop", *(["drop paper", "drop minus paper"] if beside else [])]
    return Table(f"table4_{quantity}", f"{what} of these classes, percent (Table 4)", header, rows)
