"""The faces that are attacked: brought to one size, with a second picture of each, and hidden in several ways."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.boxes import Boxes, iou
from unface.obfuscate.methods import Obfuscation, obfuscate

FRAME_PX = 96
"""Side of the picture of a face."""
BOX_PX = 56
"""Side of the face's box in its middle."""
MARGIN_PX = (FRAME_PX - BOX_PX) // 2
LEAST_SIDE_PX = 32
"""Smaller faces are not attacked: they have little to lose."""

_JITTER = 0.04  # of the box, in the second picture: nobody draws the same box twice
_GAIN = 0.15
_QUALITY = 85

Frames = NDArray[np.float32]
"""RGB, 0 to 255, shape (N, FRAME_PX, FRAME_PX, 3)."""
Landmarks = NDArray[np.float32]
"""Right eye, left eye, nose, right and left corner of the mouth as x, y in pixels of the frame, shape (N, 5, 2)."""
Image = NDArray[np.uint8]
"""RGB, upright, shape (H, W, 3)."""
LandmarkFinder = Callable[[NDArray[np.float32]], NDArray[np.float32] | None]
"""From a frame to its landmarks, shape (5, 2); None where it sees no face."""


@dataclass(frozen=True)
class Hidden:
    """The same faces, hidden in one way.

    Attributes:
        obfuscation: How.
        probes: What is published.
        gallery: The second pictures, hidden in the same way by the attacker.
    """

    obfuscation: Obfuscation
    probes: Frames
    gallery: Frames


@dataclass(frozen=True)
class Subjects:
    """Faces, each of another person as far as is known.

    Attributes:
        boxes_xyxy: In their images, shape (N, 4).
        largest_px: Longer side of the largest face of each one's image: the published presets blur by it, shape (N,).
        originals: The faces as they were.
        seconds: A second picture of each: the photo mirrored, its box moved and resized by up to 4 %, its brightness
            and contrast changed by up to 15 %, and encoded as a JPEG.
        landmarks: Of the originals, shape (N, 5, 2).
        second_landmarks: Of the second pictures.
        hidden: By name, the faces hidden in some way.
        passed_over: Faces large enough that were not taken: they overlap others, or no landmarks were found.
    """

    boxes_xyxy: Boxes
    largest_px: NDArray[np.float32]
    originals: Frames
    seconds: Frames
    landmarks: Landmarks
    second_landmarks: Landmarks
    hidden: Mapping[str, Hidden]
    passed_over: int

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


