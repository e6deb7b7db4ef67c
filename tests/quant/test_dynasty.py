# SPDX-License-Identifier: Apache-2.0
"""DYNASTY-style training: blocks that matter have full width, more and more of them, and all of them at the end."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import X, accuracy, model, train, widths

from flow import quant
from flow.api.compile import compile_model
from flow.errors import OptionError
from flow.ir.dataflow import Dense
from flow.quant.layers import average_bits, weight_layers
from flow.quant.methods.dynasty import Blocks, Dynasty


class Fine(torch.nn.Module):
    """A quantiser that finds every weight on its grid."""

    def forward(self, weight):
        return weight, torch.tensor(1.0), torch.tensor(0.0), torch.tensor(6.0)


@given(st.lists(st.integers(-31, 31), min_size=1, max_size=24), st.integers(1, 5), st.integers(2, 6))
def test_blocks_without_full_width_have_few_bits(values, size, low):
    weight = torch.tensor([values, values[::-1]], dtype=torch.float32)
    blocks = Blocks(Fine(), tuple(weight.shape), 6, low, size)
    blocks.full[1] = True
    found = blocks(weight)[0].numpy()
    coarse = 2 ** (6 - low)
    most = (2 ** (low - 1) - 1) * coarse
    expected = np.clip(np.rint(np.array(values) / coarse) * coarse, -most, most)
    np.testing.assert_array_equal(found, [expected, values[::-1]])
    assert blocks.own_bits(weight).tolist() == [[low] * len(values), [6] * len(values)]


def test_the_sensitivity_is_error_times_gradient():
    weight = torch.nn.Parameter(torch.tensor([[1.0, 4.0, 9.0], [8.0, 8.0, 0.0]]))
    blocks = Blocks(Fine(), (2, 3), 6, 4, 2)  # coarse levels are multiples of 4
    weight.grad = torch.tensor([[2.0, 1.0, 3.0], [5.0, 5.0, 5.0]])
    blocks.observe(weight)
    expected = [[(1 + 0) * (4 + 1), 1 * 9], [0, 0]]
    torch.testing.assert_close(blocks.sensitivity, 0.1 * torch.tensor(expected, dtype=torch.float32))
    blocks.observe(weight)
    torch.testing.assert_close(blocks.sensitivity, 0.19 * torch.tensor(expected, dtype=torch.float32))


def test_the_share_of_full_width_rises_and_the_sensitive_go_first():
    network, method = model(), Dynasty(first=0.25, end=0.5, block=8, every=10)
    method.prepare(network, X[:8], 100)
    blocks = method._blocks()
    with torch.no_grad():
        for place, each in enumerate(blocks.values()):
            each.sensitivity.fill_(place + 1.0)
            each.sensitivity[0, 0] = 9.0
    shares = {}
    for step in range(1, 101):
        method.on_step(step)
        full = torch.cat([each.full.flatten() for each in blocks.values()])
        shares[step] = float(full.float().mean())
        if step == 10:
            assert bool(blocks["1.0"].full[0, 0])
            assert bool(blocks["2.0"].full.all())
            assert bool(blocks["3"].full.all())
    rounding = 0.5 / len(full)
    assert shares[10] == pytest.approx(0.25 + 0.75 * 0.2, abs=rounding)
    assert shares[40] == shares[49] == pytest.approx(0.25 + 0.75 * 0.8, abs=rounding)
    assert shares[50] == shares[100] == 1


def test_a_training_has_fewer_bits_until_its_end():
    network, method = model(weight_bits=5), Dynasty(low=2)
    optimiser = train(network, method, steps=60, last=20)
    meanwhile = average_bits(network)
    assert 2.5 < meanwhile < 4.5
    train(network, method, steps=60, first=21, optimiser=optimiser)
    assert average_bits(network) == 5


def test_what_is_exported_has_full_width(tmp_path):
    network, method = model(), Dynasty(layers={"2.0": 6})
    kinds = [type(layer.weight_quant.tensor_quant) for layer in weight_layers(network).values()]
    train(network, method, steps=100)
    method.finalize()
    assert [type(layer.weight_quant.tensor_quant) for layer in weight_layers(network).values()] == kinds
    assert list(widths(method).values()) == [4, 6, 4]
    assert accuracy(network) > 0.7  # 0.9 without blocks
    compiled = compile_model(quant.export(network, tmp_path / "m.onnx", X[:8]))
    products = [node for node in compiled.graph.nodes if isinstance(node, Dense)]
    found = [int(np.abs(node.weight).max()) for node in products]
    assert found == [2 ** (bits - 1) - 1 for bits in widths(method).values()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1}, "low = 1"),
        ({"low": 4}, "low = 4, and no layer has more bits"),
        ({"block": 0}, "block = 0"),
        ({"first": 1.5}, r"first = 1\.5"),
    ],
)
def test_messages(options, message):
    with pytest.raises(OptionError, match=message):
        Dynasty(**options).prepare(model(), X[:8], 10)
