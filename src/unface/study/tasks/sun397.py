"""SUN397: 397 kinds of places, top-1 on one of the ten standard partitions (Table 5)."""

from pathlib import Path

import numpy as np

from unface.datasets.folder import Folder
from unface.errors import InputError, one_line
from unface.predictions import write_predictions
from unface.study.labelled import LabelledImages
from unface.study.tasks.parquet import has_parquet, parquet_parts
from unface.study.tasks.task import ImageTask, first_sentence, labelled, require_counts, splits_of, task_name
from unface.study.training import CLASSIFICATION

IMAGES, CLASSES, PARTITIONS = 108_754, 397, 10
COUNTS = {"train": 50 * CLASSES, "test": 50 * CLASSES}
_URL = "https://vision.princeton.edu/projects/2010/SUN"
_HINT = f"download {_URL}/SUN397.tar.gz and {_URL}/download/Partitions.zip and unpack both there"


def open_sun397(name: str, place: Path, altered: bool) -> ImageTask:
    """The official folder `SUN397` with the files of a partition, or Parquet files."""
    number = name.partition("-")[2] or "1"
    if not number.isdecimal() or not 1 <= int(number) <= PARTITIONS:
        raise InputError(f"{one_line(name)}: expected sun397, or sun397-2 to sun397-{PARTITIONS}")
    parts = parquet_parts(name, place) if has_parquet(place) else _official(name, place, int(number), altered)
    require_counts(name, place, parts, COUNTS, altered)
    return ImageTask(task_name(name, altered), splits_of(parts), CLASSIFICATION, "validation_top1", write_predictions)


def _official(name: str, place: Path, number: int, altered: bool) -> dict[str, LabelledImages]:
    from torchvision.datasets import SUN397

    try:
        opened = SUN397(str(place), download=False)
    except (RuntimeError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: {place}: expected the folder SUN397: {first_sentence(error)}; {_HINT}") from None
    except KeyError as error:
        raise InputError(f"{name}: {place}: expected the classes of ClassName.txt, got {one_line(error)}") from None
    files = [Path(path).relative_to(place).as_posix() for path in opened._image_files]
    if not altered and (len(files), len(opened.classes)) != (IMAGES, CLASSES):
        raise InputError(
            f"{name}: {place}: expected {IMAGES:,} images of {CLASSES} classes, got {len(files):,} of "
            f"{len(opened.classes)}; {_HINT}"
        )
    known = dict(zip(files, opened._labels, strict=True))
    parts = {
        "train": _partition(place, f"Training_{number:02d}.txt"),
        "test": _partition(place, f"Testing_{number:02d}.txt"),
    }
    both = set(parts["train"]) & set(parts["test"])
    if both:
        raise InputError(f"{name}: {place}: expected partitions that share nothing, got {one_line(min(both))} in both")
    images = {}
    for part, listed in parts.items():
        missing = next((each for each in listed if each not in known), None)
        if missing is not None:
            raise InputError(f"{name}: {place}: {part}: expected the images of the partition, found no {missing}")
        labels = np.array([known[each] for each in listed], np.int64)
        images[part] = labelled(Folder(place.resolve()), listed, labels, opened.classes)
    return images


def _partition(place: Path, file_name: str) -> list[str]:
    """Paths below the place of the images that a file of a partition names, such as `/a/abbey/sun_aaa.jpg`."""
    folders = [place, place / "Partitions", place / "SUN397"]
    path = next((folder / file_name for folder in folders if (folder / file_name).is_file()), None)
    if path is None:
        raise InputError(f"sun397: {place}: expected the partition's file {file_name}, found none; {_HINT}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected paths of images: {one_line(error)}") from None
    names = [f"SUN397/{line.lstrip('/')}" for line in lines if line]
    if len(set(names)) != len(names) or not names:
        raise InputError(f"{path}: expected different images, got {len(names)} lines of {len(set(names))}")
    return names
