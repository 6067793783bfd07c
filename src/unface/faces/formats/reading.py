"""From a format's images to a checked table: names, sizes, orientation, boxes."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unface.boxes import Boxes, orient
from unface.errors import InputError, one_line
from unface.faces.formats.annotated import Annotated, Format
from unface.faces.formats.pictures import Pictures
from unface.faces.table import FACES_SCHEMA, STATUSES, FaceColumns, check_faces

MAX_COORDINATE = float(1 << 24)
"""Beyond it float32 cannot tell neighbouring pixels apart; a larger coordinate is refused."""

_IMAGES_AT_ONCE = 4096
"""Small, so that the garbage collector has little to look at again and again."""

_UNCLEAN = r"\x00|(?:^|/)\.{0,2}(?:/|$)"
"""What is no path below a root: absolute, with an empty, `.` or `..` part, or with a NUL."""


@dataclass(eq=False)
class Tally:
    """What reading left out or changed, by kind."""

    counts: Counter[str] = field(default_factory=Counter)

    def count(self, what: str, number: int = 1) -> None:
        """Count something that was left out or changed."""
        self.counts[what] += number


@dataclass(frozen=True)
class Reading:
    """How annotations are to be taken.

    Attributes:
        path: The file or folder; named in errors.
        format_name: Stands as the source of boxes whose format does not tell it.
        format: The format itself.
        pictures: The dataset that the names are of, if it is at hand.
        stored: Whether the boxes are in pixels as stored, EXIF orientation not applied.
        status: Of images whose format does not tell it.
    """

    path: Path
    format_name: str
    format: Format
    pictures: Pictures | None = None
    stored: bool = False
    status: str = "detected"


def read_table(reading: Reading) -> tuple[pa.Table, Counter[str]]:
    """Read annotations as a table of `FACES_SCHEMA`; the counts say what was left out or changed.

    Boxes without area are left out and counted, because the paper's own release and WIDER FACE have some.

    Raises:
        InputError: Unreadable, an unknown or ambiguous image, a size that is needed and not known, or a box or score
            that cannot be; the message names file, place, image and field.
    """
    tally = Tally()
    images = iter(reading.format.read(reading.path, tally))
    tables = [FACES_SCHEMA.empty_table()]
    while chunk := list(islice(_named(images, reading, tally), _IMAGES_AT_ONCE)):
        tables.append(_table(chunk, reading, tally))
    table = pa.concat_tables(tables).combine_chunks()
    check_faces(reading.path, table)
    return table, +tally.counts


def _named(images: Iterable[Annotated], reading: Reading, tally: Tally) -> Iterator[Annotated]:
    """The images under their ids; those that the dataset does not have are left out."""
    for image in images:
        if reading.pictures is None:
            yield image
            continue
        try:
            image_id = reading.pictures.find(image.image_id, reading.format.base_names)
        except InputError as error:
            raise InputError(f"{_where(reading, image)}: {error}") from None
        if image_id is None:
            tally.count("images that the dataset does not have")
        else:
            yield image._replace(image_id=image_id)


def _table(images: list[Annotated], reading: Reading, tally: Tally) -> pa.Table:
    image_ids = _clean_ids(images, reading)
    frames = [_frame(image, reading) for image in images]
    counts = np.array([len(image.boxes) for image in images], np.int64)
    boxes = [box for image in images for box in image.boxes]
    owners = np.repeat(np.arange(len(images)), counts)
    corners = _in_pixels(_numbers([box[:4] for box in boxes], owners, images, reading), owners, images, frames)
    scores = np.array([1.0 if box.score is None else box.score for box in boxes], np.float64)
    kept = _checked(corners, scores, owners, images, reading, tally)
    places = np.flatnonzero(kept)
    columns = FaceColumns(
        image_ids,
        np.array([frame.upright_wh for frame in frames], np.int32).reshape(-1, 2),
        [image.status or reading.status for image in images],
        np.bincount(owners[kept], minlength=len(images)),
        _upright(corners.astype(np.float32), counts, frames, tally)[kept],
        scores[kept].astype(np.float32),
        [boxes[place].label for place in places],
        [boxes[place].source or reading.format_name for place in places],
    )
    try:
        return columns.table()
    except UnicodeEncodeError as error:
        raise InputError(f"{reading.path}: expected texts in UTF-8, got {one_line(repr(error.object))[:200]}") from None


@dataclass(frozen=True)
class _Frame:
    """What an image's boxes refer to: its size, and how that lies to the upright one."""

    size_wh: tuple[int, int]
    orientation: int = 1

    @property
    def upright_wh(self) -> tuple[int, int]:
        width, height = self.size_wh
        return (height, width) if self.orientation >= 5 else (width, height)


_UNKNOWN = _Frame((0, 0))


