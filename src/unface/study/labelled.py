"""The images of a study: their classes and their faces, in one order for every setting."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unface.datasets import Dataset, open_dataset
from unface.errors import ImageError, InputError, one_line
from unface.faces import FaceRow, Faces, read_faces

ID_COLUMNS = ("image_id", "file")
CLASS_COLUMNS = ("class_index", "class", "wnid")


class ImageSource(Protocol):
    """Where images are read: a dataset, or whatever else has their bytes."""

    @property
    def root(self) -> Any:
        """Where it is."""

    def read(self, image_id: str) -> bytes:
        """An image's bytes; ImageError where it cannot be read."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of known classes, sorted by id; picklable, and small even for millions of them.

    Attributes:
        dataset: Where they are read.
        image_ids: Arrow array of N texts.
        labels: Class index of each, int64, shape (N,); of attributes 0 or 1 for each, shape (N, classes).
        classes: Name of each class or attribute, by index.
        sizes_wh: Upright size in pixels where it is recorded, else 0; int32, shape (N, 2).
        boxes_xyxy: Faces of all images in order, float32, shape (M, 4).
        ends: Where the faces of each image end in `boxes_xyxy`, int64, shape (N,).
        has_rows: Whether faces are recorded at all.
        left_out: How many images of the dataset are left out: without a row of faces, or with one that says failed.
    """

    dataset: ImageSource
    image_ids: Any
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    sizes_wh: NDArray[np.int32]
    boxes_xyxy: NDArray[np.float32]
    ends: NDArray[np.int64]
    has_rows: bool
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def face_counts(self) -> NDArray[np.int64]:
        """Faces of each image, shape (N,)."""
        return np.diff(self.ends, prepend=0)

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """A number for each image that depends on its id alone, shape (N,): random draws hang on it."""
        digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in self.image_ids.to_pylist())
        return np.frombuffer(b"".join(digests), "<u8")

    def row(self, index: int) -> FaceRow:
        """What is recorded of an image."""
        start = int(self.ends[index - 1]) if index else 0
        faces = Faces.make(self.boxes_xyxy[start : int(self.ends[index])])
        width, height = self.sizes_wh[index].tolist()
        return FaceRow(self.image_ids[index].as_py(), width, height, "detected", faces)

    def only(self, kept: NDArray[np.bool_]) -> "LabelledImages":
        """The images that a mask of shape (N,) selects; the others count as left out."""
        boxes = np.repeat(kept, self.face_counts)
        return replace(
            self,
            image_ids=self.image_ids.filter(pa.array(kept)),
            labels=self.labels[kept],
            sizes_wh=self.sizes_wh[kept],
            boxes_xyxy=self.boxes_xyxy[boxes],
            ends=np.cumsum(self.face_counts[kept]),
            left_out=self.left_out + int((~kept).sum()),
        )

    def digest(self) -> str:
        """Changes with ids, classes or faces."""
        digest = hashlib.sha256("\0".join(self.image_ids.to_pylist()).encode())
        digest.update("\0".join(self.classes).encode())
        for array in (self.labels, self.ends, self.boxes_xyxy):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def open_images(
    place: str | Path,
    faces_path: Path | None = None,
    labels_path: Path | None = None,
    classes: Sequence[str] | None = None,
) -> LabelledImages:
    """Open a dataset with classes.

    Args:
        place: What `unface.datasets.open_dataset` takes. Without `labels_path` the class is, in a folder, that of
            `class/…/image`, as torchvision's ImageFolder has it; in WebDataset archives, the number in `key.cls`
            beside `key.jpg`.
        faces_path: `faces.parquet`. Images without a row in it, or whose row says failed, are left out.
        labels_path: CSV with a header: a column `image_id` or `file`, and `class_index` (a number), `class` or `wnid`
            (a name).
        classes: The names of the classes in order. Default: the names that occur, sorted; of numbers, themselves.

    Raises:
        InputError: Unreadable, no images, or an image without a class; the message names it.
    """
    dataset = open_dataset(place)
    parts = dataset.survey().parts
    ids = sorted(entry.image_id for part in parts for entry in dataset.entries(part) if not entry.refused)
    if not ids:
        raise InputError(f"{one_line(str(place))}: expected images, found none")
    labels, classes = _labels(ids, _names(place, dataset, ids, labels_path), classes)
    images = LabelledImages(
        dataset,
        pa.array(ids, pa.string()),
        labels,
        tuple(classes),
        np.zeros((len(ids), 2), np.int32),
        np.zeros((0, 4), np.float32),
        np.zeros(len(ids), np.int64),
        False,
    )
    return images if faces_path is None else _with_faces(images, faces_path)


def read_classes(path: Path) -> tuple[str, ...]:
    """The classes in order: a JSON list of names, or lines whose first word is the name.

    Raises:
        InputError: Neither, or a name occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        lines = [line.split()[0] for line in text.splitlines() if line.strip()]
        names = json.loads(text) if text.lstrip().startswith("[") else lines
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected names of classes: {one_line(error)}") from None
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise InputError(f"{path}: expected different names of classes")
    return tuple(names)


