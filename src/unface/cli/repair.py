"""Repairs: what verify still takes for a face is hidden too, and verified again.

A hidden face can make its neighbourhood look like one, and a face can show only when the one beside it is hidden.
Such boxes are added to what detect found, by `run` alone, until verify finds no more of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unface.cli.options import tell
from unface.cli.pipeline import Session, check_faces, failure_rows, hide_faces, write_failures
from unface.datasets import Folder, Listing
from unface.engine import StageReport
from unface.faces import FACES_SCHEMA, Faces, read_faces, write_faces
from unface.faces.table import with_more_faces
from unface.obfuscate.methods import Obfuscation
from unface.obfuscate.stage import Writing
from unface.verify.verdict import uncovered_faces

MOST_REPAIRS = 5
"""Times that a run repairs and verifies again before it gives up."""

_SCHEMA = pa.schema([("image_id", pa.string()), ("stamp", pa.string()), FACES_SCHEMA.field("boxes")])


def hide_until_verified(
    session: Session,
    dataset: Folder,
    listing: Listing,
    detector_name: str,
    threshold: float,
    obfuscation: Obfuscation,
    writing: Writing,
    found: StageReport,
    detected: Path,
    dst: Path,
) -> tuple[StageReport, StageReport]:
    """Obfuscate and verify, and again while verify sees faces that were not hidden.

    Args:
        session: Who works and who tells.
        dataset: The originals.
        listing: Its images.
        detector_name: The detector of verify.
        threshold: The run's threshold.
        obfuscation: How faces are hidden.
        writing: How files are written.
        found: The report of detect; what failed there is not published.
        detected: The table that detect wrote.
        dst: The output folder.

    Returns:
        The reports of obfuscate and of verify.
    """
    repairs = Repairs.open(
        dst / ".unface" / "repairs.parquet", {image.image_id: image.stamp for image in listing.images}
    )
    failed = frozenset(found.failure_rows["image_id"].to_pylist())
    hidden: StageReport | None = None
    checked: StageReport | None = None
    repaired = 0
    while True:
        faces = repairs.apply(detected, dst / "faces.parquet")
        hidden = hide_faces(session, dataset, listing, faces, obfuscation, writing, dst, failed).after(hidden)
        write_failures(dst / "failures.parquet", failure_rows(listing, found, hidden))
        checked = check_faces(session, dataset, listing, dst, detector_name, threshold, True).after(checked)
        more = repairs.extend(dst / "verify.parquet", f"{detector_name} again") if repaired < MOST_REPAIRS else 0
        if not more:
            return hidden, checked
        repaired += 1
        tell(f"verify still sees {more} {'face' if more == 1 else 'faces'}: hiding these too")


@dataclass(frozen=True)
class Repairs:
    """The boxes to add, kept in the output folder so that a run that goes on adds the same.

    Attributes:
        path: Where they are kept.
        stamps: Stamp of each image; a repair of an image that has changed since is void.
        boxes: The boxes to add to each image.
    """

    path: Path
    stamps: Mapping[str, str]
    boxes: dict[str, Faces]

    @classmethod
    def open(cls, path: Path, stamps: Mapping[str, str]) -> "Repairs":
        """The repairs of earlier rounds."""
        rows = pq.read_table(path).to_pylist() if path.exists() else []
        valid = [row for row in rows if stamps.get(row["image_id"]) == row["stamp"]]
        return cls(path, stamps, {row["image_id"]: Faces.from_structs(row["boxes"]) for row in valid})

    def apply(self, detected: Path, to: Path) -> pa.Table:
        """Write `faces.parquet`: what was detected, and the boxes to add."""
        table = with_more_faces(read_faces(detected), self.boxes)
        write_faces(to, table)
        return table

    def extend(self, verified: Path, source: str) -> int:
        """Add what verify still takes for uncovered faces, and keep it; returns how many boxes that are."""
        more = uncovered_faces(verified, source)
        for image_id, faces in more.items():
            self.boxes[image_id] = self.boxes[image_id] + faces if image_id in self.boxes else faces
        if more:
            rows = [
                {"image_id": image_id, "stamp": self.stamps[image_id], "boxes": faces.structs()}
                for image_id, faces in sorted(self.boxes.items())
            ]
            part = self.path.with_name(self.path.name + ".part")
            pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), part)
            part.replace(self.path)
        return sum(map(len, more.values()))
