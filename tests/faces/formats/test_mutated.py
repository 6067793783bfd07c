"""Files damaged at random are read, or refused in one line; never anything else."""

import random

import pytest

from builders import encode_image, make_image
from unface.errors import InputError
from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.faces.formats import FORMATS, Pictures, Reading, load_format, read_table, write_table

PICTURE = encode_image(make_image(64, 48), ".png")
ROWS = [
    FaceRow("a/1.png", 64, 48, "detected", Faces.make([[1, 2, 30, 40], [3.5, 4, 9, 9]])),
    FaceRow("b/ü 2.png", 64, 48, "reviewed", Faces.make([[1, 2, 30, 40]], label="x")),
    FaceRow("c.png", 64, 48, "detected"),
]
TOKENS = [
    b"null", b"NaN", b"1e999", b"-1", b'""', b"[]", b"{}", b"true", b"0", b"99999999999999999999", b"\xff", b"\0", b"<",
    b">", b"&", b'"', b"'", b",", b"\n", b"{", b"[", b"}", b"]", b"1_0", b"\\ud800", b"\xed\xa0\x80", b"*a", b"&a ",
]  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place, kind = rng.randrange(len(changed) + 1), rng.random()
        if kind < 0.1:
            del changed[place:]
        elif kind < 0.4:
            del changed[place : place + rng.randint(1, 20)]
        else:
            changed[place : place + rng.randint(0, 6)] = rng.choice(TOKENS)
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    rng, target = random.Random(name), load_format(name)
    path = tmp_path / (name + (".jsonl" if name == "huggingface" else ""))
    write_table(path, faces_table(ROWS), name, target)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    pictures = Pictures([row.image_id for row in ROWS], lambda _: PICTURE)
    read = refused = 0
    for _ in range(80):
        file = rng.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, rng))
        if complaint := refusal(Reading(path, name, target, rng.choice([pictures, None]))):
            assert complaint.isprintable()
            refused += 1
        else:
            read += 1
        file.write_bytes(whole)
    assert refused
    assert read + refused == 80


def refusal(reading: Reading) -> str:
    try:
        list(face_rows(read_table(reading)[0]))
    except InputError as error:
        return str(error)
    return ""
