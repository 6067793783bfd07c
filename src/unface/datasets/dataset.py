"""What a dataset is: parts in a fixed order, each a run of images that is read, and written, as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from unface.errors import ImageError, one_line

MAX_FILE_BYTES = 1 << 30
"""A larger file is refused rather than read into memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of a dataset, or what looks like one, or could hold some, and is not read.

    Attributes:
        image_id: POSIX path below the root; printable where it is refused.
        refused: Why it is not read; empty for an image.
    """

    image_id: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of a dataset.

    Attributes:
        name: Of an archive its path below the root, else empty.
        stamp: Changes when the content does.
        images: Ids of its images, where they are known without opening it.
    """

    name: str
    stamp: str
    images: tuple[str, ...] | None = None


class Sink(Protocol):
    """Where a dataset of some kind is written: the images of a part in the dataset's order, part by part."""

    @property
    def root(self) -> Path:
        """The folder that it is written to."""

    def open(self) -> None:
        """Make the folders."""

    def clashes(self, parts: Sequence[Part]) -> set[str]:
        """Images that cannot lie beside each other where this writes."""

    def begin(self, part: Part) -> None:
        """Begin a part; what an interrupted run left of it is done away with."""

    def write(self, image_id: str, data: bytes) -> None:
        """Publish an image; OSError if the disk refuses, and then nothing is published."""

    def link(self, image_id: str, original: Path) -> None:
        """Publish a file as it is, without copying its bytes where the file system can."""

    def remove(self, image_id: str) -> None:
        """Make sure that the image is not published."""

    def remove_part(self, part_name: str) -> None:
        """Make sure that an archive is not published."""

    def finish(self) -> None:
        """End the part: what is not an image is copied, and the whole appears in its place."""

    def close(self) -> None:
        """Remove what interrupted writes left."""


class Dataset(Protocol):
    """A dataset, opened; small and picklable."""

    @property
    def kind(self) -> str:
        """`folder`, `webdataset` or `parquet`."""

    @property
    def root(self) -> Any:
        """Where it is: a folder, or a URL."""

    def files(self) -> dict[str, str]:
        """Every file below the root, of whatever kind, and a stamp that changes with its content."""

    def survey(self) -> "Survey":
        """Look at the whole dataset once, without opening an image or an archive."""

    def entries(self, part: Part) -> Iterator[Entry]:
        """The images of a part in order; InputError where an archive cannot be read."""

    def has_part(self, part: Part) -> bool:
        """Whether the part's archive is there; of images that lie by themselves, always."""

    def read(self, image_id: str) -> bytes:
        """An image's bytes; ImageError where it cannot be read or holds over `MAX_FILE_BYTES`."""

    def path_of(self, image_id: str) -> Path:
        """Where the image's own file is; InputError for images that have none."""

    def has(self, image_id: str) -> bool:
        """Whether anything lies at the image's place."""

    def published(self, folder: Path) -> "Dataset":
        """What a sink wrote there, as a dataset of the same kind."""

    def sink(self, folder: Path, parts_dir: Path) -> Sink:
        """Where a safe copy of the dataset is written; unfinished files lie in `parts_dir`."""


@dataclass(frozen=True)
class Survey:
    """What a dataset holds, as far as it is known without opening an archive.

    Attributes:
        parts: In order.
        images: How many images; None where only opening the archives tells.
        refused: Entries outside archives that are not read.
        others: Counts of files that are neither images nor archives, by suffix; they are not published.
    """

    parts: tuple[Part, ...]
    images: int | None
    refused: tuple[Entry, ...]
    others: Mapping[str, int]


def inside(image_id: str) -> PurePosixPath:
    """The id as a relative path; ImageError if it would leave the root."""
    path = PurePosixPath(image_id)
    if path.is_absolute() or ".." in path.parts or "\0" in image_id or not path.parts:
        raise ImageError(f"image id: expected a path below the dataset's root, got {one_line(image_id)}")
    return path
