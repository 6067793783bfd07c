"""A study's predictions, read file by file and put on the same images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.errors import InputError
from unface.predictions import PRETRAINED, Evaluation, Outcomes, Predictions, read_predictions

ORIGINAL = "original"
"""The setting that all others are compared with."""

REENCODED = "reencoded"
"""The control arm: the original pictures, encoded again as obfuscation would."""

_FIRST = (ORIGINAL, "blurred", "overlaid", "mosaic", "mean", "red", "green", "blue")
"""How settings are ordered; others stand behind these."""


class Cell(NamedTuple):
    """One field of the train x eval matrix of one architecture."""

    architecture: str
    train: str
    eval: str


@dataclass(frozen=True, eq=False)
class Run:
    """What one network made of the study's images.

    Attributes:
        predictions: Its file.
        order: Rows of the file that hold the study's images, in their order, shape (N,).
        predicted: The class with the highest logit, shape (N,).
        in_top5: Whether the true class is among the five highest, shape (N,).
    """

    predictions: Predictions
    order: NDArray[np.int64]
    predicted: NDArray[np.int32]
    in_top5: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Results:
    """All runs of a study on the images that every one of them has.

    Attributes:
        image_ids: N texts.
        labels: True class indices, shape (N,).
        classes: Names by index.
        dataset: What the images are of.
        left_out: Images that some runs have and others lack; they count nowhere.
        cells: By cell, then by seed.
    """

    image_ids: pa.Array
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    dataset: str
    left_out: int
    cells: dict[Cell, dict[int | None, Run]]

    def runs(self) -> Iterator[tuple[Cell, int | None, Run]]:
        """Every run with its cell and seed."""
        for cell, runs in self.cells.items():
            for seed, run in runs.items():
                yield cell, seed, run

    def correct(self, run: Run, top: int) -> NDArray[np.bool_]:
        """Whether each image is right, by the paper's top-1 or top-5."""
        return run.in_top5 if top == 5 else run.predicted == self.labels

    @property
    def architectures(self) -> list[str]:
        """Sorted."""
        return sorted({cell.architecture for cell in self.cells})

    @property
    def settings(self) -> list[str]:
        """Settings that something was trained or evaluated on: the original first, the control last."""
        found = {cell.eval for cell in self.cells} | {cell.train for cell in self.cells if cell.train != PRETRAINED}
        return sorted(found, key=lambda name: (name == REENCODED, *((name != first) for first in _FIRST), name))


def read_results(folder: Path) -> Results:
    """Read every file of a study's folder `predictions`; its logits stay on the disk.

    Runs may be evaluated on somewhat different images (what could not be obfuscated is not published): the images
    that all have are compared.

    Raises:
        InputError: No file, a bad one, two of the same run, files that disagree about the classes, the dataset or an
            image's class, or no image that all have.
    """
    paths = sorted((folder / "predictions").glob("*.parquet"))
    if not paths:
        raise InputError(f"{folder}: expected files in predictions/, one a run; found none")
    first = read_predictions(paths[0])
    known = first.outcomes()
    ids, labels = known.image_ids, known.labels
    everything, cells = ids, dict[Cell, dict[int | None, tuple[Run, pa.Array]]]()
    for path in paths:
        predictions = read_predictions(path)
        outcomes = known if path == paths[0] else predictions.outcomes()
        _check_same(first, predictions)
        everything, labels = _joined(path, everything, labels, outcomes)
        if not outcomes.image_ids.equals(ids):
            ids = ids.filter(pc.is_in(ids, value_set=outcomes.image_ids))
        evaluation = predictions.evaluation
        runs = cells.setdefault(Cell(evaluation.architecture, evaluation.train, evaluation.eval), {})
        if evaluation.seed in runs:
            raise InputError(f"{path}: expected one file a run, but {runs[evaluation.seed][0].predictions.path} is it")
        runs[evaluation.seed] = (_run(predictions, outcomes), outcomes.image_ids)
    if not len(ids):
        raise InputError(f"{folder}: expected images that all {len(paths)} runs were evaluated on, found none")
    kept = pc.index_in(ids, value_set=everything).to_numpy()
    aligned = {
        cell: {seed: _on(run, own, ids) for seed, (run, own) in sorted(runs.items(), key=lambda item: item[0] or 0)}
        for cell, runs in sorted(cells.items())
    }
    evaluation = first.evaluation
    left_out = len(everything) - len(ids)
    return Results(ids, labels[kept], evaluation.classes, evaluation.dataset, left_out, aligned)


def _run(predictions: Predictions, outcomes: Outcomes) -> Run:
    in_top5 = (outcomes.top5 == outcomes.labels[:, None]).any(axis=1)
    return Run(predictions, np.arange(len(in_top5)), np.ascontiguousarray(outcomes.top5[:, 0]), in_top5)


def _on(run: Run, own: pa.Array, ids: pa.Array) -> Run:
    """The run on the study's images."""
    if own.equals(ids):
        return run
    order = pc.index_in(ids, value_set=own).to_numpy().astype(np.int64)
    return replace(run, order=order, predicted=run.predicted[order], in_top5=run.in_top5[order])


def _check_same(first: Predictions, other: Predictions) -> None:
    mine, theirs = first.evaluation, other.evaluation
    for name in ("classes", "dataset"):
        if getattr(mine, name) != getattr(theirs, name):
            got = _brief(theirs, name)
            raise InputError(f"{other.path}: {name}: expected that of {first.path}, {_brief(mine, name)}, got {got}")


def _brief(evaluation: Evaluation, name: str) -> str:
    return f"{len(evaluation.classes)} classes" if name == "classes" else repr(evaluation.dataset)


def _joined(
    path: Path, everything: pa.Array, labels: NDArray[np.int32], outcomes: Outcomes
) -> tuple[pa.Array, NDArray[np.int32]]:
    """All images so far and their classes, with those of one more file; the classes have to agree."""
    if outcomes.image_ids.equals(everything):
        places = np.arange(len(everything))
    else:
        places = pc.fill_null(pc.index_in(outcomes.image_ids, value_set=everything), -1).to_numpy()
    known = places >= 0
    different = np.flatnonzero(known)[labels[places[known]] != outcomes.labels[known]]
    if len(different):
        row = int(different[0])
        raise InputError(
            f"{path}: {outcomes.image_ids[row].as_py()!r}: label: expected {labels[places[row]]} as in the other runs, "
            f"got {outcomes.labels[row]}"
        )
    if known.all():
        return everything, labels
    new = pa.array(~known)
    both = pa.concat_arrays([everything, outcomes.image_ids.filter(new)])
    return both, np.concatenate([labels, outcomes.labels[~known]])
