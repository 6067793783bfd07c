"""The user's own images: top-1."""

from pathlib import Path

from unface.errors import InputError
from unface.predictions import write_predictions
from unface.study.labelled import LabelledImages, open_images
from unface.study.tasks.parquet import has_parquet, parquet_parts
from unface.study.tasks.task import ImageTask, folder_name, splits_of
from unface.study.training import CLASSIFICATION


def open_folder(name: str, place: Path, altered: bool) -> ImageTask:
    """`train/` and `test/` (or `val/`), each `class/…/image`, or the same as Parquet; `validation/` beside is optional.

    With `test/` there, `val/` is what `validation/` is.
    """
    parts = parquet_parts(name, place) if has_parquet(place) else _folders(place)
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    missing = next((part for part in ("train", "test") if part not in parts), None)
    if missing is not None:
        raise InputError(f"{name}: {place}: expected train/ and test/ (or val/), found no {missing}/")
    empty = next((part for part, images in parts.items() if not len(images)), None)
    if empty is not None:
        raise InputError(f"{name}: {place}: {empty}: expected images, found none")
    return ImageTask(folder_name(place), splits_of(parts), CLASSIFICATION, "validation_top1", write_predictions)


def _folders(place: Path) -> dict[str, LabelledImages]:
    parts: dict[str, LabelledImages] = {}
    for part, folder in (("train", "train"), ("validation", "val"), ("validation", "validation"), ("test", "test")):
        if (place / folder).is_dir():
            parts[part] = open_images(place / folder, classes=parts["train"].classes if "train" in parts else None)
    return parts
