import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from study_commands import ENVIRONMENT, files, kill_process_when, kill_when, processes_below, unface
from study_sets import make_squares

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from unface.errors import InputError  # noqa: E402
from unface.predictions import read_predictions  # noqa: E402
from unface.study.config import read_study  # noqa: E402
from unface.study.running import do_run  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = """
[training]
preset = "paper-15"
epochs = {epochs}
step_epochs = 4
batch = 16
learning_rate = 0.03
image_px = 32
resize_px = 32

[computing]
device = "cpu"
workers = 0
checkpoint_seconds = 0
deterministic = true
"""


def write_study(folder, head, epochs=1, data=None):
    """A study of the squares below the folder."""
    data = data or {"train": "train", "evaluation": "validation"}
    lines = ["[data]"]
    for part, place in data.items():
        lines += [f'{part} = "{place}/images"', f'{part}_faces = "{place}/faces.parquet"']
    path = folder / "study.toml"
    path.write_text("\n".join([head, *lines, TINY.format(epochs=epochs)]))
    return path


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    make_squares(folder / "train", "inside", 24)
    make_squares(folder / "validation", "inside", 10, seed=1)
    return folder


MATRIX = """
architectures = ["shufflenet_v2_x1_0"]
train_settings = ["original", "red"]
eval_settings = ["original", "red", "reencoded"]
seeds = [3]
"""


@pytest.fixture(scope="module")
def undisturbed(squares, tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "whole"
    done = unface("study", "run", write_study(squares, MATRIX, 3), "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed"] == []
    return out


def digests(out):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files(out / "predictions", "*")}


def top1(out, architecture, train, evaluated, seed):
    path = out / "predictions" / f"{architecture}-{train}-{evaluated}-s{seed}.parquet"
    outcomes = read_predictions(path).outcomes()
    return float((outcomes.top5[:, 0] == outcomes.labels).mean())


def test_the_example_runs_as_a_whole(tmp_path):
    """The whole matrix on the drawn images, the tables, the figures and the page."""
    spec = importlib.util.spec_from_file_location("make_shapes", EXAMPLES / "make_shapes.py")
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    shapes.draw_set(tmp_path / "shapes/train", 30, 1)
    shapes.draw_set(tmp_path / "shapes/validation", 20, 2)
    shutil.copy(EXAMPLES / "study.toml", tmp_path)
    out = tmp_path / "out"
    done = unface("study", "run", tmp_path / "study.toml", "-o", out)
    assert done.returncode == 0, done.stderr
    assert len(files(out / "predictions", "*.parquet")) == 12 * 4
    assert len(files(out / "runs", "weights.safetensors")) == 12
    assert "<html" in (out / "report.html").read_text()
    assert files(out / "tables", "*.csv")
    assert files(out / "figures", "*.svg")
    assert "12 of 12 runs are done" in unface("study", "status", out).stdout
    scores = [top1(out, name, "original", "original", s) for name in ("resnet18", "shufflenet_v2_x1_0") for s in (1, 2)]
    assert np.mean(scores) > 0.3  # of 8 classes: they did learn
    before = {path: path.stat().st_mtime_ns for path in files(out / "predictions", "*")}
    assert unface("study", "run", tmp_path / "study.toml", "-o", out).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_the_drop_is_found_where_faces_matter_and_only_there(tmp_path, where):
    """Classes that differ only inside the face box are lost with the faces; those that differ outside are not."""
    make_squares(tmp_path / "train", where, 80)
    make_squares(tmp_path / "validation", where, 40, seed=1)
    head = 'architectures = ["resnet18"]\ntrain_settings = ["original", "overlaid"]\n'
    head += 'eval_settings = ["original", "overlaid"]\nseeds = [1]\n'
    assert unface("study", "run", write_study(tmp_path, head, 6), "-o", tmp_path / "out").returncode == 0
    scores = {name: top1(tmp_path / "out", "resnet18", name, name, 1) for name in ("original", "overlaid")}
    assert scores["original"] > 0.9
    if where == "inside":
        assert scores["overlaid"] < 0.7
        assert scores["original"] - scores["overlaid"] > 0.25
    else:
        assert scores["overlaid"] > 0.9


def test_kill_9_changes_nothing(squares, undisturbed, tmp_path):
    command = ("study", "run", write_study(squares, MATRIX, 3), "-o", tmp_path)
    assert kill_when(lambda: bool(files(tmp_path / "runs", "log.jsonl")), *command)
    assert unface(*command).returncode == 0
    assert digests(tmp_path) == digests(undisturbed)
    assert len(digests(tmp_path)) == 6


