"""The attacks of `unface verify`: which faces, hidden how, and where the figures go."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from unface.cli.options import tell
from unface.datasets import Dataset
from unface.errors import InputError, UnfaceError, one_line
from unface.obfuscate.methods import Obfuscation
from unface.report.privacy import ATTACKS, CEILING, FLOOR, PUBLISHED

if TYPE_CHECKING:
    from unface.verify.attacks.identity import Embedder

REFERENCES = {CEILING: Obfuscation("none"), FLOOR: Obfuscation("overlay")}
OTHERS = {
    "blur imagenet": Obfuscation("blur", "imagenet"),
    "blur safe": Obfuscation(),
    "mosaic 8": Obfuscation("mosaic", cells=8),
    "mosaic 16": Obfuscation("mosaic", cells=16),
}
_SEED = 0


def treatments(record: Mapping[str, Any]) -> dict[str, Obfuscation]:
    """All ways of hiding that the page compares: how the run of a record did it, the references, and the others."""
    config = record["config"]
    published_as = Obfuscation(config["method"], config["preset"] or "safe", config["color"], config["cells"])
    return {PUBLISHED: published_as, **REFERENCES, **OTHERS}


@dataclass(frozen=True)
class Battery:
    """What is to be attacked, and by whom.

    Attributes:
        faces: How many, at most.
        embedder: Recognises people; None for none.
        compare: Whether other methods are attacked too.
    """

    faces: int
    embedder: "Embedder | None"
    compare: bool

    @classmethod
    def prepared(cls, faces: int, embedder_name: str | None, compare: bool) -> Self | None:
        """Ready to run, all that can be missing looked for; None if nothing is to be attacked."""
        from importlib.util import find_spec

        from unface.verify.attacks.battery import LEAST_FACES
        from unface.verify.attacks.identity import make_embedder

        if not faces:
            if embedder_name or compare:
                raise InputError("embedder, compare: expected --attacks N with them, got none")
            return None
        if faces < LEAST_FACES:
            raise InputError(f"attacks: expected at least {LEAST_FACES} faces, got {faces}")
        if find_spec("torch") is None:
            raise InputError("attacks: expected torch; run: pip install 'unface[verify]'")
        return cls(faces, make_embedder(embedder_name) if embedder_name else None, compare)

    def run(self, dataset: Dataset, dst: Path, record: Mapping[str, Any]) -> None:
        """Attack faces of an output folder, and write `attacks.json`: numbers, no pictures."""
        import numpy as np

        from unface.verify.attacks.battery import DEBLURRED, LEAST_FACES, attack
        from unface.verify.attacks.identity import find_landmarks
        from unface.verify.attacks.subjects import LEAST_SIDE_PX, Collection

        compared = {PUBLISHED: None, **REFERENCES, **(OTHERS if self.compare else {})}
        collection = Collection(
            compared, treatments(record)[PUBLISHED], find_landmarks(), self.faces, np.random.default_rng(_SEED)
        )
        for original, published, boxes in _images(dataset, dst):
            if collection.is_full:
                break
            collection.add(original, published, boxes)
        subjects = collection.subjects()
        (dst / ATTACKS).unlink(missing_ok=True)
        if len(subjects) < LEAST_FACES:
            tell(f"not attacked: expected at least {LEAST_FACES} faces of {LEAST_SIDE_PX} px, found {len(subjects)}")
            return
        rows = [row.record() for row in attack(subjects, self.embedder, _SEED, tell)]
        facts = {
            "faces": len(subjects),
            "passed_over": subjects.passed_over,
            "deblurred": min(len(subjects), DEBLURRED),
            "least_side_px": LEAST_SIDE_PX,
            "embedder": self.embedder.name if self.embedder else None,
            "seal": record.get("manifest", {}).get("sha256"),
            "rows": rows,
        }
        beside = dst / f"{ATTACKS}.part"
        beside.write_text(json.dumps(facts, indent=1) + "\n")
        beside.replace(dst / ATTACKS)


def _images(dataset: Dataset, dst: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Originals and published images with recorded faces, in an order drawn once: RGB, RGB, boxes."""
    import numpy as np

    from unface.faces import face_rows, read_faces
    from unface.images import decode

    published = dataset.published(dst / "images")
    rows = [row for row in face_rows(read_faces(dst / "faces.parquet")) if len(row.faces)]
    for place in np.random.default_rng(_SEED).permutation(len(rows)).tolist():
        row = rows[place]
        try:
            if published.has(row.image_id):
                before, after = (decode(each.read(row.image_id)).rgb() for each in (dataset, published))
                if before.shape == after.shape:
                    yield before, after, row.faces.boxes_xyxy
        except UnfaceError as error:
            tell(f"{one_line(row.image_id)}: not attacked: {one_line(error)}")
