"""The figure of `unface quality`: precision over recall, leak over area, faces hidden by their height."""

from typing import TYPE_CHECKING

from unface.analysis.detection import TAUS, Quality
from unface.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def quality_figure(quality: Quality) -> "Figure":
    """Three panels side by side.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError("figures: expected matplotlib, found none; run: pip install 'unface[figures]'") from None
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_precision(left, quality)
    _draw_leak(middle, quality)
    _draw_sizes(right, quality)
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_precision(axes: "Axes", quality: Quality) -> None:
    for found in quality.precisions:
        if found.ap is not None:
            shown = [place for place, precision in enumerate(found.precision) if precision or found.recall[place]]
            recall, precision = ([values[place] for place in shown] for values in (found.recall, found.precision))
            axes.plot(recall, precision, label=f"{found.difficulty}: AP {found.ap:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title="WIDER FACE protocol, IoU 0.5")
    if axes.lines:
        axes.legend(loc="lower left")


def _draw_leak(axes: "Axes", quality: Quality) -> None:
    points = [point for point in quality.curve if point.leak is not None and point.area is not None]
    axes.plot([point.area or 0 for point in points], [point.leak or 0 for point in points], color="#3465a4")
    threshold = quality.settings.threshold
    if quality.leak is not None and quality.area.all is not None:
        label = f"threshold {threshold:.2f}"
        axes.plot([quality.area.all], [quality.leak.share], "o", color="#3465a4", label=label)
    if quality.best is not None and quality.best.leak is not None and quality.best.area is not None:
        label = f"best for a leak of {quality.settings.leak_rate:.2%}: {quality.best.threshold:.3f}"
        axes.plot([quality.best.area], [quality.best.leak], "D", color="#c00000", label=label)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set(xlabel="area hidden outside faces", ylabel="images with faces that leak")
    axes.set(title=f"a face leaks unless {quality.settings.tau:.0%} of it is hidden", ylim=(0, None))
    if points:
        axes.legend()


def _draw_sizes(axes: "Axes", quality: Quality) -> None:
    for size in quality.sizes:
        if size.faces:
            axes.plot(TAUS, [share or 0 for share in size.recall], marker=".", label=f"{size.title} ({size.faces:,})")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set(xlabel="of a face, hidden at least", ylabel="faces", ylim=(0, 1.02), title="by height in pixels")
    if axes.lines:
        axes.legend(loc="lower left")
