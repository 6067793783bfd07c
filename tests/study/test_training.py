import os
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from torch import nn

from study_sets import make_squares
from study_training import EACH_STEP, TINY, Silent, make_training, plain_network, smallest_network
from unface.errors import InputError, UnfaceError
from unface.study import training as module
from unface.study.checkpoints import read_checkpoint
from unface.study.computing import Computing
from unface.study.loading import Schedule, training_batches
from unface.study.recipes import PRESETS, Recipe, find_recipe
from unface.study.training import Pace, read_log, train
from unface.study.views import as_input

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Computing("cpu")
EXACT = Computing("cpu", "float64")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    make_squares(folder, "inside", 10, 40)
    return folder


def weights_of(folder):
    return read_checkpoint(folder / "weights.safetensors").part("network.")


def assert_equal(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **({"rtol": 0, "atol": 0} | tolerance))


def told(folder):
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in read_log(folder)]


def test_the_presets_are_the_papers_recipe():
    paper = PRESETS["paper"]
    assert paper == Recipe(90, 256, None, 0.9, 1e-4, 30, None, None)
    rates = [paper.rate_at(epoch, 0.1) for epoch in range(90)]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    for rate in rates:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert paper.sizes_px(224) == (224, 256)
    assert paper.sizes_px(299) == (299, 342)  # as torchvision evaluates Inception v3
    assert {recipe.epochs / recipe.step_epochs for recipe in PRESETS.values()} == {3}
    with pytest.raises(InputError, match="preset: expected paper, paper-30, paper-15, got fast"):
        find_recipe("fast")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch": 1}, "batch"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"momentum": 1}, "momentum"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"image_px": 32, "resize_px": 31}, "resize_px: expected at least image_px"),
    ],
)
def test_recipes_that_are_none(options, said):
    with pytest.raises(InputError, match=said):
        Recipe(**options)


def test_training_is_the_plain_loop_of_pytorch(root, tmp_path):
    """The same weights as SGD, StepLR and mean cross-entropy give on the same batches."""
    training = make_training(root, make=plain_network)
    train(training, tmp_path, EXACT, EACH_STEP, Silent())
    torch.manual_seed(1)
    network = plain_network("", 2).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    schedule = Schedule(20, 8, 1)
    batches = training_batches(training.reader, 32, schedule, range(9), 0, 1, 0, False)
    for _ in range(3):
        for views, labels in islice(batches, 3):
            loss = nn.functional.cross_entropy(network(as_input(views, torch.device("cpu"), torch.float64)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
    assert_equal(weights_of(tmp_path), network.state_dict(), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    """MobileNet: it has batch normalisation and dropout."""
    folder = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    training = make_training(root, "blurred", "mobilenet_v2", validation=make_training(root).reader)
    train(training, folder, replace(CPU, deterministic=True), EACH_STEP, Silent())
    return folder


@pytest.mark.parametrize("kills", [[1, 5], [3, 8, 8]])
def test_a_killed_training_ends_with_the_same_weights_and_log(root, undisturbed, tmp_path, kills):
    training = make_training(root, "blurred", "mobilenet_v2", validation=make_training(root).reader)
    computing = replace(CPU, deterministic=True)
    for last in kills:
        with pytest.raises(KeyboardInterrupt):
            train(training, tmp_path, computing, EACH_STEP, Silent(last))
        torch.rand(7)  # whatever else has happened to the random state
    display = Silent()
    train(training, tmp_path, computing, EACH_STEP, display)
    assert display.begun == [kills[-1] - 1]
    assert_equal(weights_of(tmp_path), weights_of(undisturbed))
    assert told(tmp_path) == told(undisturbed)
    assert len(told(tmp_path)) == 9
    assert {"validation_top1", "validation_top5"} <= told(tmp_path)[-1].keys()
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_checkpoints_and_logs_may_be_rare(root, undisturbed, tmp_path):
    """How often things are written changes no weight; what was logged after the last checkpoint is logged once."""
    training = make_training(root, "blurred", "mobilenet_v2", validation=make_training(root).reader)
    rare = Pace(log_steps=2, checkpoint_seconds=1e9)
    computing = replace(CPU, deterministic=True)
    with pytest.raises(KeyboardInterrupt):
        train(training, tmp_path, computing, rare, Silent(8))
    assert [line["step"] for line in told(tmp_path)] == [2, 3, 4, 6, 8]
    display = Silent()
    train(training, tmp_path, computing, rare, display)
    assert display.begun == [0]
    assert [line["step"] for line in told(tmp_path)] == [2, 3, 4, 6, 8, 9]
    assert_equal(weights_of(tmp_path), weights_of(undisturbed))


def events_of(path):
    """Records of TensorBoard's format: a length and its checksum, the event and its checksum.

    The package tensorboard itself brings a grpcio that makes Ray's workers crash.
    """
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_the_events_are_tensorboards(undisturbed):
    (path,) = (undisturbed / "tensorboard").glob("events.out.tfevents.*")
    told_of = [(each.step, value) for each in events_of(path) for value in each.summary.value]
    losses = [(step, value.simple_value) for step, value in told_of if value.tag == "loss"]
    assert [step for step, _ in losses] == list(range(1, 10))
    np.testing.assert_allclose([loss for _, loss in losses], [line["loss"] for line in told(undisturbed)], rtol=1e-5)
    assert sum(value.tag == "validation_top1" for _, value in told_of) == 3


def test_a_finished_training_is_not_done_again(root, undisturbed):
    training = make_training(root, "blurred", "mobilenet_v2")
    display = Silent()
    assert train(training, undisturbed, CPU, EACH_STEP, display) == undisturbed / "weights.safetensors"
    assert not display.begun


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 2}, "was trained with seed 1, this run has 2"),
        ({"recipe": replace(TINY, epochs=4)}, r"was trained with recipe\.epochs 3, this run has 4"),
        ({"setting": "original"}, r"was trained with setting\.name 'blurred', this run has 'original'"),
        ({"architecture": "resnet18"}, "architecture 'mobilenet_v2'"),
    ],
)
def test_another_training_is_refused(root, undisturbed, options, said):
    with pytest.raises(InputError, match=said):
        train(
            make_training(root, **{"setting": "blurred", "architecture": "mobilenet_v2", **options}),
            undisturbed,
            CPU,
            EACH_STEP,
            Silent(),
        )


