"""Checkpoints: tensors and JSON in one safetensors file, so that reading one runs nothing."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unface.errors import InputError, one_line
from unface.predictions import PRETRAINED
from unface.study.architectures import build

_KEY = "unface.checkpoint"
TORCHVISION = "torchvision"
"""Instead of a file: the weights that torchvision publishes."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        tensors: By name: `network.…`, and while a training is under way `optimizer.…` and `totals`.
        facts: All else: what was trained, and how far it is.
    """

    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    facts: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin so, under the rest of their names."""
        return {name.removeprefix(prefix): each for name, each in self.tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Network:
    """A network to be evaluated.

    Attributes:
        module: With its weights, on the CPU.
        architecture: Its name.
        train: Setting that it was trained on, or `PRETRAINED`.
        seed: Of its training.
        classes: Names of its outputs; None where the file does not say.
        sha256: Of the file.
        recipe: Of its training; None where the file does not say.
    """

    module: nn.Module = field(repr=False)
    architecture: str
    train: str
    seed: int | None
    classes: tuple[str, ...] | None
    sha256: str
    recipe: Mapping[str, Any] | None = None


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside its place and rename when whole."""
    from safetensors.torch import save_file

    beside = path.with_name(path.name + ".part")
    tensors = {name: each.detach().cpu().contiguous() for name, each in checkpoint.tensors.items()}
    save_file(tensors, beside, metadata={_KEY: json.dumps(dict(checkpoint.facts))})
    with beside.open("rb") as file:
        os.fsync(file.fileno())  # after a loss of power there must not be a name without content
    beside.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint that unface wrote.

    Raises:
        InputError: It is none, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: expected a checkpoint, found no such file") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: expected a checkpoint of unface train: {one_line(error)}") from None
    if not isinstance(facts, dict):
        raise InputError(f"{path}: expected a checkpoint of unface train, got other metadata")
    return Checkpoint(tensors, facts)


def load_network(weights: str, architecture: str | None = None) -> Network:
    """A network with its weights.

    Args:
        weights: A checkpoint of `unface train`; a file of torchvision's (`.pth`), a name of `unface models`, or
            `torchvision` for the weights that it publishes (IMAGENET1K_V1), which need the network once. The three
            need `architecture`, a name of `unface models` being one by itself.
        architecture: The network's name.

    Raises:
        InputError: No such weights, or they do not fit.
    """
    if weights.endswith(".safetensors"):
        return _trained(Path(weights), architecture)
    name = architecture or weights
    path = _published_file(name) if weights == TORCHVISION else _local_file(weights)
    state = _read_state(path)
    biases = [each for key, each in state.items() if key.endswith("bias")]
    module = build(name, len(biases[-1]) if biases else 1000, ported=True)  # the last one has a number for each class
    _load(path, module, state)
    return Network(module.eval(), name, PRETRAINED, None, None, _sha256(path))


def _trained(path: Path, architecture: str | None) -> Network:
    checkpoint = read_checkpoint(path)
    try:
        run = checkpoint.facts["run"]
        name, classes, seed, setting = run["architecture"], run["classes"], run["seed"], run["setting"]["name"]
        recipe = dict(run["recipe"])
    except (KeyError, TypeError):
        raise InputError(f"{path}: expected a checkpoint of unface train, got other metadata") from None
    if architecture not in (None, name):
        raise InputError(f"{path}: expected {one_line(str(architecture))}, got {one_line(str(name))}")
    module = build(name, len(classes))
    _load(path, module, checkpoint.part("network."))
    return Network(module.eval(), name, setting, seed, tuple(classes), _sha256(path), recipe)


def _load(path: Path, module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        raise InputError(f"{path}: expected weights that fit: {one_line(str(error))[:200]}") from None


def _local_file(weights: str) -> Path:
    from unface.weights import REGISTRY, ensure

    return ensure(weights) if weights in REGISTRY else Path(weights)


def _published_file(name: str) -> Path:
    """The file that torchvision publishes, fetched into torch's cache if it is not there, its hash checked."""
    from torchvision.models import get_model_weights

    build(name, 2)  # names the known ones
    url: str = get_model_weights(name).IMAGENET1K_V1.url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), path.stem.rsplit("-", 1)[1], progress=False)
        except (OSError, RuntimeError) as error:
            raise InputError(f"weights: cannot fetch {url}: {one_line(error)}; or put the file to {path}") from None
    return path


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name, in torch's own format; only tensors are unpickled, nothing is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"weights: expected a file or a name of unface models, got {one_line(str(path))}") from None
    except Exception as error:
        raise InputError(f"{path}: expected weights of torchvision: {one_line(str(error))[:200]}") from None
    if not isinstance(state, dict) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise InputError(f"{path}: expected weights of torchvision, got something else")
    return state


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
