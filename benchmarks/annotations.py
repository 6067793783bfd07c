"""Annotations at the size of ILSVRC: `unface convert` and `unface stats` against json and Python loops.

    UNFACE_TEST_DATA=... python benchmarks/annotations.py [--folder DIR]

Writes a synthetic annotation file with the paper's totals: 1,431,093 images, 562,626 faces in 243,198 of them, 90.1 %
of those with fewer than five, and Table 2's counts of images in its five supercategories; boxes are random. Then each
command runs as a process of its own, and its wall time, CPU time and largest resident size are told. The last process
does what the published scripts do: it loads the whole file with json and walks it in Python, up WordNet's tree for
each image. Both have to come to the same counts, and these to the paper's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from unface.analysis.paper import published
from unface.analysis.statistics import SUPERCATEGORIES
from unface.analysis.wordnet import load_nouns

TRAIN, VAL, TEST = 1_281_093, 50_000, 100_000
WITH_FACES = 243_198
FACES_PER_IMAGE = {1: 113_232, 2: 70_889, 3: 25_000, 4: 10_000, 5: 12_038, 8: 1, 11: 12_038}
"""Sums to 562,626 faces; 219,121 of 243,198 images (90.1 %) have fewer than five."""

PUBLISHED_WAY = """
import collections, json, sys
names, parents, tops = json.load(open(sys.argv[2])).values()
faces, totals, histogram = collections.Counter(), collections.Counter(), []
table = {top: [set(), 0, 0] for top in tops}
for annotation in json.load(open(sys.argv[1])):
    if "train" not in annotation["url"]:
        continue
    wnid, some = annotation["url"].split("/")[-2], annotation["bboxes"] != []
    faces[wnid] += some
    totals[wnid] += 1
    histogram.append(len(annotation["bboxes"]))
    above, open_ = set(), [wnid]
    while open_:
        one = open_.pop()
        if one not in above:
            above.add(one)
            open_ += parents.get(one, ())
    for top, row in table.items():
        if top in above:
            row[0].add(wnid)
            row[1] += 1
            row[2] += some
fractions = sorted((faces[wnid] / totals[wnid] for wnid in totals), reverse=True)
print(json.dumps({top: [len(row[0]), row[1], row[2]] for top, row in table.items()}))
"""


def main() -> None:
    """Write the file, run the commands, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to keep the files; a temporary folder by default")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    annotations, faces = folder / "face_annotations_ILSVRC.json", folder / "faces.parquet"
    wnids = json.loads((Path(os.environ["UNFACE_TEST_DATA"]) / "imagenet_meta/paper_sorted_wnids.json").read_text())
    if not annotations.exists():
        write_annotations(annotations, wnids)
    print(f"{annotations}: {annotations.stat().st_size / 1e6:.0f} MB")
    convert, _ = run("convert", [sys.executable, "-m", "unface", "convert", annotations, faces])
    stats, told = run("stats", [sys.executable, "-m", "unface", "stats", faces, "-o", folder / "stats", "--json"])
    (folder / "way.py").write_text(PUBLISHED_WAY)
    (folder / "wordnet.json").write_text(json.dumps(wordnet()))
    theirs, counted = run("json and loops", [sys.executable, folder / "way.py", annotations, folder / "wordnet.json"])
    check(json.loads(told), json.loads(counted))
    print(f"CPU: json and loops / stats: {theirs / stats:.1f}; / (convert + stats): {theirs / (convert + stats):.1f}")


def write_annotations(path: Path, wnids: list[str]) -> None:
    """Write the synthetic file; the same bytes each time."""
    rng = np.random.default_rng(0)
    urls, has_faces = images(wnids)
    numbers = np.zeros(len(urls), np.int64)
    numbers[has_faces] = rng.permutation(np.repeat(list(FACES_PER_IMAGE), list(FACES_PER_IMAGE.values())))
    corners = np.concatenate(
        [rng.integers(0, 250, (numbers.sum(), 2)), rng.integers(8, 150, (numbers.sum(), 2))], axis=1
    )
    corners[:, 2:] += corners[:, :2]
    rows, end = corners.tolist(), np.cumsum(numbers).tolist()
    with path.open("w") as file:
        for place, (url, number) in enumerate(zip(urls, numbers.tolist(), strict=True)):
            boxes = [
                dict(zip(("x0", "y0", "x1", "y1"), row, strict=True)) for row in rows[end[place] - number : end[place]]
            ]
            file.write((", " if place else "[") + json.dumps({"url": url, "bboxes": boxes}))
        file.write("]")


def images(wnids: list[str]) -> tuple[list[str], np.ndarray]:
    """All urls, and which images have faces: in each supercategory as many as the paper's Table 2 says."""
    groups, rest, left = [], set(wnids), [TRAIN, WITH_FACES]
    for row in published("table2"):
        members = load_nouns().among(wnids, row["synset"])
        groups.append((members, int(row["images"]), int(row["with_faces"])))
        rest -= set(members)
        left = [left[0] - groups[-1][1], left[1] - groups[-1][2]]
    elsewhere = [(["val"], VAL, VAL // 6), (["test"], TEST, TEST // 6)]
    groups.append((sorted(rest), left[0], left[1] - VAL // 6 - TEST // 6))
    urls, has_faces = [], []
    for members, total, some in [*groups, *elsewhere]:
        for number in range(total):
            name = members[number % len(members)]
            folder = f"train/{name}" if name not in ("val", "test") else name
            urls.append(f"{folder}/{name}_{number}.JPEG")
            has_faces.append(number < some)
    return urls, np.array(has_faces)


def wordnet() -> dict[str, object]:
    """What the published script asks nltk for, as plain dicts."""
    nouns = load_nouns()
    parents: dict[str, list[str]] = {}
    for child, parent in zip(
        nouns.offsets[nouns.children].tolist(), nouns.offsets[nouns.parents].tolist(), strict=True
    ):
        parents.setdefault(f"n{child:08d}", []).append(f"n{parent:08d}")
    return {"names": {}, "parents": parents, "tops": [nouns.wnid(synset) for synset in SUPERCATEGORIES]}


def run(name: str, command: list[object]) -> tuple[float, str]:
    """Run a process; returns its CPU time and what it said, and tells times and memory."""
    started = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    assert process.returncode == 0, f"{name} ended with {process.returncode}"
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{name}: {seconds:.2f} s, {cpu:.2f} s CPU, {usage.ru_maxrss / 1e3:.0f} MB")
    return cpu, said


def check(ours: dict, theirs: dict) -> None:
    """Stop unless both counts are the paper's."""
    assert (ours["images"], ours["with_faces"], ours["faces"]) == (1_431_093, WITH_FACES, 562_626)
    assert f"{ours['fewer_than_five'] / ours['with_faces']:.3f}" == "0.901"
    for row, entry in zip(published("table2"), ours["supercategories"], strict=True):
        counts = [entry["classes"], entry["images"], entry["with_faces"]]
        assert counts == [int(row["classes"]), int(row["images"]), int(row["with_faces"])]
        assert counts == theirs[load_nouns().wnid(row["synset"])]
    print("counts: ours, the loops' and the paper's are the same")


if __name__ == "__main__":
    main()
