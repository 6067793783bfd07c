"""What each method does to a face, as a linear map that an attacker knows and can differentiate.

All are products of matrices along y and along x (`unface.obfuscate.methods` says what each method is; the tests
compare). Frames are of `subjects.FRAME_PX`, the face's box in the middle; the geometry of each face is its own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes
from unface.obfuscate.methods import Obfuscation
from unface.verify.attacks.subjects import BOX_PX, FRAME_PX, MARGIN_PX

if TYPE_CHECKING:
    import torch

Matrices = NDArray[np.float64]
"""One square matrix per face, shape (N, FRAME_PX, FRAME_PX)."""

_MASK_MARGIN = 0.1
_SAFE_CELLS = 4
_SHARED_NOISE, _OWN_NOISE = 64 / 255, 16 / 255
_AXES = (1, 0)
"""Rows of a picture are y, its columns x; boxes have x first."""


@dataclass(frozen=True)
class Operator:
    """published = weight * blurred(painted) + (1 - weight) * painted, for a batch of faces.

    Attributes:
        averages: Cell averages along y and along x inside the box; None where nothing is painted.
        gaussians: Blur along y and x; None where nothing is blurred.
        weight: Of the blurred layer, shape (N, FRAME_PX, FRAME_PX).
        constant: Whether the box is one colour, whatever was there.
        noisy: Whether noise is added to the averages.
    """

    averages: tuple[Matrices, Matrices] | None
    gaussians: tuple[Matrices, Matrices] | None
    weight: NDArray[np.float64]
    constant: bool = False
    noisy: bool = False

    def __call__(self, frames: "torch.Tensor", rng: np.random.Generator | None = None) -> "torch.Tensor":
        """What is published of frames.

        Args:
            frames: Levels of 0 to 1, shape (N, 3, FRAME_PX, FRAME_PX).
            rng: Draws the noise of a method that has some; without it, what is published on average.

        Returns:
            Same shape and dtype.
        """
        import torch

        def tensor(values: NDArray[np.float64]) -> torch.Tensor:
            return torch.as_tensor(values, dtype=frames.dtype)[:, None]

        inside = torch.as_tensor(box_mask(), dtype=frames.dtype)
        if self.constant:
            return frames * (1 - inside) + 0.5 * inside
        painted = frames
        if self.averages is not None:
            down, across = map(tensor, self.averages)
            painted = inside * (down @ frames @ across.transpose(-1, -2)) + (1 - inside) * frames
        if self.noisy and rng is not None:
            painted = painted + torch.as_tensor(_noise(len(frames), rng), dtype=frames.dtype)
        if self.gaussians is None:
            return painted
        down, across = map(tensor, self.gaussians)
        weight = tensor(self.weight)
        return weight * (down @ painted @ across.transpose(-1, -2)) + (1 - weight) * painted

    def take(self, places: NDArray[np.int64]) -> "Operator":
        """The operator of some of the faces."""
        averages, gaussians = (
            None if pair is None else (pair[0][places], pair[1][places]) for pair in (self.averages, self.gaussians)
        )
        return Operator(averages, gaussians, self.weight[places], self.constant, self.noisy)


def operator_of(obfuscation: Obfuscation, boxes_xyxy: Boxes, largest_px: NDArray[np.float32]) -> Operator:
    """The map that a method applies to each face.

    Args:
        obfuscation: The method.
        boxes_xyxy: The faces in their images, in pixels, shape (N, 4).
        largest_px: Longer side of the largest face of each one's image, shape (N,).
    """
    full_wh = np.ceil(boxes_xyxy[:, 2:]) - np.floor(boxes_xyxy[:, :2])
    none = np.zeros((len(full_wh), FRAME_PX, FRAME_PX))
    if obfuscation.method == "overlay":
        return Operator(None, None, none, constant=True)
    if obfuscation.method == "none":
        return Operator(None, None, none)
    if obfuscation.method == "mosaic":
        return Operator(_averages(_square_cells(full_wh, obfuscation.cells)), None, none)
    diagonals = np.hypot(full_wh[:, 0], full_wh[:, 1])
    if obfuscation.preset == "safe":
        down, across = (matrix @ _border_continued() for matrix in _gaussians(np.maximum(0.15 * diagonals, 3), full_wh))
        gaussians = down, across
        feathers = np.maximum(np.ceil(0.1 * diagonals), 2)
        down, across = (_feather(feathers, full_wh[:, axis]) for axis in _AXES)
        weight = down[:, :, None] * across[:, None, :]
        return Operator(_averages(_even_cells(full_wh)), gaussians, weight, noisy=True)
    sizes = diagonals if obfuscation.preset == "paper" else full_wh.max(axis=1)
    scale = sizes / full_wh.max(axis=1) if obfuscation.preset == "paper" else np.ones(len(sizes))
    gaussians = _gaussians(0.1 * np.maximum(largest_px * scale, 1), full_wh)
    shown = [
        (matrix @ _drawn(_MASK_MARGIN * sizes, full_wh[:, axis])[:, :, None])[:, :, 0]
        for matrix, axis in zip(gaussians, _AXES, strict=True)
    ]
    return Operator(None, gaussians, shown[0][:, :, None] * shown[1][:, None, :])


def blur_sigmas(obfuscation: Obfuscation, boxes_xyxy: Boxes, largest_px: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sigma of the Gaussian nearest to a method, along y and x in pixels of the frame, shape (N, 2)."""
    full_wh = np.ceil(boxes_xyxy[:, 2:]) - np.floor(boxes_xyxy[:, :2])
    diagonals = np.hypot(full_wh[:, 0], full_wh[:, 1])
    steps = BOX_PX / full_wh[:, ::-1]
    if obfuscation.method == "mosaic":
        cells = np.maximum(np.ceil(full_wh.max(axis=1) / obfuscation.cells), 4)
        return np.asarray(cells[:, None] * steps / np.sqrt(12), np.float64)
    if obfuscation.preset == "safe":
        cells_px = full_wh[:, ::-1] / _SAFE_CELLS
        both = np.hypot(np.maximum(0.15 * diagonals, 3)[:, None], cells_px / np.sqrt(12))
        return np.asarray(both * steps, np.float64)
    if obfuscation.method == "blur":
        return np.asarray(np.maximum(0.1 * largest_px, 0.3)[:, None] * steps, np.float64)
    return np.full((len(full_wh), 2), 0.3)


