"""The tools that the formats belong to read what we write, and we what they write, rotated images included."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageOps

from builders import encode_image, make_image
from unface.faces import FaceRow, Faces, face_rows, faces_table
from unface.faces.formats import Pictures, Reading, load_format, read_table, write_table

ELSEWHERE = "needs an environment of its own: see peers.txt beside this file"

BOXES = {
    "plain.jpg": [[1.25, 2.5, 30.75, 40.125], [40, 3, 63.5, 20]],
    "turned.jpg": [[5.5, 10.25, 40.75, 60.5]],
    "empty.png": [],
}
SIZES = {"plain.jpg": (64, 48), "turned.jpg": (48, 64), "empty.png": (32, 32)}


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three images, of which `turned.jpg` is stored lying (EXIF orientation 6)."""
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "plain.jpg").write_bytes(encode_image(make_image(64, 48)))
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "turned.jpg").write_bytes(encode_image(make_image(64, 48), exif=exif))
    (folder / "empty.png").write_bytes(encode_image(make_image(32, 32), ".png"))
    return folder


def pictures_of(photos: Path) -> Pictures:
    return Pictures([path.name for path in photos.iterdir()], lambda image_id: (photos / image_id).read_bytes())


def table(status="detected"):
    return faces_table(FaceRow(name, *SIZES[name], status, Faces.make(boxes)) for name, boxes in BOXES.items())


def written(path: Path, name: str, photos: Path | None = None, **how) -> Path:
    pictures = pictures_of(photos) if photos else None
    write_table(path, table(how.pop("status", "detected")), name, load_format(name), pictures, **how)
    return path


def read(path: Path, name: str, photos: Path | None = None, **how) -> dict[str, FaceRow]:
    pictures = pictures_of(photos) if photos else None
    return {
        row.image_id: row for row in face_rows(read_table(Reading(path, name, load_format(name), pictures, **how))[0])
    }


def assert_boxes(found: dict[str, object], names=BOXES):
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_allclose(np.reshape(found[name], (-1, 4)), np.reshape(BOXES[name], (-1, 4)), atol=1e-3)


def from_xywh(boxes):
    return [[x, y, x + w, y + h] for x, y, w, h in boxes]


def test_pycocotools_reads_coco(tmp_path):
    coco = pytest.importorskip("pycocotools.coco").COCO(written(tmp_path / "coco.json", "coco"))
    found, images = {}, coco.loadImgs(coco.getImgIds())
    for image in images:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        found[image["file_name"]] = from_xywh(annotation["bbox"] for annotation in annotations)
        assert (image["width"], image["height"]) == SIZES[image["file_name"]]
    assert_boxes(found)
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["face"]


