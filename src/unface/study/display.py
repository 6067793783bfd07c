"""How a training goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

SECONDS_BETWEEN_LINES = 10.0


class TrainingDisplay:
    """Shows steps, loss, accuracy, rate and time left on standard error; use it in a `with` block.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bar: Any = None
        self._task: Any = None
        self._name, self._steps, self._first = "", 0, 0
        self._started = self._told = 0.0

    def __enter__(self) -> "TrainingDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, name: str, steps: int, done: int) -> None:
        """A training of so many steps begins, or goes on."""
        self._name, self._steps, self._first = name, steps, done
        self._started = self._clock()
        self._told = -SECONDS_BETWEEN_LINES
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(name, total=steps, completed=done, told="")
            self._bar.start()

    def advance(self, facts: Mapping[str, float]) -> None:
        """So far: a line of the log."""
        step = int(facts["step"])
        told = self._line(step, facts)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, told=told)
        elif self._clock() - self._told >= SECONDS_BETWEEN_LINES or step == self._steps:
            self._told = self._clock()
            print(f"{self._name}: step {step} of {self._steps}, {told}", file=sys.stderr)

    def _line(self, step: int, facts: Mapping[str, float]) -> str:
        told = f"epoch {facts['epoch']:.0f}, loss {facts['loss']:.3f}, top-1 {facts['top1']:.1%}"
        if "validation_top1" in facts:
            told += f", validation {facts['validation_top1']:.1%}"
        told += f", {facts['images_per_second']:.0f} images/s"
        if step < self._steps:
            seconds = (self._clock() - self._started) / max(1, step - self._first) * (self._steps - step)
            told += f", {_duration(seconds)} left"
        return told


def _duration(seconds: float) -> str:
    """Seconds as h:mm:ss.

    >>> _duration(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
