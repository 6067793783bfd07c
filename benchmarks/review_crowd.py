"""A simulated crowd corrects real detections: errors before and after review, and what it costs (the paper's Table 1).

    UNFACE_TEST_DATA=DIR python benchmarks/review_crowd.py [--repeats 20] [--out docs/review]

The photos and their true faces are those of DIR/face (WIDER FACE, official annotation), the detections those of
unface's own detector. Workers of known error rates see the boxes, correct what they notice, and go through the real
store: tasks, gold images, lives, restarts, replicas, follow-up tasks, adjudication, export. Only the people are made
up.
"""

import argparse
import csv
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from unface.boxes import Boxes, as_boxes, clip, intersection, is_covered, size_wh
from unface.boxes import area as box_area
from unface.datasets import open_dataset
from unface.detect import DEFAULT_DETECTOR, make_detector
from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.images import decode
from unface.review.accounts import add_account
from unface.review.creation import create_review
from unface.review.policy import Policy
from unface.review.progress import PAPER_COST, PAPER_IMAGES
from unface.review.results import adjudicate, export_reviewed
from unface.review.store import Store, open_store
from unface.review.submission import Submission
from unface.review.tables import Account, Assignment, Image, Item
from unface.review.work import find_assignment, give_back, item_states, save_answer, submit, take

SMALLEST_FACE_PX = 16  # WIDER FACE labels smaller ones in some crowds and not in others: they do not count
GOLD_IMAGES = 30
GOLD_FACE_PX = 40
PRICE = PAPER_COST / (PAPER_IMAGES / 47)  # dollars per task of 50 images, 47 of them not gold
PATIENCE = 3  # restarts until a worker gives a task back
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Photo:
    """One image: its true faces, those too small or unclear to count, and what was detected."""

    row: FaceRow
    truth_xyxy: Boxes
    unclear_xyxy: Boxes


@dataclass(frozen=True)
class Habits:
    """How a worker errs: chances to overlook a missing face, to leave a false box, to delete a right one; jitter.

    `overlook` is for a face of 64 pixels; smaller ones are overlooked more often. `jitter` is the standard deviation
    of a drawn side's place, as a share of the face.
    """

    name: str
    share: float
    overlook: float
    leave: float
    delete: float
    jitter: float


CROWD = (
    Habits("careful", 0.70, overlook=0.08, leave=0.04, delete=0.01, jitter=0.04),
    Habits("hasty", 0.20, overlook=0.35, leave=0.25, delete=0.03, jitter=0.08),
    Habits("does nothing", 0.10, overlook=1.0, leave=1.0, delete=0.0, jitter=0.0),
)
REVIEWER = Habits("reviewer", 1.0, overlook=0.03, leave=0.02, delete=0.005, jitter=0.03)

SETTINGS: dict[str, dict[str, Any]] = {
    "k = 1, no gold": {"gold_per_task": 0},
    "k = 1": {},
    "k = 1, each face": {"rule": "faces", "min_coverage": 0.8},
    "k = 2": {"replicas": 2},
    "k = 3": {"replicas": 3},
}


def main() -> None:
    """Measure and write what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--workers", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("out/review"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    root = options.data / "face"
    photos = detected(root)
    fit = sorted(image_id for image_id, photo in photos.items() if "train" in image_id and is_fit_for_gold(photo))
    gold = set(np.random.default_rng(0).choice(fit, GOLD_IMAGES, replace=False).tolist())
    reviewed = [image_id for image_id in photos if image_id not in gold]
    before = count_errors(photos, {image_id: photos[image_id].row.faces.boxes_xyxy for image_id in reviewed})
    rows = [line("before review", [before], len(reviewed))]
    for name, change in SETTINGS.items():
        runs = [one_run(root, photos, gold, change, options.workers, seed) for seed in range(options.repeats)]
        rows.append(line(name, runs, len(reviewed)))
        print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out, rows)


def detected(root: Path) -> dict[str, Photo]:
    """Every photo with its truth and the detector's boxes."""
    detector = make_detector(DEFAULT_DETECTOR)
    photos = {}
    for part in ("train", "val"):
        for name, faces in annotation(root / f"wider_face_{part}_bbx_gt.txt").items():
            image_id = next(root.glob(f"WIDER_{part}/**/{name}")).relative_to(root).as_posix()
            photo = decode((root / image_id).read_bytes())
            width, height = photo.upright_size
            seen = detector.detect(photo.rgb()).clipped(width, height)
            found = (seen.scores >= detector.threshold) & (size_wh(seen.boxes_xyxy).max(axis=1) >= SMALLEST_FACE_PX)
            boxes, _ = clip(as_boxes(faces[:, :4]), width, height)
            clear = (faces[:, 4] == 0) & (size_wh(as_boxes(faces[:, :4])).max(axis=1) >= SMALLEST_FACE_PX)
            row = FaceRow(image_id, width, height, "detected", seen[found], seen[seen.scores < detector.threshold])
            photos[image_id] = Photo(row, boxes[clear], boxes[~clear])
    return photos


