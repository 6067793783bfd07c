"""Paging through a table of ILSVRC's size: `unface browse` over a real connection.

    python benchmarks/browse.py [--folder DIR]

Writes a synthetic faces.parquet (1,431,093 images, 562,626 faces, 1,000 classes; boxes, scores, statuses are random),
starts the command, and asks for the first page, one in the middle and the last of every combination of filters and
orders, and for the counts of the filter panel. Tells wall times, and the server's own CPU time, which other work on
the machine does not change much.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pyarrow as pa

from scale import IMAGES, write_rows

LENGTH = 60
CHOICES = (
    [{}, {"class": "n00000007"}, {"class": [f"n{number:08d}" for number in range(100)]}],
    [{}, {"status": "detected"}, {"status": ["reviewed", "failed"]}],
    [{}, {"min_faces": 1}, {"min_faces": 2, "max_faces": 4}],
    [{}, {"min_height": 20, "max_height": 60}],
    [{}, {"max_score": 0.5}],
)
ORDERS = ("table", "faces", "largest", "smallest", "score")


def main() -> None:
    """Write the table, start the server, ask."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to keep the table; a temporary folder by default")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "faces.parquet").exists():
        write_table(folder)
    command = [sys.executable, "-m", "unface", "browse", "faces.parquet", "--images", "src", "--no-browser", "--json"]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        link = json.loads(process.stdout.readline())["link"]
        url, _, token = link.partition("/#token=")
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            client.get("/api/dataset").raise_for_status()
            print(f"start: {time.perf_counter() - started:.1f} s, {cpu_seconds(process.pid):.1f} s CPU")
            ask_all(client, process.pid)
        print(f"largest resident size: {resident(process.pid)} MB")
        process.send_signal(signal.SIGINT)


def ask_all(client: httpx.Client, pid: int) -> None:
    """Every combination; tells the times."""
    filters = [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*CHOICES)]
    pages, counts = [], []
    before = cpu_seconds(pid)
    for wanted, order in itertools.product(filters, ORDERS):
        total, seconds = ask(client, "/api/rows", {**wanted, "order": order, "limit": LENGTH})
        pages.append(seconds)
        for start in {total // 2, max(total - LENGTH, 0)} - {0}:
            pages.append(ask(client, "/api/rows", {**wanted, "order": order, "limit": LENGTH, "start": start})[1])
    told("pages", pages, cpu_seconds(pid) - before)
    before = cpu_seconds(pid)
    for wanted, find in itertools.product(filters, ("", "n0000001")):
        counts.append(ask(client, "/api/counts", {**wanted, "find": find})[1])
    told("counts", counts, cpu_seconds(pid) - before)


def ask(client: httpx.Client, path: str, query: dict) -> tuple[int, float]:
    """One question; how many images there are, and wall seconds."""
    started = time.perf_counter()
    answer = client.get(path, params=query).raise_for_status().json()
    seconds = time.perf_counter() - started
    total = answer["total"] if "total" in answer else answer["images"]
    assert "rows" not in answer or len(answer["rows"]) == min(LENGTH, total - query.get("start", 0))
    return total, seconds


def told(name: str, seconds: list[float], cpu: float) -> None:
    """Tell times in ms."""
    median, most, worst = np.quantile(np.array(seconds) * 1e3, [0.5, 0.99, 1])
    print(
        f"{len(seconds)} {name}: wall median {median:.1f} ms, 99 % within {most:.1f} ms, slowest {worst:.1f} ms; "
        f"server's CPU {cpu / len(seconds) * 1e3:.1f} ms each"
    )


def write_table(folder: Path) -> None:
    """The table, and one image, by which the command sees that these are its images."""
    from PIL import Image

    from unface.faces import read_faces, write_faces

    write_rows(folder / "faces.parquet")
    table = read_faces(folder / "faces.parquet")
    rng = np.random.default_rng(1)
    statuses = rng.choice(["detected", "reviewed", "failed"], IMAGES, p=[0.94, 0.05, 0.01])
    boxes = table["boxes"].combine_chunks()
    flat = boxes.flatten()
    columns = [flat.field(name) for name in (field.name for field in flat.type)]
    columns[4] = pa.array(rng.uniform(0.1, 1, len(flat)).astype(np.float32))
    lists = pa.ListArray.from_arrays(boxes.offsets, pa.StructArray.from_arrays(columns, fields=list(flat.type)))
    table = table.set_column(3, "status", pa.array(statuses, pa.string())).set_column(4, table.schema.field(4), lists)
    write_faces(folder / "faces.parquet", table)
    first = folder / "src" / table["image_id"][0].as_py()
    first.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (500, 375)).save(first)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Largest resident size so far in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1e3)


if __name__ == "__main__":
    main()
