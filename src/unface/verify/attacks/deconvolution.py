"""Deblurring by an attacker who knows the method: Wiener, Richardson and Lucy, and gradient descent.

Each has one setting that the attacker cannot know; the battery grants him the one of several that serves best.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.verify.attacks.operators import Operator, gaussian_matrices
from unface.verify.attacks.subjects import Frames

WIENER_NOISE = (1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Noise-to-signal ratios."""
LUCY_STEPS = (10, 40)
SMOOTHNESS = (0.0, 3e-3)
"""Weights of the total variation."""
STEPS = 100
_LEARNING_RATE = 0.03
_SMALL = 1e-3


def wiener(frames: Frames, sigmas_px: NDArray[np.float64], noises: Sequence[float]) -> Iterator[Frames]:
    """Least squares with a white prior, solved in the singular vectors of the blur (Wiener 1949, discretised).

    Args:
        frames: What is published.
        sigmas_px: Of the Gaussian along y and x, shape (N, 2).
        noises: Noise-to-signal ratios; one result each.
    """
    down, across = (np.linalg.svd(gaussian_matrices(sigmas_px[:, axis])) for axis in (0, 1))
    gains = down.S[:, :, None] * across.S[:, None, :]
    levels = frames.transpose(0, 3, 1, 2).astype(np.float64) / 255
    means = levels.mean(axis=(2, 3), keepdims=True)
    spectrum = down.U.swapaxes(1, 2)[:, None] @ (levels - means) @ across.U[:, None]
    for noise in noises:
        filtered = (gains / (gains**2 + noise))[:, None] * spectrum
        yield _frames(down.Vh.swapaxes(1, 2)[:, None] @ filtered @ across.Vh[:, None] + means)


def richardson_lucy(frames: Frames, sigmas_px: NDArray[np.float64], stops: Sequence[int]) -> Iterator[Frames]:
    """Maximum likelihood under Poisson noise (Richardson 1972, JOSA 62:55-59; Lucy 1974, AJ 79:745-754).

    Args:
        frames: What is published.
        sigmas_px: Of the Gaussian along y and x, shape (N, 2).
        stops: Numbers of steps, rising; one result each.
    """
    down, across = (gaussian_matrices(sigmas_px[:, axis]).astype(np.float32)[:, None] for axis in (0, 1))
    levels = np.maximum(frames.transpose(0, 3, 1, 2) / np.float32(255), np.float32(_SMALL))
    norm = down.swapaxes(2, 3) @ np.ones_like(levels) @ across
    restored = levels
    for step in range(1, max(stops) + 1):
        ratio = levels / np.maximum(down @ restored @ across.swapaxes(2, 3), np.float32(_SMALL))
        restored = restored * (down.swapaxes(2, 3) @ ratio @ across) / norm
        if step in stops:
            yield _frames(restored)


def gradient_descent(frames: Frames, operator: Operator, smoothness: float, steps: int = STEPS) -> Frames:
    """The picture that the known method turns into what is published: argmin |A x - y|^2 + smoothness * TV(x).

    As in Privacy Blur (arXiv 2512.16086), by Adam from the published picture; any method that has a gradient.
    """
    import torch

    with one_thread():
        target = torch.as_tensor(frames.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
        guess = target.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([guess], lr=_LEARNING_RATE)
        for _ in range(steps):
            optimizer.zero_grad()
            error = (operator(guess) - target).square().sum()
            variation = guess.diff(dim=2).abs().sum() + guess.diff(dim=3).abs().sum()
            (error + smoothness * variation).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return _frames(guess.detach().numpy())


def restorations(
    frames: Frames, operator: Operator, sigmas_px: NDArray[np.float64]
) -> Iterator[tuple[str, float, Frames]]:
    """What every deblurring makes of frames, with each of its settings: its name, the setting, the pictures."""
    for noise, restored in zip(WIENER_NOISE, wiener(frames, sigmas_px, WIENER_NOISE), strict=True):
        yield "Wiener", noise, restored
    for steps, restored in zip(LUCY_STEPS, richardson_lucy(frames, sigmas_px, LUCY_STEPS), strict=True):
        yield "Richardson-Lucy", steps, restored
    for smoothness in SMOOTHNESS:
        yield "gradient descent", smoothness, gradient_descent(frames, operator, smoothness)


class one_thread:
    """Torch on one thread while it lasts."""

    def __enter__(self) -> None:
        import torch

        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self._threads)


def psnr_db(frames: Frames, originals: Frames, mask: NDArray[np.float64]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio inside a mask, of each frame, shape (N,)."""
    error = (np.square(frames.astype(np.float64) - originals).mean(axis=3) * mask).sum(axis=(1, 2)) / mask.sum()
    return np.asarray(10 * np.log10(255**2 / np.maximum(error, 1e-6)), np.float64)


def similarity(frames: Frames, originals: Frames, mask: NDArray[np.float64]) -> NDArray[np.float64]:
    """Structural similarity (Wang et al. 2004, IEEE TIP 13:600-612; Gaussian of 1.5 px, grey) inside a mask, (N,)."""
    import cv2

    def smooth(levels: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(levels, (11, 11), 1.5), np.float64)

    values = []
    for frame, original in zip(frames, originals, strict=True):
        x, y = (each.mean(axis=2).astype(np.float64) for each in (frame, original))
        mean_x, mean_y = smooth(x), smooth(y)
        var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
        both = smooth(x * y) - mean_x * mean_y
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        map_ = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
        values.append(float((map_ * mask).sum() / mask.sum()))
    return np.array(values, np.float64)


def _frames(levels: NDArray[Any]) -> Frames:
    return np.asarray(np.clip(levels, 0, 1).transpose(0, 2, 3, 1) * 255, np.float32)
