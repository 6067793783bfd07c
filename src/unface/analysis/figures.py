"""Figures, drawn with matplotlib as SVG and PNG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unface.analysis.statistics import Statistics
from unface.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAST_BIN = 10
"""Images with so many faces or more share the last column, as in the paper's Figure 2."""

_BLUE, _GREY = "#3465a4", "#777777"


def figure2(statistics: Statistics) -> "Figure":
    """Figure 2: left, the fraction of images with faces, class by class; right, faces per image.

    Where there are no classes, the left side shows the heights of the faces' boxes.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("figures: expected matplotlib, found none; run: pip install 'unface[figures]'") from None
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if len(statistics.by_class) > 1:
        _draw_classes(left, statistics)
    else:
        _draw_heights(left, statistics)
    _draw_faces(right, statistics)
    return figure


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write a figure as `name.svg` and `name.png`, the same bytes for the same figure; returns their paths."""
    import matplotlib

    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=150, metadata={"Software": None})
    return paths


def _draw_classes(axes: "Axes", statistics: Statistics) -> None:
    fractions = np.sort([entry.fraction for entry in statistics.by_class])[::-1]
    axes.stairs(fractions, color=_BLUE, linewidth=2, baseline=None)
    for level in (0.5, 0.25):
        number = statistics.more_than(level)
        side, offset = ("right", -4) if number > len(fractions) / 2 else ("left", 4)
        axes.plot([0, number, number], [level, level, 0], color=_GREY, linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{number} classes over {level:.0%}", (number, level), (offset, 4), textcoords="offset points", ha=side
        )
    axes.set(xlim=(0, len(fractions)), ylim=(0, 1.02), xlabel="class, sorted", ylabel="fraction of images with faces")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_heights(axes: "Axes", statistics: Statistics) -> None:
    spread = statistics.heights_px
    if spread is not None:
        names = ["least", "5 %", "25 %", "median", "75 %", "95 %", "most"]
        bars = axes.barh(names[::-1], spread.quantiles[::-1], color=_BLUE)
        axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set(xlabel="height of a face, pixels")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_faces(axes: "Axes", statistics: Statistics) -> None:
    columns = np.zeros(LAST_BIN, np.int64)
    for number, images in statistics.faces_per_image.items():
        columns[min(number, LAST_BIN) - 1] += images
    names: list[Any] = [*map(str, range(1, LAST_BIN)), f"{LAST_BIN}+"]
    axes.bar(names, columns, color=_BLUE)
    few = statistics.fewer_than_five / statistics.with_faces if statistics.with_faces else 0
    axes.set_title(f"{few:.1%} of images with faces have fewer than five", fontsize="medium")
    axes.set(xlabel="faces in an image", ylabel="images")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
