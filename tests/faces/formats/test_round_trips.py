"""What is written in a format is read back, but for what the format says that it does not hold."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import encode_image, make_image
from unface.errors import InputError
from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.faces.formats import FORMATS, Pictures, Reading, guess_format, load_format, read_table, write_table

SIZE = (640, 480)
PICTURE = encode_image(make_image(*SIZE), ".png")
NAMES = {name: name for name in FORMATS} | {
    "imagenet": "face_annotations_ILSVRC.json",
    "labelstudio": "label_studio.json",
    "coco": "coco.json",
    "cvat": "annotations.xml",
    "openimages": "open_images.csv",
    "via": "via.csv",
    "csv": "faces.csv",
    "huggingface": "metadata.jsonl",
    "wider": "bbx_gt.txt",
}

letters = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\ufffe\uffff")
part = st.text(letters, min_size=1, max_size=12).filter(lambda p: p not in (".", "..") and p[0] not in "=+-@'")
image_ids = st.lists(part, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".jpg")
text = st.text(letters, min_size=1, max_size=8).filter(lambda t: t[0] not in "=+-@'")
corner = st.tuples(st.integers(0, 630 * 8), st.integers(0, 470 * 8), st.integers(1, 80), st.integers(1, 80))
box = corner.map(lambda c: (c[0] / 8, c[1] / 8, (c[0] + c[2]) / 8, (c[1] + c[3]) / 8))
face = st.tuples(box, st.floats(0, 1, width=32), text, text)
image = st.tuples(image_ids, st.lists(face, max_size=4), st.sampled_from(["detected", "reviewed"]))
images = st.lists(image, max_size=5, unique_by=lambda row: Path(row[0]).stem)


def rows_of(drawn, whole_pixels=False):
    for image_id, faces, status in drawn:
        boxes = np.array([f[0] for f in faces], np.float32).reshape(-1, 4)
        if whole_pixels:
            boxes = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
        scores = np.array([f[1] for f in faces], np.float32)
        labels, sources = tuple(f[2] for f in faces), tuple(f[3] for f in faces)
        yield FaceRow(image_id, *SIZE, status, Faces(boxes, scores, labels, sources))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(drawn=images)
def test_what_is_written_is_read(tmp_path_factory, name, drawn):
    target, path = load_format(name), tmp_path_factory.mktemp(name) / NAMES[name]
    rows = list(rows_of(drawn, whole_pixels=name == "wider"))
    write_table(path, faces_table(rows), name, target)
    pictures = Pictures([row.image_id for row in rows], lambda _: PICTURE) if "size" not in target.holds else None
    table, notes = read_table(Reading(path, name, target, pictures))
    assert not notes
    expected = [row for row in rows if "empty" in target.holds or len(row.faces)]
    got = list(face_rows(table))
    assert {row.image_id for row in got} == {row.image_id for row in expected}
    found = {row.image_id: row for row in got}
    for row in expected:
        other = found[row.image_id]
        assert (other.width, other.height) == SIZE
        assert other.status == (row.status if "status" in target.holds else "detected")
        np.testing.assert_allclose(other.faces.boxes_xyxy, row.faces.boxes_xyxy, atol=1e-3)
        if "score" in target.holds:
            np.testing.assert_allclose(other.faces.scores, row.faces.scores, atol=1e-6)
        if "label" in target.holds:
            assert other.faces.labels == row.faces.labels
        if "source" in target.holds:
            assert other.faces.sources == row.faces.sources


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_recognised(tmp_path, name):
    path = tmp_path / NAMES[name]
    row = FaceRow("a/1.jpg", *SIZE, "detected", Faces.make([[1, 2, 30, 40]]))
    write_table(path, faces_table([row]), name, load_format(name))
    assert guess_format(path) == name


@pytest.mark.parametrize("name", FORMATS)
def test_no_images_at_all(tmp_path, name):
    path = tmp_path / NAMES[name]
    target = load_format(name)
    write_table(path, faces_table([]), name, target)
    assert len(read_table(Reading(path, name, target))[0]) == 0


@pytest.mark.parametrize("name", ["voc", "yolo", "fiftyone", "openimages"])
def test_two_images_of_one_name_are_refused_by_name(tmp_path, name):
    rows = [FaceRow(image_id, *SIZE, "detected", Faces.make([[1, 2, 3, 4]])) for image_id in ("a/1.jpg", "a/1.png")]
    with pytest.raises(InputError, match=r"'a/1\.jpg' and 'a/1\.png'"):
        write_table(tmp_path / NAMES[name], faces_table(rows), name, load_format(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [n for n in FORMATS if load_format(n).needs_size])
def test_a_size_that_is_needed_and_unknown_is_refused(tmp_path, name):
    row = FaceRow("a/1.jpg", 0, 0, "detected", Faces.make([[1, 2, 3, 4]]))
    with pytest.raises(InputError, match=r"a/1\.jpg: size: expected to know it; give the images with --images"):
        write_table(tmp_path / NAMES[name], faces_table([row]), name, load_format(name))
    assert list(tmp_path.iterdir()) == []


def test_images_that_failed_are_never_written(tmp_path):
    rows = [FaceRow("a.jpg", 0, 0, "failed"), FaceRow("b.jpg", *SIZE, "detected")]
    for name in FORMATS:
        target = load_format(name)
        lost = write_table(tmp_path / NAMES[name], faces_table(rows), name, target)
        assert lost["images that failed"] == 1
        pictures = Pictures(["b.jpg"], lambda _: PICTURE)
        ids = read_table(Reading(tmp_path / NAMES[name], name, target, pictures))[0]["image_id"].to_pylist()
        assert ids == (["b.jpg"] if "empty" in target.holds else [])


def test_the_document_says_what_each_format_holds():
    page = (Path(__file__).parents[3] / "docs" / "annotations.md").read_text()
    for name in FORMATS:
        target = load_format(name)
        marks = [
            "yes" if kind in target.holds else "–" for kind in ("score", "label", "source", "status", "size", "empty")
        ]
        folder = ", a folder" if target.is_folder else ""
        needs = "yes" if target.needs_size else "–"
        assert f"| `{name}` | {target.title}{folder} | {' | '.join(marks)} | {needs} |" in page
