"""PASCAL VOC: 20 kinds of objects, trained on 2007 and 2012, tested on 2007 (Appendix E)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from unface import __version__
from unface.datasets.folder import Folder
from unface.errors import ImageError, InputError, one_line
from unface.images import probe
from unface.predictions import Evaluation
from unface.predictions.detections import Objects
from unface.study.architectures import Cost
from unface.study.architectures import cost as cost_of
from unface.study.checkpoints import Network
from unface.study.computing import Computing
from unface.study.detection import DETECTION, DetectionReader, NewDetector, evaluate_detector, require_resnet
from unface.study.recipes import Recipe
from unface.study.tasks.parquet import has_parquet
from unface.study.tasks.task import Splits, first_sentence, labelled, task_name
from unface.study.training import Objective, Training

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
COUNTS = {("2007", "trainval"): 5_011, ("2012", "trainval"): 11_540, ("2007", "test"): 4_952}
RECIPE = Recipe(epochs=10, batch=2, momentum=0.9, weight_decay=1e-4, step_epochs=9, image_px=600)
RATE = 1.25e-3
_YES_OR_NO = {"0": False, "1": True}
_HEAD_BYTES = 1 << 16
_HINT = (
    "download VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar and VOCtrainval_11-May-2012.tar from "
    "http://host.robots.ox.ac.uk/pascal/VOC and unpack them there"
)


@dataclass(frozen=True, eq=False)
class VocTask:
    """Detection; see `unface.study.tasks.task.Task`."""

    name: str
    splits: Splits
    source: str
    objective: Objective = DETECTION
    metric: str = ""
    recipe: Recipe = RECIPE
    rates: tuple[float, ...] = (RATE,)

    def head(self, features: Network | None, recipe: Recipe) -> Callable[[str, int], nn.Module]:
        """A feature pyramid and the heads of Faster R-CNN."""
        return NewDetector(features, recipe.sizes_px(600)[0])

    def cost(self, architecture: str, recipe: Recipe) -> Cost:
        """Torchvision's count of Faster R-CNN on a ResNet50 at 800 x 800, and what another ResNet takes beyond."""
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        require_resnet(architecture)
        facts = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta
        mine, theirs = cost_of(architecture), cost_of("resnet50")
        body = (mine.multiplications - theirs.multiplications) * (800 / 224) ** 2
        pixels = recipe.sizes_px(600)[0] ** 2 * 4 / 3  # of a photo
        parameters = int(facts["num_params"]) + mine.parameters - theirs.parameters
        return Cost(parameters, (facts["_ops"] * 1e9 + body) * pixels / 800**2)

    def evaluate(
        self, weights: Path, training: Training, start: str, computing: Computing, folder: Path, work_dir: Path
    ) -> Path:
        """Write what is found in the test images."""
        test = self.splits.test
        assert isinstance(test, DetectionReader)
        evaluation = Evaluation(
            training.architecture, start, "original", training.seed, CLASSES, self.name, "", __version__
        )
        return evaluate_detector(weights, training, test, evaluation, computing, folder, work_dir)


def open_voc(name: str, place: Path, altered: bool) -> VocTask:
    """The official folder `VOCdevkit`: trainval of 2007 and 2012 to train on, test of 2007."""
    if has_parquet(place) and not (place / "VOCdevkit").exists():
        raise InputError(f"{name}: {place}: expected the folder VOCdevkit, got Parquet files; {_HINT}")
    read = {which: _read(name, place, *which, altered) for which in COUNTS}
    both = set(read["2007", "trainval"][0]) & set(read["2007", "test"][0])
    if both:
        raise InputError(f"{name}: {place}: 2007: expected parts that share nothing, got {one_line(min(both))} in both")
    trains = [read["2007", "trainval"], read["2012", "trainval"]]
    train = _reader(place, [ids for ids, _ in trains], [objects for _, objects in trains])
    test = _reader(place, [read["2007", "test"][0]], [read["2007", "test"][1]])
    return VocTask(task_name(name, altered), Splits(train, test, train, None), f"objects {train.digest()}")