@dataclass(eq=False)
class Collection:
    """Gathers faces image by image, until there are enough.

    Attributes:
        treatments: By name, how the faces are hidden; None for what was published.
        published_as: How what was published was hidden.
        find_landmarks: Finds landmarks.
        most: How many faces to take.
        rng: Makes the second pictures.
    """

    treatments: Mapping[str, Obfuscation | None]
    published_as: Obfuscation
    find_landmarks: LandmarkFinder
    most: int
    rng: np.random.Generator
    passed_over: int = 0
    _rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether there are enough faces."""
        return len(self._rows) >= self.most

    def add(self, original: Image, published: Image | None, boxes_xyxy: Boxes, most_of_image: int = 4) -> None:
        """Take faces of an image, the largest first.

        Args:
            original: The image before.
            published: The image after, where it was published.
            boxes_xyxy: All its recorded faces, shape (N, 4).
            most_of_image: How many to take of it, at most.
        """
        chosen = self._chosen(boxes_xyxy, original.shape[1::-1])[:most_of_image]
        if not len(chosen):
            return
        mirrored = np.ascontiguousarray(original[:, ::-1])
        other_boxes = _jittered(_mirrored(boxes_xyxy, original.shape[1]), self.rng)
        gains = self.rng.uniform(1 - _GAIN, 1 + _GAIN, 2)
        other = _through_jpeg(
            np.clip((mirrored - 128.0) * gains[0] + 128 * gains[1], 0, 255).astype(np.uint8), _QUALITY
        )
        views = {
            name: self._views(each, original, published, boxes_xyxy, other, other_boxes)
            for name, each in self.treatments.items()
        }
        largest = float((boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max())
        for i in chosen.tolist():
            frame, second = frame_of(original, boxes_xyxy[i]), frame_of(other, other_boxes[i])
            landmarks, second_landmarks = self.find_landmarks(frame), self.find_landmarks(second)
            if landmarks is None or second_landmarks is None:
                self.passed_over += 1
            elif not self.is_full:
                hidden = {
                    name: (frame_of(probe, boxes_xyxy[i]), frame_of(gallery, other_boxes[i]))
                    for name, (probe, gallery) in views.items()
                }
                row = {"box": boxes_xyxy[i], "largest": largest, "original": frame, "second": second}
                row |= {"landmarks": landmarks, "second_landmarks": second_landmarks, "hidden": hidden}
                self._rows.append(row)

    def subjects(self) -> Subjects:
        """What was gathered."""
        rows = self._rows

        def stacked(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
            return np.array([row[name] for row in rows], np.float32).reshape(-1, *shape)

        frame = (FRAME_PX, FRAME_PX, 3)
        hidden = {
            name: Hidden(
                each or self.published_as,
                np.array([row["hidden"][name][0] for row in rows], np.float32).reshape(-1, *frame),
                np.array([row["hidden"][name][1] for row in rows], np.float32).reshape(-1, *frame),
            )
            for name, each in self.treatments.items()
        }
        return Subjects(
            stacked("box", (4,)),
            stacked("largest", ()),
            stacked("original", frame),
            stacked("second", frame),
            stacked("landmarks", (5, 2)),
            stacked("second_landmarks", (5, 2)),
            hidden,
            self.passed_over,
        )

    def _chosen(self, boxes: Boxes, size_wh: Sequence[int]) -> NDArray[np.int64]:
        """Large faces wholly in the image that overlap no other, the largest first."""
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= np.array(size_wh)).all(axis=1)
        large = inside & (sides.min(axis=1) >= LEAST_SIDE_PX) if len(boxes) else np.zeros(0, bool)
        apart = (iou(boxes, boxes) > 0).sum(axis=1) == 1
        self.passed_over += int((large & ~apart).sum())
        chosen = np.flatnonzero(large & apart)
        return chosen[np.argsort(-sides[chosen].prod(axis=1), kind="stable")]

    def _views(
        self,
        treatment: Obfuscation | None,
        original: Image,
        published: Image | None,
        boxes: Boxes,
        other: Image,
        other_boxes: Boxes,
    ) -> tuple[Image, Image]:
        """What is published of an image, and what the attacker makes of the second one."""
        gallery = obfuscate(other, other_boxes, treatment or self.published_as).pixels
        if treatment is None:
            assert published is not None
            return published, gallery
        return obfuscate(original, boxes, treatment).pixels, gallery


def frame_of(image: Image, box_xyxy: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The face's surroundings, resized so that its box fills the middle; shape (FRAME_PX, FRAME_PX, 3)."""
    import cv2

    x0, y0, x1, y1 = (float(side) for side in box_xyxy)
    step_x, step_y = (x1 - x0) / BOX_PX, (y1 - y0) / BOX_PX
    left, top = x0 - MARGIN_PX * step_x, y0 - MARGIN_PX * step_y
    width, height = FRAME_PX * step_x, FRAME_PX * step_y
    cut = [round(left), round(top), round(left + width), round(top + height)]
    x_range = np.clip(np.arange(cut[0], max(cut[2], cut[0] + 1)), 0, image.shape[1] - 1)
    y_range = np.clip(np.arange(cut[1], max(cut[3], cut[1] + 1)), 0, image.shape[0] - 1)
    region = image[y_range[:, None], x_range]
    how = cv2.INTER_AREA if min(step_x, step_y) > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(region, (FRAME_PX, FRAME_PX), interpolation=how), np.float32)


def through_jpeg(frames: Frames, quality: int) -> Frames:
    """Frames as a JPEG of that quality gives them back."""
    return np.array([_through_jpeg(_as_bytes(frame), quality) for frame in frames], np.float32)


def _as_bytes(frame: NDArray[np.float32]) -> Image:
    return np.asarray(np.clip(np.rint(frame), 0, 255), np.uint8)


def _through_jpeg(image: Image, quality: int) -> Image:
    import cv2

    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])


def _mirrored(boxes: Boxes, width: int) -> Boxes:
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def _jittered(boxes: Boxes, rng: np.random.Generator) -> Boxes:
    sides = boxes[:, 2:] - boxes[:, :2]
    moved = boxes + np.tile(rng.uniform(-_JITTER, _JITTER, sides.shape) * sides, 2)
    grown = rng.uniform(-_JITTER, _JITTER, sides.shape) * sides / 2
    return np.asarray(np.concatenate([moved[:, :2] - grown, moved[:, 2:] + grown], axis=1), np.float32)
