"""Measure region-exact JPEG: CPU time against whole-image pipelines, and what changes outside the faces.

    UNFACE_TEST_DATA=DIR python benchmarks/jpeg_exact.py [--detector cascade] [--rounds 3] [--out FILE.csv]

Takes the files of `DIR/imagenet_val` in which the detector finds faces. All pipelines do each file in turn, in every
round, on one thread; a file's time is its shortest. See docs/jpeg.md for what came out.
"""

import argparse
import csv
import io
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import jpeglib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from unface.boxes import Boxes
from unface.detect import DEFAULT_DETECTOR, DETECTORS, make_detector
from unface.images import Photo, decode, decode_region, encode, encode_region
from unface.images.codecs import jpeg as codec
from unface.obfuscate.methods import Obfuscation, obfuscate, reach

SAFE = Obfuscation()
PAPER_QUALITY = 75


@dataclass(frozen=True)
class Case:
    """A file with faces."""

    path: Path
    data: bytes
    boxes_xyxy: Boxes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--detector", choices=list(DETECTORS), default=DEFAULT_DETECTOR)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a CSV file with the times of each file")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    cv2.setNumThreads(1)
    start = time.perf_counter()
    import unface.images.region  # noqa: F401

    print(f"import of the region writer: {time.perf_counter() - start:.2f} s (7 s and more if it is compiled)")
    cases = cases_of(options.data, options.detector)
    rows = timed(cases, options.rounds)
    print(f"{len(cases)} files with faces, {np.mean([len(case.data) for case in cases]) / 1000:.0f} kB on average\n")
    print_times(rows)
    print_sizes(cases)
    print_changes(cases)
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def cases_of(data_dir: Path, detector_name: str) -> list[Case]:
    """The files in which a detector finds faces."""
    detector, cases = make_detector(detector_name), []
    for path in sorted((data_dir / "imagenet_val" / "images").rglob("*.JPEG")):
        data = path.read_bytes()
        image = decode(data).rgb()
        seen = detector.detect(image)
        faces = seen[seen.scores >= detector.threshold].clipped(image.shape[1], image.shape[0])
        if len(faces):
            cases.append(Case(path, data, faces.boxes_xyxy))
    return cases


def by_region(case: Case) -> bytes:
    """Ours: decode what the blur looks at, blur it, write the touched blocks."""
    photo = decode_region(case.data, lambda header: reach(case.boxes_xyxy, SAFE, header.upright_size))
    hidden = obfuscate(photo.upright(), case.boxes_xyxy, SAFE, photo.mode)
    return encode_region(photo, hidden.pixels, hidden.touched_xyxy)[0]


def by_reencoding(case: Case) -> bytes:
    """Ours without region-exact writing: the fallback."""
    photo = decode(case.data)
    return encode(photo, obfuscate(photo.upright(), case.boxes_xyxy, SAFE, photo.mode).pixels)


def decode_only(case: Case) -> Photo:
    """The first part of `reencode`."""
    return decode(case.data)


def plain(case: Case) -> bytes:
    """Decode and encode by libjpeg-turbo: nothing is blurred."""
    image = Image.open(io.BytesIO(case.data))
    target = io.BytesIO()
    image.save(target, "JPEG", quality="keep")
    return target.getvalue()


def by_paper(case: Case) -> bytes:
    """The paper's steps over the whole image with Pillow (Yang et al. 2022, section 4)."""
    image = Image.open(io.BytesIO(case.data)).convert("RGB")
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    wh = case.boxes_xyxy[:, 2:] - case.boxes_xyxy[:, :2]
    sizes = np.hypot(wh[:, 0], wh[:, 1])
    for box, size in zip(case.boxes_xyxy, sizes, strict=True):
        margin = 0.1 * size
        draw.rectangle([box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin], fill=255)
    blur = ImageFilter.GaussianBlur(float(0.1 * sizes.max()))
    mixed = Image.composite(image.filter(blur), image, mask.filter(blur))
    target = io.BytesIO()
    mixed.save(target, "JPEG", quality=PAPER_QUALITY)
    return target.getvalue()


