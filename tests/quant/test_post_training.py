# SPDX-License-Identifier: Apache-2.0
"""After training: the pipeline and its parts, sensitivities, and grids with two regions, on one float network."""

import copy
import itertools

import built
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusals import check_refused
from test_methods import TASK, X, accuracy, model, train, widths
from torch import nn

from flow.errors import OptionError
from flow.quant.layers import average_bits, set_weight_bits, weight_layers
from flow.quant.methods import Method, Task
from flow.quant.methods.floating import Floating, float_copy
from flow.quant.methods.post_training import calibrate, equalise_ranges, fold_norms
from flow.quant.methods.ptilmpq import Ptilmpq, TwoRegions, fitted
from flow.quant.methods.ptq import Ptq
from flow.quant.methods.search import Layer, Problem
from flow.quant.methods.sensitivity import Damage, Sensitivity, interactions, made_task, sensitivities, settle
from flow.quant.models import build

SOME = TASK.some(256)
FLOAT32 = {"rtol": 1e-4, "atol": 1e-4}  # the same function with its factors in another order


@pytest.fixture(scope="module")
def trained():
    """In float; its activations have no scales yet."""
    torch.set_num_threads(1)
    network = model(weight_bits=8, act_bits=8)
    floating = Floating(network)
    train(network, Method())
    floating.remove()
    return network.eval()


@pytest.fixture(scope="module")
def calibrated(trained):
    network = copy.deepcopy(trained)
    calibrate(network, SOME.x)
    return network


def after(method, network):
    """What the method makes of a copy."""
    twin = copy.deepcopy(network)
    method.see(TASK)
    method.prepare(twin, X[:8], 0)
    method.finalize()
    return twin


def noise(network, trained):
    """Of the held-out frames' outputs, as a share of the float network's."""
    with torch.no_grad():
        wanted = float_copy(trained)(X[1500:])
        return float((network(X[1500:]) - wanted).square().sum() / wanted.square().sum())


def integers(network):
    with torch.no_grad():
        quantised = {name: layer.quant_weight() for name, layer in weight_layers(network).items()}
    return {name: (q.value / q.scale).round() for name, q in quantised.items()}


# --------------------------------------------------------------------------------------------------- the float part


