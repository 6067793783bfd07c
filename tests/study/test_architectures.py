"""Against what torchvision states of its own networks."""

import pytest
import torch

from unface.errors import InputError
from unface.study.architectures import (
    ARCHITECTURES,
    TABLE3,
    build,
    cost,
    input_px,
    last_features,
    learning_rate,
    loss_and_logits,
)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_of_the_paper(name):
    with torch.device("meta"):
        network = build(name, 1000, ported=True)
        auxiliary = [n for n, _ in network.named_parameters() if n.startswith("aux")]  # GoogLeNet's are not counted
        assert sum(p.numel() for n, p in network.named_parameters() if n not in auxiliary) == cost(name).parameters
        network = build(name, 7, ported=True).train()
        features = []
        last_features(name, network).register_forward_hook(lambda *given: features.append(given[2]))
        px = input_px(name)
        loss, logits = loss_and_logits(name, network, torch.rand(2, 3, px, px), torch.zeros(2, dtype=torch.int64))
    assert logits.shape == (2, 7)
    assert loss.shape == ()
    assert features[0].ndim == 4
    assert features[0].shape[2] == {"alexnet": 6, "inception_v3": 8}.get(name, 13 if "squeeze" in name else 7)
    loss.backward()


def test_the_paper_trained_15_and_evaluated_24():
    assert len(TABLE3) == 15
    assert len(ARCHITECTURES) == len(set(ARCHITECTURES)) == 25  # SqueezeNet is 1_0 in one, 1_1 in the other
    slow = [name for name in TABLE3 if learning_rate(name) == 0.01]
    assert slow == ["alexnet", "squeezenet1_0", "vgg11", "vgg13", "vgg16", "vgg19"]
    assert {learning_rate(name) for name in set(TABLE3) - set(slow)} == {0.1}


def test_costs_are_torchvisions():
    assert cost("resnet50").multiplications == pytest.approx(4.09e9, rel=0.01)


def test_unknown_networks_are_refused():
    with pytest.raises(InputError, match="architecture resnet19: expected one of alexnet"):
        build("resnet19", 10)
