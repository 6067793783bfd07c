"""A packed copy of a dataset: images decoded, shown and resized once, then read from memory-mapped bytes.

A packed folder holds one folder for each view (`plain`, `blur-safe`, …) of the images with faces and of those without,
as runs of images: raw RGB in `00000.bin`, sizes in `00000.json`. What several settings show alike is kept once: of
images without faces there is one copy for all settings that only hide faces. The view `plain` of images with faces is
as private as the dataset itself; it is made only if a setting shows it.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unface.errors import InputError, UnfaceError
from unface.study.labelled import LabelledImages
from unface.study.settings import View

if TYPE_CHECKING:
    from unface.study.reading import ViewReader
    from unface.study.views import RGB

RUN_IMAGES = 4096
"""Images a run: few files are open at once, and a kill loses little."""


@dataclass(frozen=True)
class Run:
    """A run of a packed copy.

    Attributes:
        group: `faces` or `faceless`.
        number: Of the run in its group.
        indices: The images in it.
    """

    group: str
    number: int
    indices: tuple[int, ...]

    def path(self, root: Path, view: View) -> Path:
        """Its file of sizes for a view; the pixels lie beside it."""
        return root / f"{view.name}-{self.group}" / f"{self.number:05d}.json"


class PackedViews:
    """A packed copy, opened; see `pack`."""

    def __init__(self, images: LabelledImages, root: Path) -> None:
        self._root = root
        self._runs = _runs(images)
        self._place_of = np.zeros((len(images), 2), np.int64)
        for number, run in enumerate(self._runs):
            self._place_of[list(run.indices), 0] = number
            self._place_of[list(run.indices), 1] = np.arange(len(run.indices))
        self._open: dict[tuple[int, View], _OpenRun] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # each process maps the files itself

    def pixels(self, index: int, view: View) -> "RGB":
        """An image as it was packed: uint8, shape (H, W, 3), mapped from the file; do not write to it."""
        number, place = self._place_of[index].tolist()
        if (number, view) not in self._open:
            self._open[number, view] = _OpenRun.read(self._runs[number].path(self._root, view))
        return self._open[number, view].pixels(place)


@dataclass(frozen=True, eq=False)
class _OpenRun:
    data: NDArray[np.uint8] = field(repr=False)
    sizes_hw: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def read(cls, path: Path) -> "_OpenRun":
        sizes = np.array(json.loads(path.read_text())["sizes_hw"], np.int64).reshape(-1, 2)
        data = np.memmap(path.with_suffix(".bin"), np.uint8, "r")
        ends = np.cumsum(sizes.prod(axis=1) * 3)
        if len(data) != ends[-1]:
            raise InputError(f"{path}: expected {ends[-1]} bytes of pixels beside it, got {len(data)}")
        return cls(data, sizes, ends)

    def pixels(self, place: int) -> "RGB":
        height, width = self.sizes_hw[place].tolist()
        end = int(self.ends[place])
        return self.data[end - 3 * height * width : end].reshape(height, width, 3)


def pack(reader: "ViewReader", root: Path, shorter_px: int, workers: int) -> Iterator[int]:
    """Make a packed copy of all settings of a reader, or what is missing of it.

    Images are hidden in their full size, then resized so that the shorter side has `shorter_px`; those that are
    smaller stay as they are. Every run appears whole or not at all.

    Args:
        reader: Of the images' own files.
        root: Folder to write to; only its owner may look into it.
        shorter_px: 256 for the paper's evaluation transform without a second resize.
        workers: Processes.

    Yields:
        How many images were packed, as runs are finished; those that were there come first.

    Raises:
        UnfaceError: An image cannot be read, or the disk refuses.
    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    tasks = []
    for run in _runs(reader.images):
        missing = _missing(reader, root, run, shorter_px)
        if missing:
            tasks.append((run, missing))
        else:
            yield len(run.indices)
    if not tasks:
        return
    if workers == 1:
        for run, missing in tasks:
            yield _pack_run(reader, root, shorter_px, run, missing)
        return
    with ProcessPoolExecutor(workers, mp_context=process_context(), initializer=_begin, initargs=(reader,)) as pool:
        done = [pool.submit(_pack_own, root, shorter_px, run, missing) for run, missing in tasks]
        try:
            for answer in done:
                yield answer.result()
        except BrokenProcessPool:
            raise UnfaceError("a worker process that packs images ended; the same command goes on") from None
        finally:
            pool.shutdown(cancel_futures=True)


def process_context() -> Any:
    """How processes of a study start: never by forking this one, which holds threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision", "unface.study.running"])
    return context


_reader: "list[ViewReader]" = []


def _begin(reader: "ViewReader") -> None:
    _reader[:] = [reader]


def _pack_own(root: Path, shorter_px: int, run: Run, views: Sequence[View]) -> int:
    return _pack_run(_reader[0], root, shorter_px, run, views)


def _pack_run(reader: "ViewReader", root: Path, shorter_px: int, run: Run, views: Sequence[View]) -> int:
    """Write a run in some views."""
    import torch

    from unface.study.views import resize_shorter

    torch.set_num_threads(1)
    sizes: dict[View, list[tuple[int, int]]] = {view: [] for view in views}
    paths = {view: run.path(root, view) for view in views}
    for path in paths.values():
        path.parent.mkdir(exist_ok=True, mode=0o700)
    files = {view: path.with_suffix(".bin.part").open("wb") for view, path in paths.items()}
    try:
        for index in run.indices:
            for view, pixels in zip(views, reader.views(index, views), strict=True):
                small = pixels
                if min(pixels.shape[:2]) > shorter_px:
                    small = resize_shorter(pixels, shorter_px).numpy()
                sizes[view].append((small.shape[0], small.shape[1]))
                files[view].write(np.ascontiguousarray(small).data)
    finally:
        for file in files.values():
            file.close()
    for view, path in paths.items():
        path.unlink(missing_ok=True)
        path.with_suffix(".bin.part").replace(path.with_suffix(".bin"))
        record = {"fingerprint": _fingerprint(reader.images, run, view, shorter_px), "sizes_hw": sizes[view]}
        path.with_suffix(".json.part").write_text(json.dumps(record))
        path.with_suffix(".json.part").replace(path)
    return len(run.indices)


def _runs(images: LabelledImages) -> list[Run]:
    runs = []
    for group, chosen in (("faceless", images.face_counts == 0), ("faces", images.face_counts > 0)):
        indices = np.flatnonzero(chosen).tolist()
        for number, start in enumerate(range(0, len(indices), RUN_IMAGES)):
            runs.append(Run(group, number, tuple(indices[start : start + RUN_IMAGES])))
    return runs


def _missing(reader: "ViewReader", root: Path, run: Run, shorter_px: int) -> list[View]:
    """The views of a run that are not there, or were made of something else."""
    views = dict.fromkeys(reader.view_of(index, setting) for setting in reader.settings for index in run.indices)
    return [
        view for view in views if _found(run.path(root, view)) != _fingerprint(reader.images, run, view, shorter_px)
    ]


def _found(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _fingerprint(images: LabelledImages, run: Run, view: View, shorter_px: int) -> str:
    """Changes with what decides a run's pixels, the image files themselves apart."""
    digest = hashlib.sha256(json.dumps([view.definition(), shorter_px, str(images.dataset.root)]).encode())
    for index in run.indices:
        digest.update(images.image_ids[index].as_py().encode() + b"\0")
        if view.obfuscation.method != "none":
            digest.update(images.row(index).faces.boxes_xyxy.tobytes())
    return digest.hexdigest()
