"""Tables as text, CSV and JSON."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unface.analysis.paper import published
from unface.analysis.statistics import ClassCount, Spread, Statistics
from unface.errors import one_line

Cell = str | int | float | None

EXTREMES = 10
"""Classes in the lists of the most and the least affected."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Share(float):
    """A fraction: in percent where people read it, a number where programs do."""


@dataclass(frozen=True)
class Table:
    """A table: `name` is its file's name, `title` its headline; None is what is not known."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def text(self) -> str:
        """Aligned columns; texts to the left, numbers to the right.

        >>> print(Table("t", "Birds", ["class", "faces"], [["hen", 1200], ["kite", 7]]).text())
        Birds
          class  faces
          hen    1,200
          kite       7
        """
        cells = [list(self.header), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]
        left = [all(isinstance(row[i], str) for row in self.rows) for i in range(len(self.header))]
        lines = [
            "  ".join(
                cell.ljust(width) if is_left else cell.rjust(width)
                for cell, width, is_left in zip(row, widths, left, strict=True)
            )
            for row in cells
        ]
        return "\n".join([self.title, *(f"  {line}".rstrip() for line in lines)])

    def csv(self) -> str:
        """A CSV file's content; texts that a spreadsheet would run as a formula begin with an apostrophe."""
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(self.header)
        writer.writerows([_cell(cell) for cell in row] for row in self.rows)
        return buffer.getvalue()


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, Share):
        return f"{100 * cell:.2f} %"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else one_line(cell)


def _cell(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell.strip()


def share(part: float, whole: float) -> Share | None:
    """A part of a whole; None of nothing."""
    return Share(part / whole) if whole else None


def tables_of(statistics: Statistics) -> list[Table]:
    """Everything worth a table, the overview first."""
    found = [overview(statistics), faces_per_image(statistics)]
    if statistics.supercategories:
        found.append(table2(statistics))
    if len(statistics.by_class) > 1:
        ranked = sorted(statistics.by_class, key=lambda entry: (-entry.fraction, entry.name))
        found.append(_classes("most_affected", "Most affected classes", ranked[:EXTREMES]))
        found.append(_classes("least_affected", "Least affected classes", ranked[::-1][:EXTREMES]))
    return found


def overview(statistics: Statistics) -> Table:
    """Totals, sizes and areas; the paper's figures beside them where the dataset is ILSVRC."""
    s, paper = statistics, {row["quantity"]: row["value"] for row in published("annotation")}
    rows: list[list[Cell]] = [
        ["images", s.images, int(paper["images"])],
        ["images with faces", s.with_faces, int(paper["with_faces"])],
        ["  of all images", share(s.with_faces, s.images), Share(float(paper["with_faces_fraction"]))],
        ["faces", s.faces, int(paper["faces"])],
        [
            "images with faces that have fewer than five",
            share(s.fewer_than_five, s.with_faces),
            Share(float(paper["fewer_than_five_fraction"])),
        ],
        ["most faces in one image", s.largest, int(paper["largest"])],
        ["images with as many", s.with_largest, None],
        ["images that people reviewed", s.reviewed, None],
        ["images that failed, not counted", s.failed, None],
    ]
    rows += _spread_rows("height of a face, pixels", s.heights_px)
    if s.sized:
        rows.append(["images whose size is known", s.sized, None])
        rows += _spread_rows("area covered, images with faces", s.area_faces, in_percent=True)
        rows.append(["area covered, all images, mean", Share(s.area_all.mean if s.area_all else 0), None])
    if len(s.by_class) > 1:
        fractions = [entry.fraction for entry in s.by_class]
        rows += [
            ["classes" + (f" (images of {s.split}/)" if s.split else ""), len(s.by_class), 1000],
            ["  over half of whose images have faces", s.more_than(0.5), int(paper["classes_over_half"])],
            ["  over a quarter of whose images have faces", s.more_than(0.25), int(paper["classes_over_quarter"])],
            ["  largest fraction", Share(max(fractions)), Share(float(paper["largest_class_fraction"]))],
            ["  smallest fraction", Share(min(fractions)), Share(float(paper["smallest_class_fraction"]))],
        ]
    header = ["", "here", "paper"]
    if not s.is_ilsvrc:
        rows, header = [row[:2] for row in rows], header[:2]
    return Table("overview", "Overview", header, rows)


def _spread_rows(title: str, spread: Spread | None, in_percent: bool = False) -> list[list[Cell]]:
    if spread is None:
        return []
    low, median, high = spread.quantiles[1], spread.quantiles[3], spread.quantiles[5]
    rows: list[list[Cell]] = []
    for name, value in (("5 %", low), ("median", median), ("95 %", high), ("mean", spread.mean)):
        rows.append([f"{title}, {name}", Share(value) if in_percent else round(value, 1), None])
    return rows


def faces_per_image(statistics: Statistics) -> Table:
    """Figure 2, right: images by their number of faces."""
    edges = [*range(1, 11), 20, 50, 100]
    rows: list[list[Cell]] = []
    for low, high in pairwise([*edges, max(101, statistics.largest + 1)]):
        number = sum(images for n, images in statistics.faces_per_image.items() if low <= n < high)
        label = f"{low}" if high - low == 1 else f"{low} to {high - 1}"
        if number or low < 10:
            rows.append([label, number, share(number, statistics.with_faces)])
    return Table(
        "faces_per_image", "Faces per image (Figure 2, right)", ["faces", "images", "of images with faces"], rows
    )


def table2(statistics: Statistics) -> Table:
    """Table 2: supercategories; the paper's figures beside ours where the dataset is ILSVRC."""
    paper = {row["synset"]: row for row in published("table2")} if statistics.is_ilsvrc else {}
    rows: list[list[Cell]] = []
    for entry in statistics.supercategories:
        row: list[Cell] = [entry.name, entry.classes, entry.images, share(entry.with_faces, entry.images)]
        if paper:
            theirs = paper.get(entry.name)
            row += (
                [int(theirs["classes"]), int(theirs["images"]), share(float(theirs["with_faces_percent"]), 100)]
                if theirs
                else [None] * 3
            )
        rows.append(row)
    header = ["synset", "classes", "images", "with faces"]
    if paper:
        header += [f"paper: {name}" for name in header[1:]]
    return Table("table2", "Supercategories (Table 2)", header, rows)


def classes(statistics: Statistics) -> Table:
    """Every class, for a CSV file."""
    return _classes("classes", "Classes", statistics.by_class)


def _classes(name: str, title: str, entries: Sequence[ClassCount]) -> Table:
    rows = [
        [entry.name, entry.title, entry.images, entry.with_faces, share(entry.with_faces, entry.images), entry.faces]
        for entry in entries
    ]
    return Table(name, title, ["class", "name", "images", "images with faces", "fraction", "faces"], rows)
