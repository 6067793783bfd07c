"""Rekognition over HTTP, against a server that checks signatures and limits, throttles and fails."""

import io
import json
import os
import pty
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rekognition_server import MAX_BYTES, MAX_SIDE_PX, MIN_SIDE_PX, RekognitionServer
from unface.cli.cost import confirm_cost
from unface.detect import detector, make_detector
from unface.detect.rekognition import Rekognition, as_jpeg
from unface.errors import ImageError, InputError
from unface.faces import face_rows, read_faces


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Nothing of whoever runs the tests is used."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def asked_of(monkeypatch):
    def make(server):
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return Rekognition()

    return make


def red_box(width, height, x0, y0, x1, y1):
    image = np.full((height, width, 3), 30, np.uint8)
    image[y0:y1, x0:x1] = (250, 10, 10)
    return image


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((640, 480), (100, 50, 220, 210)),
        ((480, 640), (0, 0, 480, 640)),
        ((6000, 3000), (1200, 900, 3600, 2400)),
        ((40, 30), (8, 8, 24, 24)),
        ((20, 100), (0, 40, 20, 80)),
        ((9000, 20), (3000, 0, 6000, 20)),
    ],
)
def test_boxes_are_pixels_of_the_image(asked_of, size, box):
    with RekognitionServer() as server:
        found = asked_of(server).detect(red_box(*size, *box))
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes_xyxy[0], box, atol=3 * max(1, max(size) / 4096))
    assert found.scores[0] == pytest.approx(0.995)
    assert (found.labels, found.sources) == (("face",), ("rekognition",))
    (request,) = server.requests
    assert request["attributes"] == ["DEFAULT"]
    assert max(request["size"]) <= MAX_SIDE_PX
    assert min(request["size"]) >= MIN_SIDE_PX


def test_no_face(asked_of):
    with RekognitionServer() as server:
        assert len(asked_of(server).detect(np.zeros((100, 100, 3), np.uint8))) == 0
    assert server.codes == {"": 1}


def test_noise_is_shrunk_until_it_fits():
    noise = np.random.default_rng(0).integers(0, 255, (3800, 4000, 3), np.uint8)
    data, filled = as_jpeg(noise)
    assert len(data) <= MAX_BYTES
    assert filled == (1, 1)
    width, height = Image.open(io.BytesIO(data)).size
    assert width / height == pytest.approx(4000 / 3800, rel=0.01)


