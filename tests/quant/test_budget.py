# SPDX-License-Identifier: Apache-2.0
"""What learned widths cost, held against the planner and against plain counting; the budget that follows from it."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from flow import quant
from flow.api.compile import compile_model
from flow.errors import OptionError, RecipeError, TrainingError
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_resources
from flow.plan.folding import fold
from flow.plan.goals import Goals
from flow.plan.goals import cost as price
from flow.plan.layers import layers_of
from flow.plan.resources import Resources
from flow.quant import cost
from flow.quant.budget import Budget
from flow.quant.cost_board import BoardTable, board_table, compiled
from flow.quant.methods import METHODS
from flow.quant.methods.sinareq import Sinareq
from flow.quant.methods.uniform import Uniform
from flow.quant.models import build
from flow.quant.training import train

BOARD = boards.load("pynq-z2")
IMAGES = torch.from_numpy((load_digits().images[:, None] / 16).astype(np.float32))
LABELS = torch.from_numpy(load_digits().target)


def prepared(name="mlp", steps=200, most=6, **options):
    """A model whose widths Sinareq learns, and its method; scales have seen frames."""
    torch.manual_seed(1)
    shape = (1, 8, 8) if name == "mlp" else (1, 28, 28)
    sizes = {"hidden": (12, 8)} if name == "mlp" else {"width": 0.34}
    model = build(name, shape, 10, **{"act_bits": 3, **sizes, **options})
    method = Sinareq(penalty=0.0, bits=most, max_bits=most)
    x = IMAGES[:32] if name == "mlp" else nn.functional.interpolate(IMAGES[:32], (28, 28))
    method.prepare(model, x, steps)
    model(x)
    return model, method, x


def set_widths(method, bits):
    for layer, width in zip(method.layers.values(), bits, strict=True):
        layer.weight_quant.tensor_quant.beta.data.fill_(width - 1)


# ------------------------------------------------------------------------------------------------- bits, operations


def test_counts_are_plain_sums():
    model, method, x = prepared("lenet5")
    set_widths(method, [2, 3, 4, 5, 6])
    uses = compiled(model, x).uses()
    widths = method.widths()
    positions = dict(zip(method.layers, [28 * 28, 10 * 10, 1, 1, 1], strict=True))
    assert {name: use.positions for name, use in uses.items()} == positions
    assert [use.input_bits for use in uses.values()] == [8, 3, 3, 3, 3]
    numbers = [layer.weight.numel() for layer in method.layers.values()]
    bits = sum(n * b for n, b in zip(numbers, [2, 3, 4, 5, 6], strict=True))
    whole = method.assignment()
    assert float(cost.weight_bits(method.layers, whole)) == bits
    assert float(cost.average_bits(method.layers, whole)) == pytest.approx(bits / sum(numbers))  # a quotient in float32
    operations = sum(
        n * p * b * a for n, p, b, a in zip(numbers, positions.values(), [2, 3, 4, 5, 6], [8, 3, 3, 3, 3], strict=True)
    )
    assert float(cost.bit_operations(method.layers, whole, uses)) == operations
    cost.bit_operations(method.layers, widths, uses).backward()
    for (name, layer), n in zip(method.layers.items(), numbers, strict=True):
        beta = layer.weight_quant.tensor_quant.beta
        assert float(beta.grad) == n * positions[name] * uses[name].input_bits


def test_widths_of_single_weights_and_channels_count_each():
    layer = nn.Linear(3, 2)
    layers = {"a": layer, "b": nn.Linear(2, 2)}
    widths = {"a": torch.tensor([[1.0, 2, 3], [0, 5, 6]]), "b": torch.tensor([[2.0], [7]])}
    assert float(cost.weight_bits(layers, widths)) == 17 + 18
    uses = {"a": cost.Use(1, 4), "b": cost.Use(10, 2)}
    assert float(cost.bit_operations(layers, widths, uses)) == 17 * 4 + 18 * 20


@given(st.lists(st.integers(-127, 127), min_size=1, max_size=12))
def test_effective_bits(levels):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([float(level) for level in levels]))

        def quant_weight(self):
            return type("Q", (), {"value": self.weight * 0.3, "scale": torch.tensor(0.3)})

    width = torch.tensor(8.0, requires_grad=True)
    found = cost.effective_bits(Layer(), width)
    assert found.tolist() == [len(bin(abs(level))[2:].strip("0")) for level in levels]
    found.sum().backward()
    assert float(width.grad) == sum(level != 0 for level in levels)


# ---------------------------------------------------------------------------------------------------- of the board


def planners_figures(model, x, start, tmp_path):
    """What the planner counts for the model's own file: the plan's decisions, with the cheapest form of each step."""
    layers = layers_of(compile_model(quant.export(model, tmp_path / "m.onnx", x[:2])).graph)

    def total(layer, plan):
        return price(sum(layer_resources(layer, plan, BOARD).values(), Resources.zero()), BOARD)

    plans = [
        min((replace(decided, form=form) for form in layer.forms or ["none"]), key=lambda p, at=layer: total(at, p))
        for layer, decided in zip(layers, start.layers, strict=True)
    ]
    design = build_design(layers, replace(start, layers=tuple(plans)), BOARD.axis_bits)
    return [amount for _, amount in design_resources(design, BOARD).total.items()]


@pytest.mark.parametrize(("name", "fps"), [("mlp", 2e6), ("lenet5", 1000)])
def test_at_whole_widths_the_table_is_the_planner(name, fps, tmp_path):
    model, method, x = prepared(name)
    goals = Goals(target_fps=fps, utilization={"dsp": 0.01})
    networks = {bits: compiled(model, x, dict.fromkeys(method.layers, bits)) for bits in (2, 3, 4)}
    table = board_table(networks, dict.fromkeys(method.layers, 4), BOARD, 100.0, goals)
    start = fold(networks[4].layers, BOARD, 100.0, goals).plan
    model(x)  # as its copies did, which moves the statistics of the norms
    rng, seen = random.Random(0), []
    for assignment in ([2] * len(method.layers), *([rng.randint(2, 4) for _ in method.layers] for _ in range(2))):
        set_widths(method, assignment)
        widths = {name: width.float() for name, width in method.assignment().items()}
        assert [int(width) for width in widths.values()] == assignment
        seen.append(table.amounts(widths).tolist())
        assert seen[-1] == planners_figures(model, x, start, tmp_path), assignment
    assert len({tuple(row) for row in seen}) > 2


def test_between_whole_widths_the_table_is_a_line():
    table = BoardTable(2, torch.tensor([100.0, 7]), {"a": torch.tensor([[-30.0, 0], [-10, 1], [0, 5]])})
    for width, lut, slope in (
        (2.0, 70, 20),
        (2.5, 80, 20),
        (3.0, 90, 10),
        (3.5, 95, 10),
        (4.0, 100, 10),
        (5.0, 110, 10),
    ):
        given_width = torch.tensor(width, requires_grad=True)
        found = table.amounts({"a": given_width})[0]
        found.backward()
        assert (float(found.detach()), float(given_width.grad)) == (lut, slope)
    assert table.amounts({"a": torch.tensor([[2.0], [3.0]])}).tolist() == [90, 8]  # as wide as the widest channel


# ------------------------------------------------------------------------------------------------------- the budget


def trained(budget, steps=200, **options):
    """Sinareq on digits with a budget, in the loop that its docstring shows; the pressure at each step."""
    model, method, x = prepared(steps=steps, **options)
    budget.prepare(method, x)
    optimiser = torch.optim.Adam(method.param_groups(3e-3))
    pressures = []
    for step in range(1, steps + 1):
        batch = torch.randint(1500, (64,), generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(IMAGES[batch]), LABELS[batch]) + method.loss() + budget.loss()
        loss.backward()
        optimiser.step()
        method.on_step(step)
        budget.on_step(step)
        pressures.append(budget.excess + 1)
    return model, method, pressures


@pytest.mark.parametrize(
    "limits",
    [{"average_bits": 4.0}, {"weight_bits": 2700}, {"bit_operations": 21_000}, {"effective_bit_operations": 9_000}],
    ids=lambda limits: next(iter(limits)),
)
def test_widths_go_to_the_budget_and_stay_there(limits):
    budget = Budget(**limits)
    pressures = trained(budget)[2]
    (name, limit), metrics = next(iter(limits.items())), budget.metrics()
    assert pressures[0] > 1
    assert 0.6 * limit < metrics[f"cost:{name}"] <= limit
    assert metrics["budget"] == metrics[f"cost:{name}"] / limit
    budget.check()


@pytest.mark.parametrize(
    ("name", "limits"), [("hgq", {"effective_bit_operations": 9_000}), ("fdmp", {"average_bits": 3.5})]
)
def test_other_methods_that_learn_widths_take_it(name, limits):
    torch.manual_seed(1)
    model = build("mlp", (1, 8, 8), 10, act_bits=3, hidden=(12, 8), scales="pow2")
    method, budget, steps = METHODS[name](), Budget(**limits), 200
    method.prepare(model, IMAGES[:64], steps)
    budget.prepare(method, IMAGES[:64])
    begin = budget.excess
    assert begin > 0
    optimiser = torch.optim.Adam(method.param_groups(3e-3))
    for step in range(1, steps + 1):
        batch = torch.randint(1500, (64,), generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(IMAGES[batch]), LABELS[batch]) + method.loss() + budget.loss()
        loss.backward()
        optimiser.step()
        method.on_step(step)
        budget.on_step(step)
    budget.check()


def test_widths_above_the_budget_are_not_frozen():
    """The budget ends between two widths of the great layer: it goes to the lower one before it is frozen."""
    _, method, x = prepared(steps=10)
    budget = Budget(average_bits=3.0)
    budget.prepare(method, x)
    set_widths(method, (3, 3, 3))
    with torch.no_grad():
        method.own_parameters()[0].fill_(2.0002)  # four bits, sign included
    for step in (8, 9):
        method.on_step(step)
        budget.on_step(step)
        assert not any(layer.weight_quant.tensor_quant.frozen for layer in method.layers.values())
    with torch.no_grad():
        method.own_parameters()[0].fill_(2.0)
    method.on_step(10)
    assert all(layer.weight_quant.tensor_quant.frozen for layer in method.layers.values())
    budget.check()


def test_fine_widths_above_the_budget_learn_on():
    model = build("mlp", (1, 8, 8), 10, act_bits=3, hidden=(12, 8), scales="pow2")
    method = METHODS["hgq"]()
    method.prepare(model, IMAGES[:64], 10)
    method.on_step(9)
    assert not any(parameter.requires_grad for parameter in method.own_parameters())
    Budget(average_bits=2.5).prepare(method, IMAGES[:64])
    method.on_step(9)
    assert all(parameter.requires_grad for parameter in method.own_parameters())


def test_more_room_is_used():
    """The same training with twice the room ends with wider weights."""
    ends = []
    for bits in (3.0, 5.0):
        budget = Budget(average_bits=bits)
        trained(budget)
        ends.append(budget.metrics()["cost:average_bits"])
    assert ends[0] <= 3 < ends[1] <= 5


def test_a_budget_on_a_board_is_met_by_the_planner(tmp_path):
    """The least widths fit, those at the start do not: they are learned down until the planner's design fits."""
    fps = 2e6
    model, method, x = prepared(most=4)
    goals = Goals(target_fps=fps, utilization={"dsp": 0.01})
    luts = []
    for bits in (2, 4):
        network = compiled(model, x, dict.fromkeys(method.layers, bits))
        luts.append(fold(network.layers, BOARD, 100.0, goals).resources.lut)
    limit = sum(luts) / 2
    assert luts[0] < limit < luts[1]
    budget = Budget(board="pynq-z2", fps=fps, lut=limit / BOARD.resources.lut, dsp=0.01, plans=1)
    model, method, pressures = trained(budget, most=4)
    assert pressures[0] > 1
    file = quant.export(model, tmp_path / "model.onnx", IMAGES[:4])
    budget.check(file, tmp_path / "plan.toml")
    design = fold(layers_of(compile_model(file).graph), BOARD, 100.0, budget.goals)
    assert design.resources.lut <= limit
    assert (tmp_path / "plan.toml").is_file()