def _frame(image: Annotated, reading: Reading) -> _Frame:
    stated = image.size_wh if image.size_wh and all(image.size_wh) else None
    if stated and not all(0 < side < 2**31 for side in stated):
        raise InputError(f"{_where(reading, image)}: size: expected two positive numbers, got {stated}")
    if image.status is not None and image.status not in STATUSES:
        got = one_line(repr(image.status[:40]))
        raise InputError(f"{_where(reading, image)}: status: expected one of {', '.join(STATUSES)}, got {got}")
    if reading.pictures is None:
        if image.relative and not stated and image.boxes:
            raise InputError(f"{_where(reading, image)}: size: expected to know it; give the images with --images")
        return _Frame(stated) if stated else _UNKNOWN
    header = reading.pictures.header(image.image_id)
    upright, turned = _Frame(header.upright_size), _Frame((header.width, header.height), header.orientation)
    for frame in (turned,) if reading.stored else (upright, turned):
        if stated in (None, frame.size_wh):
            return frame
    expected = " x ".join(map(str, (turned if reading.stored else upright).size_wh))
    got = " x ".join(map(str, stated or ()))
    raise InputError(f"{_where(reading, image)}: size: expected {expected} as the image has, got {got}")


def _in_pixels(
    corners: NDArray[np.float64], owners: NDArray[Any], images: list[Annotated], frames: list[_Frame]
) -> NDArray[np.float64]:
    """Fractions of the image's size times that size; pixels as they are."""
    relative = np.array([image.relative for image in images], bool)
    scales = np.array([frame.size_wh * 2 for frame in frames], np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore"):  # infinity is refused later, by name
        return np.where(relative[owners, None], corners * scales[owners], corners)


def _upright(boxes: Boxes, counts: NDArray[np.int64], frames: list[_Frame], tally: Tally) -> Boxes:
    """The boxes, those of images that lie turned upright."""
    boxes, ends = boxes.copy(), np.cumsum(counts)
    for row, frame in enumerate(frames):
        if frame.orientation != 1:
            mine = slice(ends[row] - counts[row], ends[row])
            boxes[mine] = orient(boxes[mine], *frame.size_wh, frame.orientation)
            tally.count("images whose boxes were turned upright")
    return boxes


def _numbers(
    corners: list[tuple[float, float, float, float]], owners: NDArray[Any], images: list[Annotated], reading: Reading
) -> NDArray[np.float64]:
    try:
        return np.array(corners, np.float64).reshape(-1, 4)
    except (OverflowError, ValueError, TypeError):
        for owner, box in zip(owners, corners, strict=True):
            if not all(isinstance(side, int | float) and abs(side) <= MAX_COORDINATE for side in box):
                raise _bad_box(reading, images[owner], box) from None
        raise


def _checked(
    corners: NDArray[np.float64],
    scores: NDArray[np.float64],
    owners: NDArray[Any],
    images: list[Annotated],
    reading: Reading,
    tally: Tally,
) -> NDArray[np.bool_]:
    """Which boxes have an area; InputError where one cannot be."""
    with np.errstate(invalid="ignore"):
        width, height = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    possible = (np.abs(corners) <= MAX_COORDINATE).all(axis=1)
    if not reading.format.skips_turned:
        possible &= (width >= 0) & (height >= 0)
    if not possible.all():
        first = int(np.argmin(possible))
        raise _bad_box(reading, images[owners[first]], corners[first].tolist())
    good = (scores >= 0) & (scores <= 1)
    if not good.all():
        first = int(np.argmin(good))
        raise InputError(
            f"{_where(reading, images[owners[first]])}: score: expected a number from 0 to 1, got {scores[first]}"
        )
    rounded = corners.astype(np.float32)
    kept = np.asarray((rounded[:, 0] < rounded[:, 2]) & (rounded[:, 1] < rounded[:, 3]))
    tally.count("boxes without area", int((~kept).sum()))
    return kept


def _bad_box(reading: Reading, image: Annotated, corners: Iterable[float]) -> InputError:
    sides = ", ".join(f"{side:.6g}" if isinstance(side, float) else str(side)[:20] for side in corners)
    return InputError(
        f"{_where(reading, image)}: box: expected finite numbers below 2^24 and a width and height of at least 0, "
        f"got x0, y0, x1, y1 = {sides}"
    )


def _where(reading: Reading, image: Annotated) -> str:
    place = f"{reading.format.unit} {image.place}" if isinstance(image.place, int) else image.place
    return ": ".join(part for part in (str(reading.path), place, one_line(repr(image.image_id[:200]))) if part)


def _clean_ids(images: list[Annotated], reading: Reading) -> pa.Array:
    try:
        image_ids = pa.array([image.image_id for image in images], pa.string())
    except UnicodeEncodeError as error:
        raise InputError(f"{reading.path}: expected names in UTF-8, got {one_line(repr(error.object))[:200]}") from None
    unclean = pc.index(pc.match_substring_regex(image_ids, _UNCLEAN), True).as_py()
    if unclean >= 0:
        raise InputError(
            f"{_where(reading, images[unclean])}: expected a path below the dataset's root; give --images, so that "
            "the image can be found"
        )
    return image_ids
