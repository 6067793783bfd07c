"""SCRFD and YOLOv8-face by the path of a file: real ONNX files in every layout, and files that are none."""

import hashlib
import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest

import builders
import networks
from unface import weights
from unface.boxes import iou
from unface.detect import make_detector
from unface.detect.network import Network
from unface.errors import ImageError, InputError
from unface.images import decode

LEFT, TOP, RIGHT, BOTTOM = (16 * reach for reach in networks.REACH)


def red_square(row=7, column=9, height=224, width=320):
    """A black image with one red cell of stride 16."""
    image = np.zeros((height, width, 3), np.uint8)
    image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16, 0] = 255
    return image


def from_corner(row, column):
    return [16 * column - LEFT, 16 * row - TOP, 16 * column + RIGHT, 16 * row + BOTTOM]


def from_centre(row, column):
    return [side + 8 for side in from_corner(row, column)]


LAYOUTS = {
    "scrfd": (networks.scrfd_file, {}, from_corner),
    "scrfd without keypoints": (networks.scrfd_file, {"keypoints": False}, from_corner),
    "scrfd without batches": (networks.scrfd_file, {"joined": True}, from_corner),
    "scrfd of five levels": (networks.scrfd_file, {"levels": 5}, from_corner),
    "scrfd of one declared size": (networks.scrfd_file, {"size": (640, 640)}, from_corner),
    "yolo-face, one output a stride": (networks.yolo_levels_file, {}, from_centre),
    "yolo-face, one output a stride, without keypoints": (networks.yolo_levels_file, {"keypoints": 0}, from_centre),
    "yolo-face": (networks.yolo_file, {}, from_centre),
    "yolo-face, keypoints of x and y": (networks.yolo_file, {"keypoints": 10}, from_centre),
    "yolo-face without keypoints": (networks.yolo_file, {"keypoints": 0}, from_centre),
    "yolo-face, transposed": (networks.yolo_file, {"transposed": True}, from_centre),
}


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path):
    write, options, box_of = LAYOUTS[request.param]
    kind = request.param.split()[0].rstrip(",")
    return make_detector(f"{kind}:{write(tmp_path / 'net.onnx', **options)}"), box_of


def test_the_box_is_where_the_red_is(layout):
    detector, box_of = layout
    found = detector.detect(red_square())
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes_xyxy[0], box_of(7, 9), atol=0.01)
    assert found.scores[0] > 0.99
    assert found.sources == (detector.name.partition(":")[0],)
    assert found.labels == ("face",)


def test_a_network_for_any_size_sees_the_image_as_it_is(layout):
    detector, box_of = layout
    found = detector.detect(red_square(30, 50, 640, 1280))
    if detector._only_hw:
        assert len(found) == 0  # a square of 16 px is too small in an image shrunk to a quarter
        return
    np.testing.assert_allclose(found.boxes_xyxy, [box_of(30, 50)], atol=0.01)


def test_boxes_are_cut_to_the_image(layout):
    detector, _ = layout
    assert (detector.detect(red_square(0, 0)).boxes_xyxy >= 0).all()
    assert (detector.detect(red_square(13, 19)).boxes_xyxy <= [320, 224, 320, 224]).all()
    assert len(detector.detect(np.zeros((1, 1, 3), np.uint8))) == 0


def test_one_size_only_sees_the_whole_image(tmp_path):
    detector = make_detector(f"yolo-face:{networks.yolo_file(tmp_path / 'n.onnx', size=(320, 320))}")
    image = cv2.resize(red_square(4, 4, 320, 320), (1280, 1280), interpolation=cv2.INTER_NEAREST)[:, :960]
    found = detector.detect(image)
    np.testing.assert_allclose(found.boxes_xyxy[0], np.multiply(from_centre(4, 4), 4), atol=0.01)


