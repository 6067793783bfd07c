"""From a checked table to a format: sizes, orientation, what the format cannot say, and no half-written output."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from unface.boxes import orient
from unface.errors import InputError, one_line
from unface.faces.formats.annotated import FACE, AnnotatedImages, Format
from unface.faces.formats.pictures import Pictures
from unface.faces.table import FACES_SCHEMA, FaceRow, face_rows, faces_table

_BACK = {6: 8, 8: 6}
"""The orientation that undoes another; the others undo themselves."""


def write_table(
    path: Path,
    table: pa.Table,
    format_name: str,
    target: Format,
    pictures: Pictures | None = None,
    stored: bool = False,
) -> Counter[str]:
    """Write a table of `FACES_SCHEMA` in a format; the counts say what the format cannot hold.

    Images that failed are left out: nobody has looked at them.

    Args:
        path: A file, replaced when the new one is whole, or a folder that is not there or empty.
        table: What to write.
        format_name: Its name, which as a source of boxes says nothing new.
        target: The format.
        pictures: The dataset, where sizes are lacking or boxes are to be turned.
        stored: Write pixels as stored, EXIF orientation not applied.

    Raises:
        InputError: A size that is needed and not known, a name that the format cannot hold, or two images of one name.
    """
    lost = _lost(table, format_name, target)
    table = table.filter(pc.not_equal(table["status"], "failed"))
    if stored or (target.needs_size and not _has_sizes(table)):
        table = _with_sizes(path, table, pictures, stored)
    with _whole(path, target.is_folder) as part:
        try:
            target.write(part, AnnotatedImages(table))
        except (ValueError, UnicodeEncodeError) as error:
            raise InputError(f"{path}: {one_line(error)}") from None
    return lost


def _lost(table: pa.Table, format_name: str, target: Format) -> Counter[str]:
    """What the format cannot say, counted."""
    failed = pc.sum(pc.equal(table["status"], "failed")).as_py() or 0
    lost = Counter({"images that failed": failed})
    table = table.filter(pc.not_equal(table["status"], "failed"))
    boxes = pc.list_flatten(table["boxes"])
    own = pa.array([format_name, "unknown", ""])
    kinds = {
        "score": ("scores of boxes", pc.not_equal(pc.fill_null(pc.struct_field(boxes, "score"), 1.0), 1.0)),
        "label": ("labels of boxes", pc.not_equal(pc.fill_null(pc.struct_field(boxes, "label"), FACE), FACE)),
        "source": (
            "sources of boxes",
            pc.invert(pc.is_in(pc.fill_null(pc.struct_field(boxes, "source"), ""), value_set=own)),
        ),
        "status": ("marks that an image was reviewed", pc.equal(table["status"], "reviewed")),
        "size": ("sizes of images", pc.greater(pc.fill_null(table["width"], 0), 0)),
        "empty": ("images without faces", pc.equal(pc.fill_null(pc.list_value_length(table["boxes"]), 0), 0)),
        "candidates": (
            "images with candidates (boxes below the threshold)",
            pc.greater(pc.fill_null(pc.list_value_length(table["candidates"]), 0), 0),
        ),
    }
    for kind, (what, lacking) in kinds.items():
        if kind not in target.holds:
            lost[what] = pc.sum(lacking).as_py() or 0
    return +lost


def _has_sizes(table: pa.Table) -> bool:
    known = pc.and_(pc.greater(table["width"], 0), pc.greater(table["height"], 0))
    return bool(pc.all(pc.fill_null(known, False)).as_py()) if len(table) else True


def _with_sizes(path: Path, table: pa.Table, pictures: Pictures | None, stored: bool) -> pa.Table:
    """The table with the sizes that it lacked, in pixels as stored if so asked."""

    def rows() -> Iterator[FaceRow]:
        for row in face_rows(table):
            if not stored and row.width and row.height:
                yield row
                continue
            image_id = pictures.find(row.image_id, base_names=False) if pictures else None
            if pictures is None or image_id is None:
                reason = "give the images with --images" if pictures is None else "the dataset has no such image"
                raise InputError(f"{path}: {one_line(row.image_id)}: size: expected to know it; {reason}")
            header = pictures.header(image_id)
            width, height = header.upright_size
            if row.width and (row.width, row.height) != (width, height):
                raise InputError(
                    f"{path}: {one_line(row.image_id)}: size: expected {width} x {height} as the image has, got "
                    f"{row.width} x {row.height}"
                )
            if stored:
                back = _BACK.get(header.orientation, header.orientation)
                turned = orient(row.faces.boxes_xyxy, width, height, back)
                row = replace(row, faces=replace(row.faces, boxes_xyxy=turned))
                width, height = header.width, header.height
            yield replace(row, width=width, height=height)

    return faces_table(rows()) if len(table) else FACES_SCHEMA.empty_table()


@contextmanager
def _whole(path: Path, is_folder: bool) -> Iterator[Path]:
    """A place beside `path` to write to, renamed when whole; nothing is left of it otherwise."""
    if is_folder and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{one_line(str(path))}: expected a folder that is empty or not there, got one with files")
    if not is_folder and path.is_dir():
        raise InputError(f"{one_line(str(path))}: expected a file to write, got a folder")
    part = path.with_name(path.name + ".part")
    try:
        if is_folder:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        yield part
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
