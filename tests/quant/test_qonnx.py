# SPDX-License-Identifier: Apache-2.0
"""What is exported is what was trained, by both exporters; a file that is not is refused."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from flow.errors import ExportError, UnsupportedModelError
from flow.frontend.importer import import_model
from flow.frontend.onnx_file import module_of
from flow.ir.near_ties import parameter_quantizers
from flow.ir.reference import Evaluation
from flow.quant import qonnx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import brevitas.nn as qnn
    from brevitas.export import export_qonnx
    from brevitas.inject import value
    from brevitas.loss import WeightBitWidthWeightedBySize
    from brevitas.quant import Int8WeightPerTensorFloat, Int32Bias, Uint8ActPerTensorFloat
    from brevitas.quant.scaled_int import Int8AccumulatorAwareWeightQuant, Int8AccumulatorAwareZeroCenterWeightQuant

EXPORTERS = pytest.mark.parametrize("dynamo", [False, True], ids=["legacy", "dynamo"])


class ChannelWidths(nn.Module):
    """2, 3, 4, ... bits, one output channel after the other."""

    def __init__(self, bits_shape):
        super().__init__()
        self.register_buffer("bits", torch.arange(bits_shape[0]).remainder(5).add(2.0).reshape(bits_shape))

    def forward(self):
        return self.bits


class PerChannelWidths(Int8WeightPerTensorFloat):
    scaling_per_output_type = "channel"
    bit_width_impl = ChannelWidths

    @value
    def bits_shape(module):  # noqa: N805  (an injector has no self)
        return (module.weight.shape[0], *[1] * (module.weight.ndim - 1))


def weight_like(**options):
    return type("Weight", (Int8WeightPerTensorFloat,), options)


WEIGHTS = {
    "plain": {"weight_bit_width": 4},
    "binary": {"weight_quant": "binary"},
    "learned_width": {"weight_bit_width": 5, "weight_bit_width_impl_type": "parameter"},
    "a2q": {"weight_quant": Int8AccumulatorAwareWeightQuant, "weight_accumulator_bit_width": 12, "weight_bit_width": 4},
    "a2q_plus": {
        "weight_quant": Int8AccumulatorAwareZeroCenterWeightQuant,
        "weight_accumulator_bit_width": 12,
        "weight_bit_width": 4,
    },
    "floor": {"weight_quant": weight_like(float_to_int_impl_type="floor"), "weight_bit_width": 3},
    "to_zero": {"weight_quant": weight_like(float_to_int_impl_type="round_to_zero"), "weight_bit_width": 3},
    "learned_round": {
        "weight_quant": weight_like(float_to_int_impl_type="learned_round", learned_round_impl_type="hard_sigmoid"),
        "weight_bit_width": 3,
    },
    "per_channel": {"weight_quant": PerChannelWidths},
}


def network(weight, act_bits=4, bias=True):
    """A convolution and two dense layers; the activations in between are QuantTensors, as A2Q needs them."""
    if weight.get("weight_quant") == "binary":
        from brevitas.quant import SignedBinaryWeightPerTensorConst

        weight = {"weight_quant": SignedBinaryWeightPerTensorConst}
    body = nn.Sequential(
        qnn.QuantConv2d(2, 6, 3, bias=bias, **weight),
        nn.BatchNorm2d(6),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=act_bits, return_quant_tensor=True),
    )
    model = nn.Sequential(
        qnn.QuantIdentity(bit_width=6, return_quant_tensor=True),
        body,
        nn.Flatten(),
        qnn.QuantLinear(96, 8, bias=bias, bias_quant=Int32Bias if bias else None, **weight),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=act_bits, return_quant_tensor=True),
        qnn.QuantLinear(8, 3, bias=bias, **weight),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            model(torch.randn(16, 2, 6, 6))
    for module in model.modules():
        if hasattr(module, "p_hard_sigmoid") or "learned_round" in type(module).__name__.lower():
            for parameter in module.parameters():
                nn.init.normal_(parameter)  # rounds up here and down there
    return model


def weights_of(path):
    """The integers of the file's layers, by module, as the exact reference defines them."""
    imported = import_model(path)
    run = Evaluation(imported.graph, {imported.input_name: np.zeros((1, 2, 6, 6))})
    return {
        imported.origin_of(name).module: run.decisions[name].levels
        for name in parameter_quantizers(imported.graph)
        if "weight_quant" in imported.origin_of(name).node
    }


@EXPORTERS
@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_file_is_the_model(tmp_path, kind, dynamo):
    model = network(WEIGHTS[kind])
    path = qonnx.export(model, tmp_path / "m.onnx", torch.randn(4, 2, 6, 6), dynamo=dynamo)
    found = weights_of(path)
    model.eval()
    model(torch.zeros(1, 2, 6, 6))
    layers = {name: m for name, m in model.named_modules() if isinstance(m, qnn.QuantConv2d | qnn.QuantLinear)}
    assert list(layers) == ["1.0", "3", "5"]
    inputs = model[0](torch.zeros(1, 2, 6, 6)) if kind.startswith("a2q") else None
    for name, layer in layers.items():
        if inputs is not None and name != "1.0":
            inputs = model[4].eval()(torch.zeros(1))
        weight = layer.quant_weight(inputs) if inputs is not None else layer.quant_weight()
        expected = torch.round(weight.value / weight.scale).to(torch.int64).numpy()
        np.testing.assert_array_equal(found[name], expected)
    if kind == "per_channel":
        reach = np.abs(found["1.0"]).reshape(6, -1).max(axis=1)
        np.testing.assert_array_equal(reach, [1, 3, 7, 15, 31, 1])


