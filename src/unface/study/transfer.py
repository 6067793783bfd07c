"""Finetune a network for a task: the best learning rate on validation images, then all training images, then test."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unface.errors import InputError, one_line
from unface.study.architectures import input_px
from unface.study.checkpoints import Network
from unface.study.computing import Computing
from unface.study.reading import ViewReader
from unface.study.recipes import Recipe
from unface.study.tasks.task import Task
from unface.study.training import WEIGHTS, Display, Diverged, Pace, Training, read_log, train

NONE = "none"
"""Instead of the setting of a pretraining: there was none."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """One network to be finetuned for a task.

    Attributes:
        task: What for.
        architecture: Of the network.
        features: The trained network that it begins with; None for fresh weights.
        recipe: How, its learning rate apart.
        seed: Of the finetuning.
        rates: Learning rates to choose from.
        search_epochs: Epochs of each training of the search; None for those of the recipe.
        packed: Makes a reader of a packed copy out of one of files.
    """

    task: Task
    architecture: str
    features: Network | None = field(repr=False)
    recipe: Recipe
    seed: int
    rates: tuple[float, ...]
    search_epochs: int | None = None
    packed: Callable[[ViewReader], ViewReader] = field(default=lambda reader: reader, repr=False)
    source: str = ""

    @property
    def start(self) -> str:
        """What the network begins with: the setting that it was trained on, or `NONE`."""
        return NONE if self.features is None else self.features.train

    @property
    def name(self) -> str:
        """Of the run, such as `resnet18-blurred-s1`."""
        return f"{self.architecture}-{self.start}-s{self.seed}"

    def training(self, images: ViewReader, recipe: Recipe, validation: ViewReader | None = None) -> Training:
        """The training of a network on some of the task's images."""
        return Training(
            self.architecture,
            self.packed(images),
            recipe,
            self.seed,
            None if validation is None else self.packed(validation),
            f"{self.task.source}{self.source}",
            self.task.head(self.features, recipe),
            "" if self.features is None else self.features.sha256,
            self.task.objective,
        )


def transfer(asked: Transfer, folder: Path, computing: Computing, pace: Pace, display: Display) -> Path:
    """Finetune and evaluate, or go on where it was interrupted.

    Args:
        asked: What.
        folder: Of the task: `predictions/`, and under `runs/` a folder for each network.
        computing: On what.
        pace: When to log.
        display: Who shows it.

    Returns:
        The file of predictions.

    Raises:
        InputError: The folder holds the same run of other data, recipe or weights.
        Diverged: The loss is no number any more, with every learning rate.
        ImageError: An image cannot be read.
    """
    run_dir = folder / "runs" / asked.name
    rate = best_rate(asked, run_dir / "search", computing, pace, display)
    training = asked.training(asked.task.splits.train, replace(asked.recipe, learning_rate=rate))
    weights = train(training, run_dir, computing, pace, display)
    return asked.task.evaluate(weights, training, asked.start, computing, folder / "predictions", run_dir / "test")


def best_rate(asked: Transfer, folder: Path, computing: Computing, pace: Pace, display: Display) -> float:
    """The learning rate whose training does best on the validation images at its end; of equals the first.

    Every training begins with the same weights. `search.json` keeps the scores; weights of the search are removed.
    """
    splits = asked.task.splits
    if len(asked.rates) == 1:
        return asked.rates[0]
    if splits.validation is None:
        raise InputError(f"learning-rate: expected one for {asked.task.name}, got {len(asked.rates)}")
    epochs = asked.search_epochs or asked.recipe.epochs
    step_epochs = max(1, round(asked.recipe.step_epochs * epochs / asked.recipe.epochs))
    recipe = replace(asked.recipe, epochs=epochs, step_epochs=step_epochs)
    trainings = {
        rate: asked.training(splits.search, replace(recipe, learning_rate=rate), splits.validation)
        for rate in asked.rates
    }
    fingerprint = _fingerprint(list(trainings.values()), computing.precision)
    record = folder / "search.json"
    scores = _kept(record, fingerprint)
    if scores is None:
        scores = {}
        for rate, training in trainings.items():
            scores[rate] = _score(training, folder / f"lr-{rate!r}", asked.task.metric, computing, pace, display)
        if all(score is None for score in scores.values()):
            raise Diverged(f"{asked.name}: the loss is no number with any learning rate of {asked.rates}")
        _keep(record, fingerprint, scores)
    for rate in asked.rates:
        (folder / f"lr-{rate!r}" / WEIGHTS).unlink(missing_ok=True)
    return max(asked.rates, key=lambda rate: -1.0 if (score := scores[rate]) is None else score)


def _score(
    training: Training, folder: Path, metric: str, computing: Computing, pace: Pace, display: Display
) -> float | None:
    """What the log's last line says of the validation images; None where the training came apart."""
    try:
        train(training, folder, computing, pace, display)
    except Diverged:
        return None
    return read_log(folder)[-1][metric]


def _fingerprint(trainings: list[Training], precision: str) -> str:
    """Changes with all that decides the search."""
    facts: list[Any] = []
    for training in trainings:
        held = training.validation.images.digest() if training.validation else ""
        facts.append([training.record(precision), held, input_px(training.architecture)])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _kept(path: Path, fingerprint: str) -> dict[float, float | None] | None:
    try:
        facts = json.loads(path.read_text())
        if facts["fingerprint"] != fingerprint:
            raise InputError(f"{path}: was made with other data or options; choose another output folder")
        return {float(rate): score for rate, score in facts["validation"].items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the scores of a search: {one_line(error)}") from None


def _keep(path: Path, fingerprint: str, scores: dict[float, float | None]) -> None:
    facts = {"fingerprint": fingerprint, "validation": {repr(rate): score for rate, score in scores.items()}}
    path.with_suffix(".part").write_text(json.dumps(facts))
    path.with_suffix(".part").replace(path)
