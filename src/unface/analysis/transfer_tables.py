"""Tables 5 and 6 of the paper, its figures on VOC, and the same for any other task."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from unface.analysis.paper import published
from unface.analysis.study.formats import Error, Points, PValue, points
from unface.analysis.study.results import ORIGINAL
from unface.analysis.study.uncertainty import Interval, sem
from unface.analysis.tables import Cell, Table
from unface.analysis.transfer import NONE, Comparison, Transfers, compare, read_transfers

AVERAGE = "average"
_NAMES = {"cifar10": "table5_cifar10", "sun397": "table5_sun397", "celeba": "table6_celeba", "voc": "voc"}
_PUBLISHED = {"cifar10": "table5", "sun397": "table5", "celeba": "table6", "voc": "voc"}
_TITLES = {
    "cifar10": "CIFAR-10, top-1 accuracy (Table 5)",
    "sun397": "SUN397, top-1 accuracy (Table 5)",
    "celeba": "CelebA, mean average precision of 40 attributes (Table 6)",
    "voc": "PASCAL VOC 2007, average precision (Appendix E)",
}


def transfer_tables(folder: Path, ddof: int = 1) -> list[Table]:
    """A table for each task of a folder of transfers; none where there is no such folder."""
    tasks = sorted(path.parent for path in folder.glob("*/predictions") if next(path.glob("*.parquet"), None))
    return [table_of(read_transfers(task), ddof) for task in tasks]


def table_of(transfers: Transfers, ddof: int = 1) -> Table:
    """One row a network and metric: the mean over seeds with each start, in percent.

    Where networks were pretrained on the original pictures, each other start stands beside with its difference from
    that, its 95 % interval and its p-value; where only some were pretrained, with that from no pretraining.

    Args:
        transfers: What was reached.
        ddof: Of the standard errors.
    """
    starts, metrics = transfers.starts, transfers.metrics
    reference = ORIGINAL if ORIGINAL in starts else NONE
    header = ["network", *(["metric"] if len(metrics) > 1 else []), "seeds"]
    for start in starts:
        header += [start, f"{start} SEM"]
        header += [f"{start} paper"] if _has_paper(transfers.task) else []
        if start != reference:
            header += [f"{start} gain", f"{start} gain from", f"{start} gain to", f"{start} gain p"]
    rows: list[list[Cell]] = []
    for metric in metrics:
        compared = {start: compare(transfers, start, reference, metric) for start in starts if start != reference}
        names: Sequence[str | None] = transfers.architectures
        for name in [*names, None] if len(names) > 1 else names:
            rows.append(_row(transfers, starts, metric, name, compared, ddof, len(metrics) > 1))
    told = transfers.task if len(metrics) > 1 else f"{transfers.task}, {metrics[0]}"
    title = f"{_TITLES.get(transfers.task, told)}, percent"
    title += f"; gain: over {reference}" if starts != [reference] else ""
    return Table(_NAMES.get(transfers.task, f"transfer_{transfers.task}"), title, header, rows)


def _row(
    transfers: Transfers,
    starts: Sequence[str],
    metric: str,
    name: str | None,
    compared: dict[str, Comparison | None],
    ddof: int,
    names_metric: bool,
) -> list[Cell]:
    """An architecture, or the mean over all where every one has the start."""
    architectures = transfers.architectures if name is None else [name]
    seeds = max(len(transfers.runs.get((each, start), {})) for each in architectures for start in starts)
    row: list[Cell] = [name or AVERAGE, *([metric] if names_metric else []), seeds]
    for start in starts:
        values = [_values(transfers, each, start, metric) for each in architectures]
        mean = float(np.mean([np.mean(each) for each in values])) if all(values) else None
        error = sem(values[0], ddof) if name is not None and values[0] else None
        row += [points(mean), None if error is None else Error(100 * error)]
        if _has_paper(transfers.task):
            theirs = [paper_value(transfers.task, each, start, metric) for each in architectures]
            known = [each for each in theirs if each is not None]
            row.append(Points(np.mean(known)) if len(known) == len(theirs) else None)
        if start in compared:
            comparison = compared[start]
            row += _gain(None if comparison is None else comparison.of(name))
    return row


def _values(transfers: Transfers, architecture: str, start: str, metric: str) -> list[float]:
    return [run.value(metric) for run in transfers.runs.get((architecture, start), {}).values()]


def _gain(interval: Interval | None) -> list[Cell]:
    if interval is None:
        return [None] * 4
    return [*(points(number) for number in interval[:3]), PValue(interval.p)]


def _has_paper(task: str) -> bool:
    return task in _NAMES


def paper_value(task: str, architecture: str, start: str, metric: str) -> float | None:
    """What the paper printed, in percent; None where it printed nothing.

    Of the two kinds of average precision of VOC it does not say which its numbers are; they stand beside the 11-point
    one, which is usual for VOC 2007.
    """
    if metric.endswith(", area"):
        return None
    quantity = metric.removesuffix(", 11-point") if task == "voc" else task
    key = (architecture, quantity)
    row = next((row for row in _published(_PUBLISHED[task]) if (row["architecture"], row["quantity"]) == key), None)
    text = "" if row is None else row.get(start, "")
    return float(text) if text else None


@cache
def _published(table: str) -> list[dict[str, str]]:
    return published(
        {"table5_cifar10": "table5", "table5_sun397": "table5", "table6_celeba": "table6"}.get(table, table)
    )
