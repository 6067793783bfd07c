"""The study page's charts as numbers that its template draws: percentages of a width, points of a plot."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from unface.analysis.study.categories import Relation
from unface.analysis.study.figures import bin_name
from unface.analysis.study.uncertainty import Interval

SCATTER_WH = (340, 200)
"""Plot area, in its own units."""

NAMED = 3
"""Classes that the scatter names: those with the largest drops."""

_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Scale:
    """A horizontal or vertical axis that holds 0.

    >>> Scale.holding([0.2, 3.1]).ticks, Scale.holding([-0.04, 0.11]).at(0.0)
    ([0.0, 1.0, 2.0, 3.0], 29.17)
    """

    low: float
    high: float
    ticks: list[float]

    @classmethod
    def holding(cls, values: Iterable[float]) -> "Scale":
        """The axis over these values, a little longer, with about four ticks at round numbers."""
        known = [value for value in values if math.isfinite(value)]
        low, high = min([0.0, *known]), max([0.0, *known])
        margin = 0.06 * (high - low) or 1.0
        low, high = low - margin * (low < 0), high + margin
        rough = (high - low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = unit * min(step for step in _STEPS if step * unit >= 0.65 * rough)
        first, last = math.ceil(low / step), math.floor(high / step)
        return cls(low, high, [round(step * number, 10) for number in range(first, last + 1)])

    def at(self, value: float) -> float:
        """Where a value is, in percent of the length."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    def labels(self) -> list[tuple[float, str]]:
        """Places and texts of the ticks."""
        return [(self.at(tick), f"{tick:g}".replace("-", "−")) for tick in self.ticks]


class Mark(NamedTuple):
    """An interval drawn: places of its middle and ends, and of the paper's number, in percent of the width."""

    kind: str
    text: str
    x: float
    low: float
    high: float
    paper_text: str
    paper: float | None


class Row(NamedTuple):
    """One line of a chart of intervals."""

    label: str
    note: str
    marks: list[Mark]


@dataclass(frozen=True)
class Intervals:
    """Drops in percentage points, line by line."""

    scale: Scale
    rows: list[Row]
    has_paper: bool


class Line(NamedTuple):
    """What goes into a line: its label, a note, and by kind (`top-1`) the interval and the paper's number."""

    label: str
    note: str
    found: Sequence[tuple[str, Interval | None, float | None]]


def intervals(lines: Sequence[Line]) -> Intervals:
    """A chart of drops: intervals in fractions, the paper's numbers in percentage points."""
    known = [(100 * one.low, 100 * one.high) for line in lines for _, one, _ in line.found if one]
    papers = [paper for line in lines for _, _, paper in line.found if paper is not None]
    scale = Scale.holding([side for pair in known for side in pair] + papers)
    rows = []
    for line in lines:
        marks = [
            Mark(
                kind,
                _points(100 * one.value) + f" ({_points(100 * one.low)} to {_points(100 * one.high)})",
                scale.at(100 * one.value),
                scale.at(100 * one.low),
                scale.at(100 * one.high),
                "" if paper is None else _points(paper),
                None if paper is None else scale.at(paper),
            )
            for kind, one, paper in line.found
            if one
        ]
        rows.append(Row(line.label, line.note, marks))
    return Intervals(scale, rows, bool(papers))


class Column(NamedTuple):
    """The mean drop of one bin's classes: its bar from `start`, and its error's ends, in percent of the width."""

    kind: str
    text: str
    start: float
    width: float
    low: float | None
    high: float | None


class BinRow(NamedTuple):
    """One bin."""

    label: str
    classes: int
    columns: list[Column]


def bin_rows(relations: Sequence[tuple[str, Relation]]) -> list[BinRow]:
    """The bins of Figure 3 or 4; `relations` by kind (`top-1`), all with the same bins."""
    ends = [
        100 * (one.drop + sign * (one.error or 0))
        for _, relation in relations
        for one in relation.bins
        if one.drop is not None
        for sign in (-1, 1)
    ]
    scale = Scale.holding(ends)
    bins = relations[0][1].bins
    return [
        BinRow(
            bin_name(one, place == len(bins) - 1),
            one.classes,
            [_column(kind, relation, place, scale) for kind, relation in relations],
        )
        for place, one in enumerate(bins)
    ]


def _column(kind: str, relation: Relation, place: int, scale: Scale) -> Column:
    one = relation.bins[place]
    if one.drop is None:
        return Column(kind, "–", 0, 0, None, None)
    drop, zero = scale.at(100 * one.drop), scale.at(0)
    ends = None if one.error is None else [scale.at(100 * (one.drop + sign * one.error)) for sign in (-1, 1)]
    text = _points(100 * one.drop) + ("" if one.error is None else f" ± {_points(100 * one.error)}")
    low, high = ends or (None, None)
    return Column(kind, text, min(drop, zero), round(abs(drop - zero), 2), low, high)


class Named(NamedTuple):
    """A class that the scatter names, and on which side of its dot."""

    name: str
    x: float
    y: float
    to_left: bool


@dataclass(frozen=True)
class Scatter:
    """Classes as dots: one path of dots for each kind, tick places in the plot's units."""

    paths: list[tuple[str, str]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    named: list[Named]
    zero_y: float


def scatter(relations: Sequence[tuple[str, Relation]], names: Sequence[str]) -> Scatter:
    """Drops of classes over what faces cover; the first kind's largest drops are named."""
    width, height = SCATTER_WH
    fractions = 100 * relations[0][1].fractions
    known = ~np.isnan(fractions)
    x_scale = Scale.holding(fractions[known].tolist())
    y_scale = Scale.holding([float(drop) for _, one in relations for drop in 100 * one.drops[known]])

    def place(x: float, y: float) -> tuple[float, float]:
        return round(x_scale.at(x) * width / 100, 1), round(height - y_scale.at(y) * height / 100, 1)

    paths = []
    for kind, one in relations:
        dots = [place(float(x), float(y)) for x, y in zip(fractions[known], 100 * one.drops[known], strict=True)]
        paths.append((kind, "".join(f"M{x:g} {y:g}h0" for x, y in dots)))
    drops = np.where(known, 100 * relations[0][1].drops, -np.inf)
    named: list[Named] = []
    for number in np.argsort(-drops, kind="stable")[:NAMED].tolist():
        if drops[number] > 0:
            x, y = place(float(fractions[number]), float(drops[number]))
            if all(abs(y - other.y) > 11 for other in named):
                named.append(Named(names[number], x, y, x > width / 2))
    return Scatter(
        paths,
        [(x * width / 100, text) for x, text in x_scale.labels()],
        [(height - y * height / 100, text) for y, text in y_scale.labels()],
        named,
        place(0, 0)[1],
    )


def _points(number: float) -> str:
    text = f"{number:.2f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")
