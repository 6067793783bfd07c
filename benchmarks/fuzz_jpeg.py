"""Damage JPEG files at random and rewrite a region of each: no crash, no hang, no output that is worse than the input.

    python benchmarks/fuzz_jpeg.py [--minutes N] [--seed N] [--data DIR]

Mutates headers, tables and scans of generated files (and of `DIR/imagenet_val`); what behaves in a new way is kept
and mutated further. Each file that `unface.images.decode` accepts gets new pixels in a few rectangles. Then:

* only `ImageError` may be raised, and nothing may take more than five seconds of CPU time;
* Pillow, and OpenCV if it read the input, must read the output; `audit` must find nothing in it;
* if the region was written exactly, jpeglib must find the coefficients of all other blocks unchanged;
* decoding just the rectangles (`decode_region`) must end as decoding everything does: the same refusal, or the same
  pixels there and the same file.

A call that never returns, or a crash, leaves the file in `--keep`. Needs the test suite beside it.
"""

import argparse
import collections
import faulthandler
import os
import random
import re
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from images.exact_files import check_kept, every_kind, in_scans, turned
from images.image_files import make_pixels, read_cv2, read_pil
from unface.errors import ImageError
from unface.images import Photo, audit, decode, decode_region, encode_region
from unface.images.region import NotExact, read_region

SLOWEST_S = 5.0
SLOWEST_HANG_S = 60
LARGEST_PIXELS = 4_000_000
LARGEST_POOL = 3000
HOSTILE = (b"\xff\xd0", b"\xff\xd9", b"\xff\x00", b"\xff\xff", b"\xff\xc4", b"\xff\xda", b"\0\0\0\0", b"\xff" * 8)
SEGMENT = re.compile(rb"\xff[\xc0-\xfe]")


def main() -> int:
    """Fuzz until the time is over; 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz_jpeg"), help="where bad files go")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    sys.stderr = os.fdopen(os.dup(2), "w")
    faulthandler.enable(sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libjpeg tells of damage there
    generator = random.Random(options.seed)
    sound = seeds(options.data)
    pool = list(sound)
    check(pool[0], generator, options.keep)  # compiles
    seen: collections.Counter[str] = collections.Counter()
    bad = 0
    end = time.monotonic() + 60 * options.minutes
    while time.monotonic() < end:
        data = mutated(generator.choice((sound, sound, pool)), generator)
        (options.keep / "last.jpg").write_bytes(data)
        faulthandler.dump_traceback_later(SLOWEST_HANG_S, exit=True, file=sys.stdout)
        kind, problem = check(data, generator, options.keep)
        faulthandler.cancel_dump_traceback_later()
        if problem:
            bad += 1
            (options.keep / f"bad-{options.seed}-{bad}.jpg").write_bytes(data)
            print(f"BAD {bad}: {kind}: {problem}", flush=True)
        if kind not in seen and kind.startswith(("region", "reencoded")) and len(pool) < LARGEST_POOL:
            pool.append(data)
        seen[kind] += 1
    report(seen, bad)
    return int(bad > 0)


def seeds(data_dir: Path | None) -> list[bytes]:
    """Files of every kind, small ones, and a few real ones."""
    files = [*every_kind(37, 53).values(), *every_kind(37, 53, 1, 40, 2).values(), *every_kind(9, 9, 2, 95, 1).values()]
    files += [turned(data, 6) for data in files[:4]]
    files += [in_scans(make_pixels(33, 65), ((1, 1), (2, 2), (1, 2)), restart_marker_blocks=3)]
    if data_dir is not None:
        paths = sorted((data_dir / "imagenet_val" / "images").rglob("*.JPEG"), key=lambda path: path.stat().st_size)
        files += [path.read_bytes() for path in paths[:20]]
    return files


def mutated(pool: list[bytes], generator: random.Random) -> bytes:
    """A file of the pool with one or a few changes."""
    data = bytearray(generator.choice(pool))
    for _ in range(generator.choice((1, 1, 1, 1, 2, 4))):
        change = generator.choice(
            (
                flip,
                flip_in_scan,
                flip_in_scan,
                flip_in_scan,
                set_byte,
                hostile,
                cut,
                remove,
                repeat,
                splice,
                swap_segments,
            )
        )
        data = bytearray(change(data, pool, generator)) or bytearray(b"\xff\xd8\xff\xd9")
    return bytes(data)


def flip(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Turn a bit over in the first kilobyte, where the headers are."""
    at = generator.randrange(min(len(data), 1000))
    data[at] ^= 1 << generator.randrange(8)
    return data


