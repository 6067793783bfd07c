"""Images as the browser's page shows them: faces hidden unless originals were asked for. In memory only."""

from dataclasses import replace

from unface.errors import ImageError
from unface.faces import FaceRow
from unface.images import Photo, decode, probe
from unface.obfuscate import Obfuscation
from unface.obfuscate.photo import obfuscate_photo
from unface.review.pictures import Kept, Originals, Picture, Reader, as_jpeg


class Previews:
    """The dataset's images, made smaller; the latest stay in memory.

    Args:
        dataset: The images.
        originals: Whether faces are shown.
    """

    def __init__(self, dataset: Originals, originals: bool) -> None:
        self._reader, self._originals, self._kept = Reader(dataset), originals, Kept()

    def picture(self, row: FaceRow, longest_side_px: int) -> Picture:
        """One image, no side longer than given; ImageError where it may not or cannot be shown."""
        return self._kept.get((row.image_id, longest_side_px), lambda: self._made(row, longest_side_px))

    def size_wh(self, row: FaceRow) -> tuple[int, int]:
        """Upright width and height in pixels; read from the image where the row lacks them, 0 where that cannot be."""
        if row.width and row.height:
            return row.width, row.height
        try:
            return probe(self._reader.read(row.image_id)).upright_size
        except ImageError:
            return 0, 0

    def _made(self, row: FaceRow, longest_side_px: int) -> Picture:
        if row.status == "failed" and not self._originals:
            raise ImageError("detection failed: its faces are not known, so it is not shown")
        photo = decode(self._reader.read(row.image_id))
        return as_jpeg(photo if self._originals else hidden(photo, row), longest_side_px)


def hidden(photo: Photo, row: FaceRow) -> Photo:
    """The photo, upright, with all recorded faces hidden, and all that the detector took for a possible one.

    Raises:
        ImageError: The row is of a photo of another size, or has a face outside the image.
    """
    maybe = row.candidates.clipped(*photo.upright_size) if row.candidates else row.faces[:0]
    safe = obfuscate_photo(photo, replace(row, faces=row.faces + maybe), Obfuscation())
    return replace(photo, pixels=safe.pixels, orientation=1)
