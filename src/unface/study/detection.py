"""Detection of objects: Faster R-CNN on a ResNet with a feature pyramid, trained by `unface.study.training`."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from unface import __version__
from unface.errors import ImageError, InputError, one_line
from unface.predictions import Evaluation
from unface.predictions.detections import Found, Objects, Rows, read_detections, write_detections
from unface.study.checkpoints import Network, read_checkpoint
from unface.study.computing import Computing, World
from unface.study.evaluate import parts_folder
from unface.study.labelled import LabelledImages
from unface.study.loading import Schedule, loaded
from unface.study.reading import ViewReader
from unface.study.settings import SETTINGS
from unface.study.training import Training

LONGER = 1000 / 600
"""The longer side is at most so many times what the shorter one is resized to (1000 and 600 pixels, usual for VOC)."""

PART_IMAGES = 256
"""Images after which detections are kept, so that a kill loses no more."""

_TRAINABLE_LAYERS = 3
"""Stages of a pretrained ResNet that are trained; the stem and the first stage stay, as is usual."""


class DetectionReader(ViewReader):
    """Reads images with objects.

    Args:
        images: Their labels mean nothing.
        objects: Of each image.
    """

    def __init__(self, images: LabelledImages, objects: Sequence[Objects]) -> None:
        super().__init__(images, [SETTINGS["original"]])
        self.objects = objects

    def image(self, index: int) -> torch.Tensor:
        """An image, uint8, shape (3, H, W); ImageError where it cannot be read or an object lies outside."""
        pixels = self.read(index)[0][0]
        boxes = self.objects[index].boxes_xyxy
        if len(boxes) and (boxes[:, 2:].max(axis=0) > (pixels.shape[1] + 1, pixels.shape[0] + 1)).any():
            raise ImageError(
                f"{one_line(self.images.image_ids[index].as_py())}: expected objects inside {pixels.shape[1]} x "
                f"{pixels.shape[0]} pixels, got one up to {boxes[:, 2].max():g}, {boxes[:, 3].max():g}"
            )
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)

    def digest(self) -> str:
        """Changes with the objects."""
        digest = hashlib.sha256()
        for each in self.objects:
            digest.update(each.boxes_xyxy.tobytes() + each.labels.tobytes() + each.difficult.tobytes())
        return digest.hexdigest()


class Detection:
    """All that Faster R-CNN learns: where objects are, and what they are (the sum of its four losses)."""

    name, score = "detection", ""

    def batches(
        self, training: Training, schedule: Schedule, steps: range, world: World, computing: Computing
    ) -> Iterator[tuple[Any, Any]]:
        """Whole images of their own sizes, half of them flipped, and their objects that are not difficult."""
        asked = ((schedule.epoch_of(step), schedule.indices(step)[world.rank :: world.size].tolist()) for step in steps)
        images = _TrainingSet(training.reader, schedule.seed)
        return loaded(images, asked, computing.workers, computing.torch_device.type == "cuda")

    def loss(
        self, name: str, network: Any, views: Any, labels: Any, computing: Computing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The losses, which are means over images, times the number of images."""
        device = computing.torch_device
        images = [as_image(view, computing) for view in views]
        targets = [{key: value.to(device, non_blocking=True) for key, value in each.items()} for each in labels]
        loss = torch.stack(list(network(images, targets).values())).sum()
        return loss * len(images), torch.zeros((), device=device)

    def validated(
        self, training: Training, reader: ViewReader, network: nn.Module, computing: Computing
    ) -> dict[str, float]:
        """Nothing: the paper states the learning rate."""
        return {}


DETECTION = Detection()


class NewDetector:
    """Makes detectors whose ResNet is a trained network's, all else being fresh."""

    def __init__(self, features: Network | None, image_px: int) -> None:
        self._features, self._image_px = features, image_px

    def __call__(self, architecture: str, classes: int) -> nn.Module:
        """A detector of so many classes; torch's random state decides what is fresh."""
        detector = build_detector(architecture, classes, self._image_px, self._features is not None)
        if self._features is not None:
            state = self._features.module.state_dict()
            body: Any = detector.backbone.body  # type: ignore[union-attr]
            body.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
        return detector


def build_detector(architecture: str, classes: int, image_px: int, pretrained: bool) -> nn.Module:
    """Faster R-CNN with fresh weights.

    Args:
        architecture: A ResNet of torchvision's.
        classes: Kinds of objects.
        image_px: Images are resized so that the shorter side has so many pixels.
        pretrained: Whether trained weights are to come: normalisation keeps their statistics then, as batches of two
            tell too little, and the first stages stay as they are.

    Raises:
        InputError: No ResNet.
    """
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    require_resnet(architecture)
    norm, layers = (FrozenBatchNorm2d, _TRAINABLE_LAYERS) if pretrained else (nn.BatchNorm2d, 5)
    backbone = resnet_fpn_backbone(backbone_name=architecture, weights=None, norm_layer=norm, trainable_layers=layers)
    detector: nn.Module = FasterRCNN(backbone, classes + 1, min_size=image_px, max_size=round(LONGER * image_px))
    return detector


