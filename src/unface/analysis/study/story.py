"""Everything that a study's files tell, computed once for tables, figures and page."""

import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unface.analysis.study.categories import (
    BLURRED_EDGES,
    COVERED_EDGES,
    Areas,
    CategoryDrops,
    Relation,
    areas,
    category_drops,
    class_means,
    relate,
)
from unface.analysis.study.comparisons import (
    PRETRAINED_ON,
    SHIFTED,
    TOPS,
    TRAINED,
    TRANSFERRED,
    Drop,
    Recompression,
    comparisons,
    drop,
    recompression,
)
from unface.analysis.study.confusions import PAIRS_SHOWN, PAPER_PAIRS, Precisions, Swing, find_swings, precisions
from unface.analysis.study.objects import read_objects
from unface.analysis.study.replication import is_comparable
from unface.analysis.study.results import REENCODED, Results, Run, read_results
from unface.errors import InputError
from unface.faces import read_faces

LEVEL = 0.05
"""False discovery rate at which classes and pairs are called affected."""


@dataclass(frozen=True)
class Choices:
    """What may be chosen.

    Attributes:
        ddof: Of the standard errors; the paper's code has 2.
        paper: Whether the paper's numbers stand beside; by default where the classes are ILSVRC's.
        enlarged: Whether Figures 3 and 4 measure boxes with the paper's margin instead of the boxes as they are.
        only_faces: Whether a class's fraction is the mean over its images with faces instead of over all.
        objects: Boxes of objects, for Figure 4; by default the study's `objects.csv`.
    """

    ddof: int = 1
    paper: bool | None = None
    enlarged: bool = False
    only_faces: bool = False
    objects: Path | None = None


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting's drops, class by class, and what they go with.

    Attributes:
        categories: The drops.
        blurred: Figure 3, top-1 and top-5: fraction of the image that faces cover; None without boxes.
        covered: Figure 4: fraction of the objects that faces cover; None without boxes of both.
    """

    categories: CategoryDrops
    blurred: tuple[Relation, Relation] | None
    covered: tuple[Relation, Relation] | None

    @property
    def name(self) -> str:
        """The setting's name."""
        return self.categories.drop.comparison.setting


@dataclass(frozen=True, eq=False)
class Confusions:
    """Pairs of classes that change places.

    Attributes:
        drop: In which comparison.
        swings: Those found, at most `PAIRS_SHOWN` and then those of the paper.
        looked_at: Number of pairs that were tested.
        found: Number of those that are sure.
        precisions: Of each run, average precisions of the `classes`.
    """

    drop: Drop
    swings: list[Swing]
    looked_at: int
    found: int
    precisions: dict[Run, Precisions]

    @property
    def classes(self) -> list[int]:
        """Classes of the pairs, in order."""
        return list(dict.fromkeys(place for swing in self.swings for place in (swing.loser, swing.winner)))


@dataclass(frozen=True, eq=False)
class Story:
    """All of it.

    Attributes:
        results: The runs.
        choices: As resolved.
        drops: One per comparison, the headline first.
        recompression: What encoding again explains.
        settings: Class by class, one per obfuscated setting.
        confusions: Of the first of these; None where there are too few trainings.
        areas: What faces cover; None without a table of faces.
        with_faces: Images with a face; None without a table of faces.
        notes: What could not be computed, and what looks wrong, one sentence each.
    """

    results: Results
    choices: Choices
    drops: list[Drop]
    recompression: list[Recompression]
    settings: list[Setting]
    confusions: Confusions | None
    areas: Areas | None
    with_faces: int | None
    notes: list[str]

    @property
    def paper(self) -> bool:
        """Whether the paper's numbers stand beside."""
        return bool(self.choices.paper)


def read_story(folder: Path, choices: Choices | None = None) -> Story:
    """Read a study's output folder and compute everything.

    Args:
        folder: With `predictions/`, and where there are such `faces.parquet` and `objects.csv`.
        choices: What may be chosen.

    Raises:
        InputError: No study there, or a bad file; or scipy or scikit-learn are not installed.
    """
    _require_extra()
    choices = choices or Choices()
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a study's output folder, found no folder")
    results = read_results(folder)
    choices = replace(choices, paper=is_comparable(results) if choices.paper is None else choices.paper)
    notes: list[str] = []
    drops = [drop(results, comparison) for comparison in comparisons(results)]
    if not drops:
        raise InputError(
            f"{folder}: expected runs of one architecture and seed with the setting 'original' and another, got "
            f"{', '.join(sorted({f'{cell.train}-{cell.eval}' for cell in results.cells}))}"
        )
    measured = _areas(folder, results, choices, notes)
    settings = [_setting(results, chosen, measured, choices) for chosen in _one_per_setting(results, drops)]
    confusions = _confusions(results, settings[0].categories.drop, notes) if settings else None
    _add_notes(results, drops, notes)
    with_faces = None if measured is None else int(np.count_nonzero(measured.image > 0))
    explained = _recompression(folder, results, notes)
    return Story(results, choices, drops, explained, settings, confusions, measured, with_faces, notes)


def _require_extra() -> None:
    missing = [name for name in ("scipy", "sklearn") if find_spec(name) is None]
    if missing:
        raise InputError(f"study: expected {' and '.join(missing)}, found none; run: pip install 'unface[study]'")