def test_torchvision_parses_voc(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    folder = written(tmp_path / "voc", "voc") / "Annotations"
    found = {}
    for path in folder.iterdir():
        root = datasets.VOCDetection.parse_voc_xml(ElementTree.parse(path).getroot())["annotation"]
        assert (int(root["size"]["width"]), int(root["size"]["height"])) == SIZES[root["filename"]]
        bounds = [entry["bndbox"] for entry in root.get("object", [])]
        found[root["filename"]] = [
            [float(b["xmin"]) - 1, float(b["ymin"]) - 1, float(b["xmax"]), float(b["ymax"])] for b in bounds
        ]
    assert_boxes(found)


def supervised(dataset) -> dict[str, object]:
    return {Path(path).name: detections.xyxy for path, _, detections in dataset}


def test_supervision_reads_coco_voc_and_yolo(tmp_path, photos):
    dataset = pytest.importorskip("supervision").DetectionDataset
    coco = dataset.from_coco(str(photos), str(written(tmp_path / "coco.json", "coco")))
    assert coco.classes == ["face"]
    assert_boxes(supervised(coco))
    voc = written(tmp_path / "voc", "voc") / "Annotations"
    assert_boxes(supervised(dataset.from_pascal_voc(str(photos), str(voc))))
    yolo = written(tmp_path / "yolo", "yolo")
    assert_boxes(supervised(dataset.from_yolo(str(photos), str(yolo / "labels"), str(yolo / "data.yaml"))))


def test_we_read_what_supervision_writes(tmp_path, photos):
    dataset = pytest.importorskip("supervision").DetectionDataset
    known = dataset.from_coco(str(photos), str(written(tmp_path / "coco.json", "coco")))
    known.as_coco(annotations_path=str(tmp_path / "theirs.json"))
    assert_boxes({name: row.faces.boxes_xyxy for name, row in read(tmp_path / "theirs.json", "coco", photos).items()})
    known.as_yolo(
        annotations_directory_path=str(tmp_path / "y" / "labels"), data_yaml_path=str(tmp_path / "y/data.yaml")
    )
    got = read(tmp_path / "y", "yolo", photos)
    for name, boxes in BOXES.items():  # they write five digits
        if boxes:
            np.testing.assert_allclose(got[name].faces.boxes_xyxy, boxes, atol=1e-3)
    known.as_pascal_voc(annotations_directory_path=str(tmp_path / "v"))
    got = read(tmp_path / "v", "voc", photos)
    for name, boxes in BOXES.items():  # they round to whole pixels
        if boxes:
            np.testing.assert_allclose(got[name].faces.boxes_xyxy, boxes, atol=0.5)


@pytest.mark.parametrize("kind", ["coco", "voc", "cvat"])
def test_datumaro_reads_it(tmp_path, photos, kind):
    """It rounds coordinates to two digits and keeps no order."""
    datumaro = pytest.importorskip("datumaro", reason=ELSEWHERE)
    places = {"cvat": "cvat.xml", "coco": "annotations/instances_all.json"}
    path = tmp_path / places.get(kind, kind)
    path.parent.mkdir(exist_ok=True)
    written(path, kind)
    if kind == "voc":
        (path / "ImageSets" / "Main").mkdir(parents=True)
        stems = "\n".join(Path(image_id).stem for image_id in BOXES)
        (path / "ImageSets" / "Main" / "all.txt").write_text(stems + "\n")
        (path / "labelmap.txt").write_text("background:0,0,0::\nface:0,128,0::\n")
    path = tmp_path if kind == "coco" else path
    items = datumaro.Dataset.import_from(str(path), kind)
    found = {
        Path(item.id).stem: from_xywh(a.get_bbox() for a in item.annotations if a.type.name == "bbox") for item in items
    }
    if kind == "voc":
        found = {stem: [[x0 - 1, y0 - 1, x1, y1] for x0, y0, x1, y1 in boxes] for stem, boxes in found.items()}
    assert_rounded(found)


def assert_rounded(found: dict[str, object]):
    assert set(found) == {Path(name).stem for name in BOXES}
    for name, boxes in BOXES.items():
        other = np.reshape(sorted(map(list, found[Path(name).stem])), (-1, 4))
        np.testing.assert_allclose(other, np.reshape(sorted(boxes), (-1, 4)), atol=0.011)


@pytest.mark.parametrize(("kind", "name"), [("cvat", "cvat"), ("coco", "coco")])
def test_we_read_what_datumaro_writes(tmp_path, photos, kind, name):
    datumaro = pytest.importorskip("datumaro", reason=ELSEWHERE)
    (tmp_path / "annotations").mkdir()
    written(tmp_path / "annotations" / "instances_all.json", "coco")
    known = datumaro.Dataset.import_from(str(tmp_path), "coco")
    known.export(str(tmp_path / "theirs"), kind)
    file = next(p for p in sorted((tmp_path / "theirs").rglob("*")) if p.suffix == ".xml" or "instances_" in p.name)
    assert_rounded({Path(key).stem: row.faces.boxes_xyxy for key, row in read(file, name, photos).items()})


@pytest.mark.parametrize("status", ["detected", "reviewed"])
def test_the_label_studio_sdk_converts_it(tmp_path, photos, status):
    sdk = pytest.importorskip("label_studio_sdk.converter", reason=ELSEWHERE)
    path = written(tmp_path / "studio.json", "labelstudio", status=status)
    if status == "detected":  # the converter takes annotations; a person accepts the predictions
        tasks = json.loads(path.read_text())
        for task in tasks:
            task["annotations"] = [{"id": task["id"], "result": task.pop("predictions")[0]["result"]}]
        path.write_text(json.dumps(tasks))
    labels = '<RectangleLabels name="label" toName="image"><Label value="face"/></RectangleLabels>'
    config = f'<View><Image name="image" value="$image"/>{labels}</View>'
    converter = sdk.Converter(config, str(tmp_path), download_resources=False)
    converter.convert_to_coco(str(path), str(tmp_path / "coco"), is_dir=False)
    result = json.loads((tmp_path / "coco" / "result.json").read_text())
    names = {image["id"]: Path(image["file_name"].partition("=")[2]).name for image in result["images"]}
    found = {name: [] for name in names.values()}
    for annotation in result["annotations"]:
        found[names[annotation["image_id"]]] += from_xywh([annotation["bbox"]])
    assert_boxes({name: boxes for name, boxes in found.items() if boxes}, [name for name in BOXES if BOXES[name]])


def test_fiftyone_imports_it(tmp_path, photos):
    data = pytest.importorskip("fiftyone.utils.data", reason=ELSEWHERE)

    folder = written(tmp_path / "fo", "fiftyone")
    (folder / "data").symlink_to(photos)
    found = {}
    with data.FiftyOneImageDetectionDatasetImporter(str(folder)) as importer:
        for path, _, label in importer:
            width, height = SIZES[Path(path).name]
            scale = np.array([width, height, width, height])
            found[Path(path).name] = from_xywh(np.array(d.bounding_box) * scale for d in label.detections)
    assert_boxes(found)


def test_hugging_face_datasets_loads_it(tmp_path, photos):
    datasets = pytest.importorskip("datasets", reason="datasets is not a dependency")
    if not hasattr(datasets, "load_dataset"):  # the folder of our own tests
        pytest.skip("datasets is not a dependency")
    written(photos / "metadata.jsonl", "huggingface")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(photos), split="train", cache_dir=str(tmp_path / "cache")
    )
    loaded = loaded.cast_column("image", datasets.Image(decode=False))
    found = {Path(row["image"]["path"]).name: from_xywh(row["objects"]["bbox"]) for row in loaded}
    assert_boxes(found)
    loaded.to_parquet(str(tmp_path / "theirs.parquet"))
    got = read(tmp_path / "theirs.parquet", "huggingface", photos)
    assert_boxes({name: row.faces.boxes_xyxy for name, row in got.items()})
    assert {name: (row.width, row.height) for name, row in got.items()} == SIZES


