# SPDX-License-Identifier: Apache-2.0
"""HGQ: widths by gradient, effective bit operations, and pruned weights that are 0 in the file."""

import math

import built
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import X, accuracy, model, train

from flow.errors import OptionError
from flow.quant.layers import weight_layers
from flow.quant.methods.hgq import FineActivation, FinePoint, Hgq
from flow.quant.methods.inputs import layer_inputs
from flow.quant.models import build

floats = st.floats(-8, 8, width=32)


@given(st.lists(st.tuples(floats, st.integers(-4, 8)), min_size=1, max_size=12))
def test_each_weight_is_rounded_to_its_own_bits(pairs):
    weight, fraction = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    point = FinePoint(weight.shape, torch.from_numpy(fraction).float(), 8)
    with torch.no_grad():
        value, scale, _, bits = point(torch.from_numpy(weight).float())
        own = point.own_bits(torch.from_numpy(weight).float()).numpy()
    expected = np.floor(weight * 2**fraction + 0.5) / 2**fraction
    np.testing.assert_array_equal(value.numpy(), expected)  # powers of two: float32 is exact
    integers = expected / float(scale)
    assert np.array_equal(integers, np.rint(integers))
    assert np.abs(integers).max() <= 2 ** (int(bits) - 1) - 1
    for number, places, width in zip(expected, fraction, own, strict=True):
        steps = abs(int(number * 2**places))
        assert width == (steps.bit_length() + 1 if steps else 0)


def test_half_a_step_is_rounded_up():
    point = FinePoint((4,), torch.zeros(4), 8)
    assert point(torch.tensor([0.5, 2.5, -0.5, -2.5]))[0].tolist() == [1, 3, 0, -2]


def test_the_gradient_of_the_bits_is_that_of_the_error():
    weight = torch.tensor([0.3, -1.37, 0.9, 0.01])
    point = FinePoint((4,), torch.tensor([2.0, 3.0, 1.0, 4.0]), 8)
    value, *_ = point(weight)
    value.sum().backward()
    expected = math.log(2) * (weight - value.detach())
    torch.testing.assert_close(point.fraction.grad, expected, atol=1e-6, rtol=0)  # a few roundings of float32


def test_an_activation_saturates_at_its_range():
    fine = FineActivation(3).train()
    fine(torch.tensor([0.1, 5.0]))  # 3 bits in front of the point, none behind it
    fine.eval()
    value, scale, _, bits = fine(torch.tensor([-1.0, 0.4, 2.6, 6.9, 8.0, 100.0]))
    assert (value.tolist(), float(scale), float(bits)) == ([0, 0, 3, 7, 7, 7], 1.0, 3.0)
    with torch.no_grad():
        fine.fraction += 1.4  # rounded
    assert fine(torch.tensor([2.6]))[0].tolist() == [2.5]


@pytest.mark.parametrize("each", ["weight", "channel"])
def test_ebops_are_the_sum_over_all_products(each):
    network, method = build("lenet5", (1, 28, 28), 10, width=0.4, weight_bits=5, act_bits=3), Hgq(each=each)
    frames = torch.rand(4, 1, 28, 28)
    method.prepare(network, frames, 10)
    network.train()(frames)
    assert float(method.ebops().detach()) == pytest.approx(method.start[0], rel=0.2)  # ranges were unknown at the start
    positions = {name: found.positions for name, found in layer_inputs(network, frames).items()}
    assert list(positions.values()) == [28 * 28, 10 * 10, 1, 1, 1]
    total = 0
    for name, layer in weight_layers(network).items():
        widths = np.maximum(method.assignment()[name].expand_as(layer.weight).numpy() - 1, 0)
        source = method.inputs[name]
        (path,) = source.quantizers
        bits = int(method._activations()[path].bits().detach()) if path in method._activations() else 7
        total += int(widths.sum()) * positions[name] * bits
    assert float(method.ebops().detach()) == total


@pytest.fixture(scope="module")
def runs():
    found = {}
    torch.set_num_threads(1)
    for strength in (0.01, 1.0):
        network, method = model(weight_bits=6, act_bits=6, hidden=(32, 24)), Hgq(strength=strength)
        train(network, method)
        method.finalize()
        found[strength] = network, method
    return found


def test_widths_follow_the_price(runs):
    (free, cheap), (dear, priced) = runs[0.01], runs[1.0]
    assert float(priced.ebops().detach()) < 0.4 * float(cheap.ebops().detach())
    assert priced.metrics()["pruned"] > cheap.metrics()["pruned"] + 0.1
    assert accuracy(dear) > 0.85  # plain training at 6 bits has 0.92 here
    assert accuracy(free) > 0.88
    for bits in priced.assignment().values():
        assert len(bits.unique()) > 3, "all weights of a layer have the same width"


def test_pruned_weights_are_zero_in_the_file_and_the_design_is_exact(runs, tmp_path, monkeypatch):
    network, method = runs[1.0]
    products = built.exactly(network, X[:8], tmp_path, monkeypatch)
    for name, bits in method.assignment().items():
        integers = products[name].weight.T
        np.testing.assert_array_equal(integers == 0, bits.numpy() == 0)
        found = np.array([len(f"{abs(i):b}".rstrip("0")) for i in integers.ravel()]).reshape(integers.shape)
        assert np.all(found <= np.maximum(bits.numpy() - 1, 0)), "an integer has more bits than its weight"
    assert sum(int((b == 0).sum()) for b in method.assignment().values()) > 100


def test_a_channel_has_one_width(tmp_path):
    network, method = model(weight_bits=6), Hgq(each="channel", strength=0.5)
    train(network, method, steps=100)
    bits = method.assignment()["2.0"]
    assert bits.shape == (16, 1)
    assert len(bits.unique()) > 1


def test_widths_are_final_at_the_end():
    network, method = model(), Hgq()
    optimiser = train(network, method, steps=50, last=40)
    before = [p.clone() for p in method.own_parameters()]
    train(network, method, steps=50, first=41, optimiser=optimiser)
    assert all(torch.equal(a, b) for a, b in zip(before, method.own_parameters(), strict=True))


def test_an_activation_may_keep_its_width():
    network, method = model(), Hgq(act_widths=False, penalty=0.1)
    train(network, method, steps=20)
    assert not method._activations()
    assert torch.isfinite(method.loss())


@pytest.mark.parametrize("options", [{"max_fraction": 0}, {"max_fraction": 13}, {"each": "layer"}])
def test_messages(options):
    with pytest.raises(OptionError, match=r"max_fraction|'layer'"):
        Hgq(**options)
