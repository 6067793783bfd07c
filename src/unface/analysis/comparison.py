"""True and predicted boxes of the same images, side by side.

Which images count:

* An image of the truth that the prediction lacks, or that failed there, counts as one in which nothing was found.
* An image that only the prediction has is left out, and so is one that failed in the truth: nothing is known of it.

Which boxes are predictions: those that count as faces, and the candidates below the detector's threshold. People's
boxes (status `reviewed`) are certain: they have score 1, and the candidates of such an image are none.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.errors import InputError, one_line

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

_PAIRS_AT_ONCE = 1 << 21
_SIDES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, eq=False)
class Boxed:
    """The N boxes of M images, one image after the other, best score first.

    Attributes:
        counts: How many are of each image, shape (M,).
        boxes_xyxy: Upright pixels, float64, shape (N, 4).
        scores: In [0, 1], float64, shape (N,).
    """

    counts: Places
    boxes_xyxy: Floats
    scores: Floats

    @property
    def owners(self) -> Places:
        """The place of each box's image, shape (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self) -> Places:
        """The place of each image's first box, shape (M,)."""
        return np.asarray(np.cumsum(self.counts) - self.counts)

    @property
    def heights_px(self) -> Floats:
        """Shape (N,)."""
        return self.boxes_xyxy[:, 3] - self.boxes_xyxy[:, 1]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` tells.

    Attributes:
        image_ids: M texts, in the truth's order.
        sizes_wh: Upright pixels, 0 where neither side knows, shape (M, 2).
        truth: The true faces, in the truth's order within an image.
        predicted: The predictions.
        threshold: The smallest score of a box that counts as a face in the prediction.
        missing: Images of the truth that the prediction lacks.
        failed: Images of the truth that failed in the prediction.
        unknown: Images of the prediction of which no truth is known.
    """

    image_ids: pa.Array
    sizes_wh: NDArray[np.int64]
    truth: Boxed
    predicted: Boxed
    threshold: float
    missing: int
    failed: int
    unknown: int

    def __len__(self) -> int:
        return len(self.image_ids)

    def pairs(self) -> Iterator[tuple[Places, Places]]:
        """Every prediction with every true face of its image: places in both, some millions at a time.

        All pairs of a prediction come at once and in order.
        """
        of_image, first = self.truth.counts, self.truth.starts
        owners = self.predicted.owners
        ends = np.cumsum(of_image[owners])
        low = 0
        while low < len(owners):
            done = ends[low - 1] if low else 0
            high = max(low + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right")))
            counts = of_image[owners[low:high]]
            begins = np.cumsum(counts) - counts
            within = np.arange(counts.sum()) - np.repeat(begins, counts)
            faces = np.repeat(first[owners[low:high]], counts) + within
            yield np.repeat(np.arange(low, high), counts), faces
            low = high


def compare(truth: pa.Table, predicted: pa.Table, labels: Collection[str] = ()) -> Comparison:
    """Lay two tables of `FACES_SCHEMA` side by side, image by image.

    Args:
        truth: The true faces.
        predicted: Boxes and candidates to judge.
        labels: Take only boxes with one of these; all where empty.

    Raises:
        InputError: A score that is no number from 0 to 1, or an image whose two sizes differ.
    """
    truth = _not_failed(truth)
    image_ids = _one(truth["image_id"])
    there = pc.is_in(predicted["image_id"], value_set=image_ids)
    unknown = len(predicted) - (pc.sum(there).as_py() or 0)
    known = predicted.filter(there)
    met = _not_failed(known)
    places = pc.index_in(_one(met["image_id"]), value_set=image_ids).to_numpy().astype(np.int64)
    boxes, candidates = (_flat(met, name, labels) for name in ("boxes", "candidates"))
    certain = pc.equal(met["status"], "reviewed").to_numpy()
    scores = np.where(certain[boxes.rows], 1.0, boxes.scores)
    doubtful = ~certain[candidates.rows]
    threshold = min(_stated_threshold(predicted), float(scores.min(initial=1)))
    return Comparison(
        image_ids,
        _sizes(truth, met, places),
        _boxed(_flat(truth, "boxes", labels), len(truth), None, by_score=False),
        _boxed(
            _Flat(
                np.concatenate([boxes.rows, candidates.rows[doubtful]]),
                np.concatenate([boxes.boxes_xyxy, candidates.boxes_xyxy[doubtful]]),
                np.concatenate([scores, candidates.scores[doubtful]]),
            ),
            len(truth),
            places,
            by_score=True,
        ),
        threshold,
        missing=len(truth) - len(known),
        failed=len(known) - len(met),
        unknown=unknown,
    )


@dataclass(frozen=True, eq=False)
class _Flat:
    """A column of boxes: the row each is of, its sides and its score."""

    rows: Places
    boxes_xyxy: Floats
    scores: Floats


def _flat(table: pa.Table, name: str, labels: Collection[str]) -> _Flat:
    column = _one(table[name])
    boxes = pc.list_flatten(column)
    rows = pc.list_parent_indices(column).to_numpy().astype(np.int64)
    sides = [pc.struct_field(boxes, side).to_numpy(zero_copy_only=False) for side in _SIDES]
    scores = pc.fill_null(pc.struct_field(boxes, "score"), 1.0).to_numpy(zero_copy_only=False).astype(np.float64)
    good = (scores >= 0) & (scores <= 1)
    if not good.all():
        place = int(np.argmin(good))
        image_id = one_line(repr(table["image_id"][int(rows[place])].as_py()))
        raise InputError(f"{image_id}: {name}: score: expected a number from 0 to 1, got {scores[place]}")
    flat = _Flat(rows, np.stack(sides, axis=1).astype(np.float64).reshape(-1, 4), scores)
    if not labels:
        return flat
    named = pc.fill_null(pc.struct_field(boxes, "label"), "face")
    chosen = pc.is_in(named, value_set=pa.array(list(labels), pa.string())).to_numpy(zero_copy_only=False)
    return _Flat(flat.rows[chosen], flat.boxes_xyxy[chosen], flat.scores[chosen])


def _boxed(flat: _Flat, images: int, places: Places | None, by_score: bool) -> Boxed:
    """The boxes in the order of the images, which are `places` of the rows."""
    owners = flat.rows if places is None else places[flat.rows]
    order = np.lexsort((-flat.scores, owners)) if by_score else np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=images).astype(np.int64)
    return Boxed(counts, flat.boxes_xyxy[order], flat.scores[order])


def _sizes(truth: pa.Table, met: pa.Table, places: Places) -> NDArray[np.int64]:
    sizes = _known_sizes(truth)
    other = np.zeros_like(sizes)
    other[places] = _known_sizes(met)
    differ = ((sizes > 0).all(axis=1) & (other > 0).all(axis=1)) & (sizes != other).any(axis=1)
    if differ.any():
        row = int(np.argmax(differ))
        expected, got = (" x ".join(map(str, wh[row].tolist())) for wh in (sizes, other))
        image_id = one_line(repr(truth["image_id"][row].as_py()))
        raise InputError(f"{image_id}: size: expected {expected} as in the truth, got {got} in the prediction")
    return np.asarray(np.where((sizes > 0).all(axis=1, keepdims=True), sizes, other), np.int64)


def _known_sizes(table: pa.Table) -> NDArray[np.int64]:
    sides = [pc.fill_null(_one(table[side]), 0).to_numpy().astype(np.int64) for side in ("width", "height")]
    return np.asarray(np.maximum(np.stack(sides, axis=1), 0), np.int64)


def _stated_threshold(table: pa.Table) -> float:
    """The detector's threshold as the table's metadata tell it; 1 where they do not."""
    stated = (table.schema.metadata or {}).get(b"unface.threshold", b"1")
    try:
        number = float(stated)
    except ValueError:
        return 1.0
    return number if 0 <= number <= 1 else 1.0


def _not_failed(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["status"], "failed"))


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
