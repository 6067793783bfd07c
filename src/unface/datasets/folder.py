"""A dataset that is a folder tree of image files."""

import hashlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unface.datasets.dataset import MAX_FILE_BYTES, Entry, Part, Survey, inside
from unface.errors import ImageError, InputError, one_line
from unface.images import SUFFIXES

_FICLONE = 0x40049409
"""ioctl of Linux, linux/fs.h: share another file's blocks."""


@dataclass(frozen=True)
class Folder:
    """A folder tree, opened; small and picklable."""

    root: Path
    kind = "folder"

    def survey(self) -> Survey:
        """Walk the tree once.

        Links to files inside the root are read as files. Links that leave the root, links to folders, loops,
        pipes, unreadable folders and names that are not UTF-8 are refused, each with its reason. Names that
        begin with a dot and files without an image suffix are other files: counted, never published.
        """
        images: list[tuple[str, str]] = []
        refused: list[Entry] = []
        others: Counter[str] = Counter()
        for entry in self._files(refused):
            image_id = Path(entry.path).relative_to(self.root).as_posix()
            suffix = PurePosixPath(image_id).suffix.lower()
            linked_folder = entry.is_symlink() and Path(entry.path).is_dir()
            if entry.name.startswith(".") or not (suffix in SUFFIXES or linked_folder):
                others[suffix.encode("utf-8", "backslashreplace").decode()] += 1
                continue
            try:
                images.append((image_id, self._stamp_of(entry, image_id)))
            except ImageError as error:
                refused.append(Entry(one_line(image_id), str(error)))
        images.sort()
        refused.sort(key=lambda entry: entry.image_id)
        return Survey(tuple(parts_of(images)), len(images), tuple(refused), dict(sorted(others.items())))

    def entries(self, part: Part) -> Iterator[Entry]:
        """The images of a part in order."""
        return map(Entry, part.images or ())

    def _files(self, refused: list[Entry]) -> Iterator[os.DirEntry[str]]:
        folders = [self.root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(Path(entry.path))
                        else:
                            yield entry
            except OSError as error:
                if folder == self.root:
                    raise InputError(f"{one_line(str(folder))}: expected a readable folder: {error.strerror}") from None
                name = one_line(folder.relative_to(self.root).as_posix())
                refused.append(Entry(name, f"expected a readable folder: {error.strerror}"))

    def _stamp_of(self, entry: os.DirEntry[str], image_id: str) -> str:
        try:
            image_id.encode()
        except UnicodeEncodeError:
            raise ImageError("file name: expected UTF-8; rename the file") from None
        try:
            if entry.is_symlink() and not Path(entry.path).resolve(strict=True).is_relative_to(self.root):
                raise ImageError("expected a file of the dataset, got a link that leaves it")
            facts = entry.stat()
        except OSError as error:
            raise ImageError(f"expected a readable file, got a broken link: {error.strerror}") from None
        except RuntimeError:
            raise ImageError("expected a readable file, got a loop of links") from None
        if stat.S_ISDIR(facts.st_mode):
            raise ImageError("expected a file or a real folder, got a link to a folder, which is not followed")
        if not stat.S_ISREG(facts.st_mode):
            raise ImageError("expected a regular file, got a pipe, socket or device")
        return _stamp(facts)

    def path_of(self, image_id: str) -> Path:
        """Where the image's file is; ImageError if the id leaves the root."""
        return self.root / inside(image_id)

    def has_part(self, part: Part) -> bool:
        """Images lie by themselves."""
        return True

    def read(self, image_id: str) -> bytes:
        """The file's bytes; ImageError where it cannot be read or holds over `MAX_FILE_BYTES`."""
        try:
            with self.path_of(image_id).open("rb") as file:
                size = os.fstat(file.fileno()).st_size  # asking for more than there is costs as much as reading it
                data = file.read(min(size, MAX_FILE_BYTES) + 1)
        except OSError as error:
            raise ImageError(f"expected a readable file: {error.strerror}") from None
        if len(data) > MAX_FILE_BYTES:
            raise ImageError(f"expected at most {MAX_FILE_BYTES} bytes in a file, got more")
        return data

    def files(self) -> dict[str, str]:
        """Every file below the root, of whatever kind: its path, what is not UTF-8 escaped, and its stamp."""
        found = {}
        for entry in self._files([]):
            facts = entry.stat(follow_symlinks=False)
            path = Path(entry.path).relative_to(self.root).as_posix()
            found[path.encode("utf-8", "backslashreplace").decode()] = _stamp(facts)
        return found

    def has(self, image_id: str) -> bool:
        """Whether anything lies at the image's place."""
        return os.path.lexists(self.root / inside(image_id))

    def published(self, folder: Path) -> "Folder":
        """What a sink wrote there."""
        return Folder(folder.resolve())

    def sink(self, folder: Path, parts_dir: Path) -> "FolderSink":
        """Where a safe copy is written."""
        return FolderSink(folder, parts_dir)


@dataclass(frozen=True)
class FolderSink:
    """Where a folder dataset is written: each file beside its place, renamed when whole."""

    root: Path
    parts_dir: Path

    def open(self) -> None:
        """Make the folders."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.parts_dir.mkdir(parents=True, exist_ok=True)

    def write(self, image_id: str, data: bytes) -> None:
        """Publish an image; OSError if the disk refuses, and then nothing is published."""
        part = self._part(image_id)
        part.write_bytes(data)
        self._publish(part, image_id)

    def link(self, image_id: str, original: Path) -> None:
        """Publish a file as it is, without copying its bytes where the file system can.

        A reflink (a copy that shares blocks until one of the two is written to) where the file system has them, or
        else a hard link (two names of one file), or else, across file systems, a copy.
        """
        part = self._part(image_id)
        part.unlink(missing_ok=True)
        if not _reflink(original, part):
            try:
                os.link(original.resolve(strict=True), part)
            except OSError:
                shutil.copyfile(original, part)
        self._publish(part, image_id)

    def _part(self, image_id: str) -> Path:
        return self.parts_dir / hashlib.sha256(image_id.encode()).hexdigest()

    def _publish(self, part: Path, image_id: str) -> None:
        place = self.root / inside(image_id)
        try:
            part.replace(place)
        except FileNotFoundError:
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)

    def begin(self, part: Part) -> None:
        """Nothing to begin: each image is published by itself."""

    def finish(self) -> None:
        """Nothing to end."""

    def remove(self, image_id: str) -> None:
        """Make sure that the image is not published."""
        (self.root / inside(image_id)).unlink(missing_ok=True)

    def remove_part(self, part_name: str) -> None:
        """There are no archives."""

    def close(self) -> None:
        """Remove what interrupted writes left."""
        for part in self.parts_dir.iterdir():
            part.unlink()
        self.parts_dir.rmdir()

    def clashes(self, parts: Sequence[Part]) -> set[str]:
        """Ids that another one equals but for upper and lower case, if this file system takes them for one."""
        probe = self.parts_dir / "case"
        probe.touch()
        folded = (self.parts_dir / "CASE").exists()
        probe.unlink()
        if not folded:
            return set()
        counts = Counter(image_id.casefold() for part in parts for image_id in part.images or ())
        return {image_id for part in parts for image_id in part.images or () if counts[image_id.casefold()] > 1}


def parts_of(images: Sequence[tuple[str, str]]) -> Iterator[Part]:
    """Cut images, each with its stamp, into parts."""
    size = part_size(len(images))
    for start in range(0, len(images), size):
        run = images[start : start + size]
        stamps = hashlib.sha256("\n".join(stamp for _, stamp in run).encode())
        yield Part("", stamps.hexdigest(), tuple(image_id for image_id, _ in run))


def part_size(images: int) -> int:
    """Images per part: few enough to lose little in a kill and to share among cores, at most 512.

    >>> part_size(230), part_size(10_000), part_size(1_431_093)
    (8, 157, 512)
    """
    return min(512, max(8, -(-images // 64)))


def _reflink(original: Path, target: Path) -> bool:
    """Make `target` share the blocks of `original`; False, and no file, where the file system cannot."""
    try:
        import fcntl
    except ImportError:
        return False
    with original.open("rb") as source, target.open("wb") as file:
        try:
            fcntl.ioctl(file, _FICLONE, source.fileno())
            return True
        except OSError:
            pass
    target.unlink()
    return False


def _stamp(facts: os.stat_result) -> str:
    return f"{facts.st_size}-{facts.st_mtime_ns}"
