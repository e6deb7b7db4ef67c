# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear against onnxruntime, and ONNX's own test vectors."""

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from flow.errors import ModelFileError, UnsupportedModelError
from flow.frontend.float_run import run_float32
from flow.frontend.importer import import_proto
from flow.ir.model import Clip, Quant, QuantizedConstant, Unary
from flow.ir.near_ties import activation_quantizers, compare_float32, parameter_quantizers
from flow.ir.reference import Evaluation

VECTORS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"


def model(nodes, shape, opset=21, output="y", **arrays):
    """Inputs ``x``; nodes are (op, inputs, output, attributes)."""
    made = [
        helper.make_node(op, inputs.split(), [out], name=f"{out}_{op}", **attributes)
        for op, inputs, out, attributes in nodes
    ]
    tensors = [
        v if isinstance(v, TensorProto) else numpy_helper.from_array(np.asarray(v), n) for n, v in arrays.items()
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def pair(**attributes):
    return [("QuantizeLinear", "x s z", "i", attributes), ("DequantizeLinear", "i s z", "y", attributes)]


def f32(*values):
    return np.array(values[0] if len(values) == 1 else values, np.float32)


def run(proto, x):
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return np.concatenate([session.run(None, {"x": frame[None]})[0] for frame in x])


def small(name, bits, value, kind):
    return helper.make_tensor(name, kind, [] if np.isscalar(value) else [len(value)], np.atleast_1d(value))


TYPES = [(np.int8, -128, 127), (np.uint8, 0, 255), (np.int16, -32768, 32767), (np.uint16, 0, 65535)]


@pytest.mark.parametrize(("kind", "lo", "hi"), TYPES, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("zero", [0, 2, 1, 7, 101, 127])
def test_ties_and_ends(kind, lo, hi, zero):
    """ONNX rounds before it adds the zero point: at ties an odd one makes the other level."""
    halves = np.arange(-600, 600) / 2
    x = np.concatenate([halves, [1e9, -1e9, hi + 3, lo - 3]]).astype(np.float32)[:, None] / 4
    proto = model(pair(), (1, 1), s=f32(0.25), z=kind(zero))
    graph = import_proto(proto).graph
    found = Evaluation(graph, {"x": x.astype(np.float64)}).tensors["y"].value
    assert np.array_equal(found, run(proto, x))
    (quant,) = (n for n in graph.nodes if isinstance(n, Quant))
    assert any(isinstance(n, Clip) for n in graph.nodes) == bool(zero % 2)
    if zero == 0:
        assert quant.range == (lo, hi)


@pytest.mark.parametrize(("bits", "kind"), [(4, TensorProto.INT4), (4, TensorProto.UINT4)])
@pytest.mark.parametrize("zero", [0, 3, 4])
def test_four_bits(bits, kind, zero):
    x = (np.arange(-90, 90, dtype=np.float32) / 8)[:, None]
    proto = model(pair(), (1, 1), s=f32(0.5), z=small("z", bits, zero, kind))
    found = Evaluation(import_proto(proto).graph, {"x": x.astype(np.float64)}).tensors["y"].value
    assert np.array_equal(found, run(proto, x))


def test_without_a_zero_point_it_is_uint8_or_what_is_said():
    nodes = [("QuantizeLinear", "x s", "i", {}), ("DequantizeLinear", "i s", "y", {})]
    (quant,) = (n for n in import_proto(model(nodes, (1, 2), s=f32(0.5))).graph.nodes if isinstance(n, Quant))
    assert quant.range == (0, 255)
    nodes[0][3]["output_dtype"] = TensorProto.INT4
    (quant,) = (n for n in import_proto(model(nodes, (1, 2), s=f32(0.5))).graph.nodes if isinstance(n, Quant))
    assert quant.range == (-8, 7)


@pytest.mark.parametrize("axis", [1, -3, 3])
def test_one_scale_for_each_channel(axis):
    count = {1: 3, -3: 3, 3: 5}[axis]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 4, 5)).astype(np.float32)
    scale, zero = rng.uniform(0.01, 0.1, count).astype(np.float32), np.array([0, 2, -4, 8, 0][:count], np.int8)
    proto = model(pair(axis=axis), (1, 3, 4, 5), s=scale, z=zero)
    graph = import_proto(proto).graph
    y = Evaluation(graph, {"x": x.astype(np.float64)}).tensors["y"]
    assert np.abs(y.value - run(proto, x)).max() < 1e-6
    assert graph["y"].scale.size == count


