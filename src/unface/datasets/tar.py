"""A WebDataset: tar archives of samples, whose files share a key (the name up to its first dot).

Archives are hostile input: nothing is ever extracted, and only regular files with plain names are taken over.
"""

import copy
import io
import tarfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO

from unface.datasets import media
from unface.datasets.archives import Archives, ArchiveSink
from unface.datasets.dataset import MAX_FILE_BYTES, Entry, inside
from unface.datasets.storage import Storage
from unface.errors import ImageError, InputError, one_line
from unface.images import SUFFIXES

SUFFIX = ".tar"
_MOST_HEADER_BYTES = 1 << 20
"""A longer header (a name, or a list of attributes) is refused."""


@dataclass(frozen=True)
class WebDataset(Archives):
    """Tar archives below a root.

    An image is what its suffix or its first bytes say is one. Refused are links, devices, sparse files, names
    that leave the archive, a name that was there before, and films and images of kinds that cannot be read.
    """

    kind = "webdataset"
    suffix = SUFFIX

    def read(self, image_id: str) -> bytes:
        """A member's bytes."""
        archive, member = self._find(image_id)
        if member is None:
            raise ImageError("expected a file of the archive, found none")
        if member.refused:
            raise ImageError(member.refused)
        return archive.read(member)

    def sink(self, folder: Path, parts_dir: Path) -> "TarSink":
        """Archives of the same names."""
        return TarSink(folder, parts_dir, dataset=self)

    def _entries(self, name: str) -> Iterator[Entry]:
        for member in self.archive(name).members:
            if member.is_image or member.refused:
                yield Entry(f"{name}/{member.name}", member.refused)

    def _holds(self, image_id: str) -> bool:
        return self._find(image_id)[1] is not None

    def _find(self, image_id: str) -> "tuple[Archive, Member | None]":
        part, separator, name = image_id.partition(f"{SUFFIX}/")
        if not separator:
            raise ImageError(f"image id: expected archive.tar/name, got {one_line(image_id)}")
        archive = self.archive(part + SUFFIX)
        return archive, archive.by_name.get(name)

    def archive(self, name: str) -> "Archive":
        """An archive, opened and listed; InputError if it is none."""
        return _open(self.storage, name, self.storage.stamp(name))


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        info: Its header.
        name: Its name; printable where it is refused.
        key: What the files of a sample have in common.
        is_image: Whether it is, or claims to be, an image.
        refused: Why it is not taken over; empty if it is.
    """

    info: tarfile.TarInfo
    name: str
    key: str
    is_image: bool
    refused: str


@dataclass(frozen=True, eq=False)
class Archive:
    """An archive, opened and listed; its bytes are read when they are asked for."""

    file: IO[bytes] = field(repr=False)
    members: tuple[Member, ...]
    by_name: dict[str, Member]

    def read(self, member: Member) -> bytes:
        """A member's bytes; ImageError if it is larger than `MAX_FILE_BYTES` or cut off."""
        if member.info.size > MAX_FILE_BYTES:
            raise ImageError(f"expected at most {MAX_FILE_BYTES} bytes in a file, got {member.info.size}")
        self.file.seek(member.info.offset_data)
        data = self.file.read(member.info.size)
        if len(data) < member.info.size:
            raise ImageError(f"expected {member.info.size} bytes, got {len(data)}: the archive is cut off")
        return data


@lru_cache(maxsize=2)
def _open(storage: Storage, name: str, stamp: str) -> Archive:
    """List an archive: one pass over its headers; again when its stamp changes."""
    file = storage.open(name)
    try:
        tar = tarfile.open(fileobj=_Headers(file), mode="r:")  # noqa: SIM115
        infos = tar.getmembers()
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end is missing")
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        file.close()
        raise InputError(f"{one_line(name)}: expected an uncompressed tar archive: {one_line(error)}") from None
    members, seen = [], set[str]()
    for info in infos:
        members.append(_member(file, info, seen))
        seen.add(info.name)
    archive = Archive(file, tuple(members), {member.name: member for member in reversed(members)})
    weakref.finalize(archive, file.close)
    return archive


