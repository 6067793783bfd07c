"""Faults planted in a finished output folder must be found and named."""

import io
import shutil
import tarfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from builders import encode_image, make_faces, make_image
from pipelines import obfuscate_dataset, verify_dataset
from unface.cli.pipeline import Session
from unface.engine import LocalExecutor, Progress
from unface.faces import faces_table, write_faces
from unface.obfuscate.methods import Obfuscation
from unface.obfuscate.stage import Writing
from unface.verify.chain import seal_manifest
from unface.verify.pixels import effective_sigma, residual_weights
from unface.verify.verdict import definite_findings, read_verdict

FACES = {"a/face.jpg": [(20, 16, 80, 80)], "a/none.jpg": [], "b/face.png": [(8, 8, 50, 60), (60, 10, 90, 50)]}


@pytest.fixture(scope="module")
def session():
    with LocalExecutor(1) as executor:
        yield Session(executor, Progress(quiet=True))


SAFE = Obfuscation()
REGION = Writing()


def build(
    root: Path, session: Session, obfuscation: Obfuscation = SAFE, writing: Writing = REGION
) -> tuple[Path, Path]:
    """A small dataset and its safe copy."""
    src, dst = root / "src", root / "dst"
    for seed, name in enumerate(FACES):
        path = src / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(make_image(120, 100, seed=seed), path.suffix))
    dst.mkdir()
    rows = [make_faces(name, boxes, 120, 100) for name, boxes in FACES.items()]
    write_faces(dst / "faces.parquet", faces_table(rows))
    table = pq.read_table(dst / "faces.parquet")
    report = obfuscate_dataset(session, src, table, obfuscation, writing, dst)
    assert not report.failures
    return src, dst


@pytest.fixture(scope="module")
def finished(tmp_path_factory, session):
    return build(tmp_path_factory.mktemp("verify"), session)


@pytest.fixture
def folders(finished, tmp_path):
    src, dst = (shutil.copytree(folder, tmp_path / folder.name) for folder in finished)
    return src, dst


def verify(session: Session, src: Path, dst: Path) -> dict[str, set[tuple[str, bool]]]:
    """For each image its findings as (check, definite), those of the detector left out."""
    verify_dataset(session, src, dst)
    table = pd.read_parquet(dst / "verify.parquet")
    return {
        row.image_id: {(f["check"], f["definite"]) for f in row.findings if f["score"] is None}
        for row in table.itertuples()
    }


def test_a_good_folder_passes(session, folders):
    found = verify(session, *folders)
    assert found == {name: set() for name in FACES}
    verdict = read_verdict(folders[1] / "verify.parquet")
    assert verdict.passed
    assert verdict.not_checked
    table = pd.read_parquet(folders[1] / "verify.parquet").set_index("image_id")
    assert table.rechecked.to_dict() == {"a/face.jpg": True, "a/none.jpg": False, "b/face.png": True}
    assert abs(table.residual_weight["a/face.jpg"]) < 0.1


def edit_manifest(dst: Path, image_id: str, **changes) -> None:
    table = pd.read_parquet(dst / "manifest.parquet")
    for column, value in changes.items():
        table.loc[table.image_id == image_id, column] = value
    table.to_parquet(dst / "manifest.parquet")


def drop_row(path: Path, image_id: str) -> None:
    table = pd.read_parquet(path)
    table[table.image_id != image_id].to_parquet(path)


def with_thumbnail(data: bytes) -> bytes:
    """A JPEG with an EXIF block put behind its start."""
    image = Image.open(io.BytesIO(data))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def rewrite(path: Path, dst: Path, image_id: str, data: bytes) -> None:
    """Put other bytes in place, and the manifest in agreement with them: a careful forger."""
    import hashlib

    path.write_bytes(data)
    edit_manifest(dst, image_id, output_sha256=hashlib.sha256(data).hexdigest())


def plant_missing(src, dst):
    (dst / "images/a/none.jpg").unlink()


def plant_extra(src, dst):
    (dst / "images/a/other.jpg").write_bytes((src / "a/face.jpg").read_bytes())


def plant_sidecar(src, dst):
    (dst / "images/a/face.jpg.xmp").write_text("who is who")


def plant_original(src, dst):
    (dst / "images/a/face.jpg").write_bytes((src / "a/face.jpg").read_bytes())


def plant_forged_original(src, dst):
    from unface.images import scrub

    rewrite(dst / "images/a/face.jpg", dst, "a/face.jpg", scrub((src / "a/face.jpg").read_bytes()))


