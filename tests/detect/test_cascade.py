"""The cascade's rules with looks that see what the test says, and the whole of it on photos."""

import cv2
import numpy as np
import pytest

import builders
from unface.boxes import iou
from unface.cli.options import CascadeMode, with_mode
from unface.detect import make_detector
from unface.detect.cascade import MODES, as_probabilities, at_price, closer_scale, company_scales, with_credit
from unface.errors import InputError
from unface.images import decode


def seen(*rows):
    """Boxes and scores from rows x0, y0, x1, y1, score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return table[:, :4], table[:, 4]


def face(height, score):
    return (0, 0, 0.8 * height, height, score)


OTHER = (300, 0, 380, 100, 0.1)


@pytest.fixture(scope="module")
def portrait():
    return decode((builders.EXAMPLES / "astronaut" / "collins.png").read_bytes()).rgb()


@pytest.fixture(scope="module")
def head(portrait):
    """The portrait's head, and the box of its face in it."""
    x0, y0, x1, y1 = (round(float(side)) for side in make_detector("centerface").detect(portrait).boxes_xyxy[0])
    return portrait[y0 - 30 : y1 + 15, x0 - 20 : x1 + 20], np.float32([[20, 30, 20 + x1 - x0, 30 + y1 - y0]])


def photo_with(image, box, height, size_hw, at_xy):
    """A grey photo, with the head drawn at a place so that its face is so high."""
    scale = height / float(box[0, 3] - box[0, 1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    drawn = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
    photo = np.full((*size_hw, 3), 128, np.uint8)
    part = photo[at_xy[1] :, at_xy[0] :][: drawn.shape[0], : drawn.shape[1]]
    part[:] = drawn[: part.shape[0], : part.shape[1]]
    return photo


def place_of(box, height, at_xy):
    return box * height / (box[0, 3] - box[0, 1]) + np.float32([*at_xy, *at_xy])


def found_in(photo):
    detector = make_detector("cascade")
    found = detector.detect(photo)
    return found.boxes_xyxy[found.scores >= detector.threshold]


@pytest.mark.parametrize(
    ("judged", "scales"),
    [
        (seen(), []),
        (seen(face(20, 0.39)), []),
        (seen(face(64, 0.9)), []),
        (seen(face(64, 0.9), OTHER), []),
        (seen(face(63, 0.9)), []),
        (seen(face(63, 0.9), OTHER), [1.0]),
        (seen(face(31, 0.4), OTHER), [1.0, 1.5]),
        (seen(face(31, 0.4), (300, 0, 312, 16, 0.09)), []),
        (seen(face(200, 0.9), (300, 0, 312, 16, 0.8)), [1.0, 1.5]),
    ],
)
def test_a_small_sure_face_that_is_not_alone_has_company(judged, scales):
    assert sorted(company_scales(judged, MODES["fast"].company, 2, 2.0)) == scales


@pytest.mark.parametrize(("most", "scales"), [(2.0, [1.0, 1.5]), (1.3, [1.0, 1.3]), (1.2, [1.0]), (1.0, [1.0])])
def test_the_look_for_company_is_as_close_as_memory_allows(most, scales):
    assert sorted(company_scales(seen(face(20, 0.9)), MODES["fast"].company, 1, most)) == scales


@pytest.mark.parametrize(("long_side", "scale"), [(10, 1.5), (1365, 1.5), (1600, 1.28), (2048, 1.0), (6000, 1.0)])
def test_how_close_a_look_may_be(long_side, scale):
    assert closer_scale(np.zeros((8, long_side, 3), np.uint8), 1.5, 2048) == pytest.approx(scale, abs=1e-3)


def test_credit():
    drawn = with_credit(np.array([0.9, 0.2], np.float32))
    np.testing.assert_allclose(drawn, [0.9, 0.2**0.7 * 0.9**0.3], rtol=1e-6)
    assert drawn.dtype == np.float32
    assert len(with_credit(np.zeros(0, np.float32))) == 0


def test_credit_and_probability_keep_the_order_and_the_best():
    scores = np.sort(np.random.default_rng(0).uniform(0.1, 1, 50).astype(np.float32))
    drawn = with_credit(scores)
    assert (np.diff(drawn) > 0).all()
    assert drawn[-1] == pytest.approx(scores[-1])
    assert (drawn >= scores - 1e-6).all()
    sure = as_probabilities(drawn)
    assert (np.diff(sure) > 0).all()
    assert as_probabilities(np.float32([0, 0.5, 1])).tolist() == [0, 0.5, 1]


def test_the_price_of_large_boxes():
    scores, heights = np.float32([0.5, 0.06, 0.5, 0, 1]), np.float32([47, 47, 48, 100, 100])
    np.testing.assert_allclose(at_price(scores, heights, 3.0), [0.5, 0.06, 0.25, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(at_price(scores, heights, 1.0), scores, rtol=1e-6)


def test_modes(portrait):
    assert make_detector("cascade").name == "cascade"
    assert make_detector("cascade:fast").name == "cascade"
    assert make_detector("cascade:thorough").name == "cascade:thorough"
    for mode in MODES:
        found = make_detector(f"cascade:{mode}").detect(portrait)
        assert (np.diff(found.scores) <= 0).all()
        assert set(found.sources) == {"cascade"}
    with pytest.raises(InputError, match="fast or thorough, got 'slow'"):
        make_detector("cascade:slow")


@pytest.mark.parametrize("mode", MODES)
def test_what_covers_nothing_is_not_seen(mode):
    detector = make_detector(f"cascade:{mode}")
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    assert (detector.detect(noise).scores < detector.threshold).all()


@pytest.mark.parametrize("height", [12, 16, 24, 48, 96, 192, 384])
def test_a_face_of_any_size(head, height):
    image, box = head
    found = found_in(photo_with(image, box, height, (600, 800), (90, 50)))
    assert iou(place_of(box, height, (90, 50)), found).max() > 0.5


def test_a_small_face_in_a_large_photo(portrait):
    """20 px in 12 megapixels, across the border of two tiles."""
    image, box = portrait, make_detector("centerface").detect(portrait).boxes_xyxy[:1]
    found = found_in(photo_with(image, box, 20, (3000, 4000), (1270, 2000)))
    assert iou(place_of(box, 20, (1270, 2000)), found).max() > 0.5


def test_a_crowd_of_more_faces_than_windows(head):
    image, box = head
    photo = photo_with(image, box, 100, (140, 120), (0, 0))
    assert len(found_in(np.tile(photo, (8, 12, 1)))) >= 8 * 12 > MODES["fast"].most_proposals


def test_only_the_cascade_has_modes():
    assert with_mode("cascade", None) == "cascade"
    assert with_mode("yunet", None) == "yunet"
    assert make_detector(with_mode("cascade", CascadeMode.thorough)).name == "cascade:thorough"
    assert {mode.value for mode in CascadeMode} == set(MODES)
    with pytest.raises(InputError, match="--mode: expected --detector cascade, got 'yunet'"):
        with_mode("yunet", CascadeMode.fast)
