"""Batches: what several detections ask a network to see goes through it together, where that is faster."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from unface.detect.detector import Image
from unface.detect.looks import Seen

Found = TypeVar("Found")


class Seeing(Protocol):
    """A network that sees images of one size."""

    @property
    def most_pixels(self) -> int:
        """How many it sees at once, unless one image has more."""
        ...

    def see(self, batch_rgb: NDArray[np.uint8], floor: float) -> list[Seen]:
        """What it sees in each image; see `unface.detect.single.SingleNetwork`."""
        ...


@dataclass(frozen=True, eq=False)
class Question:
    """What does a network see?

    Attributes:
        network: Which.
        images_rgb: In what, sides multiples of 32.
        floor: Least score of a box.
    """

    network: Seeing
    images_rgb: Sequence[Image]
    floor: float


Detection = Generator[Question, list[Seen], Found]
"""The steps of finding something in one image: it asks questions, each is answered by what is seen in each image."""


def together(detections: Sequence[Detection[Found]]) -> list[Found]:
    """Run detections side by side; what they ask at the same time is seen together."""
    found: dict[int, Found] = {}
    asked = _going_on(detections, dict.fromkeys(range(len(detections))), found)
    while asked:
        answers = dict(zip(asked, _answers(list(asked.values())), strict=True))
        asked = _going_on(detections, answers, found)
    return [found[place] for place in range(len(detections))]


def _going_on(
    detections: Sequence[Detection[Found]], answers: dict[int, list[Seen]] | dict[int, None], found: dict[int, Found]
) -> dict[int, Question]:
    """Answer detections, by place; returns what they ask next, and notes what those have found that are done."""
    asked = {}
    for place, answer in answers.items():
        try:
            asked[place] = detections[place].send(answer)  # type: ignore[arg-type]  # None begins it
        except StopIteration as end:
            found[place] = end.value
    return asked


def _answers(questions: list[Question]) -> list[list[Seen]]:
    answers: list[list[Seen | None]] = [[None] * len(question.images_rgb) for question in questions]
    for group in _batches(questions):
        question = questions[group[0][0]]
        images = [questions[asker].images_rgb[place] for asker, place in group]
        batch = np.stack(images) if len(images) > 1 else images[0][None]
        for (asker, place), seen in zip(group, question.network.see(batch, question.floor), strict=True):
            answers[asker][place] = seen
    return answers  # type: ignore[return-value]  # each is in one batch


def _batches(questions: list[Question]) -> Iterator[list[tuple[int, int]]]:
    """Which images go together: places of a question, and of an image in it."""
    alike: dict[tuple[int, float, tuple[int, ...]], list[tuple[int, int]]] = {}
    for asker, question in enumerate(questions):
        for place, image in enumerate(question.images_rgb):
            alike.setdefault((id(question.network), question.floor, image.shape), []).append((asker, place))
    for (_, _, (height, width, _)), group in alike.items():
        most = max(1, questions[group[0][0]].network.most_pixels // (height * width))
        yield from (group[start : start + most] for start in range(0, len(group), most))
