import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from unface import weights
from unface.detect.centerface import CenterFace
from unface.detect.network import CPU, Network, providers, with_any_size
from unface.detect.yunet import YuNet
from unface.errors import InputError


@pytest.mark.parametrize(("model", "input_name"), [("centerface", "input.1"), ("yunet", "input")])
def test_the_edited_file_computes_what_the_original_does(model, input_name):
    path = weights.ensure(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    original = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    shape = original.get_inputs()[0].shape
    batch = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    truth = original.run(None, {input_name: batch})
    answer = Network(path, input_name)(batch)
    assert list(answer) == [output.name for output in original.get_outputs()]
    for array, expected in zip(answer.values(), truth, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-3)


def test_merged_heads_say_what_the_published_ones_do():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    published = with_any_size(weights.ensure("yunet").read_bytes(), "input")
    original = onnxruntime.InferenceSession(published, options, providers=["CPUExecutionProvider"])
    bgr = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 96)).astype(np.float32)
    names = [output.name for output in original.get_outputs()]
    truth = dict(zip(names, original.run(None, {"input": bgr}), strict=True))
    answer = Network(weights.ensure("yunet-merged"), "input")(np.ascontiguousarray(bgr[:, ::-1]))
    for stride in (8, 16, 32):
        cells = (2, 64 // stride, 96 // stride, -1)
        squares = (truth[f"obj_{stride}"] * truth[f"cls_{stride}"]).reshape(cells)
        boxes = truth[f"bbox_{stride}"].reshape(cells)
        np.testing.assert_allclose(answer[f"scores_{stride}"] ** 2, squares.transpose(0, 3, 1, 2), atol=1e-6)
        np.testing.assert_allclose(answer[f"boxes_{stride}"], boxes.transpose(0, 3, 1, 2), atol=1e-5)


def test_naming_a_detector_loads_nothing():
    command = "import sys; from unface.detect import make_detector; make_detector('cascade'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert not {"onnxruntime", "cv2"} & set(done.stdout.split())


def test_any_size():
    network = Network(weights.ensure("centerface"), "input.1")
    for shape in ((1, 3, 32, 64), (2, 3, 96, 32)):
        heat = network(np.zeros(shape, np.float32))["537"]
        assert heat.shape == (shape[0], 1, shape[2] // 4, shape[3] // 4)


def test_no_weight_is_an_input():
    model = with_any_size(weights.ensure("centerface").read_bytes(), "input.1")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [put.name for put in session.get_inputs()] == ["input.1"]


@pytest.mark.parametrize("damaged", [b"\x3b\x00", b"\xff" * 8])
def test_a_file_that_is_no_onnx(damaged):
    with pytest.raises((ValueError, IndexError)):
        with_any_size(damaged, "input")


def test_where_networks_run():
    here = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert [name for name, _ in providers("auto", here)] == here
    assert [name for name, _ in providers("auto", [CPU])] == [CPU]
    assert [name for name, _ in providers("cpu", here)] == [CPU]
    assert providers("cuda:1", here)[0][1]["device_id"] == "1"
    assert providers("cuda", here)[0][1]["device_id"] == "0"


@pytest.mark.parametrize(
    ("device", "complaint"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("openvino", "onnxruntime-openvino"),
        ("tpu", "expected auto, cpu, cuda"),
        ("cuda:x", "expected auto, cpu, cuda"),
        ("cpu:1", "expected auto, cpu, cuda"),
    ],
)
def test_a_device_that_is_not_there(device, complaint):
    with pytest.raises(InputError, match=complaint):
        Network(weights.ensure("yunet"), "input", device=device) if device != "cuda" else providers(device, [CPU])


def test_a_gpu_sees_what_the_cpu_sees():
    try:
        gpu = CenterFace(device="cuda")
    except InputError as error:
        pytest.skip(f"no CUDA device: {error}")
    images = np.random.default_rng(0).integers(0, 255, (3, 96, 128, 3), np.uint8)
    for (boxes, scores), (true_boxes, true_scores) in zip(
        gpu.see(images, 0.01), CenterFace(device="cpu").see(images, 0.01), strict=True
    ):
        np.testing.assert_allclose(boxes, true_boxes, atol=0.5)
        np.testing.assert_allclose(scores, true_scores, atol=5e-3)


@pytest.mark.parametrize("detector", [CenterFace, YuNet])
def test_a_batch_is_seen_like_its_images(detector):
    made = detector(device="cpu")
    images = np.random.default_rng(0).integers(0, 255, (3, 96, 128, 3), np.uint8)
    images[1] //= 3
    for image, (boxes, scores) in zip(images, made.see(images, 0.005), strict=True):
        true_boxes, true_scores = made.see(image[None], 0.005)[0]
        np.testing.assert_allclose(boxes, true_boxes, atol=1e-2)
        np.testing.assert_allclose(scores, true_scores, atol=1e-4)
