"""Against torchvision's own transforms."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision import transforms

from builders import make_image
from unface.study.views import TrainingView, as_input, evaluation_view, random_crop


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (100, 333), (3000, 257), (32, 32)])
def test_the_evaluation_view_is_torchvisions(size):
    image = make_image(*size)
    wanted = np.asarray(transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)).astype(int)
    ours = evaluation_view(np.asarray(image), 256, 224).numpy().astype(int)
    assert ours.shape == (224, 224, 3)
    assert np.abs(ours - wanted).max() <= 2
    assert np.abs(ours - wanted).mean() < 0.5


def test_input_is_normalised_as_torchvision_does():
    pixels = np.asarray(make_image(40, 40))
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    wanted = normalise(transforms.ToTensor()(Image.fromarray(pixels)))
    ours = as_input(torch.from_numpy(pixels.copy())[None], torch.device("cpu"), torch.float32)
    torch.testing.assert_close(ours[0], wanted, rtol=1e-5, atol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(500, 375), (640, 60), (40, 400)])
def test_crops_are_distributed_as_torchvisions(size):
    torch.manual_seed(0)
    image = Image.new("RGB", size)
    draw = transforms.RandomResizedCrop.get_params
    theirs = np.array([draw(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)])[:, [1, 0, 3, 2]]
    rng = np.random.default_rng(0)
    ours = np.array([random_crop(size, rng) for _ in range(3000)])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= size).all()
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 0.001, column


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_crops_of_odd_images(size):
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y, width, height = random_crop(size, rng)
        assert 0 <= x < x + width <= size[0]
        assert 0 <= y < y + height <= size[1]
    assert TrainingView(8, 0, 0, 1).of(np.zeros((size[1], size[0], 3), np.uint8)).shape == (8, 8, 3)


def test_a_training_view_depends_on_seed_epoch_and_image_alone():
    """And so the crop is the same in every setting: where the pixels are equal, so are the views."""
    pixels = np.asarray(make_image(120, 90))
    first = TrainingView(32, 1, 2, 3).of(pixels)
    torch.rand(3)
    np.random.default_rng().random()
    assert torch.equal(first, TrainingView(32, 1, 2, 3).of(pixels))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.equal(first, TrainingView(32, *other).of(pixels))
    darker = (pixels // 2).astype(np.uint8)
    moved = TrainingView(32, 1, 2, 3).of(darker).numpy().astype(int) - first.numpy() // 2
    assert np.abs(moved).max() <= 2


def test_half_of_the_views_are_flipped():
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 50, axis=0).repeat(3, axis=2)
    views = [TrainingView(16, 0, 0, key).of(ramp) for key in range(400)]
    flipped = sum(bool(view[0, 0, 0] > view[0, -1, 0]) for view in views)
    assert 160 < flipped < 240
