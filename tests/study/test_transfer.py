import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from study_training import Silent
from transfer_sets import make_celeba, make_cifar10, make_voc
from unface.analysis.transfer import read_transfers
from unface.errors import InputError, UnfaceError
from unface.predictions import read_predictions
from unface.predictions.attributes import average_precisions, read_attributes
from unface.predictions.detections import read_detections
from unface.study.architectures import build
from unface.study.checkpoints import Network, load_network, read_checkpoint
from unface.study.computing import Computing
from unface.study.detection import build_detector
from unface.study.recipes import Recipe
from unface.study.tasks import open_task
from unface.study.tasks.attributes import ATTRIBUTES
from unface.study.tasks.celeba import NAMES
from unface.study.training import Diverged, Pace, read_log
from unface.study.transfer import Choices, Transfer, best_rate, transfer, transfer_of

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Computing("cpu", deterministic=True)
OFTEN = Pace(log_steps=1, checkpoint_seconds=0.0)
TINY = Recipe(epochs=2, batch=8, step_epochs=1, image_px=32)


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    return open_task(f"cifar10:{make_cifar10(tmp_path_factory.mktemp('cifar10'))}", altered=True)


@pytest.fixture(scope="module")
def features():
    """A network as another training might have left it."""
    torch.manual_seed(3)
    return Network(build("shufflenet_v2_x1_0", 7), "shufflenet_v2_x1_0", "overlaid", 1, None, "f" * 64)


def asked(task, features=None, **options):
    recipe = options.pop("recipe", TINY)
    return Transfer(task, "shufflenet_v2_x1_0", features, recipe, **{"seed": 1, "rates": (0.02, 1e-4), **options})


def run_of(folder, name):
    return folder / "runs" / name


