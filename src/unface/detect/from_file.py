"""Detectors whose weights the user names by the path of an ONNX file."""

import hashlib
import math
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, size_wh
from unface.detect.detector import Image
from unface.detect.looks import Scores, Seen, first_and_reduced, fused, resized_to
from unface.detect.network import Network
from unface.detect.single import SingleNetwork
from unface.errors import ImageError, InputError, one_line
from unface.faces import Faces

_PROBE_HW = (64, 96)
_MAX_BYTES = 1 << 31


class FromFile(SingleNetwork):
    """A detector `KIND:PATH`; a subclass says how its outputs are read.

    A network that takes any size looks at the image as our own networks do. One that takes a single size, as many
    exports do, gets the whole image shrunk or enlarged into it.

    Attributes:
        kind: What stands before the path; boxes name it as their source.
        outputs: What the file's outputs have to be, in words.
        padding: Grey level beside an image that does not fill the network's only size.
    """

    kind: str
    outputs: str
    padding: int

    def __init__(self, path: str = "", threads: int = 1, device: str = "auto") -> None:
        """Load the file and try it on an empty image.

        Raises:
            InputError: No such file, not an ONNX file, or one with other inputs or outputs.
        """
        if not path:
            raise InputError(f"detector {self.kind!r}: expected {self.kind}:PATH, got no path of an ONNX file")
        file = Path(path).absolute()
        self.name = f"{self.kind}:{file}"
        self.models = {file.name: _sha256(file)}
        self._only_hw: tuple[int, int] | None = None
        try:
            input_name, self._only_hw = _input(file)
            self._network = Network(file, input_name, threads, device)
            self._try(file)
        except InputError:
            raise
        except Exception as error:  # the runtime's errors have no class in common
            raise self._not_one(file, one_line(error)) from None

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        boxes, scores = self._see_whole(image_rgb) if self._only_hw else first_and_reduced(self.look, image_rgb)
        height, width = image_rgb.shape[:2]
        return Faces.make(boxes, scores, source=self.kind).clipped(width, height)

    def _see_whole(self, image: Image) -> Seen:
        assert self._only_hw is not None
        height, width = image.shape[:2]
        scale = min(self._only_hw[0] / height, self._only_hw[1] / width)
        rows, columns = (max(1, round(side * scale)) for side in (height, width))
        canvas = np.full((*self._only_hw, 3), self.padding, np.uint8)
        canvas[:rows, :columns] = resized_to(image, columns, rows)
        boxes, scores = fused(*self.see(canvas[None], self.floor))
        return boxes * np.array([width / columns, height / rows] * 2, np.float32), scores

    def _try(self, file: Path) -> None:
        """Look at an empty image; a size that is declared is kept to only where the network takes no other."""
        if self._only_hw:
            declared, self._only_hw = self._only_hw, None
            try:
                self.see(np.zeros((1, *_PROBE_HW, 3), np.uint8), 0.0)
                return
            except Exception:
                self._only_hw = declared
        self.see(np.zeros((1, *(self._only_hw or _PROBE_HW), 3), np.uint8), 0.0)

    def _not_one(self, file: Path, got: str) -> InputError:
        where = one_line(str(file))
        return InputError(f"{where}: expected an ONNX file with {self.outputs}, got {got[:200]}")


def _sha256(file: Path) -> str:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:  # a device or pipe may never end
            raise InputError(f"{one_line(str(file))}: expected an ONNX file of at most 2 GiB, got something else")
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{one_line(str(file))}: expected an ONNX file, got {error.strerror}") from None


def _input(file: Path) -> tuple[str, tuple[int, int] | None]:
    """Name of the network's input, and the height and width that it declares, if it declares them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or inputs[0].type != "tensor(float)" or (isinstance(shape[1], int) and shape[1] != 3):
        got = ", ".join(f"{i.type} {i.shape}" for i in inputs)
        raise ValueError(f"inputs other than one float tensor (N, 3, H, W): {got}")
    height, width = shape[2:]
    return inputs[0].name, (height, width) if isinstance(height, int) and isinstance(width, int) else None


def checked(boxes_xyxy: Boxes, scores: Scores) -> Seen:
    """The boxes that have an area.

    Args:
        boxes_xyxy: Shape (N, 4).
        scores: Shape (N,); also those that are not a number, so that they are told and not passed over.

    Raises:
        ImageError: Boxes or scores that no detector gives; the file is of something else.
    """
    if not np.isfinite(boxes_xyxy).all() or not (scores <= 1).all():
        raise ImageError("detector: expected finite boxes and scores up to 1, got others: is the file a face detector?")
    whole = (size_wh(boxes_xyxy) > 0).all(axis=1)
    return boxes_xyxy[whole], scores[whole]


def cells_at(height: int, width: int, stride: int) -> int:
    """How many cells a level of a network has."""
    return math.ceil(height / stride) * math.ceil(width / stride)


def unexpected(outputs: dict[str, NDArray[np.float32]]) -> ValueError:
    """An error that tells the shapes."""
    return ValueError("outputs " + ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items()))