def box_mask() -> NDArray[np.float64]:
    """1 in the face's box, 0 around it, shape (FRAME_PX, FRAME_PX)."""
    mask = np.zeros((FRAME_PX, FRAME_PX))
    mask[MARGIN_PX : MARGIN_PX + BOX_PX, MARGIN_PX : MARGIN_PX + BOX_PX] = 1
    return mask


def gaussian_matrices(sigmas_px: NDArray[np.float64]) -> Matrices:
    """A Gaussian blur along one axis per face, rows summing to 1, shape (N, FRAME_PX, FRAME_PX)."""
    at = np.arange(FRAME_PX)
    weights = np.exp(-0.5 * ((at[:, None] - at) / np.maximum(sigmas_px, 1e-3)[:, None, None]) ** 2)
    return np.asarray(weights / weights.sum(axis=2, keepdims=True), np.float64)


def _gaussians(sigmas_px: NDArray[np.float64], full_wh: NDArray[np.float32]) -> tuple[Matrices, Matrices]:
    """Along y and x; sigmas are in pixels of the image."""
    down, across = (gaussian_matrices(sigmas_px * BOX_PX / full_wh[:, axis]) for axis in _AXES)
    return down, across


def _border_continued() -> NDArray[np.float64]:
    """Pixels outside the box become the nearest one in it, shape (FRAME_PX, FRAME_PX)."""
    nearest = np.clip(np.arange(FRAME_PX), MARGIN_PX, MARGIN_PX + BOX_PX - 1)
    return np.asarray(nearest[:, None] == np.arange(FRAME_PX), np.float64)


def _noise(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """What the safe blur adds to the cells of a box, shape (count, 3, FRAME_PX, FRAME_PX), 0 around it."""
    cells = (count, 3, _SAFE_CELLS, _SAFE_CELLS)
    moves = rng.uniform(-_SHARED_NOISE, _SHARED_NOISE, (count, 1, *cells[2:])) + rng.uniform(
        -_OWN_NOISE, _OWN_NOISE, cells
    )
    side_px = BOX_PX // _SAFE_CELLS
    filled = moves.repeat(side_px, axis=2).repeat(side_px, axis=3)
    return np.pad(filled, [(0, 0), (0, 0), (MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX)])


def _even_cells(full_wh: NDArray[np.float32]) -> list[list[NDArray[np.float64]]]:
    """Edges of the cells along y and x of each face, in pixels of the box of a frame."""
    steps = np.arange(_SAFE_CELLS + 1)
    return [[np.floor(steps * side / _SAFE_CELLS) * BOX_PX / side for side in full_wh[:, axis]] for axis in _AXES]


def _square_cells(full_wh: NDArray[np.float32], cells: int) -> list[list[NDArray[np.float64]]]:
    sides = np.maximum(np.ceil(full_wh.max(axis=1) / cells), 4)
    return [
        [
            np.append(np.arange(0, max(length - 4, 0) + 1, cell), length) * BOX_PX / length
            for length, cell in zip(full_wh[:, axis], sides, strict=True)
        ]
        for axis in _AXES
    ]


def _averages(edges: list[list[NDArray[np.float64]]]) -> tuple[Matrices, Matrices]:
    down, across = (np.array([_average(each) for each in faces]).reshape(-1, FRAME_PX, FRAME_PX) for faces in edges)
    return down, across


def _average(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each pixel of the box becomes the mean of its cell; a pixel that an edge cuts is shared."""
    at = np.arange(BOX_PX)
    shares = np.clip(np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at), 0, 1)
    means = shares / shares.sum(axis=1, keepdims=True)
    matrix = np.zeros((FRAME_PX, FRAME_PX))
    matrix[MARGIN_PX : MARGIN_PX + BOX_PX, MARGIN_PX : MARGIN_PX + BOX_PX] = shares.T @ means
    return matrix


def _outside_px(lengths_px: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far outside the box each pixel of the frame is, in pixels of the image, shape (N, FRAME_PX)."""
    at = np.arange(FRAME_PX)
    steps = np.maximum(np.maximum(MARGIN_PX - at, at - (MARGIN_PX + BOX_PX - 1)), 0)
    return np.asarray(steps * (lengths_px / BOX_PX)[:, None], np.float64)


def _feather(margins_px: NDArray[np.float64], lengths_px: NDArray[np.float32]) -> NDArray[np.float64]:
    share = np.minimum(_outside_px(lengths_px) / (margins_px + 1)[:, None], 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * share), np.float64)


def _drawn(margins_px: NDArray[np.float64], lengths_px: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(_outside_px(lengths_px) <= margins_px[:, None], np.float64)
