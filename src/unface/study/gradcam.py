"""Where a network looks (Fig. 5a of the paper): Grad-CAM of an image as it is and with its faces hidden.

Selvaraju et al. 2017. The maps are scaled image by image; the paper's code scaled them over a whole batch, so that one
image's map depended on the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from unface.study.architectures import last_features
from unface.study.checkpoints import Network
from unface.study.reading import ViewReader
from unface.study.settings import SETTINGS, Setting
from unface.study.views import as_input, evaluation_view

Map = NDArray[np.float32]
"""Shape (H, W) of the last features, 0 to 1."""

_HEAT_SHARE = 0.5
_CAPTION_PX, _GAP_PX, _FONT_PX = 34, 4, 12
HIDDEN = SETTINGS["blurred"]
"""What pictures show instead of faces."""


@dataclass(frozen=True)
class Look:
    """Where a network looks in one image in one setting.

    Attributes:
        setting: The setting's name.
        picture: What lies under the map in `draw`: uint8, shape (px, px, 3).
        classes: The true class and the predicted one.
        probabilities: Of them, by softmax.
        maps: For them.
    """

    setting: str
    picture: NDArray[np.uint8]
    classes: tuple[int, int]
    probabilities: tuple[float, float]
    maps: tuple[Map, Map]


def look(
    network: Network, reader: ViewReader, index: int, resize_px: int, px: int, shows_faces: bool = False
) -> list[Look]:
    """Where a network looks in an image, in each setting of a reader.

    Args:
        network: With its weights.
        reader: Of the image in the settings; it must have faces recorded.
        index: Of the image.
        resize_px: Length to which the shorter side is resized.
        px: Side of the middle that is shown.
        shows_faces: Whether pictures show what the network saw. If not, faces in them are blurred wherever the
            setting does not hide them safely, though the network saw them.

    Returns:
        One for each setting.
    """
    label = int(reader.images.labels[index])
    hidden = ViewReader(reader.images, [HIDDEN])
    safe = evaluation_view(hidden.read(index)[0][0], resize_px, px).numpy()
    pixels, places = reader.read(index)
    looks = []
    for setting, place in zip(reader.settings, places, strict=True):
        view = evaluation_view(pixels[place], resize_px, px)
        logits, maps = grad_cam(network.architecture, network.module, as_input(view[None], *_CPU), label)
        probabilities = torch.softmax(logits, 0)
        predicted = int(logits.argmax())
        told = (float(probabilities[label]), float(probabilities[predicted]))
        picture = view.numpy() if shows_faces or hides_safely(setting) else safe
        looks.append(Look(setting.name, picture, (label, predicted), told, maps))
    return looks


def hides_safely(setting: Setting) -> bool:
    """Whether nothing of a recorded face is left in what a setting shows; not so with the published blurs."""
    return setting.hides and setting.obfuscation.preset in ("", "safe")


def grad_cam(name: str, module: nn.Module, image: torch.Tensor, label: int) -> tuple[torch.Tensor, tuple[Map, Map]]:
    """Grad-CAM for the true and for the predicted class.

    The weight of each channel of the last features is the mean, over its pixels, of the derivative of the class's
    logit; the map is the weighted sum, where it is positive (Selvaraju et al. 2017, equations 1 and 2).

    Args:
        name: The architecture.
        module: The network, in evaluation mode.
        image: Input, shape (1, 3, px, px).
        label: The true class.

    Returns:
        Logits, shape (classes,), and the two maps, each scaled to 0 to 1; all 0 where nothing is positive.
    """
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()  # DenseNet changes it in place

    handle = last_features(name, module).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = module(image.requires_grad_())[0]
            (features,) = kept
            maps = tuple(
                _map(features, torch.autograd.grad(logits[each], features, retain_graph=True)[0])
                for each in (label, int(logits.argmax()))
            )
    finally:
        handle.remove()
    return logits.detach(), (maps[0], maps[1])


def draw(looks: Sequence[Look], classes: Sequence[str]) -> Image.Image:
    """A picture: a column for each setting; the map for the true class above, for the predicted one below."""
    px = looks[0].picture.shape[0]
    width, height = len(looks) * (px + _GAP_PX) - _GAP_PX, 2 * (px + _CAPTION_PX)
    page = Image.new("RGB", (width, height), "white")
    brush, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_PX)
    for column, each in enumerate(looks):
        for row, (what, number, probability, heat) in enumerate(
            zip(("true", "predicted"), each.classes, each.probabilities, each.maps, strict=True)
        ):
            x, y = column * (px + _GAP_PX), row * (px + _CAPTION_PX)
            caption = f"{each.setting}\n{what}: {classes[number]} {probability:.0%}"
            brush.multiline_text((x + 2, y + 2), caption, "black", font, spacing=2)
            page.paste(Image.fromarray(_heated(each.picture, heat)), (x, y + _CAPTION_PX))
    return page


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG beside its place and rename it when whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    picture.save(part, "PNG")
    part.replace(path)


_CPU = (torch.device("cpu"), torch.float32)


def _map(features: torch.Tensor, gradients: torch.Tensor) -> Map:
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    heat = torch.relu((weights * features).sum(dim=1))[0].detach()
    low, high = float(heat.min()), float(heat.max())
    scaled: Map = ((heat - low) / (high - low) if high > low else torch.zeros_like(heat)).numpy()
    return scaled


def _heated(picture: NDArray[np.uint8], heat: Map) -> NDArray[np.uint8]:
    """A picture under its map, red where the network looks, blue where it does not."""
    from matplotlib import colormaps

    size = picture.shape[1], picture.shape[0]
    large = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    colors = colormaps["turbo"](large)[:, :, :3] * 255
    mixed: NDArray[np.uint8] = (_HEAT_SHARE * colors + (1 - _HEAT_SHARE) * picture).astype(np.uint8)
    return mixed