def unlike(network):
    """Norms as after some training: each channel another one."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.3, 3)
        norm.bias.data.normal_()
    return norms


@pytest.mark.parametrize(("name", "shape"), [("lenet5", (1, 28, 28)), ("resnet8", (3, 8, 8)), ("ds_cnn", (1, 49, 10))])
def test_folded_and_equalised_the_float_network_stays_what_it_is(name, shape):
    network = build(name, shape, 10, width=0.25, weight_bits=5)
    assert unlike(network)
    x = torch.randn(4, *shape)
    wanted = float_copy(network)(x)
    fold_norms(network)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())
    torch.testing.assert_close(float_copy(network)(x), wanted, **FLOAT32)
    before = [layer.weight.clone() for layer in weight_layers(network).values()]
    equalise_ranges(network)
    torch.testing.assert_close(float_copy(network)(x), wanted, **FLOAT32)
    now = [layer.weight for layer in weight_layers(network).values()]
    assert sum(not torch.equal(a, b) for a, b in zip(now, before, strict=True)) > len(now) / 2
    assert all(int(layer.weight_quant.bit_width()) == 5 for layer in weight_layers(network).values())


def test_a_norm_that_is_not_alone_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, x):
            layer, norm, _ = self.inner[1]
            read = layer(x)
            return norm(read) + read

    network = Twice()
    fold_norms(network)
    assert isinstance(network.inner[1][1], nn.BatchNorm1d)


def test_equalising_undoes_what_a_scaling_of_channels_spoils(trained):
    """One scale for a tensor, and channels a hundred times as large as others: 4 bits hold only the large ones."""
    network = model(weight_bits=4, act_bits=8, scales="tensor")
    with torch.no_grad():
        for name, value in trained.state_dict().items():
            if name in network.state_dict() and "quant" not in name:
                network.state_dict()[name].copy_(value)
        factors = torch.logspace(-1, 1, 24)
        network[1][1].weight *= factors
        network[1][1].bias *= factors
        network[2][0].weight /= factors
    spoilt = noise(after(Ptq(equalise=False), network), trained)
    mended = noise(after(Ptq(), network), trained)
    assert mended < spoilt / 10


def test_calibration_forgets_what_training_has_seen(trained, calibrated):
    network = copy.deepcopy(trained)
    network[0].train()(100 * X[:64])
    calibrate(network.eval(), SOME.x)
    scale = float(network[0].act_quant.scale())
    assert scale == float(calibrated[0].act_quant.scale())
    # the kit's range is the 99th percentile of magnitudes, here of a signed integer of 8 bits
    percentile = float(np.quantile(SOME.x.abs().numpy(), 0.99, method="nearest"))
    assert scale * 128 == pytest.approx(percentile, rel=1e-6)  # float32


def test_biases_make_up_for_the_mean(trained):
    without, corrected = (
        after(Ptq(3, correct=False, rounding="nearest"), trained),
        after(Ptq(3, rounding="nearest"), trained),
    )
    layer, same = weight_layers(corrected)["2.0"], weight_layers(without)["2.0"]
    x = TASK.some(512).x
    with torch.no_grad():
        # the layer in front gives its float answer while a layer is corrected
        first = corrected[1][2](float_copy(without).get_submodule("1.0")(corrected[0](x)))
        lost = (first @ (layer.weight - layer.quant_weight().value).T).mean(0)
    torch.testing.assert_close(layer.bias - same.bias, lost, **FLOAT32)


# --------------------------------------------------------------------------------------------------------- rounding


def test_rounding_by_what_layers_give_is_better_than_to_the_nearest_level(trained):
    """At two bits; the noise was 0.19 (nearest), 0.16 (GPTQ) and 0.10 (learned)."""
    found = {kind: after(Ptq(2, rounding=kind, steps=150), trained) for kind in ("nearest", "gptq", "learned")}
    noises = {kind: noise(network, trained) for kind, network in found.items()}
    assert noises["gptq"] < 0.95 * noises["nearest"], noises
    assert noises["learned"] < 0.75 * noises["nearest"], noises
    assert accuracy(found["learned"]) > accuracy(found["nearest"])
    assert all(set(each.unique().tolist()) == {-1, 0, 1} for each in integers(found["gptq"]).values())


def test_learned_rounding_takes_one_of_the_two_levels_around_a_weight(trained):
    options = {"equalise": False, "correct": False}
    nearest, learned = (after(Ptq(3, rounding=r, steps=60, **options), trained) for r in ("nearest", "learned"))
    moved = 0
    for name, layer in weight_layers(nearest).items():
        scale = layer.quant_weight().scale
        assert torch.equal(scale, weight_layers(learned)[name].quant_weight().scale)
        position, chosen = (layer.weight / scale).detach(), integers(learned)[name]
        inside = position.abs() < 3
        assert bool(((chosen == position.floor()) | (chosen == position.ceil()))[inside].all())
        moved += int((chosen != integers(nearest)[name]).sum())
    assert moved > 0


def test_the_widths_are_those_asked_for(trained):
    network = after(Ptq(5, 4, {"2.0": 3}, rounding="nearest"), trained)
    most = {name: int(each.abs().max()) for name, each in integers(network).items()}
    assert most == {"1.0": 15, "2.0": 3, "3": 15}
    assert all(int(m.act_quant.bit_width()) == 4 for m in (network[0], network[1][2], network[2][2]))


def test_powers_of_two_stay_so():
    network = after(Ptq(3, rounding="nearest"), model(scales="pow2"))
    scales = torch.stack([layer.quant_weight().scale for layer in weight_layers(network).values()])
    assert torch.equal(scales.log2(), scales.log2().round())


def test_a_network_with_a_pipeline_behind_it_is_built(tmp_path, monkeypatch):
    """With the rounding that Brevitas' own export drops: it writes the float weight, to be rounded to the nearest."""
    network = after(Ptq(3, 4, rounding="learned", steps=20), model(hidden=(10,)))
    found = integers(network)
    for name, node in built.exactly(network, X[:8], tmp_path, monkeypatch).items():
        np.testing.assert_array_equal(node.weight.T, found[name].numpy())


