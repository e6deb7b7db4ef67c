# SPDX-License-Identifier: Apache-2.0
"""The planner against every plan there is, on a network small enough to try them all."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from test_design import chain

from flow.errors import InfeasibleError
from flow.ir.dataflow import Dense, Source
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_resources
from flow.plan.folding import fold, layer_options
from flow.plan.layers import layers_of
from flow.plan.plan import LayerPlan, Plan, divisors
from flow.plan.resources import Resources

BOARD = boards.load("pynq-z2")
NAMES = [name for name, _ in Resources.zero().items()]


def legal_plans(layer):
    folds = product(divisors(layer.outputs), divisors(layer.inputs))
    for (pe, simd), memory, multiplier, form in product(folds, ("lut", "bram"), ("lut", "dsp"), layer.forms):
        yield LayerPlan(layer.name, pe, simd, memory, multiplier, form)


@pytest.fixture(scope="module")
def everything():
    """A network, and (interval, resources...) of each of its 2304 designs."""
    layers = chain(3, 4, 2)
    rows = []
    for plans in product(*map(legal_plans, layers)):
        design = build_design(layers, Plan(BOARD.name, 100.0, plans), BOARD.axis_bits)
        total = design_resources(design, BOARD).total
        rows.append((design.interval, *(amount for _, amount in total.items())))
    return layers, np.array(rows)


def budgets(rows, count, seed):
    """Boards whose resources lie between the least and the most that any design takes."""
    rng = np.random.default_rng(seed)
    low, high = rows[:, 1:].min(0), rows[:, 1:].max(0)
    for _ in range(count):
        amounts = rng.integers(low, high + 1)
        yield replace(BOARD, resources=Resources(**dict(zip(NAMES, map(int, amounts), strict=True)))), amounts


def outcome(layers, board, **options):
    """The interval of the plan; None where there is none."""
    try:
        found = fold(layers, board, 100.0, **options)
    except InfeasibleError:
        return None
    design = build_design(layers, found.plan, board.axis_bits)
    assert found.resources == design_resources(design, board).total
    assert found.resources.fits(board.resources)
    return design.interval


def test_options_leave_out_nothing_of_use(everything):
    """For every legal plan of a layer there is an option as fast and as cheap in each resource."""
    layers, _ = everything
    for layer in layers:
        options = layer_options(layer, BOARD)
        for plan in legal_plans(layer):
            cycles = (layer.outputs // plan.pe) * (layer.inputs // plan.simd)
            cost = sum(layer_resources(layer, plan, BOARD).values(), Resources.zero())
            assert any(o.cycles <= cycles and o.resources.fits(cost) for o in options), plan
        for one, other in product(options, options):
            if one is not other:
                assert not (one.cycles <= other.cycles and one.resources.fits(other.resources))


def test_what_is_planned_fits_and_is_possible(everything):
    layers, rows = everything
    for board, amounts in budgets(rows, 15, seed=0):
        fits = (rows[:, 1:] <= amounts).all(1)
        found = outcome(layers, board, utilization=1.0)
        assert found is None or found in rows[fits, 0]
        for interval in (1, 3, 6, 12):
            found = outcome(layers, board, target_fps=1e8 / interval)
            assert found is None or (found <= interval and found in rows[fits, 0])


@pytest.mark.parametrize("name", boards.known())
def test_interval_is_the_least_where_the_board_is_large(everything, name):
    layers, rows = everything
    assert outcome(layers, boards.load(name)) == rows[:, 0].min() == 1


@pytest.mark.xfail(strict=True, reason="folding: prices do not reach every mix (17 % of tight budgets)")
def test_interval_is_the_least(everything):
    layers, rows = everything
    for board, amounts in budgets(rows, 40, seed=0):
        fits = (rows[:, 1:] <= amounts).all(1)
        least = rows[fits, 0].min() if fits.any() else None
        assert outcome(layers, board, utilization=1.0) == least, amounts


@pytest.mark.xfail(strict=True, reason="folding: prices do not reach every mix (3 % of tight budgets)")
def test_infeasible_means_that_no_plan_exists(everything):
    layers, rows = everything
    for board, amounts in budgets(rows, 40, seed=0):
        for interval in sorted(set(rows[:, 0].tolist())):
            possible = ((rows[:, 1:] <= amounts).all(1) & (rows[:, 0] <= interval)).any()
            assert (outcome(layers, board, target_fps=1e8 / interval) is not None) == possible, (amounts, interval)


@pytest.mark.xfail(strict=True, reason="_Planner.least_of: FIFOs and gearboxes have no part in the choice")
def test_needs_at_least_is_true(everything):
    """A message that names the binding resource names no more than every design of that speed takes."""
    layers, rows = everything
    told = 0
    for board, _ in budgets(rows, 40, seed=1):
        for interval in (1, 2, 4):
            try:
                fold(layers, board, 100.0, target_fps=1e8 / interval)
            except InfeasibleError as error:
                claim = re.search(r"needs at least ([\d,]+) (\w+); ([\d,]+) may be used", error.message)
                if claim is None:
                    continue
                told += 1
                column = 1 + NAMES.index(claim[2].lower())
                least = rows[rows[:, 0] <= interval, column].min()
                assert int(claim[1].replace(",", "")) <= least
                assert int(claim[3].replace(",", "")) < least
    assert told > 5


def test_utilization_is_kept(everything):
    layers, _ = everything
    for share in (0.14, 0.2, 0.7):
        try:
            found = fold(layers, BOARD, 100.0, utilization=share)
        except InfeasibleError:
            continue
        for name, amount in found.resources.items():
            assert amount <= dict(BOARD.resources.items())[name] * share
        assert f"within {share:.0%} of the board" in found.optimality


def test_same_network_same_plan(everything):
    layers, _ = everything
    assert fold(layers, BOARD, 100.0) == fold(chain(3, 4, 2), BOARD, 100.0)


def test_board_without_dsps():
    board = replace(BOARD, resources=replace(BOARD.resources, dsp=0))
    layers = chain(3, 4, 2)
    assert all(o.plan.multiplier == "lut" for layer in layers for o in layer_options(layer, board))
    assert fold(layers, board, 100.0).resources.dsp == 0


def test_frame_rate_is_met_behind_a_gearbox():
    """6 sums of 10 bits leave in words of 4; three at once from the layer take 3 cycles to put together."""
    one = np.ones(1, np.int64)
    weights = np.random.default_rng(0).integers(-7, 8, (2, 6))
    source = Source("x", (2,), IntType(4, signed=False), 0 * one, 15 * one)
    layers = layers_of(Graph((source, Dense("d", "x", weights, IntType(10, signed=True))), ("d",)))
    assert outcome(layers, BOARD, target_fps=1e8 / 2) <= 2
