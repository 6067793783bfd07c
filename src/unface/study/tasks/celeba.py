"""CelebA: 40 attributes of portraits, binary cross-entropy, mean average precision (Table 6)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unface.datasets.folder import Folder
from unface.errors import InputError, one_line
from unface.predictions.attributes import write_attributes
from unface.study.labelled import LabelledImages
from unface.study.tasks.attributes import ATTRIBUTES
from unface.study.tasks.parquet import has_parquet, parquet_parts
from unface.study.tasks.task import (
    ImageTask,
    draw_order,
    first_sentence,
    labelled,
    require_counts,
    splits_of,
    task_name,
)

COUNTS = {"train": 162_770, "validation": 19_867, "test": 19_962}
NAMES = tuple(
    [
        "5_o_Clock_Shadow",
        "Arched_Eyebrows",
        "Attractive",
        "Bags_Under_Eyes",
        "Bald",
        "Bangs",
        "Big_Lips",
        "Big_Nose",
        "Black_Hair",
        "Blond_Hair",
        "Blurry",
        "Brown_Hair",
        "Bushy_Eyebrows",
        "Chubby",
        "Double_Chin",
        "Eyeglasses",
        "Goatee",
        "Gray_Hair",
        "Heavy_Makeup",
        "High_Cheekbones",
        "Male",
        "Mouth_Slightly_Open",
        "Mustache",
        "Narrow_Eyes",
        "No_Beard",
        "Oval_Face",
        "Pale_Skin",
        "Pointy_Nose",
        "Receding_Hairline",
        "Rosy_Cheeks",
        "Sideburns",
        "Smiling",
        "Straight_Hair",
        "Wavy_Hair",
        "Wearing_Earrings",
        "Wearing_Hat",
        "Wearing_Lipstick",
        "Wearing_Necklace",
        "Wearing_Necktie",
        "Young",
    ]
)
TRAINING_IMAGES = 5_000
"""Of the training split; which ones, the paper does not say: they are drawn by their names."""

_LISTS = (("list_eval_partition.txt", None, (0, 1, 2)), ("list_attr_celeba.txt", 1, (-1, 1)))
"""Files, the lines that head them, and the numbers that they may hold."""
_PHOTOS = "celeba/img_align_celeba"
_HINT = (
    "download img_align_celeba.zip and the text files from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and "
    "unpack them to celeba/ there"
)


def open_celeba(name: str, place: Path, altered: bool) -> ImageTask:
    """The official folder `celeba` (the md5 of its text files checked), or Parquet files with a column an attribute."""
    parts = parquet_parts(name, place, NAMES) if has_parquet(place) else _official(name, place, altered)
    require_counts(name, place, parts, COUNTS, altered)
    train = parts["train"]
    drawn = np.zeros(len(train), np.bool_)
    drawn[draw_order(train.image_ids.to_pylist())[:TRAINING_IMAGES]] = True
    splits = splits_of(parts | {"train": train.only(drawn)})
    return ImageTask(task_name(name, altered), splits, ATTRIBUTES, "validation_map", write_attributes)


def _official(name: str, place: Path, altered: bool) -> dict[str, LabelledImages]:
    from torchvision.datasets import CelebA

    unchecked = {"file_list": [(number, None, file) for number, _, file in CelebA.file_list]}
    kind = type("AlteredCelebA", (CelebA,), unchecked) if altered else CelebA
    try:
        opened = {
            part: kind(str(place), split, download=False)
            for part, split in (("train", "train"), ("validation", "valid"), ("test", "test"))
        }
        lists = {file: opened["train"]._load_csv(file, header) for file, header, _ in _LISTS}
    except (RuntimeError, OSError, ValueError, IndexError, TypeError) as error:
        raise InputError(
            f"{name}: {place}: expected the published files in celeba/: {first_sentence(error)}; {_HINT}"
        ) from None
    for file, _, known in _LISTS:
        got = lists[file].data.unique().tolist()
        if not set(got) <= set(known):
            raise InputError(f"{name}: {place}: {file}: expected {known}, got {sorted(set(got) - set(known))[0]}")
        if len(set(lists[file].index)) < len(lists[file].index):
            raise InputError(f"{name}: {place}: {file}: expected each image once")
    if len({tuple(each.index) for each in lists.values()}) != 1:
        raise InputError(f"{name}: {place}: list_attr_celeba.txt and list_eval_partition.txt name different images")
    there = {entry.name for entry in (place / _PHOTOS).iterdir()}
    images = {}
    for part, split in opened.items():
        missing = next((file for file in split.filename if file not in there), None)
        if missing is not None:
            raise InputError(f"{name}: {place}: {part}: expected each image of the lists, found no {missing}; {_HINT}")
        labels = _checked(name, place, split.attr.numpy(), split.attr_names)
        files = [f"{_PHOTOS}/{file}" for file in split.filename]
        images[part] = labelled(Folder(place.resolve()), files, labels, NAMES)
    return images


def _checked(name: str, place: Path, attributes: NDArray[np.int64], header: list[str]) -> NDArray[np.int64]:
    """Attributes of shape (N, 40), 0 or 1."""
    names = tuple(word for word in header if word)
    if names != NAMES or attributes.shape[1:] != (len(NAMES),):
        raise InputError(
            f"{name}: {place}: list_attr_celeba.txt: expected {len(NAMES)} attributes, {NAMES[0]} first, got "
            f"{attributes.shape[1]}: {one_line(' '.join(names))[:60]}"
        )
    return attributes
