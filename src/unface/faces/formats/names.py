"""Names of files that stand for images."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from unface.faces.formats.annotated import Annotated


def files_below(root: Path, suffix: str) -> Iterator[Path]:
    """Every file with that suffix below a folder, sorted by path; the `._` files of macOS are left out."""
    for place in sorted(root.rglob(f"*{suffix}")):
        if not place.name.startswith("._") and place.is_file():
            yield place


def without_suffix(path: str) -> str:
    """A path without its last part's suffix.

    >>> without_suffix("a.b/c.d.jpg"), without_suffix("a.b/c"), without_suffix(".jpg")
    ('a.b/c.d', 'a.b/c', '.jpg')
    """
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def distinct(images: Iterable[Annotated], suffix: str) -> Iterator[tuple[Annotated, str]]:
    """Each image and the name of its file: its id with another suffix.

    Raises:
        ValueError: Two images have one such name.
    """
    taken: dict[str, str] = {}
    for image in images:
        name = without_suffix(image.image_id) + suffix
        if name in taken:
            raise ValueError(f"expected one image to a file {name!r}, got {taken[name]!r} and {image.image_id!r}")
        taken[name] = image.image_id
        yield image, name