def test_the_best_rate_on_validation_images_is_taken(cifar10, features, tmp_path):
    path = transfer(asked(cifar10, features), tmp_path, CPU, OFTEN, Silent())
    run = run_of(tmp_path, "shufflenet_v2_x1_0-overlaid-s1")
    scores = json.loads((run / "search/search.json").read_text())["validation"]
    logs = {rate: read_log(run / f"search/lr-{rate}")[-1] for rate in scores}
    assert scores == {rate: log["validation_top1"] for rate, log in logs.items()}
    best = max(scores, key=lambda rate: scores[rate])
    assert read_log(run)[0]["learning_rate"] == float(best)
    assert read_log(run)[-1]["step"] == 2 * 40 // 8  # of all training images
    assert logs[best]["step"] == 2 * -(-36 // 8)
    assert not list((run / "search").rglob("*.safetensors"))
    predictions = read_predictions(path)
    assert path.name == "shufflenet_v2_x1_0-overlaid-original-s1.parquet"
    assert predictions.evaluation.dataset == "cifar10-altered"
    assert predictions.images == 20
    network = load_network(str(run / "weights.safetensors"))
    assert predictions.evaluation.checkpoint_sha256 == network.sha256
    assert read_transfers(tmp_path).starts == ["overlaid"]


@pytest.mark.parametrize("last_step", [4, 7])
def test_interrupted_it_goes_on(cifar10, features, tmp_path, last_step):
    """While it seeks a rate, and then in the last training, whose steps go further."""
    wanted = asked(cifar10, features, search_epochs=1)
    whole = transfer(wanted, tmp_path / "whole", CPU, OFTEN, Silent())
    with pytest.raises(KeyboardInterrupt):
        transfer(wanted, tmp_path / "killed", CPU, OFTEN, Silent(last_step))
    run = run_of(tmp_path / "killed", wanted.name)
    assert (run / "search/search.json").exists() == (last_step == 7)
    assert transfer(wanted, tmp_path / "killed", CPU, OFTEN, Silent()).read_bytes() == whole.read_bytes()
    before = whole.stat().st_mtime_ns
    transfer(wanted, tmp_path / "whole", CPU, OFTEN, Silent())
    assert whole.stat().st_mtime_ns == before


def test_other_weights_or_rates_are_another_run(cifar10, features, tmp_path):
    transfer(asked(cifar10, features, rates=(0.02,)), tmp_path, CPU, OFTEN, Silent())
    other = replace(features, sha256="e" * 64)
    with pytest.raises(InputError, match="was trained with begun_from 'ffff"):
        transfer(asked(cifar10, other, rates=(0.02,)), tmp_path, CPU, OFTEN, Silent())
    with pytest.raises(InputError, match=r"was trained with recipe\.learning_rate 0\.02, this run has 0\.01"):
        transfer(asked(cifar10, features, rates=(0.01,)), tmp_path, CPU, OFTEN, Silent())


def test_other_searches_are_another_run(cifar10, tmp_path):
    best_rate(asked(cifar10, search_epochs=1), tmp_path, CPU, OFTEN, Silent())
    with pytest.raises(InputError, match=r"search.json: was made with other data or options"):
        best_rate(asked(cifar10, search_epochs=1, seed=2), tmp_path, CPU, OFTEN, Silent())
    (tmp_path / "search.json").write_text("[]")
    with pytest.raises(InputError, match="expected the scores of a search"):
        best_rate(asked(cifar10, search_epochs=1), tmp_path, CPU, OFTEN, Silent())


def test_rates_that_tear_a_network_apart_lose(cifar10, tmp_path):
    assert (
        best_rate(asked(cifar10, rates=(1e30, 1e-3), search_epochs=1), tmp_path / "one", CPU, OFTEN, Silent()) == 1e-3
    )
    with pytest.raises(Diverged, match="no number with any learning rate"):
        best_rate(asked(cifar10, rates=(1e30, 1e31), search_epochs=1), tmp_path / "all", CPU, OFTEN, Silent())


def test_lack_of_memory_is_no_bad_rate(cifar10, tmp_path, monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("unface.study.training.loss_and_logits", never)
    with pytest.raises(UnfaceError, match="memory is short"):
        best_rate(asked(cifar10), tmp_path, CPU, OFTEN, Silent())


def test_first_weights_are_the_features(cifar10, features, tmp_path):
    """After one step at almost no rate only the output layer is new."""
    slow = asked(cifar10, features, rates=(1e-12,), recipe=replace(TINY, epochs=1, weight_decay=0.0))
    transfer(slow, tmp_path, CPU, OFTEN, Silent())
    ours = read_checkpoint(run_of(tmp_path, slow.name) / "weights.safetensors").part("network.")
    theirs = features.module.state_dict()
    for name in ours:
        if name.startswith("fc."):
            assert ours[name].shape[0] == 10
        elif "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-6)


def test_attributes_are_learned_by_the_loss_of_pytorch():
    rng = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    views = torch.randint(0, 256, (6, 8, 8, 3), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, 2, (6, 5), generator=rng)
    loss, right = ATTRIBUTES.loss("resnet18", network, views, labels, CPU)
    planes = views.permute(0, 3, 1, 2) / 255
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    logits = network((planes - mean[:, None, None]) / deviation[:, None, None])
    wanted = nn.BCEWithLogitsLoss()(logits, labels.float())
    assert loss.item() == pytest.approx(6 * wanted.item(), rel=1e-5)
    assert right.item() == pytest.approx(((logits.sigmoid() > 0.5) == labels.bool()).float().sum().item() / 5)


def test_celeba(tmp_path):
    """Trains, is killed, goes on, tells validation mAP, and learns the one attribute that shows."""
    task = open_task(f"celeba:{make_celeba(tmp_path / 'data', NAMES, (48, 12, 24))}", altered=True)
    wanted = asked(task, rates=(0.05, 0.02), recipe=replace(TINY, epochs=6, step_epochs=4), search_epochs=1)
    with pytest.raises(KeyboardInterrupt):
        transfer(wanted, tmp_path / "out", CPU, OFTEN, Silent(20))
    path = transfer(wanted, tmp_path / "out", CPU, OFTEN, Silent())
    results = read_attributes(path)
    assert results.logits.shape == (24, 40)
    np.testing.assert_array_equal(results.labels, task.splits.test.images.labels)
    assert average_precisions(results.logits, results.labels)[NAMES.index("Male")] > 0.9
    log = read_log(run_of(tmp_path / "out", wanted.name) / "search/lr-0.05")[-1]
    metrics = pytest.importorskip("sklearn.metrics")
    assert 0 < log["validation_map"] <= 1
    assert "right_attributes" in log
    has = results.labels.any(axis=0)
    theirs = metrics.average_precision_score(results.labels[:, has], results.logits[:, has].astype(float))
    run = next(iter(read_transfers(tmp_path / "out").runs.values()))[1]
    assert run.value("mAP") == pytest.approx(theirs)


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return open_task(f"voc:{make_voc(tmp_path_factory.mktemp('voc'), 2)}", altered=True)


def test_voc_detection_trains_goes_on_and_is_evaluated(voc, tmp_path):
    """On the same engine; the first stage and all statistics stay those of the features."""
    torch.manual_seed(0)
    trained = build("resnet18", 4)
    with torch.no_grad():  # its normalisation has seen something
        trained(torch.randn(16, 3, 64, 64))
    features = Network(trained, "resnet18", "blurred", 1, None, "f" * 64)
    recipe = replace(voc.recipe, epochs=2, step_epochs=1, image_px=64)
    wanted = Transfer(voc, "resnet18", features, recipe, 1, (0.005,))
    whole = transfer(wanted, tmp_path / "whole", CPU, Pace(1), Silent())
    log = read_log(run_of(tmp_path / "whole", wanted.name))
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert [line["learning_rate"] for line in log] == pytest.approx([0.005] * 2 + [0.0005] * 2)
    assert log[-1]["loss"] < log[0]["loss"]
    assert "top1" not in log[-1]
    with pytest.raises(KeyboardInterrupt):
        transfer(wanted, tmp_path / "killed", CPU, OFTEN, Silent(2))
    assert transfer(wanted, tmp_path / "killed", CPU, Pace(1), Silent()).read_bytes() == whole.read_bytes()
    weights = read_checkpoint(run_of(tmp_path / "whole", wanted.name) / "weights.safetensors").part("network.")
    theirs = features.module.state_dict()
    for name in ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.1.bn2.running_var"):
        assert torch.equal(weights[f"backbone.body.{name}"], theirs[name]), name
    assert not torch.equal(weights["backbone.body.layer4.0.conv1.weight"], theirs["layer4.0.conv1.weight"])
    results = read_detections(whole)
    assert len(results.found) == 2
    assert [len(each.labels) for each in results.truth] == [2, 2]
    assert all(((each.labels >= 0) & (each.labels < 20)).all() for each in results.found)
    assert read_transfers(tmp_path / "whole").metrics == ["mAP, 11-point", "mAP, area"]


def test_one_step_is_that_of_torchvision(voc):
    """The loss and the flips, against torchvision's detector fed by hand."""
    torch.manual_seed(0)
    detector = build_detector("resnet18", 20, 64, False).train()
    views, targets = next(voc.objective.batches(*_step_of(voc)))
    torch.manual_seed(5)
    loss, _ = voc.objective.loss("resnet18", detector, views, targets, CPU)
    torch.manual_seed(5)
    told = detector([view / 255 for view in views], targets)
    assert loss.item() == pytest.approx(2 * sum(each.item() for each in told.values()))
    for view, target in zip(views, targets, strict=True):
        for box, label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            square = view[:, box[1] : box[3], box[0] : box[2]].float()
            assert (square.mean() > 230) == (label == 8)  # cats are light, wherever the flip put them


def _step_of(voc):
    from unface.study.computing import World
    from unface.study.loading import Schedule
    from unface.study.training import Training

    training = Training("resnet18", voc.splits.train, replace(voc.recipe, image_px=64), 1)
    return training, Schedule(4, 2, 1), range(2), World(), CPU


def test_detection_has_one_rate_and_a_resnet_and_whole_images(voc, tmp_path):
    with pytest.raises(InputError, match="learning-rate: expected one for voc-altered, got 2"):
        transfer_of(voc, "resnet18", None, 1, Choices((0.02, 0.01)))
    with pytest.raises(InputError, match="architecture: expected a ResNet for detection, got vgg11"):
        transfer_of(voc, "vgg11", None, 1, Choices())
    with pytest.raises(InputError, match="packed: expected none for voc-altered, which needs whole images"):
        transfer_of(voc, "resnet18", None, 1, Choices(packed=tmp_path))
    assert not list(tmp_path.iterdir())
