"""The shard plan: a dataset cut into runs of images, each done as a whole."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One image to process: its id, a stamp that changes with its content, and what earlier stages say of it."""

    image_id: str
    stamp: str
    inputs: Any = None


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of items; `fingerprint` changes when the items, their inputs or the parameters do."""

    index: int
    items: tuple[Item, ...]
    fingerprint: str


def shard_size(images: int) -> int:
    """Images per shard: small enough to lose little in a kill and to share among cores, at most 512.

    >>> shard_size(230), shard_size(10_000), shard_size(1_431_093)
    (8, 157, 512)
    """
    return min(512, max(8, -(-images // 64)))


def cut(items: Iterable[Item], size: int, parameters: Mapping[str, Any]) -> Iterator[Shard]:
    """Cut items into shards of `size`, in order, lazily."""
    head = json.dumps(parameters, sort_keys=True)
    rest = iter(items)
    index = 0
    while run := tuple(islice(rest, size)):
        digest = hashlib.sha256(head.encode())
        for item in run:
            digest.update(json.dumps([item.image_id, item.stamp, item.inputs], sort_keys=True).encode())
        yield Shard(index, run, digest.hexdigest())
        index += 1
