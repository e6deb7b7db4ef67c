# SPDX-License-Identifier: Apache-2.0
"""The planner against every plan there is, on networks small enough to try them all."""

import re
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_design import chain

from flow.errors import InfeasibleError
from flow.ir.dataflow import Dense, Source, Step, Sum
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.estimate import design_resources, layer_resources
from flow.plan.folding import fold
from flow.plan.goals import Goals, cost, share_of_board
from flow.plan.layers import layers_of
from flow.plan.options import layer_options
from flow.plan.packing import multiplier_options
from flow.plan.pareto import pareto
from flow.plan.pipeline import pace, pipeline_depth
from flow.plan.plan import LayerPlan, Plan, divisors
from flow.plan.processes import LayerProcess, lanes_in
from flow.plan.resources import Resources
from flow.plan.search import Limits, Search
from flow.plan.timing import frame_latency

BOARD = boards.load("pynq-z2")
NAMES = [name for name, _ in Resources.zero().items()]
ALL = dict.fromkeys(NAMES, 1.0)
ONE = np.ones(1, np.int64)


def legal_plans(layer):
    memories = ("lut", "bram") if layer.product is not None else ("lut",)
    folds = product(layer.pe_options, layer.simd_options)
    for (pe, simd), memory, form in product(folds, memories, layer.forms or ["none"]):
        for multiplier in multiplier_options(layer, pe, BOARD):
            yield LayerPlan(layer.name, pe, simd, memory, multiplier, form)


def table_of(layers):
    """(interval, latency, resources...) of every design."""
    rows = []
    for plans in product(*map(legal_plans, layers)):
        design = build_design(layers, Plan(BOARD.name, 100.0, plans), BOARD.axis_bits)
        total = design_resources(design, BOARD).total
        rows.append((design.interval, frame_latency(design), *(amount for _, amount in total.items())))
    return layers, np.array(rows)


def branched():
    """Two readers of one tensor, whose results are added: 2 values."""
    rng = np.random.default_rng(4)
    u4, thresholds = IntType(4, signed=False), np.array([[3, 9, 20]])
    return layers_of(
        Graph(
            (
                Source("x", (3,), u4, 0 * ONE, 15 * ONE),
                Dense("p", "x", rng.integers(-3, 4, (3, 2)), IntType(9, signed=True)),
                Step("h", "p", thresholds, 0 * ONE, ONE, -200 * ONE, 200 * ONE, IntType(2, signed=False)),
                Dense("q", "h", rng.integers(-3, 4, (2, 2)), IntType(9, signed=True)),
                Sum("y", ("h", "q"), np.ones((2, 1), np.int64), IntType(10, signed=True)),
            ),
            ("y",),
        )
    )


@pytest.fixture(scope="module")
def everything():
    """A network, and each of its 2304 designs."""
    return table_of(chain(3, 4, 2))


@pytest.fixture(scope="module")
def every_branched():
    return table_of(branched())


def costs(rows, board=BOARD):
    return np.array([cost(Resources(*map(int, row[2:])), board) for row in rows])


def on(amounts):
    """The board with these resources."""
    return replace(BOARD, resources=Resources(**dict(zip(NAMES, map(int, amounts), strict=True))))


def budgets(rows, count, seed):
    """Boards whose resources lie between the least and the most that any design takes."""
    rng = np.random.default_rng(seed)
    low, high = rows[:, 2:].min(0), rows[:, 2:].max(0)
    for _ in range(count):
        amounts = rng.integers(low, high + 1)
        yield on(amounts), amounts


def outcome(layers, board, **goals):
    """The plan's interval, latency and folding; None where there is none."""
    try:
        found = fold(layers, board, 100.0, Goals(**goals))
    except InfeasibleError:
        return None
    design = build_design(layers, found.plan, board.axis_bits)
    assert found.resources == design_resources(design, board).total
    assert found.resources.fits(Goals(**goals).budget(board))
    return design.interval, frame_latency(design), found


def refusal(layers, board, **goals):
    """What is said where there is no plan; None where there is one."""
    try:
        fold(layers, board, 100.0, Goals(**goals))
    except InfeasibleError as error:
        return error.message
    return None


