"""The parrot attack: a small network that is trained on faces hidden in the same way, and so learns what is left.

After Newton, Sweeney and Malin (2005), who named it, and McPherson, Shokri and Shmatikov (2016, arXiv 1609.00408).
"""

from typing import TYPE_CHECKING

import numpy as np

from unface.verify.attacks.deconvolution import one_thread
from unface.verify.attacks.identity import Embeddings
from unface.verify.attacks.operators import Operator
from unface.verify.attacks.subjects import BOX_PX, MARGIN_PX, Frames

if TYPE_CHECKING:
    import torch

STEPS = 200
BATCH = 48
_TEMPERATURE = 0.1
_LEARNING_RATE = 1e-3
_SIDE_PX = 28
_SHIFT_PX = 3
_NOISE = 2.0 / 255


def train_parrot(originals: Frames, operator: Operator, seed: int, steps: int = STEPS) -> "torch.nn.Module":
    """Train a network that tells hidden faces apart by who they are.

    Two views of each face (mirrored or not, shifted, brightness changed) are hidden by the known method; the network
    learns to bring the two together and to keep strangers apart (NT-Xent: Chen et al., ICML 2020).

    Args:
        originals: Faces that the attacker has in clear.
        operator: What the method does to them.
        seed: Of the weights and of the views.
        steps: Batches.
    """
    import torch

    generator = np.random.default_rng(seed)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network()
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
        faces = torch.as_tensor(originals.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
        for _ in range(steps):
            places = generator.permutation(len(faces))[:BATCH]
            hides = operator.take(places)
            views = [network(_boxes(hides(_view(faces[places], generator), generator), generator)) for _ in range(2)]
            optimizer.zero_grad()
            _contrast(*views).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        return network


def parrot_embeddings(network: "torch.nn.Module", frames: Frames) -> Embeddings:
    """What the network makes of published faces: vectors of length 1, mirrored and not averaged."""
    import torch

    with one_thread(), torch.no_grad():
        boxes = _boxes(torch.as_tensor(frames.transpose(0, 3, 1, 2) / 255, dtype=torch.float32), None)
        vectors = network(boxes) + network(boxes.flip(3))
        return np.asarray(torch.nn.functional.normalize(vectors, dim=1).numpy(), np.float32)


def _network() -> "torch.nn.Module":
    from torch import nn

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(4, outputs), nn.ReLU()]

    layers = [*block(3, 32), *block(32, 64), *block(64, 96), nn.Flatten(), nn.Linear(96 * 16, 64)]
    return nn.Sequential(*layers)


def _view(faces: "torch.Tensor", rng: np.random.Generator) -> "torch.Tensor":
    """Another picture of the same faces: some mirrored, all shifted a little, brighter or darker."""
    import torch

    mirrored = torch.as_tensor(rng.random(len(faces)) < 0.5)[:, None, None, None]
    changed = torch.where(mirrored, faces.flip(3), faces)
    shift = rng.integers(-_SHIFT_PX, _SHIFT_PX + 1, 2).tolist()
    gain = torch.as_tensor(rng.uniform(0.8, 1.2, (2, len(faces), 1, 1, 1)), dtype=faces.dtype)
    return ((changed.roll(shift, dims=(2, 3)) - 0.5) * gain[0] + 0.5 * gain[1]).clamp(0, 1)


def _boxes(frames: "torch.Tensor", rng: np.random.Generator | None) -> "torch.Tensor":
    """The boxes alone, reduced, less their mean: what is around the face must not give it away."""
    import torch

    side = slice(MARGIN_PX, MARGIN_PX + BOX_PX)
    boxes = torch.nn.functional.interpolate(frames[:, :, side, side], size=_SIDE_PX, mode="area")
    if rng is not None:
        boxes = boxes + torch.as_tensor(rng.normal(0, _NOISE, boxes.shape), dtype=boxes.dtype)
    return 4 * (boxes - boxes.mean(dim=(1, 2, 3), keepdim=True))


def _contrast(a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
    """Each vector must be nearer to its partner than to every stranger of the batch."""
    import torch
    from torch.nn import functional

    both = functional.normalize(torch.cat([a, b]), dim=1)
    scores = both @ both.T / _TEMPERATURE
    scores = scores.masked_fill(torch.eye(len(both), dtype=torch.bool), float("-inf"))
    partners = torch.arange(len(both)).roll(len(a))
    return functional.cross_entropy(scores, partners)