# ---------------------------------------------------------------------------------------------------- sensitivities


def test_measures_are_their_formulas(calibrated):
    network = copy.deepcopy(calibrated)
    for (name, layer), bits in zip(weight_layers(network).items(), (2, 8, 3), strict=True):
        set_weight_bits(layer, bits, name)
    with torch.no_grad():
        own, wanted = (n(SOME.x).double().numpy() for n in (network, float_copy(network)))
        weights = [
            (layer.weight.numpy(), layer.quant_weight().value.numpy()) for layer in weight_layers(network).values()
        ]
    chances, reference = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (own, wanted))
    expected = {
        "kl": (reference * np.log(reference / chances)).sum(1).mean(),
        "loss": -np.log(chances[np.arange(len(SOME.y)), SOME.y.numpy()]).mean(),
        "noise": np.square(own - wanted).sum() / np.square(wanted).sum(),
        "weights": sum(np.square(w - q).sum() / np.square(w).sum() for w, q in weights),
    }
    for by, value in expected.items():
        assert Damage(calibrated, SOME, by)((2, 8, 3)) == pytest.approx(value, rel=1e-4), by  # float32 against float64


def test_layers_depend_on_each_other(calibrated):
    """Alone, the two widest layers lose a quarter less than together; the errors of weights just add up."""
    choices, low, high = (2, 8), (2, 2, 2), (8, 8, 8)
    measured = Damage(calibrated, SOME, "kl")
    alone, among = (sensitivities(measured, choices, company) for company in (high, low))
    pairs = interactions(measured, choices)
    assert pairs[0, 1] == pytest.approx(measured((2, 2, 8)) - measured(high) - alone[0, 2] - alone[1, 2], abs=1e-12)
    assert pairs[0, 1] > 0.2 * (alone[0, 2] + alone[1, 2])
    assert among[1, 2] > 2 * alone[1, 2]
    assert all(losses[place, 8] == 0 for losses in (alone, among) for place in range(3))
    by_weights = interactions(Damage(calibrated, SOME, "weights"), choices)
    assert all(abs(loss) < 1e-5 for loss in by_weights.values())  # sums of float32


class Landscape:
    """A made-up damage: layers 0 and 1 hurt little alone, and much where one of them only is narrow."""

    def __init__(self):
        self.layers, self.asked = [Layer(f"l{i}", 100) for i in range(4)], 0

    def __call__(self, assignment):
        self.asked += 1
        alone = sum(s * 4.0**-b for s, b in zip((1.0, 4.0, 2.0, 2.0), assignment, strict=True))
        return alone + 0.5 * ((assignment[0] < 4) != (assignment[1] < 4)) * (assignment[2] < 4)


def test_widths_are_settled_by_measuring_in_company():
    damage = Landscape()
    problem = Problem(damage.layers, (2, 4, 8), lambda w: 0.0, 0)
    for budget in (2.5, 3.0, 4.0):
        first, last = settle(damage, problem, budget, 0), settle(damage, problem, budget, 3)
        assert problem.bits(last) <= budget
        assert damage(last) <= damage(first)
    assert damage(settle(damage, problem, 3.0, 3)) < damage(settle(damage, problem, 3.0, 0))


def test_a_budget_gives_widths(trained):
    method = Ptq(budget=3.0, choices=[2, 3, 4, 8], frames=256)
    network = after(method, trained)
    assert average_bits(network) <= 3
    assert set(widths(method).values()) <= {2, 3, 4, 8}
    assert accuracy(network) > 0.85  # 0.90 in float


