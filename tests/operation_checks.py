# SPDX-License-Identifier: Apache-2.0
"""Checks what is made of ONNX nodes against onnxruntime, which runs the same nodes in float32."""

from fractions import Fraction

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from flow.frontend.importer import import_proto
from flow.ir.model import ArgMax, Softmax
from flow.ir.numbers import to_float
from flow.ir.reference import DOUBLE, SINGLE, Evaluation

QONNX = "qonnx.custom_op.general"


def node(op, inputs, output="y", domain="", **attributes):
    """A node; inputs and outputs are words."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), name=f"{output.split()[-1]}_{op}", domain=domain, **attributes)


def body(nodes, shape, arrays, opset=17):
    """The nodes alone, from ``q`` to the last output."""
    tensors = [numpy_helper.from_array(_typed(v), name) for name, v in arrays.items()]
    output = nodes[-1].output[-1]
    places = nodes[-1].op_type in ("ArgMax", "TopK")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("q", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.INT64 if places else TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _typed(value):
    array = np.asarray(value)
    return array if array.dtype.kind in "iu" and array.ndim else array.astype(np.float32)


def quantised(proto, *, bits=8, scale=0.043):
    """The same behind a Quant of the input ``x``."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    copy.graph.input[0].name = "x"
    for name, value in {"x_scale": scale, "x_zero": 0, "x_bits": bits}.items():
        copy.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    first = helper.make_node(
        "Quant",
        ["x", "x_scale", "x_zero", "x_bits"],
        ["q"],
        domain=QONNX,
        signed=1,
        narrow=0,
        rounding_mode="ROUND",
        name="the_Quant",
    )
    copy.graph.node.insert(0, first)
    copy.opset_import.append(helper.make_opsetid(QONNX, 2))
    return copy


def check(nodes, shape, *, opset=17, size=1.0, seed=0, frames=2, **arrays):
    """Imports the nodes, evaluates them, and compares all values with onnxruntime's and some with exact ones.

    Returns:
        The imported graph.
    """
    nodes = nodes if isinstance(nodes, list) else [nodes]
    proto = body(nodes, shape, arrays, opset)
    graph = import_proto(quantised(proto)).graph
    x = np.random.default_rng(seed).normal(size=(frames, *shape[1:])) * size
    x = x.astype(np.float32).astype(np.float64)
    single = Evaluation(graph, {"x": x}, precision=SINGLE)
    double = Evaluation(graph, {"x": x}, precision=DOUBLE)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    q = single.tensors["q"].value.astype(np.float32)
    found = np.concatenate([session.run(None, {"q": frame[None]})[0] for frame in q]).astype(np.float64)
    (output,) = graph.outputs
    y = single.tensors[output]
    assert y.value.shape == found.shape == (frames, *single.shapes[output])
    error = np.broadcast_to(y.error, found.shape)
    assert np.isfinite(error).all()
    assert (np.abs(found - y.value) <= error).all(), np.abs(found - y.value).max() / error.max()
    if not any(isinstance(n, Softmax | ArgMax) for n in graph.nodes):
        _check_numbers(double, output, seed)
    return graph


def _check_numbers(run, name, seed):
    """Some elements in exact arithmetic: within the bound of the approximate ones."""
    y = run.tensors[name]
    error = np.broadcast_to(y.error, y.value.shape)
    rng = np.random.default_rng(seed)
    for flat in {0, y.value.size - 1, *rng.integers(0, y.value.size, 4).tolist()}:
        index = tuple(int(i) for i in np.unravel_index(flat, y.value.shape))
        number = run.number(name, index)
        if isinstance(number, Fraction):
            assert abs(Fraction(float(y.value[index])) - number) <= Fraction(float(error[index])), index
        else:
            assert abs(to_float(number) - y.value[index]) <= error[index] + 1e-15 * abs(y.value[index]), index
