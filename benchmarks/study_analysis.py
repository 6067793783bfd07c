"""Time and memory of `unface study tables` and `report` on made-up predictions of an honest size.

The real study has 15 networks x 3 seeds x 3 settings (135 files) of 50,000 images x 1,000 logits: 13.5 GB. Each file
costs the same, so that a few of the real size tell of all; what is fixed is timed on its own.

    python benchmarks/study_analysis.py --networks 2 --seeds 3
"""

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from unface.analysis.study.output import write_figures, write_tables
from unface.analysis.study.story import read_story
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.table import write_faces
from unface.predictions import Evaluation, write_predictions
from unface.report.study import write_study_report

SETTINGS = ("original", "blurred", "overlaid")
LOST = {"original": 0.0, "blurred": 8.0, "overlaid": 12.0}
SIDE = 400
TWINS = (10, 11)
"""Classes that look alike; where obfuscated, answers move from the first to the second."""

T = TypeVar("T")


def main() -> None:
    """Write a study, analyse it, print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument(
        "--folder", type=Path, help="Write the study there, or take the one that is there, and keep it."
    )
    options = parser.parse_args()
    if options.folder and options.folder.exists():
        analyse(options.folder)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="study-"))
    try:
        write_study(folder, options)
        analyse(folder)
    finally:
        if not options.folder:
            shutil.rmtree(folder)


def write_study(folder: Path, options: argparse.Namespace) -> None:
    """Networks whose drop grows with what faces cover, class by class."""
    rng = np.random.default_rng(0)
    number, classes = options.images, options.classes
    labels = np.arange(number) * classes // number
    names = tuple(f"class{k:04}" for k in range(classes))
    ids = [f"val/{names[k]}/{i:08}.JPEG" for i, k in enumerate(labels)]
    covered = np.where(rng.random(number) < 0.17 + 0.6 * (labels % 20 == 0), rng.beta(1, 12, number), 0)
    difficulty = rng.normal(0, 1, number)
    noise = rng.normal(0, 1, (number + 997, classes)).astype(np.float32)
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    write_faces(folder / "faces.parquet", faces_table(face_rows(ids, covered)))
    for network in range(options.networks):
        for seed in range(1, options.seeds + 1):
            for setting in SETTINGS:
                start = int(rng.integers(0, 997))
                logits = np.roll(noise[start : start + number], int(rng.integers(0, classes)), axis=1)
                true = 4 + 0.2 * network + difficulty - LOST[setting] * covered + rng.normal(0, 0.5, number)
                logits[np.arange(number), labels] += true
                for own, other, sign in ((*TWINS, 1), (*TWINS[::-1], -1)):
                    logits[labels == own, other] += 4 + 2 * sign * (setting != "original")
                evaluation = Evaluation(f"net{network:02}", setting, setting, seed, names, "made up", "0" * 64, "0")
                steps = range(0, number, 4096)
                batches = ((ids[i : i + 4096], labels[i : i + 4096], logits[i : i + 4096]) for i in steps)
                write_predictions(folder / "predictions" / evaluation.file_name, evaluation, batches)


def face_rows(ids: list[str], covered: np.ndarray) -> Iterator[FaceRow]:
    """One box as large as the fraction of the image."""
    for name, fraction in zip(ids, covered.tolist(), strict=True):
        faces = Faces.make([[0, 0, SIDE, max(SIDE * fraction, 0.01)]] if fraction else [])
        yield FaceRow(name, SIDE, SIDE, "detected", faces)


def analyse(folder: Path) -> None:
    """Print seconds of processor time, wall time and peak memory."""
    files = list((folder / "predictions").iterdir())
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} files, {size / 1e9:.2f} GB")
    print(f"{'step':<10} {'CPU s':>8} {'wall s':>8}")
    story = timed("read", lambda: read_story(folder))
    timed("tables", lambda: write_tables(story, folder / "tables"))
    timed("figures", lambda: write_figures(story, folder / "figures"))
    timed("report", lambda: write_study_report(folder, story))
    print(f"found: {story.drops[0].of(1)}, {len(story.settings[0].categories.found(1))} classes")
    print(f"pairs: {story.confusions.swings if story.confusions else 'none, so no logits were read'}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def timed(name: str, work: Callable[[], T]) -> T:
    """Do it and print how long it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    print(f"{name:<10} {time.process_time() - cpu:8.1f} {time.perf_counter() - wall:8.1f}", flush=True)
    return result


if __name__ == "__main__":
    main()
