import cv2
import numpy as np
import pytest

from builders import EXAMPLES
from unface.boxes import iou
from unface.datasets import open_dataset
from unface.detect import make_detector
from unface.detect.cascade import Cascade
from unface.detect.single import SingleNetwork
from unface.detect.stage import DetectStage, uncertainty
from unface.engine import Item, Outcome
from unface.errors import ImageError, InputError
from unface.faces import FaceRow


@pytest.fixture(scope="module")
def stage() -> DetectStage:
    made = DetectStage(open_dataset(EXAMPLES), "yunet", 0.5)
    made.setup()
    return made


def row_of(stage: DetectStage, image_id: str) -> FaceRow:
    return FaceRow.from_record(stage.process(Item(image_id)).row)


def test_faces_reach_the_threshold_and_candidates_do_not(stage):
    row = row_of(stage, "physicists/solvay_1927.jpg")
    assert len(row.faces) > 20
    assert (row.faces.scores >= 0.5).all()
    assert (row.candidates.scores < 0.5).all()
    assert (row.width, row.height) == (1600, 1158)


def test_boxes_are_upright(stage):
    row = row_of(stage, "astronaut/turned.jpg")
    assert (row.width, row.height) == (280, 400)
    (x0, y0, x1, y1) = row.faces.boxes_xyxy[row.faces.scores.argmax()]
    assert y1 < 200  # the head is in the upper half of the upright portrait
    assert x1 - x0 < y1 - y0


def test_a_broken_image_has_a_row(stage):
    record = stage.failed(Item("a.jpg"))
    assert record["status"] == "failed"
    assert record["candidates"] is None


def test_doubt():
    assert uncertainty(np.zeros(0, np.float32), 0.5) == 0
    assert uncertainty(np.float32([0.06]), 0.06) == pytest.approx(1, abs=1e-5)
    assert uncertainty(np.float32([1, 0]), 0.06) == pytest.approx(0, abs=1e-6)
    assert uncertainty(np.float32([0.53, 1]), 0.06) == pytest.approx(0.5, abs=1e-5)
    assert uncertainty(np.float32([1, 0.03]), 0.06) == pytest.approx(0.5, abs=1e-5)
    for threshold in (0, 1):
        assert 0 <= uncertainty(np.float32([0, 0.5, 1]), threshold) <= 1


def test_a_row_tells_its_doubt(stage):
    row = row_of(stage, "physicists/solvay_1927.jpg")
    scores = np.concatenate([row.faces.scores, row.candidates.scores])
    assert row.uncertainty == pytest.approx(uncertainty(scores, 0.5))
    assert stage.failed(Item("a.jpg"))["uncertainty"] is None


@pytest.fixture
def whole_images_together(monkeypatch):
    """What a CUDA device does, on the CPU."""
    monkeypatch.setattr(SingleNetwork, "most_pixels", 1 << 22)


def photos(folder):
    """Photos of one size and of others, and files that are none."""
    portrait = cv2.imread(str(EXAMPLES / "astronaut" / "collins.png"))
    cat = cv2.imread(str(EXAMPLES / "cat" / "chelsea.png"))
    group = cv2.imread(str(EXAMPLES / "physicists" / "solvay_1927.jpg"))
    images = {
        "a.png": portrait,
        "b.png": portrait[:, ::-1],
        "d.png": cv2.resize(cat, portrait.shape[1::-1]),
        "e.png": group[200:700, 300:900],
        "f.png": np.zeros((1, 1, 3), np.uint8),
        "h.png": group,
        "i.png": portrait[:200, 100:400],
    }
    for name, image in images.items():
        cv2.imwrite(str(folder / name), image)
    (folder / "c.png").write_bytes(b"no image")
    (folder / "g.png").write_bytes((folder / "a.png").read_bytes()[:5000])
    return [Item(path.name) for path in sorted(folder.iterdir())]


def alone(stage, item):
    try:
        return stage.process(item)
    except Exception as error:
        return error


