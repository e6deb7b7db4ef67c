# SPDX-License-Identifier: Apache-2.0
"""A2Q: the bound holds on integer weights, and the compiler's accumulators are that narrow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_methods import X, accuracy, model, train

from flow import quant
from flow.api.compile import compile_model
from flow.errors import OptionError, TrainingError
from flow.ir.dataflow import Convolution, Dense
from flow.quant.layers import weight_layers
from flow.quant.methods.a2q import A2q, A2qPlus, BoundedNorm, input_ranges
from flow.quant.models import build

P = 10
FIRST = {"1.0": 14}


def integers(network):
    with torch.no_grad():
        found = {name: layer.quant_weight() for name, layer in weight_layers(network).items()}
    return {name: (w.value / w.scale).round().to(torch.int64).numpy() for name, w in found.items()}


def worst_sums(weights, lo, hi):
    """The least and the greatest sum over all inputs: each input has the worst value for its weight."""
    flat = weights.reshape(len(weights), -1)
    ends = np.stack([flat * lo, flat * hi])
    return int(ends.min(axis=0).sum(axis=1).min()), int(ends.max(axis=0).sum(axis=1).max())


@pytest.mark.parametrize("kind", [A2q, A2qPlus])
def test_the_accumulators_are_that_narrow(tmp_path, kind):
    network, method = model(weight_bits=6), kind(P, FIRST)
    train(network, method)
    method.finalize()
    assert accuracy(network) > 0.7  # chance is 0.1
    ranges = input_ranges(network, X[:8])
    assert ranges == {"1.0": (-128, 127), "2.0": (0, 15), "3": (0, 15)}
    reached = []
    for name, weights in integers(network).items():
        bits = FIRST.get(name, P)
        low, high = worst_sums(weights, *ranges[name])
        reached.append(max(-low, high) / (2 ** (bits - 1) - 1))
        assert reached[-1] <= 1, (name, low, high)
    assert max(reached) > 0.5, "the bound binds nothing here"
    compiled = compile_model(quant.export(network, tmp_path / "m.onnx", X[:8]))
    sums = {compiled.imported.origin_of(n.name).module: n.acc for n in compiled.graph.nodes if isinstance(n, Dense)}
    assert {name: acc.bits <= FIRST.get(name, P) for name, acc in sums.items()} == dict.fromkeys(sums, True)


def test_plain_training_needs_wider_accumulators(tmp_path):
    network, method = model(weight_bits=6), quant.methods.METHODS["uniform"]()
    train(network, method, steps=40)
    compiled = compile_model(quant.export(network, tmp_path / "m.onnx", X[:8]))
    sums = {compiled.imported.origin_of(n.name).module: n.acc for n in compiled.graph.nodes if isinstance(n, Dense)}
    assert sums["2.0"].bits > P


@pytest.mark.parametrize("centred", [False, True])
def test_the_bound_holds_for_any_weights(centred):
    generator = torch.Generator().manual_seed(0)
    for most in (1, 2, 8, 30, 200):
        for size in (1, 3, 40):
            weight = torch.randn(5, size, generator=generator) * torch.rand(5, 1, generator=generator)
            norm = BoundedNorm(weight, 0, 6, most, centred=centred)
            with torch.no_grad():
                norm.log_norm += 3.0  # far beyond the bound
                value, scale, _, _ = norm(weight)
            levels = (value / scale).round()
            assert int(levels.abs().sum(1).max()) <= most
            if centred:
                assert int(levels.clamp_min(0).sum(1).max()) <= most / 2


def test_the_penalty_is_what_lies_beyond_the_bound():
    weight = torch.tensor([[1.0, -1.0, 2.0], [0.5, 0.0, 0.0]])
    norm = BoundedNorm(weight, 0, 3, 2, centred=False)
    scales = np.array([2.0, 0.5]) / 3
    expected = np.maximum(np.array([4.0, 0.5]) - 2 * scales, 0).sum()
    assert float(norm.excess().detach()) == pytest.approx(expected, rel=1e-6)  # exp and log in float32


def test_ranges_are_those_of_the_layer_that_reads():
    network = build("resnet8", (3, 8, 8), 10, width=0.25, act_bits=4)
    ranges = input_ranges(network, torch.randn(4, 3, 8, 8))
    assert set(ranges) == set(weight_layers(network))
    assert ranges["3.shortcut.0"] == (0, 15), "the shortcut reads the ReLU, not the last quantiser that ran"
    assert ranges[list(ranges)[-1]][0] == -128


def test_messages():
    with pytest.raises(OptionError, match=r"no weight fits into an accumulator of 6 bits in 1\.0.*127"):
        A2q(6).prepare(model(), X[:8], 10)
    with pytest.raises(OptionError, match="no layer 'fc1' with weights"):
        A2q(16, {"fc1": 20}).prepare(model(), X[:8], 10)
    with pytest.raises(OptionError, match=r"the weights of 1\.0 have 1 bit"):
        A2q(16).prepare(model(weight_bits=1), X[:8], 10)


def test_accumulators_that_leave_nothing_of_a_layer():
    """8-bit inputs and 10 bits: magnitudes that sum to 4 at most, over 64 weights; each alone is cut off."""
    method = A2q(16, {"1.0": 10})
    method.prepare(model(), X[:8], 10)
    with pytest.raises(TrainingError, match=r"all weights of 1\.0 were cut off to 0: accumulators of 10 bits"):
        method.finalize()


def test_convolutions(tmp_path):
    network = build("lenet5", (1, 28, 28), 10, weight_bits=5)
    frames = torch.rand(8, 1, 28, 28)
    A2q(12, {"1": 16}).prepare(network, frames, 1)
    network(frames)
    compiled = compile_model(Path(quant.export(network, tmp_path / "m.onnx", frames[:1])))
    sums = [n.acc.bits for n in compiled.graph.nodes if isinstance(n, Dense | Convolution)]
    assert sums[0] <= 16
    assert max(sums[1:]) <= 12
