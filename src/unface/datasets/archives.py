"""What datasets of archives have in common: each archive is a part, read forward and written as a whole."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from unface.datasets.dataset import Entry, Part, Survey, inside
from unface.datasets.storage import Storage
from unface.errors import ImageError, InputError


@dataclass(frozen=True)
class Archives(ABC):
    """Archives of one kind below a root.

    Attributes:
        storage: Where they are.
        names: Their paths below the root, where only some are meant; None for all.
    """

    storage: Storage
    names: tuple[str, ...] | None = None
    kind: ClassVar[str]
    suffix: ClassVar[str]

    @property
    def root(self) -> Any:
        """Where the archives are."""
        return self.storage.root

    def files(self) -> dict[str, str]:
        """Every file below the root, and a stamp that changes with its content."""
        return self.storage.files()

    def survey(self) -> Survey:
        """One part an archive, sorted by name."""
        parts, others = self.storage.archives(self.suffix, self.names)
        return Survey(parts, None, (), others)

    def entries(self, part: Part) -> Iterator[Entry]:
        """The images of an archive in order, and what is refused."""
        return self._entries(part.name) if part.images is None else map(Entry, part.images)

    def has_part(self, part: Part) -> bool:
        """Whether the archive is there."""
        return part.images is not None or bool(self.storage.stamp(part.name))

    @abstractmethod
    def read(self, image_id: str) -> bytes:
        """An image's bytes; ImageError where it cannot be read or holds over `MAX_FILE_BYTES`."""

    def has(self, image_id: str) -> bool:
        """Whether an archive, or a file beside them, holds it."""
        try:
            return self._holds(image_id)
        except InputError:
            return False
        except ImageError:  # in no archive
            return bool(self.storage.stamp(image_id))

    def path_of(self, image_id: str) -> Path:
        """None has a file of its own."""
        raise InputError(
            f"link: expected a folder of images, got {self.suffix} files, whose images have none of their own"
        )

    def published(self, folder: Path) -> Self:
        """What a sink wrote there."""
        return type(self)(Storage(str(folder.resolve())))

    @abstractmethod
    def sink(self, folder: Path, parts_dir: Path) -> "ArchiveSink":
        """Archives of the same names."""

    @abstractmethod
    def _entries(self, name: str) -> Iterator[Entry]:
        """The images of an archive in order, and what is refused."""

    @abstractmethod
    def _holds(self, image_id: str) -> bool:
        """Whether an archive holds it; ImageError if no archive could."""


class Writing(Protocol):
    """An archive that is being written."""

    def put(self, image_id: str, data: bytes) -> None:
        """Take an image; what stands before it is written now."""

    def close(self) -> None:
        """Write the rest."""


@dataclass
class ArchiveSink(ABC):
    """Writes archives of the same names, each beside its place."""

    root: Path
    parts_dir: Path
    _writing: tuple[Writing, Path, Path] | None = field(default=None, repr=False)

    def open(self) -> None:
        """Make the folders."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.parts_dir.mkdir(parents=True, exist_ok=True)

    def clashes(self, parts: Sequence[Part]) -> set[str]:
        """Names inside an archive never do."""
        return set()

    def begin(self, part: Part) -> None:
        """Open the archive to write, beside its place; what an earlier run published there goes."""
        self.remove_part(part.name)
        beside = self.parts_dir / hashlib.sha256(part.name.encode()).hexdigest()
        self._writing = self._begun(part.name, beside), beside, self.root / inside(part.name)

    def write(self, image_id: str, data: bytes) -> None:
        """Publish an image; all that stands before it is written now."""
        assert self._writing is not None
        self._writing[0].put(image_id, data)

    def link(self, image_id: str, original: Path) -> None:
        """Nothing in an archive can be linked."""
        raise InputError("link: expected a folder of images, got archives")

    def remove(self, image_id: str) -> None:  # noqa: B027
        """Nothing to remove: what is not written is not there."""

    def finish(self) -> None:
        """Write the rest, and publish the archive."""
        assert self._writing is not None
        writing, beside, place = self._writing
        writing.close()
        place.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(place)
        self._writing = None

    def remove_part(self, part_name: str) -> None:
        """Make sure that an archive is not published."""
        (self.root / inside(part_name)).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what interrupted writes left."""
        for part in self.parts_dir.iterdir():
            part.unlink()
        self.parts_dir.rmdir()

    @abstractmethod
    def _begun(self, name: str, beside: Path) -> Writing:
        """Begin to write the archive of this name to `beside`."""
