"""What a file says about its image before any pixel is decoded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Header:
    """Format, mode and size of a stored image.

    Attributes:
        format: `jpeg`, `png`, `webp`, `tiff`, `bmp` or `gif`.
        mode: What the channels of the decoded pixels mean: `L`, `LA`, `RGB`, `RGBA` or `CMYK`.
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        orientation: EXIF tag 0x0112, 1 to 8.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels once the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)
