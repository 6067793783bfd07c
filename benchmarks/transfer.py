"""Does pretraining matter where it should? On half of the classes of a small CIFAR-10, for the other half.

A ResNet18 is trained on five classes, once as they are and once with a box of every sixth picture overlaid as a face
would be (CIFAR-10 has no faces; boxes are drawn at random, as often as ILSVRC has faces), and finetuned for the other
five with few images. The same without pretraining. Every seed is a finetuning of its own, and takes one of the
pretrainings in turn; the gain is compared on the same test images with the paired bootstrap of `unface study`.

    python benchmarks/transfer.py cifar10_subset.tar.gz OUT

Everything is resumed from OUT where it was interrupted.
"""

import argparse
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import torch

from unface.analysis.study.formats import markdown
from unface.analysis.transfer import NONE, compare, read_transfers
from unface.analysis.transfer_tables import table_of
from unface.faces import FaceRow, Faces, faces_table, write_faces
from unface.study.checkpoints import Network, load_network
from unface.study.computing import Computing
from unface.study.display import TrainingDisplay
from unface.study.labelled import open_images
from unface.study.reading import ViewReader
from unface.study.recipes import Recipe
from unface.study.settings import SETTINGS
from unface.study.tasks import open_task
from unface.study.training import Pace, Training, train
from unface.study.transfer import Transfer, transfer

SIDE_PX = 32
PRETRAINING = Recipe(epochs=15, batch=64, learning_rate=0.01, step_epochs=10, image_px=SIDE_PX)
FINETUNING = Recipe(epochs=30, batch=16, step_epochs=20, image_px=SIDE_PX)
RATES, SEARCH_EPOCHS, SHOWN = (0.02, 0.005), 10, ("original", "overlaid")
TRAINING_IMAGES, VALIDATION_IMAGES = 20, 50
"""Of each class that a network is finetuned for; the rate is chosen on the latter."""

COMPUTING = Computing("cpu", workers=0, deterministic=True)


def main() -> None:
    """Run all of it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--pretrainings", type=int, default=2)
    words = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    prepare(words.archive, words.out)
    task = open_task(f"folder:{words.out / 'other-half'}")
    with TrainingDisplay() as display:
        for seed in range(1, words.seeds + 1):
            first = 1 + (seed - 1) % words.pretrainings
            for features in (None, *(pretrain(words.out, setting, first, display) for setting in SHOWN)):
                asked = Transfer(task, "resnet18", features, FINETUNING, seed, RATES, SEARCH_EPOCHS)
                transfer(asked, words.out / "transfer" / task.name, COMPUTING, Pace(), display)
    transfers = read_transfers(words.out / "transfer" / task.name)
    print(markdown(table_of(transfers)))
    for start in SHOWN:
        comparison = compare(transfers, start, NONE, "top-1")
        assert comparison is not None
        gain = comparison.draws.of(0)
        print(f"{start} over none: {100 * gain.value:+.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f})")
    print(f"{time.process_time() - began:.0f} s of CPU time in this process")


def pretrain(out: Path, setting: str, seed: int, display: TrainingDisplay) -> Network:
    """A network trained on half of the classes in a setting."""
    images = open_images(out / "half" / "images", out / "half" / "faces.parquet")
    training = Training("resnet18", ViewReader(images, [SETTINGS[setting]]), PRETRAINING, seed)
    return load_network(str(train(training, out / "pretrained" / f"{setting}-s{seed}", COMPUTING, Pace(), display)))


def prepare(archive: Path, out: Path) -> None:
    """Unpack the images: every second class to pretrain on, with boxes; the others, few of each, to finetune for."""
    if (out / "half" / "faces.parquet").exists():
        return
    with tarfile.open(archive) as tar:
        tar.extractall(out / "all", filter="data")
    classes = sorted(path.name for path in (out / "all" / "train").iterdir())
    for name in classes[::2]:
        shutil.copytree(out / "all" / "train" / name, out / "half" / "images" / name, dirs_exist_ok=True)
    for name in classes[1::2]:
        shutil.copytree(out / "all" / "test" / name, out / "other-half" / "test" / name, dirs_exist_ok=True)
        files = sorted((out / "all" / "train" / name).iterdir())[: TRAINING_IMAGES + VALIDATION_IMAGES]
        for part, some in (("train", files[:TRAINING_IMAGES]), ("validation", files[TRAINING_IMAGES:])):
            (out / "other-half" / part / name).mkdir(parents=True, exist_ok=True)
            for path in some:
                shutil.copy(path, out / "other-half" / part / name)
    rng = np.random.default_rng(0)
    ids = sorted(path.relative_to(out / "half" / "images").as_posix() for path in (out / "half").rglob("*.jpg"))
    rows = [FaceRow(name, SIDE_PX, SIDE_PX, "detected", random_face(rng)) for name in ids]
    write_faces(out / "half" / "faces.parquet", faces_table(rows))


def random_face(rng: np.random.Generator) -> Faces:
    """In every sixth image a box of 8 to 16 pixels."""
    if rng.random() >= 1 / 6:
        return Faces.make([])
    side = int(rng.integers(8, 17))
    x, y = (int(each) for each in rng.integers(0, SIDE_PX - side + 1, 2))
    return Faces.make([[x, y, x + side, y + side]])


if __name__ == "__main__":
    main()
