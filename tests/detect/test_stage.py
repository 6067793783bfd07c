import numpy as np
import pytest

from builders import EXAMPLES
from unface.datasets import open_dataset
from unface.detect.stage import DetectStage, uncertainty
from unface.engine import Item
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
