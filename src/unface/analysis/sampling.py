"""Which images to have looked at: the audit sample of the paper's Section 3, for any dataset."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.analysis.images import Images, below, images_of
from unface.analysis.wordnet import load_nouns
from unface.errors import InputError
from unface.faces.classes import NO_CLASS

RANDOM, HARDEST = "random", "hardest"


@dataclass(frozen=True)
class Plan:
    """What to draw.

    Attributes:
        classes: Classes in each of the two strata (the paper: 10).
        images: Images of each class (the paper: 50).
        seed: Of the random choice.
        below: Synset to which the classes drawn at random are restricted (the paper: mammals); empty for any.
        split: Folder of the dataset to draw from; empty for all of it.
    """

    classes: int = 10
    images: int = 50
    seed: int = 0
    below: str = ""
    split: str = ""


@dataclass(frozen=True)
class Group:
    """Images of one class that were drawn; `class_name` is empty where the dataset has no classes."""

    stratum: str
    class_name: str
    title: str
    image_ids: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """What was drawn, and how."""

    plan: Plan
    groups: tuple[Group, ...]

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """From what `record` made; TypeError or KeyError where it is something else."""
        groups = (Group(**{**group, "image_ids": tuple(group["image_ids"])}) for group in record["groups"])
        return cls(Plan(**record["plan"]), tuple(groups))

    @property
    def image_ids(self) -> list[str]:
        """All images that were drawn."""
        return [image_id for group in self.groups for image_id in group.image_ids]


def draw(table: pa.Table, plan: Plan) -> Sample:
    """Draw classes and images of them: the classes with the most faces, and others at random.

    A dataset without classes is drawn from as a whole: the images with the most faces, and others at random,
    `classes` x `images` of each. The order of the rows makes no difference.

    Raises:
        InputError: Nothing to draw from, or an unknown synset.
    """
    images = images_of(table)
    chosen = below(images, plan.split) if plan.split else np.ones(len(images), bool)
    places = np.flatnonzero(chosen)
    if not len(places):
        where = f"below {plan.split}/" if plan.split else "in the table"
        raise InputError(f"sample: expected images to draw from {where}, found none")
    order = pc.sort_indices(images.image_ids.take(pa.array(places))).to_numpy()
    places, rng = places[order], np.random.default_rng(plan.seed)
    classed = places[images.classes[places] != NO_CLASS]
    if len(np.unique(images.classes[classed])) < 2:
        return Sample(plan, tuple(_of_whole(images, places, plan, rng)))
    return Sample(plan, tuple(_of_classes(images, classed, plan, rng)))


def _of_whole(images: Images, places: NDArray[np.int64], plan: Plan, rng: np.random.Generator) -> list[Group]:
    number = plan.classes * plan.images
    hardest = places[np.argsort(-images.faces[places], kind="stable")][:number]
    others = np.setdiff1d(places, hardest, assume_unique=True)
    drawn = rng.permutation(others)[:number]
    return [_group(images, HARDEST, "", hardest), _group(images, RANDOM, "", drawn)]


def _of_classes(images: Images, places: NDArray[np.int64], plan: Plan, rng: np.random.Generator) -> list[Group]:
    number, names = len(images.class_names), images.class_names
    there = np.bincount(images.classes[places], minlength=number) > 0
    faces = np.bincount(images.classes[places], weights=images.faces[places], minlength=number)
    ranked = np.argsort(-faces, kind="stable")
    hardest = [int(place) for place in ranked if there[place]][: plan.classes]
    eligible = set(load_nouns().among(names, plan.below)) if plan.below else set(names)
    rest = [place for place in range(number) if there[place] and place not in hardest and names[place] in eligible]
    drawn = sorted(rng.permutation(rest)[: plan.classes].tolist())
    groups = []
    for stratum, classes in ((RANDOM, drawn), (HARDEST, hardest)):
        for place in classes:
            mine = rng.permutation(places[images.classes[places] == place])[: plan.images]
            groups.append(_group(images, stratum, names[place], mine))
    return groups


def _group(images: Images, stratum: str, name: str, places: NDArray[np.int64]) -> Group:
    image_ids = images.image_ids.take(pa.array(places)).to_pylist()
    return Group(stratum, name, load_nouns().word(name), tuple(sorted(image_ids)))
