"""One progress display: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts images and faces and shows rate and time left on standard error.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._reset("", None)

    def _reset(self, name: str, images: int | None) -> None:
        self._name, self._images = name, images
        self._done = self._faces = self._failed = self._resumed = 0
        self._printed = -1
        self._started = self._last_line = time.monotonic()

    @contextmanager
    def stage(self, name: str, images: int | None) -> Iterator[None]:
        """Show one stage's progress inside a `with` block; `images` in all, None if that is not known."""
        self._reset(name, images)
        if self._quiet:
            yield
        elif sys.stderr.isatty():
            with self._terminal_bar() as self._bar:
                self._task = self._bar.add_task(name, total=images, told="")
                yield
            self._bar = None
        else:
            yield
            if self._printed != self._done:
                self._print_line()

    def advance(self, images: int, faces: int, failed: int, resumed: bool = False) -> None:
        """Count images that are done; `resumed` ones were done by an earlier run and do not count in the rate."""
        self._done += images
        self._faces += faces
        self._failed += failed
        self._resumed += images if resumed else 0
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, told=self._told())
        elif not self._quiet and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._print_line()

    def _told(self) -> str:
        seconds = time.monotonic() - self._started
        rate = (self._done - self._resumed) / seconds if seconds > 0 else 0.0
        told = f"{rate:.1f} images/s, {self._faces} faces"
        if self._failed:
            told += f", {self._failed} failed"
        if rate and self._images is not None and self._done < self._images:
            told += f", {_duration((self._images - self._done) / rate)} left"
        return told

    def _print_line(self) -> None:
        self._last_line, self._printed = time.monotonic(), self._done
        total = "" if self._images is None else f" of {self._images}"
        print(f"{self._name}: {self._done}{total} images, {self._told()}", file=sys.stderr)

    def _terminal_bar(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        return Bar(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            console=Console(stderr=True),
        )


def _duration(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = int(seconds + 0.5)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