def plant_thumbnail(src, dst):
    path = dst / "images/a/face.jpg"
    rewrite(path, dst, "a/face.jpg", with_thumbnail(path.read_bytes()))


def plant_trailing_bytes(src, dst):
    path = dst / "images/a/none.jpg"
    rewrite(path, dst, "a/none.jpg", path.read_bytes() + b"secret")


def plant_reencoded(src, dst):
    pixels = Image.open(src / "a/none.jpg")
    rewrite(dst / "images/a/none.jpg", dst, "a/none.jpg", encode_image(pixels, ".jpg", quality=50))


def plant_smaller(src, dst):
    path = dst / "images/b/face.png"
    rewrite(path, dst, "b/face.png", encode_image(Image.open(path).resize((60, 50)), ".png"))


def plant_grey(src, dst):
    path = dst / "images/b/face.png"
    rewrite(path, dst, "b/face.png", encode_image(Image.open(path).convert("L"), ".png"))


def plant_weight(src, dst):
    edit_manifest(dst, "b/face.png", min_face_weight=0.9)


def plant_box_removed(src, dst):
    edit_manifest(dst, "b/face.png", faces=1)


def plant_box_removed_from_faces(src, dst):
    rows = [make_faces(name, boxes[: 1 if name == "b/face.png" else None], 120, 100) for name, boxes in FACES.items()]
    write_faces(dst / "faces.parquet", faces_table(rows))


def plant_manifest_row_gone(src, dst):
    drop_row(dst / "manifest.parquet", "a/none.jpg")


def plant_faces_row_gone(src, dst):
    drop_row(dst / "faces.parquet", "a/none.jpg")


def plant_new_original(src, dst):
    (src / "a/none.jpg").write_bytes(encode_image(make_image(120, 100, seed=9)))


def plant_original_gone(src, dst):
    (src / "a/none.jpg").unlink()


def plant_half_blend(src, dst):
    before = np.asarray(Image.open(src / "b/face.png")).astype(float)
    after = np.asarray(Image.open(dst / "images/b/face.png")).astype(float)
    mixed = Image.fromarray((0.6 * after + 0.4 * before).round().astype(np.uint8))
    rewrite(dst / "images/b/face.png", dst, "b/face.png", encode_image(mixed, ".png"))


@pytest.mark.parametrize(
    ("plant", "image_id", "check"),
    [
        (plant_missing, "a/none.jpg", "missing"),
        (plant_extra, "a/other.jpg", "extra"),
        (plant_sidecar, "a/face.jpg.xmp", "extra"),
        (plant_original, "a/face.jpg", "changed"),
        (plant_original, "a/face.jpg", "weight"),
        (plant_forged_original, "a/face.jpg", "weight"),
        (plant_thumbnail, "a/face.jpg", "metadata"),
        (plant_trailing_bytes, "a/none.jpg", "metadata"),
        (plant_reencoded, "a/none.jpg", "changed"),
        (plant_smaller, "b/face.png", "geometry"),
        (plant_grey, "b/face.png", "geometry"),
        (plant_weight, "b/face.png", "weight"),
        (plant_box_removed, "b/face.png", "weight"),
        (plant_box_removed_from_faces, "b/face.png", "weight"),
        (plant_box_removed_from_faces, "b/face.png", "changed"),
        (plant_manifest_row_gone, "a/none.jpg", "extra"),
        (plant_faces_row_gone, "a/none.jpg", "extra"),
        (plant_new_original, "a/none.jpg", "changed"),
        (plant_original_gone, "a/none.jpg", "extra"),
        (plant_half_blend, "b/face.png", "weight"),
    ],
)
def test_a_planted_fault_is_found_and_named(session, folders, plant, image_id, check):
    src, dst = folders
    plant(src, dst)
    found = verify(session, src, dst)
    assert (check, True) in found[image_id]
    assert not any(found[name] for name in FACES if name != image_id)
    assert not read_verdict(dst / "verify.parquet").passed
    assert any(line.startswith(f"{image_id}: {check}: ") for line in definite_findings(dst / "verify.parquet", 10))


def test_another_detector_searches_every_image(session, folders):
    src, dst = folders
    verify_dataset(session, src, dst, same=False)
    assert pd.read_parquet(dst / "verify.parquet").rechecked.all()


