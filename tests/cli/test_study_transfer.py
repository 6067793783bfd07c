"""A study that finetunes its networks for other tasks."""

import csv
import json
import shutil

import pytest

from study_commands import files, kill_when, unface
from study_sets import make_squares
from transfer_sets import make_celeba, make_cifar10, make_voc

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # as in the processes that are killed
from unface.errors import InputError  # noqa: E402
from unface.study.config import read_study  # noqa: E402
from unface.study.tasks.celeba import NAMES  # noqa: E402

STUDY = """
architectures = ["shufflenet_v2_x1_0"]
train_settings = ["original", "red"]
eval_settings = ["original", "red"]
seeds = [3]

[data]
train = "train/images"
train_faces = "train/faces.parquet"
evaluation = "validation/images"
evaluation_faces = "validation/faces.parquet"

[training]
epochs = 1
batch = 16
learning_rate = 0.03
image_px = 32

[[transfer]]
task = "cifar10:data"
altered = true
learning_rates = [0.03, 0.001]
epochs = 2
search_epochs = 1
step_epochs = 1
batch = 8
image_px = 32

[[transfer]]
task = "celeba:data"
altered = true
starts = ["none", "red"]
learning_rates = [0.01]
epochs = 1
batch = 8
image_px = 32

[computing]
device = "cpu"
workers = 0
checkpoint_seconds = 0
deterministic = true
"""
TRAININGS = ["shufflenet_v2_x1_0-original-s3", "shufflenet_v2_x1_0-red-s3"]
TRANSFERS = [
    *(f"cifar10-altered/shufflenet_v2_x1_0-{start}-s3" for start in ("none", "original", "red")),
    *(f"celeba-altered/shufflenet_v2_x1_0-{start}-s3" for start in ("none", "red")),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    make_squares(folder / "train", "inside", 12)
    make_squares(folder / "validation", "inside", 8, seed=1)
    make_cifar10(folder / "data", 24, 12)
    make_celeba(folder / "data", NAMES, (16, 4, 8))
    make_voc(folder / "data", 2)
    return folder


def written(place, *changes, name="study.toml"):
    """The study, each of whose changes replaces a text by another."""
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (place / name).write_text(text)
    return place / name


def results(out):
    """What must not depend on how often a study was killed."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in [
            *files(out / "predictions", "*"),
            *files(out / "transfer", "*.parquet"),
            *files(out, "search.json"),
        ]
    }


@pytest.fixture(scope="module")
def whole(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "whole"
    done = unface("study", "run", written(place), "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["runs"], told["failed"], told["left_out"]) == (7, [], [])
    return out


def test_plan_lists_trainings_and_transfers(place, whole, tmp_path):
    plan = json.loads(unface("study", "run", written(place), "-o", tmp_path / "out", "--plan", "--json").stdout)
    assert [run["name"] for run in plan["runs"]] == TRAININGS + TRANSFERS
    assert all(run["state"] == "waiting" and run["hours"] > 0 for run in plan["runs"])
    assert plan["disk_bytes"] > 7 * 4 * 1_258_000  # ShuffleNet's parameters, 7 times, with small heads
    assert not (tmp_path / "out").exists()
    hours = {run["name"]: run["hours"] for run in plan["runs"]}
    trained, viewed = 24 * 2 + 2 * 22, 12 + 2 * 2  # two rates are tried on 22 images and seen on 2 for an epoch each
    assert hours[TRANSFERS[1]] / hours[TRANSFERS[4]] == pytest.approx((3 * trained + viewed) / (3 * 16 + 8))
    said = unface("study", "run", written(place), "-o", whole, "--plan").stdout
    assert said.count(" done ") == 7
    assert said.count("(measured)") == 7
    assert "transfer to cifar10-altered: 24 training and 12 test images" in said


def test_results_are_those_of_unface_transfer(place, whole, tmp_path):
    options = [
        "--altered",
        "--epochs",
        "1",
        "--batch",
        "8",
        "--image-px",
        "32",
        "--learning-rate",
        ".01",
        "--seed",
        "3",
    ]
    computing = ["--device", "cpu", "--workers", "0", "--deterministic"]
    weights = whole / "runs" / TRAININGS[1] / "weights.safetensors"
    done = unface("transfer", f"celeba:{place / 'data'}", tmp_path, "--from", weights, *options, *computing)
    assert done.returncode == 0, done.stderr
    name = "celeba-altered/predictions/shufflenet_v2_x1_0-red-original-s3.parquet"
    assert (tmp_path / name).read_bytes() == (whole / "transfer" / name).read_bytes()


def test_status_tables_and_page(whole):
    status = json.loads(unface("study", "status", whole, "--json").stdout)
    assert {name: each["state"] for name, each in status.items()} == dict.fromkeys(TRAININGS + TRANSFERS, "done")
    with (whole / "tables/transfer_cifar10-altered.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {"none", "original", "red", "red gain"} <= row.keys()
    assert (whole / "tables/transfer_celeba-altered.tex").exists()
    page = (whole / "report.html").read_text()
    assert "cifar10-altered, top-1, percent; gain: over original" in page
    assert "celeba-altered, mAP, percent" in page


def test_kill_9_changes_nothing(place, whole, tmp_path):
    """Killed while the second transfer seeks its rate, one being tried; the third has not begun."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    for name in TRANSFERS[1:3]:
        shutil.rmtree(out / "transfer" / name.replace("/", "/runs/"))
        (out / "transfer" / f"{name.replace('/', '/predictions/')[:-3]}-original-s3.parquet").unlink()
    command = ("study", "run", written(place), "-o", out)
    search = out / "transfer" / TRANSFERS[1].replace("/", "/runs/") / "search"
    assert kill_when(lambda: bool(files(search, "weights.safetensors")), *command)
    states = {each["state"] for each in json.loads(unface("study", "status", out, "--json").stdout).values()}
    assert "done" in states
    assert states != {"done"}
    assert unface(*command).returncode == 0
    assert results(out) == results(whole)
    assert len(results(out)) == 4 + 5 + 3


def test_a_failed_training_leaves_its_transfers_out(place, tmp_path):
    path = written(place, ("learning_rate = 0.03", "learning_rate = 1e30"), name="failing.toml")
    done = unface("study", "run", path, "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["failed"] == TRAININGS
    assert told["left_out"] == [TRANSFERS[1], TRANSFERS[2], TRANSFERS[4]]
    assert "3 transfers left out, whose networks are not trained:" in done.stderr
    status = json.loads(unface("study", "status", tmp_path / "out", "--json").stdout)
    assert status[TRANSFERS[0]]["state"] == "done"
    assert status[TRANSFERS[1]] == {"state": "waiting", "detail": f"for {TRAININGS[0]}, which failed"}
    assert (tmp_path / "out/tables/transfer_cifar10-altered.csv").exists()  # of what begins with nothing


def test_it_may_grow_but_not_change(place, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = results(out)
    other = written(place, ("search_epochs = 1", "search_epochs = 2"), name="other.toml")
    done = unface("study", "run", other, "-o", out)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "was made with transfer.cifar10-altered.search_epochs 1, this study has 2" in done.stderr
    grown = written(place, ('starts = ["none", "red"]\n', ""), name="grown.toml")
    assert unface("study", "run", grown, "-o", out).returncode == 0
    assert before.items() < results(out).items()
    assert len(results(out)) == len(before) + 1


CIFAR, CELEBA = 'task = "cifar10:data"', 'task = "celeba:data"'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (CIFAR, 'task = "mnist:data"', r"transfer\.0: task: expected cifar10:PATH, .*, got mnist:data"),
        (CIFAR, 'task = "cifar10"', r"transfer\.0: task: expected cifar10:PATH, "),
        (CIFAR, "task = 3", r"transfer\.0\.task: expected a valid string, got 3"),
        (CIFAR, "", r"transfer\.0\.task: expected this key, found none"),
        (CIFAR, f"{CIFAR}\nmomentum = 1", r"transfer\.0\.momentum: expected no such key"),
        (
            CIFAR,
            f'{CIFAR}\narchitectures = ["vgg11"]',
            r"architectures: expected some of the study's, shuffle.*, got vgg",
        ),
        (CIFAR, f"{CIFAR}\narchitectures = []", r"architectures: expected some of the study's, .*, got \[\]"),
        (
            CIFAR,
            f'{CIFAR}\nstarts = ["none", "none"]',
            r"starts: expected some of the study's, none, original, red, got",
        ),
        (CELEBA, 'task = "cifar10:elsewhere"', "transfer: expected different tasks, got one twice"),
        ('["none", "red"]', '["blurred"]', r"transfer\.1: starts: expected some of the study's, .*, got blurred"),
        ("[0.03, 0.001]", "[]", r"transfer\.0\.learning_rates: expected"),
        ("[0.03, 0.001]", "[0.03, 0]", r"transfer\.0: learning_rate: expected more than 0, got 0"),
        ("search_epochs = 1", "search_epochs = 0", r"transfer\.0\.search_epochs: expected .* 1, got 0"),
        ("step_epochs = 1", "step_epochs = 0", r"transfer\.0: step_epochs: expected at least 1, got 0"),
        ("[[transfer]]", "[transfer]", "expected a study in TOML"),
        ("[data]", '[settings.none]\nmethod = "blur"\n[data]', r"settings\.none: expected a name of your own"),
    ],
)
def test_hostile_files_are_one_line(place, old, new, said):
    path = written(place, (old, new), name="hostile.toml")
    with pytest.raises(InputError, match=said) as caught:
        read_study(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (CIFAR, 'task = "sun397:nowhere"', "sun397: expected the dataset's folder, found none at"),
        (f"{CIFAR}\naltered = true", CIFAR, "cifar10: "),
        (CELEBA, 'task = "voc:data"', "architecture: expected a ResNet for detection, got shufflenet_v2_x1_0"),
        (f"{CELEBA}\naltered = true", CELEBA, "celeba: "),
    ],
)
@pytest.mark.parametrize("plan", [["--plan"], []])
def test_datasets_are_opened_before_anything_is_trained(place, tmp_path, old, new, said, plan):
    path = written(place, (old, new), name="hostile.toml")
    done = unface("study", "run", path, "-o", tmp_path / "out", *plan)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