def require_resnet(architecture: str) -> None:
    """Refuse an architecture that no feature pyramid stands on here."""
    if not architecture.startswith(("resnet", "resnext", "wide_resnet")):
        raise InputError(f"architecture: expected a ResNet for detection, got {one_line(architecture)}")


def as_image(view: torch.Tensor, computing: Computing) -> torch.Tensor:
    """An image of shape (3, H, W) as a detector takes it: 0 to 1."""
    return view.to(computing.torch_device, computing.dtype, non_blocking=True).div_(255)


def evaluate_detector(
    weights: Path,
    training: Training,
    reader: DetectionReader,
    evaluation: Evaluation,
    computing: Computing,
    folder: Path,
    work_dir: Path,
) -> Path:
    """Write what a detector finds; what an interrupted run finished is not done again.

    Args:
        weights: Of the detector.
        training: That made them.
        reader: Of the images.
        evaluation: For the file's metadata; the weights' hash in it is set here.
        computing: On what.
        folder: For the file.
        work_dir: For parts that are finished.
    """
    with weights.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    facts = [sha256, reader.images.digest(), reader.digest(), computing.precision, __version__]
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    record, path = work_dir / "evaluated.json", folder / evaluation.file_name
    if path.exists() and record.exists() and record.read_text() == json.dumps(fingerprint):
        return path
    parts_dir = parts_folder(work_dir, fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(**{**evaluation.__dict__, "checkpoint_sha256": sha256})
    starts = range(0, len(reader.images), PART_IMAGES)
    files = [parts_dir / f"{number:06d}.parquet" for number in range(len(starts))]
    missing = [(start, file) for start, file in zip(starts, files, strict=True) if not file.exists()]
    if missing:
        detector = _trained(weights, training, computing)
        for start, file in missing:
            indices = range(start, min(start + PART_IMAGES, len(reader.images)))
            write_detections(file, evaluation, [_detected(detector, reader, indices, computing)])
    write_detections(path, evaluation, map(_rows, files))
    record.with_suffix(".part").write_text(json.dumps(fingerprint))
    record.with_suffix(".part").replace(record)
    shutil.rmtree(parts_dir)
    return path


def _trained(weights: Path, training: Training, computing: Computing) -> nn.Module:
    classes = len(training.reader.images.classes)
    detector = build_detector(training.architecture, classes, training.sizes_px[0], bool(training.begun_from))
    detector.load_state_dict(read_checkpoint(weights).part("network."))
    return computing.placed(detector).eval()


def _detected(detector: nn.Module, reader: DetectionReader, indices: range, computing: Computing) -> Rows:
    ids, found = [reader.images.image_ids[index].as_py() for index in indices], []
    images = loaded(_Images(reader), iter(indices), computing.workers, computing.torch_device.type == "cuda")
    for image in images:
        with torch.inference_mode(), computing.mixed(), computing.algorithms():
            (seen,) = detector([as_image(image, computing)])
        boxes, scores, labels = (seen[name].float().cpu().numpy() for name in ("boxes", "scores", "labels"))
        found.append(Found(boxes, scores, labels.astype(np.int64) - 1))
    return ids, [reader.objects[index] for index in indices], found


def _rows(path: Path) -> Rows:
    results = read_detections(path)
    return results.image_ids.to_pylist(), results.truth, results.found


class _Images(Dataset[Any]):
    def __init__(self, reader: DetectionReader) -> None:
        self._reader = reader

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._reader.image(index)


class _TrainingSet(Dataset[Any]):
    """Whole batches by (epoch, indices): images and what is to be found in them."""

    def __init__(self, reader: ViewReader, seed: int) -> None:
        assert isinstance(reader, DetectionReader)
        self._reader, self._seed = reader, seed

    def __getitem__(self, asked: tuple[int, Sequence[int]]) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
        epoch, indices = asked
        views, targets = [], []
        for index in indices:
            view, objects = self._reader.image(index), self._reader.objects[index]
            boxes = objects.boxes_xyxy[~objects.difficult]
            key = int(self._reader.images.keys[index])
            if np.random.Generator(np.random.PCG64(np.random.SeedSequence((self._seed, epoch, key)))).random() < 0.5:
                view, boxes = view.flip(2), flipped(boxes, view.shape[2])
            views.append(view)
            labels = torch.from_numpy(objects.labels[~objects.difficult] + 1)
            targets.append({"boxes": torch.from_numpy(boxes), "labels": labels})
        return views, targets


def flipped(boxes_xyxy: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Boxes of an image that is mirrored from left to right.

    >>> flipped(np.array([[0, 1, 3, 4]], np.float32), 10).tolist()
    [[7.0, 1.0, 10.0, 4.0]]
    """
    mirrored = boxes_xyxy.copy()
    mirrored[:, 0], mirrored[:, 2] = width - boxes_xyxy[:, 2], width - boxes_xyxy[:, 0]
    return mirrored
