# SPDX-License-Identifier: Apache-2.0
"""Searches: on a landscape whose best is known, at equal evaluations, and on a network."""

import itertools

import built
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import check_refused
from test_methods import TASK, X, accuracy, model, train, widths

from flow.errors import OptionError
from flow.quant.layers import average_bits
from flow.quant.methods import releq
from flow.quant.methods.exhaustive import Exhaustive
from flow.quant.methods.greedy import Greedy
from flow.quant.methods.ilp import Ilp, allocate
from flow.quant.methods.random_search import Random
from flow.quant.methods.releq import Releq
from flow.quant.methods.search import CHOICES, Layer, Problem, solve

SIZES, SENSITIVITIES = (400, 3000, 9000, 600, 200), (3.0, 0.5, 0.3, 0.8, 2.0)
LAYERS = [Layer(f"l{place}", size, deviation=1 + place) for place, size in enumerate(SIZES)]
ALL = len(CHOICES) ** len(LAYERS)


def additive(assignment):
    """What each layer loses falls by four with each bit: the noise of rounding."""
    return max(0.0, 1 - sum(s * 4.0**-b for s, b in zip(SENSITIVITIES, assignment, strict=True)))


def paired(assignment):
    """Two layers are good only together: to lower one of them alone looks bad to whoever looks one step ahead."""
    return max(0.0, additive(assignment) - 0.25 * ((assignment[1] < 4) != (assignment[2] < 4)))


def problem(score=paired, evaluations=ALL, budget=None):
    return Problem(LAYERS, CHOICES, score, evaluations, budget)


def found(kind, score, evaluations, budget=None):
    asked = problem(score, evaluations, budget)
    best = solve(asked, kind(evaluations=evaluations, budget=budget).search)
    assert len(asked.scores) <= evaluations
    assert budget is None or sum(n * b for n, b in zip(SIZES, best, strict=True)) <= budget * sum(SIZES)
    return best, asked.value(best)


def test_the_objective_is_its_formula():
    asked = problem(additive)
    widths = (5, 2, 2, 4, 8)
    x = (sum(s * b for s, b in zip(SIZES, widths, strict=True)) / sum(SIZES) - 2) / 8
    y = additive(widths) / additive((8,) * 5)
    assert asked.value(widths) == pytest.approx(2 * ((1 - x**0.8) * y ** (1 / y) - 0.5), rel=1e-12)
    assert problem(lambda w: float(w == (8,) * 5)).value(widths) == -1
    assert problem(additive, budget=4.0).value(widths) == additive(widths)
    assert problem(additive, budget=2.0).value(widths) == pytest.approx(-asked.bits(widths) / 2)


def test_no_assignment_is_scored_twice():
    asked = []
    seen = problem(lambda w: asked.append(w) or additive(w))
    solve(seen, Releq(evaluations=ALL).search)
    assert len(asked) == len(set(asked)) == len(seen.scores)


@pytest.mark.parametrize("budget", [None, 3.0])
def test_exhaustive_finds_the_best_of_all(budget):
    best, value = found(Exhaustive, paired, ALL, budget)
    every = [w for w in itertools.product(CHOICES, repeat=5) if problem(budget=budget).fits(w)]
    assert value == max(problem(budget=budget).value(w) for w in every)
    assert best in every


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=15, max_size=15), st.floats(2, 8))
def test_the_integer_program_is_solved_exactly(numbers, budget):
    """Against all 125 assignments."""
    asked = Problem(LAYERS[:3], (2, 4, 5, 6, 8), additive, 2)
    losses = {(place, bits): numbers[place * 5 + rank] for place in range(3) for rank, bits in enumerate(asked.choices)}
    best = allocate(asked, losses, budget)
    assert asked.bits(best) <= budget + 1e-6
    total = {w: sum(losses[p] for p in enumerate(w)) for w in itertools.product(asked.choices, repeat=3)}
    least = min(loss for w, loss in total.items() if asked.bits(w) <= budget)
    assert total[best] <= least + 1e-5  # the solver's gap, and the tie-break


def test_where_losses_add_up_greedy_and_the_program_find_the_best():
    _, best = found(Exhaustive, additive, ALL, 3.0)
    for kind in (Greedy, Ilp):
        assert found(kind, additive, 60, 3.0)[1] > best - 0.005, kind


def test_the_agent_learns():
    """What its episodes are worth rises, from what chance gives."""
    torch.manual_seed(0)
    asked = problem()
    _, worths = releq.learn(asked)
    by_chance = np.mean([asked.value(w) for w in itertools.product(CHOICES, repeat=5)])
    assert abs(np.mean(worths[:16]) - by_chance) < 0.25
    assert np.mean(worths[-40:]) > by_chance + 0.25


def test_at_equal_evaluations():
    """Two layers depend on each other. What looks one layer ahead gets past that late or never; the agent in time.

    Given twice the evaluations, greedy is better than the agent on average, and needs no luck for it.
    """
    agents = []
    for seed in range(4):
        asked = problem(evaluations=40)
        agents.append(asked.value(solve(asked, Releq(evaluations=40, seed=seed).search)))
    assert np.mean(agents) > max(found(Greedy, paired, 40)[1], found(Ilp, paired, 40)[1]) + 0.2
    _, best = found(Exhaustive, paired, ALL)
    assert max(agents) > best - 0.05
    assert found(Greedy, paired, 80)[1] > max(best - 0.05, np.mean(agents))


@pytest.fixture(scope="module")
def searched():
    torch.set_num_threads(1)
    network = model(weight_bits=8, hidden=(24, 16))
    method = Greedy(choices=[2, 3, 4, 8], budget=3.0, evaluations=30, tune=10)
    train(network, method)
    method.finalize()
    return network, method


def test_a_network_is_searched_and_trained(searched):
    network, method = searched
    assert average_bits(network) <= 3
    assert len(set(widths(method).values())) > 1
    assert accuracy(network) > 0.85  # 0.92 at 8 bits


def test_the_design_is_exact_and_as_narrow(searched, tmp_path, monkeypatch):
    network, method = searched
    for name, node in built.exactly(network, X[:8], tmp_path, monkeypatch).items():
        assert np.abs(node.weight).max() <= 2 ** (widths(method)[name] - 1) - 1


def test_a_search_leaves_the_model_as_it_is_but_for_the_widths():
    network, method = model(weight_bits=8), Random(choices=[3, 5], evaluations=4, tune=3)
    method.see(TASK)
    method.prepare(network, X[:8], 10)
    network(X[:64])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    method.on_step(5)
    assert torch.equal(random_state, torch.get_rng_state())
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.endswith("bits") for name in changed), changed


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Exhaustive, {}, r"125 assignments of 5 widths to 3 layers, and evaluations = 40\n.*greedy"),
        (Ilp, {"evaluations": 10}, "3 layers at 5 widths take 14 evaluations"),
        (Greedy, {"choices": [1, 4]}, r"the choices are \[1, 4\]"),
        (Greedy, {"budget": 1.5}, r"budget of 1\.5 bits is below the least choice, 2"),
        (Greedy, {"start": 1.0}, "start = 1"),
    ],
)
def test_messages(kind, options, message):
    check_refused(kind, options, message, model(), TASK)


def test_a_search_needs_the_data():
    with pytest.raises(OptionError, match=r"greedy needs the data.*\n.*method\.see"):
        Greedy().prepare(model(), X[:8], 10)


def test_a_budget_that_was_not_met_in_time():
    asked = problem(evaluations=3, budget=2.0)
    with pytest.raises(OptionError, match="scored 3 assignments, none within 2 bits"):
        solve(asked, Greedy().search)
