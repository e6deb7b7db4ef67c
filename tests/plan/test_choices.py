# SPDX-License-Identifier: Apache-2.0
"""What the solver sees of a design is what the design is: its resources, its interval, a bound of its latency."""

import ctypes

import numpy as np
import pytest
import test_random_networks as networks
from test_design import chain

from flow.ir.dataflow import Convolution, Selection, Source
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan import board as boards
from flow.plan import program, solver
from flow.plan.design import build_design
from flow.plan.estimate import design_resources
from flow.plan.goals import prices
from flow.plan.layers import layers_of
from flow.plan.plan import Plan
from flow.plan.pruning import needed
from flow.plan.search import Limits, Search
from flow.plan.timing import frame_latency

BOARD = boards.load("pynq-z2")
SEEDS = range(2 * len(networks.KINDS))


def search_of(seed):
    return Search(layers_of(networks.layer_network(seed)), BOARD, 100.0, 60)


def random_choice(search, rng):
    """A choice for each node: of the layers at random, of the input the widest that a reader takes."""
    nodes = search.space.nodes
    chosen = [int(rng.integers(len(node.taken))) for node in nodes]
    readers = [edge.consumer for edge in search.space.edges if edge.producer == 0]
    widest = max(int(nodes[reader].taken[chosen[reader]]) for reader in readers)
    chosen[0] = nodes[0].given.tolist().index(widest)
    return tuple(chosen)


def design_of(search, chosen):
    return build_design(search.layers, Plan(BOARD.name, 100.0, search.space.plans(chosen)), BOARD.axis_bits)


@pytest.mark.parametrize("seed", SEEDS)
def test_amounts_and_cycles_are_those_of_the_design(seed):
    search, rng = search_of(seed), np.random.default_rng(seed)
    space = search.space
    for _ in range(12):
        chosen = random_choice(search, rng)
        design = design_of(search, chosen)
        assert space.total(chosen) == design_resources(design, BOARD).total
        cycles = [int(node.cycles[choice]) for node, choice in zip(space.nodes, chosen, strict=True)]
        for edge in space.edges:
            given = space.nodes[edge.producer].given[chosen[edge.producer]]
            taken = space.nodes[edge.consumer].taken[chosen[edge.consumer]]
            cycles.append(int(edge.cycles[edge.given == given, edge.taken == taken][0]))
        assert max(cycles) == design.interval
        assert design.interval in search.intervals


@pytest.mark.parametrize("seed", SEEDS)
def test_latency_is_bounded(seed):
    """The latency of the program, with one choice for each layer left, is not above that of the design."""
    search, rng = search_of(seed), np.random.default_rng(seed)
    for _ in range(5):
        chosen = random_choice(search, rng)
        alone = Search(search.layers, BOARD, 100.0, 60, _only(search, chosen))
        latency = frame_latency(design_of(search, chosen))
        bound = alone.solve(Limits(10**9, 10**9, None), "latency").bound
        assert bound is not None
        assert latency / 20 < bound <= latency + 1e-3
        assert not alone.solve(Limits(10**9, latency, None), prices(BOARD)).infeasible
        assert alone.solve(Limits(10**9, int(bound * 0.99), None), prices(BOARD)).infeasible


def _only(search, chosen):
    plans = search.space.plans(chosen)
    return {plan.name: [o for o in search.options[plan.name] if o.plan == plan] for plan in plans}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_pruned_is_not_missed(seed, monkeypatch):
    search, rng = search_of(seed), np.random.default_rng(seed)
    intervals = [search.intervals[int(i)] for i in rng.integers(0, len(search.intervals), 3)]
    pruned = [search.solve(Limits(i, None, BOARD.resources), prices(BOARD)).bound for i in intervals]
    monkeypatch.setattr(solver, "needed", lambda space, kept, interval: list(kept))
    assert pruned == [search.solve(Limits(i, None, BOARD.resources), prices(BOARD)).bound for i in intervals]


def test_pruning_takes_most_choices_away():
    search = Search(chain(24, 32, 16, 8), BOARD, 100.0, 60)
    kept = [np.flatnonzero(node.cycles <= 96) for node in search.space.nodes]
    left = needed(search.space, kept, 96)
    assert sum(map(len, left)) < sum(map(len, kept)) / 3
    assert all(set(some) <= set(all_) for some, all_ in zip(left, kept, strict=True))


def test_time_that_is_up_proves_nothing():
    search = Search(chain(3, 4, 2), BOARD, 100.0, 60)
    search.clock = solver.Clock(0)
    outcome = search.solve(Limits(100, None, BOARD.resources), prices(BOARD))
    assert (outcome.chosen, outcome.optimal, outcome.infeasible) == (None, False, False)
    assert search.solve(Limits(0, None, BOARD.resources), prices(BOARD)).infeasible
    assert search.least_interval(None, BOARD.resources) == (0, len(search.intervals))


def test_words_behind_the_last_one_out_take_no_time():
    """Of a slow product only the first row is kept: the design need not wait for the others."""
    one = np.ones(1, np.int64)
    plain = Window((1, 1), (1, 1), (1, 1), (0, 0), (0, 0))
    nodes = (
        Source("x", (4, 4, 2), IntType(4, signed=False), 0 * one, 15 * one),
        Convolution("c", "x", np.array([[[[1, 2], [3, -4]]]]), plain, 1, 0, IntType(9, signed=True)),
        Selection("y", "c", (0, 0, 0), (1, 4, 2), (1, 1, 1)),
    )
    layers = layers_of(Graph(nodes, ("y",)))
    search = Search(layers, BOARD, 100.0, 60)
    slow = next(n for n, plan in enumerate(search.space.nodes[1].plans) if plan.pe == plan.simd == 1)
    chosen = (search.space.nodes[0].given.tolist().index(1), slow, 0, 0)
    alone = Search(layers, BOARD, 100.0, 60, _only(search, chosen))
    bound = alone.solve(Limits(10**9, 10**9, None), "latency").bound
    assert 16 < bound <= search.candidate(chosen).latency + 1e-3 < 64


def test_what_the_solver_prints_goes_nowhere(capfd):
    libc = ctypes.CDLL(None)
    print("before")
    with program._silent():
        libc.printf(b"debugging\n")
    print("behind")
    libc.fflush(None)
    assert capfd.readouterr().out == "before\nbehind\n"
