"""JPEG files of every kind, made by other encoders, and their coefficients, read by another decoder."""

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import jpeglib
import numpy as np
from PIL import Image

from images.image_files import make_pixels, segment
from unface.images import decode, scrub
from unface.images.containers import jpeg

SAMPLINGS = {"444": 0x111111, "422": 0x211111, "420": 0x221111, "440": 0x121111, "411": 0x411111}


def by_cv2(pixels, sampling="420", interval=0, quality=85, optimize=False):
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling], cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
    options += [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, int(optimize)]
    return cv2.imencode(".jpg", pixels, options)[1].tobytes()


def by_pillow(pixels, mode="RGB", **options):
    target = io.BytesIO()
    Image.fromarray(pixels, mode=None if mode != "CMYK" else mode).save(target, "JPEG", **options)
    return target.getvalue()


def by_cjpeg(pixels, *arguments):
    """By libjpeg's own tool, or None without it."""
    if shutil.which("cjpeg") is None:
        return None
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PPM")
    return subprocess.run(["cjpeg", *arguments], input=target.getvalue(), capture_output=True, check=True).stdout


def by_jpegtran(data, *arguments):
    """Losslessly changed by libjpeg's own tool, or None without it."""
    if shutil.which("jpegtran") is None:
        return None
    return subprocess.run(["jpegtran", *arguments], input=data, capture_output=True, check=True).stdout


def in_scans(pixels, samplings=((2, 2), (1, 1), (1, 1)), **options):
    """One scan a component, each with Huffman tables of its own under the same number.

    A scan of one component is coded like a grey file, so each is cut from one.
    """
    height, width = pixels.shape[:2]
    largest_h, largest_v = (max(s[i] for s in samplings) for i in (0, 1))
    tables, scans = b"", []
    for plane, (h, v) in zip(np.moveaxis(pixels, 2, 0), samplings, strict=True):
        size = (-(-width * h // largest_h), -(-height * v // largest_v))
        grey = jpeg.read(by_pillow(np.asarray(Image.fromarray(plane).resize(size)), optimize=True, **options))
        tables = b"".join(part for part in grey.body if part[1] == 0xDB)
        scans.append([part for part in grey.body if part[1] in (0xC4, 0xDD, 0xDA)])
    frame = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x03"
    frame += b"".join(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(samplings))
    body = tables + segment(0xC0, frame)
    for number, parts in enumerate(scans, 1):
        for part in parts:
            body += part if part[1] != 0xDA else part[:5] + bytes([number]) + part[6:]
    return b"\xff\xd8" + body + b"\xff\xd9"


def turned(data, orientation):
    """The file with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes()
    return data[:2] + segment(0xE1, block if block.startswith(b"Exif") else b"Exif\0\0" + block) + data[2:]


def every_kind(height, width, seed=0, quality=85, interval=0):
    """Name to file: everything that is baseline."""
    pixels = make_pixels(height, width, 3, seed)
    files = {f"cv2-{name}": by_cv2(pixels, name, interval, quality) for name in SAMPLINGS}
    files["cv2-optimized"] = by_cv2(pixels, "420", interval, quality, True)
    how = {"quality": quality, "restart_marker_blocks": interval}
    for subsampling in range(3):
        files[f"pillow-{subsampling}"] = by_pillow(pixels, subsampling=subsampling, optimize=True, **how)
    files["grey"] = by_pillow(pixels[:, :, 0], **how)
    files["rgb"] = by_pillow(pixels, keep_rgb=True, **how)
    files["cmyk"] = by_pillow(make_pixels(height, width, 4, seed), "CMYK", **how)
    files["ycck"] = files["cmyk"].replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\x02")
    files["scans"] = in_scans(pixels, **how)
    files["odd scans"] = in_scans(pixels, ((2, 2), (1, 2), (2, 1)), **how)
    odd = by_cjpeg(pixels, "-sample", "2x2,1x2,2x1", "-quality", str(quality), *(["-restart", "1"] * bool(interval)))
    if odd is not None:
        files["cjpeg-odd"] = odd
    return files


def coefficients(data):
    """For each component its quantised coefficients, shape (rows, columns, 8, 8)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.jpg")
        path.write_bytes(data)
        read = jpeglib.read_dct(str(path))
    planes = [read.Y, read.Cb, read.Cr, read.K]
    return [plane for plane in planes if plane is not None]


def reached_blocks(parts, reached):
    """For each component which blocks a reached pixel has a part in, the slow way.

    What lies beyond the image is reached where the edge is.
    """
    h, v = (max(getattr(c, name) for c in parts.components) for name in ("horizontal", "vertical"))
    height, width = reached.shape
    padded = np.pad(reached, ((0, 8 * v), (0, 8 * h)), "edge")
    result = []
    for c in parts.components:
        high, wide = 8 * v // c.vertical, 8 * h // c.horizontal
        rows, columns = -(-height // high), -(-width // wide)
        cut = padded[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
        result.append(cut.any(axis=(1, 3)))
    return result


def check_kept(data, written, touched_xyxy):
    """Every block that no touched pixel has a part in has the coefficients it had; return how many changed."""
    photo = decode(data)
    upright = np.zeros(photo.upright().shape[:2], bool)
    for x0, y0, x1, y1 in np.maximum(touched_xyxy, 0):
        upright[y0:y1, x0:x1] = True
    back = {6: 8, 8: 6}.get(photo.orientation, photo.orientation)
    stored = np.asarray(type(photo)("png", "L", upright, back, photo.coding).upright())
    parts, after = photo.coding.parts, jpeg.read(written)
    assert (parts.components, parts.header) == (after.components, after.header)
    assert all(parts.tables[c.table] == after.tables[c.table] for c in parts.components)
    changed = 0
    old, new = coefficients(scrub(data)), coefficients(written)
    assert len(old) == len(new) == len(parts.components)
    for before, now, blocks in zip(old, new, reached_blocks(parts, stored), strict=True):
        assert before.shape == now.shape
        differs = (before != now).any(axis=(2, 3))
        rows, columns = blocks.shape
        assert not (differs[:rows, :columns] & ~blocks).any()
        changed += int(differs.sum())
    return changed
