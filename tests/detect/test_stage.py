import pytest

from builders import EXAMPLES
from unface.datasets import open_dataset
from unface.detect.stage import DetectStage
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
