"""Any size: planning at ILSVRC's size, kills at random moments, and a Ray cluster against local processes.

    python benchmarks/scale.py rows                  # 1,431,093 rows, 562,626 faces: open, join, plan
    python benchmarks/scale.py folder                # 100,000 files: plan
    python benchmarks/scale.py kill --data DIR       # kill -9 of the whole tree, 20 times, folder, tars and Parquet
    python benchmarks/scale.py ray --data DIR        # two nodes of one CPU each against two local workers

`kill` and `ray` use the photos of `DIR/imagenet_val`, repeated to 2,000 files.
"""

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

IMAGES, FACES, CLASSES = 1_431_093, 562_626, 1000
"""Yang et al. 2022, section 3."""
KINDS = ("folder", "webdataset", "parquet")
UNFACE = [sys.executable, "-m", "unface"]


def main() -> None:
    """Measure one thing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=list(MEASURES))
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    if options.what in ("kill", "ray") and options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    with tempfile.TemporaryDirectory() as folder:
        MEASURES[options.what](Path(folder), options)


def measure_rows(folder: Path, options: argparse.Namespace) -> None:
    """Open, join and plan a table of ILSVRC's size, in a process of its own."""
    write_rows(folder / "faces.parquet")
    subprocess.run([sys.executable, "-c", PLAN, str(folder / "faces.parquet")], check=True)


PLAN = """
import resource, sys, time
from pathlib import Path
start = time.perf_counter()
from unface.cli.rows import TableRows
from unface.datasets.folder import parts_of
from unface.engine import plan
from unface.faces import read_faces
table = read_faces(Path(sys.argv[1]))
opened = time.perf_counter()
parts = list(parts_of([(name, "1-1") for name in table["image_id"].to_pylist()]))
rows = TableRows(table, parts)
joined = time.perf_counter()
shards = sum(1 for _ in plan(parts, {}, lambda index, part: {"faces": rows.of(index, part)}))
planned = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(f"{len(table)} rows: open and check {opened - start:.1f} s, join {joined - opened:.1f} s, "
      f"plan {shards} shards {planned - joined:.1f} s; in all {planned - start:.1f} s, peak {peak:.2f} GB")
"""


def write_rows(path: Path) -> None:
    """A `faces.parquet` with as many images and faces as ILSVRC has."""
    from unface.faces import FACES_SCHEMA, write_faces

    generator = np.random.default_rng(0)
    counts = np.bincount(generator.integers(0, IMAGES, FACES), minlength=IMAGES)
    corners = generator.uniform(0, 200, (FACES, 2)).astype(np.float32)
    sides = generator.uniform(8, 200, (FACES, 2)).astype(np.float32)
    columns = [*corners.T, *(corners + sides).T, np.ones(FACES, np.float32)]
    names = [field.name for field in FACES_SCHEMA.field("boxes").type.value_type]
    texts = [pa.array(["face"]).take(pa.array(np.zeros(FACES, int))), pa.array(["synthetic"] * FACES)]
    boxes = pa.StructArray.from_arrays([*map(pa.array, columns), *texts], names=names)
    ends = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    ids = [f"train/n{number * CLASSES // IMAGES:08d}/n{number:08d}.JPEG" for number in range(IMAGES)]
    lists = pa.ListArray.from_arrays(ends, boxes).cast(FACES_SCHEMA.field("boxes").type)
    sizes = [pa.array(np.full(IMAGES, side, np.int32)) for side in (500, 375)]
    columns = {
        **dict(zip(("image_id", "width", "height"), (pa.array(ids), *sizes), strict=True)),
        "status": pa.array(["detected"] * IMAGES),
        "boxes": lists,
    }
    filled = [columns.get(field.name, pa.nulls(IMAGES, field.type)) for field in FACES_SCHEMA]
    write_faces(path, pa.table(filled, schema=FACES_SCHEMA))


def measure_folder(folder: Path, options: argparse.Namespace) -> None:
    """Plan a folder of 100,000 files."""
    from unface.datasets import open_dataset

    for number in range(100_000):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    start = time.perf_counter()
    survey = open_dataset(folder).survey()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{survey.images} files, {len(survey.parts)} parts: {time.perf_counter() - start:.1f} s, peak {peak:.2f} GB")