def test_the_check_names_what_is_over():
    budget = Budget(average_bits=3.0)
    _, method, x = prepared()
    budget.prepare(method, x)
    with pytest.raises(TrainingError, match="do not meet the budget: average_bits 6 of 3"):
        budget.check()


def test_a_board_that_is_too_small_for_what_was_learned(tmp_path):
    model, method, x = prepared()
    budget = Budget(board="pynq-z2", fps=2e6, lut=0.3)
    budget.attach(method, x)
    budget.table = BoardTable(2, torch.zeros(5), {})
    budget.goals = Goals(target_fps=9e7)
    with pytest.raises(TrainingError, match="do not meet the budget: no design fits"):
        budget.check(quant.export(model, tmp_path / "m.onnx", x[:2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "limits nothing"),
        ({"lut": 0.5}, "needs the board and a frame rate"),
        ({"board": "pynq-z2"}, "needs the board and a frame rate"),
        ({"fps": 100.0, "average_bits": 3.0}, "needs the board and a frame rate"),
        ({"board": "pynq-z2", "fps": 100.0, "lut": 60.0}, "60 of the lut\n.*share above 0 and up to 1"),
        ({"average_bits": 0.0}, "0 average_bits"),
        ({"average_bits": 3.0, "plans": 0}, "plans = 0"),
        ({"board": "pynq-z2", "fps": 100.0, "clock": 9e9}, "clock of 9e.09 MHz is not possible"),
    ],
)
def test_options(options, message):
    with pytest.raises(OptionError, match=message):
        Budget(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average_bits": 1.5}, "no widths meet the budget: with 2 bits .* average_bits 2 of 1.5"),
        ({"board": "pynq-z2", "fps": 1e6, "lut": 0.01}, "(?s)no widths meet the budget: even with 2 bits .*LUT.*do:"),
        ({"board": "pynq-z2", "fps": 9e7}, r"(?s)no widths meet the budget: .*9e\+07 frames/s"),
    ],
)
def test_a_budget_that_nothing_meets(options, message):
    _, method, x = prepared(most=3)
    with pytest.raises(OptionError, match=message):
        Budget(**options).prepare(method, x)


