import json
import shutil

import pytest

from study_commands import files, kill_when, unface
from study_sets import make_photos, make_squares

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # as in the processes that are killed
from unface.study.checkpoints import read_checkpoint  # noqa: E402

TINY = ["--architecture", "resnet18", "--image-px", "32", "--batch", "16", "--learning-rate", "0.02", "--workers", "0"]
TINY += ["--device", "cpu", "--deterministic", "--checkpoint-seconds", "0"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    make_squares(folder, "inside", 64)
    return folder


def train(root, dst, *more):
    return ["train", root / "images", dst, "--faces", root / "faces.parquet", *TINY, *more]


def weights_of(folder):
    return read_checkpoint(folder / "weights.safetensors").tensors


def test_kill_9_changes_nothing(root, tmp_path):
    """And a checkpoint torn while it was written is no checkpoint."""
    command = ("--setting", "blurred", "--epochs", "4")
    whole = unface(*train(root, tmp_path / "whole", *command, "--json"))
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["log"]["step"] == 32
    dst = tmp_path / "killed"
    log = dst / "log.jsonl"
    assert kill_when(lambda: log.exists() and log.read_text().count("\n") >= 2, *train(root, dst, *command))
    (dst / "checkpoint.safetensors.part").write_bytes(b"torn")
    assert files(dst, "checkpoint.safetensors")
    assert unface(*train(root, dst, *command)).returncode == 0
    ours, theirs = weights_of(dst), weights_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [json.loads(line)["loss"] for line in log.read_text().splitlines()] == [
        json.loads(line)["loss"] for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()
    ]


def test_decoding_on_the_device_is_the_same_on_a_cpu_and_told(tmp_path):
    make_photos(tmp_path / "photos")
    dst = {where: tmp_path / where for where in ("workers", "device")}
    for where, folder in dst.items():
        done = unface(*train(tmp_path / "photos", folder, "--deterministic", "--epochs", "2", "--decode", where))
        assert done.returncode == 0, done.stderr
    ours, theirs = (weights_of(folder) for folder in dst.values())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    done = unface(*train(tmp_path / "photos", dst["device"], "--deterministic", "--epochs", "2"))
    assert done.returncode == 2
    assert "was trained with source 'decoded on the device'" in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--decode", "gpu"], "decode: expected workers or device, got gpu"),
        (["--architecture", "resnet19"], "architecture resnet19: expected one of alexnet"),
        (["--setting", "blured"], "setting blured: expected original"),
        (["--preset", "fast"], "preset: expected paper"),
        (["--epochs", "0"], "epochs: expected at least 1, got 0"),
        (["--precision", "int8"], "precision: expected float32"),
        (["--device", "nonsense"], "device: expected auto, cpu or cuda, got nonsense"),
        (["--labels", "missing.csv"], "missing.csv: expected a CSV of labels"),
        (["--faces", "missing.parquet"], "missing.parquet: expected a faces.parquet"),
    ],
)
def test_wrong_use_is_one_line(root, tmp_path, more, said):
    done = unface(*train(root, tmp_path / "dst", *more))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there(root, tmp_path):
    done = unface(*train(root, tmp_path / "dst", "--device", "cuda"))
    assert (done.returncode, done.stderr) == (
        2,
        "unface: device: expected cpu or one of the 0 GPUs that torch can use, got cuda\n",
    )


def test_a_damaged_image_ends_it_in_one_line(root, tmp_path):
    shutil.copytree(root, tmp_path / "root")
    (tmp_path / "root/images/dark/0003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = unface(*train(tmp_path / "root", tmp_path / "dst"))
    assert done.returncode == 2
    assert "dark/0003.png: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_other_folders_are_left_alone(root, tmp_path):
    command = ["--epochs", "1"]
    assert unface(*train(root, tmp_path, *command)).returncode == 0
    done = unface(*train(root, tmp_path, *command, "--seed", "2"))
    assert done.returncode == 2
    assert "was trained with seed 1, this run has 2; choose another output folder" in done.stderr