@pytest.mark.parametrize("name", ["coco", "voc", "cvat", "yolo", "labelstudio"])
def test_pixels_as_stored_are_written_and_read(tmp_path, photos, name):
    path = written(tmp_path / f"{name}.json", name, photos, stored=True)
    got = read(path, name, photos, stored=True)
    assert_boxes({key: row.faces.boxes_xyxy for key, row in got.items()})
    assert {key: (row.width, row.height) for key, row in got.items()} == SIZES


@pytest.mark.parametrize("name", ["coco", "voc", "cvat"])
def test_a_size_that_is_the_stored_one_tells_that_boxes_lie(tmp_path, photos, name):
    """Tools that ignore EXIF write the stored size: 64 x 48 where the upright image is 48 x 64."""
    path = written(tmp_path / f"{name}.json", name, photos, stored=True)
    assert_boxes({key: row.faces.boxes_xyxy for key, row in read(path, name, photos).items()})


def test_stored_pixels_are_where_the_stored_picture_has_them(tmp_path, photos):
    """An independent truth: a white patch, found by Pillow in the file as stored."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[8:16, 32:48] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (photos / "turned.jpg").write_bytes(encode_image(Image.fromarray(pixels), exif=exif, quality=100))
    upright = np.asarray(Image.open(photos / "turned.jpg").transpose(Image.Transpose.ROTATE_270).convert("L")) > 128
    ys, xs = np.nonzero(upright)
    row = FaceRow("turned.jpg", 48, 64, "detected", Faces.make([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]))
    path = tmp_path / "stored.json"
    write_table(path, faces_table([row]), "coco", load_format("coco"), pictures_of(photos), stored=True)
    content = json.loads(path.read_text())
    assert content["annotations"][0]["bbox"] == [32, 8, 16, 8]
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_every_orientation_goes_there_and_back(tmp_path, orientation, name):
    """Pillow turns the picture upright; a white patch stands where the box says, stored and upright."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[8:16, 32:48] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode_image(Image.fromarray(pixels), ".png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("L")) > 128
    ys, xs = np.nonzero(upright)
    box = [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]
    pictures = Pictures(["a.png"], lambda _: data)
    row = FaceRow("a.png", *upright.shape[::-1], "detected", Faces.make([box]))
    target = load_format(name)
    write_table(tmp_path / "out", faces_table([row]), name, target, pictures, stored=True)
    (back,) = face_rows(read_table(Reading(tmp_path / "out", name, target, pictures, stored=True))[0])
    np.testing.assert_allclose(back.faces.boxes_xyxy, [box], atol=1e-3)
    assert (back.width, back.height) == upright.shape[::-1]
    if name == "coco":
        assert json.loads((tmp_path / "out").read_text())["annotations"][0]["bbox"] == [32, 8, 16, 8]
    else:
        assert (tmp_path / "out" / "labels" / "a.txt").read_text() == "0 0.625 0.25 0.25 0.166666666667\n"


def test_another_size_than_the_image_has_is_refused(tmp_path, photos):
    content = written(tmp_path / "coco.json", "coco").read_text().replace('"width":48', '"width":47')
    (tmp_path / "coco.json").write_text(content)
    with pytest.raises(Exception, match=r"'turned\.jpg': size: expected 48 x 64 as the image has, got 47 x 64"):
        read(tmp_path / "coco.json", "coco", photos)
