"""Batches for training and for evaluating, read by worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from unface.errors import naming
from unface.images import decode
from unface.study.packed import process_context
from unface.study.reading import ViewReader
from unface.study.views import RGB, TrainingView, evaluation_view

_SMALLEST_SHARE = 2
"""Batch normalisation needs two images in each process."""


class Schedule:
    """Which images are in which step of a training: a function of seed and step, and of nothing else.

    Every epoch is a random order of all images, cut into batches; the last one may be smaller, and is left out if it
    has fewer than two images for each process.

    Args:
        images: How many there are.
        batch: Images a step, over all processes.
        seed: Of the training.
        world_size: Processes that share each batch.
    """

    def __init__(self, images: int, batch: int, seed: int, world_size: int = 1) -> None:
        self.images, self.batch, self.seed = images, batch, seed
        whole, rest = divmod(images, batch)
        self.steps_per_epoch = whole + (rest >= _SMALLEST_SHARE * world_size)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def epoch_of(self, step: int) -> int:
        """The epoch of a step, both from 0."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> NDArray[np.int64]:
        """The images of a step, over all processes."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, epoch))))
            self._order = (epoch, rng.permutation(self.images))
        return self._order[1][place * self.batch : (place + 1) * self.batch]


@dataclass(frozen=True)
class _Coded:
    """An image of a batch that the device is to decode: its place, its name, its file's length, and what is shown."""

    place: int
    image_id: str
    size: int
    view: TrainingView


_Read = tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[_Coded]]
"""The views of a batch, where those of coded images are not there yet; labels; the files of these, joined; and they."""


class _TrainingSet(Dataset[Any]):
    """Whole batches by (epoch, indices)."""

    def __init__(self, reader: ViewReader, px: int, seed: int, decodes: bool) -> None:
        self._reader, self._px, self._seed, self._decodes = reader, px, seed, decodes
        self._keys = reader.images.keys

    def __getitem__(self, asked: tuple[int, Sequence[int]]) -> _Read:
        epoch, indices = asked
        views = torch.empty((len(indices), self._px, self._px, 3), dtype=torch.uint8)
        coded, files = [], []
        for place, index in enumerate(indices):
            view = TrainingView(self._px, self._seed, epoch, int(self._keys[index]))
            file = None if self._decodes else self._reader.jpeg(index)
            if file is None:
                views[place] = view.of(self._reader.read(index, view.rows)[0][0])
            else:
                coded.append(_Coded(place, self._reader.images.image_ids[index].as_py(), len(file), view))
                files.append(file)
        joined = torch.from_numpy(np.frombuffer(b"".join(files), np.uint8).copy())
        return views, torch.from_numpy(self._reader.images.labels[list(indices)]), joined, coded


def _decoded_on(device: torch.device, batch: _Read) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch whose images are all decoded; on that device, if it had to decode one."""
    views, labels, joined, coded = batch
    if not coded:
        return views, labels
    views = views.to(device, non_blocking=True)
    files = list(torch.split(joined, [each.size for each in coded]))
    for each, view in zip(coded, _views_on(device, files, coded), strict=True):
        views[each.place] = view
    return views, labels


def _views_on(device: torch.device, files: list[torch.Tensor], coded: Sequence[_Coded]) -> list[torch.Tensor]:
    """Views of images that TorchCodec decodes on a device; or the workers' decoder, where that refuses one."""
    from torchcodec.decoders import decode_jpeg  # type: ignore[attr-defined]  # it lists its names nowhere

    try:
        images = decode_jpeg(files, mode="RGB", device=device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return [each.view.of(_pixels(file, each)) for each, file in zip(coded, files, strict=True)]
    return [each.view.of_planes(planes) for each, planes in zip(coded, images, strict=True)]


def _pixels(file: torch.Tensor, coded: _Coded) -> RGB:
    with naming(coded.image_id):
        return decode(file.numpy().tobytes()).rgb()


def training_batches(
    reader: ViewReader,
    px: int,
    schedule: Schedule,
    steps: range,
    rank: int,
    world_size: int,
    workers: int,
    pin: bool,
    decoder: torch.device | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One process's share of each step's batch.

    Args:
        reader: Of one setting.
        px: Side of a view in pixels.
        schedule: Which images.
        steps: Which steps.
        rank: Of this process; it takes every `world_size`-th image.
        world_size: Processes.
        workers: Worker processes; 0 reads here.
        pin: Whether to put the batches where a GPU reads fast.
        decoder: The device that decodes the JPEGs of images without faces; None leaves all to the workers.

    Yields:
        Views, uint8, shape (N, px, px, 3), on the decoder if there is one, and class indices, int64, shape (N,).
    """
    asked = (
        (schedule.epoch_of(step), schedule.indices(step)[rank::world_size].tolist()) for step in steps
    )  # as the loader asks for them, not before
    batches = loaded(_TrainingSet(reader, px, schedule.seed, decoder is None), asked, workers, pin)
    return (_decoded_on(decoder or torch.device("cpu"), batch) for batch in batches)


class _EvaluationSet(Dataset[Any]):
    """Runs of images in all settings of a reader; what settings show alike in the middle of an image is one view."""

    def __init__(self, reader: ViewReader, resize_px: int, px: int) -> None:
        self._reader, self._resize_px, self._px = reader, resize_px, px

    def __getitem__(self, indices: range) -> tuple[torch.Tensor, torch.Tensor]:
        views: list[torch.Tensor] = []
        places: list[list[int]] = []
        for index in indices:
            pixels, which = self._reader.read(index)
            kept, place_of = _different([evaluation_view(each, self._resize_px, self._px) for each in pixels])
            places.append([len(views) + place_of[place] for place in which])
            views += kept
        return torch.stack(views), torch.tensor(places)


def _different(views: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[int]]:
    """The views without those that are like an earlier one, and for each view its place among them."""
    kept: list[torch.Tensor] = []
    places = []
    for view in views:
        place = next((place for place, each in enumerate(kept) if torch.equal(each, view)), len(kept))
        kept += [view] if place == len(kept) else []
        places.append(place)
    return kept, places


def evaluation_runs(
    reader: ViewReader, resize_px: int, px: int, runs: Sequence[range], workers: int, pin: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images in every setting, each decoded once, and what several settings show alike only once.

    Args:
        reader: Of all settings.
        resize_px: Length to which the shorter side is resized.
        px: Side of the middle that is shown.
        runs: Which images belong together.
        workers: Worker processes; 0 reads here.
        pin: Whether to put the views where a GPU reads fast.

    Yields:
        The different views of a run, uint8, shape (M, px, px, 3), and for each of its images and each setting the
        place of its view among them, int64, shape (N, settings).
    """
    return loaded(_EvaluationSet(reader, resize_px, px), iter(runs), workers, pin)


def loaded(dataset: Dataset[Any], asked: Iterator[Any], workers: int, pin: bool) -> Iterator[Any]:
    """What a dataset has for each of the things asked, in order, read by workers; 0 reads here."""
    context = process_context() if workers else None
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        sampler=asked,
        num_workers=workers,
        multiprocessing_context=context,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)
