"""The shard plan: a dataset's parts in order, each done as a whole."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa


class Part(Protocol):
    """A run of a dataset; two with the same facts hold the same."""

    @property
    def name(self) -> str:
        """Its name, or empty."""

    @property
    def stamp(self) -> str:
        """Changes when the content does."""

    @property
    def images(self) -> tuple[str, ...] | None:
        """Its images, where they are known."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image to process.

    Attributes:
        image_id: Its name.
        inputs: What earlier stages say of it.
        refused: Why it cannot be processed; empty if it can.
    """

    image_id: str
    inputs: Any = None
    refused: str = ""


@dataclass(frozen=True)
class Shard:
    """A part to do.

    Attributes:
        index: Its place in the plan.
        part: What to do.
        fingerprint: Changes when the part, its inputs or the stage's parameters do.
        inputs: What earlier stages say of its images: rows of their tables, by the tables' names.
    """

    index: int
    part: Any
    fingerprint: str
    inputs: Mapping[str, pa.Table] = field(default_factory=dict)


Inputs = Callable[[int, Any], Mapping[str, pa.Table]]
"""Gives the inputs of the part at a place of the plan."""


def plan(
    parts: Iterable[Part],
    parameters: Mapping[str, Any],
    inputs: Inputs = lambda index, part: {},
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Shard]:
    """Plan parts as shards, in order, lazily; of `world_size` machines this one does every so manieth."""
    head = json.dumps(parameters, sort_keys=True).encode()
    for index, part in enumerate(parts):
        if index % world_size != rank:
            continue
        given = inputs(index, part)
        digest = hashlib.sha256(head)
        digest.update(json.dumps([part.name, part.stamp]).encode())
        digest.update("\n".join(part.images or ()).encode("utf-8", "surrogatepass"))
        for name in sorted(given):
            digest.update(name.encode() + _digest(given[name]))
        yield Shard(index, part, digest.hexdigest(), given)


def _digest(table: pa.Table) -> bytes:
    """A table's content, whatever its chunks and notes."""
    sink = pa.BufferOutputStream()
    bare = table.combine_chunks().replace_schema_metadata(None)
    with pa.ipc.new_stream(sink, bare.schema) as writer:
        writer.write_table(bare)
    return hashlib.sha256(sink.getvalue()).digest()
