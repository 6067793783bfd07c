"""Top-1 and top-5 accuracy, of all images and of each class, out of files of predictions."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unface.predictions import read_predictions

Row = dict[str, Any]


def tables_of(paths: Sequence[Path]) -> tuple[list[Row], list[Row]]:
    """Accuracies of predictions: one row a file, and one row a file and a class that has images.

    Returns:
        Rows with `top1` and `top5`, 0 to 1.
    """
    overall, by_class = [], []
    for path in paths:
        predictions = read_predictions(path)
        outcomes, evaluation = predictions.outcomes(), predictions.evaluation
        right = outcomes.top5 == outcomes.labels[:, None]
        scores = np.stack([right[:, 0], right.any(axis=1)], axis=1)
        who = {name: getattr(evaluation, name) for name in ("architecture", "train", "eval", "seed")}
        overall.append({**who, "images": len(right), **_named(scores.mean(axis=0))})
        for label in np.unique(outcomes.labels).tolist():
            mine = scores[outcomes.labels == label]
            name = {"class_index": label, "class": evaluation.classes[label]}
            by_class.append({**who, **name, "images": len(mine), **_named(mine.mean(axis=0))})
    return overall, by_class


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows beside their place and rename the file when whole."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def _named(scores: Any) -> dict[str, float]:
    return {"top1": float(scores[0]), "top5": float(scores[1])}
