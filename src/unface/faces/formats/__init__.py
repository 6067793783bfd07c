"""Annotations of other tools: one file a format, read into and written from the table of faces."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from unface.errors import InputError, one_line
from unface.faces.formats.annotated import Format
from unface.faces.formats.pictures import Pictures
from unface.faces.formats.reading import Reading, read_table
from unface.faces.formats.writing import write_table

FORMATS: Mapping[str, str] = {
    "imagenet": "unface.faces.formats.imagenet",
    "labelstudio": "unface.faces.formats.labelstudio",
    "coco": "unface.faces.formats.coco",
    "fiftyone": "unface.faces.formats.fiftyone",
    "rekognition": "unface.faces.formats.rekognition",
    "cvat": "unface.faces.formats.cvat",
    "voc": "unface.faces.formats.voc",
    "openimages": "unface.faces.formats.openimages",
    "via": "unface.faces.formats.via",
    "csv": "unface.faces.formats.table",
    "huggingface": "unface.faces.formats.huggingface",
    "yolo": "unface.faces.formats.yolo",
    "wider": "unface.faces.formats.wider",
}
"""Name to the module whose `FORMAT` it is, in the order in which they are tried when guessing."""

NATIVE = "faces"
"""The name of our own table, `faces.parquet`."""

_HEAD_BYTES = 1 << 16


def load_format(name: str) -> Format:
    """A format by its name; InputError lists the choices."""
    if name not in FORMATS:
        raise InputError(f"format {one_line(repr(name))}: expected one of {NATIVE}, {', '.join(FORMATS)}")
    found: Format = import_module(FORMATS[name]).FORMAT
    return found


def guess_format(path: Path) -> str:
    """The format of a file or folder, by its content; `faces` for our own table.

    Raises:
        InputError: Nothing there, or no format known.
    """
    if not path.exists():
        raise InputError(f"{one_line(str(path))}: expected annotations, found nothing there")
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    is_parquet = head.startswith(b"PAR1")
    for name in ("huggingface",) if is_parquet else FORMATS:
        if load_format(name).matches(path, head):
            return name
    if is_parquet:
        return NATIVE
    raise InputError(f"{one_line(str(path))}: expected annotations in a known format; name it with --from")


def guess_target(path: Path) -> str:
    """The format to write, by the name; InputError where that does not say it."""
    if path.suffix == ".parquet":
        return NATIVE
    for name in FORMATS:
        if load_format(name).is_named(path.name):
            return name
    raise InputError(f"{one_line(path.name)}: expected a name that says the format; name it with --to")


__all__ = [
    "FORMATS",
    "NATIVE",
    "Format",
    "Pictures",
    "Reading",
    "guess_format",
    "guess_target",
    "load_format",
    "read_table",
    "write_table",
]
