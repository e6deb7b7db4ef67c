# SPDX-License-Identifier: Apache-2.0
"""Every model of the collection, small and with random weights, is a network that can be built."""

import pytest
import torch

import flow
from flow import quant
from flow.errors import OptionError
from flow.quant.layers import activations, average_bits, weight_bits, weight_layers
from flow.quant.models import MODELS, build

IMAGE = (3, 32, 32)
SHAPES = {"mlp": (1, 8, 8), "kws_mlp": (490,), "jet_tagger": (16,), "autoencoder": (24,), "ds_cnn": (1, 49, 10)}
LAYERS = {
    "mlp": 3,
    "kws_mlp": 4,
    "jet_tagger": 4,
    "autoencoder": 10,
    "lenet5": 5,
    "simplenet": 5,
    "vgg11": 9,
    "cnv": 9,
    "svhn8": 8,
    "svhn10": 10,
    "alexnet": 8,
    "resnet8": 10,
    "resnet18": 21,
    "resnet20": 22,
    "mobilenet_v1": 28,
    "mobilenet_v2": 53,
    "ds_cnn": 10,
}
"""As the sources count them; the residual networks with the convolutions of their shortcuts."""
DEEP = ("resnet18", "resnet20", "mobilenet_v1", "mobilenet_v2", "vgg11", "cnv")


ALIKE = ("resnet20", "svhn10", "vgg11", "jet_tagger")
"""Made as another model is, of more or fewer of the same parts: their export would show nothing new."""


def small(name, **options):
    shape = SHAPES.get(name, IMAGE)
    outputs = 24 if name == "autoencoder" else 10
    width = 1 / 32 if name in ("alexnet", "vgg11", "resnet18", "mobilenet_v1") else 1 / 8
    model = build(name, shape, outputs, **{"width": width, **options})
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(8, *shape))
    return model, shape


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in DEEP else n for n in MODELS])
def test_model_can_be_inspected(tmp_path, name):
    model, shape = small(name)
    assert len(weight_layers(model)) == LAYERS[name]
    if name in ALIKE:
        return
    found = flow.inspect(quant.export(model, tmp_path / "m.onnx", torch.randn(1, *shape)))
    assert not found.problems
    assert found.input_shape == shape
    assert sum(layer.weight is not None for layer in found.layers) == LAYERS[name]
    assert sum(layer.macs for layer in found.layers) > 0


@pytest.mark.parametrize("scales", ["channel", "tensor", "pow2"])
def test_each_width_is_a_parameter(scales):
    bits, acts = (8, 1, 4, 2, 6), (5, 1, 3, 2)
    model, _ = small("lenet5", weight_bits=bits, act_bits=acts, scales=scales, width=1.0)
    assert [int(weight_bits(layer)) for layer in weight_layers(model).values()] == list(bits)
    assert [int(proxy.bit_width()) for proxy in activations(model).values()] == [8, *acts]
    counts = [layer.weight.numel() for layer in weight_layers(model).values()]
    assert average_bits(model) == pytest.approx(
        sum(b * c for b, c in zip(bits, counts, strict=True)) / sum(counts), rel=1e-12
    )  # float64 of whole numbers: one division


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "lenet6"}, "there is no model 'lenet6'"),
        ({"weight_bits": (4, 4)}, "weight_bits has 2 widths, but the model has more layers"),
        ({"weight_bits": (4,) * 6}, "weight_bits has 6 widths for 5 layers"),
        ({"act_bits": 0}, "act_bits cannot be 0"),
        ({"weight_bits": (4, 4, 17, 4, 4)}, "weight_bits cannot be 17"),
        ({"scales": "row"}, "there are no scales 'row'"),
        ({"width": 0.0}, "the width 0 is not positive"),
        ({"shape": (64,)}, "takes images"),
        ({"shape": (1, 8, 8)}, "too small for lenet5"),
        ({"hidden": (4,)}, "has hidden layers of its own"),
    ],
)
def test_messages(options, message):
    given = {"name": "lenet5", "shape": (1, 28, 28), "outputs": 10, **options}
    with pytest.raises(OptionError, match=message):
        build(given.pop("name"), given.pop("shape"), given.pop("outputs"), **given)


@pytest.mark.parametrize("scales", ["channel", "tensor", "pow2"])
def test_binary_weights_learn(scales):
    """Quantising leaves the float weights as they are, and they have a gradient."""
    network = build("mlp", (16,), 4, weight_bits=1, scales=scales, hidden=(8,)).train()
    weight = network[-1].weight
    before = weight.detach().clone()
    network(torch.randn(8, 16)).square().sum().backward()
    if scales != "pow2":  # there the clipping to a fixed scale is meant
        assert torch.equal(weight, before)
    assert float(weight.grad.abs().sum()) > 0