def test_a_damaged_checkpoint_is_refused(root, tmp_path):
    training = make_training(root, make=plain_network)
    with pytest.raises(KeyboardInterrupt):
        train(training, tmp_path, CPU, EACH_STEP, Silent(3))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: expected a checkpoint of unface train"):
        train(training, tmp_path, CPU, EACH_STEP, Silent())


def test_small_parts_of_a_batch_add_up(root, tmp_path):
    training = make_training(root, make=plain_network)
    train(training, tmp_path / "whole", EXACT, EACH_STEP, Silent())
    train(training, tmp_path / "parts", replace(EXACT, micro_batch=3), EACH_STEP, Silent())
    assert_equal(weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts"), rtol=1e-9, atol=1e-12)


def test_where_memory_is_short_parts_become_smaller(root, tmp_path, monkeypatch):
    most = []
    real = module.loss_and_logits

    def short(name, network, images, labels):
        most.append(len(images))
        if len(images) > 4 and len(most) > 4:  # not from the beginning: a checkpoint is there
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(name, network, images, labels)

    monkeypatch.setattr(module, "loss_and_logits", short)
    training = make_training(root, make=plain_network)
    train(training, tmp_path / "short", EXACT, EACH_STEP, Silent())
    assert max(most[:5]) == 8
    assert set(most[5:]) == {4}
    monkeypatch.undo()
    train(training, tmp_path / "whole", EXACT, EACH_STEP, Silent())
    assert_equal(weights_of(tmp_path / "whole"), weights_of(tmp_path / "short"), rtol=1e-9, atol=1e-12)
    assert [line["step"] for line in told(tmp_path / "short")] == list(range(1, 10))


def test_memory_for_four_images_is_needed(root, tmp_path, monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "loss_and_logits", never)
    with pytest.raises(UnfaceError, match="memory is short"):
        train(make_training(root, make=plain_network), tmp_path, EXACT, EACH_STEP, Silent())


def test_a_loss_that_is_no_number_ends_the_training(root, tmp_path):
    wild = replace(TINY, learning_rate=1e30)
    with pytest.raises(UnfaceError, match=r"step \d+: the loss is (nan|inf)"):
        train(make_training(root, make=plain_network, recipe=wild), tmp_path, CPU, EACH_STEP, Silent())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_and_goes_on(root, tmp_path, precision):
    training = make_training(root, make=plain_network)
    computing = Computing("cpu", precision)
    train(training, tmp_path / "whole", computing, EACH_STEP, Silent())
    with pytest.raises(KeyboardInterrupt):
        train(training, tmp_path / "killed", computing, EACH_STEP, Silent(4))
    train(training, tmp_path / "killed", computing, EACH_STEP, Silent())
    assert_equal(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))
    train(training, tmp_path / "float", CPU, EACH_STEP, Silent())
    assert_equal(weights_of(tmp_path / "whole"), weights_of(tmp_path / "float"), rtol=0.1, atol=0.05)
    assert all(each.dtype == torch.float32 for each in weights_of(tmp_path / "whole").values())


def test_first_weights_are_the_same_in_every_setting(root, tmp_path):
    for setting in ("original", "blurred"):
        with pytest.raises(KeyboardInterrupt):
            train(make_training(root, setting), tmp_path / setting, CPU, Pace(1, 0.0), Silent(2))
    one, other = (
        read_checkpoint(tmp_path / s / "checkpoint.safetensors").part("network.") for s in ("original", "blurred")
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.allclose(one["fc.weight"], other["fc.weight"], atol=0.05)


def test_two_processes_are_one(root, tmp_path):
    """torchrun with gloo; the last batch of an epoch, 4 images, is shared as well."""
    script = Path(__file__).parents[1] / "study_training.py"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parent)}
    command = [*torchrun, str(script), str(root), str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    train(make_training(root, make=plain_network), tmp_path / "one", EXACT, EACH_STEP, Silent())
    assert_equal(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(told(tmp_path / "one"), told(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_it_learns_the_same(root, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    training = make_training(root, make=smallest_network, recipe=replace(TINY, batch=10, epochs=2))
    train(training, tmp_path / "plain", EXACT, EACH_STEP, Silent())
    train(training, tmp_path / "compiled", replace(EXACT, compiled=True), EACH_STEP, Silent())
    assert (tmp_path / "cache").exists()  # it was compiled
    assert_equal(weights_of(tmp_path / "plain"), weights_of(tmp_path / "compiled"), rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("computing", [Computing("cuda", "bf16"), Computing("cuda", "fp16", compiled=True)])
def test_on_a_gpu(root, tmp_path, computing):
    train(make_training(root), tmp_path, computing, EACH_STEP, Silent())
    assert told(tmp_path)[-1]["loss"] < told(tmp_path)[0]["loss"] * 2
