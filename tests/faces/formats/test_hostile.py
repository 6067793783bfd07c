"""Damaged, wrong and malicious files are refused in one line that says where; hostile names survive or are refused."""

# ruff: noqa: E501  (a file and its complaint side by side)

import json

import pytest

from builders import encode_image, make_image
from unface.errors import InputError
from unface.faces import FaceRow, Faces, faces_table
from unface.faces.formats import FORMATS, Pictures, Reading, guess_format, load_format, read_table, write_table

PICTURE = encode_image(make_image(64, 48), ".png")

HOSTILE = [
    "a\nb.jpg", "a\rb.jpg", "a\tb.jpg", "=cmd|' /C calc'!A0.jpg", "@x.jpg", "-1.jpg", "+1.jpg", "'=x.jpg", "''.jpg",
    "日本 語/ünï.jpg", " lead .jpg", 'a,"b".jpg', "<&>'.jpg", "%41?d=x#y.jpg", "..jpg", "3.jpg", "x/-/#.jpg",
    "\x1b[31m.jpg", "{}.jpg", "a\u2028b.jpg", "\ufffe.jpg", "https.jpg", "C:\\x.jpg",
]  # fmt: skip


def refused(path, row, name) -> str:
    """Why a format does not take a row; empty where it does."""
    try:
        write_table(path, faces_table([row]), name, load_format(name))
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("image_id", HOSTILE, ids=ascii)
@pytest.mark.parametrize("name", FORMATS)
def test_a_hostile_name_survives_or_is_refused_in_one_line(tmp_path, name, image_id):
    target, path = load_format(name), tmp_path / ("out.jsonl" if name == "huggingface" else "out")
    row = FaceRow(image_id, 64, 48, "detected", Faces.make([[1, 2, 30, 40]], label=image_id))
    if refusal := refused(path, row, name):
        assert refusal.isprintable()
        assert list(tmp_path.iterdir()) == []
        return
    pictures = Pictures([image_id], lambda _: PICTURE) if "size" not in target.holds else None
    table, _ = read_table(Reading(path, name, target, pictures))
    assert table["image_id"].to_pylist() == [image_id]
    if "label" in target.holds:
        assert table["boxes"][0][0]["label"].as_py() == image_id


def test_what_survives_is_most_of_it(tmp_path):
    found = set()
    for name in FORMATS:
        for number, image_id in enumerate(HOSTILE):
            row = FaceRow(image_id, 64, 48, "detected", Faces.make([[1, 2, 30, 40]], label=image_id))
            if refused(tmp_path / f"{name}{number}.jsonl", row, name):
                found.add((name, image_id))
    assert {name for name, _ in found} <= {"wider", "openimages", "via", "voc", "cvat"}
    assert {i for n, i in found if n in ("voc", "cvat")} == {"\x1b[31m.jpg", "\ufffe.jpg"}
    assert {i for n, i in found if n == "wider"} == {"a\nb.jpg", "a\rb.jpg"}