def test_an_unsafe_preset_is_listed_and_does_not_fail(session, tmp_path):
    src, dst = build(tmp_path, session, Obfuscation("blur", "imagenet"))
    found = verify(session, src, dst)
    assert ("weight", False) in found["b/face.png"]
    assert read_verdict(dst / "verify.parquet").passed


@pytest.mark.parametrize("obfuscation", [Obfuscation(), Obfuscation("overlay"), Obfuscation("mosaic")], ids=str)
def test_what_hides_all_leaves_no_fine_detail(session, tmp_path, obfuscation):
    src, dst = build(tmp_path, session, obfuscation)
    verify(session, src, dst)
    residual = pd.read_parquet(dst / "verify.parquet").residual_weight.dropna()
    assert len(residual) == 2
    assert residual.abs().max() < 0.15


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_residual_weight_measures_the_weight_of_the_original(weight, dtype):
    scale = np.iinfo(dtype).max / 255
    before = np.asarray(make_image(80, 60)).astype(float) * scale
    after = weight * before + (1 - weight) * before.mean()
    boxes = np.array([[10, 10, 60, 50]], np.float32)
    (measured,) = residual_weights(before.astype(dtype), after.astype(dtype), boxes)
    assert measured == pytest.approx(weight, abs=0.02)


def test_residual_weight_says_when_it_cannot_tell():
    flat = np.full((60, 80, 3), 90, np.uint8)
    boxes = np.array([[10, 10, 60, 50]], np.float32)
    assert residual_weights(flat, flat, boxes) == [None]
    assert residual_weights(np.asarray(make_image(80, 60)), flat, np.array([[0, 0, 4, 4]], np.float32)) == [None]


def test_a_control_arm_fails(session, tmp_path):
    src, dst = build(tmp_path, session, Obfuscation("none"), Writing("reencode"))
    assert ("weight", True) in verify(session, src, dst)["a/face.jpg"]
    assert not read_verdict(dst / "verify.parquet").passed


def test_people_decide_what_is_a_face(session, tmp_path):
    """A detection in an image that people reviewed is listed, not definite; in any other it is definite."""
    from builders import EXAMPLES

    photo = next((EXAMPLES / "astronaut").glob("*.png"))
    for status, definite in (("reviewed", False), ("detected", True)):
        src, dst = tmp_path / status / "src", tmp_path / status / "dst"
        src.mkdir(parents=True)
        dst.mkdir()
        shutil.copy(photo, src)
        with Image.open(photo) as image:
            row = make_faces(photo.name, [(400, 400, 440, 440)], *image.size, status=status)
        write_faces(dst / "faces.parquet", faces_table([row]))
        table = pq.read_table(dst / "faces.parquet")
        obfuscate_dataset(session, src, table, Obfuscation(), Writing(), dst)
        verify_dataset(session, src, dst)
        (row,) = pq.read_table(dst / "verify.parquet").to_pylist()
        (astronaut,) = [f for f in row["findings"] if (f["score"] or 0) > 0.5]
        assert astronaut["check"] == "uncovered"
        assert astronaut["definite"] == definite
        assert read_verdict(dst / "verify.parquet").passed != definite


def test_settings_are_what_the_manifest_says(finished):
    manifest = pd.read_parquet(finished[1] / "manifest.parquet").set_index("image_id")
    assert manifest["mode"].to_dict() == {"a/face.jpg": "region", "a/none.jpg": "copied", "b/face.png": "reencoded"}
    assert set(manifest.method) == {asdict(Obfuscation())["method"]}


def sealed(dst: Path) -> dict:
    """The folder's manifest, sealed as the commands do it."""
    return seal_manifest(dst / "manifest.parquet", {"unface_version": "1", "config": {"method": "blur"}})


def verify_sealed(session: Session, src: Path, dst: Path, seal: dict) -> dict[str, set[tuple[str, bool]]]:
    verify_dataset(session, src, dst, seal=seal)
    table = pd.read_parquet(dst / "verify.parquet")
    return {
        row.image_id: {(f["check"], f["definite"]) for f in row.findings if f["score"] is None}
        for row in table.itertuples()
    }


def test_an_edited_line_of_the_manifest_is_named(session, folders):
    src, dst = folders
    seal = sealed(dst)
    assert not any(verify_sealed(session, src, dst, seal).values())
    edit_manifest(dst, "a/none.jpg", method="overlay")
    found = verify_sealed(session, src, dst, seal)
    assert found == {"a/face.jpg": set(), "a/none.jpg": {("manifest", True)}, "b/face.png": set()}


