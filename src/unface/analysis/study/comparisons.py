"""Which cells of the matrix are compared, and how far accuracy drops from one to the other."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unface.analysis.study.results import ORIGINAL, REENCODED, Cell, Results, Run
from unface.analysis.study.uncertainty import Draws, Interval, bootstrap
from unface.predictions import PRETRAINED

TOPS = (1, 5)

_SURE = 0.005

TRAINED, TRANSFERRED, SHIFTED, PRETRAINED_ON = "trained", "transferred", "shifted", "pretrained"
"""How a setting enters a comparison: see `TITLES`."""

TITLES = {
    TRAINED: "trained and evaluated on {}",
    TRANSFERRED: "trained on {}, evaluated on original",
    SHIFTED: "trained on original, evaluated on {}",
    PRETRAINED_ON: "pretrained weights, evaluated on {}",
}


@dataclass(frozen=True)
class Comparison:
    """One setting against the original.

    Attributes:
        kind: How the setting enters, one of `TITLES`.
        setting: Its name.
        reference: Settings trained and evaluated on, with the original.
        other: The same with the setting.
    """

    kind: str
    setting: str
    reference: tuple[str, str]
    other: tuple[str, str]

    @property
    def name(self) -> str:
        """Such as `blurred_trained`, for files."""
        return f"{self.setting}_{self.kind}"

    @property
    def title(self) -> str:
        """In words."""
        return TITLES[self.kind].format(self.setting)


class Pair(NamedTuple):
    """Two runs of one architecture that differ only in the compared setting."""

    architecture: str
    seed: int | None
    reference: Run
    other: Run


@dataclass(frozen=True, eq=False)
class Drop:
    """How far accuracy drops in one comparison; everything in fractions.

    Attributes:
        comparison: Which.
        pairs: Runs that were compared, by architecture and seed.
        draws: Quantities top-1, top-5, by architecture.
    """

    comparison: Comparison
    pairs: list[Pair]
    draws: Draws

    @property
    def architectures(self) -> list[str]:
        """In the order of the draws."""
        return list(dict.fromkeys(pair.architecture for pair in self.pairs))

    @property
    def seeds(self) -> int:
        """Most seeds that any architecture was trained with."""
        return max(sum(pair.architecture == name for pair in self.pairs) for name in self.architectures)

    def of(self, top: int, architecture: str | None = None) -> Interval | None:
        """Drop of top-1 or top-5, of one architecture (None where it was not compared) or the mean over all."""
        if architecture is None:
            return self.draws.of(TOPS.index(top))
        if architecture not in self.architectures:
            return None
        return self.draws.of(TOPS.index(top), self.architectures.index(architecture))

    @property
    def looks_swapped(self) -> bool:
        """Whether accuracy rises where it should fall, and so surely that many comparisons do not make it likely."""
        drops = [self.draws.of(TOPS.index(top)) for top in TOPS]
        return self.comparison.setting != REENCODED and any(drop.value < 0 and drop.p < _SURE for drop in drops)


def comparisons(results: Results) -> list[Comparison]:
    """Every comparison with the original that some architecture allows, the headline first."""
    found = []
    others = [setting for setting in results.settings if setting != ORIGINAL]
    for kind in TITLES:
        for setting in others:
            comparison = _comparison(kind, setting)
            if next(iter(paired(results, comparison)), None):
                found.append(comparison)
    return found


def _comparison(kind: str, setting: str) -> Comparison:
    reference, other = {
        TRAINED: ((ORIGINAL, ORIGINAL), (setting, setting)),
        TRANSFERRED: ((ORIGINAL, ORIGINAL), (setting, ORIGINAL)),
        SHIFTED: ((ORIGINAL, ORIGINAL), (ORIGINAL, setting)),
        PRETRAINED_ON: ((PRETRAINED, ORIGINAL), (PRETRAINED, setting)),
    }[kind]
    return Comparison(kind, setting, reference, other)


def paired(results: Results, comparison: Comparison) -> list[Pair]:
    """Runs of both sides with the same architecture and seed."""
    pairs = []
    for architecture in results.architectures:
        references = results.cells.get(Cell(architecture, *comparison.reference), {})
        others = results.cells.get(Cell(architecture, *comparison.other), {})
        for seed in references:
            if seed in others:
                pairs.append(Pair(architecture, seed, references[seed], others[seed]))
    return pairs


def differences(results: Results, pairs: Iterable[Pair], top: int) -> NDArray[np.int8]:
    """1 where only the original side is right, -1 where only the other is; shape (pairs, N)."""
    return np.stack(
        [
            results.correct(pair.reference, top).astype(np.int8) - results.correct(pair.other, top).astype(np.int8)
            for pair in pairs
        ]
    )


def drop(results: Results, comparison: Comparison) -> Drop:
    """Compare, with the paired bootstrap over images and seeds."""
    pairs = paired(results, comparison)
    by_architecture = [
        np.stack([differences(results, own, top) for top in TOPS]) for own in _by_architecture(pairs).values()
    ]
    return Drop(comparison, pairs, bootstrap(by_architecture))


def _by_architecture(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.architecture, []).append(pair)
    return groups


@dataclass(frozen=True)
class Recompression:
    """The part of a drop that encoding the pictures again explains by itself.

    Attributes:
        comparison: The drop.
        top: 1 or 5.
        drop: Its mean over the architectures that have the control, too.
        control: Drop of the control `reencoded`.
        share: The second as a share of the first; None where the first might be 0.
    """

    comparison: Comparison
    top: int
    drop: Interval
    control: Interval
    share: Interval | None


def recompression(results: Results) -> list[Recompression]:
    """For each comparison that has its control arm."""
    found = []
    for comparison in comparisons(results):
        control = _comparison(comparison.kind, REENCODED)
        pairs, controls = paired(results, comparison), paired(results, control)
        keys = {(pair.architecture, pair.seed) for pair in controls} & {(pair[0], pair[1]) for pair in pairs}
        if comparison.setting == REENCODED or not keys:
            continue
        both = [_by_architecture(pair for pair in side if (pair[0], pair[1]) in keys) for side in (pairs, controls)]
        for top in TOPS:
            draws = bootstrap([np.stack([differences(results, side[name], top) for side in both]) for name in both[0]])
            found.append(Recompression(comparison, top, draws.of(0), draws.of(1), draws.ratio(1, 0)))
    return found
