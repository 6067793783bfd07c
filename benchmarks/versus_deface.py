"""Compare unface with deface 1.5.0 in one session: speed, recall, false alarms, false-positive area.

    python benchmarks/versus_deface.py --data DIR [--rounds 5] [--copies 1] [--unface DIR/bin] [--deface DIR/bin]

deface gets an environment of its own (from the package index, with onnxruntime) and its default settings; so should
unface, since packages that it does not need may make its start longer. The commands work on the same files and cores,
in turns; each round gives one ratio, but for a first one, in which modules are compiled. Start-up is part of all times;
with more copies of each file it weighs less.
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

import cv2
import numpy as np

from detection import Photo, crowd_figures, crowd_photos, measured, object_figures, object_photos
from unface import __version__
from unface.boxes import Boxes
from unface.detect import make_detector
from unface.detect.cascade import MODES
from unface.faces import Faces

DEFACE = "deface==1.5.0"
DEFACE_THRESHOLD = 0.2
SEE = """
import json, sys, time
import onnxruntime
import imageio.v2 as iio

class OneThread(onnxruntime.InferenceSession):
    def __init__(self, path, **others):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        super().__init__(path, options, **others)

onnxruntime.InferenceSession = OneThread
from deface.centerface import CenterFace, ensure_rgb
network = CenterFace()
answer = {"seconds": 0.0, "seen": {}}
for path in json.load(sys.stdin):
    image = ensure_rgb(iio.imread(path))
    start = time.process_time()
    found, _ = network(image, threshold=float(sys.argv[1]))
    answer["seconds"] += time.process_time() - start
    answer["seen"][path] = [image.shape[1::-1], found.tolist()]
