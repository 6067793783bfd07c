"""Networks finetuned for a task: what each reached, and how pretrainings compare on the same images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unface.analysis.study.results import ORIGINAL
from unface.analysis.study.uncertainty import Draws, Interval, bootstrap
from unface.analysis.transfer_precision import FLAVOURS, attribute_values, detection_values, ranked
from unface.errors import InputError, one_line
from unface.predictions import Evaluation, read_predictions
from unface.predictions.attributes import read_attributes
from unface.predictions.detections import read_detections

NONE = "none"
"""What a network began with that was not pretrained."""

PERSON = "person"


@dataclass(frozen=True, eq=False)
class TransferRun:
    """What one finetuned network reached.

    Attributes:
        path: Its file.
        evaluation: Which network; `train` is what it began with.
        image_ids: N texts, sorted.
        values: For each metric its images' parts, whose mean is the metric, 0 to 1; shape (N,).
    """

    path: Path
    evaluation: Evaluation
    image_ids: pa.Array
    values: Mapping[str, NDArray[np.float64]]

    def value(self, metric: str) -> float:
        """The metric, 0 to 1."""
        return float(self.values[metric].mean())


@dataclass(frozen=True, eq=False)
class Transfers:
    """All networks finetuned for one task.

    Attributes:
        task: Its name.
        runs: By architecture and what they began with, then by seed.
    """

    task: str
    runs: dict[tuple[str, str], dict[int | None, TransferRun]]

    @property
    def architectures(self) -> list[str]:
        """Sorted."""
        return sorted({architecture for architecture, _ in self.runs})

    @property
    def starts(self) -> list[str]:
        """What networks began with: nothing, then the original pictures, then the others sorted."""
        return sorted({start for _, start in self.runs}, key=lambda name: (name != NONE, name != ORIGINAL, name))

    @property
    def metrics(self) -> list[str]:
        """Their names."""
        return list(next(iter(next(iter(self.runs.values())).values())).values)


def read_transfers(folder: Path) -> Transfers:
    """Read the files of `predictions` of a task's folder.

    Raises:
        InputError: No file, a bad one, two of the same run, or files of other images, classes or datasets.
    """
    paths = sorted((folder / "predictions").glob("*.parquet"))
    if not paths:
        raise InputError(f"{folder}: expected files in predictions/, one a network; found none")
    first, runs = None, dict[tuple[str, str], dict[int | None, TransferRun]]()
    for path in paths:
        run = _read(path)
        first = first or run
        _require_same(first, run)
        evaluation = run.evaluation
        same = runs.setdefault((evaluation.architecture, evaluation.train), {})
        if evaluation.seed in same:
            raise InputError(f"{path}: expected one file a run, but {same[evaluation.seed].path} is it")
        same[evaluation.seed] = run
    assert first is not None
    return Transfers(first.evaluation.dataset, runs)


def compare(transfers: Transfers, start: str, reference: str, metric: str) -> "Comparison | None":
    """How much higher the metric is than with another start, seed by seed on the same images; None without pairs."""
    differences = {}
    for architecture in transfers.architectures:
        mine, theirs = (transfers.runs.get((architecture, name), {}) for name in (start, reference))
        pairs = [(mine[seed], theirs[seed]) for seed in mine if seed in theirs]
        if pairs:
            differences[architecture] = np.array([[one.values[metric] - other.values[metric] for one, other in pairs]])
    if not differences:
        return None
    return Comparison(list(differences), bootstrap(list(differences.values())))


@dataclass(frozen=True, eq=False)
class Comparison:
    """The paired bootstrap of two starts, over images and seeds.

    Attributes:
        architectures: Those with both.
        draws: One quantity, by architecture.
    """

    architectures: list[str]
    draws: Draws

    def of(self, architecture: str | None = None) -> Interval | None:
        """The difference for an architecture (None where it has none), or the mean over all; a fraction."""
        if architecture is None:
            return self.draws.of(0)
        if architecture not in self.architectures:
            return None
        return self.draws.of(0, self.architectures.index(architecture))


def _read(path: Path) -> TransferRun:
    """One file, of whichever kind; its images sorted."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a file of predictions: {one_line(error)}") from None
    read = _read_objects if "boxes" in names else _read_yes_or_no if "labels" in names else _read_classes
    evaluation, ids, values = read(path)
    order = pc.sort_indices(ids)
    return TransferRun(
        path, evaluation, ids.take(order), {name: each[order.to_numpy()] for name, each in values.items()}
    )


_Values = tuple[Evaluation, pa.Array, dict[str, NDArray[np.float64]]]


def _read_classes(path: Path) -> _Values:
    predictions = read_predictions(path)
    outcomes = predictions.outcomes()
    right = (outcomes.top5[:, 0] == outcomes.labels).astype(np.float64)
    return predictions.evaluation, outcomes.image_ids, {"top-1": right}


def _read_yes_or_no(path: Path) -> _Values:
    results = read_attributes(path)
    if not results.labels.any():
        raise InputError(f"{path}: labels: expected images that have an attribute, got none")
    return results.evaluation, results.image_ids, {"mAP": attribute_values(results.logits, results.labels)}


def _read_objects(path: Path) -> _Values:
    results = read_detections(path)
    classes = results.evaluation.classes
    values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in FLAVOURS}
    of_person: dict[str, NDArray[np.float64]] = {}
    for label, name in enumerate(classes):
        of_class = detection_values(ranked(results.truth, results.found, label))
        for flavour, each in of_class.items():
            if not np.isnan(each).any():  # a class without objects counts nowhere
                values[flavour].append(each)
                if name == PERSON:
                    of_person[f"AP of person, {flavour}"] = each
    if not values[next(iter(FLAVOURS))]:
        raise InputError(f"{path}: expected images with objects, got none")
    means = {f"mAP, {flavour}": np.mean(each, axis=0) for flavour, each in values.items()}
    return results.evaluation, results.image_ids, means | of_person


def _require_same(first: TransferRun, other: TransferRun) -> None:
    mine, theirs = first.evaluation, other.evaluation
    for name in ("dataset", "classes"):
        if getattr(mine, name) != getattr(theirs, name):
            got = one_line(str(getattr(theirs, name)))[:60]
            raise InputError(f"{other.path}: {name}: expected that of {first.path}, got {got}")
    if not first.image_ids.equals(other.image_ids):
        raise InputError(f"{other.path}: expected the {len(first.image_ids)} images of {first.path}, got others")