def require_one_lost_and_finished(done, command, out, undisturbed):
    """The run whose process was killed is told in one line, the other is done, and the same command does the rest."""
    assert done.returncode == 1, done.stderr
    lost = [line for line in done.stderr.splitlines() if "its process ended (" in line]
    assert len(lost) == 1, done.stderr
    assert "Traceback" not in done.stderr
    states = json.loads(unface("study", "status", out, "--json").stdout)
    assert sorted(each["state"] for each in states.values()) == ["done", "failed"]
    assert next(each["detail"] for each in states.values() if each["detail"]) in lost[0]
    assert unface(*command).returncode == 0
    assert digests(out) == digests(undisturbed)
    return lost[0]


def test_a_run_whose_process_is_killed_is_told_and_tried_again(squares, undisturbed, tmp_path):
    command = ("study", "run", write_study(squares, MATRIX, 3), "-o", tmp_path)

    def run_at_work(pid):
        """The one process of the server that forks the runs'."""
        return processes_below(pid)[-1] if files(tmp_path / "runs", "log.jsonl") else None

    done = kill_process_when(run_at_work, *command)
    assert "SIGKILL" in require_one_lost_and_finished(done, command, tmp_path, undisturbed)


@pytest.fixture
def ray_cluster(tmp_path):
    """A Ray cluster with two CPUs, in processes of its own."""
    pytest.importorskip("ray")
    script = """
import sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
    environment = {**ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    process.address = process.stdout.readline().strip()
    assert process.address
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def test_ray_makes_what_local_makes_also_when_a_worker_is_killed(
    squares, undisturbed, tmp_path, ray_cluster, monkeypatch
):
    """OUT is named relative to a folder that the cluster's processes are not in."""
    path = write_study(squares, MATRIX, 3)
    text = path.read_text() + f'executor = "ray"\nray_address = "{ray_cluster.address}"\n'
    path.write_text(text)
    monkeypatch.chdir(squares)
    command = ("study", "run", "study.toml", "-o", tmp_path.name)

    def run_at_work(_):
        workers = [pid for pid in processes_below(ray_cluster.pid) if "_do_remotely" in title(pid)]
        return workers[0] if workers and files(Path(tmp_path.name), "log.jsonl") else None

    done = kill_process_when(run_at_work, *command)
    require_one_lost_and_finished(done, command, Path(tmp_path.name), undisturbed)


