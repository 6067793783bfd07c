"""Evaluate a network on images in several settings at once; what settings show alike goes through it once."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unface import __version__
from unface.errors import InputError, one_line
from unface.predictions import Batch, Evaluation, highest, write_predictions
from unface.study.checkpoints import Network
from unface.study.computing import Computing
from unface.study.loading import evaluation_runs
from unface.study.reading import ViewReader
from unface.study.views import as_input

RUN_IMAGES = 64
"""Images that are read together."""
PART_IMAGES = 1024
"""Images after which results are kept, so that a kill loses no more."""
_BATCH = 128
"""Most views that go through the network at once."""


@dataclass(frozen=True)
class EvaluationTask:
    """A network and the images that it is to look at.

    Attributes:
        network: With its weights.
        reader: Of the images in all settings; their classes are the network's.
        resize_px: Length to which the shorter side is resized.
        image_px: Side of the middle that is shown.
        dataset: Name of the images.
        source: What decides the images' pixels beside their files: a packed copy's size, for example.
    """

    network: Network
    reader: ViewReader = field(repr=False)
    resize_px: int
    image_px: int
    dataset: str
    source: str = ""

    def evaluation(self, setting: str) -> Evaluation:
        """What a file of predictions says of itself."""
        network, images = self.network, self.reader.images
        return Evaluation(
            network.architecture,
            network.train,
            setting,
            network.seed,
            images.classes,
            self.dataset,
            network.sha256,
            __version__,
        )

    def fingerprint(self, precision: str) -> str:
        """Changes with all that decides the predictions, the image files themselves apart."""
        settings = [setting.definition() for setting in self.reader.settings]
        facts = [
            *(self.network.sha256, self.network.architecture, settings, self.reader.images.digest()),
            *(self.resize_px, self.image_px, precision, self.source, self.dataset, __version__),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


Writer = Callable[[Path, Evaluation, Iterable[Batch]], int]
"""What writes a file of predictions out of batches, such as `write_predictions`."""


def evaluate(
    task: EvaluationTask,
    computing: Computing,
    predictions_dir: Path,
    work_dir: Path,
    advance: Callable[[int], None],
    write: Writer = write_predictions,
) -> list[Path]:
    """Write the predictions of each setting; what an interrupted run finished is not done again.

    Args:
        task: What to evaluate.
        computing: On what.
        predictions_dir: Where `<architecture>-<train>-<eval>-s<seed>.parquet` are written.
        work_dir: Folder of this task alone, for what is finished so far; a small record of it stays.
        advance: Is told of images that are done.
        write: Writes a file.

    Returns:
        The files, one a setting.

    Raises:
        InputError: The network has other classes than the images, or its logits are not finite.
        ImageError: An image cannot be read.
    """
    images = task.reader.images
    fingerprint = task.fingerprint(computing.precision)
    evaluations = [task.evaluation(setting.name) for setting in task.reader.settings]
    paths = [predictions_dir / evaluation.file_name for evaluation in evaluations]
    record = work_dir / "evaluated.json"
    if _read(record) == {"fingerprint": fingerprint} and all(path.exists() for path in paths):
        advance(len(images))
        return paths
    require_classes(task.network, images.classes)
    parts_dir = parts_folder(work_dir, fingerprint)
    predictions_dir.mkdir(parents=True, exist_ok=True)
    parts = [range(start, min(start + PART_IMAGES, len(images))) for start in range(0, len(images), PART_IMAGES)]
    files = [parts_dir / f"{number:06d}.safetensors" for number in range(len(parts))]
    _do_parts(task, computing, parts, files, advance)
    for place, (path, evaluation) in enumerate(zip(paths, evaluations, strict=True)):
        ids = images.image_ids.to_pylist()
        batches = (
            (ids[part.start : part.stop], images.labels[part.start : part.stop], _logits_of(file, place))
            for part, file in zip(parts, files, strict=True)
        )
        write(path, evaluation, batches)
    record.with_suffix(".part").write_text(json.dumps({"fingerprint": fingerprint}))
    record.with_suffix(".part").replace(record)
    shutil.rmtree(parts_dir)
    return paths


def predicted(
    module: nn.Module,
    reader: ViewReader,
    resize_px: int,
    image_px: int,
    images: Sequence[range],
    computing: Computing,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Logits of images in all settings of a reader, run by run.

    Yields:
        Logits of the different views of a run, float32, shape (M, classes), and for each image and setting the place
        of its view among them, shape (N, settings).
    """
    device = computing.torch_device
    runs = evaluation_runs(reader, resize_px, image_px, images, computing.workers, device.type == "cuda")
    for views, places in runs:
        with torch.inference_mode(), computing.mixed():
            batches = torch.tensor_split(views, -(-len(views) // _BATCH))  # equally full
            logits = [module(as_input(some, device, computing.dtype)).float().cpu() for some in batches]
        yield torch.cat(logits).numpy(), places.numpy()


def accuracy(logits: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Top-1 and top-5 accuracy, 0 to 1: whether the label is among the 1 and the 5 highest logits."""
    top5 = highest(logits, min(5, logits.shape[1]))
    return float((top5[:, 0] == labels).mean()), float((top5 == labels[:, None]).any(axis=1).mean())


def _do_parts(
    task: EvaluationTask,
    computing: Computing,
    parts: Sequence[range],
    files: Sequence[Path],
    advance: Callable[[int], None],
) -> None:
    """Make the files of parts that are not there yet."""
    from safetensors.numpy import save_file

    missing = [(part, file) for part, file in zip(parts, files, strict=True) if not file.exists()]
    advance(sum(len(part) for part, file in zip(parts, files, strict=True) if file.exists()))
    if not missing:
        return
    module = computing.placed(task.network.module).eval()
    of_part = [_cut(part) for part, _ in missing]
    runs = [run for cut in of_part for run in cut]
    with computing.algorithms():
        done = predicted(module, task.reader, task.resize_px, task.image_px, runs, computing)
        for cut, (_, file) in zip(of_part, missing, strict=True):
            logits, places, count = [], [], 0
            for run in cut:
                some, where = next(done)
                logits.append(some)
                places.append(where + count)
                count += len(some)
                advance(len(run))
            tensors: dict[str, NDArray[Any]] = {
                "logits": np.concatenate(logits),
                "places": np.concatenate(places),
            }
            save_file(tensors, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)


def _cut(part: range) -> list[range]:
    return [range(at, min(at + RUN_IMAGES, part.stop)) for at in range(part.start, part.stop, RUN_IMAGES)]


def _logits_of(file: Path, setting: int) -> NDArray[np.float32]:
    """The logits of a part's images in one setting, shape (N, classes)."""
    from safetensors.numpy import load_file

    part = load_file(file)
    logits: NDArray[np.float32] = part["logits"][part["places"][:, setting]]
    return logits


def parts_folder(work_dir: Path, fingerprint: str) -> Path:
    """The folder for the parts of an evaluation, made if it is not there; those of others are removed."""
    folder = work_dir / fingerprint[:16]
    for others in work_dir.glob("[0-9a-f]" * 16):
        if others != folder:
            shutil.rmtree(others)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_classes(network: Network, classes: tuple[str, ...]) -> None:
    """Refuse images whose class numbers mean something else to the network."""
    if network.classes is not None and network.classes != classes:
        raise InputError(
            f"classes: expected those that {network.architecture} was trained on ({len(network.classes)}: "
            f"{one_line(', '.join(network.classes))[:80]}), got {len(classes)}: {one_line(', '.join(classes))[:80]}"
        )
    outputs = [each for name, each in network.module.state_dict().items() if name.endswith("bias")][-1].shape[0]
    if outputs != len(classes):
        raise InputError(
            f"classes: expected {outputs}, one for each output of {network.architecture}, got {len(classes)}; "
            "name all classes in their order"
        )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