@pytest.mark.parametrize(
    ("kind", "bounds", "expected"),
    [
        (np.int8, (-7, 7), (4, True, True)),
        (np.int8, (-8, 7), (4, True, False)),
        (np.uint8, (0, 63), (6, False, False)),
        (np.uint8, (0, 62), (6, False, True)),
        (np.int8, (-127, 127), (8, True, True)),
        (np.int8, (0, 15), (4, False, False)),
        (np.int8, (-5, 9), None),
    ],
)
def test_a_clip_between_narrows(kind, bounds, expected):
    nodes = [pair()[0], ("Clip", "i lo hi", "c", {}), ("DequantizeLinear", "c s z", "y", {})]
    proto = model(nodes, (1, 1), s=f32(0.25), z=kind(0), lo=kind(bounds[0]), hi=kind(bounds[1]))
    graph = import_proto(proto).graph
    quant = graph["y"]
    if expected:
        assert (quant.bits, quant.signed, quant.narrow) == expected
    x = (np.arange(-300, 300, dtype=np.float32) / 8)[:, None]
    found = Evaluation(graph, {"x": x.astype(np.float64)}).tensors["y"].value
    assert np.array_equal(found, run(proto, x))


def test_weights_as_integers_and_bias():
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(-128, 128, (4, 3, 2, 2)).astype(np.int8), rng.integers(-999, 999, 4).astype(np.int32)
    scale = rng.uniform(0.01, 0.1, 4).astype(np.float32)
    nodes = [
        ("QuantizeLinear", "x s z", "i", {}),
        ("DequantizeLinear", "i s z", "q", {}),
        ("Clip", "w lo hi", "c", {}),
        ("DequantizeLinear", "c ws wz", "wq", {"axis": 0}),
        ("DequantizeLinear", "b ws bz", "bq", {"axis": 0}),
        ("Conv", "q wq bq", "y", {}),
    ]
    arrays = {"s": f32(0.05), "z": np.uint8(3), "w": weight, "b": bias, "ws": scale, "wz": np.zeros(4, np.int8)}
    arrays |= {"bz": np.zeros(4, np.int32), "lo": np.int8(-7), "hi": np.int8(7)}
    proto = model(nodes, (1, 3, 5, 5), **arrays)
    imported = import_proto(proto)
    graph = imported.graph
    assert isinstance(graph["wq"], QuantizedConstant)
    assert (graph["wq"].levels.min(), graph["wq"].levels.max()) == (-7, 7)
    x = rng.normal(size=(3, 3, 5, 5)).astype(np.float32)
    found = run_float32(proto, x, [*activation_quantizers(graph), "y"], parameter_quantizers(graph))
    compared = compare_float32(graph, x.astype(np.float64), found)
    assert compared.errors == ()
    assert compared.compared == x.size + found["y"].size


def test_float_weights_with_their_own_pair():
    nodes = [
        *pair(),
        ("QuantizeLinear", "w ws wz", "wi", {"axis": 0}),
        ("DequantizeLinear", "wi ws wz", "wq", {"axis": 0}),
        ("Gemm", "y wq", "g", {"transB": 1}),
    ]
    w = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    arrays = {"w": w, "ws": f32(0.1, 0.03), "wz": np.zeros(2, np.int8), "s": f32(0.1), "z": np.int8(0)}
    graph = import_proto(model(nodes, (1, 4), output="g", **arrays)).graph
    assert isinstance(graph["wq"], Quant)
    assert graph["wq"].scale.shape == (2, 1)


def test_two_readers_share_one_quant():
    nodes = [*pair(), ("DequantizeLinear", "i s z", "again", {}), ("Add", "y again", "out", {})]
    graph = import_proto(model(nodes, (1, 2), output="out", s=f32(0.5), z=np.int8(0))).graph
    assert sum(isinstance(n, Quant) for n in graph.nodes) == 1
    assert isinstance(graph["again"], Unary)


REFUSED = [
    (
        [("QuantizeLinear", "x s z", "i", {"block_size": 2}), ("DequantizeLinear", "i s z", "y", {})],
        "QuantizeLinear",
        "it quantises in blocks (block_size)",
    ),
    (
        [("QuantizeLinear", "x s z", "i", {}), ("DequantizeLinear", "i t z", "y", {})],
        "DequantizeLinear",
        "its scale or zero point is not that of its QuantizeLinear",
    ),
    (
        [("QuantizeLinear", "x s3 z", "i", {}), ("DequantizeLinear", "i s3 z", "y", {})],
        "QuantizeLinear",
        "its scale of shape [3] does not fit axis 1 of [1, 4]",
    ),
    (
        [("QuantizeLinear", "x s4 odd", "i", {}), ("DequantizeLinear", "i s4 odd", "y", {})],
        "DequantizeLinear",
        "it has odd zero points, or an unusual range, and one zero point for each channel",
    ),
    (
        [("QuantizeLinear", "x s z", "i", {}), ("Reshape", "i to", "j", {}), ("DequantizeLinear", "j s z", "y", {})],
        "Reshape",
        "it works on integers, between QuantizeLinear and DequantizeLinear",
    ),
    (
        [
            ("QuantizeLinear", "x s", "i", {"output_dtype": TensorProto.FLOAT8E4M3FN}),
            ("DequantizeLinear", "i s", "y", {}),
        ],
        "QuantizeLinear",
        "its integers are of type float8e4m3fn",
    ),
    (
        [("QuantizeLinear", "x zero z", "i", {}), ("DequantizeLinear", "i zero z", "y", {})],
        "QuantizeLinear",
        "its scale is 0; a scale must be positive",
    ),
    (
        [("DequantizeLinear", "x s", "y", {})],
        "DequantizeLinear",
        "it reads neither constants nor what a QuantizeLinear made",
    ),
]


