"""What a stage is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from unface.engine.shards import Item, Shard


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage made of one image: its row of the stage's table, and counts."""

    row: Mapping[str, Any]
    faces: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Stage(Protocol):
    """One step of the pipeline. Pickled to the workers, so small until `setup` was called there."""

    @property
    def name(self) -> str:
        """The stage's name in tables and on screen."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of its rows."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Everything that decides its output, as JSON values; a change makes finished shards stale."""

    def setup(self) -> None:
        """Load what every image needs; called once in each worker."""

    def items(self, shard: Shard) -> Iterator[Item]:
        """The images of a shard, in order. What is to be done before the first and after the last is done here.

        An exception makes the whole shard a failure: none of its rows counts.
        """

    def process(self, item: Item) -> Outcome:
        """Process one image; any exception makes it a failure."""

    def failed(self, item: Item) -> Mapping[str, Any] | None:
        """The row of an image that failed; None where the table holds no such row."""


@runtime_checkable
class Grouping(Protocol):
    """A stage that can process several images at a time.

    Attributes:
        at_once: How many; set by `setup`.
    """

    at_once: int

    def process_group(self, items: Sequence[Item]) -> list[Outcome | Exception]:
        """What `Stage.process` makes of each, or why it fails: one that fails leaves the others alone."""