def test_a_chain_computed_anew_does_not_match_its_seal(session, folders):
    src, dst = folders
    seal = sealed(dst)
    edit_manifest(dst, "a/face.jpg", preset="paper")
    seal_manifest_again = pq.read_table(dst / "manifest.parquet").drop_columns(["line_sha256"])
    pq.write_table(seal_manifest_again, dst / "manifest.parquet")
    sealed(dst)
    found = verify_sealed(session, src, dst, seal)
    assert [name for name, checks in found.items() if ("manifest", True) in checks] == ["b/face.png"]


def test_a_line_taken_out_breaks_the_next_one(session, folders):
    src, dst = folders
    seal = sealed(dst)
    drop_row(dst / "manifest.parquet", "a/none.jpg")
    found = verify_sealed(session, src, dst, seal)
    assert ("manifest", True) in found["b/face.png"]
    assert ("extra", True) in found["a/none.jpg"]


def test_the_chain_is_what_its_documentation_says(folders):
    """Recomputed with nothing but hashlib, json and pandas."""
    import hashlib
    import json

    dst = folders[1]
    seal = sealed(dst)
    table = pq.read_table(dst / "manifest.parquet")

    def digest(previous: str, content: dict) -> str:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256((previous + text).encode()).hexdigest()

    last = digest("", seal["header"])
    for record in table.to_pylist():
        line = record.pop("line_sha256")
        last = digest(last, record)
        assert line == last
    assert seal == {"header": seal["header"], "lines": 3, "sha256": last}


def test_a_cut_sigma_is_found_and_named(session, tmp_path, monkeypatch):
    import unface.obfuscate.methods as methods
    from unface.images import decode_region, encode_region

    src, dst = build_photo(tmp_path)
    monkeypatch.setattr(methods, "_SAFE_SIGMA_PER_DIAGONAL", 0.05)
    boxes = [[80, 80, 180, 200]]
    photo = decode_region((src / "photo.jpg").read_bytes(), lambda header: methods.reach(boxes, SAFE, (360, 300)))
    hidden = methods.obfuscate(photo.upright(), boxes, SAFE, photo.mode)
    weak, _ = encode_region(photo, hidden.pixels, hidden.touched_xyxy)
    rewrite(dst / "images/photo.jpg", dst, "photo.jpg", weak)
    assert verify(session, src, dst)["photo.jpg"] == {("sigma", True)}


def test_a_shifted_box_is_found_and_named(session, tmp_path):
    src, dst = build_photo(tmp_path, shift=0.5)
    found = verify(session, src, dst)["photo.jpg"]
    assert {("weight", True), ("changed", True)} <= found


def test_an_honest_photo_passes_and_is_measured(session, tmp_path):
    src, dst = build_photo(tmp_path)
    assert verify(session, src, dst) == {"photo.jpg": set()}
    (row,) = pq.read_table(dst / "verify.parquet").to_pylist()
    (face,) = row["faces"]
    assert face["sigma_px"] == pytest.approx(face["least_sigma_px"], rel=0.25)
    assert (face["values_left"], face["values"]) == (3 * 16, 3 * 100 * 120)
    assert row["change_outside"] == 0


def build_photo(root: Path, shift: float = 0.0) -> tuple[Path, Path]:
    """A photo with structure of every size; its face is obfuscated `shift` widths from where it is recorded."""
    src, dst = root / "src", root / "dst"
    src.mkdir()
    dst.mkdir()
    rng = np.random.default_rng(1)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (300 // s, 360 // s, 3), dtype=np.uint8)).resize((360, 300)))
        for s in (2, 6, 20, 60)
    ]
    (src / "photo.jpg").write_bytes(encode_image(Image.fromarray(np.mean(layers, 0).astype(np.uint8)), ".jpg"))
    box = np.array([80.0, 80.0, 180.0, 200.0])
    with LocalExecutor(1) as executor:
        shifted = box + np.array([100 * shift, 0, 100 * shift, 0])
        rows = faces_table([make_faces("photo.jpg", [shifted], 360, 300)])
        report = obfuscate_dataset(Session(executor, Progress(quiet=True)), src, rows, SAFE, REGION, dst)
    assert not report.failures
    write_faces(dst / "faces.parquet", faces_table([make_faces("photo.jpg", [box], 360, 300)]))
    return src, dst


