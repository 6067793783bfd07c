"""One table of faces out of two.

The rules, so that everything either table hides is hidden by their union:

* Boxes of one label whose intersection over union reaches the threshold are one face, paired as by
  `matching.match`. Its box is the smallest around both, its score the larger one, its source names both.
* `union` has every face of either, `intersection` the faces of both, and only images that both have.
* In a union a box that lies wholly in another of the same label is left out: the larger one hides it.
* `replace` takes every image that the second table has from there, whole, and the others from the first.
* An image that failed in one table is taken from the other. A merged image is `reviewed` only if it was in both.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.boxes import Boxes
from unface.errors import InputError, one_line
from unface.faces.matching import match
from unface.faces.table import FaceRow, Faces, face_rows, faces_table

IOU_THRESHOLD = 0.5

Places = NDArray[np.int64]
Rule = Callable[[Faces, Faces, Places, Places], Faces]
"""From two lists of faces, and the places in them of those that are paired, to one list."""


def merge_faces(
    first: pa.Table, second: pa.Table, rule: str, iou_threshold: float = IOU_THRESHOLD
) -> tuple[pa.Table, Counter[str]]:
    """Merge two tables of `FACES_SCHEMA` by a rule of `RULES`.

    Returns:
        The images of the first table in their order, then those that only the second has; and counts of what was
        paired and left out.

    Raises:
        InputError: An unknown rule, or an image whose two sizes differ.
    """
    if rule not in (*RULES, "replace"):
        raise InputError(f"merge rule {one_line(repr(rule))}: expected one of {', '.join((*RULES, 'replace'))}")
    places = pc.index_in(first["image_id"], value_set=second["image_id"].combine_chunks())
    in_both = pc.is_valid(places)
    only_second = pc.invert(pc.is_in(second["image_id"], value_set=first["image_id"].combine_chunks()))
    counts = Counter({"images in both": pc.sum(in_both).as_py() or 0})
    of_second = second.take(pc.drop_null(places))
    if rule == "replace":
        both = of_second
    else:
        both = _merged(first.filter(in_both), of_second, RULES[rule], iou_threshold, counts)
    if rule == "intersection":
        counts["images in one only, left out"] = len(first) + len(second) - 2 * len(both)
        return both.replace_schema_metadata(first.schema.metadata), +counts
    return _in_order(first, in_both, both, second.filter(only_second)), +counts


def _in_order(first: pa.Table, in_both: pa.ChunkedArray, both: pa.Table, rest: pa.Table) -> pa.Table:
    """The first table with those rows put in the place of its own, and the rest after it."""
    tables = [table.replace_schema_metadata(None) for table in (first, both, rest)]
    order = np.arange(len(first))
    order[in_both.to_numpy()] = len(first) + np.arange(len(both))
    rest_order = len(first) + len(both) + np.arange(len(rest))
    merged = pa.concat_tables(tables).take(pa.array(np.concatenate([order, rest_order])))
    return merged.combine_chunks().replace_schema_metadata(first.schema.metadata)


def _merged(first: pa.Table, second: pa.Table, faces_of: Rule, iou_threshold: float, counts: Counter[str]) -> pa.Table:
    """Rows of the same images, merged; those without any box need no look."""
    boxed = pc.or_(*(pc.greater(pc.fill_null(pc.list_value_length(t["boxes"]), 0), 0) for t in (first, second)))
    plain = pc.and_(pc.equal(first["status"], second["status"]), pc.equal(first["width"], second["width"]))
    plain = pc.and_(plain, pc.equal(first["height"], second["height"]))
    busy = pc.fill_null(pc.or_(boxed, pc.invert(pc.fill_null(plain, False))), True)
    rows = zip(face_rows(first.filter(busy)), face_rows(second.filter(busy)), strict=True)
    done = faces_table(_merged_row(a, b, faces_of, iou_threshold, counts) for a, b in rows)
    return _in_order(first, busy, done, done.slice(0, 0))


def _merged_row(a: FaceRow, b: FaceRow, faces_of: Rule, iou_threshold: float, counts: Counter[str]) -> FaceRow:
    if "failed" in (a.status, b.status):
        return b if a.status == "failed" else a
    sizes = {(row.width, row.height) for row in (a, b) if row.width and row.height}
    if len(sizes) > 1:
        raise InputError(f"{one_line(a.image_id)}: expected one size in both files, got {sorted(sizes)}")
    width, height = sizes.pop() if sizes else (0, 0)
    pairs = match(a.faces.boxes_xyxy, b.faces.boxes_xyxy, iou_threshold, a.faces.labels, b.faces.labels)
    counts["faces in both"] += len(pairs)
    faces = faces_of(a.faces, b.faces, pairs[:, 0], pairs[:, 1])
    counts["boxes left out"] += len(a.faces) + len(b.faces) - len(pairs) - len(faces)
    status = a.status if a.status == b.status else "detected"
    return FaceRow(a.image_id, width, height, status, faces)


def _union(a: Faces, b: Faces, of_a: Places, of_b: Places) -> Faces:
    alone_a, alone_b = np.delete(np.arange(len(a)), of_a), np.delete(np.arange(len(b)), of_b)
    faces = _intersection(a, b, of_a, of_b) + a[alone_a] + b[alone_b]
    return faces[~_is_inside_another(faces)]


def _intersection(a: Faces, b: Faces, of_a: Places, of_b: Places) -> Faces:
    mine, other = a[of_a], b[of_b]
    boxes = np.concatenate(
        [
            np.minimum(mine.boxes_xyxy[:, :2], other.boxes_xyxy[:, :2]),
            np.maximum(mine.boxes_xyxy[:, 2:], other.boxes_xyxy[:, 2:]),
        ],
        axis=1,
    )
    sources = tuple(x if x == y else f"{x}+{y}" for x, y in zip(mine.sources, other.sources, strict=True))
    return Faces(boxes, np.maximum(mine.scores, other.scores), mine.labels, sources)


RULES: Mapping[str, Rule] = {"union": _union, "intersection": _intersection}


def _is_inside_another(faces: Faces) -> NDArray[np.bool_]:
    """Whether each box lies wholly in another of its label; of equal boxes the first is not."""
    boxes: Boxes = faces.boxes_xyxy
    inside = (boxes[:, None, :2] >= boxes[None, :, :2]).all(axis=2)
    inside &= (boxes[:, None, 2:] <= boxes[None, :, 2:]).all(axis=2)
    inside &= np.array([[x == y for y in faces.labels] for x in faces.labels], bool).reshape(inside.shape)
    equal = inside & inside.T
    earlier = np.tri(len(boxes), k=-1, dtype=bool)
    return np.asarray((inside & (~equal | earlier)).any(axis=1))
