"""What a face detector is, and the detectors there are."""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from unface.errors import InputError, UnfaceError, one_line
from unface.faces import Faces

Image = NDArray[np.uint8]
"""RGB, uint8, shape (H, W, 3), upright."""


class Detector(Protocol):
    """Finds faces in one image at a time, on one thread.

    Attributes:
        name: What `make_detector` makes the same from: a name in `DETECTORS`, with an argument where it takes one.
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
            Faces in pixels of that image, label "face" (or "nsfw"), source the detector's name without its argument.
        """
        ...


@runtime_checkable
class Together(Protocol):
    """A detector that can look at several images at a time."""

    @property
    def at_once(self) -> int:
        """How many, where it runs; 1 where that gains nothing."""
        ...

    def detect_all(self, images_rgb: Sequence[Image]) -> list[Faces]:
        """What `Detector.detect` finds in each."""
        ...


@runtime_checkable
class Paid(Protocol):
    """A detector that costs money."""

    def cost_usd(self, images: int) -> float:
        """What so many images cost at most, in US dollars."""
        ...


DETECTORS = {
    "cascade": "unface.detect.cascade:Cascade",
    "yunet": "unface.detect.yunet:YuNet",
    "centerface": "unface.detect.centerface:CenterFace",
    "retinaface": "unface.detect.retinaface:RetinaFace",
    "scrfd-500m": "unface.detect.scrfd:Scrfd500m",
    "scrfd": "unface.detect.scrfd:Scrfd",
    "yolo-face": "unface.detect.yolo:YoloFace",
    "rekognition": "unface.detect.rekognition:Rekognition",
    "nudenet": "unface.detect.nudenet:NudeNet",
}
DEFAULT_DETECTOR = "cascade"
ENTRY_POINTS = "unface.detectors"
"""The group of entry points by which other packages add detectors."""


def make_detector(name: str = DEFAULT_DETECTOR, threads: int = 1, device: str = "auto") -> Detector:
    """Load a detector, once in each process. These arguments are all that a worker needs to load the same.

    Args:
        name: A name in `DETECTORS` or of an installed package's entry point; NAME:ARGUMENT where it takes one
            (`cascade:thorough`, `scrfd:PATH`); or several, joined by `+`.
        threads: CPU threads it may use; one process per core wants 1.
        device: What its networks run on; see `unface.detect.network.providers`.

    Raises:
        InputError: Unknown name, weights that are not there and cannot be pulled, or a device that is not there.
    """
    return _loaded(name, threads, device)


@lru_cache(maxsize=8)
def _loaded(name: str, threads: int, device: str) -> Detector:
    others = {} if name in DETECTORS else {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    known = (*DETECTORS, *others)
    members = re.split(rf"\+(?=(?:{'|'.join(map(re.escape, known))})(?:[:+]|$))", name)
    if len(members) > 1:
        from unface.detect.ensemble import Ensemble

        return Ensemble([_loaded(member, threads, device) for member in members])
    kind, _, argument = name.partition(":")
    if kind in DETECTORS:
        module, attribute = DETECTORS[kind].split(":")
        return _made(getattr(import_module(module), attribute), name, argument, threads, device)
    if kind in others:
        return _made_elsewhere(others[kind], name, argument, threads, device)
    raise InputError(f"detector {one_line(repr(name))}: expected one of {', '.join(known)}")


def _made(factory: Callable[..., Any], name: str, argument: str, threads: int, device: str) -> Detector:
    given = (argument,) if argument else ()
    try:
        inspect.signature(factory).bind(*given, threads=threads, device=device)
    except TypeError:
        expected = "no argument" if argument else "an argument, NAME:ARGUMENT"
        raise InputError(f"detector {one_line(repr(name))}: expected {expected}") from None
    made: Detector = factory(*given, threads=threads, device=device)
    return made


def _made_elsewhere(entry: EntryPoint, name: str, argument: str, threads: int, device: str) -> Detector:
    """A detector of another package; whatever it raises leaves as one line."""
    package = entry.dist.name if entry.dist else entry.value
    try:
        made = _made(entry.load(), name, argument, threads, device)
    except UnfaceError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise InputError(f"detector {one_line(repr(name))} of package {package}: {reason}") from None
    if lacking := [part for part in ("name", "models", "threshold", "floor", "detect") if not hasattr(made, part)]:
        raise InputError(f"detector {one_line(repr(name))} of package {package}: expected {lacking[0]!r}, got none")
    return made
