"""What a study will take: hours on a device and bytes on a disk, run by run."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unface.study.architectures import cost, input_px
from unface.study.config import Run, Study
from unface.study.labelled import LabelledImages
from unface.study.reading import ViewReader
from unface.study.running import reader_of, state_of
from unface.study.training import read_log

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

    run: Run
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
    """

    runs: list[RunPlan]
    packed_bytes: int
    train_images: int
    evaluation_images: int
    tflops: float

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
        px, _ = study.recipe.sizes_px(input_px(run.architecture))
        forward = _OPERATIONS * facts.multiplications * (px / input_px(run.architecture)) ** 2
        rate = _measured(out, run.architecture, study.runs)
        trained = 0 if run.seed is None else train_images * study.recipe.epochs
        seconds = forward * (_PASSES * trained + views) / (tflops * 1e12)
        if rate is not None:
            seconds = trained / rate + views / (_PASSES * rate)
        state = state_of(out, run, study.file.eval_settings, study.recipe.epochs).state
        weights = 0 if run.seed is None else facts.parameters * _BYTES_A_NUMBER
        rows = len(judge.images) * (classes * _BYTES_A_LOGIT + _BYTES_A_ROW) * len(study.file.eval_settings)
        plans.append(RunPlan(run, state, seconds / 3600, rate is not None, weights, rows))
    packed = 0
    if study.file.data.packed is not None:
        readers = [reader for reader in (train, judge) if reader is not None]
        packed = sum(_packed_bytes(reader, study.file.data.packed_px) for reader in readers)
    return Plan(plans, packed, train_images, len(judge.images), tflops)


def _assumed(study: Study) -> float:
    import torch

    has_gpu = study.file.computing.device != "cpu" and torch.cuda.is_available()
    return GPU_TFLOPS if has_gpu else CPU_TFLOPS


def _measured(out: Path, architecture: str, runs: list[Run]) -> float | None:
    """Images a second in training, the median of the logs of an architecture; None where there are none."""
    rates = [
        line["images_per_second"]
        for run in runs
        if run.architecture == architecture
        for line in read_log(out / "runs" / run.name)
    ]
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
