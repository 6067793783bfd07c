"""The obfuscate stage: an image and its boxes in, a safe file and its row of `manifest.parquet` out."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from unface.datasets import Folder, FolderSink
from unface.engine import Item, Outcome
from unface.errors import ImageError
from unface.faces import FaceRow
from unface.obfuscate.methods import Obfuscation

MANIFEST_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("input_sha256", pa.string()),
        ("output_sha256", pa.string()),
        ("status", pa.string()),
        ("mode", pa.string()),
        ("method", pa.string()),
        ("preset", pa.string()),
        ("faces", pa.int32()),
        ("min_face_weight", pa.float64()),
        ("error", pa.string()),
    ]
)


@dataclass
class ObfuscateStage:
    """Write the safe copy of an image.

    An image without boxes is copied, unsafe metadata left out, without being decoded. What fails is not
    published, and what an earlier run published in its place is removed.

    Attributes:
        dataset: Where the images are.
        sink: Where the safe copies go.
        obfuscation: How faces are hidden.
        jpeg: How a changed JPEG is written: `reencode` (the whole picture, with the file's own tables) or `region`
            (only the blocks that changed).
    """

    dataset: Folder
    sink: FolderSink
    obfuscation: Obfuscation
    jpeg: str = "reencode"
    name = "obfuscate"
    schema = MANIFEST_SCHEMA

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What decides the output."""
        return {**asdict(self.obfuscation), "jpeg": self.jpeg}

    def setup(self) -> None:
        """Nothing to load."""

    def process(self, item: Item) -> Outcome:
        """Publish one image; `item.inputs` is its record of `faces.parquet`, None where it has none."""
        self.sink.remove(item.image_id)
        if item.inputs is None:
            raise ImageError("expected a row in faces.parquet, found none: never looked at, so not published")
        row = FaceRow.from_record(item.inputs)
        if row.status == "failed":
            raise ImageError("is failed in faces.parquet: its faces are not known, so it is not published")
        data = self.dataset.read(item.image_id)
        safe, mode, weight = self._safe(data, row)
        self.sink.write(item.image_id, safe)
        manifest = {
            "image_id": item.image_id,
            "input_sha256": hashlib.sha256(data).hexdigest(),
            "output_sha256": hashlib.sha256(safe).hexdigest(),
            "status": "done",
            "mode": mode,
            "method": self.obfuscation.method,
            "preset": self.obfuscation.preset,
            "faces": len(row.faces),
            "min_face_weight": weight,
        }
        return Outcome(manifest, faces=len(row.faces), bytes_in=len(data), bytes_out=len(safe))

    def _safe(self, data: bytes, row: FaceRow) -> tuple[bytes, str, float]:
        from unface.images import decode, encode, encode_region, scrub
        from unface.obfuscate.methods import obfuscate

        if not len(row.faces):
            return scrub(data), "copied", 1.0
        photo = decode(data)
        width, height = photo.upright_size
        if row.width and (row.width, row.height) != (width, height):
            raise ImageError(
                f"expected the {row.width}x{row.height} px of faces.parquet, got {width}x{height} px upright"
            )
        if len(row.faces.clipped(width, height)) < len(row.faces):
            raise ImageError(f"expected every box inside the {width}x{height} px image, got one outside it")
        hidden = obfuscate(photo.upright(), row.faces.boxes_xyxy, self.obfuscation, photo.mode)
        if self.jpeg == "region":
            safe, mode = encode_region(photo, hidden.pixels, hidden.touched_xyxy)
            return safe, mode, hidden.min_face_weight
        return encode(photo, hidden.pixels), "reencoded", hidden.min_face_weight

    def failed(self, item: Item) -> None:
        """The manifest lists what is published only."""
