"""Image files made by Pillow and OpenCV, not by the code under test."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image, ImageCms

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make_pixels(height=13, width=17, channels=3, seed=0, dtype=np.uint8):
    """Smooth colours with some noise, so that lossy formats stay near them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 90 * np.sin(x / (7 + c) + c) * np.cos(y / (9 - c)) for c in range(channels)]
    pixels = np.stack(planes, axis=2) + random.normal(0, 6, (height, width, channels))
    scale = 257 if dtype == np.uint16 else 1
    return (np.clip(pixels, 0, 255) * scale).astype(dtype)


def make_pil(mode, height=13, width=17, seed=0):
    if mode == "I;16":
        return Image.fromarray(make_pixels(height, width, 1, seed, np.uint16)[:, :, 0])
    rgba = Image.fromarray(make_pixels(height, width, 4, seed), "RGBA")
    if mode == "RGBA":
        return rgba
    if mode == "LA":
        return rgba.convert("LA")
    return rgba.convert("RGB").convert(mode)


def make_file(mode="RGB", format="JPEG", height=13, width=17, seed=0, **options):
    target = io.BytesIO()
    make_pil(mode, height, width, seed).save(target, format=format, **options)
    return target.getvalue()


def make_exif(orientation=6):
    """EXIF with camera, GPS position, maker note and a thumbnail, as a camera writes it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.0)})
    exif.get_ifd(0x8769)[0x927C] = b"SecretMakerNote"
    block = bytearray(exif.tobytes())
    return _with_thumbnail(block)


def _with_thumbnail(block):
    """Hang a second directory with a JPEG thumbnail behind the first one."""
    order = "<" if block[6:8] == b"II" else ">"
    first = struct.unpack_from(order + "I", block, 10)[0]
    count = struct.unpack_from(order + "H", block, 6 + first)[0]
    thumbnail = make_file(height=8, width=8, seed=9)
    place = len(block) - 6
    struct.pack_into(order + "I", block, 6 + first + 2 + 12 * count, place)
    data_at = place + 2 + 24 + 4
    block += struct.pack(order + "HHHIIHHIII", 2, 0x0201, 4, 1, data_at, 0x0202, 4, 1, len(thumbnail), 0)
    return bytes(block + thumbnail)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(png, *chunks, before=b"IDAT"):
    """PNG with more chunks before the first chunk of that type."""
    at = png.index(before) - 4
    return png[:at] + b"".join(chunks) + png[at:]


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg, *segments):
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def read_pil(data):
    """Mode and pixels as Pillow sees them, palettes expanded; None where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
            return image.mode, np.asarray(image.convert("RGBA") if image.mode == "P" else image)
        except Exception:
            return None


def read_cv2(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def every_kind():
    """Name to file: every format in every mode that Pillow writes, and 16-bit colour by OpenCV."""
    options = {
        "JPEG": [{}, {"progressive": True, "quality": 90}, {"subsampling": 0, "restart_marker_blocks": 1}],
        "PNG": [{}],
        "WEBP": [{}, {"lossless": True, "exact": True}],
        "TIFF": [
            {"compression": name} for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "group4")
        ],
        "BMP": [{}],
        "GIF": [{}],
    }
    files = {}
    for format, variants in options.items():
        for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16"):
            for number, variant in enumerate(variants):
                if (format == "WEBP" and mode not in ("RGB", "RGBA")) or _cannot(format, mode, variant):
                    continue
                try:
                    files[f"{format}-{mode}-{number}"] = make_file(mode, format, **variant)
                except (OSError, ValueError):
                    continue
    for channels in (3, 4):
        pixels = make_pixels(channels=channels, dtype=np.uint16)
        for suffix in (".png", ".tiff"):
            files[f"{suffix[1:].upper()}-16x{channels}-0"] = cv2.imencode(suffix, pixels)[1].tobytes()
    return files


def _cannot(format, mode, variant):
    return variant.get("compression") == "group4" and mode != "1"