class _Headers(io.RawIOBase):
    """A file whose headers are read: no single read of more than a header may need."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_HEADER_BYTES or size < 0:
            raise tarfile.ReadError(f"expected headers of at most {_MOST_HEADER_BYTES} bytes, got {size}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


def _member(file: IO[bytes], info: tarfile.TarInfo, seen: set[str]) -> Member:
    path = PurePosixPath(info.name)
    key = str(path.parent / path.name.split(".")[0])
    claims = path.suffix.lower() in SUFFIXES
    refused = _why_refused(info, seen)
    if refused or not info.isreg():
        return Member(info, one_line(info.name) if refused else info.name, key, False, refused)
    file.seek(info.offset_data)
    head = file.read(min(info.size, media.HEAD_BYTES))
    is_image = claims or media.is_image(head)
    medium = "" if is_image else media.unreadable_medium(head)
    return Member(info, info.name, key, is_image, f"expected an image that can be read, got {medium}" if medium else "")


def _why_refused(info: tarfile.TarInfo, seen: set[str]) -> str:
    if info.isdir():
        return "" if _is_plain(info.name) or info.name in (".", "./") else "expected a name inside the archive"
    if not info.isreg() or info.issparse():
        return "expected a regular file, got a link, a device, a pipe or a sparse file"
    if not _is_plain(info.name):
        return "expected a name inside the archive, in UTF-8"
    if info.name in seen:
        return "expected each name once in an archive, got it twice"
    return ""


def _is_plain(name: str) -> bool:
    try:
        name.encode()
        return str(inside(name)) != "."
    except (ImageError, UnicodeEncodeError):
        return False


@dataclass(kw_only=True)
class TarSink(ArchiveSink):
    """Writes archives of the same names: same members in the same order, images in their safe form.

    A sample whose images all failed is left out with all its files; so is what the dataset refuses.
    """

    dataset: WebDataset

    def _begun(self, name: str, beside: Path) -> "_Writing":
        return _Writing.open(self.dataset.archive(name), beside)


@dataclass(eq=False)
class _Writing:
    """An archive that is being written, sample by sample."""

    archive: Archive
    file: IO[bytes]
    tar: tarfile.TarFile
    samples: list[list[Member]]
    place: dict[str, int]
    next_sample: int = 0
    images: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, archive: Archive, beside: Path) -> "_Writing":
        samples = [list(group) for _, group in groupby(archive.members, key=lambda member: member.key)]
        place = {
            member.name: number for number, sample in enumerate(samples) for member in sample if not member.refused
        }
        file = beside.open("wb")
        writing = cls(archive, file, tarfile.open(fileobj=file, mode="w"), samples, place)  # noqa: SIM115
        weakref.finalize(writing, file.close)
        return writing

    def put(self, image_id: str, data: bytes) -> None:
        """Take an image; samples before its own are complete."""
        name = image_id.partition(f"{SUFFIX}/")[2]
        self._write_until(self.place[name])
        self.images[name] = data

    def close(self) -> None:
        """Write the rest."""
        self._write_until(len(self.samples))
        self.tar.close()
        self.file.close()

    def _write_until(self, sample: int) -> None:
        for members in self.samples[self.next_sample : sample]:
            has_images = any(member.is_image or member.refused for member in members)
            if not has_images or any(member.name in self.images for member in members):
                self._write(members)
            self.images.clear()
        self.next_sample = max(sample, self.next_sample)

    def _write(self, members: list[Member]) -> None:
        for member in members:
            if member.refused or (member.is_image and member.name not in self.images):
                continue
            info = _copied(member.info)
            data = self.images.get(member.name)
            if data is None:
                self.archive.file.seek(member.info.offset_data)
                self.tar.addfile(info, self.archive.file if info.isreg() else None)
            else:
                info.size = len(data)
                info.pax_headers = {k: v for k, v in info.pax_headers.items() if k != "size"}
                self.tar.addfile(info, io.BytesIO(data))


def _copied(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A header of the same facts, to be written at another place."""
    copied = copy.copy(info)
    copied.pax_headers = dict(info.pax_headers)
    return copied