def test_the_name_says_the_path_and_another_process_makes_the_same(tmp_path):
    file = networks.scrfd_file(tmp_path / "a+b: c+yu.onnx")
    detector = make_detector(f"scrfd:{file}")
    assert detector.name == f"scrfd:{file}"
    assert detector.models == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    np.save(tmp_path / "image.npy", red_square())
    code = (
        "import sys, numpy as np; from unface.detect import make_detector;"
        "print(make_detector(sys.argv[1]).detect(np.load(sys.argv[2])).boxes_xyxy.tolist())"
    )
    command = [sys.executable, "-c", code, pickle.loads(pickle.dumps(detector.name)), str(tmp_path / "image.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(detector.detect(red_square()).boxes_xyxy.tolist())


def test_a_relative_path_becomes_whole(tmp_path, monkeypatch):
    networks.scrfd_file(tmp_path / "n.onnx")
    monkeypatch.chdir(tmp_path)
    assert make_detector("scrfd:n.onnx").name == f"scrfd:{tmp_path / 'n.onnx'}"


def junk(path):
    path.write_bytes(b"\x08\x09junk" * 99)


def cut(path):
    networks.scrfd_file(path)
    path.write_bytes(path.read_bytes()[:700])


NOT_ONE = {
    "nothing there": (lambda path: None, "No such file"),
    "a folder": (lambda path: path.mkdir(), "got something else"),
    "a device without an end": (lambda path: path.symlink_to("/dev/zero"), "got something else"),
    "a pipe": (os.mkfifo, "got something else"),
    "empty": (lambda path: path.write_bytes(b""), "expected an ONNX file with"),
    "junk": (junk, "expected an ONNX file with"),
    "cut off": (cut, "expected an ONNX file with"),
    "a classifier": (lambda path: networks.constant_file(path, np.zeros((1, 1000))), r"output0 \[1, 1000\]"),
    "80 classes": (lambda path: networks.constant_file(path, np.zeros((1, 84, 126))), r"output0 \[1, 84, 126\]"),
    "other anchors": (lambda path: networks.constant_file(path, np.zeros((1, 20, 99))), r"output0 \[1, 20, 99\]"),
    "not a number": (lambda path: networks.constant_file(path, np.full((1, 5, 126), np.nan)), "expected finite boxes"),
    "boxes of infinity": (lambda path: networks.constant_file(path, infinite()), "expected finite boxes"),
    "scores beyond 1": (lambda path: networks.constant_file(path, np.full((1, 5, 126), 7.0)), "scores up to 1"),
    "two inputs": (
        lambda path: networks.constant_file(path, np.zeros((1, 5, 126)), ([1, 3, 64, 96], [1])),
        "inputs other than one float tensor",
    ),
    "channels last": (
        lambda path: networks.constant_file(path, np.zeros((1, 5, 126)), ([1, 64, 96, 3],)),
        "inputs other than one float tensor",
    ),
    "weights elsewhere": (lambda path: networks.external_file(path, "/etc/passwd"), "expected an ONNX file with"),
    "weights above": (lambda path: networks.external_file(path, "../../secret"), "expected an ONNX file with"),
}


FILES = ("nothing there", "a folder", "a device without an end", "a pipe")


def infinite():
    output = np.zeros((1, 5, 126), np.float32)
    output[0, :2], output[0, 4] = np.inf, 0.9
    return output


@pytest.mark.parametrize("kind", ["scrfd", "yolo-face"])
@pytest.mark.parametrize("case", NOT_ONE)
def test_what_is_no_such_file_is_told_in_one_line(tmp_path, kind, case):
    write, message = NOT_ONE[case]
    file = tmp_path / "net.onnx"
    write(file)
    expected = message if kind == "yolo-face" or case in FILES else "expected"
    with pytest.raises(InputError, match=expected) as error:
        make_detector(f"{kind}:{file}")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


def test_nothing_is_read_from_files_that_a_file_names(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(np.zeros(1 << 16, np.float32).tobytes())
    (tmp_path / "models").mkdir()
    for location in ("../secret", str(secret)):
        file = networks.external_file(tmp_path / "models" / "n.onnx", location)
        with pytest.raises(InputError):
            make_detector(f"yolo-face:{file}")


def test_a_network_that_goes_wrong_on_an_image_fails_that_image(tmp_path, monkeypatch):
    broken = networks.yolo_levels_file(tmp_path / "b.onnx", keypoints=0)
    other = make_detector(f"yolo-face:{broken}")
    monkeypatch.setattr(Network, "__call__", lambda _, batch: {"a": infinite()[..., :1].repeat(cells(batch), axis=2)})
    with pytest.raises(ImageError, match="is the file a face detector"):
        other.detect(red_square())


def cells(batch):
    height, width = batch.shape[2:]
    return sum(-(-height // stride) * -(-width // stride) for stride in networks.STRIDES)


@pytest.mark.parametrize("name", ["scrfd", "yolo-face", "scrfd:", "yolo-face:"])
def test_a_path_is_asked_for(name):
    with pytest.raises(InputError, match="PATH, got no path"):
        make_detector(name)


@pytest.mark.parametrize("name", ["yunet:x", "retinaface:a.onnx"])
def test_no_path_is_asked_for(name):
    with pytest.raises(InputError, match="expected no argument"):
        make_detector(name)


def test_scrfd_500m_against_another_engine_and_plain_loops():
    try:
        path = weights.locate("scrfd-500m")
    except InputError:
        pytest.skip("nobody has accepted the licence of scrfd-500m on this machine")
    image = decode((builders.EXAMPLES / "physicists" / "solvay_1927.jpg").read_bytes()).rgb()[:1152]
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 128, mean=(127.5, 127.5, 127.5)))
    names = [f"{part}_{stride}" for part in ("score", "bbox") for stride in networks.STRIDES]
    outputs = dict(zip(names, net.forward(names), strict=True))
    true = []
    for stride in networks.STRIDES:
        scores, sides = outputs[f"score_{stride}"].reshape(-1), outputs[f"bbox_{stride}"].reshape(-1, 4)
        for place, score in enumerate(scores.tolist()):
            if score >= 0.1:
                row, column = divmod(place // 2, image.shape[1] // stride)
                left, top, right, bottom = (float(side) * stride for side in sides[place])
                x, y = column * stride, row * stride
                true.append((score, x - left, y - top, x + right, y + bottom))
    kept = []
    for candidate in sorted(true, reverse=True):
        if all(iou(np.float32([candidate[1:]]), np.float32([other[1:]]))[0, 0] <= 0.3 for other in kept):
            kept.append(candidate)
    rows = np.array(kept)
    boxes, scores = make_detector("scrfd-500m").look(image, 1.0)
    assert len(boxes) == len(rows) > 25
    partner = iou(boxes, np.float32(rows[:, 1:])).argmax(axis=1)
    np.testing.assert_allclose(boxes, rows[partner, 1:], atol=0.2)
    np.testing.assert_allclose(scores, rows[partner, 0], atol=2e-3)
    by_path = make_detector(f"scrfd:{path}").detect(image)
    by_name = make_detector("scrfd-500m").detect(image)
    np.testing.assert_array_equal(by_path.boxes_xyxy, by_name.boxes_xyxy)