def test_made_frames_show_each_class_to_the_float_network(calibrated):
    made = made_task(calibrated, (64,), 10, 40)
    first = calibrated[0].act_quant
    reach = float(first.scale()) * 127
    assert float(made.x.abs().max()) <= reach * (1 + 1e-6)  # a product in float32
    with torch.no_grad():
        seen = float_copy(calibrated)(made.x).argmax(1)
    assert float((seen == made.y).float().mean()) > 0.95
    assert made.y.bincount().tolist() == [4] * 10
    assert torch.equal(made.x, made_task(calibrated, (64,), 10, 40).x)


def test_the_method_leaves_its_tables_and_nothing_else():
    network, method = model(weight_bits=8), Sensitivity([2, 4], budget=3.0, evaluations=4, tune=0, frames=64)
    before = set(network.state_dict())
    train(network, method, steps=20)
    method.finalize()
    assert {name for name in network.state_dict() if not name.endswith("bits")} <= before
    tables = method.tables()
    assert [(row["layer"], row["bits"]) for row in tables["sensitivity"]] == list(
        itertools.product(weight_layers(network), (2, 4))
    )
    assert all(row["alone"] == row["among"] == 0 for row in tables["sensitivity"] if row["bits"] == 4)
    assert any(row["alone"] != row["among"] for row in tables["sensitivity"])
    assert [(row["layer"], row["with"]) for row in tables["interactions"]] == list(
        itertools.combinations(weight_layers(network), 2)
    )
    assert average_bits(network) <= 3


# ------------------------------------------------------------------------------------------------ two-region grids


def grid_levels(bits, ratio):
    half = 2 ** (bits - 2)
    sizes = [*range(half), *range(half, half + half * 2**ratio, 2**ratio)]
    return np.array(sorted({*sizes, *(-s for s in sizes)}))


@given(
    st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=20),
    st.integers(2, 6).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, b - 2))),
)
def test_a_weight_takes_the_nearest_of_all_levels(values, kind):
    (bits, ratio), weight = kind, np.array(values, np.float32)
    one = torch.ones(1)
    grid = TwoRegions(one * 0.5, one * bits, one * ratio)
    value, scale, _, width = grid(torch.from_numpy(weight))
    found = (value / scale).numpy()
    allowed = grid_levels(bits, ratio)
    assert len(allowed) == 2**bits - 1
    assert set(found.tolist()) <= set(allowed.tolist())
    position = weight / 0.5
    nearest = np.abs(position[:, None] - allowed).min(1)
    np.testing.assert_array_equal(np.abs(found - position), nearest)  # powers of two: float32 is exact
    sparse = found[np.abs(found) >= 2 ** (bits - 2)].astype(int)
    assert np.all(sparse % 2**ratio == 0)
    most = int(allowed.max())
    assert 2 ** (int(width) - 2) - 1 < most <= 2 ** (int(width) - 1) - 1
    assert bits <= int(width) <= bits + ratio


def test_a_grid_with_more_ratios_to_choose_from_is_no_worse():
    weight = torch.randn(6, 40) * torch.rand(6, 1)
    weight[:, :3] *= 4  # tails
    codes = torch.tensor([[3.0], [3.0], [4.0], [4.0], [5.0], [2.0]])
    errors = []
    for ratios in range(4):
        for powers in (False, True):
            grid = fitted(weight, 0, codes, ratios, powers_of_two=powers)
            assert bool((grid.ratio <= (codes - 2)).all())
            assert not powers or torch.equal(grid.scale.log2(), grid.scale.log2().round())
        errors.append((fitted(weight, 0, codes, ratios, powers_of_two=False)(weight)[0] - weight).square().sum(1))
    assert all(bool((later <= earlier).all()) for earlier, later in itertools.pairwise(errors))
    assert float(errors[1].sum()) < 0.9 * float(errors[0].sum())
    assert float(errors[1][5]) == float(errors[0][5])  # two bits have no room for two regions


