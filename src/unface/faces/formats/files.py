"""JSON, XML, CSV and text as the formats read and write them: streamed, and safe against what is meant to harm."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import numpy as np

from unface.errors import InputError, one_line

T = TypeVar("T")

_MAX_DEPTH = 256
_MAX_TEXT_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 18
_QUOTE = ord('"')
_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1
"""What a character adds to the depth."""

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def json_items(path: Path, prefix: str, item_type: type[T], walked: bool = False) -> Iterator[tuple[int, T]]:
    """The items of an array in a JSON file, one at a time, however large the file is.

    Args:
        path: The file.
        prefix: Where the items are, as ijson says it: `item`, or `images.item`.
        item_type: What each has to be, by msgspec's rules; fields that it does not name are ignored.
        walked: Whether this has been through the file before, so that it takes no more memory than it may.

    Yields:
        The item's number, from 1, and the item.

    Raises:
        InputError: Not JSON, or an item of another type; the message names file, record and field.
    """
    import ijson  # type: ignore[import-untyped]

    number = 0
    try:
        with path.open("rb") as file:
            source = file if walked else _Shallow(file, path)
            items = ijson.items(source, prefix, use_float=True, buf_size=_BLOCK_BYTES)
            for number, item in enumerate(items, 1):
                yield number, msgspec.convert(item, item_type)
    except msgspec.ValidationError as error:
        place = f"{prefix.removesuffix('.item')} record {number}" if prefix != "item" else f"record {number}"
        raise InputError(f"{path}: {place}: {_field(error)}") from None
    except (ijson.JSONError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, got {_brief(error)} (after record {number})") from None


@dataclass
class _Shallow:
    """A JSON file that is refused where it would take up the memory.

    ijson's memory grows with the square of the depth, and it holds a text whole, however long.
    """

    file: IO[bytes]
    path: Path
    depth: int = 0
    in_string: bool = False
    text_bytes: int = 0
    rest: bytes = b""

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        if block:
            self._follow(block)
        return block

    def _follow(self, block: bytes) -> None:
        text = (self.rest + block).replace(b"\\\\", b"").replace(b'\\"', b"")
        self.rest = b"\\" if text.endswith(b"\\") else b""
        codes = np.frombuffer(text, np.uint8)
        quotes = codes == _QUOTE
        self.text_bytes = 0 if quotes.any() else self.text_bytes + len(codes)
        if self.in_string and self.text_bytes > _MAX_TEXT_BYTES:
            raise InputError(f"{self.path}: expected texts of at most {_MAX_TEXT_BYTES >> 20} MiB, got a longer one")
        in_string = np.bitwise_xor.accumulate(quotes) ^ self.in_string
        steps = _STEPS[codes]
        steps[in_string] = 0
        depths = self.depth + np.cumsum(steps, dtype=np.int32)
        if len(depths):
            self.depth, self.in_string = int(depths[-1]), bool(in_string[-1])
            if depths.max() > _MAX_DEPTH:
                raise InputError(f"{self.path}: expected JSON nested at most {_MAX_DEPTH} deep, got deeper")


def json_keys(path: Path) -> list[str]:
    """The keys of a JSON file's outermost object; InputError if it is none."""
    import ijson

    keys: list[str] = []
    try:
        with path.open("rb") as file:
            for prefix, event, value in ijson.parse(_Shallow(file, path), buf_size=_BLOCK_BYTES):
                if not keys and not prefix and event not in ("start_map", "map_key", "end_map"):
                    raise InputError(f"{path}: expected a JSON object, got another value")
                if not prefix and event == "map_key":
                    keys.append(value)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected JSON, got {_brief(error)}") from None
    return keys


def require_array(path: Path) -> None:
    """Refuse a JSON file that is not an array."""
    with path.open("rb") as file:
        if not file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            raise InputError(f"{path}: expected a JSON array of images, got something else")