def annotation(path: Path) -> dict[str, np.ndarray]:
    """The official file: for each image its faces as x0, y0, x1, y1, invalid; shape (N, 5)."""
    lines = iter(path.read_text().splitlines())
    faces = {}
    for name in lines:
        count = int(next(lines))
        rows = [[float(v) for v in next(lines).split()] for _ in range(max(count, 1))]
        sides = [[x, y, x + w, y + h, invalid] for x, y, w, h, _, _, _, invalid, *_ in rows if w > 0 and h > 0]
        faces[name] = np.array(sides).reshape(-1, 5)
    return faces


def one_run(
    root: Path, photos: dict[str, Photo], gold: set[str], change: dict[str, Any], workers: int, seed: int
) -> Counter[str]:
    """One review from creation to export; its errors and costs."""
    policy = Policy(**{"order": "uncertain", "min_iou": 0.72, "seed": seed, **change})
    rng = np.random.default_rng([seed, 1])
    faces = faces_table(photo.row for image_id, photo in photos.items() if image_id not in gold)
    truth = faces_table(true_row(photos[image_id]) for image_id in sorted(gold))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(str(Path(folder) / "review.db"), create=True)
        create_review(store, open_dataset(root), faces, truth, policy, START)
        counts = work(store, policy, photos, workers, rng)
        decide_disputes(store, photos, rng, counts)
        with store.read() as session:
            table = export_reviewed(session)
            counts["tasks"] = (
                session.scalar(select(func.count(Assignment.id)).where(Assignment.state == "submitted")) or 0
            )
        store.close()
    kept = {row.image_id: row.faces.boxes_xyxy for row in face_rows(table) if row.image_id not in gold}
    return counts + count_errors(photos, kept)


def is_fit_for_gold(photo: Photo) -> bool:
    """Whether a careful person gets it right: a few faces, none small or unclear."""
    if not 1 <= len(photo.truth_xyxy) <= 8 or len(photo.unclear_xyxy):
        return False
    return float(size_wh(photo.truth_xyxy).max(axis=1).min()) >= GOLD_FACE_PX


def true_row(photo: Photo) -> FaceRow:
    """A gold image's row."""
    faces = Faces.make(photo.truth_xyxy, source="human")
    return FaceRow(photo.row.image_id, photo.row.width, photo.row.height, "reviewed", faces)


def work(
    store: Store, policy: Policy, photos: dict[str, Photo], workers: int, rng: np.random.Generator
) -> Counter[str]:
    """Let the crowd do all tasks, each worker in turn; who cannot pass a task's gold gives it back and leaves."""
    counts: Counter[str] = Counter()
    with store.write() as session:
        people = [(add_account(session, f"worker {n}", "worker", START), habits_of(n, workers)) for n in range(workers)]
        for account, _ in people:
            session.expunge(account)
    staying = [people[i] for i in rng.permutation(len(people))]
    while staying:
        for person in list(staying):
            outcome = do_one(store, policy, photos, *person, rng, counts)
            if outcome != "done":
                staying.remove(person)
                counts["gave up"] += outcome == "gave up"
    return counts


def habits_of(number: int, workers: int) -> Habits:
    """The crowd's habits in their shares, the same in every run."""
    at, place = 0.0, (number + 0.5) / workers
    for habits in CROWD:
        at += habits.share
        if place <= at:
            return habits
    return CROWD[-1]


def do_one(
    store: Store,
    policy: Policy,
    photos: dict[str, Photo],
    account: Account,
    habits: Habits,
    rng: np.random.Generator,
    counts: Counter[str],
) -> str:
    """One worker does one task: `done`, `gave up`, or `nothing left` for him."""
    with store.write() as session:
        assignment_id = take(session, account, START, policy)
        if assignment_id is None:
            return "nothing left"
        assignment = find_assignment(session, account, assignment_id)
        names = image_names(session, assignment.task_id)
        states = item_states(session, assignment)
    attempt, restarts, position = 1, 0, 0
    while position < len(states):
        state = states[position]
        boxes = corrected(state.faces.boxes_xyxy, photos[names[position]], habits, rng)
        given = Submission(attempt, f"{attempt}-{position}", Faces.make(boxes, source="human"), 3.0)
        with store.write() as session:
            saved = save_answer(session, account, assignment_id, position, given, START, policy)
        counts["answers"] += 1
        position += 1
        if saved.restarted:
            counts["restarts"] += 1
            attempt, restarts, position = saved.attempt, restarts + 1, 0
        if restarts == PATIENCE:
            with store.write() as session:
                give_back(session, account, assignment_id, START)
            return "gave up"
    with store.write() as session:
        submit(session, account, assignment_id, attempt, START, policy)
    return "done"


