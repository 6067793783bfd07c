"""What a network is shown of an image: its pixels in a setting, cropped and resized as the paper does it."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional

from unface.faces import FaceRow
from unface.images import Photo, decode, encode
from unface.obfuscate.photo import obfuscate_photo
from unface.study.settings import View

RGB = NDArray[np.uint8]
"""Upright RGB, shape (H, W, 3)."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, 0 to 1, as every network of torchvision was trained with."""

_AREA, _LOG_RATIO, _TRIES = (0.08, 1.0), (math.log(3 / 4), math.log(4 / 3)), 10
"""Of torchvision's RandomResizedCrop (Szegedy et al. 2015, section 6)."""


def show_photo(photo: Photo, row: FaceRow, view: View) -> RGB:
    """What a view shows of a decoded image: hidden in its own pixels, as `unface obfuscate` does it."""
    hidden = obfuscate_photo(photo, row, view.obfuscation).pixels
    if view.jpeg_quality is not None and photo.format == "jpeg":
        return decode(encode(photo, hidden, view.jpeg_quality)).rgb()
    return replace(photo, pixels=hidden, orientation=1).rgb()


def random_crop(size_wh: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A crop as torchvision's RandomResizedCrop draws it: x, y, width and height in pixels."""
    width, height = size_wh
    areas = rng.uniform(*_AREA, _TRIES) * (width * height)
    ratios = np.exp(rng.uniform(*_LOG_RATIO, _TRIES))
    for area, ratio in zip(areas.tolist(), ratios.tolist(), strict=True):
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    ratio = min(max(width / height, 3 / 4), 4 / 3)  # no luck: the largest crop in the middle
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (width - w) // 2, (height - h) // 2, w, h


@dataclass(frozen=True)
class TrainingView:
    """RandomResizedCrop and, half the time, a flip; the same for the same seed, epoch and image in every setting.

    Attributes:
        px: Side of the result in pixels.
        seed: Of the training.
        epoch: From 0.
        key: The image's number, `LabelledImages.keys`.
    """

    px: int
    seed: int
    epoch: int
    key: int

    def rows(self, size_wh: tuple[int, int]) -> int:
        """How many rows from the top it looks at of an image of this size."""
        (_, y, _, height), _ = self._drawn(size_wh)
        return y + height

    def of(self, pixels: RGB) -> torch.Tensor:
        """The view of an image: uint8, shape (px, px, 3)."""
        (x, y, width, height), is_flipped = self._drawn((pixels.shape[1], pixels.shape[0]))
        view = _resize(_planes(pixels[y : y + height, x : x + width]), (self.px, self.px))
        return view.flip(1) if is_flipped else view

    def of_planes(self, planes: torch.Tensor) -> torch.Tensor:
        """The same of an image that lies on any device, uint8, shape (3, H, W)."""
        (x, y, width, height), is_flipped = self._drawn((planes.shape[2], planes.shape[1]))
        view = _resize(planes[:, y : y + height, x : x + width], (self.px, self.px))
        return view.flip(1) if is_flipped else view

    @lru_cache(maxsize=1)  # noqa: B019 - an image's rows are asked for, then its view
    def _drawn(self, size_wh: tuple[int, int]) -> tuple[tuple[int, int, int, int], bool]:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, self.epoch, self.key))))
        return random_crop(size_wh, rng), rng.random() < 0.5


def evaluation_view(pixels: RGB, resize_px: int, px: int) -> torch.Tensor:
    """The middle, `px` wide and high, of the image resized so that its shorter side has `resize_px`.

    Returns:
        uint8, shape (px, px, 3).
    """
    resized = resize_shorter(pixels, resize_px)
    height, width = resized.shape[:2]
    y, x = round((height - px) / 2), round((width - px) / 2)  # as torchvision's CenterCrop rounds
    return resized[y : y + px, x : x + px]


def resize_shorter(pixels: RGB, px: int) -> torch.Tensor:
    """The image resized so that its shorter side has `px`, as torchvision's Resize does it; uint8, (H, W, 3)."""
    height, width = pixels.shape[:2]
    shorter = min(width, height)
    return _resize(_planes(pixels), (int(px * height / shorter), int(px * width / shorter)))


def _planes(pixels: RGB) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


def _resize(planes: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Bilinear with antialiasing, like Pillow's to within two of 256 levels, three times as fast."""
    resized: torch.Tensor = functional.resize(planes, list(size_hw), antialias=True)
    return resized.permute(1, 2, 0)


def as_input(views: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Views as a network takes them.

    Args:
        views: uint8, shape (N, H, W, 3), on any device.
        device: Where the network is.
        dtype: Of the result.

    Returns:
        Normalised, shape (N, 3, H, W), channels last in memory.
    """
    count, height, width, channels = views.shape
    mean, deviation = (255 * torch.tensor(each * width, dtype=dtype, device=device) for each in (MEAN, DEVIATION))
    rows = views.to(device, non_blocking=True).reshape(count, height, -1).to(dtype)  # long rows are faster than pixels
    return rows.sub_(mean).div_(deviation).view(count, height, width, channels).permute(0, 3, 1, 2)
