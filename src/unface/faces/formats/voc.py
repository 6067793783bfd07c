"""Pascal VOC XML, one file an image: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc_07-Jun-2012.pdf.

VOC counts pixels from 1 and its `xmax`, `ymax` are the last pixel inside: xmin = x0 + 1, ymin = y0 + 1, xmax = x1,
ymax = y1. Fractions of a pixel are written as they are.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from unface.errors import InputError, one_line
from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes
from unface.faces.formats.files import number_of, whole_number_of, xml_elements, xml_text
from unface.faces.formats.names import distinct, files_below

_FOLDER = "Annotations"


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one XML file, or every one below a folder (or below its `Annotations`)."""
    if path.is_file():
        yield _annotated(path, PurePosixPath(path.name))
        return
    root = path / _FOLDER if (path / _FOLDER).is_dir() else path
    for file in files_below(root, ".xml"):
        yield _annotated(file, PurePosixPath(file.relative_to(root).as_posix()))


def _annotated(path: Path, place: PurePosixPath) -> Annotated:
    elements = xml_elements(path, frozenset({"annotation"}))
    root = next(elements)
    if root.tag != "annotation":
        raise InputError(f"{path}: expected an element <annotation>, got <{one_line(root.tag)}>")
    whole = next(elements)
    name = (whole.findtext("filename") or place.stem).rpartition("/")[2]
    size = whole.find("size")
    size_wh = None
    if size is not None:
        width, height = (whole_number_of(size.findtext(side), side, path, "size") for side in ("width", "height"))
        size_wh = (width, height)
    boxes = [_box(element, path, number) for number, element in enumerate(whole.iter("object"), 1)]
    return Annotated((place.parent / name).as_posix(), boxes, str(place), size_wh)


def _box(element: Any, path: Path, number: int) -> Box:
    place = f"object {number}"
    bounds = element.find("bndbox")
    if bounds is None:
        raise InputError(f"{path}: {place}: expected a bndbox, got none")
    x0, y0, x1, y1 = (number_of(bounds.findtext(side), side, path, place) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Box(x0 - 1, y0 - 1, x1, y1, element.findtext("name") or "face")


def write(path: Path, images: AnnotatedImages) -> None:
    """Write `Annotations/<image id without its suffix>.xml`; ValueError where two images have one such name."""
    for image, name in distinct(images, ".xml"):
        file = path / _FOLDER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_document(image), encoding="utf-8")


def _document(image: Annotated) -> str:
    place, (width, height) = PurePosixPath(image.image_id), image.size_wh or (0, 0)
    objects = "".join(
        f"  <object>\n    <name>{xml_text(box.label)}</name>\n    <pose>Unspecified</pose>\n"
        f"    <truncated>0</truncated>\n    <difficult>0</difficult>\n    <bndbox>\n"
        f"      <xmin>{box.x0 + 1!r}</xmin>\n      <ymin>{box.y0 + 1!r}</ymin>\n"
        f"      <xmax>{box.x1!r}</xmax>\n      <ymax>{box.y1!r}</ymax>\n    </bndbox>\n  </object>\n"
        for box in image.boxes
    )
    folder = "" if place.parent == PurePosixPath(".") else place.parent.as_posix()
    return (
        f"<annotation>\n  <folder>{xml_text(folder)}</folder>\n  <filename>{xml_text(place.name)}</filename>\n"
        f"  <size>\n    <width>{width}</width>\n    <height>{height}</height>\n    <depth>3</depth>\n  </size>\n"
        f"  <segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _matches(path: Path, head: bytes) -> bool:
    if path.is_dir():
        root = path / _FOLDER if (path / _FOLDER).is_dir() else path
        return next(iter(files_below(root, ".xml")), None) is not None
    return b"<annotation>" in head or b"<annotation " in head


FORMAT = Format(
    "Pascal VOC XML",
    read,
    write,
    matches=_matches,
    is_named=lambda name: "voc" in name.lower(),
    holds=frozenset({"label", "size", "empty"}),
    is_folder=True,
    needs_size=True,
    base_names=True,
)
