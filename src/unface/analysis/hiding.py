"""What boxes hide, at every threshold at once.

Each image is cut along the sides of all its boxes into cells. The best prediction over a cell decides from which
threshold down the cell is hidden, so that one pass tells every face's coverage and the area outside faces for all
thresholds, exactly. Images with thousands of boxes are cut along at most `_LINES` lines a side, sides moved outward.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unface.analysis.comparison import Boxed, Comparison, Floats, Places

NEVER = -np.inf
"""The threshold at which a face is hidden that no prediction hides."""

_LINES = 4000
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Hiding:
    """What the predictions hide, each side of a box moved outward by a fraction of its diagonal.

    Attributes:
        visible: Whether a true face has an area inside its image; others can be neither hidden nor seen, shape (N,).
        coverage: Fraction of each true face that is hidden at one threshold, shape (N,).
        critical: For some fractions of a face, the highest threshold at which so much of it is hidden; `NEVER` where
            none hides it. Shape (N, fractions).
        pieces_px: What each prediction hides outside every true face and outside every better prediction, square
            pixels, shape (P,).
        piece_scores: Their scores, shape (P,).
        piece_owners: Their images' places, shape (P,).
    """

    visible: NDArray[np.bool_]
    coverage: Floats
    critical: Floats
    pieces_px: Floats
    piece_scores: Floats
    piece_owners: Places

    @classmethod
    def of(cls, comparison: Comparison, margin: float, fractions: tuple[float, ...], threshold: float) -> Self:
        """Measure all images.

        Args:
            comparison: Truth and predictions; what lies outside an image of known size is cut off.
            margin: By which fraction of its diagonal each side of a prediction is moved outward.
            fractions: Of a face, for `critical`.
            threshold: For `coverage`.
        """
        truth, predicted = comparison.truth, comparison.predicted
        limits = np.where(comparison.sizes_wh > 0, comparison.sizes_wh, np.inf).astype(np.float64)
        faces = _clipped(truth, truth.boxes_xyxy, limits)
        sizes = predicted.boxes_xyxy[:, 2:] - predicted.boxes_xyxy[:, :2]
        reach = margin * np.hypot(sizes[:, 0], sizes[:, 1])[:, None] * [-1, -1, 1, 1]
        hiding = _clipped(predicted, predicted.boxes_xyxy + reach, limits)
        visible = np.asarray((faces[:, :2] < faces[:, 2:]).all(axis=1))
        coverage = np.zeros(len(faces))
        critical = np.full((len(faces), len(fractions)), NEVER)
        pieces = (hiding[:, 2:] - hiding[:, :2]).clip(0, None).prod(axis=1)
        wanted = np.array(fractions) - _TOLERANCE
        first_face, first_box = truth.starts, predicted.starts
        busy = (predicted.counts > 1) | ((predicted.counts == 1) & (truth.counts > 0))
        for row in np.flatnonzero(busy):
            mine = slice(first_face[row], first_face[row] + truth.counts[row])
            boxes = slice(first_box[row], first_box[row] + predicted.counts[row])
            scores = predicted.scores[boxes]
            cells = _Cells(faces[mine], hiding[boxes])
            pieces[boxes] = cells.outside
            shown = int(np.searchsorted(-scores, -threshold, "right"))
            for place, covered in zip(range(mine.start, mine.stop), cells.covered(), strict=True):
                if covered is not None:
                    coverage[place] = covered[shown - 1] if shown else 0.0
                    enough = np.searchsorted(covered, wanted, "left")
                    hides = enough < len(scores)
                    critical[place, hides] = scores[enough[hides]]
        return cls(visible, np.minimum(coverage, 1.0), critical, pieces, predicted.scores, predicted.owners)


def _clipped(boxed: Boxed, boxes_xyxy: Floats, limits_wh: Floats) -> Floats:
    return np.clip(boxes_xyxy, 0.0, np.tile(limits_wh, 2)[boxed.owners])


class _Cells:
    """One image, cut along the sides of its boxes.

    Attributes:
        outside: What each prediction hides outside the faces and outside all predictions before it, shape (P,).
    """

    def __init__(self, faces_xyxy: Floats, hiding_xyxy: Floats) -> None:
        self._number = len(hiding_xyxy)
        boxes = np.concatenate([faces_xyxy, hiding_xyxy])
        columns, widths = _cut(boxes[:, 0], boxes[:, 2])
        rows, heights = _cut(boxes[:, 1], boxes[:, 3])
        self._areas = heights[:, None] * widths
        self._best = np.full(self._areas.shape, self._number)
        ends = np.stack([rows[0], rows[1], columns[0], columns[1]], axis=1).tolist()
        self._faces, predictions = ends[: len(faces_xyxy)], ends[len(faces_xyxy) :]
        for place in range(self._number - 1, -1, -1):
            top, bottom, left, right = predictions[place]
            self._best[top:bottom, left:right] = place
        bare = self._areas.copy() if len(faces_xyxy) else self._areas
        for top, bottom, left, right in self._faces:
            bare[top:bottom, left:right] = 0
        self.outside = self._by_best(self._best, bare)

    def covered(self) -> list[Floats | None]:
        """Of each face, the fraction that the first 1, 2, … predictions hide, shape (P,); None without area."""
        found: list[Floats | None] = []
        for top, bottom, left, right in self._faces:
            areas = self._areas[top:bottom, left:right]
            total = areas.sum()
            hidden = self._by_best(self._best[top:bottom, left:right], areas)
            found.append(np.cumsum(hidden) / total if total > 0 else None)
        return found

    def _by_best(self, best: Places, areas: Floats) -> Floats:
        sums = np.bincount(best.ravel(), weights=areas.ravel(), minlength=self._number + 1)
        return np.asarray(sums[: self._number], np.float64)


def _cut(low: Floats, high: Floats) -> tuple[tuple[Places, Places], Floats]:
    """Where the sides lie among the lines of one axis, and how far each line is from the next."""
    lines = np.unique(np.concatenate([low, high]))
    if len(lines) > _LINES:
        lines = np.linspace(lines[0], lines[-1], _LINES)
    first = np.searchsorted(lines, low, "right") - 1
    last = np.maximum(np.searchsorted(lines, high, "left"), first)
    return (first, last), np.diff(lines)
