"""What a task is, and the tasks whose answer is about a whole image."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import nn

from unface.errors import InputError, one_line
from unface.study.architectures import Cost, input_px
from unface.study.architectures import cost as cost_of
from unface.study.checkpoints import Network, load_network
from unface.study.computing import Computing
from unface.study.evaluate import EvaluationTask, Writer, evaluate
from unface.study.labelled import ImageSource, LabelledImages, dataset_name
from unface.study.reading import ViewReader
from unface.study.recipes import Recipe
from unface.study.settings import SETTINGS
from unface.study.training import Objective, Training

RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
"""Learning rates of which the best on validation images is taken; the paper tells of no grid."""

HELD_OUT = 10
"""Of each class, every so many-th training image is held out for validation where a dataset has no such split."""

SPLIT_SEED = 0
"""Of what is drawn of a dataset: the same in every run."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Readers of a task's images.

    Attributes:
        train: To train the network that is evaluated.
        test: To evaluate it.
        search: To train while a learning rate is sought.
        validation: To tell which learning rate is best; None where the task states its rate.
    """

    train: ViewReader
    test: ViewReader
    search: ViewReader
    validation: ViewReader | None


class Task(Protocol):
    """What a network is finetuned for.

    Attributes:
        name: As in names of files and tables.
        splits: Of its dataset.
        objective: Its loss, and what the log tells.
        metric: Name in the log of what is highest for the best learning rate.
        recipe: How it is learned; the paper's.
        rates: Learning rates to choose from; one is taken as it is.
        source: What decides the images beside their files.
    """

    name: str
    splits: Splits
    objective: Objective
    metric: str
    recipe: Recipe
    rates: tuple[float, ...]
    source: str

    def head(self, features: Network | None, recipe: Recipe) -> Callable[[str, int], nn.Module]:
        """What makes a network with a fresh output layer, and all else from a trained one, if there is one."""

    def cost(self, architecture: str, recipe: Recipe) -> Cost:
        """What a network and an image take, about; InputError for an architecture that the task cannot have."""

    def evaluate(
        self, weights: Path, training: Training, start: str, computing: Computing, folder: Path, work_dir: Path
    ) -> Path:
        """Write what the finetuned network says of the test images to a file in the folder.

        Args:
            weights: Of the finetuned network.
            training: That made them.
            start: What its training began from, for names.
            computing: On what.
            folder: For the file.
            work_dir: For what is finished so far.
        """


@dataclass(frozen=True, eq=False)
class ImageTask:
    """A task whose answer is a class of each image, or attributes; see `Task`."""

    name: str
    splits: Splits
    objective: Objective
    metric: str
    write: Writer = field(repr=False)
    recipe: Recipe = field(default_factory=Recipe)
    rates: tuple[float, ...] = RATES
    source: str = ""

    def head(self, features: Network | None, recipe: Recipe) -> Callable[[str, int], nn.Module]:
        """The architecture with as many outputs as there are classes or attributes."""
        return NewHead(features)

    def cost(self, architecture: str, recipe: Recipe) -> Cost:
        """Torchvision's count of the architecture, in proportion to the pixels."""
        whole, usual_px = cost_of(architecture), input_px(architecture)
        px, _ = recipe.sizes_px(usual_px)
        return replace(whole, multiplications=whole.multiplications * (px / usual_px) ** 2)

    def evaluate(
        self, weights: Path, training: Training, start: str, computing: Computing, folder: Path, work_dir: Path
    ) -> Path:
        """Write predictions of the test images, as `unface evaluate` does it."""
        network = replace(load_network(str(weights)), train=start)
        px, resize_px = training.sizes_px
        task = EvaluationTask(network, self.splits.test, resize_px, px, self.name, training.source)
        return evaluate(task, computing, folder, work_dir, lambda count: None, self.write)[0]


class NewHead:
    """Makes networks with a fresh output layer; all else is a trained network's."""

    def __init__(self, features: Network | None) -> None:
        self._features = features

    def __call__(self, name: str, classes: int) -> nn.Module:
        """A network of so many outputs; torch's random state decides its output layer."""
        from unface.study.architectures import build

        network = build(name, classes)
        if self._features is None:
            return network
        outputs = head_names(name)
        state = network.state_dict()
        for key, value in self._features.module.state_dict().items():
            if key not in outputs:
                state[key] = value
        network.load_state_dict(state)
        return network


