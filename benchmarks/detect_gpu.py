"""Measure detectors on a GPU: images per second, and the share of time that the GPU computes.

    python benchmarks/detect_gpu.py --data DIR [--detector cascade …] [--device cuda] [--seconds 20]

Decoded photos of DIR/imagenet_val go through each detector again and again: on the CPU and on the device one by one,
and on the device in groups, as `unface detect` does; then images of one size through CenterFace alone, in batches of
growing size. The share is that of nvidia-smi (`utilization.gpu`: part of the time in which a kernel ran), sampled five
times a second.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from detection import object_photos
from unface.detect import DEFAULT_DETECTOR, make_detector
from unface.detect.centerface import CenterFace
from unface.detect.detector import Together
from unface.errors import InputError
from unface.images import decode

BATCHES = (1, 4, 16, 64)
SIDE_PX = 512


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--detector", nargs="+", metavar="NAME", default=[DEFAULT_DETECTOR, "cascade:thorough"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    try:
        network = CenterFace(device=options.device)
    except InputError as error:
        sys.exit(f"skipped: {error}")
    photos = [decode(path.read_bytes()).rgb() for path, _ in object_photos(options.data)]
    print("| what | device | images/s | share of time the GPU computes |")
    print("|---|---|---|---|")
    for name in options.detector:
        for device in ("cpu", options.device):
            detector = make_detector(name, device=device)
            turns = itertools.cycle(photos)
            measure(name, device, lambda look=detector.detect, turns=turns: look(next(turns)), 1, options.seconds)
        if isinstance(detector, Together) and detector.at_once > 1:
            count = detector.at_once
            groups = itertools.cycle([photos[at : at + count] for at in range(0, len(photos) - count + 1, count)])
            what, look_at_all = f"{name}, {count} images at once", detector.detect_all
            measure(what, device, lambda look=look_at_all, turns=groups: look(next(turns)), count, options.seconds)
    for batch in BATCHES:
        images = np.random.default_rng(0).integers(0, 255, (batch, SIDE_PX, SIDE_PX, 3), np.uint8)
        what = f"CenterFace, {batch} images of {SIDE_PX}x{SIDE_PX} at once"
        measure(what, options.device, lambda images=images: network.see(images, 0.1), batch, options.seconds)


def measure(what: str, device: str, look: Callable[[], object], images: int, seconds: float) -> None:
    """Print a row: how often a look of so many images is done in a second, after a while of warming up."""
    end = time.perf_counter() + seconds / 4
    while time.perf_counter() < end:
        look()
    count, start = 0, time.perf_counter()
    with utilization() as samples:
        while time.perf_counter() < start + seconds:
            look()
            count += images
        taken = time.perf_counter() - start
    share = f"{np.mean(samples):.0f} %" if samples else "-"
    print(f"| {what} | {device} | {count / taken:.1f} | {share} |", flush=True)


@contextmanager
def utilization() -> Iterator[list[float]]:
    """Samples of the GPU's utilization in percent, there when the block is left; none where there is no nvidia-smi."""
    samples: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    try:
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        yield samples
        return
    try:
        yield samples
    finally:
        watching.terminate()
        printed, _ = watching.communicate()
        samples += [float(line) for line in printed.split() if line.isdecimal()]


if __name__ == "__main__":
    main()
