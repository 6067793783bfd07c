"""Repairs: what verify still takes for a face is hidden too, and verified again.

A hidden face can make its neighbourhood look like one, and a face can show only when the one beside it is hidden.
Such boxes are added to what detect found, by `run` alone, until verify finds no more of them.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unface.cli.options import tell
from unface.cli.pipeline import Session, check_faces, hide_faces, ledger_of
from unface.cli.rows import LedgerFailures, LedgerRows, Rows, WithMoreFaces
from unface.datasets import Dataset, Part, Survey
from unface.engine import StageReport
from unface.faces import FACES_SCHEMA, Faces
from unface.obfuscate.methods import Obfuscation
from unface.obfuscate.stage import MANIFEST_SCHEMA, Writing
from unface.verify.stage import VERIFY_SCHEMA, Checking
from unface.verify.verdict import uncovered_faces

MOST_REPAIRS = 5
"""Times that a run repairs and verifies again before it gives up."""

_SCHEMA = pa.schema([FACES_SCHEMA.field("image_id"), FACES_SCHEMA.field("boxes")])
_STAMP = b"unface.stamp"


@dataclass(frozen=True)
class Repairs:
    """The boxes to add, kept part by part in the output folder so that a run that goes on adds the same.

    Attributes:
        folder: Where they are kept. A repair of a part that has changed since is void.
    """

    folder: Path

    def of(self, index: int, part: Part) -> dict[str, Faces]:
        """The boxes to add to images of a part."""
        path = self.folder / f"{index:06d}.parquet"
        if not path.exists():
            return {}
        table = pq.read_table(path)
        if (table.schema.metadata or {}).get(_STAMP) != part.stamp.encode():
            return {}
        return {row["image_id"]: Faces.from_structs(row["boxes"]) for row in table.to_pylist()}

    def extend(self, index: int, part: Part, more: dict[str, Faces]) -> int:
        """Add boxes, and keep them; returns how many that are."""
        if not more:
            return 0
        boxes = self.of(index, part)
        for image_id, faces in more.items():
            boxes[image_id] = boxes[image_id] + faces if image_id in boxes else faces
        rows = [{"image_id": image_id, "boxes": faces.structs()} for image_id, faces in sorted(boxes.items())]
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f"{index:06d}.part"
        noted = _SCHEMA.with_metadata({_STAMP: part.stamp.encode()})
        pq.write_table(pa.Table.from_pylist(rows, schema=noted), beside)
        beside.replace(self.folder / f"{index:06d}.parquet")
        return sum(map(len, more.values()))


def repaired_faces(dst: Path) -> Rows:
    """The rows of a run's `faces.parquet`: what detect found, and what was added."""
    return WithMoreFaces(LedgerRows(ledger_of(dst, "detect"), FACES_SCHEMA), Repairs(dst / ".unface" / "repairs"))


def hide_until_verified(
    session: Session,
    dataset: Dataset,
    survey: Survey,
    detector_name: str,
    threshold: float,
    obfuscation: Obfuscation,
    writing: Writing,
    dst: Path,
) -> tuple[StageReport, StageReport]:
    """Obfuscate and verify, and again while verify sees faces that were not hidden.

    Args:
        session: Who works and who tells.
        dataset: The originals, in which detect has found faces.
        survey: What it holds.
        detector_name: The detector of verify.
        threshold: The run's threshold.
        obfuscation: How faces are hidden.
        writing: How files are written.
        dst: The output folder.

    Returns:
        The reports of obfuscate and of verify.
    """
    repairs, faces = Repairs(dst / ".unface" / "repairs"), repaired_faces(dst)
    detected, obfuscated, verified = (ledger_of(dst, name) for name in ("detect", "obfuscate", "verify"))
    inputs: dict[str, Rows] = {
        "faces": faces,
        "manifest": LedgerRows(obfuscated, MANIFEST_SCHEMA),
        "failures": LedgerFailures((detected, obfuscated)),
    }
    checking = Checking(detector_name, threshold, True, cells=obfuscation.cells)
    hidden: StageReport | None = None
    checked: StageReport | None = None
    for round_number in range(MOST_REPAIRS + 1):
        hidden = hide_faces(session, dataset, survey, faces, obfuscation, writing, dst).after(hidden)
        checked = check_faces(session, dataset, survey, inputs, dst, checking).after(checked)
        if round_number == MOST_REPAIRS:
            break
        more = 0
        for index, part in session.share(survey.parts):
            found = uncovered_faces(verified.rows(index, VERIFY_SCHEMA), f"{detector_name} again")
            more += repairs.extend(index, part, found)
        if not more:
            break
        tell(f"verify still sees {more} {'face' if more == 1 else 'faces'}: hiding these too")
    assert hidden is not None
    assert checked is not None
    return hidden, checked
