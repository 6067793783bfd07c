"""Make the int8 weights of CenterFace that the package holds, from the float ones and photos.

    UNFACE_TEST_DATA=DIR python benchmarks/quantise.py [--out FILE]

onnxruntime's static quantisation: weights per channel in 7 bits (sums of 8 would overflow on processors without VNNI,
whose answers would then be others), activations in 8 bits, their ranges the 99.999th percentile on 20 object photos
(`imagenet_tune`) and 20 crowds (`face/WIDER_train`). The first three convolutions, which have few channels, and the
heads stay float. Boxes would be 2 % too large: so the heads of sizes and offsets are fitted to say of the int8 features
what they said of the float ones. Prints the sha256 and how far the answers lie apart on other photos.
"""

import argparse
import hashlib
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from detection import crowd_photos, tuning_photos
from unface import weights
from unface.detect.network import with_any_size

INPUT = "input.1"
PHOTOS, SIZE_WH = 20, (512, 384)
OPSET = 13  # the first that has scales per channel
FLOAT_FIRST, FLOAT_LAST = 5, 5  # nodes: three convolutions, and the heads
SCORES, BOX_HEADS = "537", ("538", "539")  # of the latter, sizes and offsets
ODDS = "536"
SEEN = 0.05  # score of the places at which heads are fitted
RIDGE = 1e-4

Array = np.ndarray


def main() -> None:
    """Quantise, write, and tell how well it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("UNFACE_TEST_DATA"))
    parser.add_argument("--out", type=Path, default=Path("src/unface/detect/centerface_int8.onnx"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data with --data or UNFACE_TEST_DATA")
    photos = chosen(options.data)
    fitting, checking = photos[::2], photos[1::2]
    with tempfile.TemporaryDirectory() as folder:
        exact = prepared(Path(folder))
        model = quantised(exact, Path(folder), fitting)
    fit_heads(model, exact, fitting)
    tell("apart on the photos it was fitted on", exact, model, fitting)
    tell("apart on other photos", exact, model, checking)
    content = model.SerializeToString()
    options.out.write_bytes(content)
    print(f"{options.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def chosen(data: Path) -> list[Array]:
    """Photos of objects and of crowds in turns, twice as many as are fitted on, as the network takes them."""
    kinds = []
    for photos in (tuning_photos(data), crowd_photos(data, "train")):
        paths = sorted(path for path, _ in photos if path.exists())
        random.Random(0).shuffle(paths)
        kinds.append(paths[: 2 * PHOTOS])
    both = [path for two in zip(*(paths[i::2] for paths in kinds for i in (0, 1)), strict=True) for path in two]
    return [batch_of(path) for path in both]


def batch_of(path: Path) -> Array:
    """A photo in RGB, stretched to one size, float32, shape (1, 3, H, W)."""
    return cv2.dnn.blobFromImage(cv2.imread(str(path)), size=SIZE_WH, swapRB=True)


def prepared(folder: Path) -> onnx.ModelProto:
    """The float network without declared sizes, normalisation folded in, each node named after its output."""
    model = onnx.load_from_string(with_any_size(weights.ensure("centerface").read_bytes(), INPUT))
    onnx.save(version_converter.convert_version(model, OPSET), folder / "given.onnx")
    quant_pre_process(folder / "given.onnx", folder / "float.onnx", skip_symbolic_shape=True, skip_onnx_shape=True)
    model = onnx.load(folder / "float.onnx")
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def quantised(exact: onnx.ModelProto, folder: Path, photos: list[Array]) -> onnx.ModelProto:
    """The network in int8."""

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._photos = iter(photos)

        def get_next(self) -> dict[str, Array] | None:
            photo = next(self._photos, None)
            return None if photo is None else {INPUT: photo}

    names = [node.name for node in exact.graph.node]
    onnx.save(exact, folder / "named.onnx")
    quantize_static(
        folder / "named.onnx",
        folder / "int8.onnx",
        Reader(),
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        nodes_to_exclude=names[:FLOAT_FIRST] + names[-FLOAT_LAST:],
        calibrate_method=CalibrationMethod.Percentile,
    )
    return onnx.load(folder / "int8.onnx")


def fit_heads(model: onnx.ModelProto, exact: onnx.ModelProto, photos: list[Array]) -> None:
    """Move the weights of the heads, by least squares, to where they say what the float network says of faces."""
    nodes = {node.output[0]: node for node in model.graph.node}
    constants = {constant.name: constant for constant in model.graph.initializer}
    features_name = nodes[BOX_HEADS[0]].input[0]
    places = list(at_faces(exact, model, photos, features_name))
    features = np.concatenate([features for features, _ in places])
    known = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    square = known.T @ known
    for number, head in enumerate(BOX_HEADS):
        true = np.concatenate([answers[number] for _, answers in places])
        weight, bias = (constants[name] for name in nodes[head].input[1:])
        shape = numpy_helper.to_array(weight).shape
        before = np.concatenate([numpy_helper.to_array(weight).reshape(shape[0], -1).T, [numpy_helper.to_array(bias)]])
        ridge = RIDGE * np.trace(square) / len(square) * np.eye(len(square))
        after = before + np.linalg.solve(square + ridge, known.T @ (true - known @ before))
        weight.CopyFrom(numpy_helper.from_array(after[:-1].T.reshape(shape).astype(np.float32), weight.name))
        bias.CopyFrom(numpy_helper.from_array(after[-1].astype(np.float32), bias.name))


def at_faces(
    exact: onnx.ModelProto, model: onnx.ModelProto, photos: list[Array], features_name: str
) -> Iterator[tuple[Array, list[Array]]]:
    """Per photo: int8 features where a face is, shape (N, C); what each float head says there, shape (N, channels)."""
    float_session, session = session_of(exact, [SCORES, *BOX_HEADS]), session_of(model, [features_name])
    for photo in photos:
        scores, *answers = float_session.run([SCORES, *BOX_HEADS], {INPUT: photo})
        (features,) = session.run([features_name], {INPUT: photo})
        here = scores[0, 0] >= SEEN
        yield features[0][:, here].T.astype(np.float64), [answer[0][:, here].T for answer in answers]


def session_of(model: onnx.ModelProto, outputs: list[str]) -> onnxruntime.InferenceSession:
    """A network that answers with the named values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tell(what: str, exact: onnx.ModelProto, model: onnx.ModelProto, photos: list[Array]) -> None:
    """Print how far the heads lie apart where the float network sees a face: mean, and root mean square."""
    names = [SCORES, ODDS, *BOX_HEADS]
    sessions = [session_of(network, names) for network in (exact, model)]
    apart: list[list[Array]] = [[] for _ in names[1:]]
    for photo in photos:
        (scores, *true), (_, *said) = (session.run(names, {INPUT: photo}) for session in sessions)
        here = scores[0, 0] >= 0.1
        for head, a, b in zip(apart, true, said, strict=True):
            head.append((b - a)[0][:, here].ravel())
    for name, head in zip(("log-odds", "log sizes", "offsets"), apart, strict=True):
        errors = np.concatenate(head)
        print(f"{what}: {name}: mean {errors.mean():+.3f}, rms {np.sqrt((errors**2).mean()):.3f}, {len(errors)} values")


if __name__ == "__main__":
    main()
