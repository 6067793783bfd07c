"""The detectors against other engines' answers, on the photos shipped with the project."""

import pickle
import subprocess
import sys
from functools import cache

import cv2
import numpy as np
import pytest

import builders
from unface import weights
from unface.boxes import iou
from unface.detect import make_detector
from unface.detect.cascade import Cascade
from unface.detect.centerface import CenterFace, CenterFaceInt8
from unface.errors import InputError
from unface.images import decode

FREE = ("cascade", "yunet", "centerface", "retinaface")
"""The detectors of faces whose weights nobody has to accept, name or pay for."""


@cache
def detector(name):
    return make_detector(name)


@cache
def photo(name):
    return decode((builders.EXAMPLES / name).read_bytes()).rgb()


def faces(image, name="cascade"):
    found = detector(name).detect(image)
    return found[found.scores >= detector(name).threshold]


def sides_of_32(image):
    return np.ascontiguousarray(image[: image.shape[0] // 32 * 32, : image.shape[1] // 32 * 32])


def matched(boxes_xyxy, scores, true_xyxy, true_scores):
    """Assert that two sets of boxes are the same up to order and rounding."""
    assert len(boxes_xyxy) == len(true_xyxy) > 0
    overlap = iou(np.float32(boxes_xyxy), np.float32(true_xyxy))
    partner = overlap.argmax(axis=1)
    assert sorted(partner) == list(range(len(true_xyxy)))
    np.testing.assert_allclose(boxes_xyxy, true_xyxy[partner], atol=0.1)
    np.testing.assert_allclose(scores, true_scores[partner], atol=2e-3)


@pytest.mark.parametrize("name", ["astronaut/collins.png", "physicists/solvay_1927.jpg"])
def test_yunet_sees_what_opencv_sees(name):
    image = sides_of_32(photo(name))
    truth = cv2.FaceDetectorYN.create(str(weights.locate("yunet")), "", image.shape[1::-1], 0.1, 0.3, 5000)
    _, rows = truth.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    true_boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    matched(*detector("yunet").look(image, 1.0), true_boxes, rows[:, -1])


@pytest.mark.parametrize("name", ["astronaut/collins.png", "physicists/solvay_1927.jpg"])
def test_centerface_sees_what_opencv_and_a_plain_decoder_see(name):
    image = sides_of_32(photo(name))
    net = cv2.dnn.readNetFromONNX(str(weights.ensure("centerface")))
    net.setInput(cv2.dnn.blobFromImage(image))
    heat, sizes, offsets = net.forward(["537", "538", "539"])
    true = []
    for row in range(heat.shape[2]):
        for column in range(heat.shape[3]):
            if (score := float(heat[0, 0, row, column])) >= 0.1:
                height, width = (4 * float(np.exp(sizes[0, axis, row, column])) for axis in (0, 1))
                y = 4 * (row + float(offsets[0, 0, row, column]) + 0.5)
                x = 4 * (column + float(offsets[0, 1, row, column]) + 0.5)
                true.append((score, x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    kept = []
    for candidate in sorted(true, reverse=True):
        if all(iou(np.float32([candidate[1:]]), np.float32([other[1:]]))[0, 0] <= 0.3 for other in kept):
            kept.append(candidate)
    rows = np.array(kept)
    matched(*detector("centerface").look(image, 1.0), rows[:, 1:], rows[:, 0])


@pytest.mark.parametrize("name", ["astronaut/collins.png", "physicists/solvay_1927.jpg"])
def test_centerface_in_integers_sees_what_it_sees_in_float(name):
    image = photo(name)
    (boxes, scores), (true_boxes, true_scores) = (
        network.look(image, 1.0) for network in (CenterFaceInt8(), CenterFace())
    )
    clear = true_scores >= 0.5
    overlaps = iou(true_boxes[clear], boxes)
    assert (overlaps.max(axis=1) > 0.85).all()
    assert np.abs(scores[overlaps.argmax(axis=1)] - true_scores[clear]).max() < 0.1
    assert abs((scores >= 0.5).sum() - clear.sum()) <= 1


def test_fast_needs_nothing_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFACE_MODELS", str(tmp_path / "none"))
    assert set(Cascade("fast").models) == {"yunet-merged", "centerface-int8"}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", FREE)
def test_faces_of_a_person(name):
    found = faces(photo("astronaut/collins.png"), name)
    x0, y0, x1, y1 = found.boxes_xyxy[0]
    assert x0 < 225 < x1, "the nose"
    assert y0 < 115 < y1
    assert set(found.labels) == {"face"}
    assert set(found.sources) == {name}


@pytest.mark.parametrize("name", FREE)
def test_a_group(name):
    assert len(faces(photo("physicists/solvay_1927.jpg"), name)) >= 27


def test_a_group_holds_29_and_few_doubtful_more():
    found = faces(photo("physicists/solvay_1927.jpg"))
    assert (found.scores >= 0.5).sum() == 29
    assert len(found) <= 35


@pytest.mark.parametrize(
    "name", ["cat/chelsea.png", "coffee/espresso.png", "coffee/round.png", "rocket/launch.jpg", "brick/wall.png"]
)
def test_no_faces(name):
    assert len(faces(photo(name))) == 0


@pytest.mark.parametrize("name", FREE)
def test_a_face_that_fills_a_large_photo(name):
    x0, y0, x1, y1 = faces(photo("astronaut/collins.png"), name).boxes_xyxy[0].astype(int)
    close_up = photo("astronaut/collins.png")[y0 - 20 : y1 + 20, x0 - 20 : x1 + 20]
    factor = 4000 / max(close_up.shape[:2])
    large = cv2.resize(close_up, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    truth = np.float32([[20, 20, 20 + x1 - x0, 20 + y1 - y0]]) * factor
    assert iou(truth, faces(large, name).boxes_xyxy).max() > 0.5


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("shape", [(1, 1), (10, 30000), (5000, 2), (33, 31), (480, 640)])
def test_odd_sizes(name, shape):
    rng = np.random.default_rng(0)
    assert len(faces(np.zeros((*shape, 3), np.uint8), name)) == 0
    found = detector(name).detect(rng.integers(0, 255, (*shape, 3), np.uint8))
    assert (found.boxes_xyxy >= 0).all()
    assert (found.boxes_xyxy <= np.tile(shape[::-1], 2)).all()


@pytest.mark.parametrize("name", FREE)
def test_boxes_at_the_edge_are_cut_to_the_image(name):
    image = photo("astronaut/collins.png")[110:300, 100:225]
    found = detector(name).detect(image)
    assert (found.boxes_xyxy >= 0).all()
    assert (found.boxes_xyxy <= np.tile(image.shape[1::-1], 2)).all()
    assert (found.scores >= detector(name).floor).all()
    assert (found.scores <= 1).all()


@pytest.mark.parametrize("name", FREE)
def test_the_answer_is_repeatable_and_the_image_untouched(name):
    image = photo("astronaut/collins.png").copy()
    before = image.copy()
    first, again = detector(name).detect(image), make_detector(name).detect(image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first.boxes_xyxy, again.boxes_xyxy)
    np.testing.assert_array_equal(first.scores, again.scores)


@pytest.mark.parametrize("name", FREE)
def test_views_and_read_only_images(name):
    image = photo("astronaut/collins.png")[:, ::-1]
    image.flags.writeable = False
    assert len(faces(image, name)) >= 1


def test_models_name_the_weights():
    for name in FREE:
        for model, sha256 in detector(name).models.items():
            assert weights.REGISTRY[model].sha256 == sha256


def test_unknown_detector():
    with pytest.raises(InputError, match="cascade, yunet, centerface"):
        make_detector("mtcnn")


def test_another_process_makes_the_same():
    assert pickle.loads(pickle.dumps(make_detector)) is make_detector
    path = builders.EXAMPLES / "astronaut" / "collins.png"
    code = (
        "import sys; from pathlib import Path;"
        "from unface.detect import make_detector; from unface.images import decode;"
        "print(make_detector('cascade').detect(decode(Path(sys.argv[1]).read_bytes()).rgb()).boxes_xyxy.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    expected = make_detector("cascade").detect(decode(path.read_bytes()).rgb()).boxes_xyxy.tolist()
    assert done.stdout.strip() == str(expected)


def test_judged_object_photos(test_data):
    """A small sample of the benchmark: the first 60 photos, against the figures of docs/detection.md."""
    import json

    folder = test_data / "imagenet_val"
    found, alarms = [], []
    for name, judged in list(json.loads((folder / "judged_faces.json").read_text()).items())[:60]:
        if judged["status"] == "doubtful":
            continue
        boxes = faces(decode((folder / "images" / name).read_bytes()).rgb()).boxes_xyxy
        if judged["faces"]:
            found += list((iou(np.float32(judged["faces"]), boxes) >= 0.3).any(axis=1))
        else:
            alarms.append(len(boxes) > 0)
    assert np.mean(found) >= 0.85
    assert np.mean(alarms) <= 0.15