def image_names(session: Any, task_id: int) -> list[str]:
    """The images of a task, which only the simulation knows by name."""
    rows = select(Image.image_id).join(Item).where(Item.task_id == task_id).order_by(Item.position)
    return list(session.scalars(rows))


def corrected(start_xyxy: Boxes, photo: Photo, habits: Habits, rng: np.random.Generator) -> Boxes:
    """What a worker leaves in an image: boxes kept, false ones deleted, missing faces drawn."""
    truth = photo.truth_xyxy
    real = np.concatenate([truth, photo.unclear_xyxy])
    right = is_right(start_xyxy, real)
    kept = np.where(right, rng.random(len(right)) >= habits.delete, rng.random(len(right)) < habits.leave)
    boxes = start_xyxy[kept]
    missing = truth[~is_covered(truth, boxes)]
    chance = habits.overlook * np.clip(64 / np.maximum(size_wh(missing).max(axis=1, initial=1), 1), 1, 4)
    drawn = missing[rng.random(len(missing)) >= np.minimum(chance, 1)]
    drawn = drawn + rng.normal(0, habits.jitter, drawn.shape) * np.tile(size_wh(drawn), 2)
    cut, _ = clip(as_boxes(drawn[(drawn[:, :2] < drawn[:, 2:] - 1).all(axis=1)]), photo.row.width, photo.row.height)
    cut = cut[(size_wh(cut) >= 1).all(axis=1)]
    return np.concatenate([boxes, cut]).astype(np.float32)


def is_right(boxes_xyxy: Boxes, real_xyxy: Boxes) -> np.ndarray:
    """Which boxes are of a face: they share at least 40 % of the larger of the two with one; shape (N,)."""
    if not len(boxes_xyxy) or not len(real_xyxy):
        return np.zeros(len(boxes_xyxy), bool)
    larger = np.maximum(box_area(boxes_xyxy)[:, None], box_area(real_xyxy)[None])
    return (intersection(boxes_xyxy, real_xyxy) / larger).max(axis=1) >= 0.4


def decide_disputes(store: Store, photos: dict[str, Photo], rng: np.random.Generator, counts: Counter[str]) -> None:
    """A reviewer decides what workers could not, from the boxes that were detected."""
    with store.write() as session:
        reviewer = add_account(session, "reviewer", "reviewer", START)
        for image in session.scalars(select(Image).where(Image.decision == "adjudicate")).all():
            boxes = corrected(photos[image.image_id].row.faces.boxes_xyxy, photos[image.image_id], REVIEWER, rng)
            adjudicate(session, reviewer, image, Faces.make(boxes, source="human"), f"decision-{image.id}", START)
            counts["adjudicated"] += 1


def count_errors(photos: dict[str, Photo], boxes: dict[str, Boxes]) -> Counter[str]:
    """False positives (boxes of no face), false negatives (clear faces not covered), images with one of these."""
    counts: Counter[str] = Counter()
    for image_id, found in boxes.items():
        photo = photos[image_id]
        false = ~is_right(found, np.concatenate([photo.truth_xyxy, photo.unclear_xyxy]))
        missed = ~is_covered(photo.truth_xyxy, found)
        counts["false positives"] += int(false.sum())
        counts["false negatives"] += int(missed.sum())
        counts["images with a miss"] += bool(missed.any())
    return counts


def line(name: str, runs: Sequence[Counter[str]], images: int) -> dict[str, Any]:
    """One row of the table: means over the runs."""

    def mean(key: str) -> float:
        return float(np.mean([run[key] for run in runs]))

    cost = mean("tasks") * PRICE
    return {
        "setting": name,
        "FP per 50 images": round(mean("false positives") / images * 50, 2),
        "FN per 50 images": round(mean("false negatives") / images * 50, 2),
        "FN sd": round(float(np.std([r["false negatives"] / images * 50 for r in runs])), 2),
        "images with a miss %": round(mean("images with a miss") / images * 100, 1),
        "tasks paid": round(mean("tasks"), 1),
        "restarts": round(mean("restarts"), 1),
        "workers who gave up": round(mean("gave up"), 1),
        "adjudicated": round(mean("adjudicated"), 1),
        "$ per 1,000 images": round(cost / images * 1000, 2),
        "$ at the paper's scale": round(cost / images * PAPER_IMAGES),
    }


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The table as CSV and as Markdown."""
    with (folder / "crowd.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    table = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    table += ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows]
    print("\n".join(table))


if __name__ == "__main__":
    main()