def by_jpeglib(case: Case) -> None:
    """Another means: all coefficients out and in again through a coefficient library; nothing is blurred."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        source, target = Path(folder, "a.jpg"), Path(folder, "b.jpg")
        source.write_bytes(case.data)
        jpeglib.read_dct(str(source)).write_dct(str(target))
        target.read_bytes()


PIPELINES: dict[str, Callable[[Case], object]] = {
    "region": by_region,
    "reencode": by_reencoding,
    "decode": decode_only,
    "plain": plain,
    "paper": by_paper,
    "jpeglib": by_jpeglib,
}


def timed(cases: list[Case], rounds: int) -> list[dict[str, float | str]]:
    """For each file the CPU milliseconds of each pipeline."""
    rows: list[dict[str, float | str]] = []
    for case in cases:
        best = dict.fromkeys(PIPELINES, float("inf"))
        for _ in range(rounds):
            for name, pipeline in PIPELINES.items():
                start = time.process_time()
                pipeline(case)
                best[name] = min(best[name], 1000 * (time.process_time() - start))
        rows.append({"image": case.path.name, "bytes": len(case.data), **best})
    return rows


def print_times(rows: list[dict[str, float | str]]) -> None:
    """Times of each pipeline, and how they compare file by file."""
    times = {name: np.array([row[name] for row in rows], float) for name in PIPELINES}
    print(f"{'pipeline':10} CPU ms a file: mean, median, 5 % to 95 %")
    for name, values in times.items():
        low, middle, high = np.percentile(values, [5, 50, 95])
        print(f"{name:10} {values.mean():6.2f} {middle:6.2f} {low:6.2f} to {high:6.2f}")
    print("\nratio of sums; file by file: median, 5 % to 95 %")
    for a, b in (("region", "plain"), ("paper", "region"), ("reencode", "region")):
        low, middle, high = np.percentile(times[a] / times[b], [5, 50, 95])
        total = times[a].sum() / times[b].sum()
        print(f"{a} / {b}: {total:.2f}; {middle:.2f}, {low:.2f} to {high:.2f}")


def print_sizes(cases: list[Case]) -> None:
    """How many files needed other Huffman tables, and what that does to sizes."""
    coded = [(case, by_region(case)) for case in cases]
    other = [case for case, data in coded if tables_of(case.data) != tables_of(data)]
    ratio = np.mean([len(data) / len(case.data) for case, data in coded])
    print(f"\n{len(other)} of {len(cases)} files needed codes that their Huffman tables lack")
    print(f"bytes out / bytes in: {ratio:.3f} on average")


def tables_of(data: bytes) -> list[bytes]:
    """The Huffman tables of a file."""
    return [segment for segment in decode(data).coding.parts.body if segment[1] == 0xC4]


def print_changes(cases: list[Case]) -> None:
    """What happens to pixels that no mask reaches, by the ways in which touched blocks may be coded."""
    sums: dict[str, list[tuple[float, float, float]]] = {}
    for case in cases:
        photo = decode(case.data)
        if photo.mode != "RGB" or photo.orientation != 1:
            continue
        hidden = obfuscate(photo.upright(), case.boxes_xyxy, SAFE, photo.mode)
        reached = np.zeros(hidden.pixels.shape[:2], bool)
        for x0, y0, x1, y1 in hidden.touched_xyxy:
            reached[y0:y1, x0:x1] = True
        mcus_xyxy = touched_mcus(reached, photo)
        whole_mcus = np.zeros_like(reached)
        for x0, y0, x1, y1 in mcus_xyxy:
            whole_mcus[y0:y1, x0:x1] = True
        files = {
            "samples beside the mask kept": encode_region(photo, hidden.pixels, hidden.touched_xyxy)[0],
            "touched MCUs from their pixels": codec.encode_region(photo.coding, hidden.pixels, mcus_xyxy),
            "whole image encoded": encode(photo, hidden.pixels),
        }
        for name, data in files.items():
            off = np.abs(decode(data or b"").pixels.astype(int) - hidden.pixels).mean(axis=2)
            beside = off[whole_mcus & ~reached]
            far = off[~whole_mcus]
            row = (off[reached].mean(), beside.mean() if beside.size else 0.0, far.mean() if far.size else 0.0)
            sums.setdefault(name, []).append(row)
    print("\nmean distance from the wanted pixels, grey levels: inside the mask, beside it in touched MCUs, elsewhere")
    for name, rows in sums.items():
        inside, near, elsewhere = np.mean(rows, axis=0)
        print(f"{name:31} {inside:.3f} {near:.3f} {elsewhere:.4f}")


def touched_mcus(reached: np.ndarray, photo: Photo) -> np.ndarray:
    """The MCUs that a reached pixel lies in, as rectangles."""
    components = photo.coding.parts.components
    wide, high = 8 * max(c.horizontal for c in components), 8 * max(c.vertical for c in components)
    bottom, right = reached.shape
    return np.array(
        [
            (x, y, min(x + wide, right), min(y + high, bottom))
            for y in range(0, bottom, high)
            for x in range(0, right, wide)
            if reached[y : y + high, x : x + wide].any()
        ]
    )


if __name__ == "__main__":
    main()
