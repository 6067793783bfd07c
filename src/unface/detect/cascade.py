"""The default detector: a small network proposes faces, a better one looks closer at what it proposes."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from unface.boxes import Boxes, iou, size_wh
from unface.detect.batches import Detection, Question, together
from unface.detect.centerface import CenterFace, CenterFaceInt8
from unface.detect.detector import Image
from unface.detect.looks import IOU_THRESHOLD, Scores, Seen, fused
from unface.detect.single import SingleNetwork
from unface.detect.windows import Windows, best_of_each
from unface.detect.yunet import YuNet
from unface.errors import InputError, one_line
from unface.faces import Faces

_REDUCED_PX = 160  # long side of the look for faces that fill the image
_LEAST_CLOSER = 1.25  # a look at the whole image closer by less shows nothing new
_AT_ONCE = 16  # images, where a device sees several faster than one by one

_FIRST_WINDOW_PX, _SECOND_WINDOW_PX = (64, 28), (96, 40)  # side, and size of the face in it
_SEEN = 0.05  # least score with which a box of CenterFace is taken for one
_YUNET_WEIGHT = 0.25  # of YuNet's word, that of all CenterFace's being 1
_SMALL_PX = 48
_LIKELY, _SURE = 0.1, 0.4  # scores from which a face counts, and has company
_COMPANY = 0.3  # weight of the image's best score in the score of every box
_SHARPNESS = 2.1  # of the scores' logarithmic odds, to make them those of being right
_LEAST, _MOST = 0.02, 0.98  # what a network is believed at the utmost


Company = tuple[tuple[float, float], ...]
"""Pairs of a height in px and a factor: a lower face with company makes CenterFace look at the whole image enlarged by
it."""


@dataclass(frozen=True)
class Mode:
    """How long the cascade looks.

    Attributes:
        scales: Factors by which an image is enlarged for proposals, where its size allows it.
        both_propose: Whether CenterFace proposes too.
        least_proposal: Score from which a box is a proposal.
        most_proposals: How many get windows, the best ones; where there are more, the whole image is looked at.
        least_hope: Score in the first window from which a proposal gets a second one.
        mirrored: Whether windows are looked at in the mirror too.
        company: Where the whole image is looked at.
        least_company: How many likely faces, at least, an image holds that is looked at for more.
        closest_px: Long side up to which an image is enlarged.
        large_odds: What the odds of boxes that are not small are divided by: they hide more, and are seen better.
        int8: Whether CenterFace's weights are the 8-bit ones.
        threshold: See `Detector`.
    """

    scales: tuple[float, ...]
    both_propose: bool
    least_proposal: float
    most_proposals: int
    least_hope: float
    mirrored: bool
    company: Company
    least_company: int
    closest_px: int
    large_odds: float
    int8: bool
    threshold: float


MODES = {
    "fast": Mode((1.5,), False, 0.25, 64, 0.08, False, ((64, 1.0), (32, 1.5)), 2, 2048, 1.0, True, 0.06),
    "thorough": Mode(
        (1.0, 2.0), True, 0.2, 256, 0.0, True, ((np.inf, 1.0), (64, 2.0), (24, 3.0)), 1, 3072, 8.0, False, 0.02
    ),
}


class Cascade:
    """YuNet proposes, CenterFace decides.

    1. YuNet looks at the enlarged image, and at a much reduced one for faces that fill it. `thorough`: at native size
       too, and CenterFace as well.
    2. CenterFace looks at a small window around each proposal, in which every face has the same size, and, where that
       is not hopeless, at a second one. The score is the mean of all that CenterFace saw, and a part of YuNet's.
    3. Where a sure face is small and not alone there may be more: CenterFace looks at the whole image.
    4. The company of a sure face lends credit: s becomes s^0.7 * (best score in the image)^0.3.

    Most photos of objects end after 2 with a few windows or none. Measured step by step in docs/detection.md.
    """

    floor = 0.01

    def __init__(self, mode: str = "fast", threads: int = 1, device: str = "auto") -> None:
        """Name both networks; they are loaded when an image is looked at.

        Args:
            mode: A name in `MODES`.
            threads: CPU threads they may use.
            device: What they run on; see `unface.detect.network.providers`.

        Raises:
            InputError: Unknown mode, weights that are not there and cannot be pulled, or a device that is not there.
        """
        if mode not in MODES:
            raise InputError(f"mode: expected {' or '.join(MODES)}, got {one_line(repr(mode))}")
        self._mode = MODES[mode]
        self.name = "cascade" if mode == "fast" else f"cascade:{mode}"
        self.threshold = self._mode.threshold
        self._yunet = YuNet(threads, device)
        self._centerface = (CenterFaceInt8 if self._mode.int8 else CenterFace)(threads, device)
        self._centerface.floor = _SEEN
        self.models = self._yunet.models | self._centerface.models

    @property
    def at_once(self) -> int:
        """See `Together`."""
        return 1 if self._centerface.on_cpu else _AT_ONCE

    def detect(self, image_rgb: Image) -> Faces:
        """All boxes of score `floor` and above; see `Detector`."""
        (faces,) = self.detect_all([image_rgb])
        return faces

    def detect_all(self, images_rgb: Sequence[Image]) -> list[Faces]:
        """The same for several images; see `Together`."""
        return together([self._detection(image) for image in images_rgb])

    def _detection(self, image: Image) -> Detection[Faces]:
        mode = self._mode
        scales = sorted({closer_scale(image, scale, mode.closest_px) for scale in mode.scales})
        reduced = min(1.0, _REDUCED_PX / max(image.shape[:2]))
        yunet = fused(*(yield from _looks(self._yunet, image, {*scales, reduced})).values())
        whole = yield from _looks(self._centerface, image, set(scales if mode.both_propose else ()))
        proposals, strength = fused(yunet, *whole.values())
        proposals = proposals[strength >= mode.least_proposal]
        boxes, scores = yield from self._judged(image, proposals[: mode.most_proposals], yunet, list(whole.values()))
        crowded = len(proposals) > mode.most_proposals
        company, least = ((*mode.company, (np.inf, 1.0)), 1) if crowded else (mode.company, mode.least_company)
        wanted = company_scales((boxes, scores), company, least, closer_scale(image, np.inf, mode.closest_px))
        whole |= yield from _looks(self._centerface, image, wanted - whole.keys())
        boxes, scores = fused((boxes, scores), *(whole[scale] for scale in sorted(wanted)))
        scores = at_price(as_probabilities(with_credit(scores)), size_wh(boxes)[:, 1], mode.large_odds)
        likely = scores >= self.floor
        height, width = image.shape[:2]
        best_first = np.flatnonzero(likely)[np.argsort(-scores[likely], kind="stable")]
        return Faces.make(boxes[best_first], scores[best_first], source="cascade").clipped(width, height)

    def _judged(self, image: Image, boxes: Boxes, yunet: Seen, whole: list[Seen]) -> Detection[Seen]:
        """Proposals as boxes, better ones where there are, with scores from all that was seen of them."""
        better, evidence = yield from self._in_windows(image, boxes)
        evidence += [scores_at(boxes, seen) for seen in whole]
        odds: Scores = np.mean([_log_odds(scores) for scores in evidence], axis=0, dtype=np.float32)
        odds += _YUNET_WEIGHT * _log_odds(scores_at(boxes, yunet))
        return fused((better, _from_odds(odds)))

    def _in_windows(self, image: Image, boxes: Boxes) -> Detection[tuple[Boxes, list[Scores]]]:
        """What CenterFace sees around each box: a better box if there is one, and the scores in both windows."""
        _, first = yield from self._in_window(image, boxes, *_FIRST_WINDOW_PX)
        hopeful = first >= self._mode.least_hope
        found, scores = yield from self._in_window(image, boxes[hopeful], *_SECOND_WINDOW_PX)
        better, second = boxes.copy(), np.zeros_like(first)
        better[hopeful] = np.where(scores[:, None] >= _SEEN, found, boxes[hopeful])
        second[hopeful] = scores
        return better, [first, second]

    def _in_window(self, image: Image, boxes: Boxes, side_px: int, face_px: int) -> Detection[Seen]:
        """What CenterFace sees at each box in its window: a box, and its score, or the given box and 0."""
        windows = Windows(image, boxes, side_px, face_px)
        seen = yield Question(self._centerface, list(windows.batch_rgb), _LEAST)
        found, scores = best_of_each(seen, windows.boxes_xyxy)
        if self._mode.mirrored:
            batch, there = windows.mirrored()
            _, again = best_of_each((yield Question(self._centerface, list(batch), _LEAST)), there)
            scores = _from_odds(np.mean([_log_odds(scores), _log_odds(again)], axis=0, dtype=np.float32))
        return windows.in_image(found), scores


def _looks(network: SingleNetwork, image: Image, scales: Set[float]) -> Detection[dict[float, Seen]]:
    """What a network sees in the image enlarged or reduced by some factors, by factor."""
    seen = {}
    for scale in sorted(scales):
        seen[scale] = yield from network.looking(image, scale)
    return seen


def closer_scale(image: Image, most: float, closest_px: int) -> float:
    """Factor of a closer look: at most `most`, less where the long side would exceed `closest_px`, never below 1."""
    return min(most, max(1.0, closest_px / float(max(image.shape[:2]))))


def scores_at(boxes_xyxy: Boxes, seen: Seen) -> Scores:
    """The best score of what was seen where each box lies (IoU of 0.3), 0 where there is none; shape (N,)."""
    found, scores = seen
    if not len(found):
        return np.zeros(len(boxes_xyxy), np.float32)
    there = np.where(iou(boxes_xyxy, found) > IOU_THRESHOLD, scores, 0)
    return np.asarray(there.max(axis=1), np.float32)


def company_scales(seen: Seen, company: Company, least: int, most: float) -> set[float]:
    """Factors by which the whole image is enlarged to be looked at, where a sure face in it is small and not alone.

    Args:
        seen: What was seen.
        company: When, and how close.
        least: How many likely faces there are at least.
        most: Largest factor.
    """
    boxes, scores = seen
    if (scores >= _LIKELY).sum() < least:
        return set()
    heights_px = size_wh(boxes[scores >= _SURE])[:, 1]
    scales = {min(scale, most) for below_px, scale in company if (heights_px < below_px).any()}
    return {scale for scale in scales if scale == 1 or scale >= _LEAST_CLOSER}


def with_credit(scores: Scores) -> Scores:
    """Scores in [0, 1] drawn towards the best of the image, which itself stays; shape (N,)."""
    if not len(scores):
        return scores
    drawn: Scores = scores ** (1 - _COMPANY) * scores.max() ** _COMPANY
    return drawn


def as_probabilities(scores: Scores) -> Scores:
    """The shares of boxes with such scores that are faces, as measured on the tuning photos; shape (N,)."""
    right, wrong = scores**_SHARPNESS, (1 - scores) ** _SHARPNESS
    return np.asarray(right / (right + wrong), np.float32)


def at_price(scores: Scores, heights_px: Scores, large_odds: float) -> Scores:
    """The scores, in [0, 1], shape (N,), with the odds of boxes that are not small divided by `large_odds`."""
    price = np.where(heights_px < _SMALL_PX, 1, large_odds)
    return np.asarray(scores / (scores + price * (1 - scores)), np.float32)


def _log_odds(scores: Scores) -> Scores:
    believed = np.clip(scores, _LEAST, _MOST)
    return np.asarray(np.log(believed / (1 - believed)), np.float32)


def _from_odds(log_odds: Scores) -> Scores:
    return np.asarray(1 / (1 + np.exp(-log_odds)), np.float32)
