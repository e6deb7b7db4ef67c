# SPDX-License-Identifier: Apache-2.0
"""Each method on handwritten digits, in seconds, with what defines it."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from flow import quant
from flow.errors import OptionError, TrainingError
from flow.quant.layers import activations, grid_position, load_state, state_of, weight_layers
from flow.quant.methods import METHODS, Method, Task
from flow.quant.methods.grids import Dorefa, DorefaWeights, UnitActivations, Wrpn, WrpnWeights
from flow.quant.methods.sinareq import Periodic, Sinareq
from flow.quant.methods.sinreq import Sinreq, off_grid, smooth_step
from flow.quant.methods.uniform import Uniform
from flow.quant.models import build

STEPS = 240
X, Y = (torch.from_numpy(a) for a in ((load_digits().data / 16).astype(np.float32), load_digits().target))
HELD_OUT = slice(1500, None)
SEARCH = {"choices": [2, 4], "evaluations": 8, "tune": 1}
QUICK = {
    **dict.fromkeys(("greedy", "random", "exhaustive", "ilp", "releq"), SEARCH),
    "sensitivity": {**SEARCH, "evaluations": 9},
}
"""Options of methods that would take too long without."""
TASK = Task(X[:1500], Y[:1500], nn.functional.cross_entropy)


def made(name):
    return METHODS[name](**QUICK.get(name, {}))


def model(**options):
    torch.manual_seed(0)
    return build("mlp", (64,), 10, **{"weight_bits": 4, "act_bits": 4, "hidden": (24, 16), **options})


def train(network, method, steps=STEPS, lr=3e-3, first=1, optimiser=None, last=None):
    """The loop that docs/training.md shows; ``first`` and ``last`` are for runs in two parts."""
    if first == 1:
        method.see(TASK)
        method.prepare(network, X[:8], steps)
    optimiser = optimiser or torch.optim.Adam(method.param_groups(lr))
    network.train()
    for step in range(first, (last or steps) + 1):
        batch = torch.randint(1500, (64,), generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        (nn.functional.cross_entropy(network(X[batch]), Y[batch]) + method.loss()).backward()
        optimiser.step()
        method.on_step(step)
    return optimiser


def accuracy(network):
    network.eval()
    with torch.no_grad():
        return float((network(X[HELD_OUT]).argmax(1) == Y[HELD_OUT]).float().mean())


def mean_off_grid(network):
    with torch.no_grad():
        return {name: float(off_grid(grid_position(layer))) for name, layer in weight_layers(network).items()}


def widths(method):
    return {name: int(bits) for name, bits in method.assignment().items()}


# ------------------------------------------------------------------------------------------------ every method


@pytest.mark.parametrize("name", METHODS)
def test_learns_and_exports(tmp_path, name):
    network, method = model(), made(name)
    train(network, method, steps=100)
    method.finalize()
    assert accuracy(network) > 0.6  # chance is 0.1; a float network of this size comes to 0.93 here
    assert set(method.assignment()) == set(weight_layers(network)) == set(method.widths())
    assert all(bits.dtype == torch.int64 for bits in method.assignment().values())
    quant.export(network, tmp_path / "m.onnx", X[:8])


@pytest.mark.parametrize("place", [9, 18])
@pytest.mark.parametrize("name", METHODS)
def test_a_run_in_two_parts_is_the_same_run(name, place):
    whole, method = model(), made(name)
    train(whole, method, steps=20)

    first, begun = model(), made(name)
    optimiser = train(first, begun, steps=20, last=place)
    saved = copy.deepcopy((state_of(first), optimiser.state_dict()))

    second, resumed = model(), made(name)
    torch.manual_seed(99)
    resumed.see(TASK)
    resumed.prepare(second, X[:8], 20)
    load_state(second, saved[0])
    resumed.on_step(place)
    optimiser = torch.optim.Adam(resumed.param_groups(3e-3))
    optimiser.load_state_dict(saved[1])
    train(second, resumed, steps=20, first=place + 1, optimiser=optimiser)
    state = second.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_groups_hold_each_parameter_once(name):
    network, method = model(), made(name)
    method.see(TASK)
    method.prepare(network, X[:8], STEPS)
    grouped = [id(p) for group in method.param_groups(0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters())


def test_the_plain_method_changes_nothing():
    network = model()
    before = copy.deepcopy(network.state_dict())
    method = Method()
    method.prepare(network, X[:8], STEPS)
    assert float(method.loss().detach()) == 0
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# ------------------------------------------------------------------------------------------- uniform and the grids


def test_uniform_gives_the_widths():
    network, method = model(), Uniform(3, 5, {"1.0": 6})
    method.prepare(network, X[:8], STEPS)
    assert list(widths(method).values()) == [6, 3, 3]
    assert [int(p.bit_width()) for p in activations(network).values()] == [5, 5, 5]
    with torch.no_grad():
        levels = weight_layers(network)["2.0"].quant_weight()
        assert int((levels.value / levels.scale).round().abs().max()) == 3


@pytest.mark.parametrize("kind", [Uniform, Dorefa, Wrpn, Sinreq])
def test_widths_that_cannot_be(kind):
    with pytest.raises(OptionError, match=r"the weights of 1\.0 cannot have 17 bits"):
        kind(17).prepare(model(), X[:8], STEPS)
    with pytest.raises(OptionError, match=r"no layer 'fc9' with weights\n.*1\.0, 2\.0, 3"):
        kind(4, None, {"fc9": 2}).prepare(model(), X[:8], STEPS)


@given(st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=20), st.integers(2, 6))
def test_dorefa_is_its_formula(values, bits):
    weight = np.array(values, np.float32)
    if not np.any(weight):
        return
    quantised, scale, _, width = DorefaWeights(bits)(torch.from_numpy(weight))
    levels = 2**bits - 1
    bent = np.tanh(weight.astype(np.float64))
    position = (bent / (2 * np.abs(bent).max()) + 0.5) * levels
    expected = 2 * np.rint(position) / levels - 1
    on_tie = np.abs(position - np.floor(position) - 0.5) < 1e-4  # float32 may round the other way
    # float32 computes 2q - 1 in a few roundings of 2**-24
    np.testing.assert_allclose(quantised.numpy()[~on_tie], expected[~on_tie], atol=1e-6)
    integers = np.rint(quantised.numpy() / float(scale))
    assert set(np.abs(integers) % 2) == {1.0}
    assert np.abs(integers).max() <= 2 ** (int(width) - 1) - 1


def test_dorefa_at_one_bit_is_the_mean_magnitude():
    weight = torch.tensor([0.5, -1.5, 0.25, -0.75], requires_grad=True)
    value, scale, _, bits = DorefaWeights(1)(weight)
    assert value.tolist() == [0.75, -0.75, 0.75, -0.75]
    assert (float(scale), float(bits)) == (0.75, 1.0)
    (value * torch.arange(4.0)).sum().backward()
    assert weight.grad.tolist() == [0, 1, 2, 3]


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20), st.integers(2, 8))
def test_wrpn_is_its_formula(values, bits):
    weight = np.array(values, np.float32)
    most = 2 ** (bits - 1) - 1
    quantised, scale, _, _ = WrpnWeights(bits)(torch.from_numpy(weight))
    np.testing.assert_array_equal(np.rint(quantised.numpy() / float(scale)), np.rint(np.clip(weight, -1, 1) * most))


def test_activations_lie_between_0_and_1():
    x = torch.tensor([-0.5, 0.1, 0.5, 0.9, 7.0])
    value, scale, _, bits = UnitActivations(2)(x)
    assert (value / scale).round().tolist() == [0, 0, 2, 3, 3]  # 1.5 is rounded to the even 2
    assert (float(scale), float(bits)) == (pytest.approx(1 / 3, rel=1e-6), 2.0)  # one rounding of float32


def test_a_layer_that_is_all_0_on_the_grid_is_scaled_to_fill_it():
    """Of 64 inputs, weights begin below 1/8; the least level of 3 bits is 1/3."""
    network = model()
    layers, before = weight_layers(network), {n: w.weight.detach().clone() for n, w in weight_layers(network).items()}
    assert float(before["1.0"].abs().max()) < 1 / 6 < float(before["3"].abs().max())
    Wrpn(3).prepare(network, X[:8], STEPS)
    assert torch.equal(layers["3"].weight, before["3"])
    assert torch.allclose(layers["1.0"].weight, before["1.0"] / before["1.0"].abs().max())
    train(network, Wrpn(3))
    assert accuracy(network) > 0.7  # chance is 0.1


def test_a_grid_keeps_the_quantiser_of_the_input():
    network = model()
    Wrpn(3).prepare(network, X[:8], STEPS)
    kinds = [type(p.fused_activation_quant_proxy.tensor_quant) for p in activations(network).values()]
    assert [k is UnitActivations for k in kinds] == [False, True, True]


# ----------------------------------------------------------------------------------------------------- SinReQ


def test_off_grid_is_0_on_the_grid_and_1_between():
    assert float(off_grid(torch.arange(-8.0, 9.0))) < 1e-10  # sin of a multiple of pi in float32
    assert float(off_grid(torch.arange(-8.0, 9.0) + 0.5)) == pytest.approx(1, abs=1e-6)  # the same
    assert float(off_grid(torch.linspace(0, 64, 100_000))) == pytest.approx(0.5, abs=1e-3)  # the mean of sin**2


@pytest.mark.parametrize("grid", ["own", "dorefa", "wrpn"])
def test_the_grid_of_sinreq_is_that_of_the_quantiser(grid):
    network, method = model(), Sinreq(3, grid=grid)
    method.prepare(network, X[:8], STEPS)
    layer = weight_layers(network)["1.0"]
    with torch.no_grad():
        if grid == "dorefa":  # the quantiser bends its input: its fixed points are those of the bent weight
            levels = (torch.arange(8) * 2 - 7) / 7 * 0.999999
            layer.weight.copy_(torch.atanh(levels).repeat(24, 8))
        else:
            layer.weight.copy_(layer.quant_weight().value)
    found = mean_off_grid(network)
    assert found["1.0"] < 1e-3  # 0 but for atanh near 1 in float32
    assert found["2.0"] > 0.2


def test_sinreq_pushes_weights_to_the_grid():
    bits = 3
    plain, drawn = model(), model()
    train(plain, Uniform(bits))
    method = Sinreq(bits)
    train(drawn, method)
    before, after = mean_off_grid(plain), mean_off_grid(drawn)
    assert all(after[name] < 0.1 for name in after), after
    assert all(before[name] > 0.3 for name in before), before
    assert accuracy(drawn) > accuracy(plain) - 0.05
    assert method.metrics()["off_grid"] == pytest.approx(np.mean(list(after.values())), rel=1e-6)  # in float32


def test_sinreq_sets_in_at_its_start():
    method = Sinreq(3, start=0.5)
    method.prepare(model(), X[:8], 100)
    found = []
    for step in (0, 40, 50, 60, 100):
        method.on_step(step)
        found.append(float(method.loss().detach()))
    assert found[0] < found[1] < 1e-3 * found[4]
    assert found[2] == pytest.approx(found[4] / 2, rel=1e-5)  # in float32
    assert found[3] > 0.99 * found[4]
    assert (smooth_step(0.5, 0.5), round(smooth_step(0.52, 0.5), 6)) == (0.5, round(0.5 + 0.5 * math.tanh(1), 6))


# ----------------------------------------------------------------------------------------------------- WaveQ


def test_the_period_is_the_grid():
    periodic = Periodic(2.3)
    weight = torch.linspace(-0.7, 0.7, 1001)
    value, step, _, bits = periodic(weight)
    assert float(step) == pytest.approx(0.7 / (2**2.3 - 1), rel=1e-6)  # in float32
    assert int(bits) == 4
    levels = (value / step).round()
    assert torch.equal(levels, (weight / step).round())
    assert int(levels.abs().max()) <= 2**3 - 1
    periodic.freeze(weight)
    assert torch.equal(periodic(weight * 0.5)[1], step), "a frozen period does not follow the weights"


def test_the_gradient_of_beta():
    """d/dbeta of sin(pi w (2^b - 1))^2 / 2^b by hand, for one weight beside the greatest."""
    method, network = Sinareq(strength=2.0, penalty=0.05), model(hidden=())
    method.prepare(network, X[:8], 100)
    method.on_step(50)
    layer = weight_layers(network)["1"]
    beta, w = 2.3, 0.41
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0], layer.weight[0, 1] = 1.0, w
        layer.weight_quant.tensor_quant.beta.fill_(beta)
    method.loss().backward()
    total = 0.0
    for value in (1.0, w):
        phase = math.pi * value * (2**beta - 1)
        inner = math.pi * value * math.log(2) * 2**beta
        total += (math.sin(2 * phase) * inner - math.log(2) * math.sin(phase) ** 2) / 2**beta / layer.weight.numel()
    expected = 2.0 * smooth_step(0.5, 0.2) * total + 0.05 * (smooth_step(0.5, 0.2) - smooth_step(0.5, 0.8))
    assert float(layer.weight_quant.tensor_quant.beta.grad) == pytest.approx(expected, rel=1e-4)  # sin in float32


def test_widths_follow_the_penalty():
    """The more a bit costs, the fewer there are, near the balance 2^beta = 0.5 ln 2 strength / penalty or above."""
    found = {}
    for penalty in (0.01, 0.1):
        network, method = model(hidden=(32, 24)), Sinareq(penalty=penalty)
        train(network, method)
        method.finalize()
        found[penalty] = [float(w.detach()) - 1 for w in method.widths().values()]
        balance = math.log2(0.5 * math.log(2) / penalty)
        # weights snap before the balance is reached, and then hold the period: never far below, up to 3 bits above
        assert all(balance - 0.5 < beta < balance + 3 for beta in found[penalty]), (balance, found[penalty])
        assert len({round(b, 3) for b in found[penalty]}) > 1, "all layers have the same width"
        assert max(mean_off_grid(network).values()) < 0.1
    assert np.mean(found[0.1]) < np.mean(found[0.01]) - 1


def test_widths_stay_within_their_range_and_freeze():
    network, method = model(), Sinareq(penalty=10.0, min_bits=3, max_bits=6, bits=5)
    optimiser = train(network, method, steps=50, last=40)
    assert list(widths(method).values()) == [3, 3, 3]
    before = [p.clone() for p in method.own_parameters()]
    train(network, method, steps=50, first=41, optimiser=optimiser)
    assert all(torch.equal(a, b) for a, b in zip(before, method.own_parameters(), strict=True))


def test_weights_snap_when_the_rate_has_fallen_to_zero():
    network, method = model(), Sinareq(strength=0.1)
    optimiser = train(network, method, steps=100, last=80)
    layers = method.layers.values()
    with torch.no_grad():
        before = [layer.quant_weight().value for layer in layers]
    assert min(method.off_grid().values()) > 0.1
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    train(network, method, steps=100, first=81, optimiser=optimiser)
    assert max(method.off_grid().values()) < 0.001
    method.finalize()
    with torch.no_grad():
        assert all(torch.equal(layer.quant_weight().value, b) for layer, b in zip(layers, before, strict=True))


def test_weights_that_do_not_snap_are_an_error():
    network, method = model(), Sinareq(strength=1e-6)
    train(network, method, steps=40, last=33)
    with pytest.raises(TrainingError, match=r"did not snap.*1\.0 \(0\.\d\d\), 2\.0"):
        method.finalize()


@pytest.mark.parametrize("options", [{"min_bits": 5, "max_bits": 4}, {"min_bits": 1}, {"bits": 12}, {"max_bits": 17}])
def test_an_empty_range_of_widths(options):
    with pytest.raises(OptionError, match="bits"):
        Sinareq(**options)