def test_a_method_without_learned_widths_is_refused():
    method = Uniform()
    method.prepare(build("mlp", (64,), 10), IMAGES[:8].flatten(1), 10)
    with pytest.raises(OptionError, match="learns no widths"):
        Budget(average_bits=3.0).prepare(method, IMAGES[:8].flatten(1))


# ------------------------------------------------------------------------------------------------------- in recipes

RECIPE = """
epochs = 6
batch = 32
lr = 0.01
[data]
name = "digits"
[model]
name = "mlp"
hidden = [12]
[method]
name = "sinareq"
penalty = 0.0
bits = 4
max_bits = 4
strength = 3.0
min_bits = 3
[budget]
"""


def test_a_recipe_with_a_budget_also_in_two_parts(tmp_path):
    text = RECIPE + 'board = "pynq-z2"\nfps = 1e6\nplans = 2\nlut = 0.25\naverage_bits = 3.9\n'
    (tmp_path / "r.toml").write_text(text)

    def stop(step, steps, row):
        if step == 200:
            raise SystemExit

    whole = train(tmp_path / "r.toml", tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(tmp_path / "r.toml", tmp_path / "parts", stop)
    train(tmp_path / "r.toml", tmp_path / "parts")
    for name in ("metrics.csv", "widths.json", "model.onnx", "plan.toml"):
        assert (whole.folder / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    assert json.loads((whole.folder / "widths.json").read_text())["average_bits"] <= 3.9
    head, *_, last = (whole.folder / "metrics.csv").read_text().splitlines()
    row = dict(zip(head.split(","), last.split(","), strict=True))
    assert float(row["cost:average_bits"]) <= 3.9
    assert float(row["cost:lut"]) > 0
    assert float(row["budget"]) <= 1


def test_a_recipe_with_a_wrong_budget(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE + "luts = 0.3\n")
    with pytest.raises(RecipeError, match=r"unknown key 'luts' in \[budget\]"):
        train(tmp_path / "r.toml", tmp_path / "run")