def head_names(architecture: str) -> frozenset[str]:
    """Names of the tensors that depend on the number of classes: the output layers, auxiliary ones too.

    >>> sorted(head_names("resnet18"))
    ['fc.bias', 'fc.weight']
    """
    import torch

    from unface.study.architectures import build

    with torch.device("meta"):
        two, three = (build(architecture, classes).state_dict() for classes in (2, 3))
    return frozenset(name for name in two if two[name].shape != three[name].shape)


def splits_of(parts: Mapping[str, LabelledImages]) -> Splits:
    """Readers of the parts `train`, `test` and perhaps `validation` of a dataset.

    Where there is no `validation`, a tenth of each class of `train` is held out while the learning rate is sought, and
    the last training has all of `train`.
    """
    train, test = parts["train"], parts["test"]
    if len(train.classes) < 2:
        raise InputError(f"classes: expected at least two, got {one_line(', '.join(train.classes))}")
    search, validation = train, parts.get("validation")
    if validation is None:
        held = held_out(train)
        search, validation = train.only(~held), train.only(held)
    return Splits(*(ViewReader(images, [SETTINGS["original"]]) for images in (train, test, search, validation)))


def held_out(images: LabelledImages) -> NDArray[np.bool_]:
    """A tenth of each class, drawn by the images' names, at least one where there are two; shape (N,)."""
    held = np.zeros(len(images), np.bool_)
    order = draw_order(images.image_ids.to_pylist())
    for label in np.unique(images.labels):
        mine = order[images.labels[order] == label]
        held[mine[: max(len(mine) // HELD_OUT, int(len(mine) > 1))]] = True
    return held


def draw_order(names: Sequence[str], seed: int = SPLIT_SEED) -> NDArray[np.int64]:
    """A random order of images that depends on their names and a seed alone, not on any library's generator."""
    keys = [hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest() for name in names]
    return np.argsort(np.frombuffer(b"".join(keys), ">u8"), kind="stable")


def labelled(
    source: ImageSource, ids: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str]
) -> LabelledImages:
    """Images with classes, or with attributes, sorted by id.

    Args:
        source: Where they are read.
        ids: Their N names.
        labels: Class indices, shape (N,), or 0 and 1 for each attribute, shape (N, attributes).
        classes: Names of the classes or attributes.
    """
    order = np.argsort(np.array(ids, np.str_), kind="stable")
    return LabelledImages(
        source,
        pa.array([ids[place] for place in order], pa.string()),
        np.ascontiguousarray(labels[order], np.int64),
        tuple(classes),
        np.zeros((len(ids), 2), np.int32),
        np.zeros((0, 4), np.float32),
        np.zeros(len(ids), np.int64),
        False,
    )


def task_name(name: str, altered: bool) -> str:
    """What results are called: only what was published whole has its plain name."""
    return f"{name}-altered" if altered else name


def folder_name(place: Path) -> str:
    """What results on the user's own images are called: as their folder, but never as a published dataset.

    >>> folder_name(Path("data/pets")), folder_name(Path("data/cifar10"))
    ('pets', 'folder-cifar10')
    """
    from unface.study.tasks import TASKS

    name = dataset_name(place.resolve())
    return f"folder-{name}" if name.partition("-")[0] in TASKS else name


def first_sentence(error: Exception) -> str:
    """Of what torchvision says; the next one is about its own downloads.

    >>> first_sentence(RuntimeError("Dataset not found. You can use download=True to download it"))
    'Dataset not found'
    """
    return one_line(error).split(". ")[0][:120]


def require_counts(
    name: str, place: Path, parts: Mapping[str, LabelledImages], wanted: Mapping[str, int], altered: bool
) -> None:
    """Refuse a dataset with a part that is missing or empty, and, unless altered, of another size."""
    for part, count in wanted.items():
        got = len(parts[part]) if part in parts else 0
        if altered and not got:
            raise InputError(f"{name}: {place}: {part}: expected images, found none")
        if not altered and got != count:
            raise InputError(
                f"{name}: {place}: {part}: expected {count:,} images, got {got:,}; "
                "--altered takes a part or a changed copy"
            )
