"""How trainings go on: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from unface.study.config import Work

SECONDS_BETWEEN_LINES = 10.0
_NO_SHARES = {"step", "epoch", "loss", "learning_rate", "images_per_second", "validation_top5"}
"""Of a line of the log; all else are shares of images that are right."""


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
        told = f"epoch {facts['epoch']:.0f}, loss {facts['loss']:.3f}"
        for name in sorted(facts.keys() - _NO_SHARES):
            told += f", {name.replace('_', ' ').replace('top', 'top-')} {facts[name]:.1%}"
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


class RunsDisplay:
    """Shows the runs of a study on standard error: a bar each on a terminal, a line each elsewhere; use it in `with`.

    Args:
        total: Runs to do.
        epochs_of: Tells the epochs of a run's trainings.
    """

    def __init__(self, total: int, epochs_of: Callable[[Work], int]) -> None:
        self._total, self._epochs_of, self._ended = total, epochs_of, 0
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "RunsDisplay":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True))
            self._tasks[""] = self._bars.add_task("study: runs", total=self._total, told="")
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def started(self, run: Work) -> None:
        """A run is at work."""
        if self._bars is not None:
            self._tasks[run.name] = self._bars.add_task(f"{run.name}: epochs", total=self._epochs_of(run), told="")

    def progressed(self, run: Work, facts: Mapping[str, float]) -> None:
        """A line of a run's log."""
        if self._bars is not None:
            told = f"loss {facts['loss']:.3f}, {facts['images_per_second']:.0f} images/s"
            self._bars.update(self._tasks[run.name], completed=facts["epoch"], told=told)

    def ended(self, run: Work, error: str) -> None:
        """A run is done, or failed."""
        self._ended += 1
        if self._bars is not None:
            self._bars.remove_task(self._tasks.pop(run.name))
            self._bars.update(self._tasks[""], completed=self._ended)
        if error or self._bars is None:
            print(f"study: {self._ended} of {self._total} runs: {run.name} {error or 'done'}", file=sys.stderr)