def _areas(folder: Path, results: Results, choices: Choices, notes: list[str]) -> Areas | None:
    if not (folder / "faces.parquet").exists():
        notes.append("There is no faces.parquet, so what faces cover is not known, and Figures 3 and 4 are missing.")
        return None
    faces = read_faces(folder / "faces.parquet")
    path = choices.objects or (folder / "objects.csv" if (folder / "objects.csv").exists() else None)
    found = areas(results.image_ids, faces, read_objects(path) if path else None, choices.enlarged)
    unknown = int(np.isnan(found.image).sum())
    if unknown == len(found.image):
        raise InputError(
            f"{folder / 'faces.parquet'}: expected the evaluated images, such as {results.image_ids[0].as_py()!r}, "
            f"got none of them"
        )
    if unknown:
        notes.append(f"Of {unknown:,} images it is not known what faces cover; Figures 3 and 4 leave them out.")
    if path is None:
        notes.append("There are no boxes of objects (objects.csv), so Figure 4 is missing.")
    elif np.isnan(found.objects).all():
        raise InputError(f"{path}: expected object boxes of the evaluated images, got none of them")
    if choices.only_faces:
        without = found.image == 0
        found = Areas(np.where(without, np.nan, found.image), np.where(without, np.nan, found.objects))
    return found


def _one_per_setting(results: Results, drops: list[Drop]) -> list[Drop]:
    """For each obfuscated setting its most telling comparison."""
    chosen: dict[str, Drop] = {}
    for kind in (TRAINED, PRETRAINED_ON, SHIFTED):
        for found in drops:
            if found.comparison.kind == kind and found.comparison.setting != REENCODED:
                chosen.setdefault(found.comparison.setting, found)
    return [chosen[name] for name in results.settings if name in chosen]


def _setting(results: Results, chosen: Drop, measured: Areas | None, choices: Choices) -> Setting:
    categories = category_drops(results, chosen)
    if measured is None:
        return Setting(categories, None, None)

    def related(values: NDArray[np.float64], edges: tuple[float, ...]) -> tuple[Relation, Relation] | None:
        fractions = class_means(values, results.labels, len(results.classes))
        if np.isnan(fractions).all():
            return None
        first, second = (relate(fractions, categories.drops(top), edges) for top in TOPS)
        return first, second

    return Setting(categories, related(measured.image, BLURRED_EDGES), related(measured.objects, COVERED_EDGES))


def _confusions(results: Results, chosen: Drop, notes: list[str]) -> Confusions | None:
    swings = find_swings(results, chosen)
    if len(chosen.pairs) < 3:
        notes.append("Pairs of classes that change places (Table 4) take three trainings to be told from chance.")
    sure = [swing for swing in swings if swing.q < LEVEL]
    shown = sorted(sure, key=lambda swing: -swing.swing)[:PAIRS_SHOWN]
    place = {name: number for number, name in enumerate(results.classes)}
    for names in PAPER_PAIRS:
        if all(name in place for name in names):
            pair = {place[name] for name in names}
            known = next((swing for swing in swings if {swing.loser, swing.winner} == pair), None)
            if known and known not in shown:
                shown.append(known)
    if not shown:
        if len(chosen.pairs) >= 3:
            notes.append(
                f"Of {len(swings):,} pairs of classes that are alike, none changes places beyond chance: no Table 4."
            )
        return None
    classes = list(dict.fromkeys(number for swing in shown for number in (swing.loser, swing.winner)))
    runs = {run for pair in chosen.pairs for run in (pair.reference, pair.other)}
    ranked = {run: precisions(results, run, classes) for run in runs}
    return Confusions(chosen, shown, len(swings), len(sure), ranked)


def _recompression(folder: Path, results: Results, notes: list[str]) -> list[Recompression]:
    """Only of what was encoded again, as far as `study.json` tells."""
    found = recompression(results)
    plain = _not_encoded_again(folder / "study.json") & {one.comparison.setting for one in found}
    if plain:
        notes.append(
            f"Faces were hidden in decoded pictures that were not encoded again ({', '.join(sorted(plain))}), so "
            "compression has no part in these drops."
        )
    return [one for one in found if one.comparison.setting not in plain]


def _not_encoded_again(path: Path) -> set[str]:
    """Settings whose definitions say so: a way to hide faces, no quality of a JPEG, and no folder of files."""
    try:
        parts = json.loads(path.read_text("utf-8"))["settings"]
        definitions = [(name, how) for part in parts.values() for name, how in part.items()]
        encoded = {name for name, how in definitions if how["jpeg_quality"] is not None or how["folder"]}
        return {name for name, _ in definitions} - encoded
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _add_notes(results: Results, drops: list[Drop], notes: list[str]) -> None:
    if results.left_out:
        notes.append(
            f"{results.left_out:,} images that some runs have and others lack are left out; {len(results.image_ids):,} "
            "are compared."
        )
    if any(found.comparison.kind != PRETRAINED_ON and found.seeds < 2 for found in drops):
        notes.append("With one seed per network, the intervals tell of the images and not of the luck in training.")
    if any(found.comparison.kind in (TRAINED, TRANSFERRED) and len(found.pairs) < 2 for found in drops):
        notes.append("With one training per setting, what happens to a class cannot be told from luck in training.")
    for found in drops:
        if found.looks_swapped:
            notes.append(
                f"Accuracy is higher, beyond chance, where it should be lower ({found.comparison.title}): were the "
                "settings swapped?"
            )
