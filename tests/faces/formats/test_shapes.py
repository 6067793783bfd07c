"""Shapes that are no upright boxes become the box around them: against OpenCV's rotated rectangles, and by hand."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unface.faces import face_rows
from unface.faces.formats import Pictures, Reading, load_format, read_table
from unface.faces.formats.shapes import rotated

side = st.floats(1, 100)


def boxes_of(path, name, pictures=None):
    table, notes = read_table(Reading(path, name, load_format(name), pictures))
    return {row.image_id: row.faces.boxes_xyxy for row in face_rows(table)}, notes


@given(st.floats(-50, 50), st.floats(-50, 50), side, side, st.floats(-360, 360))
def test_a_turned_box_is_opencvs(x, y, width, height, degrees):
    corners = cv2.boxPoints(((x + width / 2, y + height / 2), (width, height), degrees))
    expected = [*corners.min(axis=0), *corners.max(axis=0)]
    middle = (x + width / 2, y + height / 2)
    assert rotated((x, y, x + width, y + height), degrees, middle) == pytest.approx(expected, abs=1e-3)


def test_cvat_shapes(tmp_path):
    (tmp_path / "c.xml").write_text(
        '<annotations><image name="a.jpg" width="64" height="48">'
        '<box label="f" xtl="10" ytl="10" xbr="20" ybr="30" rotation="90"/>'
        '<polygon label="f" points="1.5,2;9,3.25;4,8"/><ellipse label="f" cx="30" cy="20" rx="5" ry="3"/>'
        '<mask label="f" rle="1"/></image></annotations>'
    )
    found, notes = boxes_of(tmp_path / "c.xml", "cvat")
    np.testing.assert_allclose(found["a.jpg"], [[5, 15, 25, 25], [1.5, 2, 9, 8], [25, 17, 35, 23]], atol=1e-5)
    assert notes == {"shapes of kind mask": 1}


def test_label_studio_shapes_of_all_annotations_but_cancelled_ones(tmp_path):
    def result(kind, value):
        return {"type": kind, "original_width": 200, "original_height": 100, "value": value}

    turned = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90, "rectanglelabels": ["face"]}
    ellipse = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "ellipselabels": ["head"]}
    polygon = {"points": [[0, 0], [10, 10], [5, 30]], "polygonlabels": ["face"]}
    tasks = [
        {
            "data": {"image": "s3://bucket/a%20b.jpg"},
            "annotations": [
                {"result": [result("rectanglelabels", turned), result("keypointlabels", {"x": 1, "y": 2})]},
                {"result": [result("ellipselabels", ellipse), result("choices", {"choices": ["x"]})]},
                {"result": [result("polygonlabels", polygon)], "was_cancelled": True},
            ],
            "predictions": [{"result": [result("polygonlabels", polygon)]}],
        },
        {
            "data": {"image": "/data/upload/7/0a1b2c3d-c.jpg"},
            "predictions": [{"result": [result("polygonlabels", polygon)]}],
        },
        {"data": {"image": "/data/local-files/?d=x/d%26e.jpg"}, "annotations": [{"result": []}]},
        {"data": {"image": "never.jpg"}, "annotations": []},
    ]
    (tmp_path / "l.json").write_text(json.dumps(tasks))
    pictures = Pictures(["a b.jpg", "c.jpg", "x/d&e.jpg", "never.jpg"], lambda _: picture(200, 100))
    found, notes = boxes_of(tmp_path / "l.json", "labelstudio", pictures)
    assert set(found) == {"a b.jpg", "c.jpg", "x/d&e.jpg"}
    np.testing.assert_allclose(found["a b.jpg"], [[90, 50, 100, 70], [80, 40, 120, 60]], atol=1e-4)
    np.testing.assert_allclose(found["c.jpg"], [[0, 0, 20, 30]], atol=1e-4)
    assert notes == {"results of kind keypointlabels": 1, "tasks that nobody has looked at": 1}
    table, _ = read_table(Reading(tmp_path / "l.json", "labelstudio", load_format("labelstudio"), pictures))
    assert table["status"].to_pylist() == ["reviewed", "detected", "reviewed"]


def test_via_shapes(tmp_path):
    shapes = [
        {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4},
        {"name": "circle", "cx": 20, "cy": 20, "r": 5},
        {"name": "ellipse", "cx": 20, "cy": 20, "rx": 5, "ry": 3, "theta": 1.2},
        {"name": "polygon", "all_points_x": [1, 5, 9], "all_points_y": [7, 2, 4]},
        {"name": "point", "cx": 1, "cy": 1},
    ]
    quoted = ['"' + json.dumps(shape).replace('"', '""') + '"' for shape in shapes]
    head = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    (tmp_path / "v.csv").write_text(head + "".join(f'a.jpg,9,"{{}}",5,{n},{q},"{{}}"\n' for n, q in enumerate(quoted)))
    found, notes = boxes_of(tmp_path / "v.csv", "via")
    assert found["a.jpg"].tolist() == [[1, 2, 4, 6], [15, 15, 25, 25], [15, 15, 25, 25], [1, 2, 9, 7]]
    assert notes == {"regions of kind point": 1}


def test_yolo_scores_and_polygons(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text("names: [car, face]\n")
    (tmp_path / "labels" / "a.txt").write_text("1 0.5 0.5 0.2 0.1 0.75\n0 0.1 0.2 0.3 0.2 0.3 0.4\n")
    table, _ = read_table(
        Reading(tmp_path, "yolo", load_format("yolo"), Pictures(["a.png"], lambda _: picture(200, 100)))
    )
    (row,) = face_rows(table)
    np.testing.assert_allclose(row.faces.boxes_xyxy, [[80, 45, 120, 55], [20, 20, 60, 40]], atol=1e-4)
    assert row.faces.labels == ("face", "car")
    assert row.faces.scores.tolist() == [0.75, 1.0]


def picture(width, height):
    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()


def test_the_official_wider_face_file(test_data):
    folder = test_data / "face"
    path = folder / "wider_face_val_bbx_gt.txt"
    found, notes = boxes_of(path, "wider")
    lines = path.read_text().splitlines()
    names = [line for line in lines if line.endswith(".jpg")]
    assert list(found) == names
    assert sum(map(len, found.values())) + notes["boxes without area"] == sum(len(line.split()) == 10 for line in lines)
    first = [float(word) for word in lines[2].split()[:4]]
    assert found[names[0]][0].tolist() == [first[0], first[1], first[0] + first[2], first[1] + first[3]]
