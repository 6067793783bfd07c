"""All attacks on some faces, hidden in several ways: one row per attack, way and measure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unface.verify.attacks.deconvolution import psnr_db, restorations, similarity
from unface.verify.attacks.identity import Embedder, recognise
from unface.verify.attacks.operators import blur_sigmas, box_mask, operator_of
from unface.verify.attacks.parrot import parrot_embeddings, train_parrot
from unface.verify.attacks.subjects import Frames, Hidden, Subjects, through_jpeg

JPEG_QUALITY = 90
DEBLURRED = 32
"""Faces that are deblurred: it takes the most time."""
LEAST_FACES = 8
"""Fewer faces make no gallery."""

_GREY = 128


@dataclass(frozen=True)
class Attack:
    """What one attack did to one way of hiding.

    Attributes:
        attack: Its name.
        treatment: How the faces were hidden.
        through: What the pixels went through: `8 bit` or `JPEG`; `as published` where nothing was added.
        gallery: What the attacker compares with: `originals`, `hidden alike`, or nothing.
        measure: `rank1`, `tar` (true accepts at one false accept in a thousand), `psnr_db` or `ssim` inside the box.
        value: A share, decibels, or structural similarity.
        hits: Of a share: how many.
        number: Faces.
        chance: What guessing would give; None where that is not a question.
        setting: The attacker's best setting, if there was one to choose.
    """

    attack: str
    treatment: str
    through: str
    gallery: str
    measure: str
    value: float
    hits: int | None
    number: int
    chance: float | None = None
    setting: float | None = None

    def record(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return asdict(self)


def attack(
    subjects: Subjects, embedder: Embedder | None, seed: int = 0, tell: Callable[[str], None] = lambda line: None
) -> Iterator[Attack]:
    """Attack every treatment of the subjects.

    Args:
        subjects: At least `LEAST_FACES`.
        embedder: Recognises people; None leaves out what needs one.
        seed: Of the networks that are trained.
        tell: Told what is being done.
    """
    through: Mapping[str, Callable[[Frames], Frames]] = {
        "8 bit": np.rint,
        "JPEG": lambda frames: through_jpeg(frames, JPEG_QUALITY),
    }
    for name, hidden in subjects.hidden.items():
        tell(f"attacking {name}: embeddings, a parrot, deblurring")
        if embedder is not None:
            yield from _recognised(subjects, name, hidden, embedder)
        yield from _parroted(subjects, name, hidden, seed)
        for label, passed in through.items() if hidden.obfuscation.method in ("blur", "mosaic") else ():
            yield from _deblurred(subjects, name, hidden, label, passed, embedder)
    if embedder is not None:
        yield from _in_context(subjects, embedder)


def _recognised(subjects: Subjects, name: str, hidden: Hidden, embedder: Embedder) -> Iterator[Attack]:
    """Identity by the embedder, against clear pictures and against pictures hidden alike."""
    probes = embedder(hidden.probes, subjects.landmarks)
    for gallery, frames in (("originals", subjects.seconds), ("hidden alike", hidden.gallery)):
        known = embedder(frames, subjects.second_landmarks)
        yield from _shares("embedding", name, "as published", gallery, probes, known)


def _in_context(subjects: Subjects, embedder: Embedder) -> Iterator[Attack]:
    """The same with the face's box removed from both pictures: what hair, ears and background tell."""
    keep = 1 - box_mask()[:, :, None]
    probes, known = (
        embedder(np.asarray(frames * keep + _GREY * (1 - keep), np.float32), landmarks)
        for frames, landmarks in (
            (subjects.originals, subjects.landmarks),
            (subjects.seconds, subjects.second_landmarks),
        )
    )
    yield from _shares("embedding of the surroundings", "box removed", "as published", "box removed", probes, known)


def _parroted(subjects: Subjects, name: str, hidden: Hidden, seed: int) -> Iterator[Attack]:
    """Half of the faces train a network, the other half are looked for; then the other way round."""
    order = np.random.default_rng(seed).permutation(len(subjects))
    halves = np.array_split(order, 2)
    operator = operator_of(hidden.obfuscation, subjects.boxes_xyxy, subjects.largest_px)
    found = []
    for own, other in (halves, halves[::-1]):
        network = train_parrot(subjects.originals[own], operator.take(own), seed)
        embeddings = (parrot_embeddings(network, frames[other]) for frames in (hidden.probes, hidden.gallery))
        found.append(recognise(*embeddings))
    number, first, accepted = (sum(getattr(each, key) for each in found) for key in ("number", "first", "accepted"))
    chance = len(halves) / len(subjects)
    facts = ("parrot network", name, "as published", "hidden alike")
    yield Attack(*facts, "rank1", first / number, first, number, chance)
    yield Attack(*facts, "tar", accepted / number, accepted, number, 1e-3)


def _deblurred(
    subjects: Subjects,
    name: str,
    hidden: Hidden,
    through: str,
    passed: Callable[[Frames], Frames],
    embedder: Embedder | None,
) -> Iterator[Attack]:
    """Deblurring, each with the setting whose pictures are most like the originals."""
    some = np.arange(min(len(subjects), DEBLURRED))
    frames, originals = passed(hidden.probes[some]), subjects.originals[some]
    operator = operator_of(hidden.obfuscation, subjects.boxes_xyxy, subjects.largest_px).take(some)
    sigmas = blur_sigmas(hidden.obfuscation, subjects.boxes_xyxy, subjects.largest_px)[some]
    known = None if embedder is None else embedder(subjects.seconds[some], subjects.second_landmarks[some])
    best: dict[str, tuple[float, list[Attack], Frames]] = {}
    for attack_name, setting, restored in [("not deblurred", None, frames), *restorations(frames, operator, sigmas)]:
        rows = _likeness(attack_name, name, through, setting, restored, originals)
        likeness = next(row.value for row in rows if row.measure == "ssim")
        if attack_name not in best or likeness > best[attack_name][0]:
            best[attack_name] = likeness, rows, restored
    for attack_name, (_, rows, restored) in best.items():
        yield from rows
        if embedder is not None and known is not None:
            found = embedder(restored, subjects.landmarks[some])
            yield from _shares(attack_name, name, through, "originals", found, known)


def _likeness(
    attack_name: str, name: str, through: str, setting: float | None, frames: Frames, originals: Frames
) -> list[Attack]:
    mask = box_mask()
    measures: dict[str, NDArray[np.float64]] = {
        "psnr_db": psnr_db(frames, originals, mask),
        "ssim": similarity(frames, originals, mask),
    }
    return [
        Attack(attack_name, name, through, "", measure, float(values.mean()), None, len(values), None, setting)
        for measure, values in measures.items()
    ]


def _shares(
    attack_name: str, name: str, through: str, gallery: str, probes: NDArray[Any], known: NDArray[Any]
) -> Iterator[Attack]:
    found = recognise(probes, known)
    for measure, hits, chance in (("rank1", found.first, 1 / found.number), ("tar", found.accepted, 1e-3)):
        yield Attack(attack_name, name, through, gallery, measure, hits / found.number, hits, found.number, chance)
