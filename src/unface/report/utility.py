"""What hiding faces costs: read from a table, or out of a study's results."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from unface.analysis.study.results import ORIGINAL, Cell, Results, read_results
from unface.errors import InputError, one_line
from unface.obfuscate.methods import Obfuscation
from unface.predictions import PRETRAINED


def read_utility(path: Path, treatments: Mapping[str, Obfuscation]) -> tuple[str, dict[str, float]]:
    """How well networks do on faces hidden in several ways.

    Args:
        path: A folder that `unface study run` wrote, of which top-1 accuracies in percent are taken, or a CSV whose
            first column names the treatment and whose second is a number.
        treatments: What the ways are called here.

    Returns:
        What the numbers are, and the numbers by treatment.

    Raises:
        InputError: Neither, or a number that is none.
    """
    return _of_study(path, treatments) if path.is_dir() else _of_table(path)


def _of_table(path: Path) -> tuple[str, dict[str, float]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        values = {row[0]: float(row[1]) for row in rows}
        if not all(map(math.isfinite, values.values())):
            raise ValueError("a number that is not finite")
        return header[1], values
    except (OSError, ValueError, IndexError, csv.Error) as error:
        expected = "a CSV of treatments and numbers with a header, or a study's folder"
        raise InputError(f"{one_line(str(path))}: expected {expected}, got {one_line(error)}") from None


def _of_study(folder: Path, treatments: Mapping[str, Obfuscation]) -> tuple[str, dict[str, float]]:
    """Networks that were trained on a setting judge it, if there are any; else those that were trained elsewhere."""
    settings = _settings(folder, treatments)
    results = read_results(folder)
    for title, train in (
        ("trained and tested on each", {name: name for name in settings}),
        ("with pretrained weights", dict.fromkeys(settings, PRETRAINED)),
        ("trained on originals", dict.fromkeys(settings, ORIGINAL)),
    ):
        cells = {name: {a: Cell(a, train[name], name) for a in results.architectures} for name in settings}
        there = {name: {a for a, cell in own.items() if cell in results.cells} for name, own in cells.items()}
        known = [name for name in settings if there[name]]
        architectures = set.intersection(*(there[name] for name in known)) if known else set()
        if len(known) > 1 and architectures:
            values = {
                treatment: _mean([_accuracy(results, cells[name][a]) for a in sorted(architectures)])
                for name in known
                for treatment in settings[name]
            }
            return f"top-1 accuracy in percent, mean of {len(architectures)} networks {title}", values
    raise InputError(
        f"{one_line(str(folder))}: expected a study with at least two of {', '.join(treatments)}, got fewer"
    )


def _settings(folder: Path, treatments: Mapping[str, Obfuscation]) -> dict[str, list[str]]:
    """The study's settings that do what some treatments do, with these."""
    path = folder / "study.json"
    try:
        definitions = json.loads(path.read_text(encoding="utf-8"))["settings"]["evaluation"]
        hows = {
            str(name): (own["obfuscation"], own["jpeg_quality"], own["folder"]) for name, own in definitions.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{one_line(str(path))}: expected the record of a study, found none") from None
    wanted = {treatment: (asdict(how), None, "") for treatment, how in treatments.items()}
    found = {name: [t for t, how in wanted.items() if how == own] for name, own in hows.items()}
    return {name: same for name, same in found.items() if same}


def _accuracy(results: Results, cell: Cell) -> float:
    return _mean([100 * float(results.correct(run, 1).mean()) for run in results.cells[cell].values()])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