json.dump(answer, open(sys.argv[2], "w"))
"""


def main() -> None:
    """Run the comparison and write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1, help="of each file, for the speed of the commands")
    parser.add_argument("--results", type=Path, help="Markdown file to write")
    parser.add_argument("--deface", type=Path, help="folder of programs of an environment that has deface already")
    parser.add_argument("--unface", type=Path, help="folder of programs of an environment that has unface alone")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    ours = options.unface or Path(sys.executable).parent
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        environment = options.deface or deface_environment(Path(folder))
        text = "\n".join(
            [
                f"# unface {__version__} against {DEFACE}",
                "",
                f"Command: `python benchmarks/versus_deface.py --rounds {options.rounds} --copies {options.copies}`; "
                f"{machine()}.",
                "",
                *speed(options.data, ours, environment, Path(folder), options.rounds, options.copies),
                "",
                *one_thread(options.data, environment, Path(folder), options.rounds),
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


def speed(data: Path, ours: Path, environment: Path, folder: Path, rounds: int, copies: int) -> list[str]:
    """Images per second of the commands, in turns."""
    originals = sorted((data / "imagenet_val" / "images").iterdir())
    images = [(original, f"{copy}-{original.name}") for copy in range(copies) for original in originals]
    unface = [str(ours / "unface")]
    commands = {
        "`unface detect`": [*unface, "detect", str(folder / "source"), "-o", str(folder / "output" / "faces.parquet")],
        "`unface run` (verify and report included)": [*unface, "run", str(folder / "source"), str(folder / "output")],
        "`deface`": [str(environment / "deface"), *(str(folder / "source" / copied) for _, copied in images)],
    }
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            for path in (folder / "source", folder / "output"):
                shutil.rmtree(path, ignore_errors=True)
            (folder / "source").mkdir()
            for original, copied in images:
                shutil.copyfile(original, folder / "source" / copied)
            if "detect" in command:
                (folder / "output").mkdir()
            taken = seconds(command, {0, 1, 3})
            if turn:
                rates[name].append(len(images) / taken)
        if len(list((folder / "source").glob("*_anonymized*"))) != len(images):
            sys.exit("deface did not write one output per image")
    lines = [f"## Speed: {len(images)} files of data/imagenet_val, all on all cores", ""]
    lines += ["| command | images/s: median | lowest | highest | times deface's |", "|---|---|---|---|---|"]
    for name, rate in rates.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(rate, rates["`deface`"], strict=True))
        lines.append(f"| {name} | {statistics.median(rate):.1f} | {min(rate):.1f} | {max(rate):.1f} | {ratio:.2f} |")
    return lines


def seconds(command: list[str], good_codes: set[int]) -> float:
    """Wall time of a command."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    if done.returncode not in good_codes:
        sys.exit(f"{command[0]}: exit code {done.returncode}: {done.stderr[-500:]}")
    return time.perf_counter() - start


def one_thread(data: Path, environment: Path, folder: Path, rounds: int) -> list[str]:
    """CPU time of the detectors, one thread each, in turns: every 4th object photo and every 10th crowd photo."""
    detector = make_detector("cascade")
    lines = [f"## Detectors, one thread each, {rounds} turns: CPU ms an image, without reading the file", ""]
    lines += ["| photos | `unface --mode fast` | deface's network | times as fast: median | lowest | highest |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, photos in (("objects", list(object_photos(data))[::4]), ("crowds", list(crowd_photos(data))[::10])):
        measured(photos[:3], detector)
        pairs = [
            (measured(photos, detector)[1], deface_sees(photos, environment, folder, DEFACE_THRESHOLD)[1])
            for _ in range(rounds)
        ]
        ratios = [theirs / ours for ours, theirs in pairs]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f}"
        lines.append(f"| {name} | {ours:.1f} | {theirs:.1f} | {spread} |")
    return lines


def quality(data: Path, environment: Path, folder: Path) -> list[str]:
    """Recall and cost of all at their default thresholds, one thread each."""
    objects, crowds = list(object_photos(data)), list(crowd_photos(data))
    rows = []
    for mode in MODES:
        detector = make_detector(f"cascade:{mode}")
        seen = [measured(photos, detector) for photos in (objects, crowds)]
        rows.append((f"unface --mode {mode}", detector.threshold, *seen))
    seen = [deface_sees(photos, environment, folder, DEFACE_THRESHOLD) for photos in (objects, crowds)]
    rows.append((DEFACE, DEFACE_THRESHOLD, *seen))
    lines = [
        "## What is found, and what it costs: CPU time of one thread, without reading the file",
        "",
        "| | recall, imagenet_val | face-free images with an alarm | ms | recall, WIDER_val | FP area "
        "| images with a face missed | ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, threshold, (of_objects, objects_ms), (of_crowds, crowds_ms) in rows:
        recall, alarms = object_figures(of_objects, threshold)
        hidden, needless, missed = crowd_figures(of_crowds, threshold)
        lines.append(
            f"| {name}, {threshold:g} | {recall:.3f} | {alarms:.3f} | {objects_ms:.1f} "
            f"| {hidden:.3f} | {needless:.4f} | {missed:.3f} | {crowds_ms:.1f} |"
        )
    return lines


def deface_sees(
    photos: Iterable[tuple[Path, Boxes]], environment: Path, folder: Path, threshold: float
) -> tuple[list[Photo], float]:
    """The boxes that deface's own code finds on one thread, and its CPU time per image in milliseconds."""
    truth = {str(path): boxes for path, boxes in photos}
    answer_path = folder / "seen.json"
    command = [str(environment / "python"), "-c", SEE, str(threshold), str(answer_path)]
    subprocess.run(command, input=json.dumps(list(truth)), text=True, check=True, capture_output=True)
    answer = json.loads(answer_path.read_text())
    done = []
    for path, boxes in truth.items():
        (width, height), rows = answer["seen"][path]
        found = np.array(rows, np.float32).reshape(-1, 5)
        found = found[(found[:, 0] < found[:, 2]) & (found[:, 1] < found[:, 3])]
        done.append(Photo((width, height), boxes, Faces.make(found[:, :4], found[:, 4], source="deface")))
    return done, 1000 * answer["seconds"] / len(truth)


if __name__ == "__main__":
    main()