def measure_kills(folder: Path, options: argparse.Namespace) -> None:
    """Kill obfuscate at random moments, again and again, until it is through; compare with an undisturbed run."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    moments = random.Random(0)
    photos, boxes = detected(folder, options.data)
    for kind in options.kinds:
        src, faces = folder / kind, folder / f"{kind}.parquet"
        write_source(kind, src, faces, photos, boxes, options.files)
        command = [*UNFACE, "obfuscate", str(src), str(faces)]
        start = time.perf_counter()
        subprocess.run([*command, str(folder / "whole")], check=True, capture_output=True)
        length = time.perf_counter() - start
        kills = good = 0
        while kills < options.kills:
            shutil.rmtree(folder / "killed", ignore_errors=True)
            for _ in range(4):
                process = subprocess.Popen(
                    [*command, str(folder / "killed")], start_new_session=True, stderr=subprocess.DEVNULL
                )
                try:
                    process.wait(moments.uniform(0.5, length))
                    break
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    kills += 1
            subprocess.run([*command, str(folder / "killed")], check=True, capture_output=True)
            same = digests(folder / "killed") == digests(folder / "whole")
            left = [p for p in (folder / "killed").rglob("*") if p.suffix == ".part" or p.name.startswith("parts")]
            good += same and not left
            assert same, "the output differs"
            assert not left, left
        print(f"{kind}: {options.files} images in {length:.1f} s; {kills} kills, {good} outputs, all as undisturbed")
        shutil.rmtree(folder / "whole")
        shutil.rmtree(src)


def detected(folder: Path, data: Path) -> tuple[list[Path], dict[str, list]]:
    """The photos, and the boxes that detect finds in each."""
    from unface.faces import face_rows, read_faces

    photos = sorted((data / "imagenet_val" / "images").glob("*.JPEG"))
    table = folder / "photos.parquet"
    subprocess.run([*UNFACE, "detect", str(photos[0].parent), "-o", str(table)], check=True, capture_output=True)
    return photos, {row.image_id: row for row in face_rows(read_faces(table))}


def write_source(kind: str, src: Path, faces: Path, photos: list[Path], rows: dict, files: int) -> None:
    """The photos repeated, as a dataset of some kind, and its `faces.parquet`."""
    from dataclasses import replace

    from archives import write_plain, write_tar
    from unface.faces import faces_table, write_faces

    ids = []
    picked = [photos[number % len(photos)] for number in range(files)]
    if kind == "folder":
        for number, photo in enumerate(picked):
            ids.append(f"{number // 100:03d}/{number:06d}.jpg")
            (src / ids[-1]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo, src / ids[-1])
    for start in range(0, files, 200) if kind != "folder" else ():
        some = picked[start : start + 200]
        if kind == "webdataset":
            members = [
                m for n, p in enumerate(some) for m in ((f"{n:04d}.cls", b"1"), (f"{n:04d}.jpg", p.read_bytes()))
            ]
            path = write_tar(src / f"{start:06d}.tar", members)
            ids += [f"{path.name}/{n:04d}.jpg" for n in range(len(some))]
        else:
            path = write_plain(src / f"{start:06d}.parquet", {"image": [p.read_bytes() for p in some]}, row_group=50)
            ids += [f"{path.name}/{n:08d}" for n in range(len(some))]
    table = (replace(rows[photo.name], image_id=image_id) for image_id, photo in zip(ids, picked, strict=True))
    write_faces(faces, faces_table(table))


def digests(folder: Path) -> dict[str, str]:
    """All that is the same in every run."""
    files = [*(folder / "images").rglob("*"), *folder.glob("*.parquet")]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()}


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def measure_ray(folder: Path, options: argparse.Namespace) -> None:
    """Detect and obfuscate on two nodes of one CPU, and with two local workers, in turns."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    photos, rows = detected(folder, options.data)
    write_source("folder", folder / "src", folder / "faces.parquet", photos, rows, options.files)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    cluster = subprocess.Popen([sys.executable, "-c", CLUSTER], text=True, **pipes)
    assert cluster.stdout is not None
    address = cluster.stdout.readline().strip()
    executors = {"local": ["--workers", "2"], "ray": ["--executor", "ray", "--ray-address", address]}
    ratios, outputs = [], {}
    for _ in range(options.rounds):
        seconds = {}
        for name, words in executors.items():
            out = folder / name
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(folder / f".{name}.parquet.work", ignore_errors=True)
            (folder / f"{name}.parquet").unlink(missing_ok=True)
            start = time.perf_counter()
            detect = [*UNFACE, "detect", str(folder / "src"), "-o", str(folder / f"{name}.parquet"), *words]
            subprocess.run(detect, check=True, capture_output=True)
            obfuscate = [*UNFACE, "obfuscate", str(folder / "src"), str(folder / "faces.parquet"), str(out), *words]
            subprocess.run(obfuscate, check=True, capture_output=True)
            seconds[name] = time.perf_counter() - start
            outputs[name] = digests(out), (folder / f"{name}.parquet").read_bytes()
        ratios.append(seconds["ray"] / seconds["local"])
        print(f"local {seconds['local']:.1f} s, ray {seconds['ray']:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"{options.files} images, same output: {outputs['local'] == outputs['ray']}; ratio {np.median(ratios):.3f}")
    cluster.communicate()


MEASURES = {"rows": measure_rows, "folder": measure_folder, "kill": measure_kills, "ray": measure_ray}


if __name__ == "__main__":
    main()