def test_sigma_is_that_of_a_gaussian():
    """Against SciPy's Gaussian, of several sizes."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    photo = gaussian_filter(rng.normal(128, 60, (300, 300)), 1.0) * 4 - 384
    photo = np.clip(photo, 0, 255)
    box = np.array([90, 80, 200, 210], np.float32)
    for sigma in (2.0, 4.0, 8.0):
        blurred = gaussian_filter(photo, sigma).round().astype(np.uint8)
        assert effective_sigma(photo.astype(np.uint8), blurred, box) == pytest.approx(sigma, rel=0.2)


def test_a_second_detector_informs_and_does_not_condemn(session, tmp_path):
    """The first sees nothing, the second a face that no box covers: listed, and recorded for the estimate."""
    from builders import EXAMPLES

    photo = next((EXAMPLES / "astronaut").glob("*.png"))
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    dst.mkdir()
    shutil.copy(photo, src)
    with Image.open(photo) as image:
        write_faces(dst / "faces.parquet", faces_table([make_faces(photo.name, [], *image.size)]))
    obfuscate_dataset(session, src, pq.read_table(dst / "faces.parquet"), Obfuscation(), Writing(), dst)
    verify_dataset(session, src, dst, "centerface", 1.0, second="yunet")
    (row,) = pq.read_table(dst / "verify.parquet").to_pylist()
    (seen,) = [mark for mark in row["second"] if mark["score"] > 0.5]
    assert not seen["covered"]
    assert {f["check"] for f in row["findings"] if f["detector"] == "yunet"} <= {"second", "agreed"}
    assert any(f["detector"] == "yunet" for f in row["findings"])
    assert not any(f["definite"] for f in row["findings"])
    assert read_verdict(dst / "verify.parquet").passed


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_what_lies_beside_images_is_compared(session, tmp_path, kind):
    src, dst = tmp_path / "src", tmp_path / "dst"
    src.mkdir()
    dst.mkdir()
    name = {"webdataset": "a.tar", "parquet": "a.parquet"}[kind]
    image_id = {"webdataset": "a.tar/0.jpg", "parquet": "a.parquet/00000000"}[kind]
    write_archive(src / name, b'{"caption": "a wall"}')
    write_faces(dst / "faces.parquet", faces_table([make_faces(image_id, [(10, 8, 50, 44)])]))
    obfuscate_dataset(session, src, pq.read_table(dst / "faces.parquet"), SAFE, REGION, dst)
    assert not any(verify(session, src, dst).values())
    write_archive(dst / "images" / name, b'{"caption": "Jane Doe"}', (dst / "images" / name).read_bytes())
    found = verify(session, src, dst)
    assert ("changed", True) in found[name]
    assert found[image_id] == set()


def write_archive(path: Path, caption: bytes, of: bytes | None = None) -> None:
    """An archive of one image and a caption; the image of another archive where one is given."""
    if path.suffix == ".parquet":
        table = pq.read_table(io.BytesIO(of)) if of else None
        image = table["image"].to_pylist()[0] if table else encode_image(make_image(64, 48))
        schema = pa.schema([("image", pa.binary()), ("caption", pa.string())])
        pq.write_table(pa.Table.from_pylist([{"image": image, "caption": caption.decode()}], schema=schema), path)
        return
    image = encode_image(make_image(64, 48))
    if of:
        with tarfile.open(fileobj=io.BytesIO(of)) as tar:
            image = tar.extractfile("0.jpg").read()
    with tarfile.open(path, "w") as tar:
        for name, data in (("0.jpg", image), ("0.json", caption)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_an_exif_thumbnail_put_back_is_found(session, folders):
    src, dst = folders
    path = dst / "images/a/face.jpg"
    small = encode_image(Image.open(src / "a/face.jpg").resize((32, 24)))
    rewrite(path, dst, "a/face.jpg", with_exif_thumbnail(path.read_bytes(), small))
    with Image.open(path) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(small)
    assert ("metadata", True) in verify(session, src, dst)["a/face.jpg"]


def with_exif_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with an APP1 of an empty IFD0 and an IFD1 that holds a thumbnail (EXIF 2.32, 4.5.8)."""
    import struct

    ifd1 = 8 + 2 + 4
    start = ifd1 + 2 + 2 * 12 + 4
    tiff = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, ifd1)
    tiff += struct.pack("<H", 2)
    tiff += struct.pack("<HHII", 0x0201, 4, 1, start) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    body = b"Exif\0\0" + tiff + struct.pack("<I", 0) + thumbnail
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
