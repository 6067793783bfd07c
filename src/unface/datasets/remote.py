"""A dataset of image files at a URL."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unface.datasets.dataset import MAX_FILE_BYTES, Entry, Part, Survey
from unface.datasets.folder import Folder, FolderSink, parts_of
from unface.datasets.storage import Storage
from unface.errors import ImageError, InputError, one_line
from unface.images import SUFFIXES


@dataclass(frozen=True)
class RemoteFolder:
    """Image files below a URL, read one by one."""

    storage: Storage
    kind = "folder"

    @property
    def root(self) -> str:
        """The URL."""
        return self.storage.root

    def files(self) -> dict[str, str]:
        """Every file below the root, and a stamp that changes with its content."""
        return self.storage.files()

    def survey(self) -> Survey:
        """List everything below the URL once; files without an image suffix are counted, never published."""
        images: list[tuple[str, str]] = []
        refused: list[Entry] = []
        others: Counter[str] = Counter()
        for name, stamp in sorted(self.storage.files().items()):
            path = PurePosixPath(name)
            if path.suffix.lower() not in SUFFIXES:
                others[path.suffix.lower()] += 1
            elif ".." in path.parts:
                refused.append(Entry(one_line(name), "expected a name below the root"))
            else:
                images.append((name, stamp))
        return Survey(tuple(parts_of(images)), len(images), tuple(refused), dict(sorted(others.items())))

    def entries(self, part: Part) -> Iterator[Entry]:
        """The images of a part in order."""
        return map(Entry, part.images or ())

    def has_part(self, part: Part) -> bool:
        """Images lie by themselves."""
        return True

    def read(self, image_id: str) -> bytes:
        """A file's bytes."""
        try:
            data = self.storage.read(image_id, MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ImageError(f"expected a readable file: {error.strerror or one_line(error)}") from None
        if len(data) > MAX_FILE_BYTES:
            raise ImageError(f"expected at most {MAX_FILE_BYTES} bytes in a file, got more")
        return data

    def path_of(self, image_id: str) -> Path:
        """None has a local file."""
        raise InputError(f"link: expected a local folder of images, got {one_line(self.root)}")

    def has(self, image_id: str) -> bool:
        """Whether a file lies there."""
        try:
            self.storage.read(image_id, 1)
        except OSError:
            return False
        return True

    def published(self, folder: Path) -> Folder:
        """What a sink wrote there."""
        return Folder(folder.resolve())

    def sink(self, folder: Path, parts_dir: Path) -> FolderSink:
        """A local folder of files of the same names."""
        return FolderSink(folder, parts_dir)
