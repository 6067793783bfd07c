"""CVAT for images 1.1, XML: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat.

Boxes are `xtl, ytl, xbr, ybr` in pixels of the upright image, half-open like ours; `rotation` turns one clockwise about
its middle. Of a turned box, a polygon or an ellipse the box around it is taken.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from unface.errors import InputError, one_line
from unface.faces.formats.annotated import Annotated, AnnotatedImages, Box, Format, Notes, known_score
from unface.faces.formats.files import number_of, whole_number_of, xml_elements, xml_text
from unface.faces.formats.shapes import Bounds, around, rotated

_TEXTS = ("score", "source")
_REVIEWED = "reviewed"


def read(path: Path, notes: Notes) -> Iterator[Annotated]:
    """Read one XML file, image by image."""
    elements = xml_elements(path, frozenset({"image", "track"}))
    root = next(elements)
    if root.tag != "annotations":
        raise InputError(f"{path}: expected an element <annotations>, got <{one_line(root.tag)}>")
    for number, image in enumerate(elements, 1):
        place = f"image {number}"
        if image.tag == "track":
            raise InputError(f"{path}: {place}: expected an <image>, got a <track> of a video; export it for images")
        name = image.get("name")
        if not name:
            raise InputError(f"{path}: {place}: name: expected the image's name, got none")
        width, height = (whole_number_of(image.get(side), side, path, place) for side in ("width", "height"))
        boxes: list[Box] = []
        for shape in image:
            if shape.tag in _SHAPES:
                boxes.append(_box(shape, path, f"{place}: {shape.tag} {len(boxes) + 1}"))
            elif shape.tag != "tag":
                notes.count(f"shapes of kind {one_line(shape.tag)}")
        labels = {shape.get("label") for shape in image.iter("tag")}
        status = _REVIEWED if _REVIEWED in labels else None
        yield Annotated(name, boxes, number, (width, height), status)


def _box(shape: Any, path: Path, place: str) -> Box:
    bounds = _SHAPES[shape.tag](shape, path, place)
    texts = {element.get("name"): element.text or "" for element in shape.iter("attribute")}
    score = number_of(texts["score"], "score", path, place) if texts.get("score") else None
    return Box(*bounds, shape.get("label") or "face", score, texts.get("source", ""))


def _rectangle(shape: Any, path: Path, place: str) -> Bounds:
    x0, y0, x1, y1 = (number_of(shape.get(side), side, path, place) for side in ("xtl", "ytl", "xbr", "ybr"))
    degrees = number_of(shape.get("rotation", "0"), "rotation", path, place)
    return rotated((x0, y0, x1, y1), degrees, ((x0 + x1) / 2, (y0 + y1) / 2))


def _ellipse(shape: Any, path: Path, place: str) -> Bounds:
    x, y, rx, ry = (number_of(shape.get(side), side, path, place) for side in ("cx", "cy", "rx", "ry"))
    degrees = number_of(shape.get("rotation", "0"), "rotation", path, place)
    return rotated((x - rx, y - ry, x + rx, y + ry), degrees, (x, y))


def _polygon(shape: Any, path: Path, place: str) -> Bounds:
    points = [point.partition(",") for point in (shape.get("points") or "").split(";")]
    return around([[number_of(number, "points", path, place) for number in (x, y)] for x, _, y in points])


_SHAPES: dict[str, Callable[[Any, Path, str], Bounds]] = {
    "box": _rectangle, "polygon": _polygon, "polyline": _polygon, "ellipse": _ellipse,
}  # fmt: skip


def write(path: Path, images: AnnotatedImages) -> None:
    """Write one file; score and source are attributes of boxes, a tag `reviewed` is a mark of the image."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.write(f"<meta><task><size>{len(images)}</size><labels>")
        for label in images.labels:
            file.write(f"<label><name>{xml_text(label)}</name><type>rectangle</type><attributes>")
            for text in _TEXTS:
                file.write(f"<attribute><name>{text}</name><mutable>False</mutable><input_type>text</input_type>")
                file.write("<default_value></default_value><values></values></attribute>")
            file.write("</attributes></label>")
        file.write(f"<label><name>{_REVIEWED}</name><type>tag</type><attributes></attributes></label>")
        file.write("</labels></task></meta>\n")
        for number, image in enumerate(images):
            file.write(_element(number, image))
        file.write("</annotations>\n")


def _element(number: int, image: Annotated) -> str:
    width, height = image.size_wh or (0, 0)
    tag = f'<tag label="{_REVIEWED}" source="manual"></tag>\n' if image.status == _REVIEWED else ""
    by = "manual" if image.status == _REVIEWED else "auto"
    boxes = "".join(
        f'<box label="{xml_text(box.label)}" source="{by}" occluded="0" xtl="{box.x0!r}" ytl="{box.y0!r}" '
        f'xbr="{box.x1!r}" ybr="{box.y1!r}" z_order="0"><attribute name="score">{known_score(box)!r}</attribute>'
        f'<attribute name="source">{xml_text(box.source)}</attribute></box>\n'
        for box in image.boxes
    )
    name = xml_text(image.image_id)
    return f'<image id="{number}" name="{name}" width="{width}" height="{height}">\n{tag}{boxes}</image>\n'


FORMAT = Format(
    "CVAT for images 1.1",
    read,
    write,
    matches=lambda path, head: b"<annotations>" in head or b"<annotations " in head,
    is_named=lambda name: name.endswith(".xml"),
    holds=frozenset({"score", "label", "source", "status", "size", "empty"}),
    unit="image",
    needs_size=True,
)