@given(st.integers(1, 5000), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_every_size_fits(width, height):
    data, filled = as_jpeg(np.zeros((height, width, 3), np.uint8))
    sent = Image.open(io.BytesIO(data)).size
    assert MIN_SIDE_PX <= min(sent) <= max(sent) <= MAX_SIDE_PX
    shown = (sent[0] * filled[0], sent[1] * filled[1])
    assert shown[0] / width == pytest.approx(shown[1] / height, rel=1 / min(*shown, width, height))


def test_what_is_throttled_is_asked_again(asked_of):
    with RekognitionServer(throttles=2) as server:
        assert len(asked_of(server).detect(red_box(200, 200, 50, 50, 100, 100))) == 1
    assert server.codes == {"ProvisionedThroughputExceededException": 1, "ThrottlingException": 1, "": 1}


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidImageFormatException", "ImageTooLargeException"])
def test_what_is_refused_is_not_asked_again(asked_of, code):
    with RekognitionServer(error=code) as server:
        detector = asked_of(server)
        with pytest.raises(ImageError, match=f"rekognition: .*{code}"):
            detector.detect(red_box(200, 200, 50, 50, 100, 100))
    assert server.codes == {code: 1}


def test_a_wrong_secret_is_refused(asked_of, monkeypatch):
    with RekognitionServer() as server:
        asked_of(server)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        with pytest.raises(ImageError, match="InvalidSignatureException"):
            Rekognition().detect(red_box(200, 200, 50, 50, 100, 100))


def test_an_answer_that_is_none(asked_of, monkeypatch):
    with RekognitionServer() as server:
        detector = asked_of(server)
        monkeypatch.setattr(server, "_answer", lambda headers, body: ("", {"Faces": []}))
        with pytest.raises(ImageError, match="expected a response of DetectFaces"):
            detector.detect(red_box(200, 200, 50, 50, 100, 100))
        nowhere = {"BoundingBox": {"Width": float("nan"), "Height": 0.1, "Left": 0.1, "Top": 0.1}, "Confidence": 99}
        monkeypatch.setattr(server, "_answer", lambda headers, body: ("", {"FaceDetails": [nowhere]}))
        with pytest.raises(ImageError, match="rekognition: "):
            detector.detect(red_box(200, 200, 50, 50, 100, 100))


def test_boxes_that_reach_out_of_the_image_are_cut(asked_of, monkeypatch):
    def face(left, confidence):
        box = {"Width": 0.5, "Height": 1.4, "Left": left, "Top": -0.2}
        return {"BoundingBox": box, "Confidence": confidence}

    with RekognitionServer() as server:
        detector = asked_of(server)
        faces = [face(-0.25, 60.0), face(0.75, 90.0), face(1.2, 99.0)]
        monkeypatch.setattr(server, "_answer", lambda headers, body: ("", {"FaceDetails": faces}))
        found = detector.detect(np.zeros((100, 200, 3), np.uint8))
    np.testing.assert_allclose(found.boxes_xyxy, [[150, 0, 200, 100], [0, 0, 50, 100]], atol=0.01)
    np.testing.assert_allclose(found.scores, [0.9, 0.6], atol=1e-6)


@pytest.mark.parametrize(
    ("environment", "message"),
    [({}, "region"), ({"AWS_DEFAULT_REGION": "eu-west-1"}, "expected AWS credentials, found none")],
)
def test_what_is_not_set_up_is_told(monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        Rekognition()


@pytest.mark.parametrize(
    ("images", "usd"),
    [(0, 0), (1, 0.001), (1_000_000, 1000), (1_431_093, 1344.87), (5_000_000, 4200), (50_000_000, 4200 + 21000 + 4000)],
)
def test_the_price(monkeypatch, images, usd):
    """Of the paper's 1,431,093 images: about $1,500 then."""
    assert Rekognition.cost_usd(object(), images) == pytest.approx(usd, abs=0.01)


def unface(server, *arguments, stdin=None):
    command = [sys.executable, "-m", "unface", *map(str, arguments)]
    environment = {**os.environ, **server.environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, stdin=stdin)


def photos(folder, number):
    (folder / "photos").mkdir()
    for i in range(number):
        image = red_box(160, 120, 10 + i, 20, 60 + i, 80)
        cv2.imwrite(str(folder / "photos" / f"{i}.png"), image[..., ::-1])
    return folder / "photos"


def test_nothing_is_spent_unless_someone_agrees(tmp_path):
    command = ("detect", photos(tmp_path, 3), "-o", tmp_path / "faces.parquet", "--detector", "rekognition")
    with RekognitionServer() as server:
        done = unface(server, *command, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (2, "")
        assert "3 images cost at most $0.003 " in done.stderr
        assert "expected someone to agree to the cost; add --yes" in done.stderr
        assert not server.codes
        assert not (tmp_path / "faces.parquet").exists()
        done = unface(server, *command, "--yes", "--workers", "2", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["failures"] == 0
        rows = list(face_rows(read_faces(tmp_path / "faces.parquet")))
        assert [len(row.faces) for row in rows] == [1, 1, 1]
        assert server.codes == {"": 3}
        unface(server, *command, "--yes")
        assert server.codes == {"": 3}, "what is done is not paid again"


@pytest.mark.parametrize(("answer", "agreed"), [(b"n\n", False), (b"\n", False), (b"y\n", True), (b"Yes\n", True)])
def test_a_person_is_asked_on_a_terminal(asked_of, monkeypatch, capsys, answer, agreed):
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    with RekognitionServer() as server, open(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        detector = asked_of(server)
        if agreed:
            confirm_cost(detector, 1_431_093, yes=False)
        else:
            with pytest.raises(InputError, match="nobody agreed"):
                confirm_cost(detector, 1_431_093, yes=False)
    assert "1,431,093 images cost at most $1,344.874" in capsys.readouterr().err
    os.close(ours)


def test_the_price_where_the_number_of_images_is_not_known(asked_of, monkeypatch, capsys):
    with RekognitionServer() as server:
        asked_of(server)
        confirm_cost(make_detector("yunet+rekognition"), None, yes=True)
        confirm_cost(make_detector("yunet"), None, yes=False)
        confirm_cost(make_detector("yunet+retinaface"), 5, yes=False)
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "yunet+rekognition: every 1,000 images cost at most $1.000 (list prices) and leave this machine"
    ]
    detector._loaded.cache_clear()


def test_as_many_requests_at_once_as_workers(tmp_path):
    with RekognitionServer(seconds=0.3) as server:
        command = ("detect", photos(tmp_path, 16), "-o", tmp_path / "f.parquet", "--detector", "rekognition", "--yes")
        done = unface(server, *command, "--workers", "2")
        assert done.returncode == 0, done.stderr
        assert server.at_once == 2
