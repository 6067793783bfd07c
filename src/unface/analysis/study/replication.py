"""The paper's numbers that belong beside ours."""

from collections.abc import Iterable
from functools import cache

from unface.analysis.paper import published
from unface.analysis.study.comparisons import PRETRAINED_ON, TRAINED, TRANSFERRED
from unface.analysis.study.results import ORIGINAL, Results
from unface.faces.classes import is_wnid
from unface.predictions import PRETRAINED

_ILSVRC_CLASSES = 1000
_DELTAS = {
    (TRAINED, "blurred"): "delta_b",
    (TRAINED, "overlaid"): "delta_o",
    (TRANSFERRED, "blurred"): "delta",
    (PRETRAINED_ON, "blurred"): "delta_b",
}


def is_comparable(results: Results) -> bool:
    """Whether the classes are the 1,000 synsets of ILSVRC, so that the paper's numbers are of the same kind."""
    return len(results.classes) == _ILSVRC_CLASSES and all(map(is_wnid, results.classes))


def paper_accuracy(kind: str, setting: str, top: int, architecture: str) -> float | None:
    """What the paper's table of this kind of comparison says, in percent; None where it says nothing."""
    suffix = "_train" if kind == TRANSFERRED else ""
    return _cell(kind, architecture, top, f"{setting}{suffix}")


def paper_drop(kind: str, setting: str, top: int, architecture: str) -> float | None:
    """The paper's drop in percentage points: printed, or the difference of what is printed; None where neither is."""
    delta = _DELTAS.get((kind, setting))
    printed = _cell(kind, architecture, top, delta) if delta else None
    if printed is not None:
        return printed
    sides = [paper_accuracy(kind, name, top, architecture) for name in (ORIGINAL, setting)]
    return None if sides[0] is None or sides[1] is None else sides[0] - sides[1]


def paper_mean_drop(kind: str, setting: str, top: int, architectures: Iterable[str]) -> float | None:
    """Mean of the paper's drops over the same architectures; None where it lacks any of them."""
    drops = [paper_drop(kind, setting, top, architecture) for architecture in architectures]
    known = [drop for drop in drops if drop is not None]
    return sum(known) / len(known) if known and len(known) == len(drops) else None


def paper_cell(train: str, eval_: str, top: int, architecture: str) -> float | None:
    """What the paper says of one field of the train x eval matrix, in percent; None where it says nothing."""
    if train == PRETRAINED:
        return paper_accuracy(PRETRAINED_ON, eval_, top, architecture)
    if train == eval_:
        return paper_accuracy(TRAINED, eval_, top, architecture)
    return paper_accuracy(TRANSFERRED, train, top, architecture) if eval_ == ORIGINAL else None


def paper_category(wnid: str, quantity: str) -> float | None:
    """A number that the paper states of a class, in percent.

    Of the classes of Table 4 such as `ap_original`; of three others `object_covered_percent` and `top5_drop`.
    """
    rows = (row for table in ("table4", "categories") for row in published(table) if row["wnid"] == wnid)
    text = next((row[quantity] for row in rows if quantity in row), "")
    return float(text) if text else None


def paper_relation(figure: int, top: int, quantity: str) -> float | None:
    """A number that the paper states of Figure 3 or 4: `r`, `p`, `drop_below_1_percent`, `drop_from_8_percent`."""
    wanted = (str(figure), str(top), quantity)
    rows = (row for row in published("correlations") if (row["figure"], row["top"], row["quantity"]) == wanted)
    return next((float(row["value"]) for row in rows), None)


def _cell(kind: str, architecture: str, top: int, column: str) -> float | None:
    tables = {TRAINED: "table3", TRANSFERRED: "table8", PRETRAINED_ON: "table7"}
    if kind not in tables or (kind == PRETRAINED_ON and top != 5):
        return None
    prefix = "" if kind == PRETRAINED_ON else f"top{top}_"
    text = _rows(tables[kind]).get(architecture, {}).get(prefix + column, "")
    return float(text) if text else None


@cache
def _rows(table: str) -> dict[str, dict[str, str]]:
    return {row["architecture"]: row for row in published(table)}
