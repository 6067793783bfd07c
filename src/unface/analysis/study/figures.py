"""Figures 3 and 4, and the drops of all networks, drawn with matplotlib."""

from typing import TYPE_CHECKING

import numpy as np

from unface.analysis.study.categories import Bin, Relation
from unface.analysis.study.comparisons import TOPS, Drop
from unface.analysis.study.story import Setting, Story
from unface.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COVERED = {3: "fraction of the image that faces cover", 4: "fraction of the object that faces cover"}

_BLUE, _ORANGE, _GREY = "#3465a4", "#c4611a", "#777777"
_COLORS = (_BLUE, _ORANGE)


def figures_of(story: Story) -> dict[str, "Figure"]:
    """Every figure by its file's name.

    Raises:
        InputError: matplotlib is not installed.
    """
    found = {}
    for setting in story.settings:
        for number, relations in ((3, setting.blurred), (4, setting.covered)):
            if relations:
                found[f"figure{number}_{setting.name}"] = figure_of_relation(setting, number, relations)
    for drop in story.drops:
        found[f"drops_{drop.comparison.name}"] = figure_of_drops(drop)
    return found


def figure_of_relation(setting: Setting, number: int, relations: tuple[Relation, Relation]) -> "Figure":
    """Figure 3 or 4: left, the bins' mean drops; right, every class."""
    figure = _figure(10, 4)
    left, right = figure.subplots(1, 2)
    names = [bin_name(one, place == len(relations[0].bins) - 1) for place, one in enumerate(relations[0].bins)]
    for shift, top, relation, color in zip((-0.2, 0.2), TOPS, relations, _COLORS, strict=True):
        drops = [np.nan if one.drop is None else 100 * one.drop for one in relation.bins]
        errors = [100 * (one.error or 0) for one in relation.bins]
        places = np.arange(len(names)) + shift
        left.bar(places, drops, 0.4, yerr=errors, color=color, ecolor=_GREY, capsize=2, label=f"top-{top}")
        known = ~np.isnan(relation.drops)
        label = f"top-{top}" + ("" if relation.r is None else f", r = {relation.r:.2f}")
        right.plot(
            100 * relation.fractions[known], 100 * relation.drops[known], ".", color=color, alpha=0.4, label=label
        )
    left.set_xticks(np.arange(len(names)), names)
    for axes in (left, right):
        axes.set(xlabel=f"{COVERED[number]}, %", ylabel="drop in accuracy, points")
        axes.legend(frameon=False)
        _clean(axes)
    figure.suptitle(f"Classes, {setting.categories.drop.comparison.title}", fontsize="medium")
    return figure


def figure_of_drops(drop: Drop) -> "Figure":
    """Drop of every network and their mean, with intervals."""
    names = [*drop.architectures, "mean"]
    figure = _figure(7, 1.2 + 0.32 * len(names))
    axes = figure.subplots()
    for shift, top, color in zip((-0.14, 0.14), TOPS, _COLORS, strict=True):
        found = [drop.of(top, name) for name in drop.architectures] + [drop.of(top)]
        for place, interval in enumerate(found):
            if interval is not None:
                axes.plot([100 * interval.low, 100 * interval.high], [place + shift] * 2, color=color, linewidth=1.5)
        values = [np.nan if interval is None else 100 * interval.value for interval in found]
        axes.plot(values, np.arange(len(names)) + shift, "o", color=color, markersize=4, label=f"top-{top}")
    axes.axvline(0, color=_GREY, linewidth=0.8)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="drop in accuracy, points (95 % intervals)", title=drop.comparison.title)
    axes.title.set_fontsize("medium")
    axes.legend(frameon=False)
    _clean(axes)
    return figure


def bin_name(one: Bin, is_last: bool) -> str:
    """The bounds of a bin in percent.

    >>> bin_name(Bin(0.01, 0.02, 3, None, None), False), bin_name(Bin(0.08, 1.0, 3, None, None), True)
    ('1–2', '8 or more')
    """
    low, high = (f"{100 * side:g}" for side in (one.low, one.high))
    return f"{low} or more" if is_last else f"{low}–{high}"


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("figures: expected matplotlib, found none; run: pip install 'unface[figures]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _clean(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