def test_options_leave_out_nothing_of_use(everything):
    """For every legal plan of a layer there is an option with its lanes that is as fast, shallow and cheap."""
    layers, _ = everything
    for layer in layers:
        options = layer_options(layer, BOARD)
        for plan in legal_plans(layer):
            process = LayerProcess(layer, plan, None, None, lanes_in(layer, plan), plan.pe)
            depth = pipeline_depth(process)
            taken = sum(layer_resources(layer, plan, BOARD).values(), Resources.zero())
            assert any(
                (o.plan.pe, o.plan.simd) == (plan.pe, plan.simd)
                and o.cycles <= pace(process)
                and o.depth <= depth
                and o.resources.fits(taken)
                for o in options
            ), plan
        for one, other in product(options, options):
            if one is not other and (one.plan.pe, one.plan.simd) == (other.plan.pe, other.plan.simd):
                assert not (one.depth <= other.depth and one.resources.fits(other.resources))


def test_fastest_is_the_fastest_and_of_those_the_cheapest(everything):
    layers, rows = everything
    for board, amounts in budgets(rows, 40, seed=0):
        fits = rows[(rows[:, 2:] <= amounts).all(1)]
        found = outcome(layers, board, utilization=ALL)
        if not len(fits):
            assert found is None, amounts
            continue
        assert found is not None
        interval, _, folding = found
        assert interval == fits[:, 0].min(), amounts
        assert cost(folding.resources, board) == costs(fits[fits[:, 0] == interval], board).min()
        assert folding.optimal


def test_target_is_met_at_the_least_cost(everything):
    layers, rows = everything
    for board, amounts in budgets(rows, 12, seed=1):
        for interval in sorted(set(rows[:, 0].tolist())):
            fits = rows[(rows[:, 2:] <= amounts).all(1) & (rows[:, 0] <= interval)]
            found = outcome(layers, board, target_fps=1e8 / interval)
            assert (found is not None) == bool(len(fits)), (amounts, interval)
            if found is not None:
                assert found[0] <= interval
                assert cost(found[2].resources, board) == costs(fits, board).min()
                assert found[2].optimal


def test_latency_is_met_and_the_bound_holds(everything):
    layers, rows = everything
    met = 0
    for latency in sorted(set(rows[:, 1].tolist())):
        fits = rows[rows[:, 1] <= latency]
        least = costs(fits).min()
        known = Search(layers, BOARD, 100.0, 60).cheapest(Limits(10**6, latency, BOARD.resources))
        assert known.bound <= least
        if known.best is not None:
            met += 1
            assert known.best.latency <= latency
            assert known.best.cost >= least
            assert not known.optimal or known.best.cost == least
    assert met > 10
    assert outcome(layers, BOARD, max_latency_us=(rows[:, 1].min() - 1) / 100) is None


def test_branches(every_branched):
    """What is proved holds of every design, whose streams may be deeper than the solver takes them for."""
    layers, rows = every_branched
    assert len(rows) > 1000
    found = 0
    for board, amounts in budgets(rows, 12, seed=2):
        for interval in np.unique(rows[:, 0])[:4].tolist():
            fits = rows[(rows[:, 2:] <= amounts).all(1) & (rows[:, 0] <= interval)]
            known = Search(layers, board, 100.0, 60).cheapest(Limits(interval, None, board.resources))
            if known.best is not None:
                assert known.best.cost >= costs(fits, board).min() >= known.bound
                assert not known.optimal or known.best.cost == costs(fits, board).min()
                found += 1
            elif known.bound is None:
                assert not len(fits)
    assert found > 10


@pytest.mark.parametrize("name", boards.known())
def test_interval_is_the_least_where_the_board_is_large(everything, name):
    layers, rows = everything
    assert outcome(layers, boards.load(name))[0] == rows[:, 0].min()