def title(pid):
    """What a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_status_plan_and_growth(squares, undisturbed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    before = digests(out)
    assert "2 of 2 runs are done" in unface("study", "status", out).stdout
    grown = write_study(squares, MATRIX.replace("seeds = [3]", "seeds = [3, 4]"), 3)
    plan = json.loads(unface("study", "run", grown, "-o", out, "--plan", "--json").stdout)
    assert [run["state"] for run in plan["runs"]] == ["done", "done", "waiting", "waiting"]
    assert all(run["measured"] for run in plan["runs"])
    assert 0 < plan["hours_left"] < 1
    parameters = 1_258_000 * 4  # of ShuffleNet, 4 bytes each, 4 runs
    assert plan["disk_bytes"] > 4 * parameters
    assert unface("study", "run", grown, "-o", out).returncode == 0
    assert before.items() < digests(out).items()
    assert len(digests(out)) == 12


def test_another_study_is_refused(squares, undisturbed):
    before = digests(undisturbed)
    done = unface("study", "run", write_study(squares, MATRIX, 4), "-o", undisturbed)
    assert done.returncode == 2
    assert "was made with training.epochs 3, this study has 4; choose another output folder" in done.stderr
    own = MATRIX + '\n[settings.red]\nmethod = "overlay"\ncolor = "#ff0001"\n'
    done = unface("study", "run", write_study(squares, own, 3), "-o", undisturbed)
    assert "was made with settings.train.red.obfuscation" in done.stderr
    path = write_study(squares, MATRIX, 3)
    path.write_text(path.read_text().replace("workers = 0", 'workers = 0\ndecode = "device"'))
    done = unface("study", "run", path, "-o", undisturbed)
    assert "was made with computing.decode 'workers', this study has 'device'" in done.stderr
    assert digests(undisturbed) == before


def test_a_run_that_fails_does_not_stop_the_others(squares, tmp_path):
    head = MATRIX.replace('["original", "red"]', '["red"]', 1) + '\n[pretrained]\nresnet18 = "missing.pth"\n'
    done = unface("study", "run", write_study(squares, head, 1), "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "1 runs failed" in done.stderr
    status = json.loads(unface("study", "status", tmp_path / "out", "--json").stdout)
    assert {name: each["state"] for name, each in status.items()} == {
        "resnet18-pretrained": "failed",
        "shufflenet_v2_x1_0-red-s3": "done",
    }
    assert "missing.pth" in status["resnet18-pretrained"]["detail"]


def test_what_a_run_is_evaluated_on_is_looked_at_before_it_trains(squares, tmp_path):
    (tmp_path / "validation").mkdir()
    shutil.copytree(squares / "train", tmp_path / "train")
    make_squares(tmp_path / "validation", "inside", 2)
    (tmp_path / "validation/images/dark").rename(tmp_path / "validation/images/zebra")
    study = read_study(write_study(tmp_path, MATRIX))
    with pytest.raises(InputError, match=r"^zebra/0000\.png: class: expected one of 2 classes, got zebra"):
        do_run(study, tmp_path / "out", study.runs[0], lambda _: None)
    assert not files(tmp_path / "out", "*.*")


@pytest.mark.parametrize("record", ['{"eval_settings": 3, "training": 7}', '{"settings": [1]}', '{"computing": {}}'])
def test_a_record_that_no_study_wrote_is_refused(squares, tmp_path, record):
    (tmp_path / "study.json").write_text(record)
    done = unface("study", "run", write_study(squares, MATRIX), "-o", tmp_path)
    assert done.returncode == 2
    assert "study.json: expected what a study wrote, got something else" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "study.json").read_text() == record


def test_a_packed_copy_leaves_nothing_to_decode(squares, tmp_path):
    text = write_study(squares, MATRIX).read_text()
    text = text.replace("[data]", '[data]\npacked = "packed"').replace("workers = 0", 'decode = "device"')
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=r"bad\.toml: computing: decode: expected workers with a packed copy"):
        read_study(tmp_path / "bad.toml")


def test_packed_images_give_the_same_predictions(squares, undisturbed, tmp_path):
    """They are smaller than the packed copy's, so nothing is resized."""
    path = write_study(squares, MATRIX, 3)
    text = path.read_text().replace("[data]", f'[data]\npacked = "{tmp_path / "packed"}"')
    path.write_text(text)
    assert unface("study", "run", path, "-o", tmp_path / "out").returncode == 0
    for file in files(undisturbed / "predictions", "*"):
        ours, theirs = read_predictions(tmp_path / "out/predictions" / file.name), read_predictions(file)
        np.testing.assert_array_equal(ours.outcomes().top5, theirs.outcomes().top5)
    assert {folder.name for folder in (tmp_path / "packed/train").iterdir() if folder.is_dir()} == {
        "plain-faces",
        "overlay-red-faces",
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = [3]", "seeds = [-1]", r"seeds\.0: expected greater than or equal to 0, got -1"),
        ("[data]", "[date]", "data: expected this key, found none"),
        ("seeds", "seed", "seed: expected no such key"),
        (
            'preset = "paper-15"',
            'preset = "fast"',
            r"training\.preset: expected 'paper', 'paper-30' or 'paper-15', got 'fast'",
        ),
        ("batch = 16", "batch = 1", "training: batch: expected at least 2, got 1"),
        ("batch = 16", 'batch = "x"', r"training\.batch: expected a valid integer"),
        ('"shufflenet_v2_x1_0"', '"resnet19"', "architectures: expected some of alexnet, .*, got resnet19"),
        ('["original", "red"]', '["original", "rot"]', "train_settings: setting rot: expected original"),
        ('["original", "red"]', '["red", "red"]', "train_settings: expected different ones"),
        ("[data]", '[settings.mine]\nmethod = "blur"\n[data]', r"settings\.mine: expected a setting of train_settings"),
        ("[data]", '[settings.red]\nmethod = "erase"\n[data]', r"settings\.red\.method: expected 'blur', "),
        ("[data]", '[settings.red]\ncolor = "rot"\nmethod = "overlay"\n[data]', r"settings\.red: color: expected mean"),
        ("[data]", '[settings.red]\ntrain = "nowhere"\n[data]', r"settings\.red: train: expected a folder that unface"),
        ("[data]", '[settings.original]\nmethod = "blur"\n[data]', r"settings\.original: expected a name of your own"),
        ('train = "train/images"', "", r"data\.train: expected images to train on"),
        ("seeds = [3]", "seeds = []", "expected at least one each"),
        ("seeds = [3]", f"seeds = [{2**63}]", r"seeds\.0: expected less than or equal to 9223372036854775807"),
        ("workers = 0", "workers = 1_000_000_000", r"computing\.workers: expected less than or equal to 256"),
        ("learning_rate = 0.03", "learning_rate = nan", "training: learning_rate: expected more than 0, got nan"),
        ("[data]", "deep = " + 100_000 * "[", "expected a study in TOML: maximum recursion depth"),
        ("seeds = [3]", "seeds = [3", "expected a study in TOML"),
    ],
)
def test_bad_studies_are_told_in_one_line_with_the_key(squares, tmp_path, old, new, said):
    text = write_study(squares, MATRIX).read_text()
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=r"bad\.toml: .*" + said) as caught:
        read_study(tmp_path / "bad.toml")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_study(tmp_path):
    done = unface("study", "status", tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        f"unface: {tmp_path}: expected the output folder of a study, got none\n",
    )