def json_object(path: Path, kind: type[T], data: bytes | None = None, place: str = "") -> T:
    """A small JSON document of a given type; InputError names file and field."""
    named = f"{path}: {place}" if place else f"{path}"
    try:
        return msgspec.json.decode(path.read_bytes() if data is None else data, type=kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{named}: {_field(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{named}: expected JSON, got {_brief(error)}") from None


def write_json_array(file: IO[bytes], records: Iterator[Any]) -> None:
    """Write records as a JSON array, one a line."""
    encode, separator = msgspec.json.Encoder().encode, b"["
    for record in records:
        file.write(separator + b"\n" + encode(record))
        separator = b","
    file.write(b"[]" if separator == b"[" else b"\n]")


def _field(error: msgspec.ValidationError) -> str:
    """Msgspec's "Expected `float`, got `str` - at `$.a[0]`" in our words' order."""
    what, _, where = str(error).partition(" - at ")
    what = what[0].lower() + what[1:]
    return one_line(f"{where.strip('`').removeprefix('$').removeprefix('.')}: {what}" if where else what)[:300]


def _brief(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return one_line(lines[0])[:200]


def xml_elements(path: Path, names: frozenset[str]) -> Iterator[Any]:
    """The elements of these names, each when it is whole, and the root when it begins; they are cleared afterwards.

    A document type or an entity, of which attacks are made, is refused.

    Raises:
        InputError: Not whole XML, or with a document type.
    """
    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.ElementTree import ParseError, iterparse  # type: ignore[import-untyped]

    try:
        events = iterparse(path, events=("start", "end"), forbid_dtd=True)
        _, root = next(events)
        yield root
        for event, element in events:
            if event == "end" and element.tag in names:
                yield element
                element.clear()
            if event == "end" and len(root) > 256:
                root.clear()
    except DefusedXmlException as error:
        kind = type(error).__name__.removesuffix("Forbidden")
        raise InputError(f"{path}: expected XML without document type and entities, got a {kind}") from None
    except (ParseError, StopIteration, LookupError, ValueError) as error:  # LookupError: an unknown encoding
        raise InputError(f"{path}: expected whole XML, got {_brief(error)}") from None


def xml_text(text: str) -> str:
    """Text as it stands in an XML element or between double quotes; ValueError where XML cannot hold it."""
    if bad := _NO_XML.search(text):
        raise ValueError(f"expected a name that XML can hold, got {bad[0]!r} in {text!r}")
    return "".join(_XML_ESCAPES.get(c, c) for c in text)


def number_of(text: str | None, field: str, path: Path, place: str) -> float:
    """A number in a text; InputError names file, place and field."""
    try:
        if text is None or "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        got = "nothing" if text is None else one_line(repr(text[:40]))
        raise InputError(f"{path}: {place}: {field}: expected a number, got {got}") from None


def whole_number_of(text: str | None, field: str, path: Path, place: str) -> int:
    """A whole number of at least 0 in a text; InputError names file, place and field."""
    number = number_of(text, field, path, place)
    if not 0 <= number < 2**31 or number != int(number):
        raise InputError(f"{path}: {place}: {field}: expected a whole number of at least 0, got {text!r}")
    return int(number)


def csv_rows(path: Path, required: Mapping[str, Any] | frozenset[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header: line number and cells by column name.

    Raises:
        InputError: Not UTF-8 text, a column missing, or a row with too many or too few cells.
    """
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if missing := sorted(set(required) - set(header)):
                raise InputError(f"{path}: line 1: expected a column {missing[0]!r}, got {one_line(str(header))[:200]}")
            for cells in reader:
                line = reader.line_num
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InputError(f"{path}: line {line}: expected {len(header)} cells, got {len(cells)}")
                yield line, dict(zip(header, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: line {line}: expected CSV, got {_brief(error)}") from None


def csv_cell(text: str) -> str:
    """A text that spreadsheets do not run as a formula: marked with an apostrophe where it begins like one."""
    return "'" + text if _FORMULA.match(text) else text


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_cell` made."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def plain_cell(text: str) -> str:
    """A text for a CSV file whose readers want names as they are; ValueError where a spreadsheet would run it."""
    if _FORMULA.match(text):
        raise ValueError(f"expected a name that spreadsheets do not take for a formula, got {text!r}")
    return text


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 text file with their numbers; only a line feed, with or without a return, ends a line."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for line, text in enumerate(file, 1):
                yield line, text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: line {line + 1}: expected UTF-8 text, got {_brief(error)}") from None
