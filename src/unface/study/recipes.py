"""How networks are trained: the paper's recipe, and shorter ones that say so."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from unface.errors import InputError, one_line


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum on cross-entropy, and a learning rate that falls in steps; the defaults are the paper's.

    Attributes:
        epochs: Passes over the images.
        batch: Images a step, over all processes and devices.
        learning_rate: At first; None for the paper's, which depends on the architecture.
        momentum: Of SGD.
        weight_decay: On all parameters.
        step_epochs: After so many epochs the learning rate falls to a tenth, and again.
        image_px: Side of a network's input; None for 224, and 299 for Inception v3.
        resize_px: For evaluation, the shorter side is resized to this before the middle is cut out; None for 8/7 of
            the input's, that is 256 (Inception: 342).

    Raises:
        InputError: A number that is out of range; the message names it.
    """

    epochs: int = 90
    batch: int = 256
    learning_rate: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    step_epochs: int = 30
    image_px: int | None = None
    resize_px: int | None = None

    def __post_init__(self) -> None:
        rate, image_px, resize_px = self.learning_rate, self.image_px, self.resize_px
        rules = [
            ("epochs", "at least 1", self.epochs >= 1),
            ("step_epochs", "at least 1", self.step_epochs >= 1),
            ("batch", "at least 2", self.batch >= 2),
            ("learning_rate", "more than 0", rate is None or 0 < rate < float("inf")),
            ("momentum", "0 to less than 1", 0 <= self.momentum < 1),
            ("weight_decay", "at least 0", 0 <= self.weight_decay < float("inf")),
            ("image_px", "at least 8", image_px is None or image_px >= 8),
            (
                "resize_px",
                f"at least image_px ({image_px or 224})",
                resize_px is None or resize_px >= (image_px or 224),
            ),
        ]
        for name, wanted, holds in rules:
            if not holds:
                raise InputError(f"{name}: expected {wanted}, got {getattr(self, name)}")

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def sizes_px(self, usual_px: int) -> tuple[int, int]:
        """The input's side and the length that the shorter side is resized to for evaluation.

        Args:
            usual_px: The architecture's input.
        """
        px = self.image_px or usual_px
        return px, max(px, self.resize_px or round(px * 256 / 224))

    def rate_at(self, epoch: int, first: float) -> float:
        """The learning rate of an epoch, counted from 0.

        >>> [Recipe().rate_at(epoch, 0.1) for epoch in (0, 29)]
        [0.1, 0.1]
        """
        return float(self.learning_rate or first) * 0.1 ** (epoch // self.step_epochs)


PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        "paper": Recipe(),
        "paper-30": Recipe(epochs=30, step_epochs=10),
        "paper-15": Recipe(epochs=15, step_epochs=5),
    }
)
"""`paper` is the paper's recipe exactly (section 4); the others are it in a third and a sixth of the epochs, whose
numbers are not to be compared with the paper's."""


def find_recipe(preset: str) -> Recipe:
    """A preset's recipe; InputError if there is none of this name."""
    if preset not in PRESETS:
        raise InputError(f"preset: expected {', '.join(PRESETS)}, got {one_line(preset)}")
    return PRESETS[preset]