def _with_faces(images: LabelledImages, faces_path: Path) -> LabelledImages:
    """The images that have a row, with what it says."""
    table = read_faces(faces_path)
    table = table.filter(pc.not_equal(table["status"], "failed"))
    places = pc.index_in(images.image_ids, value_set=table["image_id"].combine_chunks())
    kept = pc.is_valid(places).to_numpy(zero_copy_only=False)
    if not kept.any():
        raise InputError(f"{faces_path}: expected a row for each image of {images.dataset.root}, got none of them")
    table = table.take(places.drop_null())
    lists = table["boxes"]
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    flat = pc.list_flatten(lists).combine_chunks()
    sides = [pc.struct_field(flat, side).to_numpy(zero_copy_only=False) for side in ("x0", "y0", "x1", "y1")]
    sizes = [pc.fill_null(table[name], 0).to_numpy() for name in ("width", "height")]
    return replace(
        images.only(kept),
        sizes_wh=np.stack(sizes, axis=1).astype(np.int32),
        boxes_xyxy=np.stack(sides, axis=1).astype(np.float32).reshape(-1, 4),
        ends=np.cumsum(counts, dtype=np.int64),
        has_rows=True,
    )


def dataset_name(place: str | Path) -> str:
    """What to call a dataset: the last word of its place that is not `images`.

    >>> dataset_name("data/imagenet_val/images")
    'imagenet_val'
    """
    words = [word for word in str(place).rstrip("/").split("/") if word not in ("", "images")]
    return words[-1] if words else "images"


def published(folder: Path) -> Mapping[str, bool]:
    """The images of an `unface obfuscate` result: whether each is a copy with the very pixels of the original."""
    try:
        table = pq.read_table(folder / "manifest.parquet", columns=["image_id", "mode"])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{folder}: expected what unface obfuscate wrote: {one_line(error)}") from None
    modes = table["mode"].to_pylist()
    return dict(zip(table["image_id"].to_pylist(), (mode == "copied" for mode in modes), strict=True))


def _names(place: str | Path, dataset: Dataset, ids: Sequence[str], labels_path: Path | None) -> list[str]:
    """The name, or the number as text, of each image's class."""
    if labels_path is not None:
        known = _read_labels(labels_path)
        missing = next((image_id for image_id in ids if image_id not in known), None)
        if missing is not None:
            raise InputError(f"{labels_path}: expected a row for each image, got none for {one_line(missing)}")
        return [known[image_id] for image_id in ids]
    if dataset.kind == "webdataset":
        return [_cls(dataset, image_id) for image_id in ids]
    if dataset.kind != "folder":
        raise InputError(f"{one_line(str(place))}: expected a table of labels with a dataset of {dataset.kind}")
    loose = next((image_id for image_id in ids if "/" not in image_id), None)
    if loose is not None:
        raise InputError(f"{one_line(str(place))}: expected folders of images, one a class, or labels; got {loose}")
    return [image_id.split("/", 1)[0] for image_id in ids]


def _cls(dataset: Dataset, image_id: str) -> str:
    path = PurePosixPath(image_id)
    name = str(path.with_name(path.name.split(".", 1)[0] + ".cls"))
    try:
        return str(int(dataset.read(name)))
    except (ImageError, ValueError) as error:
        raise InputError(f"{one_line(name)}: expected the number of a class: {one_line(error)}") from None


def _read_labels(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or []
            of_id = next((name for name in ID_COLUMNS if name in columns), None)
            of_class = next((name for name in CLASS_COLUMNS if name in columns), None)
            if of_id is None or of_class is None:
                wanted = f"{' or '.join(ID_COLUMNS)}, and {' or '.join(CLASS_COLUMNS)}"
                raise InputError(f"{path}: expected the columns {wanted}, got {one_line(', '.join(columns))[:200]}")
            return {row[of_id]: str(row[of_class]) for row in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV of labels: {one_line(error)}") from None


def _labels(
    ids: Sequence[str], names: Sequence[str], classes: Sequence[str] | None
) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Class indices of shape (N,), and the classes; names that are numbers and no classes are indices."""
    if all(name.isdecimal() for name in names) and not set(names) <= set(classes or ()):
        labels = np.array([int(name) for name in names], np.int64)
        classes = classes or [str(number) for number in range(int(labels.max()) + 1)]
        wrong = labels >= len(classes)
    else:
        classes = classes or sorted(set(names))
        numbers = {name: number for number, name in enumerate(classes)}
        labels = np.array([numbers.get(name, -1) for name in names], np.int64)
        wrong = labels < 0
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InputError(
            f"{one_line(ids[place])}: class: expected one of {len(classes)} classes, got {one_line(names[place])}"
        )
    return labels, classes