@pytest.mark.parametrize(("nodes", "op", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refused(nodes, op, why):
    arrays = {"s": f32(0.5), "t": f32(0.25), "z": np.int8(0), "s3": f32(1, 2, 3), "s4": f32(1, 2, 3, 4)}
    arrays |= {"zero": f32(0), "one": np.int8(1), "to": np.array([1, 4]), "odd": np.array([0, 1, 2, 3], np.int8)}
    with pytest.raises(UnsupportedModelError) as caught:
        import_proto(model(nodes, (1, 4), **arrays))
    (problem,) = caught.value.problems
    assert (problem.op, problem.why) == (op, why)
    assert problem.remedy


def test_integers_do_not_leave():
    with pytest.raises(ModelFileError, match="the output holds integers"):
        import_proto(model(pair()[:1], (1, 4), output="i", s=f32(0.5), z=np.int8(0)))


QUANTIZE = ["", "_axis", "_int16", "_uint16", "_int4", "_uint4", "_int2", "_uint2"]


def vector(name):
    """The node of a test vector, its inputs and its result."""
    folder = VECTORS / f"test_{name}"
    if not folder.exists():
        pytest.skip("this onnx has no test vectors")
    proto = onnx.load(folder / "model.onnx")
    places = sorted((folder / "test_data_set_0").glob("*put_*.pb"))
    tensors = {path.stem: onnx.load_tensor(path) for path in places}
    inputs = [tensors[f"input_{place}"] for place in range(len(proto.graph.input))]
    return proto, inputs, numpy_helper.to_array(tensors["output_0"])


@pytest.mark.parametrize(("op", "kind"), list(itertools.product(["quantizelinear", "dequantizelinear"], QUANTIZE)))
def test_vectors_of_onnx(op, kind):
    proto, inputs, expected = vector(op + kind)
    (node,) = proto.graph.node
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    names = ["x", "s", "z"][: len(inputs)]
    tensors = {}
    for name, tensor in zip(names, inputs, strict=True):
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = name
        tensors[name] = copy
    words = " ".join(names[1:])
    if op == "quantizelinear":
        x = numpy_helper.to_array(inputs[0])
        nodes = [("QuantizeLinear", f"x {words}", "i", attributes), ("DequantizeLinear", f"i {words}", "y", attributes)]
        tensors.pop("x")
        axis = attributes.get("axis", 1)
        if x.ndim == 1 or axis == 0:  # a frame axis in front
            x = x[None]
            nodes = [(o, i, out, {**a, "axis": axis + 1}) for o, i, out, a in nodes]
        graph = import_proto(model(nodes, (1, *x.shape[1:]), opset=25, **tensors)).graph
        run_ = Evaluation(graph, {"x": x.astype(np.float64)})
        scale = numpy_helper.to_array(inputs[1]).astype(np.float64)
        zero = numpy_helper.to_array(inputs[2]).astype(np.float64) if len(inputs) > 2 else np.zeros(())
        place = [1] * x.ndim
        if scale.size > 1:
            place[axis + (x.ndim - expected.ndim)] = -1
        levels = run_.tensors["y"].value / scale.reshape(place) + zero.reshape(place if zero.size > 1 else ())
        assert np.array_equal(np.rint(levels).reshape(expected.shape), expected.astype(np.float64))
        return
    tensors["w"] = tensors.pop("x")
    tensors["w"].name = "w"
    shape = tuple(inputs[0].dims)
    nodes = [
        ("QuantizeLinear", "x one", "i", {}),
        ("DequantizeLinear", "i one", "q", {}),
        ("DequantizeLinear", f"w {words}", "c", attributes),
        ("Unsqueeze", "c zero_axis", "framed", {}),
        ("Mul", "q framed", "y", {}),
    ]
    graph = import_proto(model(nodes, (1, *shape), opset=25, one=f32(1), zero_axis=np.array([0]), **tensors)).graph
    found = Evaluation(graph, {"x": np.ones((1, *shape))}).tensors["y"].value[0]
    assert np.array_equal(found, expected.astype(np.float64))
