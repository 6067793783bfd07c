"""Train a network: exact to the last bit of where it was killed, alone or with other processes."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from unface.errors import InputError, UnfaceError, one_line
from unface.study.architectures import build, input_px, learning_rate, loss_and_logits
from unface.study.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from unface.study.computing import DEVICE, Computing, World, joined_world
from unface.study.evaluate import RUN_IMAGES, accuracy, predicted
from unface.study.loading import Schedule, training_batches
from unface.study.reading import ViewReader
from unface.study.recipes import Recipe
from unface.study.settings import Setting
from unface.study.views import as_input

CHECKPOINT, WEIGHTS, LOG = "checkpoint.safetensors", "weights.safetensors", "log.jsonl"
_TOTALS = ("loss", "right", "images")
_SMALLEST_MICRO_BATCH = 4


class Diverged(UnfaceError):
    """The loss is no number any more."""


class Objective(Protocol):
    """What a network is to learn of images, and how it is told how far it is.

    Attributes:
        name: For the record.
        score: What the log calls the share of images that are right; empty where there is no such share.
    """

    name: str
    score: str

    def batches(
        self, training: "Training", schedule: Schedule, steps: range, world: World, computing: Computing
    ) -> Iterator[tuple[Any, Any]]:
        """One process's share of each step's batch: as many views as labels, both of which can be sliced."""

    def loss(
        self, name: str, network: Any, views: Any, labels: Any, computing: Computing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, summed over images, and how many are right; the network is of architecture `name`."""

    def validated(
        self, training: "Training", reader: ViewReader, network: nn.Module, computing: Computing
    ) -> dict[str, float]:
        """What is told of validation images; the names begin with `validation_`."""


