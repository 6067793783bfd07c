"""The images that annotations are of: which one a name means, and how large it is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from unface.errors import ImageError, InputError, one_line
from unface.faces.formats.names import without_suffix
from unface.images import Header, probe


@dataclass(eq=False)
class Pictures:
    """The images of a dataset, known by name; their headers are read when asked for.

    Attributes:
        image_ids: All of them.
        read: From id to a file's bytes; may raise ImageError.
    """

    image_ids: Iterable[str]
    read: Callable[[str], bytes]
    _by_name: dict[str, list[str]] = field(init=False, repr=False)
    _known: set[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._known = set(self.image_ids)
        self._by_name = {}
        for image_id in sorted(self._known):
            name = image_id.rpartition("/")[2]
            for key in {name, without_suffix(name)}:
                self._by_name.setdefault(key, []).append(image_id)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, name: str, base_names: bool) -> str | None:
        """The id that a name means; None if there is no such image.

        It is the image of exactly that id, or else of that id but for the suffix; or else the only one whose id ends
        in the name's path or the other way round, with the suffix or without it; or else, with `base_names`, the only
        one of that base name.

        Raises:
            InputError: Several images fit; the message names two.
        """
        if name in self._known:
            return name
        alike = self._by_name.get(name.rpartition("/")[2], [])
        tests = (
            lambda image_id: without_suffix(image_id) == name,
            lambda image_id: _fits(name, image_id),
            lambda image_id: _fits(name, without_suffix(image_id)),
            lambda _: base_names,
        )
        close = next((found for test in tests if (found := list(filter(test, alike)))), [])
        if len(close) > 1:
            raise InputError(
                f"{one_line(name)}: expected the name of one image, got one that fits "
                f"{one_line(close[0])} and {one_line(close[1])}"
            )
        return close[0] if close else None

    def header(self, image_id: str) -> Header:
        """The header of an image; InputError if it cannot be read."""
        try:
            return probe(self.read(image_id))
        except ImageError as error:
            raise InputError(f"{one_line(image_id)}: size not known: {error}") from None


def _fits(name: str, image_id: str) -> bool:
    """Whether one path ends in the other, part by part."""
    return ("/" + name).endswith("/" + image_id) or ("/" + image_id).endswith("/" + name)
