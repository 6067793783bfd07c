import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from study_commands import ENVIRONMENT, files, kill_when, unface
from transfer_sets import make_cifar10, make_parquet, make_sun397, make_voc, write_voc

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # as in the processes that are killed
from unface.predictions import read_predictions  # noqa: E402
from unface.study.architectures import build  # noqa: E402
from unface.study.checkpoints import read_checkpoint  # noqa: E402

TINY = ["--image-px", "32", "--batch", "8", "--workers", "0", "--device", "cpu", "--deterministic", "--altered"]
FRESH = ["--architecture", "shufflenet_v2_x1_0"]
RATES = ["--learning-rate", "0.03", "--learning-rate", "0.001"]


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    return f"cifar10:{make_cifar10(tmp_path_factory.mktemp('cifar10'))}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """As torchvision's files are."""
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.manual_seed(0)
    torch.save(build("shufflenet_v2_x1_0", 7).state_dict(), path)
    return path


def test_kill_9_changes_nothing(cifar10, tmp_path):
    """Killed while it seeks the learning rate, one being done; and it learns what light is."""
    command = ["--epochs", "8", "--step-epochs", "6", "--search-epochs", "1", *RATES, *FRESH, *TINY]
    whole = unface("transfer", cifar10, tmp_path / "whole", *command, "--json")
    assert whole.returncode == 0, whole.stderr
    told = json.loads(whole.stdout)
    assert told["task"] == "cifar10-altered"
    (row,) = told["table"]
    assert row["none"] >= 90
    killed = tmp_path / "killed"
    assert kill_when(
        lambda: bool(files(killed, "search/lr-0.03/weights.safetensors")), "transfer", cifar10, killed, *command
    )
    assert not files(killed, "*.parquet")
    done = unface("transfer", cifar10, killed, *command)
    assert done.returncode == 0, done.stderr
    assert "cifar10-altered, top-1, percent\n" in done.stdout
    assert "shufflenet_v2_x1_0" in done.stdout
    for pattern in ("predictions/*.parquet", "search.json"):
        ours, theirs = ([path.read_bytes() for path in files(tmp_path / name, pattern)] for name in ("killed", "whole"))
        assert ours == theirs
        assert ours
    steps = [
        [json.loads(line)["step"] for line in path.read_text().splitlines()] for path in files(killed, "log.jsonl")
    ]
    assert all(one == sorted(set(one)) for one in steps)


def test_two_processes_are_one(cifar10, tmp_path, monkeypatch):
    """torchrun with gloo: they seek the rate and train together, and one evaluates; SqueezeNet normalises nothing."""
    rates = ["--learning-rate", "0.02", "--learning-rate", "0.001"]
    options = [
        "--architecture",
        "squeezenet1_1",
        "--epochs",
        "2",
        "--precision",
        "float64",
        *rates,
        *TINY,
        "--batch",
        "16",
    ]
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, values: values)
    assert unface("transfer", cifar10, tmp_path / "one", *options).returncode == 0
    script = Path(__file__).parents[1] / "undropped.py"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    words = [*torchrun, "transfer", cifar10, tmp_path / "two", *options]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cifar10-altered, top-1") == 1
    one, two = (files(tmp_path / name, "weights.safetensors") for name in ("one", "two"))
    assert len(one) == len(two) == 1
    theirs = read_checkpoint(two[0]).tensors
    for name, tensor in read_checkpoint(one[0]).tensors.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-5, atol=1e-5)
    scores = [json.loads(files(tmp_path / name, "search.json")[0].read_text())["validation"] for name in ("one", "two")]
    assert scores[0] == scores[1]
    told = [read_predictions(files(tmp_path / name, "*.parquet")[0]).outcomes().top5 for name in ("one", "two")]
    assert (told[0] == told[1]).all()


def test_from_weights_and_without(cifar10, weights, tmp_path):
    """Both stand in one table, with the gain of one over the other."""
    common = ["--epochs", "1", "--learning-rate", "0.01", *FRESH, *TINY]
    assert unface("transfer", cifar10, tmp_path, *common).returncode == 0
    done = unface("transfer", cifar10, tmp_path, "--from", weights, *common)
    assert done.returncode == 0, done.stderr
    assert "pretrained gain" in done.stdout
    assert [path.name for path in files(tmp_path, "*.parquet")] == [
        "shufflenet_v2_x1_0-none-original-s1.parquet",
        "shufflenet_v2_x1_0-pretrained-original-s1.parquet",
    ]


def test_sun397_and_a_packed_copy(tmp_path):
    place = make_sun397(tmp_path / "sun")
    common = ["--epochs", "1", "--learning-rate", "0.01", *FRESH, *TINY]
    done = unface("transfer", f"sun397:{place}", tmp_path / "out", *common, "--packed", tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "packed", "*.bin")
    assert "sun397-altered, top-1, percent" in done.stdout


def test_parquet(tmp_path):
    place = make_parquet(tmp_path / "hub")
    done = unface("transfer", f"cifar10:{place}", tmp_path / "out", "--epochs", "1", *RATES, *FRESH, *TINY)
    assert done.returncode == 0, done.stderr
    assert "cifar10-altered, top-1" in done.stdout