def test_important_channels_of_important_layers_get_more(trained):
    method = Ptilmpq(low=3, high=5, important=0.34, channels=0.25, act_bits=4, frames=256)
    network = after(method, trained)
    grids = {name: layer.weight_quant.tensor_quant for name, layer in weight_layers(network).items()}
    shares = {name: float((grid.codes == 5).float().mean()) for name, grid in grids.items()}
    assert shares == {"1.0": 0.25, "2.0": 0.0, "3": 0.0}, "the first layer loses most, see test_layers_depend"
    size = weight_layers(network)["1.0"].weight.abs().sum(1)
    assert set(size.argsort()[-6:].tolist()) == set((grids["1.0"].codes[:, 0] == 5).nonzero()[:, 0].tolist())
    assert any(bool((grid.ratio > 0).any()) for grid in grids.values())
    assert accuracy(network) > 0.85  # 0.90 in float


def test_what_two_regions_hold_is_what_is_built(tmp_path, monkeypatch):
    method = Ptilmpq(low=3, high=5, channels=0.25, ratio=2)
    network = after(method, model(hidden=(10,)))
    assigned = method.assignment()
    for name, node in built.exactly(network, X[:8], tmp_path, monkeypatch).items():
        grid = weight_layers(network)[name].weight_quant.tensor_quant
        wanted = grid.integers(weight_layers(network)[name].weight.detach()).numpy().astype(np.int64)
        np.testing.assert_array_equal(node.weight.T, wanted)
        assert bool((grid.ratio > 0).any()), "no channel took two regions"
        assert np.all(np.abs(wanted) <= 2 ** (assigned[name].numpy() - 1) - 1)
        half, step = 2.0 ** (grid.codes.numpy() - 2), 2 ** grid.ratio.numpy().astype(int)
        assert np.all((np.abs(wanted) < half) | (wanted % step == 0))


# --------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Ptq, {"rounding": "up"}, r"no rounding 'up'\n.*nearest, gptq or learned"),
        (Ptq, {"steps": 0}, "steps = 0"),
        (Ptq, {"frames": 0}, "frames = 0"),
        (Ptq, {"budget": 3.0, "weight_bits": 4}, "widths of weights are given, and a budget"),
        (Ptq, {"budget": 1.5}, r"budget = 1\.5 bits a weight from the choices"),
        (Ptq, {"layers": {"fc9": 2}}, "no layer 'fc9'"),
        (Ptilmpq, {"low": 5, "high": 4}, "low = 5, high = 4"),
        (Ptilmpq, {"channels": 1.5}, r"channels = 1\.5"),
        (Sensitivity, {"by": "guess"}, "no measure 'guess'"),
        (Sensitivity, {"data": "none"}, "no frames 'none'"),
        (Sensitivity, {"frames": 0}, "frames = 0"),
        (Sensitivity, {"evaluations": 5}, "the budgets take 9 evaluations, and evaluations = 5"),
    ],
)
def test_messages(kind, options, message):
    check_refused(kind, options, message, model(), TASK)


def test_networks_that_cannot_be():
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, x):
            return self.inner(x) if x.sum() > 0 else self.inner(-x)

    with pytest.raises(OptionError, match=r"cannot be traced.*\n.*fold = false"):
        after(Ptq(), Deciding())
    with pytest.raises(OptionError, match=r"1\.0 cannot have 1 bits"):
        after(Ptq(), model(weight_bits=1))
    with pytest.raises(OptionError, match=r"the activation 1\.2 cannot have 1 bits"):
        after(Ptq(), model(act_bits=1))
    shared = model(hidden=(64, 64))
    shared[2][0].weight_quant = shared[1][0].weight_quant
    shared[1][0].weight_quant.add_tracked_module(shared[2][0])
    with pytest.raises(OptionError, match=r"1\.0 shares its quantiser"):
        after(Ptq(), shared)
    rebuilt = Task(X, X, nn.functional.mse_loss)
    with pytest.raises(OptionError, match="task has no classes"):
        Damage(model(), rebuilt, "kl")
    method = Sensitivity()
    method.see(rebuilt)
    with pytest.raises(OptionError, match="without classes"):
        method.prepare(model(), X[:8], 10)
