"""A real Ray cluster of two nodes on this machine: the output of `local`, also when a node is lost."""

import os
import subprocess
import sys
import time

import pytest

from archives import FACE, SIZE, picture
from builders import make_faces
from unface.faces import faces_table, write_faces

pytest.importorskip("ray")

IMAGES = 80

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("ray")
    for number in range(IMAGES):
        (root / "src" / str(number % 4)).mkdir(parents=True, exist_ok=True)
        (root / "src" / str(number % 4) / f"{number:03d}.jpg").write_bytes(picture(number))
    ids = sorted(path.relative_to(root / "src").as_posix() for path in (root / "src").rglob("*.jpg"))
    rows = (make_faces(i, [FACE] if n % 2 else [], *SIZE) for n, i in enumerate(ids))
    write_faces(root / "faces.parquet", faces_table(rows))
    return root


@pytest.fixture
def cluster():
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    process.address = process.stdout.readline().strip()
    assert process.address
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def unface(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "unface", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> None:
    try:
        _, said = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, said
    assert "Traceback" not in said


def output(folder):
    files = [*(folder / "images").rglob("*.jpg"), folder / "manifest.parquet", folder / "faces.parquet"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_cluster_makes_what_local_makes_also_when_a_node_dies(source, cluster):
    obfuscate = ["obfuscate", source / "src", source / "faces.parquet"]
    on_cluster = ["--executor", "ray", "--ray-address", cluster.address]
    finish(unface(*obfuscate, source / "local"))
    finish(unface(*obfuscate, source / "cluster", *on_cluster))
    assert output(source / "cluster") == output(source / "local")

    detect = ["detect", source / "src", "--detector", "yunet", "-o"]
    finish(unface(*detect, source / "local.parquet"))
    process = unface(*detect, source / "cluster.parquet", *on_cluster)
    done = source / ".cluster.parquet.work/detect"
    while process.poll() is None and not list(done.glob("*.json")):
        time.sleep(0.01)
    cluster.stdin.write("remove the second node\n")
    cluster.stdin.flush()
    assert "removed\n" in iter(cluster.stdout.readline, "")  # among what Ray has to say
    finish(process)
    assert (source / "cluster.parquet").read_bytes() == (source / "local.parquet").read_bytes()
    assert len(list(done.glob("*.json"))) == IMAGES // 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executor", "ray", "--ray-address", "127.0.0.1:1"], "expected a Ray cluster"),
        (["--ray-address", "127.0.0.1:1"], "expected --executor ray"),
    ],
)
def test_no_cluster_is_one_line(source, tmp_path, options, said):
    process = unface("detect", source / "src", "-o", tmp_path / "f.parquet", *options)
    _, told = process.communicate()
    assert process.returncode == 2
    assert said in told
    assert len(told.splitlines()) == 1
