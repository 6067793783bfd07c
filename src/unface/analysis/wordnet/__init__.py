"""Noun synsets of WordNet 3.0 and what lies below them; ImageNet's wnids are their offsets.

`nouns.parquet` is made by `make_nouns.py`; its licence is in `LICENSE`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from unface.errors import InputError, one_line
from unface.faces.classes import is_wnid


@dataclass(frozen=True, eq=False)
class Nouns:
    """All noun synsets.

    Attributes:
        offsets: Sorted, shape (S,).
        names: One per offset, such as `bird.n.01`.
        children: Places of synsets that have a hypernym, shape (E,).
        parents: Places of those hypernyms, shape (E,).
    """

    offsets: NDArray[np.int64]
    names: pa.Array
    children: NDArray[np.int64]
    parents: NDArray[np.int64]

    def wnid(self, synset: str) -> str:
        """The wnid of a synset given by name (`bird.n.01`) or wnid; InputError if there is none.

        >>> load_nouns().wnid("bird.n.01")
        'n01503061'
        """
        if self._place(synset) is not None:
            return synset
        place = pc.index(self.names, synset).as_py()
        if place < 0:
            got = one_line(repr(synset[:80]))
            raise InputError(f"synset {got}: expected a noun of WordNet 3.0, such as bird.n.01 or n01503061")
        return f"n{self.offsets[place]:08d}"

    def among(self, wnids: Iterable[str], synset: str) -> list[str]:
        """Those wnids that are the synset or lie below it.

        >>> load_nouns().among(["n01514859", "n03000684"], "bird.n.01")
        ['n01514859']
        """
        inside, before = np.zeros(len(self.offsets), bool), -1
        inside[self._place(self.wnid(synset))] = True
        while (now := int(inside.sum())) != before:
            before = now
            inside[self.children[inside[self.parents]]] = True
        return [wnid for wnid in wnids if (place := self._place(wnid)) is not None and inside[place]]

    def word(self, wnid: str) -> str:
        """The first word of a synset, spaces for underscores; what is no synset, unchanged.

        >>> load_nouns().word("n10148035")
        'groom'
        """
        place = self._place(wnid)
        return wnid if place is None else self.names[place].as_py().rsplit(".", 2)[0].replace("_", " ")

    def _place(self, wnid: str) -> int | None:
        if not is_wnid(wnid):
            return None
        place = int(np.searchsorted(self.offsets, int(wnid[1:])))
        return place if place < len(self.offsets) and self.offsets[place] == int(wnid[1:]) else None


@cache
def load_nouns() -> Nouns:
    """Read the synsets, once."""
    table = pq.read_table(Path(__file__).with_name("nouns.parquet")).combine_chunks()
    offsets, parents = table["offset"].to_numpy().astype(np.int64), table["parents"]
    hypernyms = pc.list_flatten(parents).to_numpy()
    children = np.repeat(np.arange(len(offsets)), pc.list_value_length(parents).to_numpy())
    return Nouns(offsets, table["name"].chunk(0), children, np.searchsorted(offsets, hypernyms))