def assert_same(together, one_by_one):
    assert len(together) == len(one_by_one)
    for mine, other in zip(together, one_by_one, strict=True):
        if isinstance(other, Exception):
            assert (type(mine), str(mine)) == (type(other), str(other))
            continue
        assert (mine.bytes_in, mine.faces) == (other.bytes_in, other.faces)
        mine, other = FaceRow.from_record(mine.row), FaceRow.from_record(other.row)
        assert (mine.width, mine.height) == (other.width, other.height)
        for some, same in ((mine.faces, other.faces), (mine.candidates, other.candidates)):
            np.testing.assert_allclose(some.boxes_xyxy, same.boxes_xyxy, atol=0.1)
            np.testing.assert_allclose(some.scores, same.scores, atol=5e-3)


def assert_same_faces(some, same):
    """Clear ones; other devices round otherwise."""
    for mine, others in ((some, same), (same, some)):
        for box in mine.boxes_xyxy[mine.scores >= 0.5]:
            assert iou(box[None], others.boxes_xyxy).max() > 0.8


@pytest.mark.parametrize("name", ["cascade", "cascade:thorough"])
@pytest.mark.usefixtures("whole_images_together")
def test_images_together_are_as_one_by_one(tmp_path, name):
    items = photos(tmp_path)
    stage = DetectStage(open_dataset(tmp_path), name, make_detector(name).threshold, "cpu")
    stage.setup()
    together = stage.process_group(items)
    assert sum(isinstance(made, ImageError) for made in together) == 2
    assert sum(made.faces for made in together if isinstance(made, Outcome)) > 30
    assert_same(together, [alone(stage, item) for item in items])


def test_an_image_that_fails_leaves_the_others_alone(tmp_path, monkeypatch):
    items = photos(tmp_path)
    stage = DetectStage(open_dataset(tmp_path), "cascade", 0.06, "cpu")
    stage.setup()
    looking = SingleNetwork.looking

    def failing(self, image, scale):
        if image.shape == (1158, 1600, 3):
            raise MemoryError("no room for h.png")
        return looking(self, image, scale)

    monkeypatch.setattr(SingleNetwork, "looking", failing)
    together = stage.process_group(items)
    assert [type(made) for made in together if isinstance(made, Exception)] == [ImageError, ImageError, MemoryError]
    assert_same(together, [alone(stage, item) for item in items])


def test_no_more_is_held_at_a_time_than_is_allowed(tmp_path, monkeypatch):
    items = photos(tmp_path)
    stage = DetectStage(open_dataset(tmp_path), "cascade", 0.06, "cpu")
    stage.setup()
    held = []
    detect_all = Cascade.detect_all
    monkeypatch.setattr("unface.detect.stage._MOST_BYTES", 1 << 20)
    monkeypatch.setattr(
        Cascade, "detect_all", lambda self, images: (held.append(len(images)), detect_all(self, images))[1]
    )
    assert_same(stage.process_group(items), [alone(stage, item) for item in items])
    assert sum(held[:4]) == 7
    assert max(held) < 4


def test_a_cpu_gains_nothing_by_groups():
    stage = DetectStage(open_dataset(EXAMPLES), "cascade", 0.06, "cpu")
    stage.setup()
    assert stage.at_once == 1


def test_cuda_looks_at_images_in_groups(tmp_path):
    try:
        detector = make_detector("cascade", device="cuda")
    except InputError as error:
        pytest.skip(f"no CUDA device: {error}")
    items = photos(tmp_path)
    on_gpu, on_cpu = (DetectStage(open_dataset(tmp_path), "cascade", 0.06, device) for device in ("cuda", "cpu"))
    for stage in (on_gpu, on_cpu):
        stage.setup()
    assert on_gpu.at_once == detector.at_once > 1
    for others in ([alone(on_gpu, item) for item in items], [alone(on_cpu, item) for item in items]):
        for mine, other in zip(on_gpu.process_group(items), others, strict=True):
            assert type(mine) is type(other)
            if isinstance(mine, Outcome):
                assert_same_faces(FaceRow.from_record(mine.row).faces, FaceRow.from_record(other.row).faces)
