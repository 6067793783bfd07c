"""Attacks against closed forms and planted faces: each must work where it can, and fail where nothing is left."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unface.errors import InputError
from unface.obfuscate.methods import Obfuscation, obfuscate, safe_cells

torch = pytest.importorskip("torch", reason="extra verify")

from unface.verify.attacks.battery import LEAST_FACES, attack  # noqa: E402
from unface.verify.attacks.deconvolution import (  # noqa: E402
    gradient_descent,
    psnr_db,
    richardson_lucy,
    similarity,
    wiener,
)
from unface.verify.attacks.identity import ArcFace, make_embedder, recognise  # noqa: E402
from unface.verify.attacks.operators import box_mask, gaussian_matrices, operator_of  # noqa: E402
from unface.verify.attacks.parrot import parrot_embeddings, train_parrot  # noqa: E402
from unface.verify.attacks.subjects import BOX_PX, FRAME_PX, Collection, frame_of  # noqa: E402

METHODS = {
    "none": Obfuscation("none"),
    "imagenet": Obfuscation("blur", "imagenet"),
    "paper": Obfuscation("blur", "paper"),
    "safe": Obfuscation(),
    "mosaic 8": Obfuscation("mosaic"),
    "mosaic 16": Obfuscation("mosaic", cells=16),
}
MASK = box_mask()


def make_photo(seed: int, height: int = 240, width: int = 300) -> np.ndarray:
    """Structure of all sizes, as photos have it."""
    import cv2

    rng = np.random.default_rng(seed)
    photo = np.zeros((height, width, 3))
    for size in (3, 8, 20, 60):
        noise = rng.normal(0, 1, (height // size + 2, width // size + 2, 3))
        photo += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * size**0.5
    return np.clip(128 + 14 * photo, 0, 255).astype(np.uint8)


BOX = np.array([90, 70, 202, 182], np.float32)  # twice BOX_PX
FRAMES = np.array([frame_of(make_photo(seed), BOX) for seed in range(4)])


@pytest.mark.parametrize("name", METHODS)
def test_operators_are_what_the_methods_do(name):
    boxes = np.array([BOX, [100, 60, 180, 172]], np.float32)
    photos = [make_photo(seed) for seed in (5, 6)]
    frames = np.array([frame_of(photo, box) for photo, box in zip(photos, boxes, strict=True)])
    wanted = np.array(
        [
            frame_of(obfuscate(photo, box[None], METHODS[name]).pixels, box)
            for photo, box in zip(photos, boxes, strict=True)
        ]
    )
    if name == "safe":  # with the noise that these photos get: their cells' averages are the noisy ones then
        cells = [safe_cells(photo, box[None]) for photo, box in zip(photos, boxes, strict=True)]
        frames = np.array([frame_of(each, box) for each, box in zip(cells, boxes, strict=True)])
    largest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    operator = operator_of(METHODS[name], boxes, largest)
    computed = operator(torch.as_tensor(frames.transpose(0, 3, 1, 2) / 255)).numpy().transpose(0, 2, 3, 1) * 255
    error = np.abs(computed - wanted).mean(axis=(1, 2, 3))
    assert error.max() < 2.0
    if name != "none":
        assert error.max() < 0.2 * np.abs(frames - wanted).mean(axis=(1, 2, 3)).min()


def test_an_attacker_draws_the_noise_that_the_method_has():
    """Mean and spread of 400 draws at the middle of a flat face, against as many photos hidden."""
    boxes, sizes = np.tile(BOX, (400, 1)), np.full(400, 112, np.float32)
    photos = [np.full((240, 300, 3), (100, 120, 160), np.uint8) for _ in range(400)]
    for photo, seed in zip(photos, range(400), strict=True):  # no two cells alike
        tones = np.random.default_rng(seed).integers(0, 12, (4, 4, 3), np.uint8)
        photo[70:182, 90:202] += tones.repeat(28, axis=0).repeat(28, axis=1)
    hidden = np.array([obfuscate(photo, BOX[None], Obfuscation()).pixels[126, 146] for photo in photos], float)
    hidden -= np.array([photo[70:182, 90:202].mean(axis=(0, 1)) for photo in photos])
    operator = operator_of(Obfuscation(), boxes, sizes)
    flat = torch.full((400, 3, FRAME_PX, FRAME_PX), 0.5, dtype=torch.float64)
    drawn = operator(flat, np.random.default_rng(0))[:, :, FRAME_PX // 2, FRAME_PX // 2].numpy() * 255 - 127.5
    assert np.abs(drawn.mean(axis=0)).max() < 3
    assert np.abs(hidden.mean(axis=0)).max() < 3
    np.testing.assert_allclose(np.cov(hidden.T), np.cov(drawn.T), rtol=0.3)


def test_an_overlay_leaves_nothing_to_differentiate():
    operator = operator_of(Obfuscation("overlay"), BOX[None], np.array([112.0], np.float32))
    frames = torch.rand(1, 3, FRAME_PX, FRAME_PX, requires_grad=True)
    (operator(frames) * torch.as_tensor(MASK)).sum().backward()
    assert float((frames.grad * torch.as_tensor(MASK)).abs().max()) == 0


def blurred(sigma: float) -> np.ndarray:
    matrix = gaussian_matrices(np.full(len(FRAMES), sigma))[:, None]
    levels = matrix @ FRAMES.transpose(0, 3, 1, 2).astype(np.float64) @ matrix.swapaxes(2, 3)
    return levels.transpose(0, 2, 3, 1)


def test_a_gaussian_in_floating_point_is_undone():
    """Without quantisation a blur hides from the eye only; rounding to 8 bits takes much of it."""
    sigmas = np.full((len(FRAMES), 2), 2.0)
    exact = blurred(2.0)
    before = psnr_db(exact, FRAMES, MASK).mean()
    best = [
        max(psnr_db(each, FRAMES, MASK).mean() for each in wiener(frames, sigmas, [1e-14, 1e-10, 1e-6, 1e-4, 1e-2]))
        for frames in (exact, np.rint(exact))
    ]
    assert best[0] > before + 20
    assert before < best[1] < best[0] - 5


def test_richardson_lucy_sharpens():
    exact, sigmas = blurred(2.0)[:1], np.full((1, 2), 2.0)
    likeness = [similarity(each, FRAMES[:1], MASK).mean() for each in richardson_lucy(exact, sigmas, [1, 6])]
    assert all(a < b for a, b in pairwise([similarity(exact, FRAMES[:1], MASK).mean(), *likeness]))


def test_gradient_descent_finds_no_more_than_the_averages_of_a_mosaic():
    operator = operator_of(Obfuscation("mosaic"), BOX[None], np.array([112], np.float32))
    tensor = torch.as_tensor(FRAMES[:1].transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    mosaics = operator(tensor).numpy().transpose(0, 2, 3, 1) * 255
    restored = gradient_descent(mosaics, operator, 0.0, 15)
    again = operator(torch.as_tensor(restored.transpose(0, 3, 1, 2) / 255)).numpy().transpose(0, 2, 3, 1) * 255
    assert np.abs(again - mosaics).mean() < 2
    cells = restored[:, 20:76, 20:76].reshape(1, 8, 7, 8, 7, 3)
    assert cells.std(axis=(2, 4)).mean() < 3  # flat in each cell, as it began: the gradient knows nothing inside


def test_similarity_is_that_of_its_paper():
    """One and the same; inverted; and a constant shift, for which the closed form is the luminance term alone."""
    assert similarity(FRAMES, FRAMES, MASK) == pytest.approx(1)
    assert (similarity(255 - FRAMES, FRAMES, MASK) < 0).all()
    flat = np.full((1, FRAME_PX, FRAME_PX, 3), 100.0)
    luminance = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert similarity(flat, flat + 20, MASK) == pytest.approx(luminance)
    assert psnr_db(flat, flat + 20, MASK) == pytest.approx(10 * np.log10(255**2 / 400))


def test_recognition_counts():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    every = recognise(vectors, vectors)
    assert (every.number, every.first, every.accepted, every.strangers) == (50, 50, 50, 2450)
    alike = np.ones((50, 16)) / 4
    assert (recognise(alike, alike).first, recognise(alike, alike).accepted) == (0, 0)
    shuffled = recognise(vectors, np.roll(vectors, 1, axis=0))
    assert (shuffled.first, shuffled.accepted) == (0, 0)


def test_a_parrot_learns_what_is_left():
    """Of averages it tells planted strangers apart; of one colour nobody can."""
    frames = np.array([frame_of(make_photo(seed), BOX) for seed in range(24)])
    boxes, largest = np.array([BOX] * 24), np.full(24, 112, np.float32)
    firsts = {}
    for name, obfuscation in {"mosaic": Obfuscation("mosaic"), "overlay": Obfuscation("overlay")}.items():
        operator = operator_of(obfuscation, boxes, largest)
        hidden = operator(torch.as_tensor(frames.transpose(0, 3, 1, 2) / 255)).numpy().transpose(0, 2, 3, 1) * 255
        network = train_parrot(frames[:12], operator.take(np.arange(12)), 0, steps=20)
        other = np.clip(hidden[12:, :, ::-1] * 1.1, 0, 255)
        found = recognise(parrot_embeddings(network, hidden[12:]), parrot_embeddings(network, other))
        firsts[name] = found.first
    assert firsts["mosaic"] >= 8
    assert firsts["overlay"] == 0


def landmarks(frame: np.ndarray) -> np.ndarray:
    return np.array([[36, 40], [60, 40], [48, 52], [38, 62], [58, 62]], np.float32)


class Pixels:
    """Recognises by the pixels themselves."""

    name = "pixels"

    def __call__(self, frames, landmarks):
        import cv2

        small = np.array([cv2.resize(frame, (8, 8), interpolation=cv2.INTER_AREA) for frame in frames])
        vectors = (small + small[:, :, ::-1]).reshape(len(small), -1)  # the second pictures are mirrored
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def test_the_battery_has_a_floor_and_a_ceiling(monkeypatch):
    from unface.verify.attacks import battery, deconvolution

    monkeypatch.setattr(deconvolution, "gradient_descent", partial(gradient_descent, steps=2))
    monkeypatch.setattr(battery, "train_parrot", partial(train_parrot, steps=2))
    treatments = {"none": Obfuscation("none"), "mosaic 8": Obfuscation("mosaic"), "overlay": Obfuscation("overlay")}
    collection = Collection(treatments, Obfuscation(), landmarks, LEAST_FACES, np.random.default_rng(0))
    for seed in range(LEAST_FACES + 2):
        collection.add(make_photo(seed), None, np.array([BOX, [150, 100, 230, 200]], np.float32)[: 1 + (seed == 0)])
    subjects = collection.subjects()
    assert (len(subjects), subjects.passed_over) == (LEAST_FACES, 2)  # two that overlap
    rows = list(attack(subjects, Pixels()))
    first = {
        (row.treatment, row.gallery): row.value for row in rows if (row.attack, row.measure) == ("embedding", "rank1")
    }
    assert first["none", "originals"] == 1
    assert first["mosaic 8", "hidden alike"] >= first["overlay", "hidden alike"]
    assert {row.attack for row in rows} >= {"Wiener", "Richardson-Lucy", "gradient descent", "parrot network"}
    assert {row.through for row in rows} == {"as published", "8 bit", "JPEG"}
    assert all(np.isfinite(row.value) for row in rows)


def test_an_embedder_in_arcface_layout_is_run(tmp_path):
    """A network of one average pooling, written field by field, against the same by numpy."""
    path = tmp_path / "pool.onnx"
    path.write_bytes(pooling_network(112))
    vectors = ArcFace(path)(FRAMES, np.array([landmarks(frame) for frame in FRAMES]))
    assert vectors.shape == (4, 3 * 4 * 4)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert len(np.unique(vectors.round(4), axis=0)) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a network", "expected an ONNX file"), ("small", "expected one input"), (None, "expected an ONNX file")],
)
def test_a_bad_embedder_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(pooling_network(64) if content == "small" else content)
    with pytest.raises(InputError, match=message):
        make_embedder(str(path))
    with pytest.raises(InputError, match="dlib-resnet or the path"):
        make_embedder("facenet")


def pooling_network(side_px: int) -> bytes:
    """An ONNX file: AveragePool of 28 x 28. Field numbers: onnx.proto."""

    def varint(number: int) -> bytes:
        head = b""
        while number > 127:
            head, number = head + bytes([number & 127 | 128]), number >> 7
        return head + bytes([number])

    def field(number: int, value: bytes | str) -> bytes:
        data = value.encode() if isinstance(value, str) else value
        return varint(number << 3 | 2) + varint(len(data)) + data

    def number(place: int, value: int) -> bytes:
        return varint(place << 3) + varint(value)

    def ints(name: str) -> bytes:
        return field(5, field(1, name) + number(8, 28) + number(8, 28) + number(20, 7))

    def tensor(name: str, shape: list[int]) -> bytes:
        dims = b"".join(field(1, number(1, size)) for size in shape)
        return field(1, name) + field(2, field(1, number(1, 1) + field(2, dims)))

    node = field(1, "x") + field(2, "y") + field(4, "AveragePool") + ints("kernel_shape") + ints("strides")
    graph = field(1, node) + field(2, "g") + field(11, tensor("x", [1, 3, side_px, side_px]))
    graph += field(12, tensor("y", [1, 3, side_px // 28, side_px // 28]))
    return number(1, 8) + field(8, number(2, 13)) + field(7, graph)


def test_dlib_knows_people_apart():
    """On three photos of two persons; the weights and dlib must be there."""
    pytest.importorskip("dlib", reason="extra verify")
    from unface import weights
    from unface.images import decode
    from unface.verify.attacks.identity import DLIB, find_landmarks

    if not weights.cached_path(DLIB).is_file():
        pytest.skip(f"weights {DLIB} are not pulled")
    photo = next((Path(__file__).parents[2] / "examples/photos/astronaut").glob("*.png"))
    image = decode(photo.read_bytes()).rgb()
    from unface.detect import make_detector

    box = make_detector("yunet").detect(image).boxes_xyxy[0]
    frames = np.array([frame_of(image, box), frame_of(image[:, ::-1], box_mirrored(box, image.shape[1]))])
    points = np.array([find_landmarks()(frame) for frame in frames])
    vectors = make_embedder(DLIB)(frames, points)
    assert vectors[0] @ vectors[1] > 0.95


def box_mirrored(box: np.ndarray, width: int) -> np.ndarray:
    return np.array([width - box[2], box[1], width - box[0], box[3]], np.float32)


def test_a_frame_has_the_box_in_its_middle():
    image = np.zeros((240, 300, 3), np.uint8)
    image[70:182, 90:202] = 255
    frame = frame_of(image, BOX)
    assert np.abs(frame[..., 0] / 255 - MASK).mean() < 0.02
    assert frame_of(image, np.array([-20, -20, 40, 40], np.float32)).shape == (FRAME_PX, FRAME_PX, 3)
    assert MASK.sum() == BOX_PX**2
