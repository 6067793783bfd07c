import json
import sys

import pytest

from builders import make_faces, write_image
from unface.cli import main
from unface.cli.convert import convert
from unface.faces import FaceRow, Faces, face_rows, faces_table, read_faces, write_faces
from unface.faces.formats import FORMATS as REGISTRY

FORMATS = (
    "imagenet", "coco", "voc", "yolo", "wider", "rekognition", "cvat", "labelstudio", "openimages", "via", "fiftyone",
    "huggingface", "csv",
)  # fmt: skip


@pytest.fixture
def unface(monkeypatch, capsys):
    """Runs the command in this process; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unface", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out = capsys.readouterr()
        return end.value.code or 0, out.out, out.err

    return run


@pytest.fixture
def faces(tmp_path):
    path = tmp_path / "faces.parquet"
    rows = [make_faces("a/1.jpg"), make_faces("b/2.png", [[1, 1, 9, 9], [3.5, 2, 60, 40]]), make_faces("c.jpg", [])]
    write_faces(path, faces_table(rows))
    return path


@pytest.fixture
def images(tmp_path):
    for name in ("a/1.jpg", "b/2.png", "c.jpg"):
        write_image(tmp_path / "src" / name)
    return tmp_path / "src"


def boxes_of(path):
    return {row.image_id: row.faces.boxes_xyxy.tolist() for row in face_rows(read_faces(path)) if len(row.faces)}


@pytest.mark.parametrize("name", FORMATS)
def test_to_every_format_and_back(unface, faces, images, tmp_path, name):
    out, back = tmp_path / "out", tmp_path / "back.parquet"
    code, _, told = unface("convert", faces, out, "--to", name)
    assert code == 0, told
    assert f"3 images, 3 faces: {out} ({name})" in told
    code, said, told = unface("convert", out, back, "--from", name, "--images", images, "--json")
    assert code == 0, told
    assert json.loads(said)["inputs"][0]["format"] == name
    for image_id, boxes in boxes_of(faces).items():
        tolerance = 0.5 if name == "wider" else 1e-3
        assert boxes_of(back)[image_id] == [pytest.approx(box, abs=tolerance) for box in boxes]


def test_formats_are_told_by_name_and_content(unface, faces, tmp_path):
    for name in ("coco.json", "annotations.xml", "faces.csv", "metadata.jsonl", "label_studio.json"):
        assert unface("convert", faces, tmp_path / name)[0] == 0
        assert unface("convert", tmp_path / name, tmp_path / "back.parquet")[0] == 0
        assert boxes_of(tmp_path / "back.parquet") == boxes_of(faces)
    code, _, told = unface("convert", faces, tmp_path / "out.json")
    assert (code, told) == (2, "unface: out.json: expected a name that says the format; name it with --to\n")


def test_a_format_says_what_it_does_not_hold(unface, tmp_path):
    seen = Faces.make([[1, 2, 3, 4]], [0.5], label="nsfw", source="human")
    rows = [
        FaceRow("1.jpg", 64, 48, "reviewed", seen, Faces.make([])),
        FaceRow("2.jpg", 64, 48, "reviewed"),
        FaceRow("3.jpg", 0, 0, "failed"),
    ]  # fmt: skip
    write_faces(tmp_path / "f.parquet", faces_table(rows))
    code, said, told = unface("convert", tmp_path / "f.parquet", tmp_path / "o.csv", "--to", "openimages", "--json")
    assert code == 0
    assert json.loads(said)["lost"] == {
        "images that failed": 1,
        "marks that an image was reviewed": 2,
        "sizes of images": 2,
        "images without faces": 1,
    }
    assert "openimages does not hold:" in told
    said = unface("convert", tmp_path / "f.parquet", tmp_path / "o.json", "--to", "imagenet", "--json")[1]
    assert json.loads(said)["lost"]["scores of boxes"] == 1
    assert json.loads(said)["lost"]["labels of boxes"] == 1
    assert json.loads(said)["lost"]["sources of boxes"] == 1


def test_merging(unface, faces, tmp_path):
    other = tmp_path / "other.parquet"
    write_faces(other, faces_table([make_faces("a/1.jpg", [[11, 8, 41, 40], [50, 0, 60, 9]], status="reviewed")]))
    out = tmp_path / "merged.parquet"
    code, said, _ = unface("convert", faces, other, out, "--merge", "union", "--json")
    assert code == 0
    assert json.loads(said)["merged"] == {"images in both": 1, "faces in both": 1}
    assert boxes_of(out)["a/1.jpg"] == [[10, 8, 41, 40], [50, 0, 60, 9]]
    assert unface("convert", faces, other, out, "--merge", "replace")[0] == 0
    assert boxes_of(out)["a/1.jpg"] == [[11, 8, 41, 40], [50, 0, 60, 9]]
    assert unface("convert", faces, other, out, "--merge", "intersection")[0] == 0
    assert list(boxes_of(out)) == ["a/1.jpg"]


def test_a_table_says_where_it_comes_from(unface, faces, tmp_path):
    write_faces(faces, faces_table([make_faces()], {"detector": "me"}))
    unface("convert", faces, tmp_path / "same.parquet", "--label", "face")
    assert read_faces(tmp_path / "same.parquet").schema.metadata[b"unface.detector"] == b"me"
    unface("convert", faces, tmp_path / "coco.json")
    unface("convert", tmp_path / "coco.json", tmp_path / "back.parquet")
    metadata = read_faces(tmp_path / "back.parquet").schema.metadata
    assert json.loads(metadata[b"unface.converted_from"]) == [{"file": "coco.json", "format": "coco"}]
    assert metadata[b"unface.schema_version"] == b"1"
    unface("convert", faces, tmp_path / "back.parquet", tmp_path / "both.parquet", "--merge", "union")
    metadata = read_faces(tmp_path / "both.parquet").schema.metadata
    assert metadata[b"unface.merge"] == b"union"
    assert b"unface.detector" not in metadata


def test_labels_and_status(unface, tmp_path):
    rows = [FaceRow("1.jpg", 9, 9, "detected", Faces.make([[1, 2, 3, 4]]) + Faces.make([[5, 5, 6, 6]], label="car"))]
    write_faces(tmp_path / "f.parquet", faces_table(rows))
    assert unface("convert", tmp_path / "f.parquet", tmp_path / "o.parquet", "--label", "face")[0] == 0
    assert boxes_of(tmp_path / "o.parquet") == {"1.jpg": [[1, 2, 3, 4]]}
    assert unface("convert", tmp_path / "f.parquet", tmp_path / "v", "--to", "voc")[0] == 0
    assert unface("convert", tmp_path / "v", tmp_path / "o.parquet", "--status", "reviewed")[0] == 0
    assert read_faces(tmp_path / "o.parquet")["status"].to_pylist() == ["reviewed"]


def test_names_are_found_in_the_dataset(unface, images, tmp_path):
    content = [{"url": url, "bboxes": []} for url in ("train/a/1.jpg", "val/2.png", "train/x/nothere.jpg")]
    (tmp_path / "face.json").write_text(json.dumps(content))
    code, said, told = unface("convert", tmp_path / "face.json", tmp_path / "o.parquet", "--images", images, "--json")
    assert code == 0, told
    assert read_faces(tmp_path / "o.parquet")["image_id"].to_pylist() == ["a/1.jpg", "b/2.png"]
    assert read_faces(tmp_path / "o.parquet")["width"].to_pylist() == [64, 64]
    notes = json.loads(said)["inputs"][0]["left_out_or_changed"]
    assert notes == {"images that the dataset does not have": 1, "images of the dataset without a row": 1}


def test_an_ambiguous_name_is_refused_with_both(unface, images, tmp_path):
    write_image(images / "z" / "1.jpg")
    (tmp_path / "i.csv").write_text("ImageID,LabelName,XMin,XMax,YMin,YMax\n1,/m/0dzct,0.1,0.2,0.1,0.2\n")
    code, _, told = unface("convert", tmp_path / "i.csv", tmp_path / "o.parquet", "--images", images)
    assert code == 2
    assert told.count("\n") == 1
    assert "fits a/1.jpg and z/1.jpg" in told
    assert "line 2" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{t}/faces.parquet"], "expected IN and OUT, got one path"),
        (["{t}/faces.parquet", "{t}/faces.parquet", "{t}/o.csv"], "expected --merge with several IN"),
        (["{t}/faces.parquet", "{t}/o.csv", "--merge", "union"], "expected --merge with several IN"),
        (["{t}/nothing", "{t}/o.csv"], "expected annotations, found nothing there"),
        (["{t}/faces.parquet", "{t}/o.csv", "--to", "xyz"], "format 'xyz': expected one of faces, imagenet"),
        (["{t}/faces.parquet", "{t}/o.csv", "--from", "coco"], "expected JSON"),
        (["{t}/faces.parquet", "{t}/src", "--to", "voc"], "expected a folder that is empty or not there"),
        (["{t}/faces.parquet", "{t}/src", "--to", "coco"], "expected a file to write, got a folder"),
        (["{t}/faces.parquet", "{t}/no/where/o.csv"], "No such file"),
        (["{t}/faces.parquet", "{t}/o.csv", "--images", "{t}/nothing"], "expected a"),
    ],
)
def test_wrong_use_is_told_in_one_line(unface, faces, images, tmp_path, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    code, out, told = unface("convert", *(argument.format(t=tmp_path) for argument in arguments))
    assert code == 2
    assert message in told
    assert told.count("\n") == 1
    assert told.startswith("unface: ")
    assert not out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bad_input_leaves_the_output_as_it_was(unface, faces, tmp_path):
    (tmp_path / "bad.json").write_text('[{"url": "a", "bboxes": [{"x0": 1, "y0": 1, "x1": 2}]}]')
    (tmp_path / "out.csv").write_text("precious")
    code, _, told = unface("convert", tmp_path / "bad.json", tmp_path / "out.csv")
    assert code == 2
    assert "bad.json: record 1: bboxes[0]: object missing required field `y1`" in told
    assert (tmp_path / "out.csv").read_text() == "precious"
    write_faces(faces, faces_table([make_faces("=1.jpg")]))
    assert unface("convert", faces, tmp_path / "out.csv", "--to", "via")[0] == 2
    assert (tmp_path / "out.csv").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.json", "faces.parquet", "out.csv"]


def test_a_file_may_be_converted_in_place(unface, tmp_path, faces):
    assert unface("convert", faces, tmp_path / "f.csv")[0] == 0
    before = (tmp_path / "f.csv").read_bytes()
    assert unface("convert", tmp_path / "f.csv", tmp_path / "f.csv")[0] == 0
    assert (tmp_path / "f.csv").read_bytes() == before


def test_yolo_finds_the_images_beside_its_labels(unface, faces, images, tmp_path):
    assert unface("convert", faces, tmp_path / "y", "--to", "yolo")[0] == 0
    code, _, told = unface("convert", tmp_path / "y", tmp_path / "o.parquet")
    assert code == 2
    assert "give the images with --images" in told
    (tmp_path / "y" / "images").symlink_to(images)
    assert unface("convert", tmp_path / "y", tmp_path / "o.parquet")[0] == 0
    assert set(boxes_of(tmp_path / "o.parquet")) == {"a/1.jpg", "b/2.png"}


def test_the_help_names_every_format():
    assert set(FORMATS) == set(REGISTRY)
    assert all(name in convert.__doc__ for name in [*REGISTRY, "faces"])
