"""Peak memory of `unface run` on 10 and on 1,000 images: it must not grow with the dataset.

python benchmarks/memory.py --data DIR [--detector yunet]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run both and print what each process needed at most."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--detector", default="cascade")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    images = sorted((options.data / "imagenet_val" / "images").iterdir())[:10]
    with tempfile.TemporaryDirectory() as folder:
        for count in (10, 1000):
            source, output = Path(folder) / f"source{count}", Path(folder) / f"output{count}"
            source.mkdir()
            for number in range(count):
                shutil.copy(images[number % len(images)], source / f"{number:05d}.JPEG")
            print(f"{count} images: {peaks(source, output, options.detector)}", flush=True)


def peaks(source: Path, output: Path, detector: str) -> str:
    """The command's own peak and its largest worker's, in MB."""
    script = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-m", "unface", "run", str(source), str(output), "--detector", detector, "--json"]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):
        sys.exit(done.stderr)
    record = json.loads(done.stdout)
    worker = max(stage["peak_memory_bytes"] for stage in record["stages"].values()) / 1e6
    whole = int(done.stderr.split()[-1]) * 1024 / 1e6
    rates = {name: stage["images_per_second"] for name, stage in record["stages"].items()}
    return f"worker {worker:.0f} MB, largest process {whole:.0f} MB; images/s {rates}"


if __name__ == "__main__":
    main()
