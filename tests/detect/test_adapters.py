"""RetinaFace and NudeNet against plain loops, ensembles against their members, other packages' detectors."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from unface import weights
from unface.boxes import iou
from unface.detect import detector, make_detector
from unface.detect.ensemble import Ensemble, stretched
from unface.errors import InputError
from unface.faces import Faces
from unface.images import decode


def photo(name):
    return decode((builders.EXAMPLES / name).read_bytes()).rgb()


def pulled(name):
    """A detector whose licence a person has to accept; the test is skipped where nobody has."""
    try:
        weights.locate(name)
    except InputError:
        pytest.skip(f"nobody has accepted the licence of {name} on this machine")
    return make_detector(name)


def kept_of(candidates, iou_threshold):
    """Non-maximum suppression, box by box; rows of score, x0, y0, x1, y1."""
    kept = []
    for candidate in sorted(candidates, reverse=True):
        if all(iou(np.float32([candidate[1:]]), np.float32([other[1:]]))[0, 0] <= iou_threshold for other in kept):
            kept.append(candidate)
    return np.array(kept)


def same(boxes, scores, rows):
    assert len(boxes) == len(rows) > 0
    partner = iou(boxes, np.float32(rows[:, 1:])).argmax(axis=1)
    assert sorted(partner) == list(range(len(rows)))
    np.testing.assert_allclose(boxes, rows[partner, 1:], atol=0.1)
    np.testing.assert_allclose(scores, rows[partner, 0], atol=2e-3)


@pytest.mark.parametrize("name", ["astronaut/collins.png", "physicists/solvay_1927.jpg"])
def test_retinaface_sees_what_onnxruntime_and_a_plain_decoder_see(name):
    image = photo(name)
    image = np.ascontiguousarray(image[: image.shape[0] // 32 * 32, : image.shape[1] // 32 * 32])
    session = onnxruntime.InferenceSession(weights.ensure("retinaface"), providers=["CPUExecutionProvider"])
    blob = cv2.dnn.blobFromImage(image, mean=(104, 117, 123), swapRB=True)
    shifts, classes = session.run(["loc", "conf"], {"input": blob})
    candidates, place = [], 0
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(image.shape[0] // stride):
            for column in range(image.shape[1] // stride):
                for side in sides:
                    if (score := float(classes[0, place, 1])) >= 0.1:
                        dx, dy, dw, dh = map(float, shifts[0, place])
                        x, y = (column + 0.5) * stride + dx * 0.1 * side, (row + 0.5) * stride + dy * 0.1 * side
                        w, h = side * np.exp(dw * 0.2), side * np.exp(dh * 0.2)
                        candidates.append((score, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
                    place += 1
    same(*make_detector("retinaface").look(image, 1.0), kept_of(candidates, 0.3))


def test_retinaface_finds_people_and_no_cat():
    detector = make_detector("retinaface")
    for name, least, most in (("physicists/solvay_1927.jpg", 27, 30), ("cat/chelsea.png", 0, 0)):
        found = detector.detect(photo(name))
        assert least <= (found.scores >= detector.threshold).sum() <= most


def test_nudenet_sees_what_onnxruntime_and_a_plain_decoder_see():
    """On photos that are safe for work; so the floor is lowered until something shows."""
    detector = pulled("nudenet")
    image = photo("astronaut/collins.png")
    height, width = image.shape[:2]
    square = np.zeros((max(height, width),) * 2 + (3,), np.uint8)
    square[:height, :width] = image
    session = onnxruntime.InferenceSession(weights.locate("nudenet"), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"images": cv2.dnn.blobFromImage(cv2.resize(square, (320, 320)), 1 / 255)})
    rows = output[0].T
    scale = max(height, width) / 320
    candidates = [
        (
            float(row[[6, 7, 8, 10, 18]].max()),
            *(float(side) * scale for side in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)),
        )
        for row in rows
        for x, y, w, h in [row[:4]]
    ]
    true = kept_of([c for c in candidates if c[0] >= 2e-4], 0.45)
    detector.floor = 2e-4
    try:
        found = detector.detect(image)
    finally:
        del detector.floor
    assert len(found) > 0
    assert set(found.labels) == {"nsfw"}
    assert set(found.sources) == {"nudenet"}
    best = true[0]
    np.testing.assert_allclose(found.boxes_xyxy[0], np.clip(best[1:], 0, [width, height] * 2), atol=3)
    assert found.scores[0] == pytest.approx(best[0], rel=0.3)


def test_nudenet_calls_nobody_in_these_photos_naked():
    detector = pulled("nudenet")
    for name in ("astronaut/collins.png", "physicists/solvay_1927.jpg", "cat/chelsea.png"):
        assert (detector.detect(photo(name)).scores < detector.threshold).all()


def test_a_licence_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("UNFACE_MODELS", str(tmp_path))
    detector._loaded.cache_clear()
    for name in ("nudenet", "scrfd-500m", "yunet+nudenet"):
        with pytest.raises(InputError, match=r"if that allows your use, run: .*--accept-license"):
            make_detector(name)
    detector._loaded.cache_clear()


def test_an_ensemble_finds_what_any_of_its_members_finds():
    names = ("yunet", "retinaface", "centerface")
    both = make_detector("+".join(names))
    image = photo("physicists/solvay_1927.jpg")
    found = both.detect(image)
    sure = found[found.scores >= both.threshold]
    for name in names:
        member = make_detector(name)
        seen = member.detect(image)
        mine = seen[seen.scores >= member.threshold]
        assert (iou(mine.boxes_xyxy, sure.boxes_xyxy).max(axis=1) > 0.3).all()
        assert both.models.items() >= member.models.items()
    assert set(sure.sources) <= set(names)
    overlaps = iou(found.boxes_xyxy, found.boxes_xyxy)
    assert (overlaps[~np.eye(len(found), dtype=bool)] <= 0.3).all()
    assert (np.diff(found.scores) <= 0).all()
    assert both.name == "yunet+retinaface+centerface"


def stand_in(name, threshold, boxes, scores, label="face"):
    """A detector that says the same of every image: how an ensemble joins is what is tested."""
    faces = Faces.make(boxes, scores, label, name)
    return SimpleNamespace(name=name, models={}, threshold=threshold, floor=0.1, detect=lambda image: faces)


def test_labels_are_kept_apart():
    box = [[10, 10, 40, 40]]
    both = Ensemble([stand_in("a", 0.5, box, [0.9]), stand_in("b", 0.5, box, [0.8], "nsfw")])
    assert sorted(both.detect(np.zeros((50, 50, 3), np.uint8)).labels) == ["face", "nsfw"]


def test_scores_are_weighed_by_each_ones_threshold():
    a = stand_in("a", 0.8, [[0, 0, 10, 10], [50, 0, 60, 10]], [0.7, 0.9])
    b = stand_in("b", 0.2, [[1, 0, 11, 10]], [0.3])
    found = Ensemble([a, b]).detect(np.zeros((50, 99, 3), np.uint8))
    assert found.sources == ("a", "b")
    np.testing.assert_allclose(found.scores, [0.75, 0.5625], atol=1e-6)


@given(st.lists(st.floats(0, 1, width=32), max_size=20), st.floats(0.01, 0.99))
def test_stretching_keeps_order_and_sides(scores, threshold):
    given = np.sort(np.float32(scores))
    moved = stretched(given, threshold)
    assert (np.diff(moved) >= 0).all()
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (moved[given >= np.float32(threshold) + 1e-6] >= 0.5).all()
    assert (moved[given <= np.float32(threshold) - 1e-6] <= 0.5).all()


def test_one_detector_twice():
    with pytest.raises(InputError, match="got one twice"):
        make_detector("yunet+yunet")


@pytest.mark.parametrize("name", ["mtcnn", "", "+", "yunet+mtcnn", "mtcnn+yunet", "\x1b[31m"])
def test_unknown_names(name):
    with pytest.raises(InputError, match="expected one of cascade, yunet, centerface, retinaface") as error:
        make_detector(name)
    assert str(error.value).isprintable()


DOCS = Path(__file__).parents[2] / "docs" / "detectors.md"


def package(folder, module_source, entry="red = red_faces:RedFaces"):
    """Install a package, as pip would: its module, and a dist-info folder that names its entry point."""
    info = folder / "red_faces-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "red_faces.py").write_text(module_source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: red-faces\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[unface.detectors]\n{entry}\n")


def example():
    """The Python block of the documentation that makes a detector."""
    return next(block for block in DOCS.read_text().split("```python\n")[1:] if "class RedFaces" in block).split("```")[
        0
    ]


def unface(folder, *arguments):
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from unface.cli import main; main()"
    command = [sys.executable, "-c", code, str(folder), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(folder), "PATH": ""}
    )


def test_the_documented_example_is_a_detector_of_another_package(tmp_path):
    from unface.faces import face_rows, read_faces

    package(tmp_path / "site", example())
    assert len(example().splitlines()) <= 20
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 20:50, 0] = 255
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), image[..., ::-1])
    output = tmp_path / "faces.parquet"
    command = ("detect", tmp_path / "photos", "-o", output, "--workers", 2, "--detector")
    done = unface(tmp_path / "site", *command, "red+yunet")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (row,) = face_rows(read_faces(output))
    assert row.faces.boxes_xyxy.tolist() == [[20, 10, 50, 30]]
    assert row.faces.sources == ("red",)
    assert "red" in unface(tmp_path / "site", *command, "nothing").stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('broken\\nat two lines')", r"of package red-faces: RuntimeError: broken\\nat two lines"),
        ("", "of package red-faces: AttributeError"),
        ("class RedFaces:\n    def __init__(self, threads, device): pass", "of package red-faces: expected 'name'"),
        ("class RedFaces:\n    pass", "expected an argument"),
    ],
)
def test_a_package_that_is_broken_is_told_in_one_line(tmp_path, source, message):
    package(tmp_path / "site", source)
    builders.write_image(tmp_path / "photos" / "a.png")
    done = unface(tmp_path / "site", "detect", tmp_path / "photos", "-o", tmp_path / "f.parquet", "--detector", "red")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message.replace("\\\\", "\\") in done.stderr


def test_names_of_ours_cannot_be_taken(tmp_path):
    package(tmp_path / "site", "raise SystemExit('taken')", "yunet = red_faces:RedFaces")
    builders.write_image(tmp_path / "photos" / "a.png")
    done = unface(tmp_path / "site", "detect", tmp_path / "photos", "-o", tmp_path / "f.parquet", "--detector", "yunet")
    assert done.returncode == 0, done.stderr
