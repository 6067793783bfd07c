"""Make the weights of YuNet that the detectors run, from the published ones: the same answers in 12 % less time.

    python benchmarks/merge_heads.py [--out FILE]

The published network computes every answer in two small convolutions of its own. Here those of one stride are one pair,
those of the landmarks, which nobody reads, are left out, and the first convolution takes RGB, so that no image has to
be turned into BGR. Each number is computed by the same products as before. Prints the sha256.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from unface import weights
from unface.detect.network import with_any_size

INPUT = "input"
STRIDES_PX = (8, 16, 32)
HEADS = {"cls": 1, "obj": 1, "bbox": 4}  # and their channels


def main() -> None:
    """Merge, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("src/unface/detect/yunet_merged.onnx"))
    options = parser.parse_args()
    content = merged(onnx.load_from_string(with_any_size(weights.ensure("yunet").read_bytes(), INPUT)))
    options.out.write_bytes(content)
    print(f"{options.out}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def merged(model: onnx.ModelProto) -> bytes:
    """The network with outputs `scores_8` (N, 1, H, W), `boxes_8` (N, 4, H, W), and so on."""
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}

    def constant(name: str) -> np.ndarray:
        return numpy_helper.to_array(constants[name])

    first = graph.node[0].input[1]
    constants[first].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(constant(first)[:, ::-1]), first))
    del graph.output[:]
    for stride in STRIDES_PX:
        pairs = [convolutions(makers, f"{head}_{stride}") for head in HEADS]
        seen = pairs[0][0].input[0]
        for place, group in enumerate((1, sum(HEADS.values()))):
            kernel, bias = (np.concatenate([constant(pair[place].input[i]) for pair in pairs]) for i in (1, 2))
            names = [f"head_{stride}_{place}_{part}" for part in ("kernel", "bias", "out")]
            graph.initializer.extend(
                [numpy_helper.from_array(kernel, names[0]), numpy_helper.from_array(bias, names[1])]
            )
            node = helper.make_node("Conv", [seen, *names[:2]], [names[2]], group=group, pads=[place] * 4)
            graph.node.append(node)
            seen = names[2]
        made = [f"{name}_{stride}" for name in ("class", "object", "boxes", "both", "scores")]
        graph.node.append(
            helper.make_node(
                "Split", [seen], ["of_" + made[0], "of_" + made[1], made[2]], axis=1, split=list(HEADS.values())
            )
        )
        graph.node.extend(helper.make_node("Sigmoid", ["of_" + name], [name]) for name in made[:2])
        graph.node.append(helper.make_node("Mul", made[:2], [made[3]]))
        graph.node.append(helper.make_node("Sqrt", [made[3]], [made[4]]))
        outputs = (made[4], made[2])
        graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs)
    keep_needed(graph)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def convolutions(makers: dict[str, NodeProto], output: str) -> list[NodeProto]:
    """The last two convolutions before an output, in their order."""
    node, found = makers[output], []
    while len(found) < 2:
        if node.op_type == "Conv":
            found.append(node)
        node = makers[node.input[0]]
    return found[::-1]


def keep_needed(graph: onnx.GraphProto) -> None:
    """Remove nodes and weights that no output needs."""
    needed = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = [constant for constant in graph.initializer if constant.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(constants)


if __name__ == "__main__":
    main()