def test_tables_of_a_study_take_transfers_in(tmp_path):
    from studies import MadeUp

    out = MadeUp(classes=3, images=5, architectures=("alexnet",), seeds=2).write(tmp_path / "out")
    from unface.predictions import Evaluation, write_predictions

    facts = Evaluation("alexnet", "blurred", "original", 1, ("a", "b"), "cifar10", "0" * 64, "0.1.0")
    (out / "transfer/cifar10/predictions").mkdir(parents=True)
    path = out / "transfer/cifar10/predictions" / facts.file_name
    write_predictions(path, facts, [(["x", "y"], [0, 1], [[1.0, 0.0], [1.0, 0.0]])])
    done = unface("study", "tables", out)
    assert done.returncode == 0, done.stderr
    with (out / "tables/table5_cifar10.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (float(row["blurred"]), float(row["blurred paper"])) == (50, 90.9)
    assert "AlexNet" not in row["network"]
    assert (out / "tables/table5_cifar10.tex").exists()


VOC = ["--architecture", "resnet18", "--epochs", "1", "--workers", "0", "--device", "cpu", "--altered"]


@pytest.mark.skipif("UNFACE_TEST_DATA" not in os.environ, reason="UNFACE_TEST_DATA is not set: no photos of VOC")
def test_voc_on_photos_of_voc(tmp_path):
    """Nine photos with faces, which are called persons, in the layout of VOC: trained, evaluated, told."""
    source = Path(os.environ["UNFACE_TEST_DATA"]) / "dlib_faces"
    photos = []
    for listed in ("training.xml", "testing.xml"):
        for image in ET.parse(source / listed).getroot().iter("image"):
            path = source / image.attrib["file"]
            if path.name[:4] not in ("2007", "2008", "2009"):
                continue
            with Image.open(path) as opened:
                size = opened.size
            sides = [
                [int(box.attrib[side]) for side in ("left", "top", "width", "height")] for box in image.iter("box")
            ]
            boxes = [(max(x, 0) + 1, max(y, 0) + 1, min(x + w, size[0]), min(y + h, size[1])) for x, y, w, h in sides]
            photos.append((path.stem, path.read_bytes(), size, [("person", 0, box) for box in boxes]))
    assert len(photos) >= 6
    third = len(photos) // 3
    write_voc(tmp_path, "2007", "trainval", photos[:third])
    write_voc(tmp_path, "2012", "trainval", photos[third : 2 * third])
    write_voc(tmp_path, "2007", "test", photos[2 * third :])
    done = unface("transfer", f"voc:{tmp_path}", tmp_path / "out", *VOC, "--image-px", "96")
    assert done.returncode == 0, done.stderr
    for metric in ("mAP, 11-point", "mAP, area", "AP of person, 11-point", "AP of person, area"):
        assert metric in done.stdout


@pytest.mark.parametrize(
    ("named", "more", "said"),
    [
        ("mnist:x", FRESH, "task: expected cifar10:PATH, sun397:PATH, celeba:PATH, voc:PATH, folder:PATH, got mnist:x"),
        ("celeba:nowhere", FRESH, "celeba: expected the dataset's folder, found none at nowhere"),
        ("{}", [], "architecture: expected --architecture NAME"),
        ("{}", ["--architecture", "resnet19"], "architecture resnet19: expected one of alexnet"),
        ("{}", [*FRESH, "--learning-rate", "-1"], "learning_rate: expected more than 0, got -1.0"),
        ("{}", [*FRESH, "--from", "missing.safetensors"], "missing.safetensors: expected a checkpoint"),
        ("{}", [*FRESH, "--from", "missing.pth"], "weights: expected a file or a name of unface models"),
        ("folder:.", FRESH, "folder: .: expected train/ and test/"),
    ],
)
def test_wrong_use_is_one_line(cifar10, tmp_path, monkeypatch, named, more, said):
    monkeypatch.chdir(tmp_path)
    done = unface("transfer", named.format(cifar10), tmp_path / "dst", "--altered", "--device", "cpu", *more)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "dst").exists() or not files(tmp_path / "dst", "*.safetensors")


def test_a_dataset_that_is_not_the_published_one_is_refused(cifar10, tmp_path):
    done = unface("transfer", cifar10, tmp_path, *FRESH)
    assert done.returncode == 2
    assert "expected the published files in cifar-10-batches-py" in done.stderr
    assert "download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in done.stderr
    assert done.stderr.count("\n") == 1


def test_one_at_a_time(cifar10, tmp_path):
    from unface.cli.destination import locked

    with locked(tmp_path / "cifar10-altered/runs/shufflenet_v2_x1_0-none-s1"):
        done = unface("transfer", cifar10, tmp_path, *FRESH, *TINY)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "another unface is at work there" in done.stderr


def test_detection_reads_whole_images(tmp_path):
    place = make_voc(tmp_path / "voc", 2)
    done = unface("transfer", f"voc:{place}", tmp_path / "out", *VOC, "--packed", tmp_path / "packed")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "packed: expected none for voc-altered, which needs whole images" in done.stderr
