"""Finetune a network for a task: the best learning rate on validation images, then all training images, then test."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from unface.errors import InputError, one_line
from unface.study.architectures import input_px
from unface.study.checkpoints import Network
from unface.study.computing import Computing, World, joined_world
from unface.study.detection import DetectionReader
from unface.study.reading import ViewReader, packed_reader
from unface.study.recipes import Recipe
from unface.study.tasks.task import Task
from unface.study.training import WEIGHTS, Display, Diverged, Pace, Training, read_log, train

NONE = "none"
"""Instead of the setting of a pretraining: there was none."""

_ALONE = World()


@dataclass(frozen=True)
class Choices:
    """What may be chosen of a finetuning; None is what the task says.

    Attributes:
        learning_rates: One is taken as it is; of several, the best on validation images.
        search_epochs: Epochs of each training that seeks the rate; None for those of the last one.
        epochs: Of the training.
        step_epochs: After so many the learning rate falls to a tenth.
        batch: Images a step.
        image_px: Side of the network's input; of detection, the shorter side.
        packed: Folder for a packed copy; None reads the files each time.
        packed_px: Length of its shorter sides.
    """

    learning_rates: tuple[float, ...] | None = None
    search_epochs: int | None = None
    epochs: int | None = None
    step_epochs: int | None = None
    batch: int | None = None
    image_px: int | None = None
    packed: Path | None = None
    packed_px: int = 256

    def recipe(self, usual: Recipe) -> Recipe:
        """A task's recipe with what was chosen; InputError for a number out of range."""
        names = ("epochs", "step_epochs", "batch", "image_px")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        recipe = replace(usual, **given)
        for rate in self.learning_rates or ():
            replace(recipe, learning_rate=rate)
        return recipe


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
        source: What decides the images' pixels beside their files: a packed copy's size, for example.

    Raises:
        InputError: The task cannot have the architecture, or seek a rate.
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

    def __post_init__(self) -> None:
        self.task.cost(self.architecture, self.recipe)  # refuses what the task cannot have
        if self.task.splits.validation is None and len(self.rates) > 1:
            raise InputError(f"learning-rate: expected one for {self.task.name}, got {len(self.rates)}")

    @property
    def start(self) -> str:
        """What the network begins with: the setting that it was trained on, or `NONE`."""
        return NONE if self.features is None else self.features.train

    @property
    def name(self) -> str:
        """Of the run, such as `resnet18-blurred-s1`."""
        return f"{self.architecture}-{self.start}-s{self.seed}"

    def training(
        self, images: ViewReader, recipe: Recipe, validation: ViewReader | None = None, told: str = ""
    ) -> Training:
        """The training of a network on some of the task's images; `told` is added to its name."""
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
            f"{self.task.name} {self.name}{told}",
        )


def transfer_of(
    task: Task,
    architecture: str,
    features: Network | None,
    seed: int,
    choices: Choices,
    workers: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Transfer:
    """A transfer as it was chosen.

    Args:
        task: What for.
        architecture: Of the network.
        features: What it begins with; None for fresh weights.
        seed: Of the finetuning.
        choices: What may be chosen.
        workers: Processes that make a packed copy.
        advance: Is told of images that are packed.

    Raises:
        InputError: Something that the task cannot have; the message names it.
    """
    recipe, rates = choices.recipe(task.recipe), choices.learning_rates or task.rates
    root = choices.packed
    if root is None:
        return Transfer(task, architecture, features, recipe, seed, rates, choices.search_epochs)
    if isinstance(task.splits.train, DetectionReader):
        raise InputError(f"packed: expected none for {task.name}, which needs whole images")

    def pack(reader: ViewReader) -> ViewReader:
        return packed_reader(reader, root / reader.images.digest()[:16], choices.packed_px, workers, advance)

    source = f", packed at {choices.packed_px} px"
    return Transfer(task, architecture, features, recipe, seed, rates, choices.search_epochs, pack, source)


def transfer(asked: Transfer, folder: Path, computing: Computing, pace: Pace, display: Display) -> Path | None:
    """Finetune and evaluate, or go on where it was interrupted.

    Of several processes that torchrun started all train, and the first one evaluates.

    Args:
        asked: What.
        folder: Of the task: `predictions/`, and under `runs/` a folder for each network.
        computing: On what.
        pace: When to log.
        display: Who shows it.

    Returns:
        The file of predictions; None in a process that does not write it.

    Raises:
        InputError: The folder holds the same run of other data, recipe or weights.
        Diverged: The loss is no number any more, with every learning rate.
        ImageError: An image cannot be read.
    """
    run_dir = folder / "runs" / asked.name
    with joined_world(computing.torch_device) as world:
        rate = best_rate(asked, run_dir / "search", computing, pace, display, world)
        training = asked.training(asked.task.splits.train, replace(asked.recipe, learning_rate=rate))
        weights = train(training, run_dir, computing, pace, display)
    if not world.leads:
        return None
    return asked.task.evaluate(weights, training, asked.start, computing, folder / "predictions", run_dir / "test")


def best_rate(
    asked: Transfer, folder: Path, computing: Computing, pace: Pace, display: Display, world: World = _ALONE
) -> float:
    """The learning rate whose training does best on the validation images at its end; of equals the first.

    Every training begins with the same weights. `search.json` keeps the scores; weights of the search are removed.
    """
    splits = asked.task.splits
    if len(asked.rates) == 1:
        return asked.rates[0]
    epochs = asked.search_epochs or asked.recipe.epochs
    step_epochs = max(1, round(asked.recipe.step_epochs * epochs / asked.recipe.epochs))
    recipe = replace(asked.recipe, epochs=epochs, step_epochs=step_epochs)
    trainings = {
        rate: asked.training(splits.search, replace(recipe, learning_rate=rate), splits.validation, f" rate {rate:g}")
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
    if world.size > 1:
        dist.barrier()  # nobody looks for weights of the search any more
    if world.leads:
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
