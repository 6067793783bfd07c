"""Read the pixels of images in settings: each image is decoded once, and settings that show the same share it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unface.datasets import Dataset, open_dataset
from unface.errors import InputError, naming
from unface.faces import FaceRow
from unface.images import Photo, decode, decode_rows, encode, upright_jpeg
from unface.study.computing import WORKERS
from unface.study.labelled import LabelledImages, published
from unface.study.packed import PackedViews, pack
from unface.study.settings import PLAIN, Setting, View
from unface.study.views import RGB, show_photo

RowsOf = Callable[[tuple[int, int]], int]
"""How many rows from the top are needed of an image, by its width and height."""


def _all_rows(size_wh: tuple[int, int]) -> int:
    return size_wh[1]


def in_all(images: LabelledImages, settings: Sequence[Setting]) -> LabelledImages:
    """The images that every setting has; the others count as left out.

    Raises:
        InputError: A setting hides faces and none are recorded, or its folder has none of the images.
    """
    for setting in settings:
        if setting.hides and not images.has_rows:
            raise InputError(f"setting {setting.name}: expected faces.parquet, which says what to hide, got none")
    kept = np.ones(len(images), np.bool_)
    for setting in settings:
        if setting.folder:
            there = published(Path(setting.folder))
            kept &= np.array([image_id in there for image_id in images.image_ids.to_pylist()])
            if not kept.any():
                raise InputError(f"setting {setting.name}: expected the images of {images.dataset.root}, got others")
    return images if kept.all() else images.only(kept)


class ViewReader:
    """Reads images; picklable, so that workers can have it.

    Args:
        images: The images, all of which every setting has (`in_all`).
        settings: What can be asked for.
        packed: A packed copy to read from instead of the files.
    """

    def __init__(self, images: LabelledImages, settings: Sequence[Setting], packed: PackedViews | None = None) -> None:
        self.images = images
        self.settings = tuple(settings)
        self._packed = packed
        self._folders = {s.folder: _open_published(Path(s.folder)) for s in settings if s.folder}
        self._copied = {s.folder: _copied(images, Path(s.folder)) for s in settings if s.folder}

    def only(self, name: str) -> "ViewReader":
        """A reader of one of the settings, of the same images."""
        return ViewReader(self.images, [setting for setting in self.settings if setting.name == name], self._packed)

    def view_of(self, index: int, setting: Setting) -> View:
        """What a setting does to an image. A folder's copy of an image without faces is the image itself."""
        if setting.folder and self._copied[setting.folder][index]:
            return PLAIN
        return setting.view(bool(self.images.face_counts[index]))

    def read(self, index: int, rows_of: RowsOf = _all_rows) -> tuple[list[RGB], list[int]]:
        """An image in all settings.

        Args:
            index: Of the image.
            rows_of: How many rows from the top are needed, by width and height; the others may be 0.

        Returns:
            Its different views, and for each setting the place of its view among them.

        Raises:
            ImageError: It cannot be read; the message names it.
        """
        asked = [self.view_of(index, setting) for setting in self.settings]
        views = list(dict.fromkeys(asked))
        return self.views(index, views, rows_of), [views.index(view) for view in asked]

    def views(self, index: int, views: Sequence[View], rows_of: RowsOf = _all_rows) -> list[RGB]:
        """An image in different views, decoded once; ImageError, which names it, where it cannot be read."""
        if self._packed is not None:
            return [self._packed.pixels(index, view) for view in views]
        row = self.images.row(index)
        with naming(row.image_id):
            return self._decoded(row, views, rows_of)

    def jpeg(self, index: int) -> bytes | None:
        """What the first setting shows of an image without faces, as a JPEG of upright colours that is not decoded yet.

        Whether there is one depends on the image, not on the setting: so in all settings the same decoder shows it.

        Returns:
            The file, cleaned; None for any other image, and of a packed copy.

        Raises:
            ImageError: It cannot be read; the message names it.
        """
        if self._packed is not None or self.images.face_counts[index]:
            return None
        image_id = self.images.image_ids[index].as_py()
        view = self.view_of(index, self.settings[0])
        with naming(image_id):
            data = (self._folders[view.folder] if view.folder else self.images.dataset).read(image_id)
            coded = upright_jpeg(data)
            if coded is None or view.jpeg_quality is None:
                return coded
            photo = decode(data)
            return encode(photo, photo.upright(), view.jpeg_quality)

    def _decoded(self, row: FaceRow, views: Sequence[View], rows_of: RowsOf) -> list[RGB]:
        ours = [view for view in views if not view.folder]
        rows = rows_of if ours == [PLAIN] else _all_rows  # what hides or compresses looks farther
        photo = _decoded(self.images.dataset.read(row.image_id), rows) if ours else None
        pixels = {}
        for view in views:
            if view.folder or photo is None:
                pixels[view] = _decoded(self._folders[view.folder].read(row.image_id), rows_of).rgb()
            else:
                pixels[view] = show_photo(photo, row, view)
        return [pixels[view] for view in views]


def pixels_from(packed_px: int | None, decode: str) -> str:
    """What decides the pixels that a training sees beside the files, in words; empty where nothing does.

    Args:
        packed_px: Size of a packed copy, if there is one.
        decode: See `unface.study.computing.Computing`.

    Raises:
        InputError: A packed copy has nothing left to decode.
    """
    if packed_px is None:
        return "" if decode == WORKERS else "decoded on the device"
    if decode != WORKERS:
        raise InputError(f"decode: expected {WORKERS} with a packed copy, which is decoded already, got {decode}")
    return f"packed at {packed_px} px"


def packed_reader(
    reader: ViewReader, root: Path, shorter_px: int, workers: int, advance: Callable[[int], None]
) -> ViewReader:
    """A reader of a packed copy, which is made first, or completed; several processes may ask for it at once.

    Args:
        reader: Of the images' own files.
        root: Folder of the packed copy.
        shorter_px: Length to which the shorter sides are resized.
        workers: Processes that pack; 0 packs in this one.
        advance: Is told of images that are packed.
    """
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(root / ".lock"):
        for count in pack(reader, root, shorter_px, max(1, workers)):
            advance(count)
    return ViewReader(reader.images, reader.settings, PackedViews(reader.images, root))


def _decoded(data: bytes, rows_of: RowsOf) -> Photo:
    return decode_rows(data, lambda header: rows_of(header.upright_size))


def _open_published(folder: Path) -> Dataset:
    return open_dataset(folder / "images")


def _copied(images: LabelledImages, folder: Path) -> NDArray[np.bool_]:
    """Which images have no faces and the same pixels in the folder, shape (N,)."""
    there = published(folder)
    copied: NDArray[np.bool_] = np.array([there.get(name, False) for name in images.image_ids.to_pylist()], np.bool_)
    copied &= images.face_counts == 0
    return copied
