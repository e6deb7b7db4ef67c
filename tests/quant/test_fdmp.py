# SPDX-License-Identifier: Apache-2.0
"""FDMP: learned steps and ranges, and memory budgets that are met."""

import math

import built
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import X, accuracy, model, train

from flow.errors import OptionError, TrainingError
from flow.quant.layers import activations, weight_layers
from flow.quant.methods.fdmp import Fdmp, LearnedRange
from flow.quant.models import build

floats = st.floats(-4, 4, width=32)
BUDGET, ACT_BUDGET = 1.2, 0.09


@given(st.lists(floats, min_size=1, max_size=20), st.floats(-6, 2), st.floats(-4, 2), st.booleans())
def test_the_width_is_what_the_range_takes(values, step, top, signed):
    learned = LearnedRange((), 4, signed=signed).eval()
    with torch.no_grad():
        learned.log_step.fill_(step)
        learned.log_range.fill_(top)
        value, scale, _, bits = learned(torch.tensor(values))
    ratio = 2.0 ** (np.float32(top) - np.rint(np.float32(step)))
    whole = max(1, math.ceil(round(math.log2(ratio + 1), 5)))  # float32 may lie on either side of a whole number
    assert int(bits) - signed == whole or abs(math.log2(ratio + 1) - round(math.log2(ratio + 1))) < 1e-5
    most = 2 ** (int(bits) - signed) - 1
    assert float(scale) == 2.0 ** np.rint(np.float32(step))
    expected = np.clip(np.rint(np.array(values) / float(scale)), -most if signed else 0, most)
    np.testing.assert_array_equal(value.numpy() / float(scale), expected)


def test_gradients_of_step_and_range():
    """Inside the range a step has the gradient of its rounding error; beyond it only the last level moves."""
    learned = LearnedRange((), 4, signed=True).eval()
    with torch.no_grad():
        learned.log_step.fill_(-2)
        learned.log_range.fill_(math.log2(7 / 4))
    for x, steps in ((0.6, 2), (-1.1, -4)):
        learned.zero_grad()
        learned(torch.tensor([x]))[0].sum().backward()
        expected = (steps * 0.25 - x) * math.log(2)
        pull = 1 + 5e-3 * (x / 0.25 - steps)  # of the rounding's own gradient
        assert float(learned.log_step.grad) == pytest.approx(
            steps * 0.25 * math.log(2) - x * pull * math.log(2), rel=1e-4
        )
        assert float(learned.log_step.grad) == pytest.approx(expected, abs=5e-3)
        assert float(learned.log_range.grad) == 0
    learned.zero_grad()
    learned(torch.tensor([9.0]))[0].sum().backward()
    assert float(learned.log_range.grad) > 0.5


@pytest.fixture(scope="module")
def run():
    torch.set_num_threads(1)
    network, method = model(weight_bits=6, act_bits=6, hidden=(32, 24)), Fdmp(BUDGET, ACT_BUDGET, each="channel")
    train(network, method)
    method.finalize()
    return network, method


def test_the_budgets_are_met(run):
    network, method = run
    bits = sum(int(b.expand_as(weight_layers(network)[n].weight).sum()) for n, b in method.assignment().items())
    assert bits <= BUDGET * 8000
    assert bits > 0.7 * BUDGET * 8000, "far below the budget: the memory was not used"
    assert method.metrics()["weight_kb"] == pytest.approx(bits / 8000, rel=1e-6)  # in float32
    acts = sum(int(p.bit_width()) * n for p, n in zip(activations(network).values(), (64, 32, 24), strict=True))
    assert acts <= ACT_BUDGET * 8000
    assert method.metrics()["act_kb"] == pytest.approx(acts / 8000, rel=1e-6)
    assert accuracy(network) > 0.85  # 0.92 without a budget
    assert max(len(b.unique()) for b in method.assignment().values()) > 1, "all channels have the same width"


def test_the_design_is_exact_and_as_narrow(run, tmp_path, monkeypatch):
    network, method = run
    for name, node in built.exactly(network, X[:8], tmp_path, monkeypatch).items():
        most = 2 ** (method.assignment()[name].numpy() - 1) - 1
        assert np.all(np.abs(node.weight.T) <= most)


def test_without_a_budget_widths_cost_nothing():
    network, method = model(), Fdmp()
    train(network, method, steps=20)
    assert float(method.loss().detach()) == 0
    method.finalize()


def test_phases():
    network, method = model(), Fdmp(0.6, every=2)
    method.prepare(network, X[:8], 40)
    learns = []
    for step in range(41):
        method.on_step(step)
        learns.append(method.own_parameters()[0].requires_grad)
    assert [step for step, on in enumerate(learns) if on] == list(range(10, 30, 2))
    assert bool(weight_layers(network)["3"].weight_quant.tensor_quant.learns)


def test_a_convolution_has_a_width_for_each_channel(tmp_path):
    network = build("lenet5", (1, 28, 28), 10, width=0.3)
    method = Fdmp(each="channel")
    method.prepare(network, torch.rand(4, 1, 28, 28), 10)
    assert [tuple(b.shape) for b in method.widths().values()][:2] == [(2, 1, 1, 1), (4, 1, 1, 1)]
    assert method.elements[next(iter(activations(network)))] == 28 * 28


def test_a_budget_may_be_used_to_the_last_bit():
    """3 bits for each of 4928 weights are 1.848 kB; the next number of float32 lies above."""
    network, method = model(hidden=(48, 32), weight_bits=3), Fdmp(1.848)
    method.prepare(network, X[:8], 40)
    assert {int(b) for b in method.assignment().values()} == {3}
    method.finalize()
    assert float(method.loss().detach()) == 0


def test_a_budget_that_was_not_reached_is_an_error():
    network, method = model(), Fdmp(0.6, strength=0.0)
    train(network, method, steps=20)
    with pytest.raises(TrainingError, match=r"the weights take .* kB; the budget is 0\.6"):
        method.finalize()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_kb": 0.1}, r"weight_kb is 0\.1.*kB at 2 bits"),
        ({"act_kb": 0.01}, r"act_kb is 0\.01"),
        ({"each": "layer"}, "'layer'"),
        ({"min_bits": 1}, "min_bits is 1"),
    ],
)
def test_messages(options, message):
    with pytest.raises(OptionError, match=message):
        Fdmp(**options).prepare(model(), X[:8], 10)