IMAGENET = '[{"url": "val/a.JPEG", "bboxes": [{"x0": 1, "y0": 2, "x1": %s, "y1": 4}]}]'
COCO = (
    '{"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}], "categories": [{"id": 1, "name": "face"}],'
    ' "annotations": [{"id": 1, "image_id": %s, "category_id": %s, "bbox": %s}]}'
)
VOC = (
    "<annotation><filename>a.jpg</filename><size><width>64</width><height>48</height></size><object><name>face</name>"
    "<bndbox><xmin>%s</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
CVAT = '<annotations><image name="a.jpg" width="64" height="%s"><box label="f" xtl="%s" ytl="1" xbr="9" ybr="9"/></image></annotations>'
LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><annotations><image name="&b;"/></annotations>'
FILE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'
STUDIO = '[{"data": {"image": "a.jpg"}, "annotations": [{"result": [{"type": "rectanglelabels", "original_width": 64, "original_height": 48, "value": %s}]}]}]'
OPEN = "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax\na,/m/0dzct,%s,%s,0.5,0.1,0.5\n"
VIA_HEAD = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
CSV_HEAD = "image_id,width,height,status,x0,y0,x1,y1,score,label,source\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("imagenet", "", "expected a JSON array"),
        ("imagenet", "{}", "expected a JSON array"),
        ("imagenet", IMAGENET % '"5"', r"record 1: bboxes\[0\]\.x1: expected `float`, got `str`"),
        ("imagenet", IMAGENET % "null", r"record 1: bboxes\[0\]\.x1: expected `float`, got `null`"),
        ("imagenet", IMAGENET % "NaN", r"expected JSON, got .*record 0"),
        ("imagenet", IMAGENET % "1e400", r"expected JSON, got|expected finite numbers"),
        ("imagenet", IMAGENET % "1e30", r"record 1: 'val/a\.JPEG': box: expected finite numbers below 2\^24"),
        ("imagenet", IMAGENET % ("9" * 400), r"record 1: .*expected|expected JSON"),
        ("imagenet", (IMAGENET % "5")[:40], "expected JSON, got"),
        ("imagenet", '[{"url": "val/a.JPEG"}]', "record 1: object missing required field `bboxes`"),
        ("imagenet", '[{"url": "../a.JPEG", "bboxes": []}]', "record 1: '../a.JPEG': expected a path below"),
        ("imagenet", '[{"url": "/etc/a.JPEG", "bboxes": []}]', "expected a path below"),
        ("imagenet", '[{"url": "a\\u0000b", "bboxes": []}]', "expected a path below"),
        ("imagenet", '[{"url": "", "bboxes": []}]', "expected a path below"),
        ("imagenet", '[{"url": "a", "bboxes": []}, {"url": "a", "bboxes": []}]', "expected one row per image"),
        ("imagenet", "[" * 100000, "expected JSON nested at most 256 deep"),
        ("coco", '{"a":' * 100000, "expected JSON nested at most 256 deep"),
        ("imagenet", '[{"url": "' + "a" * (66 << 20), "expected texts of at most 64 MiB"),
        ("coco", "[1]", "expected a JSON object"),
        ("coco", '{"images": []}', "expected a key 'annotations'"),
        ("coco", COCO % (1, 1, "[1, 2, -3, 4]"), r"images record 1|record 1: 'a\.jpg': box: expected .* width and height"),
        ("coco", COCO % (1, 1, "[1, 2, 3]"), r"annotations record 1: bbox: expected `array` of length 4, got 3"),
        ("coco", COCO % (1, 7, "[1, 2, 3, 4]"), "annotations record 1: category_id: expected one of the categories, got 7"),
        ("coco", COCO % (9, 1, "[1, 2, 3, 4]"), "annotations: image_id: expected one of the images, got 9"),
        ("coco", COCO % (1, 1, "null"), "annotations record 1: bbox: expected `array`, got `null`"),
        ("voc", "<annotation>", "expected whole XML"),
        ("voc", "<x/>", "expected an element <annotation>, got <x>"),
        ("voc", VOC % "one", "object 1: xmin: expected a number, got 'one'"),
        ("voc", VOC % "nan", "'a.jpg': box: expected finite numbers"),
        ("voc", VOC % "99", "'a.jpg': box: expected finite numbers .* width and height of at least 0"),
        ("voc", FILE, "without document type and entities, got a DTD"),
        ("cvat", LAUGHS, "without document type and entities, got a DTD"),
        ("cvat", CVAT % ("tall", 1), "image 1: height: expected a number, got 'tall'"),
        ("cvat", CVAT % (-4, 1), "image 1: height: expected a whole number of at least 0"),
        ("cvat", CVAT % (48, "inf"), "image 1: 'a.jpg': box: expected finite"),
        ("cvat", "<annotations><track/></annotations>", "got a <track> of a video"),
        ("cvat", "<annotations><image/></annotations>", "image 1: name: expected the image's name"),
        ("labelstudio", STUDIO % '{"x": "a"}', r"record 1: annotations\[0\]\.result\[0\]\.value\.x: expected `float`"),
        ("labelstudio", STUDIO % '{"x": 1, "y": 1, "width": -5, "height": 5}', "record 1: 'a.jpg': box: expected"),
        ("labelstudio", '[{"data": {}, "annotations": [{"result": []}]}]', "record 1: data.image: expected"),
        ("openimages", "a,b\n", "line 1: expected a column 'ImageID'"),
        ("openimages", OPEN % (1, "=1+1"), "line 2: XMin: expected a number, got '=1\\+1'"),
        ("openimages", OPEN % (7, 0.1), "line 2: 'a.png': score: expected a number from 0 to 1, got 7.0"),
        ("openimages", OPEN % (1, "nan"), "line 2: 'a.png': box: expected finite"),
        ("via", VIA_HEAD + "a.jpg,-1,{},1,0,{,{}\n", "line 2: region_shape_attributes: expected JSON"),
        ("via", VIA_HEAD + 'a.jpg,-1,{},1,0,"{""name"":""rect"",""x"":1}",{}\n', "line 2: .* expected all of a rect"),
        ("via", VIA_HEAD + "a.jpg,-1\n", "line 2: expected 7 cells, got 2"),
        ("csv", CSV_HEAD + "a.jpg,64,48,detected,1,2,3\n", "line 2: expected 11 cells, got 7"),
        ("csv", CSV_HEAD + "a.jpg,64,48,detected,1,2,,4,1,face,me\n", "line 2: x1: expected a number, got ''"),
        ("csv", CSV_HEAD + "a.jpg,64,48,perhaps,1,2,3,4,1,face,me\n", "line 2: 'a.jpg': status: expected one of"),
        ("csv", CSV_HEAD + "a.jpg,-64,48,detected,1,2,3,4,1,face,me\n", "line 2: width: expected a whole number"),
        ("csv", CSV_HEAD + "a.jpg,64,48,detected,nan,2,3,4,1,face,me\n", "line 2: 'a.jpg': box: expected finite"),
        ("csv", CSV_HEAD + "a.jpg,64,48,detected,1,2,3,4,1,face,me\na.jpg,65,48,detected,1,2,3,4,1,f,m\n", "line 3: 'a.jpg': expected the width"),
        ("wider", "a.jpg\nmany\n", "line 2: faces: expected a number, got 'many'"),
        ("wider", "a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n", "line 4: expected a face, got the end"),
        ("wider", "a.jpg\n1\n1 2 3\n", "line 3: expected x, y, width, height"),
        ("wider", "a.jpg\n1\n1 2 -3 4 0\n", "line 1: 'a.jpg': box: expected"),
        ("wider", "a.jpg\n99999999999999\n", "line 2: faces: expected a whole number"),
        ("huggingface", '{"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3]]}}\n', "record 1: objects: bbox or score: "),
        ("huggingface", '{"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "category": []}}\n', "lists of one length"),
        ("huggingface", '{"objects": {"bbox": []}}\n', "record 1: file_name: expected a name"),
        ("huggingface", "{\n", "line 1: expected JSON"),
        ("rekognition", '{"FaceDetails": [{"BoundingBox": {"Width": 1}}]}', r"FaceDetails\[0\]\.BoundingBox: object missing"),
        ("rekognition", "{}", "object missing required field `FaceDetails`"),
    ],
    ids=lambda text: ascii(text[:24]),
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / ("in.jsonl" if name == "huggingface" else "in.txt")
    path.write_text(content)
    pictures = Pictures(["a.png"], lambda _: PICTURE) if name == "openimages" else None
    with pytest.raises(InputError, match=message) as caught:
        read_table(Reading(path, name, load_format(name), pictures))
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels/a.txt", "0 0.5 0.5 0.1\n", r"labels/a\.txt: line 1: expected 5 numbers, 6 with a score, or a polygon, got 4"),
        ("labels/a.txt", "\n7 0.5 0.5 0.1 0.1\n", r"a\.txt: line 2: class: expected one that data.yaml .* names, got 7"),
        ("labels/a.txt", "0 0.5 x 0.1 0.1\n", r"a\.txt: line 1: coordinate: expected a number, got 'x'"),
        ("labels/a.txt", "0 nan 0.5 0.1 0.1\n", r"a\.txt: 'a\.png': box: expected finite"),
        ("labels/a.txt", "0 0.5 0.5 -0.1 0.1\n", r"a\.txt: 'a\.png': box: .* width and height of at least 0"),
        ("labels/a.txt", b"\xff\xfe", r"a\.txt: line 1: expected UTF-8"),
        ("data.yaml", "names: 3\n", r"data\.yaml: names: expected a list of class names, got 3"),
        ("data.yaml", "a: [", r"data\.yaml: expected YAML"),
        ("data.yaml", "!!python/object/apply:os.system ['true']", r"data\.yaml: expected YAML"),
    ],
)  # fmt: skip
def test_a_bad_yolo_folder_is_refused(tmp_path, file, content, message):
    (tmp_path / "labels").mkdir()
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_table(Reading(tmp_path, "yolo", load_format("yolo"), Pictures(["a.png"], lambda _: PICTURE)))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            {"labels": {"a": [{"label": 3, "bounding_box": [0, 0, 1, 1]}]}},
            "'a': record 1: label: expected a name or the",
        ),
        ({"labels": {"a": [{"label": "x", "bounding_box": [0, 0, 1]}]}}, "expected `array` of length 4"),
        ({"labels": {"a": [{"label": "x", "bounding_box": [0, 0, 1, "1"]}]}}, "expected `float`, got `str`"),
        ([], "expected `object`, got `array`"),
    ],
)
def test_a_bad_fiftyone_folder_is_refused(tmp_path, labels, message):
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(InputError, match=message) as caught:
        read_table(Reading(tmp_path, "fiftyone", load_format("fiftyone"), Pictures(["a.png"], lambda _: PICTURE)))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00\x01", b"PK\x03\x04", b"<html></html>", b"[]", b"{}", b"a,b,c\n"]
)
def test_what_is_no_annotation_is_not_guessed(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="expected annotations in a known format; name it with --from"):
        guess_format(tmp_path / "x")


