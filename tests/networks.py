"""Small ONNX networks with the inputs and outputs of real ones, which find red squares in black images.

Each is written by the `onnx` package and computed by its runtime: nothing of ours is in them. A cell of stride 16 that
is wholly red is a face; its box is the same shape everywhere, in strides from the cell's corner or centre.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
REACH = (1.0, 2.0, 3.0, 1.0)
"""Left, top, right, bottom of a box, in strides."""


def scrfd_file(path: Path, keypoints=True, levels=3, joined=False, size=None, input_shape=None) -> Path:
    """SCRFD: two anchors a cell (one with five levels), of which only the first sees red; `joined`: no batch axis."""
    anchors = 2 if levels == 3 else 1
    nodes, weights, outputs = [], [], []
    for stride in (8, 16, 32, 64, 128)[:levels]:
        score = np.zeros((anchors, 3), np.float32)
        score[0] = (20, -20, 0) if stride == 16 else 0
        bias = np.full(anchors, -20, np.float32)
        parts = {"score": (score, bias, 1)}
        parts["bbox"] = (np.zeros((4 * anchors, 3)), np.tile(REACH, anchors), 4)
        if keypoints:
            parts["kps"] = (np.zeros((10 * anchors, 3)), np.zeros(10 * anchors), 10)
        for name, (kernel, bias, channels) in parts.items():
            _cells(nodes, weights, "x", f"{name}{stride}", stride, kernel, bias)
            last = f"{name}{stride}"
            if name == "score":
                nodes.append(helper.make_node("Sigmoid", [last], [last := last + "p"]))
            nodes.append(helper.make_node("Transpose", [last], [last + "t"], perm=(0, 2, 3, 1)))
            weights.append(
                numpy_helper.from_array(np.int64([-1, channels] if joined else [1, -1, channels]), last + "s")
            )
            nodes.append(helper.make_node("Reshape", [last + "t", last + "s"], [f"{name}_{stride}"]))
            outputs.append(f"{name}_{stride}")
    outputs.sort(key=lambda name: ("score", "bbox", "kps").index(name.split("_")[0]))
    return _write(path, nodes, weights, outputs, input_shape or [1, 3, *(size or ("H", "W"))])


def yolo_levels_file(path: Path, keypoints=15, size=None) -> Path:
    """YOLOv8-face, one output a stride, not decoded: 64 bins, a score, keypoints."""
    nodes, weights, outputs = [], [], []
    for stride in STRIDES:
        kernel = np.zeros((65 + keypoints, 3), np.float32)
        kernel[64] = (40, -40, 0) if stride == 16 else 0
        bias = np.zeros(65 + keypoints, np.float32)
        bias[64] = -20
        for side, reach in enumerate(REACH):
            bias[16 * side + int(reach)] = 40
        _cells(nodes, weights, "x", f"out{stride}", stride, kernel, bias)
        outputs.append(f"out{stride}")
    return _write(path, nodes, weights, outputs, [1, 3, *(size or ("H", "W"))])


def yolo_file(path: Path, keypoints=15, transposed=False, size=(320, 320)) -> Path:
    """YOLOv8-face, decoded: (1, 5 + keypoints, anchors), or transposed; one size, as an export with fixed anchors."""
    height, width = size
    nodes, weights, parts = [], [], []
    for stride in STRIDES:
        kernel = np.zeros((5 + keypoints, 3), np.float32)
        kernel[4] = (1, -1, 0) if stride == 16 else 0
        left, top, right, bottom = (reach * stride for reach in REACH)
        bias = np.array([0, 0, left + right, top + bottom, 0, *[0] * keypoints], np.float32)
        _cells(nodes, weights, "x", f"raw{stride}", stride, kernel, bias)
        y, x = np.mgrid[0 : height // stride, 0 : width // stride] * stride + stride / 2
        centres = np.zeros((1, 5 + keypoints, height // stride, width // stride), np.float32)
        centres[0, 0], centres[0, 1] = x + (right - left) / 2, y + (bottom - top) / 2
        weights.append(numpy_helper.from_array(centres, f"grid{stride}"))
        weights.append(numpy_helper.from_array(np.int64([1, 5 + keypoints, -1]), f"shape{stride}"))
        nodes.append(helper.make_node("Add", [f"raw{stride}", f"grid{stride}"], [f"at{stride}"]))
        nodes.append(helper.make_node("Reshape", [f"at{stride}", f"shape{stride}"], [f"flat{stride}"]))
        parts.append(f"flat{stride}")
    nodes.append(helper.make_node("Concat", parts, ["all" if transposed else "output0"], axis=2))
    if transposed:
        nodes.append(helper.make_node("Transpose", ["all"], ["output0"], perm=(0, 2, 1)))
    return _write(path, nodes, weights, ["output0"], [1, 3, *size])


def constant_file(path: Path, output: np.ndarray, input_shapes=((1, 3, "H", "W"),)) -> Path:
    """A network that says the same whatever it is shown."""
    weights = [numpy_helper.from_array(np.asarray(output, np.float32), "same")]
    nodes = [helper.make_node("Identity", ["same"], ["output0"])]
    return _write(path, nodes, weights, ["output0"], *input_shapes)


def external_file(path: Path, location: str) -> Path:
    """A YOLO file whose weights lie in another file, wherever it says."""
    model = onnx.load(yolo_levels_file(path))
    tensor = model.graph.initializer[0]
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def _cells(nodes, weights, source, name, stride, kernel, bias):
    """A convolution that gives each cell the mean of its colours, weighed."""
    spread = np.repeat(np.asarray(kernel, np.float32), stride * stride).reshape(*np.shape(kernel), stride, stride)
    weights.append(numpy_helper.from_array(spread / stride**2, name + "w"))
    weights.append(numpy_helper.from_array(np.asarray(bias, np.float32), name + "b"))
    nodes.append(
        helper.make_node(
            "Conv", [source, name + "w", name + "b"], [name], strides=[stride, stride], auto_pad="SAME_UPPER"
        )
    )


def _write(path, nodes, weights, outputs, *input_shapes):
    inputs = [
        helper.make_tensor_value_info("x" if not i else f"x{i}", TensorProto.FLOAT, shape)
        for i, shape in enumerate(input_shapes)
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "red squares", inputs, results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path
