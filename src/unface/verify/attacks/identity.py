"""Who is it? Face embeddings of hidden faces against a gallery of known ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unface import weights
from unface.errors import InputError, one_line
from unface.verify.attacks.subjects import FRAME_PX, Frames, LandmarkFinder, Landmarks

Embeddings = NDArray[np.float32]
"""One vector of length 1 per face, shape (N, D)."""

FALSE_ACCEPTS = 1e-3
DLIB = "dlib-resnet"

_ARCFACE_PX = 112
_ARCFACE_XY = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
_DLIB_PX = 150
_DLIB_EYES_XY = (np.array([[0.2273, 0.2214], [0.7528, 0.2212]], np.float32) + 0.25) / 1.5 * _DLIB_PX
_DETECTED_PX = 288
_BATCH = 32


class Embedder(Protocol):
    """Turns faces into vectors that lie close for one person."""

    name: str

    def __call__(self, frames: Frames, landmarks: Landmarks) -> Embeddings:
        """Vectors of length 1, shape (N, D)."""


def make_embedder(name: str) -> Embedder:
    """An embedder: `dlib-resnet`, or the path of an ONNX file with ArcFace's layout.

    Raises:
        InputError: Neither, or its parts are missing.
    """
    if name == DLIB:
        return Dlib()
    if name.endswith(".onnx"):
        return ArcFace(Path(name))
    raise InputError(f"embedder: expected {DLIB} or the path of an .onnx file, got {one_line(name)!r}")


class ArcFace:
    """An ONNX network of ArcFace's layout: 112 x 112 px, aligned by five landmarks, RGB (Deng et al., CVPR 2019).

    Levels are (x - 127.5) / 127.5, unless the network begins by scaling them itself.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        try:
            data = path.read_bytes()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for each of its complaints
            raise InputError(f"embedder {one_line(str(path))}: expected an ONNX file, got {one_line(error)}") from None
        (self._input, *others), (output, *_) = self._session.get_inputs(), self._session.get_outputs()
        if others or list(self._input.shape[1:]) != [3, _ARCFACE_PX, _ARCFACE_PX]:
            shape = [node.shape for node in self._session.get_inputs()]
            raise InputError(f"embedder {one_line(str(path))}: expected one input (N, 3, 112, 112), got {shape}")
        self._output = output.name
        self._one_by_one = self._input.shape[0] == 1
        self._scales = _scales_itself(data)
        self.name = path.name

    def __call__(self, frames: Frames, landmarks: Landmarks) -> Embeddings:
        """Vectors of length 1, shape (N, D)."""
        chips = _aligned(frames, landmarks, _ARCFACE_XY, _ARCFACE_PX).transpose(0, 3, 1, 2)
        levels = np.ascontiguousarray(chips if self._scales else (chips - 127.5) / 127.5, np.float32)
        size = 1 if self._one_by_one else _BATCH
        parts = [
            self._session.run([self._output], {self._input.name: levels[at : at + size]})[0]
            for at in range(0, len(levels), size)
        ]
        return _unit(np.concatenate([np.asarray(part).reshape(len(part), -1) for part in parts]))


class Dlib:
    """dlib's ResNet of 2017 (King: dlib.net, "High Quality Face Recognition with Deep Metric Learning"), CC0."""

    name = DLIB

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError:
            raise InputError(
                f"embedder {DLIB}: expected the package dlib-bin (or dlib); run: pip install dlib-bin"
            ) from None
        self._model = dlib.face_recognition_model_v1(str(weights.ensure(DLIB)))

    def __call__(self, frames: Frames, landmarks: Landmarks) -> Embeddings:
        """Vectors of length 1, shape (N, 128)."""
        chips = _aligned(frames, landmarks[:, :2], _DLIB_EYES_XY, _DLIB_PX)
        chips = np.clip(np.rint(chips), 0, 255).astype(np.uint8)
        return _unit(np.array([self._model.compute_face_descriptor(chip) for chip in chips], np.float32))


def find_landmarks() -> LandmarkFinder:
    """What finds eyes, nose and mouth in a frame: YuNet, of whose faces the one in the middle counts."""
    import cv2

    size = (_DETECTED_PX, _DETECTED_PX)
    yunet = cv2.FaceDetectorYN.create(str(weights.ensure("yunet")), "", size, 0.3, 0.3, 50)

    def find(frame: NDArray[np.float32]) -> NDArray[np.float32] | None:
        large = cv2.resize(np.clip(frame, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)
        faces = yunet.detect(np.ascontiguousarray(large[:, :, ::-1]))[1]
        if faces is None:
            return None
        offsets = np.abs(faces[:, :2] + faces[:, 2:4] / 2 - _DETECTED_PX / 2).max(axis=1)
        nearest = int(offsets.argmin())
        if offsets[nearest] > _DETECTED_PX / 6:
            return None
        return np.asarray(faces[nearest, 4:14].reshape(5, 2) * (FRAME_PX / _DETECTED_PX), np.float32)

    return find


@dataclass(frozen=True)
class Recognised:
    """How often a face was recognised.

    Attributes:
        number: Faces that were looked for, and so the size of the gallery.
        first: Of these, how many are nearest to their own picture in the gallery (rank 1).
        accepted: How many are nearer to their own picture than all but `FALSE_ACCEPTS` of the pairs of strangers are to
            each other.
        strangers: Pairs that the limit is drawn from: fewer than 1,000 make it the nearest pair.
    """

    number: int
    first: int
    accepted: int
    strangers: int


def recognise(probes: Embeddings, gallery: Embeddings) -> Recognised:
    """Look for each probe in a gallery in which it has the same place.

    The limit is drawn from these very probes against strangers, as an attacker does who tunes himself to the method.
    Ties count as failures, so that pictures that all look alike are recognised by nobody.
    """
    scores = probes @ gallery.T
    own = np.diagonal(scores)
    others = scores + np.where(np.eye(len(scores), dtype=bool), -np.inf, 0)
    strangers = scores[~np.eye(len(scores), dtype=bool)]
    if not len(strangers):
        return Recognised(len(scores), 0, 0, 0)
    limit = np.sort(strangers)[::-1][int(FALSE_ACCEPTS * len(strangers))]
    clear = 1e-6
    return Recognised(
        len(scores),
        int((own > others.max(axis=1) + clear).sum()),
        int((own > limit + clear).sum()),
        len(strangers),
    )


def _aligned(frames: Frames, landmarks: Landmarks, template_xy: NDArray[np.float32], side_px: int) -> Frames:
    """Chips of faces, by the similarity that brings landmarks nearest to a template (Umeyama 1991)."""
    import cv2

    chips = []
    for frame, points in zip(frames, landmarks, strict=True):
        matrix = _similarity(points.astype(np.float64), template_xy.astype(np.float64))
        chips.append(cv2.warpAffine(frame, matrix, (side_px, side_px), borderMode=cv2.BORDER_REPLICATE))
    return np.array(chips, np.float32).reshape(-1, side_px, side_px, 3)


def _similarity(points: NDArray[np.float64], template: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation, scale and shift in the plane, least squares: a complex factor and an offset, shape (2, 3)."""
    source, target = (each[:, 0] + 1j * each[:, 1] for each in (points, template))
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / max(np.vdot(centred, centred).real, 1e-9)
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _scales_itself(model: bytes) -> bool:
    """Whether one of the network's first nodes subtracts or multiplies, as exporters of MXNet networks write it."""
    return b"Sub" in model[:4096] and b"Mul" in model[:4096]


def _unit(vectors: NDArray[Any]) -> Embeddings:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), np.float32)