def flip_in_scan(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Turn a bit over anywhere."""
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return data


def set_byte(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Set a byte of a segment's first twenty, where its meaning is."""
    places = [match.start() for match in SEGMENT.finditer(data)]
    at = min(generator.choice(places or [0]) + generator.randrange(1, 21), len(data) - 1)
    data[at] = generator.choice((0, 1, 2, 0x11, 0x22, 0x41, 255, generator.randrange(256)))
    return data


def hostile(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Put bytes with a meaning anywhere."""
    at = generator.randrange(len(data))
    put = generator.choice(HOSTILE)
    return data[:at] + put + data[at + generator.choice((0, len(put))) :]


def cut(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Cut the end off, but for the end marker."""
    return data[: generator.randrange(len(data))] + b"\xff\xd9"


def remove(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Remove a few bytes."""
    at = generator.randrange(len(data))
    return data[:at] + data[at + generator.randrange(1, 40) :]


def repeat(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Repeat a few bytes."""
    at = generator.randrange(len(data))
    return data[:at] + data[at : at + generator.randrange(1, 40)] + data[at:]


def splice(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Go on with another file, from one of its segments on."""
    other = generator.choice(pool)
    mine, theirs = ([m.start() for m in SEGMENT.finditer(file)] or [0] for file in (bytes(data), other))
    return data[: generator.choice(mine)] + other[generator.choice(theirs) :]


def swap_segments(data: bytearray, pool: list[bytes], generator: random.Random) -> bytes:
    """Put a segment of another file before one of this file's."""
    other = generator.choice(pool)
    mine, theirs = ([m.start() for m in SEGMENT.finditer(file)] or [0] for file in (bytes(data), other))
    start = generator.choice(theirs)
    length = 2 + int.from_bytes(other[start + 2 : start + 4], "big")
    at = generator.choice(mine)
    return data[:at] + other[start : start + length] + data[at:]


def check(data: bytes, generator: random.Random, keep_dir: Path) -> tuple[str, str]:
    """How a file behaves, and what is wrong with that, if anything."""
    start = time.process_time()
    try:
        photo = decode(data, LARGEST_PIXELS)
    except ImageError as error:
        return f"refused: {re.sub(r'[0-9]+', '#', str(error))}", fault_of_refusal(data, str(error))
    except Exception as error:
        return "crash", f"decode: {error!r}"
    touched = rectangles(photo, generator)
    pixels = photo.upright().copy()
    for x0, y0, x1, y1 in touched.tolist():
        pixels[y0:y1, x0:x1] = pixels[y0:y1, x0:x1] // 2 + generator.randrange(128)
    try:
        written, mode = encode_region(photo, pixels, touched)
    except Exception as error:
        return "crash", f"encode_region: {error!r}"
    seconds = time.process_time() - start
    if seconds > SLOWEST_S:
        return "slow", f"{seconds:.1f} s"
    kind = described(photo, pixels, mode)
    try:
        fault = fault_of_region(data, photo, pixels, touched, written)
        return kind, fault or fault_of(data, photo, pixels, touched, written, mode)
    except Exception as error:
        return kind, f"checking: {error!r}"


def fault_of_refusal(data: bytes, said: str) -> str:
    """What is wrong with decoding a part of a file that is refused as a whole, or nothing."""
    try:
        decode_region(data, lambda header: np.array([[0, 0, *header.upright_size]]), LARGEST_PIXELS)
    except ImageError as error:
        return "" if str(error) == said else f"decode_region says {error}"
    except Exception as error:
        return f"decode_region: {error!r}"
    return "decode_region accepts what decode refuses"


def fault_of_region(data: bytes, photo: Photo, pixels: np.ndarray, touched: np.ndarray, written: bytes) -> str:
    """What is different if just the rectangles are decoded, or nothing."""
    part = decode_region(data, lambda header: touched, LARGEST_PIXELS)
    known, changed = part.upright(), part.upright().copy()
    for x0, y0, x1, y1 in touched.tolist():
        if not np.array_equal(known[y0:y1, x0:x1], photo.upright()[y0:y1, x0:x1]):
            return "decode_region makes other pixels"
        changed[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
    if encode_region(part, changed, touched)[0] != written:
        return "decode_region leads to another file"
    return ""


def rectangles(photo: Photo, generator: random.Random) -> np.ndarray:
    """A few rectangles inside the image."""
    wide, high = photo.upright_size
    rows = []
    for _ in range(generator.choice((1, 1, 2))):
        x, y = generator.randrange(wide), generator.randrange(high)
        rows.append((x, y, min(wide, x + generator.randrange(1, 30)), min(high, y + generator.randrange(1, 30))))
    return np.array(rows, np.int64)


def described(photo: Photo, pixels: np.ndarray, mode: str) -> str:
    """A file's kind, fine enough that a new one is worth mutating further."""
    parts = photo.coding.parts
    factors = ",".join(f"{c.horizontal}x{c.vertical}" for c in parts.components)
    scans = sum(segment[1] == 0xDA for segment in parts.body)
    if mode == "region":
        return f"region {parts.color} {factors} scans {scans} orientation {photo.orientation}"
    try:
        read_region(parts, np.array([[0, 0, parts.header.width, parts.header.height]]))
    except NotExact as error:
        return f"reencoded {parts.color} scans {scans}: {error}"
    return f"reencoded {parts.color}"


def fault_of(data: bytes, photo: Photo, pixels: np.ndarray, touched: np.ndarray, written: bytes, mode: str) -> str:
    """What is wrong with an output, or nothing."""
    if audit(written):
        return f"audit: {audit(written)}"
    if read_pil(written) is None:
        return "Pillow refuses the output"
    theirs = read_cv2(data)
    if theirs is not None:
        ours = read_cv2(written)
        if ours is None or ours.shape[:2] != theirs.shape[:2]:
            return "OpenCV refuses the output"
    again = decode(written)
    if again.pixels.shape != photo.pixels.shape or again.orientation != photo.orientation:
        return "another shape"
    if mode == "region":
        check_kept(data, written, touched)
        _, mode = encode_region(again, again.upright(), touched)
        if mode != "region":
            return "the output cannot be rewritten"
    return ""


def report(seen: collections.Counter[str], bad: int) -> None:
    """Print what was seen."""
    groups: collections.Counter[str] = collections.Counter()
    for kind, count in seen.items():
        groups[kind.split(" ")[0].rstrip(":")] += count
    print(f"{sum(seen.values())} files, {len(seen)} kinds of behaviour, {bad} bad")
    print(", ".join(f"{name} {count}" for name, count in groups.most_common()))
    reasons = collections.Counter(
        {kind.split(": ")[1]: 0 for kind in seen if kind.startswith("reencoded") and ": " in kind}
    )
    for kind, count in seen.items():
        if kind.startswith("reencoded") and ": " in kind:
            reasons[kind.split(": ")[1]] += count
    print("encoded again because of: " + ", ".join(f"{name} {count}" for name, count in reasons.most_common()))


if __name__ == "__main__":
    sys.exit(main())