class Classification:
    """One class an image; cross-entropy."""

    name, score = "classification", "top1"

    def batches(
        self, training: "Training", schedule: Schedule, steps: range, world: World, computing: Computing
    ) -> Iterator[tuple[Any, Any]]:
        """Random crops, and class indices."""
        device = computing.torch_device
        decoder = device if computing.decode == DEVICE else None
        reader, image_px, workers, pin = training.reader, training.sizes_px[0], computing.workers, device.type == "cuda"
        return training_batches(reader, image_px, schedule, steps, world.rank, world.size, workers, pin, decoder)

    def loss(
        self, name: str, network: Any, views: Any, labels: Any, computing: Computing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy, and how many images' highest logit is that of their class."""
        device = computing.torch_device
        labels = labels.to(device, non_blocking=True)
        loss, logits = loss_and_logits(name, network, as_input(views, device, computing.dtype), labels)
        return loss, (logits.detach().argmax(dim=1) == labels).sum()

    def validated(
        self, training: "Training", reader: ViewReader, network: nn.Module, computing: Computing
    ) -> dict[str, float]:
        """Accuracy, 0 to 1."""
        top1, top5 = accuracy(all_logits(training, reader, network, computing), reader.images.labels)
        return {"validation_top1": top1, "validation_top5": top5}


CLASSIFICATION = Classification()


@dataclass(frozen=True)
class Training:
    """What is trained, and on what.

    Attributes:
        architecture: The network's name.
        reader: Of the images in one setting.
        recipe: How.
        seed: Decides first weights, order, crops and dropout; the same in every setting.
        validation: Images on which the network is evaluated after each epoch, in one setting; None for none.
        source: What decides the images' pixels beside their files: a packed copy's size, for example.
        make: Makes the network, its random state being set; the default is the architecture, fresh.
        begun_from: What `make` takes weights from: a file's hash, for example.
        objective: What is learned.
        name: What it is called where it is told how it goes on; empty for its architecture, setting and seed.
    """

    architecture: str
    reader: ViewReader = field(repr=False)
    recipe: Recipe
    seed: int
    validation: ViewReader | None = field(default=None, repr=False)
    source: str = ""
    make: Callable[[str, int], nn.Module] = field(default=build, repr=False)
    begun_from: str = ""
    objective: Objective = field(default=CLASSIFICATION, repr=False)
    name: str = ""

    @property
    def setting(self) -> Setting:
        """The setting that it is trained on."""
        return self.reader.settings[0]

    @property
    def sizes_px(self) -> tuple[int, int]:
        """The input's side, and the length that the shorter side is resized to for evaluation."""
        return self.recipe.sizes_px(input_px(self.architecture))

    def record(self, precision: str) -> dict[str, Any]:
        """All that decides the weights, for JSON."""
        images = self.reader.images
        return {
            "architecture": self.architecture,
            "setting": self.setting.definition(),
            "seed": self.seed,
            "recipe": self.recipe.record(),
            "precision": precision,
            "source": self.source,
            "begun_from": self.begun_from,
            "objective": self.objective.name,
            "images": images.digest(),
            "classes": list(images.classes),
        }


@dataclass(frozen=True)
class Pace:
    """When to tell and to keep what was done.

    Attributes:
        log_steps: Steps between lines of the log; each epoch's end has one too.
        checkpoint_seconds: Time between checkpoints, which is what a kill can lose.
        clock: Seconds.
    """

    log_steps: int = 50
    checkpoint_seconds: float = 120.0
    clock: Callable[[], float] = time.monotonic


class Display(Protocol):
    """Who shows how a training goes on."""

    def begin(self, name: str, steps: int, done: int) -> None:
        """A training of so many steps begins, or goes on."""

    def advance(self, facts: Mapping[str, float]) -> None:
        """So far: a line of the log."""


def train(training: Training, folder: Path, computing: Computing, pace: Pace, display: Display) -> Path:
    """Train, or go on where it was interrupted, or do nothing where it was finished.

    Where memory is short, the images of a step go through the network in smaller parts.

    Args:
        training: What.
        folder: Of this training alone: its checkpoint while it is under way, its weights, log and TensorBoard events.
        computing: On what.
        pace: When to log.
        display: Who shows it.

    Returns:
        The file of weights.

    Raises:
        InputError: The folder holds another training.
        Diverged: The loss is no number any more.
        UnfaceError: Memory does not even suffice for four images.
        ImageError: An image cannot be read.
    """
    weights = folder / WEIGHTS
    record = training.record(computing.precision)
    if weights.exists():
        _require_same(weights, read_checkpoint(weights).facts, record)
        return weights
    folder.mkdir(parents=True, exist_ok=True)
    micro_batch = computing.micro_batch or training.recipe.batch
    with computing.algorithms(), joined_world(computing.torch_device) as world:
        while True:
            try:
                _train(training, record, folder, computing, micro_batch, world, pace, display)
                return weights
            except torch.OutOfMemoryError as error:
                if world.size > 1 or micro_batch <= _SMALLEST_MICRO_BATCH:
                    raise UnfaceError(f"memory is short ({one_line(error)[:100]}): lower the micro-batch") from None
            micro_batch = max(
                _SMALLEST_MICRO_BATCH, micro_batch // 2
            )  # and again from the last checkpoint, as if killed
            torch.cuda.empty_cache()


def _train(
    training: Training,
    record: Mapping[str, Any],
    folder: Path,
    computing: Computing,
    micro_batch: int,
    world: World,
    pace: Pace,
    display: Display,
) -> None:
    """Train from the last checkpoint to the end."""
    state = _begun(training, computing)
    state.restore(folder / CHECKPOINT, record)
    schedule = Schedule(len(training.reader.images), training.recipe.batch, training.seed, world.size)
    if not schedule.steps_per_epoch:
        raise InputError(f"training: expected at least two images for each process, got {schedule.images}")
    steps = range(state.step, schedule.steps_per_epoch * training.recipe.epochs)
    batches = training.objective.batches(training, schedule, steps, world, computing)
    step_of = _Step(training, state, computing, micro_batch, world)
    kept = pace.clock()
    with _Teller(training, folder, computing, world, display, pace.clock) as teller:
        teller.begin(state.step, steps.stop)
        for step in steps:
            epoch = schedule.epoch_of(step)
            rate = training.recipe.rate_at(epoch, learning_rate(training.architecture))
            step_of(*next(batches), step, len(schedule.indices(step)), rate)
            state.step = step + 1
            ends_epoch = state.step % schedule.steps_per_epoch == 0
            if ends_epoch or state.step % pace.log_steps == 0:
                teller.tell(state, epoch + 1, rate, ends_epoch)
            if world.leads and pace.clock() - kept >= pace.checkpoint_seconds:
                write_checkpoint(folder / CHECKPOINT, state.checkpoint(record))
                kept = pace.clock()
    if world.leads:
        write_checkpoint(folder / WEIGHTS, state.finished(record))
        (folder / CHECKPOINT).unlink(missing_ok=True)
    if world.size > 1:
        dist.barrier()


@dataclass(eq=False)
class _State:
    """All that a training is at a step."""

    network: nn.Module
    optimizer: torch.optim.SGD
    scaler: torch.amp.GradScaler
    totals: torch.Tensor
    step: int = 0

    def checkpoint(self, record: Mapping[str, Any]) -> Checkpoint:
        """What `restore` needs."""
        tensors = {f"network.{name}": each for name, each in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"optimizer.{name}"] = momentum
        tensors["totals"] = self.totals
        return Checkpoint(tensors, {"run": record, "step": self.step, "scaler": self.scaler.state_dict()})

    def finished(self, record: Mapping[str, Any]) -> Checkpoint:
        """What remains of a training."""
        tensors = {f"network.{name}": each for name, each in self.network.state_dict().items()}
        return Checkpoint(tensors, {"run": record, "step": self.step})

    def restore(self, path: Path, record: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, if there is one."""
        if not path.exists():
            return
        checkpoint = read_checkpoint(path)
        _require_same(path, checkpoint.facts, record)
        self.network.load_state_dict(checkpoint.part("network."))
        momenta = checkpoint.part("optimizer.")
        for name, parameter in self.network.named_parameters():
            if name in momenta:
                self.optimizer.state[parameter]["momentum_buffer"] = momenta[name].to(parameter.device)
        self.totals.copy_(checkpoint.tensors["totals"])
        self.scaler.load_state_dict(checkpoint.facts["scaler"])
        self.step = checkpoint.facts["step"]

    def told(self, world: World, score: str) -> dict[str, float]:
        """Means since the last time, over all processes."""
        totals = self.totals.clone()
        if world.size > 1:
            dist.all_reduce(totals)
        self.totals.zero_()
        loss, right, images = totals.tolist()
        return {"step": self.step, "loss": loss / images} | ({score: right / images} if score else {})


def _begun(training: Training, computing: Computing) -> _State:
    """A training before its first step."""
    device = computing.torch_device
    torch.manual_seed(training.seed)
    network = training.make(training.architecture, len(training.reader.images.classes))
    network = computing.placed(network).train()
    recipe = training.recipe
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    scaler = torch.amp.GradScaler(device.type, enabled=computing.precision == "fp16")
    totals = torch.zeros(len(_TOTALS), dtype=torch.float64, device=device)
    return _State(network, optimizer, scaler, totals)


class _Step:
    """One step of a training: forwards and backwards through this process's share of the batch, then the update."""

    def __init__(self, training: Training, state: _State, computing: Computing, micro_batch: int, world: World) -> None:
        self._name, self._seed, self._objective = training.architecture, training.seed, training.objective
        self._state, self._computing, self._micro_batch, self._world = state, computing, micro_batch, world
        self._device = computing.torch_device
        module: Any = state.network
        if world.size > 1:
            ids = [self._device.index] if self._device.type == "cuda" else None
            module = nn.parallel.DistributedDataParallel(module, device_ids=ids)
        self._shared = module
        self._module: Any = torch.compile(module) if computing.compiled else module

    def __call__(self, views: Any, labels: Any, step: int, count: int, rate: float) -> None:
        """Do step `step`, of `count` images over all processes."""
        state = self._state
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(_seed_of(self._seed, step, self._world.rank))  # dropout, in resumed trainings too
        parts = _parts(len(labels), self._micro_batch)
        for part in parts:
            is_last = part.stop == len(labels)
            waits = self._world.size == 1 or is_last
            with nullcontext() if waits else self._shared.no_sync():
                self._one_part(views[part.start : part.stop], labels[part.start : part.stop], count)
        state.scaler.step(state.optimizer)
        state.scaler.update()

    def _one_part(self, views: Any, labels: Any, count: int) -> None:
        with self._computing.mixed():
            loss, right = self._objective.loss(self._name, self._module, views, labels, self._computing)
        # the mean over the whole batch; processes average their gradients, whatever their shares
        torch.autograd.backward(self._state.scaler.scale(loss * (self._world.size / count)))
        images = torch.full_like(right, len(labels), dtype=torch.float64)
        self._state.totals += torch.stack([loss.detach().double(), right.double(), images])


def _parts(count: int, micro_batch: int) -> list[range]:
    """A share in parts of at most `micro_batch` images, as equal as can be."""
    number = -(-count // micro_batch)
    edges = [count * place // number for place in range(number + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def _seed_of(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


class _Teller:
    """Tells how a training goes on: to the display, and in the log, as lines of JSON and for TensorBoard."""

    def __init__(
        self,
        training: Training,
        folder: Path,
        computing: Computing,
        world: World,
        display: Display,
        clock: Callable[[], float],
    ) -> None:
        self._training, self._folder, self._computing = training, folder, computing
        self._world, self._display, self._clock = world, display, clock
        self._name = training.name or f"{training.architecture} {training.setting.name} seed {training.seed}"
        self._board: Any = None
        self._time, self._step = 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def begin(self, step: int, steps: int) -> None:
        """The training begins, or goes on; lines of the log about later steps go."""
        self._time, self._step = self._clock(), step
        if not self._world.leads:
            return
        from tensorboardX import SummaryWriter

        path = self._folder / LOG
        kept = "".join(line + "\n" for line, facts in _log_lines(path) if facts["step"] <= step)
        path.with_suffix(".part").write_text(kept)
        path.with_suffix(".part").replace(path)
        self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=step + 1 if step else None)
        self._display.begin(self._name, steps, step)

    def tell(self, state: "_State", epoch: int, rate: float, validates: bool) -> None:
        """Tell of the steps since the last time; Diverged if the loss is no number any more."""
        facts = state.told(self._world, self._training.objective.score)
        if not np.isfinite(facts["loss"]):
            raise Diverged(f"{self._name}: step {state.step}: the loss is {facts['loss']}; lower the learning rate")
        if not self._world.leads:
            return
        now = self._clock()
        done = (state.step - self._step) * self._training.recipe.batch
        facts |= {"epoch": epoch, "learning_rate": rate, "images_per_second": done / max(now - self._time, 1e-9)}
        self._time, self._step = now, state.step
        if validates and self._training.validation is not None:
            state.network.eval()
            facts |= self._training.objective.validated(
                self._training, self._training.validation, state.network, self._computing
            )
            state.network.train()
        with (self._folder / LOG).open("a") as file:
            file.write(json.dumps(facts) + "\n")
        for name, value in facts.items():
            if name != "step":
                self._board.add_scalar(name, value, state.step)
        self._display.advance(facts)


def all_logits(training: Training, reader: ViewReader, network: nn.Module, computing: Computing) -> NDArray[np.float32]:
    """Logits of all images of a reader in its first setting, shape (N, classes); the network is evaluating."""
    image_px, resize_px = training.sizes_px
    count = len(reader.images)
    runs = [range(start, min(start + RUN_IMAGES, count)) for start in range(0, count, RUN_IMAGES)]
    done = predicted(network, reader, resize_px, image_px, runs, computing)
    return np.concatenate([some[places[:, 0]] for some, places in done])


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines of a training's log; none where there is no training."""
    return [facts for _, facts in _log_lines(folder / LOG)]


def _log_lines(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Whole lines; a kill may have cut the last one."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError, TypeError):
            facts = json.loads(line)
            if isinstance(facts, dict) and "step" in facts:
                yield line, facts


def _require_same(path: Path, facts: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Refuse to go on from another training."""
    before = facts.get("run")
    before = before if isinstance(before, dict) else {}
    for name, ours in record.items():
        theirs = before.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            name, ours, theirs = next(
                ((f"{name}.{key}", ours[key], theirs.get(key)) for key in ours if theirs.get(key) != ours[key]),
                (name, None, None),
            )
        if theirs != ours:
            raise InputError(
                f"{path}: was trained with {name} {one_line(repr(theirs))[:60]}, this run has "
                f"{one_line(repr(ours))[:60]}; choose another output folder"
            )