def test_brackets_in_texts_are_no_nesting(tmp_path):
    records = [{"url": f'{"[{" * 200}\\"{n}.jpg', "bboxes": []} for n in range(2000)]
    (tmp_path / "a.json").write_text(json.dumps(records))
    table, _ = read_table(Reading(tmp_path / "a.json", "imagenet", load_format("imagenet")))
    assert table["image_id"].to_pylist() == [record["url"] for record in records]


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="found nothing there"):
        guess_format(tmp_path / "x")
    with pytest.raises(InputError, match="'nothing': expected one of faces, imagenet"):
        load_format("nothing")


def test_boxes_without_area_are_counted_and_left_out(tmp_path):
    corners = [(1, 2, 3, 4), (3, 2, 1, 4), (5, 5, 5, 9), (1, 9, 5, 2)]
    records = [{"url": "val/a.JPEG", "bboxes": [dict(zip(("x0", "y0", "x1", "y1"), c, strict=True)) for c in corners]}]
    (tmp_path / "a.json").write_text(json.dumps(records))
    table, notes = read_table(Reading(tmp_path / "a.json", "imagenet", load_format("imagenet")))
    assert notes == {"boxes without area": 3}
    assert len(table["boxes"][0]) == 1


def test_formulas_in_csv_cells_are_marked(tmp_path):
    row = FaceRow("=1+1.jpg", 64, 48, "detected", Faces.make([[1, 2, 3, 4]], label="@label", source="-source"))
    write_table(tmp_path / "a.csv", faces_table([row]), "csv", load_format("csv"))
    cells = (tmp_path / "a.csv").read_text().splitlines()[1].split(",")
    assert cells[0] == "'=1+1.jpg"
    assert cells[-2:] == ["'@label", "'-source"]
    for name in ("via", "openimages"):
        with pytest.raises(InputError, match="spreadsheets do not take for a formula"):
            write_table(tmp_path / "b.csv", faces_table([row]), name, load_format(name))
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
