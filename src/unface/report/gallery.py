"""Which images the page shows, and what is drawn over them."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.boxes import Boxes
from unface.errors import ImageError
from unface.faces.table import FaceRow, face_rows
from unface.report.findings import is_definite
from unface.report.folder import Folder
from unface.report.thumbnails import thumbnail_uri

MAX_PICTURE_CHARS = 4_600_000
"""All thumbnails together, so that the page stays below 6 MB."""

MAX_OUTLINES = 400
"""Boxes drawn over one thumbnail."""

GROUPS = (
    ("flagged", "Flagged by verify"),
    ("most", "Most faces"),
    ("spread", "Images with faces, spread over the classes"),
    ("none", "No face found: look here for missed ones"),
)


@dataclass(frozen=True)
class Tile:
    """One image of the gallery; without `uri`, `reason` says why there is no picture."""

    image_id: str
    faces: int
    width: int
    height: int
    uri: str | None
    reason: str
    face_outline: str
    finding_outline: str
    checks: list[str]


class Group(NamedTuple):
    """Tiles chosen for one reason."""

    title: str
    tiles: list[Tile]


@dataclass(frozen=True)
class Gallery:
    """The chosen tiles by reason, of how many published images, and how many were left out on purpose."""

    groups: list[Group]
    shown: int
    published: int
    withheld: int


@dataclass(frozen=True, eq=False)
class _Images:
    """Images in order of name; every array has one entry per image."""

    rows: NDArray[np.int64]
    faces: NDArray[np.int64]
    flags: NDArray[np.int64]
    classes: NDArray[np.int64]


def make_gallery(folder: Folder, count: int) -> Gallery | None:
    """Choose `count` published images and make their tiles; None where there is no table of faces.

    An image with a definite fault is never shown: it may show a face, and the page outlives the repair.
    """
    if folder.faces is None:
        return None
    images, withheld = _showable(folder)
    chosen = select(images.faces, images.flags, images.classes, count)
    room = MAX_PICTURE_CHARS
    groups = []
    for name, title in GROUPS:
        tiles = []
        for row in face_rows(folder.faces.take(pa.array(images.rows[chosen[name]], pa.int64()))):
            tile = _tile(folder, row, room)
            room -= len(tile.uri or "")
            tiles.append(tile)
        if tiles:
            groups.append(Group(title, tiles))
    return Gallery(groups, sum(len(group.tiles) for group in groups), len(images.rows) + withheld, withheld)


def select(
    faces: NDArray[np.int64], flags: NDArray[np.int64], classes: NDArray[np.int64], count: int
) -> dict[str, NDArray[np.int64]]:
    """Choose images by a fixed rule.

    Up to 40 % are flagged ones, most findings first; 20 % have no face; of the rest, half have the most
    faces and half are spread over the classes. What one group cannot fill, the others do.

    Args:
        faces: Faces per image, shape (N,), images in order of name.
        flags: Findings per image, shape (N,).
        classes: Class number per image, shape (N,).
        count: How many to choose.

    Returns:
        For each group's name the places of its images, no image twice.
    """
    by_flags = np.argsort(-flags, kind="stable")[: np.count_nonzero(flags)]
    flagged = by_flags[: math.ceil(0.4 * count)]
    free = np.ones(len(faces), bool)
    free[flagged] = False
    with_faces, without = np.flatnonzero(free & (faces > 0)), np.flatnonzero(free & (faces == 0))
    room = count - len(flagged)
    none = min(len(without), max(math.floor(0.2 * count), room - len(with_faces)))
    some = min(len(with_faces), room - none)
    most = with_faces[np.argsort(-faces[with_faces], kind="stable")][: math.ceil(some / 2)]
    rest = np.setdiff1d(with_faces, most)
    return {
        "flagged": flagged,
        "most": most,
        "spread": rest[spread(classes[rest], some - len(most))],
        "none": without[spread(classes[without], none)],
    }


def spread(classes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places of `count` entries: every class once before any class twice, and evenly within a class."""
    total = len(classes)
    count = min(count, total)
    by_class = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[by_class], prepend=-1))
    sizes = np.diff(starts, append=total)
    position = np.arange(total) - np.repeat(starts, sizes)
    scattered = (position * 0.6180339887498949) % 1  # golden ratio: any few in this order lie evenly
    in_class = by_class[np.lexsort((scattered, classes[by_class]))]
    turns = in_class[np.argsort(position, kind="stable")]
    turn = np.sort(position)
    whole = int(np.searchsorted(turn, turn[count - 1])) if count else 0
    last = turns[whole : np.searchsorted(turn, turn[count - 1], side="right")] if count else turns[:0]
    picked = last[(np.arange(count - whole) * len(last)) // max(count - whole, 1)]
    return np.sort(np.concatenate([turns[:whole], picked]))


def class_names(image_ids: Any) -> Any | None:
    """First folder of each image, dictionary-encoded; None where an image lies in no folder."""
    if not len(image_ids) or not pc.all(pc.match_substring(image_ids, "/")).as_py():
        return None
    return pc.list_element(pc.split_pattern(image_ids, "/", max_splits=1), 0).dictionary_encode()


def _showable(folder: Folder) -> tuple[_Images, int]:
    assert folder.faces is not None
    ids = folder.faces["image_id"].combine_chunks()
    rows = pc.sort_indices(ids).to_numpy()
    shown = pc.not_equal(folder.faces["status"], "failed").to_numpy().copy()
    if folder.published is not None:
        shown &= pc.is_in(ids, value_set=folder.published["image_id"].combine_chunks()).to_numpy(False)
    flags, faulty = _flags(folder, ids)
    counts = pc.fill_null(pc.list_value_length(folder.faces["boxes"]), 0).to_numpy().astype(np.int64)
    names = class_names(ids)
    classes = np.zeros(len(ids), np.int64) if names is None else names.indices.to_numpy().astype(np.int64)
    rows = rows[shown[rows]]
    withheld = int(np.count_nonzero(faulty[rows]))
    rows = rows[~faulty[rows]]
    return _Images(rows.astype(np.int64), counts[rows], flags[rows], classes[rows]), withheld


def _flags(folder: Folder, ids: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Findings per image, and which images have a definite fault."""
    flags, faulty = np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
    if folder.findings is None or folder.verify is None:
        return flags, faulty
    rows = pc.fill_null(pc.index_in(folder.findings["image_id"], value_set=ids), -1).to_numpy()
    known = rows >= 0
    np.add.at(flags, rows[known], 1)
    faulty[rows[known & is_definite(folder.findings)]] = True
    failed = folder.verify["image_id"].filter(pc.equal(folder.verify["status"], "failed"))
    if len(failed):
        faulty |= pc.is_in(ids, value_set=failed.combine_chunks()).to_numpy(False)
    return flags, faulty


def _tile(folder: Folder, row: FaceRow, room: int) -> Tile:
    uri, reason = None, ""
    try:
        uri = thumbnail_uri(folder.path / "images", row.image_id)
        if len(uri) > room:
            uri, reason = None, "left out to keep this page small"
    except ImageError as error:
        reason = str(error)
    flagged, checks = _findings_of(folder, row.image_id)
    return Tile(
        row.image_id,
        len(row.faces),
        row.width,
        row.height,
        uri,
        reason,
        outline(row.faces.boxes_xyxy),
        outline(flagged),
        checks,
    )


def _findings_of(folder: Folder, image_id: str) -> tuple[Boxes, list[str]]:
    if folder.findings is None:
        return np.zeros((0, 4), np.float32), []
    own = folder.findings.filter(pc.equal(folder.findings["image_id"], image_id))
    sides = [pc.fill_null(own[side], np.nan).to_numpy() for side in ("x0", "y0", "x1", "y1")]
    boxes = np.stack(sides, axis=1).astype(np.float32)
    checks = sorted({check for check in own["check"].to_pylist() if check})
    return boxes[np.isfinite(boxes).all(axis=1)], checks


def outline(boxes_xyxy: Boxes) -> str:
    """The boxes as one SVG path in the image's pixels.

    >>> outline(np.array([[1, 2, 4, 6.5]], np.float32))
    'M1 2h3v4.5h-3z'
    """
    return "".join(
        f"M{_short(x0)} {_short(y0)}h{_short(x1 - x0)}v{_short(y1 - y0)}h{_short(x0 - x1)}z"
        for x0, y0, x1, y1 in boxes_xyxy[:MAX_OUTLINES].tolist()
    )


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