@EXPORTERS
def test_one_bit_without_a_sign_is_zero_and_one(tmp_path, dynamo):
    model = network(WEIGHTS["plain"], act_bits=1)
    path = qonnx.export(model, tmp_path / "m.onnx", torch.randn(4, 2, 6, 6), dynamo=dynamo)
    assert "BipolarQuant" not in {node.op_type for node in onnx.load(path).graph.node}


@EXPORTERS
def test_loss_hooks_are_no_part_of_the_export(tmp_path, dynamo):
    model = network(WEIGHTS["learned_width"])
    loss = WeightBitWidthWeightedBySize(model)
    model(torch.randn(2, 2, 6, 6))
    before = len(loss.weighted_bit_width_list)
    qonnx.export(model, tmp_path / "m.onnx", torch.randn(2, 2, 6, 6), dynamo=dynamo)
    assert len(loss.weighted_bit_width_list) == before
    model(torch.randn(2, 2, 6, 6))
    assert len(loss.weighted_bit_width_list) > before, "the model lost its hooks"


@EXPORTERS
def test_the_file_is_clean(tmp_path, dynamo):
    model = network(WEIGHTS["plain"])
    path = qonnx.export(model, tmp_path / "m.onnx", torch.randn(2, 2, 6, 6), dynamo=dynamo, names=("pixels", "scores"))
    graph = onnx.load(path).graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["pixels", "scores"]
    assert b".py" not in path.read_bytes()
    assert not graph.metadata_props
    assert not any(each.metadata_props for each in (*graph.node, *graph.initializer))
    assert len({node.name for node in graph.node}) == len(graph.node)
    assert {"1.0.weight", "3.weight", "5.weight", "5.bias"} <= {each.name for each in graph.initializer}
    modules = [module_of(node) for node in graph.node if node.op_type == "Quant"]
    assert modules == ["0", "1.0", "1.2", "3", "3", "4", "5"]
    assert next(module_of(node) for node in graph.node if node.op_type == "Conv") == "1.0"


def test_the_model_is_left_as_it_is(tmp_path):
    model = network(WEIGHTS["floor"]).train()
    model[3].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    qonnx.export(model, tmp_path / "m.onnx", torch.randn(2, 2, 6, 6))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, model[3].training) == (True, False)
    assert not model[3].export_mode


@pytest.mark.parametrize("kind", ["a2q", "floor", "learned_round"])
def test_a_wrong_file_is_an_error_that_names_the_layer(tmp_path, monkeypatch, kind):
    """What Brevitas itself writes for these quantisers."""

    def as_brevitas(twin, calls, frame, names, **_):
        export_qonnx(twin, frame, str(tmp_path / "raw.onnx"), dynamo=False)
        return onnx.load(tmp_path / "raw.onnx")

    monkeypatch.setattr(qonnx, "_written", as_brevitas)
    with pytest.raises(ExportError, match=r"(?s)does not compute what torch.*\n  1\.0: element \d+: the model defi"):
        qonnx.export(network(WEIGHTS[kind]), tmp_path / "m.onnx", torch.randn(2, 2, 6, 6))
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(("place", "named"), [("1.0.weight", "1.0"), ("3.bias", "3"), ("1.1.running_mean", "1.2")])
def test_a_changed_number_is_found(tmp_path, monkeypatch, place, named):
    written = qonnx._written

    def changed(*arguments, **options):
        proto = written(*arguments, **options)
        for tensor in proto.graph.initializer:
            if tensor.name == place:
                values = onnx.numpy_helper.to_array(tensor).copy()
                values.reshape(-1)[0] += 1.0
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, place))
        return proto

    monkeypatch.setattr(qonnx, "_written", changed)
    with pytest.raises(ExportError, match=rf"\n  {named}: "):
        qonnx.export(network(WEIGHTS["plain"]), tmp_path / "m.onnx", torch.randn(4, 2, 6, 6))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = qnn.QuantIdentity(bit_width=4)
        self.layer = qnn.QuantLinear(4, 4, bias=True, weight_bit_width=3)

    def forward(self, x):
        return self.layer(self.act(self.layer(self.act(x))))


@EXPORTERS
def test_layers_that_are_used_twice(tmp_path, dynamo):
    model = Twice()
    model(torch.randn(8, 4))
    qonnx.export(model, tmp_path / "m.onnx", torch.randn(4, 4), dynamo=dynamo)


def test_messages(tmp_path):
    with pytest.raises(ExportError, match="holds no quantiser"):
        qonnx.export(nn.Linear(4, 4), tmp_path / "m.onnx", torch.zeros(1, 4))
    with pytest.raises(ExportError, match=r"example has shape \[4\]"):
        qonnx.export(Twice(), tmp_path / "m.onnx", torch.zeros(4))
    model = nn.Sequential(qnn.QuantIdentity(bit_width=4), nn.Softsign())
    model(torch.randn(8, 4))
    with pytest.raises(UnsupportedModelError):
        qonnx.export(model, tmp_path / "m.onnx", torch.zeros(1, 4))
