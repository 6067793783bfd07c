"""What a study will take: hours on a device and bytes on a disk, run by run."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unface.study.architectures import Cost, cost, input_px
from unface.study.config import Finetuning, Study, Work
from unface.study.labelled import LabelledImages
from unface.study.reading import ViewReader
from unface.study.running import open_tasks, reader_of, state_of
from unface.study.tasks.task import Task
from unface.study.training import LOG, read_log
from unface.study.transfer import Transfer, transfer_of

GPU_TFLOPS, CPU_TFLOPS = 20.0, 0.03
"""Sustained 10¹² operations a second that are assumed where nothing is known: of one GPU in mixed precision, of two
cores of a CPU. `computing.tflops` states your own; what the study's logs tell goes before both."""

_OPERATIONS, _PASSES = 2, 3
"""A multiplication comes with an addition; backwards costs twice as much as forwards."""
_BYTES_A_NUMBER, _BYTES_A_LOGIT, _BYTES_A_ROW = 4, 2, 64


@dataclass(frozen=True)
class RunPlan:
    """A run, how far it is, and what is expected of the whole of it.

    Attributes:
        run: The run.
        state: See `RunState`.
        hours: On one device, training and evaluating.
        is_measured: Whether the rate comes from a log of the study.
        weights_bytes: Its weights.
        predictions_bytes: Its predictions.
    """

    run: Work
    state: str
    hours: float
    is_measured: bool
    weights_bytes: int
    predictions_bytes: int


@dataclass(frozen=True)
class Plan:
    """All runs of a study, and what they share.

    Attributes:
        runs: In order.
        packed_bytes: Of packed copies, 0 without.
        train_images: Images trained on.
        evaluation_images: Images evaluated on.
        tflops: The rate that is assumed where nothing was measured.
        tasks: The tasks that networks are finetuned for.
    """

    runs: list[RunPlan]
    packed_bytes: int
    train_images: int
    evaluation_images: int
    tflops: float
    tasks: dict[str, Task]

    @property
    def hours_left(self) -> float:
        """Of the runs that are not done."""
        return sum(each.hours for each in self.runs if each.state != "done")

    @property
    def disk_bytes(self) -> int:
        """Of everything, done or not."""
        return self.packed_bytes + sum(each.weights_bytes + each.predictions_bytes for each in self.runs)


def plan_study(study: Study, out: Path) -> Plan:
    """Estimate a study, without decoding an image.

    Raises:
        InputError: Images or faces cannot be opened.
    """
    train = reader_of(study, "train", study.file.train_settings, False) if study.file.architectures else None
    judge = reader_of(study, "evaluation", study.file.eval_settings, False)
    tflops = study.file.computing.tflops or _assumed(study)
    views = _views(judge)
    train_images = 0 if train is None else len(train.images)
    classes = len((judge if train is None else train).images.classes)
    plans = []
    for run in study.runs:
        facts = cost(run.architecture)
        forward = _OPERATIONS * _multiplications(study, run.architecture)
        rate = _measured(_folders(study, out, run.architecture))
        trained = 0 if run.seed is None else train_images * study.recipe.epochs
        seconds = forward * (_PASSES * trained + views) / (tflops * 1e12)
        if rate is not None:
            seconds = trained / rate + views / (_PASSES * rate)
        state = state_of(out, run, study.file.eval_settings, study.recipe.epochs).state
        weights = 0 if run.seed is None else facts.parameters * _BYTES_A_NUMBER
        rows = len(judge.images) * (classes * _BYTES_A_LOGIT + _BYTES_A_ROW) * len(study.file.eval_settings)
        plans.append(RunPlan(run, state, seconds / 3600, rate is not None, weights, rows))
    tasks = open_tasks(study)
    plans += [_plan_finetuning(study, out, run, tasks[run.task], tflops) for run in study.finetunings]
    packed = 0
    if study.file.data.packed is not None:
        readers = [reader for reader in (train, judge) if reader is not None]
        packed = sum(_packed_bytes(reader, study.file.data.packed_px) for reader in readers)
    return Plan(plans, packed, train_images, len(judge.images), tflops, tasks)


