"""Hide the faces that `faces.parquet` records in the photo that they were found in."""

from unface.errors import ImageError
from unface.faces import FaceRow
from unface.images import Photo
from unface.obfuscate.methods import Obfuscated, Obfuscation, obfuscate


def obfuscate_photo(photo: Photo, row: FaceRow, obfuscation: Obfuscation) -> Obfuscated:
    """Hide the recorded faces of a photo.

    Args:
        photo: A decoded image.
        row: What is recorded of it; a width of 0 is an unknown size.
        obfuscation: How faces are hidden.

    Raises:
        ImageError: The row is of a photo of another size, or has a box outside the image: not its boxes.
    """
    width, height = photo.upright_size
    if row.width and (row.width, row.height) != (width, height):
        raise ImageError(f"expected the {row.width}x{row.height} px of faces.parquet, got {width}x{height} px upright")
    if len(row.faces.clipped(width, height)) < len(row.faces):
        raise ImageError(f"expected every box inside the {width}x{height} px image, got one outside it")
    return obfuscate(photo.upright(), row.faces.boxes_xyxy, obfuscation, photo.mode)
