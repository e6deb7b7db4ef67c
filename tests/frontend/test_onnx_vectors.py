# SPDX-License-Identifier: Apache-2.0
"""ONNX's own test vectors of single operations: what is not refused gives their result.

The first input is the activation, behind a Quant that is fine enough not to matter; the others are constants.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from operation_checks import quantised

from flow.errors import FlowError
from flow.frontend.handlers import HANDLERS
from flow.frontend.importer import import_proto
from flow.ir.reference import Evaluation

VECTORS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
OTHERWISE = {
    "QuantizeLinear",
    "DequantizeLinear",
    "Constant",
    "Shape",
    "Cast",
    "Dropout",
    "BatchNormalization",
    "Identity",
}
"""Covered elsewhere, or without a float activation."""
FRAMES = {"test_slice"}
"""Cuts frames off a batch of 20."""
STEP = 2.0**-20


def vectors():
    """(folder, operation) of every vector with one node of an operation that is converted."""
    found = []
    for folder in sorted(VECTORS.glob("test_*")):
        proto = onnx.load(folder / "model.onnx")
        ops = [node.op_type for node in proto.graph.node]
        if (
            folder.name not in FRAMES
            and len(ops) == 1
            and ops[0] in set(HANDLERS) - OTHERWISE
            and len(proto.graph.output) >= 1
        ):
            found.append((folder, ops[0]))
    return found


def evaluated(folder):
    """Value, expected value and bound; a FlowError where it is refused; None where there is no float activation."""
    proto = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    inputs = [numpy_helper.to_array(onnx.load_tensor(data / f"input_{i}.pb")) for i in range(len(proto.graph.input))]
    if (
        not inputs
        or inputs[0].dtype != np.float32
        or inputs[0].ndim < 2
        or not inputs[0].size
        or np.abs(inputs[0]).max() * 2 > 2**11
    ):
        return None
    names = [i.name for i in proto.graph.input]
    for name, value in list(zip(names, inputs, strict=True))[1:]:
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    del proto.graph.input[1:]
    place = len(proto.graph.output) - 1 if proto.graph.node[0].op_type == "TopK" else 0
    expected = numpy_helper.to_array(onnx.load_tensor(data / f"output_{place}.pb"))
    kept = proto.graph.output[place]
    del proto.graph.output[:]
    proto.graph.output.append(kept)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for node in proto.graph.node:
        node.input[0] = "q"
    graph = import_proto(quantised(proto, bits=32, scale=STEP)).graph
    y = Evaluation(graph, {"x": inputs[0].astype(np.float64)}).tensors[graph.outputs[0]]
    return y.value, expected.astype(np.float64)


def test_every_vector_is_met_or_refused():
    cases = vectors()
    if not cases:
        pytest.skip("this onnx has no test vectors")
    met, refused = Counter(), Counter()
    for folder, op in cases:
        try:
            result = evaluated(folder)
        except FlowError:
            refused[op] += 1
            continue
        if result is None:
            continue
        value, expected = result
        assert value.shape == expected.shape, folder.name
        assert np.allclose(value, expected, rtol=1e-4, atol=1e-4), folder.name
        met[op] += 1
    wanted = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Slice", "Split"}
    wanted |= {"Pad", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "ReduceMean", "ReduceMax", "ReduceSum"}
    wanted |= {"ArgMax", "TopK", "HardSigmoid", "HardSwish", "Elu", "Softplus", "Gelu", "Clip", "LeakyRelu"}
    assert wanted <= set(met), (met, refused)
    assert sum(met.values()) > 150
    assert set(refused).isdisjoint(
        {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "DepthToSpace", "Pad", "Split"}
    )
