"""The obfuscate stage: an image and its boxes in, a safe file and its row of `manifest.parquet` out."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from unface.datasets import Dataset, Sink
from unface.engine import Item, Outcome, Shard
from unface.errors import ImageError, InputError
from unface.faces import FaceRow
from unface.obfuscate.methods import Obfuscation, reach

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


JPEG_WRITINGS = ("region", "reencode")
ABSENT = "is in faces.parquet, but the dataset has no such image"


@dataclass(frozen=True)
class Writing:
    """How files are written.

    Attributes:
        jpeg: A JPEG with faces: `region`, only the blocks that changed, all others bit for bit; or `reencode`, the
            whole picture, with the file's own tables.
        quality: Of `reencode`: every JPEG of the dataset, with faces or without, at this quality of libjpeg (1 to
            100) and 4:2:0, as the paper did at 75; None keeps each file's own tables, and face-free files as they are.
        link: Where nothing has to be removed from a file, share its blocks on disk (a reflink, or else a hard
            link) rather than copying it.

    Raises:
        InputError: One of them is something else, or they do not go together.
    """

    jpeg: str = "region"
    quality: int | None = None
    link: bool = False

    def __post_init__(self) -> None:
        if self.jpeg not in JPEG_WRITINGS:
            raise InputError(f"jpeg: expected {', '.join(JPEG_WRITINGS)}, got {self.jpeg!r}")
        if self.quality is None:
            return
        if self.jpeg != "reencode":
            raise InputError(f"quality: expected jpeg 'reencode' with it, got {self.jpeg!r}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality: expected 1 to 100, got {self.quality}")


def parameters(obfuscation: Obfuscation, writing: Writing) -> dict[str, Any]:
    """All that decides the bytes of an obfuscated file, but the file and its faces."""
    return {**asdict(obfuscation), "jpeg": writing.jpeg, "quality": writing.quality}


@dataclass
class ObfuscateStage:
    """Write the safe copy of an image.

    An image without boxes is copied, unsafe metadata left out, without being decoded (unless every JPEG is to be
    encoded anew). What fails is not published, and what an earlier run published in its place is removed.

    Attributes:
        dataset: Where the images are.
        sink: Where the safe copies go.
        obfuscation: How faces are hidden.
        writing: How files are written.
        left_out: Images that cannot be published beside others, and why.

    Raises:
        InputError: Nothing is to be hidden, and JPEGs are not to be encoded anew: that would be a plain copy.
    """

    dataset: Dataset
    sink: Sink
    obfuscation: Obfuscation
    writing: Writing = Writing()
    left_out: Mapping[str, str] = field(default_factory=dict)
    name = "obfuscate"
    schema = MANIFEST_SCHEMA

    def __post_init__(self) -> None:
        if self.obfuscation.method == "none" and self.writing.jpeg != "reencode":
            raise InputError("method 'none' (a control arm): expected jpeg 'reencode' with it, got 'region'")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What decides the output."""
        return parameters(self.obfuscation, self.writing)

    def setup(self) -> None:
        """Load what writes regions, before the first image is waited for."""
        if self.writing.jpeg == "region":
            import unface.images.region  # noqa: F401

    def items(self, shard: Shard) -> Iterator[Item]:
        """The images of a part, each with its record in the table `faces`; records without an image at the end."""
        records = {record["image_id"]: record for record in shard.inputs["faces"].to_pylist()}
        self.sink.begin(shard.part)
        for entry in self.dataset.entries(shard.part):
            refused = entry.refused or self.left_out.get(entry.image_id, "")
            if refused:
                self.sink.remove(entry.image_id)
            yield Item(entry.image_id, records.pop(entry.image_id, None), refused)
        for image_id in records:
            yield Item(image_id, refused=ABSENT)
        self.sink.finish()

    def process(self, item: Item) -> Outcome:
        """Publish one image; `item.inputs` is its record of `faces.parquet`, None where it has none."""
        self.sink.remove(item.image_id)
        if item.inputs is None:
            raise ImageError("expected a row in faces.parquet, found none: never looked at, so not published")
        row = FaceRow.from_record({**item.inputs, "candidates": None})  # of no use here, and there may be many
        if row.status == "failed":
            raise ImageError("is failed in faces.parquet: its faces are not known, so it is not published")
        data = self.dataset.read(item.image_id)
        safe, mode, weight = self._safe(data, row)
        input_sha256 = hashlib.sha256(data).hexdigest()
        unchanged = safe == data
        if unchanged and self.writing.link:
            self.sink.link(item.image_id, self.dataset.path_of(item.image_id))
        else:
            self.sink.write(item.image_id, safe)
        manifest = {
            "image_id": item.image_id,
            "input_sha256": input_sha256,
            "output_sha256": input_sha256 if unchanged else hashlib.sha256(safe).hexdigest(),
            "status": "done",
            "mode": mode,
            "method": self.obfuscation.method,
            "preset": self.obfuscation.preset,
            "faces": len(row.faces),
            "min_face_weight": weight,
        }
        return Outcome(manifest, faces=len(row.faces), bytes_in=len(data), bytes_out=len(safe))

    def _safe(self, data: bytes, row: FaceRow) -> tuple[bytes, str, float]:
        from unface.images import decode, decode_region, encode, encode_region, probe, scrub
        from unface.obfuscate.photo import obfuscate_photo

        quality = self.writing.quality
        if not len(row.faces) and (quality is None or probe(data).format != "jpeg"):
            return scrub(data), "copied", 1.0
        if self.writing.jpeg == "region":
            photo = decode_region(
                data, lambda header: reach(row.faces.boxes_xyxy, self.obfuscation, header.upright_size)
            )
            hidden = obfuscate_photo(photo, row, self.obfuscation)
            safe, mode = encode_region(photo, hidden.pixels, hidden.touched_xyxy)
            return safe, mode, hidden.min_face_weight
        photo = decode(data)
        hidden = obfuscate_photo(photo, row, self.obfuscation)
        return encode(photo, hidden.pixels, quality), "reencoded", hidden.min_face_weight

    def failed(self, item: Item) -> None:
        """The manifest lists what is published only."""
