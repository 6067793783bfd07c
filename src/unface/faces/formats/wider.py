"""WIDER FACE ground truth text: http://shuoyang1213.me/WIDERFACE.

An image is its path, the number of its faces, and a line a face: `x y width height blur expression illumination
invalid occlusion pose` in whole pixels. An image without faces has one line of zeros.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from unface.errors import InputError, one_line
from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes
from unface.faces.formats.files import number_of, text_lines, whole_number_of


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read a `…_bbx_gt.txt`."""
    lines = text_lines(path)
    for line, name in lines:
        if not name:
            continue
        count = whole_number_of(_next(lines, path, line, "a number of faces"), "faces", path, f"line {line + 1}")
        boxes = [
            _box(_next(lines, path, line + number, "a face"), path, line + 1 + number)
            for number in range(1, max(count, 1) + 1)
        ]
        yield Annotated(name, boxes if count else [], line)


def _next(lines: Iterator[tuple[int, str]], path: Path, line: int, what: str) -> str:
    try:
        return next(lines)[1]
    except StopIteration:
        raise InputError(f"{path}: line {line + 1}: expected {what}, got the end of the file") from None


def _box(text: str, path: Path, line: int) -> Box:
    words = text.split()
    if len(words) < 4:
        got = one_line(repr(text[:60]))
        raise InputError(f"{path}: line {line}: expected x, y, width, height and six attributes, got {got}")
    x, y, width, height = (
        number_of(word, field, path, f"line {line}")
        for word, field in zip(words, ("x", "y", "width", "height"), strict=False)
    )
    return Box(x, y, x + width, y + height)


def write(path: Path, images: AnnotatedImages) -> None:
    """Write the same layout; boxes grow to whole pixels, because readers of it take no fractions."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for image in images:
            if any(c in image.image_id for c in "\r\n"):
                raise ValueError(f"expected a name of one line, got {image.image_id!r}")
            lines = [_line(box) for box in image.boxes] or ["0 " * 9 + "0"]
            file.write("\n".join([image.image_id, str(len(image.boxes)), *lines]) + "\n")


def _line(box: Box) -> str:
    x, y = math.floor(box.x0), math.floor(box.y0)
    return f"{x} {y} {math.ceil(box.x1) - x} {math.ceil(box.y1) - y} 0 0 0 0 0 0"


def _matches(path: Path, head: bytes) -> bool:
    lines = head.decode("utf-8", "replace").splitlines()[:3]
    return len(lines) == 3 and lines[1].strip().isdigit() and len(lines[2].split()) >= 4


FORMAT = Format(
    "WIDER FACE text",
    read,
    write,
    matches=_matches,
    is_named=lambda name: name.endswith(".txt"),
    holds=frozenset({"empty"}),
    unit="line",
)
