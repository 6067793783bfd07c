"""What a face detector is, and the detectors there are."""

from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unface.errors import InputError
from unface.faces import Faces

Image = NDArray[np.uint8]
"""RGB, uint8, shape (H, W, 3), upright."""


class Detector(Protocol):
    """Finds faces in one image at a time, on one thread.

    Attributes:
        name: The name in `DETECTORS`.
        models: Name of each weights file it reads, and its sha256.
        threshold: Score from which a box counts as a face unless the user says otherwise.
        floor: Score below which boxes are not reported.
    """

    name: str
    models: dict[str, str]
    threshold: float
    floor: float

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above, best first, cut to the image.

        Args:
            image_rgb: RGB, uint8, shape (H, W, 3), upright.

        Returns:
            Faces in pixels of that image, label "face", source the detector's name.
        """
        ...


DETECTORS = {
    "cascade": "unface.detect.cascade:Cascade",
    "yunet": "unface.detect.yunet:YuNet",
    "centerface": "unface.detect.centerface:CenterFace",
}
DEFAULT_DETECTOR = "cascade"


@lru_cache(maxsize=4)
def make_detector(name: str = DEFAULT_DETECTOR, threads: int = 1, device: str = "auto") -> Detector:
    """Load a detector, once in each process. These arguments are all that a worker needs to load the same.

    Args:
        name: A name in `DETECTORS`, or NAME:ARGUMENT where it takes one (`cascade:thorough`).
        threads: CPU threads it may use; one process per core wants 1.
        device: What its networks run on; see `unface.detect.network.providers`.

    Raises:
        InputError: Unknown name, weights that are not there and cannot be pulled, or a device that is not there.
    """
    known, _, argument = name.partition(":")
    if known not in DETECTORS:
        raise InputError(f"detector {name!r}: expected one of {', '.join(DETECTORS)}")
    module, attribute = DETECTORS[known].split(":")
    given = (argument,) if argument else ()
    made: Any = getattr(import_module(module), attribute)(*given, threads=threads, device=device)
    detector: Detector = made
    return detector
