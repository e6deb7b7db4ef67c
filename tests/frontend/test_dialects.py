# SPDX-License-Identifier: Apache-2.0
"""Trunc, the channels-last dialect and whole files against qonnx's executor; exports of Brevitas."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from operation_checks import QONNX, node
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from flow.errors import UnsupportedModelError
from flow.frontend.float_run import run_float32
from flow.frontend.importer import import_model, import_proto
from flow.ir.model import Conv, Pool, Quant
from flow.ir.near_ties import activation_quantizers, compare_float32, parameter_quantizers
from flow.ir.reference import Evaluation, frame_shape

LAST = "qonnx.custom_op.channels_last"
RNG = np.random.default_rng(3)


def model(nodes, shape, arrays, *, version=2, output_shape=None):
    """A Quant of the input and these nodes, all of them with the operator sets that qonnx needs."""
    first = helper.make_node("Quant", ["x", "s", "z", "b"], ["q"], domain=QONNX, signed=1, narrow=0)
    first.attribute.append(helper.make_attribute("rounding_mode", "ROUND"))
    values = {"s": 0.043, "z": 0.0, "b": 8.0, **arrays}
    graph = helper.make_graph(
        [first, *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in values.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, version), helper.make_opsetid(LAST, 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def assert_equal_to_float_run(proto, frames):
    """Every quantiser and the output, with near-ties proved."""
    graph = import_proto(proto).graph
    wanted = [*activation_quantizers(graph), graph.outputs[0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run_float32(proto, frames, wanted, parameter_quantizers(graph))
    result = compare_float32(graph, frames.astype(np.float64), found)
    assert result.errors == ()
    assert len(result.near_ties) <= 1 + result.compared // 200
    assert result.compared >= found[graph.outputs[0]].size
    return graph


# -------------------------------------------------------------------------------------------------- Trunc


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL", "round"])
@pytest.mark.parametrize(("narrow", "signed"), [(0, 1), (1, 1), (0, 0)])
@pytest.mark.parametrize("ratio", [4.0, 1.0, 8.0, 3.7])
def test_trunc(mode, narrow, signed, ratio):
    trunc = node("Trunc", "q s z b t c", domain=QONNX, rounding_mode=mode, narrow=narrow, signed=signed)
    proto = model([trunc], (1, 50), {"t": np.float32(0.043) * np.float32(ratio), "c": 4.0})
    x = RNG.normal(size=(4, 50)).astype(np.float32) * 2
    graph = assert_equal_to_float_run(proto, x)
    quant = graph["y"]
    assert isinstance(quant, Quant)
    assert (quant.bits, quant.signed, quant.narrow) == (4, bool(signed), bool(narrow))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_trunc_of_version_one(mode):
    proto = model([node("Trunc", "q s z b c", domain=QONNX, rounding_mode=mode)], (1, 50), {"c": 5.0}, version=1)
    x = RNG.normal(size=(4, 50)).astype(np.float32) * 2
    graph = assert_equal_to_float_run(proto, x)
    q = Evaluation(graph, {"x": x.astype(np.float64)})
    divided = q.decisions["q"].levels / 8
    expected = np.floor(divided) if mode == "FLOOR" else np.rint(divided)
    assert np.array_equal(q.decisions["y"].levels, expected)


def test_trunc_with_a_zero_point():
    trunc = node("Trunc", "q s p b t c", domain=QONNX, rounding_mode="FLOOR", signed=0)
    x = RNG.normal(size=(4, 50)).astype(np.float32) * 2
    arrays = {"t": np.float32(0.043) * 4, "c": 6.0}
    assert_equal_to_float_run(model([trunc], (1, 50), {**arrays, "p": 128.0}), x)
    with pytest.raises(UnsupportedModelError, match="its zero point, divided like the levels, is no integer"):
        import_proto(model([trunc], (1, 50), {**arrays, "p": 3.0}))
    old = node("Trunc", "q s p b c", domain=QONNX, rounding_mode="FLOOR")
    with pytest.raises(UnsupportedModelError, match="it truncates with a zero point"):
        import_proto(model([old], (1, 50), {"c": 5.0, "p": 128.0}, version=1))


# ------------------------------------------------------------------------------------------ channels last


@pytest.mark.parametrize(("kernel", "shape"), [([3, 2], (1, 7, 6, 4)), ([3], (1, 9, 4))])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_channels_last_conv_and_pool(kernel, shape, groups):
    rank = len(kernel)
    weight = RNG.normal(size=(8, *kernel, 4 // groups))
    more = {"strides": [1] * rank, "dilations": [1] * rank, "group": groups}
    pads = [1, 0, 2, 1] if rank == 2 else [1, 2]
    nodes = [
        node("Conv", "q w", "c", LAST, kernel_shape=kernel, pads=pads, **more),
        node("MaxPool", "c", "y", LAST, kernel_shape=kernel, strides=[2] * rank, pads=[0] * 2 * rank),
    ]
    proto = model(nodes, shape, {"w": weight})
    graph = assert_equal_to_float_run(proto, RNG.normal(size=(2, *shape[1:])).astype(np.float32))
    assert {type(n) for n in graph.nodes} >= {Conv, Pool}


def test_channels_last_is_what_qonnx_makes_of_it():
    """Its own executor, which transposes; no operation is rewritten before it runs."""
    norm = {name: RNG.uniform(0.5, 1.5, 8) for name in ("gamma", "beta", "mean", "variance")}
    nodes = [
        node(
            "Conv", "q w", "c", LAST, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], dilations=[1, 1], group=2
        ),
        node("BatchNormalization", "c gamma beta mean variance", "n", LAST, epsilon=1e-5),
        node("MaxPool", "n", "y", LAST, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]),
    ]
    proto = model(nodes, (1, 8, 8, 4), {"w": RNG.normal(size=(8, 3, 3, 2)), **norm}, output_shape=(1, 2, 2, 8))
    for name, shape in {"q": (1, 8, 8, 4), "c": (1, 4, 4, 8), "n": (1, 4, 4, 8)}.items():
        proto.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    x = RNG.normal(size=(1, 8, 8, 4)).astype(np.float32)
    found = execute_onnx(ModelWrapper(proto), {"x": x})["y"]
    run = Evaluation(import_proto(proto).graph, {"x": x.astype(np.float64)})
    assert np.abs(run.tensors["y"].value - found).max() < 1e-5
    assert_equal_to_float_run(proto, x)


def test_unknown_operations_of_the_dialect_are_refused():
    with pytest.raises(UnsupportedModelError, match="AveragePool 'y_AveragePool': this operation is not supported"):
        import_proto(model([node("AveragePool", "q", "y", LAST, kernel_shape=[2, 2])], (1, 4, 4, 2), {}))


# ---------------------------------------------------------------------------------------------- real files


def test_every_real_file_is_imported(shared):
    files = sorted(shared("models").rglob("*.onnx"))
    for path in files:
        import_model(path)
    assert len(files) > 40


@pytest.mark.parametrize("name", ["mnist_cnn_mdc", "qconv2d_10", "qconv2d_2", "qconv2d_conversion"])
def test_real_files_against_qonnx(shared, name):
    paths = [path for path in shared("models").rglob("*.onnx") if name in str(path)]
    assert paths
    for path in paths:
        proto = onnx.load(path)
        shape = frame_shape(import_proto(proto).graph)
        assert_equal_to_float_run(proto, RNG.normal(size=(2, *shape)).astype(np.float32))


# ------------------------------------------------------------------------------------------------ Brevitas


def exported(module, shape, tmp_path, export, **options):
    """A Brevitas module after two batches of calibration, exported."""
    torch = pytest.importorskip("torch")
    path = str(tmp_path / "model.onnx")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.randn(*shape)
        module.train()
        module(x)
        module(x)
        module.eval()
        module(x)
        export(module, x, path, **options)
    return onnx.load(path)


@pytest.fixture
def brevitas():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export = pytest.importorskip("brevitas.export")
        import brevitas.nn as layers
        from torch import nn
    return export, layers, nn


@pytest.mark.slow
def test_trunc_average_pool_of_brevitas(brevitas, tmp_path):
    export, layers, nn = brevitas

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant = layers.QuantIdentity(bit_width=8, return_quant_tensor=True)
            self.conv = layers.QuantConv2d(3, 4, 3, padding=1, bias=True, weight_bit_width=4)
            self.relu = layers.QuantReLU(bit_width=6, return_quant_tensor=True)
            self.pool = layers.TruncAvgPool2d(2, bit_width=5)
            self.linear = layers.QuantLinear(4, 3, bias=True, weight_bit_width=3)

        def forward(self, x):
            x = self.pool(self.relu(self.conv(self.quant(x))))
            return self.linear(getattr(x, "value", x).mean([2, 3]))

    proto = exported(Net(), (1, 3, 8, 8), tmp_path, export.export_qonnx)
    assert "Trunc" in {n.op_type for n in proto.graph.node}
    assert_equal_to_float_run(proto, RNG.normal(size=(5, 3, 8, 8)).astype(np.float32))


@pytest.mark.slow
def test_activations_of_torch(brevitas, tmp_path):
    export, layers, nn = brevitas
    functions = [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.ELU(), nn.Softplus()]
    functions += [nn.PReLU(3), nn.Hardtanh()]
    parts = [layers.QuantIdentity(bit_width=8)]
    for function in functions:
        parts += [function, layers.QuantIdentity(bit_width=6)]
    proto = exported(nn.Sequential(*parts), (1, 3, 8, 8), tmp_path, export.export_qonnx)
    assert_equal_to_float_run(proto, RNG.normal(size=(5, 3, 8, 8)).astype(np.float32))


@pytest.mark.slow
def test_qcdq_of_brevitas(brevitas, tmp_path):
    export, layers, nn = brevitas
    from brevitas.quant import Int8WeightPerChannelFloat, ShiftedUint8ActPerTensorFloat

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant = layers.QuantIdentity(bit_width=8, return_quant_tensor=True)
            self.conv = layers.QuantConv2d(
                3, 4, 3, bias=True, weight_bit_width=4, weight_quant=Int8WeightPerChannelFloat
            )
            self.relu = layers.QuantReLU(bit_width=6, return_quant_tensor=True)
            self.shifted = layers.QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat, return_quant_tensor=True)
            self.linear = layers.QuantLinear(4 * 36, 3, bias=True, weight_bit_width=8)

        def forward(self, x):
            return self.linear(self.shifted(self.relu(self.conv(self.quant(x)))).flatten(1))

    for options in ({"opset_version": 20}, {"opset_version": 13, "dynamo": False}):
        proto = exported(Net(), (1, 3, 8, 8), tmp_path, export.export_onnx_qcdq, **options)
        assert "QuantizeLinear" in {n.op_type for n in proto.graph.node}
        assert_equal_to_float_run(proto, RNG.normal(size=(5, 3, 8, 8)).astype(np.float32))


# ------------------------------------------------------------------------------------------- the last step


@pytest.mark.parametrize(
    "last",
    [
        node("ArgMax", "m", axis=1, keepdims=0),
        node("TopK", "m k", "v y", axis=1),
        node("Softmax", "m", axis=1),
    ],
    ids=lambda n: n.op_type,
)
def test_last_steps_run_in_float_too(last):
    proto = model([node("MatMul", "q w", "m"), last], (1, 12), {"w": RNG.normal(size=(12, 9))})
    proto.graph.initializer.append(numpy_helper.from_array(np.array([3], np.int64), "k"))
    proto.graph.output[0].name = "y"
    if last.op_type != "Softmax":
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert_equal_to_float_run(proto, RNG.normal(size=(50, 12)).astype(np.float32))
