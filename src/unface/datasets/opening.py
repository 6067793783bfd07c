"""Open what a user names: a folder, an archive, a pattern of archives, a URL."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from unface.datasets.dataset import Dataset
from unface.datasets.folder import Folder
from unface.datasets.parquet import SUFFIX as PARQUET
from unface.datasets.parquet import ParquetDataset
from unface.datasets.remote import RemoteFolder
from unface.datasets.storage import Storage, is_url
from unface.datasets.tar import SUFFIX as TAR
from unface.datasets.tar import WebDataset
from unface.errors import InputError, one_line
from unface.images import SUFFIXES

MOST_NAMES = 1_000_000
"""A pattern that stands for more archives is refused."""

_NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
_KINDS: dict[str, Callable[[Storage, tuple[str, ...] | None], Dataset]] = {TAR: WebDataset, PARQUET: ParquetDataset}


def open_dataset(place: str | Path) -> Dataset:
    """Open a dataset.

    Args:
        place: A folder of images, of tar archives (WebDataset) or of Parquet files; one such archive; a pattern as
            WebDataset has it, such as `shards-{00000..01023}.tar`; or a URL of any of these. What lies in a folder
            decides: images before archives, tar before Parquet.

    Raises:
        InputError: There is no dataset.
    """
    name = str(place)
    base, _, last = name.rpartition("/")
    suffix = PurePosixPath(last).suffix.lower()
    if suffix in _KINDS and (is_url(name) or not Path(name).is_dir()):
        names = tuple(expand(last))
        at = base if is_url(name) else str(_root(Path(name).parent))
        return _KINDS[suffix](Storage(at), names)
    storage = Storage(name.rstrip("/") if is_url(name) else str(_root(Path(name))))
    kinds = _found(storage)
    if kinds & SUFFIXES or not kinds & set(_KINDS):
        return RemoteFolder(storage) if is_url(name) else Folder(Path(storage.root))
    return WebDataset(storage) if TAR in kinds else ParquetDataset(storage)


def archive_of(folder: Path, image_id: str) -> Dataset | None:
    """The dataset of archives in a folder to which an image belongs; None if the image is a file of its own."""
    for suffix, kind in _KINDS.items():
        name, separator, _ = image_id.lower().partition(f"{suffix}/")
        if separator and (folder / image_id[: len(name) + len(suffix)]).is_file():
            return kind(Storage(str(folder.resolve())), None)
    return None


def expand(name: str) -> Iterator[str]:
    """The names that a pattern with `{000..999}` stands for.

    >>> list(expand("a-{08..10}.tar"))
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    match = _NUMBERS.search(name)
    if match is None:
        yield name
        return
    first, last = int(match[1]), int(match[2])
    if last < first or last - first >= MOST_NAMES:
        raise InputError(f"{one_line(name)}: expected a range of 1 to {MOST_NAMES} numbers, got {match[0]}")
    for number in range(first, last + 1):
        yield from expand(f"{name[: match.start()]}{number:0{len(match[1])}d}{name[match.end() :]}")


def _found(storage: Storage) -> set[str]:
    """Suffixes that occur; the search of a folder ends with the first image."""
    if is_url(storage.root):
        return {PurePosixPath(name).suffix.lower() for name in storage.files()}
    found = set[str]()
    for _, _, names in os.walk(storage.root):
        found |= {PurePosixPath(name).suffix.lower() for name in names if not name.startswith(".")}
        if found & SUFFIXES:
            break
    return found


def _root(path: Path) -> Path:
    try:
        root = path.resolve(strict=True)
    except FileNotFoundError:
        raise InputError(f"{one_line(str(path))}: expected a folder of images, found nothing there") from None
    except (OSError, RuntimeError) as error:
        raise InputError(f"{one_line(str(path))}: expected a folder of images: {one_line(error)}") from None
    if not root.is_dir():
        raise InputError(f"{one_line(str(path))}: expected a folder of images, got a file")
    return root
