"""Measure a detector: recall and false alarms on object photos, recall and false-positive area in crowds.

    UNFACE_TEST_DATA=DIR python benchmarks/detection.py [--detector cascade …] [--out DIR] [--plot]

Reads `DIR/imagenet_val` (judged_faces.json) and `DIR/face/WIDER_val` (the official annotation file), prints
one table per data set and detector, and writes it as CSV. See docs/detection.md for what the columns mean.
"""

import argparse
import csv
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unface.boxes import Boxes, as_boxes, coverage, diagonal, enlarge, intersection, iou, outer_pixels
from unface.boxes import area as box_area
from unface.detect import DEFAULT_DETECTOR, Detector, make_detector
from unface.faces import Faces

LOW_THRESHOLDS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)
THRESHOLDS = (*LOW_THRESHOLDS, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9)
MARGIN = 0.1  # of the diagonal: by how much detections are enlarged before anything is hidden
SMALLEST_FACE_PX = 10


@dataclass(frozen=True)
class Photo:
    """One image with its true faces (shape (N, 4)) and what a detector saw in it."""

    size_wh: tuple[int, int]
    truth_xyxy: Boxes
    seen: Faces


def main() -> None:
    """Measure and write what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--detector", nargs="+", metavar="NAME", default=[DEFAULT_DETECTOR])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--out", type=Path, default=Path("out/detection"), help="folder for the CSV files")
    parser.add_argument("--plot", action="store_true", help="also draw SVG plots (needs matplotlib)")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    options.out.mkdir(parents=True, exist_ok=True)
    sets = {"objects": (object_photos, object_curve), "crowds": (crowd_photos, crowd_curve)}
    for name, (photos_of, curve_of) in sets.items():
        curves = {}
        for detector in options.detector:
            photos, cpu_ms = measured(photos_of(options.data), make_detector(detector))
            curves[detector] = rows = curve_of(photos)
            print(f"\n{detector} on {name}: {len(photos)} images, {cpu_ms:.1f} ms CPU per image")
            print_table(rows)
            write_csv(options.out / f"{name}-{detector.replace(':', '-')}.csv", rows)
        if options.plot:
            draw(options.out / f"{name}.svg", curves)
    for detector in options.detector:
        photos = [*measured(tuning_photos(options.data), make_detector(detector))[0]]
        photos += measured(crowd_photos(options.data, "train"), make_detector(detector))[0]
        print(f"\n{detector}: share of boxes that are faces, on the tuning photos")
        print_table(reliability(photos))
        boxes, images, count = left_over(crowd_photos(options.data, "train"), make_detector(detector))
        print(f"\n{detector} after blurring: {boxes} new boxes in {images} of {count} crowd images")


def measured(photos: Iterable[tuple[Path, Boxes]], detector: Detector) -> tuple[list[Photo], float]:
    """What the detector sees in each photo, and its mean CPU time per image in milliseconds."""
    from unface.images import decode

    done, seconds = [], 0.0
    for path, truth in photos:
        image = decode(path.read_bytes()).rgb()
        start = time.process_time()
        seen = detector.detect(image)
        seconds += time.process_time() - start
        done.append(Photo((image.shape[1], image.shape[0]), truth, seen))
    return done, 1000 * seconds / max(1, len(done))


def object_photos(data: Path) -> Iterator[tuple[Path, Boxes]]:
    """ImageNet validation photos judged by eye; the doubtful ones are left out."""
    folder = data / "imagenet_val"
    for name, judged in json.loads((folder / "judged_faces.json").read_text()).items():
        if judged["status"] != "doubtful":
            yield folder / "images" / name, as_boxes(judged["faces"])


def tuning_photos(data: Path) -> Iterator[tuple[Path, Boxes]]:
    """Other object photos, of whose strongest candidates we judged by eye which are faces (tuning_faces.json)."""
    judged = json.loads(Path(__file__).with_name("tuning_faces.json").read_text())
    for name, boxes in judged.items():
        yield data / "imagenet_tune" / name, as_boxes(boxes)


def crowd_photos(data: Path, split: str = "val") -> Iterator[tuple[Path, Boxes]]:
    """WIDER FACE photos with every labelled box, however small."""
    folder = data / "face"
    lines = iter((folder / f"wider_face_{split}_bbx_gt.txt").read_text().splitlines())
    for name in lines:
        count = int(next(lines))
        rows = [next(lines).split()[:4] for _ in range(max(1, count))]  # no face: one row of zeros
        boxes = np.array(rows, np.float32)
        boxes = boxes[(boxes[:, 2:] > 0).all(axis=1)]
        boxes[:, 2:] += boxes[:, :2]
        yield folder / f"WIDER_{split}" / "images" / name, boxes


def object_curve(photos: list[Photo]) -> list[dict[str, float]]:
    """`object_figures` per threshold."""
    names = ("threshold", "recall", "false_alarms")
    return [dict(zip(names, (t, *object_figures(photos, t)), strict=True)) for t in THRESHOLDS]


def object_figures(photos: list[Photo], threshold: float) -> tuple[float, float]:
    """The share of true faces found, and of face-free photos with at least one box.

    A face is found if a box has an IoU of 0.3 with it, or covers half of it.
    """
    found: list[bool] = []
    alarms = []
    for photo in photos:
        seen = photo.seen.boxes_xyxy[photo.seen.scores >= threshold]
        if len(photo.truth_xyxy):
            found += list(_matched(photo.truth_xyxy, seen))
        else:
            alarms.append(len(seen) > 0)
    return float(np.mean(found)), float(np.mean(alarms))


def _matched(truth: Boxes, seen: Boxes) -> Any:
    if not len(seen):
        return np.zeros(len(truth), bool)
    covered = intersection(truth, seen) / box_area(truth)[:, None]
    return ((iou(truth, seen) >= 0.3) | (covered >= 0.5)).any(axis=1)


def crowd_curve(photos: list[Photo]) -> list[dict[str, float]]:
    """`crowd_figures` per threshold."""
    names = ("threshold", "recall", "fp_area", "images_with_a_miss")
    return [dict(zip(names, (t, *crowd_figures(photos, t)), strict=True)) for t in THRESHOLDS]


def crowd_figures(photos: list[Photo], threshold: float) -> tuple[float, float, float]:
    """The share of faces that are hidden, of the image that is hidden needlessly, and of images with a face missed.

    Detections are enlarged by a tenth of their diagonal. A face at least 10 px high is hidden if they cover
    three quarters of it. Needless is what they cover outside every labelled face box, averaged over images.
    """
    hidden: list[bool] = []
    needless, missed = [], []
    for photo in photos:
        seen = photo.seen.boxes_xyxy[photo.seen.scores >= threshold]
        seen = enlarge(seen, MARGIN * diagonal(seen))
        faces = photo.truth_xyxy[photo.truth_xyxy[:, 3] - photo.truth_xyxy[:, 1] >= SMALLEST_FACE_PX]
        covered = coverage(faces, seen) >= 0.75
        hidden += list(covered)
        missed.append(not covered.all())
        needless.append(_area_outside(seen, photo))
    return float(np.mean(hidden)), float(np.mean(needless)), float(np.mean(missed))


def reliability(photos: list[Photo]) -> list[dict[str, float]]:
    """Of the boxes with scores in a span: how many, their mean score, and the share that are faces.

    A box is a face if it finds one as in `object_figures`, and none if it overlaps no labelled face by an IoU of 0.1.
    """
    scores, right = [], []
    for photo in photos:
        for box, score in zip(photo.seen.boxes_xyxy, photo.seen.scores, strict=True):
            is_face = bool(_matched(photo.truth_xyxy, box[None]).any())
            if is_face or not (iou(photo.truth_xyxy, box[None]) >= 0.1).any():
                scores.append(float(score))
                right.append(is_face)
    edges = (0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
    rows = []
    for low, high in itertools.pairwise(edges):
        within = [i for i, score in enumerate(scores) if low <= score < high]
        if within:
            mean, share = (float(np.mean([values[i] for i in within])) for values in (scores, right))
            rows.append({"from": low, "boxes": len(within), "mean_score": mean, "are_faces": share})
    return rows


def _area_outside(seen: Boxes, photo: Photo) -> float:
    width, height = photo.size_wh
    covered = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in outer_pixels(seen, width, height):
        covered[y0:y1, x0:x1] = True
    for x0, y0, x1, y1 in outer_pixels(photo.truth_xyxy, width, height):
        covered[y0:y1, x0:x1] = False
    return float(covered.mean())


def left_over(photos: Iterable[tuple[Path, Boxes]], detector: Detector) -> tuple[int, int, int]:
    """Faces that a detector finds in an image only after those it found before were blurred.

    Returns:
        Such boxes of which less than half lies in what was blurred; images with one; all images.
    """
    import cv2

    from unface.images import decode

    boxes = images = count = 0
    for path, _ in photos:
        image = decode(path.read_bytes()).rgb().copy()
        height, width = image.shape[:2]
        first = detector.detect(image)
        hidden = first.boxes_xyxy[first.scores >= detector.threshold]
        hidden = enlarge(hidden, MARGIN * diagonal(hidden))
        for x0, y0, x1, y1 in outer_pixels(hidden, width, height):
            sigma_px = max(x1 - x0, y1 - y0) / 4
            image[y0:y1, x0:x1] = cv2.GaussianBlur(image[y0:y1, x0:x1], (0, 0), float(sigma_px))
        again = detector.detect(image)
        left = coverage(again.boxes_xyxy[again.scores >= detector.threshold], hidden) < 0.5
        boxes, images, count = boxes + int(left.sum()), images + bool(left.any()), count + 1
    return boxes, images, count


def print_table(rows: list[dict[str, float]]) -> None:
    """Print the rows as a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the rows with a header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: round(value, 4) for key, value in row.items()} for row in rows)


def draw(path: Path, curves: dict[str, list[dict[str, float]]]) -> None:
    """Recall over the cost (second and third column), one line per detector."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, rows in curves.items():
        _, recall, cost, *_ = rows[0]
        axes.plot([r[cost] for r in rows], [r[recall] for r in rows], marker=".", label=name)
        axes.set(xlabel=cost.replace("_", " "), ylabel=recall)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
