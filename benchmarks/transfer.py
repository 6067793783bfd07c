"""Does pretraining matter where it should? On half of the classes of a small CIFAR-10, for the other half.

A ResNet18 is trained on five classes, once as they are and once with a box of half the pictures overlaid as a face
would be (CIFAR-10 has no faces; the boxes are drawn at random), and finetuned for the other five with few images. The
same without pretraining. The gain is compared on the same test images with the paired bootstrap of `unface study`.

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
from unface.study.checkpoints import load_network
from unface.study.computing import Computing
from unface.study.display import TrainingDisplay
from unface.study.labelled import open_images
from unface.study.reading import ViewReader
from unface.study.recipes import Recipe
from unface.study.settings import SETTINGS
from unface.study.tasks import open_task
from unface.study.training import Pace, Training, train
from unface.study.transfer import Transfer, transfer

SIDE, SHOWN_PX = 32, 32
PRETRAINING = Recipe(epochs=15, batch=64, learning_rate=0.02, step_epochs=6, image_px=SHOWN_PX)
FINETUNING = Recipe(epochs=10, batch=32, step_epochs=7, image_px=SHOWN_PX)
RATES, SEARCH_EPOCHS, SEEDS, IMAGES_A_CLASS = (0.02, 0.005), 3, (1, 2, 3), 100
COMPUTING = Computing("cpu", workers=0, deterministic=True)


def main() -> None:
    """Run all of it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    prepare(words.archive, words.out)
    task = open_task(f"folder:{words.out / 'other-half'}")
    with TrainingDisplay() as display:
        starts = [pretrain(words.out, setting, display) for setting in ("original", "overlaid")]
        for seed in SEEDS:
            for features in (None, *map(load_network, map(str, starts))):
                asked = Transfer(task, "resnet18", features, FINETUNING, seed, RATES, SEARCH_EPOCHS)
                transfer(asked, words.out / "transfer" / task.name, COMPUTING, Pace(), display)
    transfers = read_transfers(words.out / "transfer" / task.name)
    print(markdown(table_of(transfers)))
    for start in ("original", "overlaid"):
        comparison = compare(transfers, start, NONE, "top-1")
        assert comparison is not None
        gain = comparison.draws.of(0)
        print(f"{start} over none: {100 * gain.value:+.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f})")
    print(f"{time.process_time() - began:.0f} s of CPU time in this process")


def pretrain(out: Path, setting: str, display: TrainingDisplay) -> Path:
    """Train on half of the classes in a setting; returns the weights."""
    images = open_images(out / "half" / "images", out / "half" / "faces.parquet")
    training = Training("resnet18", ViewReader(images, [SETTINGS[setting]]), PRETRAINING, 1)
    return train(training, out / "pretrained" / setting, COMPUTING, Pace(), display)


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
        (out / "other-half" / "train" / name).mkdir(parents=True, exist_ok=True)
        for path in sorted((out / "all" / "train" / name).iterdir())[:IMAGES_A_CLASS]:
            shutil.copy(path, out / "other-half" / "train" / name)
    rng = np.random.default_rng(0)
    ids = sorted(path.relative_to(out / "half" / "images").as_posix() for path in (out / "half").rglob("*.jpg"))
    rows = [FaceRow(name, SIDE, SIDE, "detected", random_face(rng)) for name in ids]
    write_faces(out / "half" / "faces.parquet", faces_table(rows))


def random_face(rng: np.random.Generator) -> Faces:
    """In every second image a box of 8 to 16 pixels."""
    if rng.random() < 0.5:
        return Faces.make([])
    side = int(rng.integers(8, 17))
    x, y = (int(each) for each in rng.integers(0, SIDE - side + 1, 2))
    return Faces.make([[x, y, x + side, y + side]])


if __name__ == "__main__":
    main()