def test_what_a_message_says_is_true(everything):
    """The least of the binding resource is that of the best of all designs; where none binds alone, none does."""
    layers, rows = everything
    told, fastest = set(), int(rows[:, 0].min())
    for board, amounts in budgets(rows, 12, seed=1):
        for interval in (fastest, fastest + 3):
            message = refusal(layers, board, target_fps=1e8 / interval)
            if message is not None:
                possible = (rows[:, 0] <= interval) & ((rows[:, 4] == 0) | (amounts[2] > 0))
                fast = rows[possible, 2:]
                claim = re.search(r"needs at least ([\d,]+) (\w+); ([\d,]+) may be used \(([\d,]+) are", message)
                if claim is None:
                    assert "but not of all at once" in message
                    assert (fast.min(0) <= amounts).all()
                    told.add("mix")
                    continue
                told.add("one")
                column = NAMES.index(claim[2].lower())
                needed, allowed, missing = (int(claim[n].replace(",", "")) for n in (1, 3, 4))
                assert needed == fast[:, column].min()
                assert allowed == amounts[column]
                assert missing == needed - allowed > 0
    assert told == {"one", "mix"}


def test_frame_rate_that_is_offered_is_the_greatest(everything):
    layers, rows = everything
    for board, amounts in budgets(rows, 5, seed=3):
        fits = rows[(rows[:, 2:] <= amounts).all(1)]
        if not len(fits) or fits[:, 0].min() == rows[:, 0].min():
            continue
        with pytest.raises(InfeasibleError) as caught:
            fold(layers, board, 100.0, Goals(target_fps=1e8 / rows[:, 0].min()))
        offered = re.search(r"--target-fps (\d+)", caught.value.remedy)[1]
        assert int(offered) == int(1e8 / fits[:, 0].min())


def test_utilization_is_kept(everything):
    layers, _ = everything
    for share in (0.14, 0.2, 0.7):
        found = outcome(layers, BOARD, utilization=dict.fromkeys(NAMES, share))
        if found is None:
            continue
        for name, amount in found[2].resources.items():
            assert amount <= dict(BOARD.resources.items())[name] * share
        assert f"within {100 * share:g} % of the board" in found[2].optimality


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
    weights = np.random.default_rng(0).integers(-7, 8, (2, 6))
    source = Source("x", (2,), IntType(4, signed=False), 0 * ONE, 15 * ONE)
    layers = layers_of(Graph((source, Dense("d", "x", weights, IntType(10, signed=True))), ("d",)))
    assert outcome(layers, BOARD, target_fps=1e8 / 7)[0] <= 7


def test_no_lanes_beyond_reason():
    """A product of 4096 inputs is folded even where a single cycle is asked for."""
    source = Source("x", (4096,), IntType(1, signed=False), 0 * ONE, ONE)
    layers = layers_of(Graph((source, Dense("d", "x", np.ones((4096, 1), np.int64), IntType(14, signed=True))), ("d",)))
    assert max(option.plan.simd for option in layer_options(layers[0], boards.load("u250"))) == 1024


def test_pareto_points_are_the_cheapest(everything):
    layers, rows = everything
    points = pareto(layers, BOARD, 100.0, Goals(utilization=ALL))
    every = costs(rows)
    assert len(points) > 2
    assert points[0].interval == rows[:, 0].min()
    assert points[-1].cost == share_of_board(every.min())
    for point in points:
        assert point.optimal
        assert point.cost == share_of_board(every[rows[:, 0] <= point.interval].min())
    assert all(a.interval < b.interval and a.cost > b.cost for a, b in pairwise(points))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_more_is_never_worse(data):
    """More budget is never slower; a lower target never costs more."""
    sizes = data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=2, max_size=4))
    layers = chain(*sizes)
    shares = sorted(data.draw(st.lists(st.floats(0.13, 1), min_size=2, max_size=2)))
    found = [outcome(layers, BOARD, utilization=dict.fromkeys(NAMES, share)) for share in shares]
    assert found[0] is None or (found[1] is not None and found[1][0] <= found[0][0])
    slow, fast = sorted(data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=2)), reverse=True)
    cheap, dear = (outcome(layers, BOARD, target_fps=1e8 / interval) for interval in (slow, fast))
    assert dear is None or cost(cheap[2].resources, BOARD) <= cost(dear[2].resources, BOARD)


def test_divisors_are_the_folds():
    layer = chain(6, 4)[0]
    assert (layer.pe_options, layer.simd_options) == (divisors(4), divisors(6))