def _plan_finetuning(study: Study, out: Path, run: Finetuning, task: Task, tflops: float) -> RunPlan:
    """A finetuning, the search for its learning rate included."""
    architecture = run.begun.architecture
    asked = transfer_of(task, architecture, None, 0, study.choices(study.transfers[run.task]))
    facts = task.cost(architecture, asked.recipe)
    trained, viewed = _images(asked)
    speed = _sustained(study, out, run, facts)
    operations = _OPERATIONS * facts.multiplications * (_PASSES * trained + viewed)
    seconds = operations / (tflops * 1e12 if speed is None else speed)
    test = task.splits.test.images
    rows = len(test) * (len(test.classes) * _BYTES_A_LOGIT + _BYTES_A_ROW)
    state = state_of(out, run, [], 0).state
    return RunPlan(run, state, seconds / 3600, speed is not None, facts.parameters * _BYTES_A_NUMBER, rows)


def _images(asked: Transfer) -> tuple[int, int]:
    """Images that a finetuning trains on, and those that it looks at, each as often as it does."""
    splits = asked.task.splits
    trained, viewed = len(splits.train.images) * asked.recipe.epochs, len(splits.test.images)
    if len(asked.rates) > 1 and splits.validation is not None:
        passes = len(asked.rates) * (asked.search_epochs or asked.recipe.epochs)
        trained += passes * len(splits.search.images)
        viewed += passes * len(splits.validation.images)
    return trained, viewed


def _sustained(study: Study, out: Path, run: Finetuning, facts: Cost) -> float | None:
    """Operations a second, by the logs of the task, else by those of the trainings of the architecture."""
    architecture = run.begun.architecture
    same = [each for each in study.finetunings if (each.task, each.begun.architecture) == (run.task, architecture)]
    logs = [path.parent for each in same for path in each.folder(out).rglob(LOG)]
    multiplications, rate = facts.multiplications, _measured(logs)
    if rate is None:
        multiplications, rate = _multiplications(study, architecture), _measured(_folders(study, out, architecture))
    return None if rate is None else rate * _OPERATIONS * _PASSES * multiplications


def _multiplications(study: Study, architecture: str) -> float:
    """Of one image through a network of the study."""
    usual_px = input_px(architecture)
    return cost(architecture).multiplications * (study.recipe.sizes_px(usual_px)[0] / usual_px) ** 2


def _assumed(study: Study) -> float:
    import torch

    has_gpu = study.file.computing.device != "cpu" and torch.cuda.is_available()
    return GPU_TFLOPS if has_gpu else CPU_TFLOPS


def _folders(study: Study, out: Path, architecture: str) -> list[Path]:
    return [run.folder(out) for run in study.runs if run.architecture == architecture]


def _measured(folders: list[Path]) -> float | None:
    """Images a second in training, the median of the folders' logs; None where there are none."""
    rates = [line["images_per_second"] for folder in folders for line in read_log(folder)]
    return statistics.median(rates) if rates else None


def _groups(reader: ViewReader) -> list[tuple[Any, set[Any]]]:
    """Images without and with faces, as masks, and the different views that the settings show of them."""
    images = reader.images
    masks = [images.face_counts == 0, images.face_counts > 0]
    firsts = [int(np.argmax(mask)) for mask in masks]
    return [
        (mask, {reader.view_of(first, setting) for setting in reader.settings})
        for mask, first in zip(masks, firsts, strict=True)
        if mask.any()
    ]


def _views(reader: ViewReader) -> int:
    return sum(int(mask.sum()) * len(views) for mask, views in _groups(reader))


def _packed_bytes(reader: ViewReader, shorter_px: int) -> int:
    return sum(int(_sizes(reader.images, shorter_px)[mask].sum()) * len(views) for mask, views in _groups(reader))


def _sizes(images: LabelledImages, shorter_px: int) -> Any:
    """Bytes of each image once it is packed; where no size is recorded, that of a 4:3 photo."""
    width, height = images.sizes_wh.astype(np.float64).T
    known = (width > 0) & (height > 0)
    shorter = np.where(known, np.minimum(width, height), shorter_px)
    ratio = np.where(known, np.maximum(width, height) / np.maximum(shorter, 1), 4 / 3)
    side = np.minimum(shorter, shorter_px)
    return (3 * side * np.floor(side * ratio)).astype(np.int64)
