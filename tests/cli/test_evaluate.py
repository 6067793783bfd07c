import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from study_commands import files, kill_when, unface
from study_sets import make_squares

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # as in the processes that are killed
from torchvision import models, transforms  # noqa: E402

from unface.predictions import read_predictions  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    make_squares(folder, "inside", 1100)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights as torchvision's files have them."""
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.manual_seed(0)
    network = models.shufflenet_v2_x1_0(num_classes=2)
    with torch.no_grad():  # its normalisation has seen something, so that not everything comes out as 0
        for _ in range(20):
            network(torch.randn(16, 3, 32, 32))
    torch.save(network.state_dict(), path)
    return path


def evaluate(root, dst, weights, *more):
    options = ["--architecture", "shufflenet_v2_x1_0", "--image-px", "32", "--workers", "0", "--device", "cpu"]
    settings = [word for name in ("original", "red", "mean", "blurred") for word in ("--setting", name)]
    common = ["--weights", weights, "--faces", root / "faces.parquet", *options, *settings]
    return ["evaluate", root / "images", dst, *common, *more]


@pytest.fixture(scope="module")
def result(root, weights, tmp_path_factory):
    dst = tmp_path_factory.mktemp("whole")
    done = unface(*evaluate(root, dst, weights, "--json"))
    assert done.returncode == 0, done.stderr
    return dst, json.loads(done.stdout)


def digests(dst):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files(dst / "predictions", "*")}


def test_kill_9_changes_nothing(root, weights, result, tmp_path):
    assert kill_when(lambda: bool(files(tmp_path, "000000.safetensors")), *evaluate(root, tmp_path, weights))
    assert not files(tmp_path, "*.parquet")
    assert unface(*evaluate(root, tmp_path, weights)).returncode == 0
    assert digests(tmp_path) == digests(result[0])
    assert len(digests(tmp_path)) == 4
    assert not files(tmp_path, "*.part")
    assert [path.name for path in files(tmp_path / ".unface", "*")] == ["evaluated.json"]


def test_predictions_are_what_torchvision_says(root, weights, result):
    """Ten images of the setting original, through torchvision's transforms and network."""
    network = models.shufflenet_v2_x1_0(num_classes=2)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    steps = transforms.Compose([transforms.Resize(37), transforms.CenterCrop(32), transforms.ToTensor(), normalise])
    predictions = read_predictions(result[0] / "predictions/shufflenet_v2_x1_0-pretrained-original.parquet")
    ids = predictions.outcomes().image_ids.to_pylist()[::220]
    images = torch.stack([steps(Image.open(root / "images" / name).convert("RGB")) for name in ids])
    with torch.inference_mode():
        wanted = network(images).numpy()
    ours = np.concatenate(list(predictions.logits()))[::220]
    np.testing.assert_allclose(ours, wanted, atol=0.02 * np.abs(wanted).max())
    assert predictions.evaluation.checkpoint_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_accuracies_are_those_of_the_predictions(result):
    dst, told = result
    for row, path in zip(told["accuracy"], told["predictions"], strict=True):
        outcomes = read_predictions(dst.parent / path).outcomes()
        assert row["top1"] == pytest.approx((outcomes.top5[:, 0] == outcomes.labels).mean())
        assert row["top5"] == 1.0
        assert row["images"] == 2200
    with (dst / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for setting in ("original", "red", "mean", "blurred"):
        top1 = [float(row["top1"]) for row in rows if row["eval"] == setting]
        overall = next(row["top1"] for row in told["accuracy"] if row["eval"] == setting)
        assert np.mean(top1) == pytest.approx(overall)


def test_settings_differ_and_the_same_pixels_are_told_the_same(result):
    named = {path.stem.split("-")[2]: read_predictions(path) for path in files(result[0], "*.parquet")}
    logits = {name: np.concatenate(list(each.logits())) for name, each in named.items()}
    for name in ("red", "mean", "blurred"):
        assert (logits[name] != logits["original"]).any(axis=1).mean() > 0.9


def test_it_is_not_done_again(root, weights, result):
    before = {path: path.stat().st_mtime_ns for path in files(result[0], "*.parquet")}
    assert unface(*evaluate(root, result[0], weights)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--weights", "missing.pth"], "weights: expected a file or a name of unface models, got missing.pth"),
        (["--weights", "missing.safetensors"], "missing.safetensors: expected a checkpoint, found no such file"),
        (["--architecture", "resnet18"], "expected weights that fit"),
        (["--setting", "nothing"], "setting nothing: expected original"),
    ],
)
def test_wrong_use_is_one_line(root, weights, tmp_path, more, said):
    done = unface(*evaluate(root, tmp_path / "dst", weights, *more))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_pickles_that_would_run_something_are_refused(root, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"weight": Hostile()}, tmp_path / "bad.pth")
    done = unface(*evaluate(root, tmp_path / "dst", tmp_path / "bad.pth"))
    assert done.returncode == 2
    assert "bad.pth: expected weights of torchvision" in done.stderr
    assert "run\n" not in done.stdout
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04junk" * 50)
    done = unface(*evaluate(root, tmp_path / "dst", tmp_path / "bad.safetensors"))
    assert "bad.safetensors: expected a checkpoint of unface train" in done.stderr


def test_classes_must_be_the_networks(root, tmp_path):
    torch.save(models.shufflenet_v2_x1_0(num_classes=5).state_dict(), tmp_path / "five.pth")
    done = unface(*evaluate(root, tmp_path / "dst", tmp_path / "five.pth"))
    assert done.returncode == 2
    assert "classes: expected 5, one for each output of shufflenet_v2_x1_0, got 2" in done.stderr
