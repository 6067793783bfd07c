"""Speed of `unface obfuscate`: CPU time against the paper's whole-image steps and against the floor, then scaling.

    UNFACE_TEST_DATA=DIR python benchmarks/obfuscation.py [--rounds 5] [--files 10000]

Boxes come from `unface detect` on `DIR/imagenet_val`. First, on one core, each way does every file in turn, from a
file on disk to a file on disk; a file's time is its best CPU time of the rounds. Then the same set is repeated to
`--files` files, which the obfuscate stage does with one worker and with two, in turns.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFilter

from unface.cli.pipeline import Session, hide_faces
from unface.cli.rows import TableRows
from unface.datasets import Folder, FolderSink, open_dataset
from unface.engine import Item, LocalExecutor, Progress
from unface.faces import FaceRow, face_rows, faces_table, read_faces
from unface.obfuscate import Obfuscation
from unface.obfuscate.stage import ObfuscateStage, Writing

SAFE, REGION = Obfuscation(), Writing()
ILSVRC_FILES, ILSVRC_WITH_FACES = 1_431_093, 0.17
"""Yang et al. 2022, section 3: images, and the share of them with faces."""


@dataclass(frozen=True)
class Case:
    """A file, its row of `faces.parquet`, and where its copies go."""

    path: Path
    row: FaceRow
    to: Path


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scaling-rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    cv2.setNumThreads(1)
    images = options.data / "imagenet_val" / "images"
    with tempfile.TemporaryDirectory() as folder:
        faces = detected(images, Path(folder))
        times = cpu_times(images, faces, Path(folder), options.rounds)
        print_times(times)
        walls = scaling(images, faces, Path(folder), options.files, options.scaling_rounds)
        print_projection(walls, times, options.files)


def detected(images: Path, folder: Path) -> pa.Table:
    """The faces that `unface detect` finds."""
    table = folder / "faces.parquet"
    command = [sys.executable, "-m", "unface", "detect", str(images), "-o", str(table)]
    subprocess.run(command, check=True, capture_output=True)
    return read_faces(table)


def paper(case: Case) -> None:
    """The paper's steps on the whole image with Pillow, as published: decode, blur image and mask, composite, save."""
    with Image.open(case.path) as file:
        image = file.convert("RGB")
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    boxes = case.row.faces.boxes_xyxy
    sizes = np.hypot(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    for (x0, y0, x1, y1), size in zip(boxes.tolist(), 0.1 * sizes, strict=True):
        draw.rectangle([x0 - size, y0 - size, x1 + size, y1 + size], fill=255)
    if len(boxes):
        blur = ImageFilter.GaussianBlur(float(0.1 * sizes.max()))
        image = Image.composite(image.filter(blur), image, mask.filter(blur))
    image.save(case.to / "paper.jpg", "JPEG")


def paper_always(case: Case) -> None:
    """The same on every file, also where there is nothing to blur: a whole-image pipeline does not ask."""
    if len(case.row.faces):
        return paper(case)
    with Image.open(case.path) as file:
        image = file.convert("RGB")
    blur = ImageFilter.GaussianBlur(10)
    Image.composite(image.filter(blur), image, Image.new("L", image.size, 0).filter(blur)).save(case.to / "paper.jpg")
    return None


def floor(case: Case) -> None:
    """What cannot be saved: read and write the bytes; with faces, decode and encode once, by libjpeg-turbo."""
    if len(case.row.faces):
        with Image.open(case.path) as image:
            image.save(case.to / "floor.jpg", "JPEG", quality="keep")
    else:
        (case.to / "floor.jpg").write_bytes(case.path.read_bytes())


def cpu_times(images: Path, faces: pa.Table, folder: Path, rounds: int) -> dict[str, np.ndarray]:
    """CPU milliseconds of each file, by way; and which files have faces."""
    sink = FolderSink(folder / "out", folder / "parts")
    sink.open()
    stage = ObfuscateStage(Folder(images), sink, SAFE, REGION)
    stage.setup()
    ways: dict[str, Callable[[Case], object]] = {
        "unface": lambda case: stage.process(Item(case.row.image_id, case.row.record())),
        "paper, files with faces blurred": paper,
        "paper, every file blurred": paper_always,
        "floor": floor,
    }
    cases = [Case(images / row.image_id, row, folder) for row in face_rows(faces)]
    times = {name: np.full(len(cases), np.inf) for name in ways}
    for number, case in enumerate(cases):
        for _ in range(rounds):
            for name, way in ways.items():
                for written in (*folder.glob("*.jpg"), stage.sink.root / case.row.image_id):
                    written.unlink(missing_ok=True)  # every way makes a new file
                start = time.process_time()
                way(case)
                times[name][number] = min(times[name][number], 1000 * (time.process_time() - start))
    sink.close()
    return {**times, "faces": np.array([len(case.row.faces) > 0 for case in cases])}


def print_times(times: dict[str, np.ndarray]) -> None:
    """Means, and ratios to ours with their spread over files."""
    with_faces = times["faces"]
    groups = {"all files": np.ones_like(with_faces), "files with faces": with_faces, "files without": ~with_faces}
    print("CPU ms a file on one core; ratio of sums to unface's (median of the files' ratios, 5 % to 95 %)")
    for group, chosen in groups.items():
        ours = times["unface"][chosen]
        print(f"\n{group}: {chosen.sum()}")
        for name, values in times.items():
            if name == "faces":
                continue
            theirs = values[chosen]
            low, middle, high = np.percentile(theirs / ours, [5, 50, 95])
            ratio = f"{theirs.sum() / ours.sum():.2f} ({middle:.2f}, {low:.2f} to {high:.2f})"
            print(f"  {name:32} {theirs.mean():6.2f}   {ratio}")


def scaling(images: Path, faces: pa.Table, folder: Path, files: int, rounds: int) -> dict[int, list[float]]:
    """Seconds of the obfuscate stage over the repeated set, by number of workers."""
    source = folder / "many"
    rows = list(face_rows(faces))
    repeated = []
    for number in range(files):
        row = rows[number % len(rows)]
        image_id = f"{number // 1000:03d}/{number:06d}.JPEG"
        (source / image_id).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images / row.image_id, source / image_id)
        repeated.append(FaceRow(image_id, row.width, row.height, row.status, row.faces))
    table, dataset = faces_table(repeated), open_dataset(source)
    survey = dataset.survey()
    rows_of = TableRows(table, survey.parts)
    walls: dict[int, list[float]] = {1: [], 2: []}
    print(f"\n{files} files, wall seconds of the stage (workers started before)")
    for _ in range(rounds):
        for workers in walls:
            out = folder / f"workers{workers}"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            with LocalExecutor(workers, ("unface.cli.pipeline", "unface.images.region")) as executor:
                watch = Watch()
                warm = folder / "warm"
                shutil.rmtree(warm, ignore_errors=True)
                warm.mkdir()
                few = Folder(images)
                session, of_few = Session(executor, Progress(quiet=True)), few.survey()
                hide_faces(session, few, of_few, TableRows(faces, of_few.parts), SAFE, REGION, warm)
                start = time.perf_counter()
                report = hide_faces(Session(executor, watch), dataset, survey, rows_of, SAFE, REGION, out)
                walls[workers].append(time.perf_counter() - start)
            assert not report.failures
            tenths = " ".join(f"{rate:.0f}" for rate in watch.tenths(start))
            print(f"  {workers} worker(s): {walls[workers][-1]:.1f} s; images/s by tenth: {tenths}; {peaks(out)}")
    ratios = [one / two for one, two in zip(walls[1], walls[2], strict=True)]
    print(f"two workers against one: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return walls


class Watch(Progress):
    """Notes when each image was done."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.moments: list[float] = []

    def advance(self, images: int, faces: int, failed: int, resumed: bool = False) -> None:
        """Note it."""
        self.moments += [time.perf_counter()] * images
        super().advance(images, faces, failed, resumed)

    def tenths(self, start: float) -> list[float]:
        """Images a second in each tenth of the images."""
        ends = [start, *(self.moments[len(self.moments) * tenth // 10 - 1] for tenth in range(1, 11))]
        return [len(self.moments) / 10 / (b - a) for a, b in pairwise(ends)]


def peaks(out: Path) -> str:
    """Peak memory of the workers when the first and when the last shard was done."""
    facts = [json.loads(path.read_text()) for path in sorted((out / ".unface" / "obfuscate").glob("*.json"))]
    first, last = facts[0]["peak_memory_bytes"] / 1e6, max(fact["peak_memory_bytes"] for fact in facts) / 1e6
    return f"a worker's peak memory after the first shard {first:.0f} MB, after the last {last:.0f} MB"


def print_projection(walls: dict[int, list[float]], times: dict[str, np.ndarray], files: int) -> None:
    """ILSVRC on two cores: what the stage takes, weighted by how many files have faces."""
    with_faces, ours = times["faces"], times["unface"]
    here = ours.mean()
    there = ILSVRC_WITH_FACES * ours[with_faces].mean() + (1 - ILSVRC_WITH_FACES) * ours[~with_faces].mean()
    seconds = statistics.median(walls[2]) / files * there / here * ILSVRC_FILES
    print(
        f"\nILSVRC, {ILSVRC_FILES} files, {ILSVRC_WITH_FACES:.0%} with faces, two workers: {seconds / 60:.0f} minutes "
        f"(a file there costs {there / here:.2f} of one here, where {with_faces.mean():.0%} have faces)"
    )


if __name__ == "__main__":
    main()