def _reader(place: Path, ids: list[list[str]], objects: list[list[Objects]]) -> DetectionReader:
    names = [name for some in ids for name in some]
    of_name = dict(zip(names, (each for some in objects for each in some), strict=True))
    images = labelled(Folder(place.resolve()), names, np.zeros(len(names), np.int64), CLASSES)
    return DetectionReader(images, [of_name[name] for name in images.image_ids.to_pylist()])


def _read(name: str, place: Path, year: str, part: str, altered: bool) -> tuple[list[str], list[Objects]]:
    """Ids and objects of a year's images."""
    from torchvision.datasets import VOCDetection

    where = f"{name}: {place}: {year} {part}"
    try:
        opened = VOCDetection(str(place), year=year, image_set=part, download=False)
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: expected the folder VOCdevkit: {first_sentence(error)}; {_HINT}") from None
    if len(set(opened.images)) < len(opened) or not len(opened):
        raise InputError(f"{where}: expected different images, got {len(opened)} lines of {len(set(opened.images))}")
    if len(opened) != COUNTS[year, part] and not altered:
        raise InputError(
            f"{where}: expected {COUNTS[year, part]:,} images, got {len(opened):,}; --altered takes a part or a "
            "changed copy"
        )
    missing = next((path for path in (*opened.images, *opened.annotations) if not Path(path).is_file()), None)
    if missing is not None:
        raise InputError(f"{where}: expected each image of the list and its annotation, found no {missing}; {_HINT}")
    ids = [Path(path).relative_to(place).as_posix() for path in opened.images]
    return ids, [
        _objects(Path(path), Path(image)) for path, image in zip(opened.annotations, opened.images, strict=True)
    ]


def _size_wh(image: Path) -> tuple[int, int]:
    """Of an image, by its first bytes."""
    try:
        with image.open("rb") as file:
            return probe(file.read(_HEAD_BYTES)).upright_size
    except (ImageError, OSError) as error:
        raise InputError(f"{image}: expected an image: {one_line(error)}") from None


def _objects(path: Path, image: Path) -> Objects:
    """What the annotation file of an image tells, with boxes that begin at 0 and are half-open."""
    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.ElementTree import ParseError, parse  # type: ignore[import-untyped]
    from torchvision.datasets import VOCDetection

    try:
        facts: dict[str, Any] = VOCDetection.parse_voc_xml(parse(path).getroot())["annotation"]
        found = facts.get("object") or []
        boxes = [[float(each["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")] for each in found]
        names = [each["name"] for each in found]
        difficult = [_YES_OR_NO[each.get("difficult", "0")] for each in found]
        size = [float(facts["size"][side]) for side in ("width", "height")]
    except (ParseError, DefusedXmlException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: expected an annotation of VOC: {one_line(error)[:120]}") from None
    unknown = next((each for each in names if each not in CLASSES), None)
    if unknown is not None:
        raise InputError(f"{path}: object: expected one of the {len(CLASSES)} classes of VOC, got {one_line(unknown)}")
    boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], np.float32)
    wrong = ~(boxes_xyxy[:, :2] < boxes_xyxy[:, 2:]).all(axis=1) | (boxes_xyxy[:, 2:] > np.array(size)).any(axis=1)
    if wrong.any() or not np.isfinite(boxes_xyxy).all():
        raise InputError(
            f"{path}: bndbox: expected a box inside {size[0]:g} x {size[1]:g}, got {boxes[wrong.argmax()]}"
        )
    shown = _size_wh(image)
    if (boxes_xyxy[:, 2:] > np.array(shown) + 1).any():  # a pixel more is known in published ones
        raise InputError(f"{path}: bndbox: expected boxes inside the {shown[0]} x {shown[1]} pixels of {image.name}")
    labels = np.array([CLASSES.index(each) for each in names], np.int64)
    return Objects(np.maximum(boxes_xyxy, 0), labels, np.array(difficult, np.bool_))
