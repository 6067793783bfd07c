"""Classes of images: the folders that they lie in."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_CLASS = -1

_WNID = re.compile(r"n\d{8}")


def is_wnid(text: str) -> bool:
    """Whether a text looks like a wnid, ImageNet's name of a class: n and eight digits."""
    return _WNID.fullmatch(text) is not None


def classes_of(image_ids: pa.Array) -> tuple[list[str], NDArray[np.int64]]:
    """The class of each image: the folder that it lies in.

    Where any of those folders is named by a wnid, only such folders are classes: `val/x.JPEG` of ILSVRC has none.

    Args:
        image_ids: M texts.

    Returns:
        The names of the classes, sorted, and each image's place among them, or `NO_CLASS`, shape (M,).

    >>> classes_of(pa.array(["cat/1.jpg", "2.jpg", "dog/3.jpg", "cat/4.jpg"]))
    (['cat', 'dog'], array([ 0, -1,  1,  0]))
    """
    parts = pc.split_pattern(image_ids, "/", max_splits=1, reverse=True)
    nested = pc.greater(pc.list_value_length(parts), 1)
    folders = pc.if_else(nested, pc.list_element(parts, 0), "").dictionary_encode()
    names = [folder.rpartition("/")[2] for folder in folders.dictionary.to_pylist()]
    if any(map(is_wnid, names)):
        names = [name if is_wnid(name) else "" for name in names]
    known = sorted(set(names) - {""})
    place = {name: number for number, name in enumerate(known)} | {"": NO_CLASS}
    codes = np.array([place[name] for name in names], np.int64)
    return known, codes[folders.indices.to_numpy()] if len(image_ids) else np.zeros(0, np.int64)
