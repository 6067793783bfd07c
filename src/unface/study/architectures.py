"""The networks of the paper, by torchvision's names."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unface.errors import InputError, one_line

TABLE3 = (
    "alexnet",
    "squeezenet1_0",
    "shufflenet_v2_x1_0",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "mobilenet_v2",
    "densenet121",
    "densenet201",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
)
"""Trained in the paper (Tables 3, 4 and 8)."""

ARCHITECTURES = (
    *TABLE3,
    "squeezenet1_1",
    "googlenet",
    "inception_v3",
    "mnasnet1_0",
    "densenet161",
    "densenet169",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
"""All of the paper: those trained, and those evaluated as they come (Table 7; SqueezeNet is 1_1 there, 1_0 else)."""

_AUXILIARY_WEIGHT = {"googlenet": 0.3, "inception_v3": 0.4}
"""Of the loss of auxiliary classifiers (Szegedy et al. 2014, section 5; torchvision's guide to Inception v3)."""

_LAST_FEATURES = {
    "alexnet": "features",
    "squeezenet": "features",
    "vgg": "features",
    "mobilenet": "features",
    "densenet": "features",
    "mnasnet": "layers",
    "shufflenet": "conv5",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "resnet": "layer4",
    "resnext": "layer4",
    "wide": "layer4",
}


@dataclass(frozen=True)
class Cost:
    """What a network takes: its parameters, and multiplications of one forward pass at its usual input."""

    parameters: int
    multiplications: float


def build(name: str, classes: int, ported: bool = False) -> nn.Module:
    """A network with fresh weights, drawn from torch's random state.

    Args:
        name: Of `ARCHITECTURES`.
        classes: Outputs.
        ported: For torchvision's own weights: GoogLeNet and Inception then expect input normalised otherwise, and
            change it themselves.

    Raises:
        InputError: Unknown name.
    """
    from torchvision.models import get_model

    _require(name)
    options: dict[str, Any] = {"num_classes": classes}
    if name in _AUXILIARY_WEIGHT:
        options |= {"init_weights": not ported, "transform_input": ported, "aux_logits": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = get_model(name, weights=None, **options)
    return network


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over a batch: logits of shape (N, classes), class indices of shape (N,)."""
    return nn.functional.cross_entropy(logits, labels, reduction="sum")


def loss_and_logits(
    name: str,
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A loss summed over a batch, auxiliary classifiers included, and the logits, shape (N, classes)."""
    output = network(images)
    if isinstance(output, torch.Tensor):
        return loss_of(output, labels), output
    logits, *others = [each for each in output if each is not None]
    loss = loss_of(logits, labels)
    for each in others:
        loss = loss + _AUXILIARY_WEIGHT[name] * loss_of(each, labels)
    return loss, logits


def input_px(name: str) -> int:
    """Side of a network's usual input: 299 for Inception v3, else 224.

    The paper evaluated Inception at 224 too (its Table 7 has 88.7 where torchvision states 93.45).
    """
    return 299 if name == "inception_v3" else 224


def learning_rate(name: str) -> float:
    """The first learning rate of the paper: .01 for AlexNet, SqueezeNet and VGG, else .1 (its section 4)."""
    return 0.01 if name.startswith(("alexnet", "squeezenet", "vgg")) else 0.1


def last_features(name: str, network: nn.Module) -> nn.Module:
    """The layer whose output is the last map of features, which Grad-CAM looks at."""
    family = next(family for family in _LAST_FEATURES if name.startswith(family))
    layer = getattr(network, _LAST_FEATURES[family])
    assert isinstance(layer, nn.Module)
    return layer


def cost(name: str) -> Cost:
    """What a network takes, as torchvision states it for its own weights of 1,000 classes."""
    from torchvision.models import get_model_weights

    _require(name)
    facts = get_model_weights(name).IMAGENET1K_V1.meta
    return Cost(facts["num_params"], facts["_ops"] * 1e9)


def _require(name: str) -> None:
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {one_line(name)}: expected one of {', '.join(ARCHITECTURES)}")
