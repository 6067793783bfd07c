"""The columns of a faces table that statistics and samples ask for, one value an image."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.faces.classes import classes_of


@dataclass(frozen=True, eq=False)
class Images:
    """What is known of each of M images, and of their N boxes.

    Attributes:
        image_ids: M texts.
        statuses: M texts.
        sizes_wh: Upright pixels, 0 where not known, shape (M, 2).
        faces: Number of boxes, shape (M,).
        boxes_xyxy: Float32, in the images' order, shape (N, 4).
        class_names: Sorted.
        classes: Place in `class_names`, or `NO_CLASS`, shape (M,).
    """

    image_ids: pa.Array
    statuses: pa.Array
    sizes_wh: NDArray[np.int32]
    faces: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float32]
    class_names: list[str]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.faces)


def images_of(table: pa.Table) -> Images:
    """The images that did not fail."""
    table = table.select(["image_id", "width", "height", "status", "boxes"])
    failed = pc.equal(table["status"], "failed")
    if pc.any(failed).as_py():
        table = table.filter(pc.invert(failed))
    boxes = _one(pc.list_flatten(table["boxes"]))
    sides = [pc.struct_field(boxes, side).to_numpy(zero_copy_only=False) for side in ("x0", "y0", "x1", "y1")]
    ids = _one(table["image_id"])
    names, classes = classes_of(ids)
    return Images(
        ids,
        _one(table["status"]),
        np.stack([pc.fill_null(_one(table[side]), 0).to_numpy() for side in ("width", "height")], axis=1),
        pc.fill_null(pc.list_value_length(_one(table["boxes"])), 0).to_numpy().astype(np.int64),
        np.stack(sides, axis=1),
        names,
        classes,
    )


def _one(column: pa.ChunkedArray) -> Any:
    """The column as one array, not copied where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def below(images: Images, folder: str) -> NDArray[np.bool_]:
    """Which images lie below a folder of the dataset."""
    return np.asarray(pc.starts_with(images.image_ids, folder.strip("/") + "/").to_numpy(zero_copy_only=False))
