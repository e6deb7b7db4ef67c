# SPDX-License-Identifier: Apache-2.0
"""The timing of whole designs: by hand, and depths that are given or looked for."""

import collections
from itertools import product

import numpy as np
import pytest
import test_random_networks as networks
from random_designs import random_case
from test_design import chain, design_of
from test_events import simulate

from flow.errors import PlanFileError
from flow.ir.dataflow import Convolution, Source, Step, Sum
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan.design import build_design
from flow.plan.events import EventModel, piped
from flow.plan.fifo import PIPELINES
from flow.plan.fifo_search import cheapest, price, worthwhile
from flow.plan.layers import layers_of
from flow.plan.pipeline import pipeline_depth
from flow.plan.plan import LayerPlan, Plan, divisors
from flow.plan.processes import Gearbox, Schedule, schedule
from flow.plan.timing import _Judge, event_model, timed

ONE = np.ones(1, np.int64)
U4, I16 = IntType(4, signed=False), IntType(16, signed=True)


def named(design):
    """Names of processes and streams that say where they are."""
    return [f"p{n}" for n in range(len(design.processes))], [f"s{n}" for n in range(len(design.streams))]


def residual():
    """A convolution, and a block of one more with a short cut around it: a fork, a long branch and a short one."""
    rng = np.random.default_rng(0)
    same = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))
    boundaries = np.array([[30 * t - 200 for t in range(15)]])

    def step(name, x):
        return Step(name, x, boundaries, 0 * ONE, ONE, -20000 * ONE, 20000 * ONE, U4)

    nodes = (
        Source("x", (6, 7, 4), U4, 0 * ONE, 15 * ONE),
        Convolution("c", "x", rng.integers(-3, 4, (3, 3, 4, 6)), same, 1, 0, I16),
        step("first", "c"),
        Convolution("d", "first", rng.integers(-3, 4, (3, 3, 6, 6)), same, 1, 0, I16),
        Sum("total", ("d", "first"), np.array([[1], [9]]), IntType(17, signed=True)),
        step("last", "total"),
    )
    layers = layers_of(Graph(nodes, ("last",)))
    plans = [LayerPlan(x.name, 2, x.simd_options[-1], "lut", "lut", next(iter(x.forms or ["none"]))) for x in layers]
    return build_design(layers, Plan("pynq-z2", 100.0, tuple(plans)), 64)


def iterations(process):
    """For each iteration of a frame, in the words of the templates: whether it reads, whether it writes."""
    if isinstance(process, Gearbox):
        held = 0
        for word in range(process.cycles):
            reads = held < process.out_lanes and word < process.last_read
            held += process.in_lanes * reads
            writes = held >= process.out_lanes or word == process.cycles - 1
            held -= process.out_lanes * writes
            yield reads, writes
        return
    layer, plan = process.layer, process.plan
    slices, parts = process.in_lanes // plan.simd, process.out_lanes // plan.pe
    taken = given = 0
    for _ in range(layer.positions):
        for neuron in range(layer.outputs // plan.pe):
            for synapse in range(layer.inputs // plan.simd):
                reads = neuron == 0 and taken % slices == 0
                taken += neuron == 0
                last = synapse == layer.inputs // plan.simd - 1
                writes = last and given % parts == parts - 1
                given += last
                yield reads, writes


@pytest.mark.parametrize("axis_bits", [8, 64])
@pytest.mark.parametrize("sizes", [(6, 12), (6, 4, 9), (5, 7, 3)])
def test_schedules_are_those_of_the_templates(sizes, axis_bits):
    layers = chain(*sizes)
    foldings = list(product(*[list(product(divisors(x.outputs), divisors(x.inputs))) for x in layers]))
    for index in np.random.default_rng(0).permutation(len(foldings))[:20]:
        for process in design_of(layers, foldings[index], axis_bits).processes:
            found = schedule(process)
            expected = list(iterations(process))
            assert found.cycles == len(expected)
            assert found.reads[0].tolist() == [n for n, (reads, _) in enumerate(expected) if reads]
            assert found.writes[0].tolist() == [n for n, (_, writes) in enumerate(expected) if writes]


def test_timing_by_hand():
    """4 inputs in one word into 6 outputs in one cycle: reader 2, layer 2 + 1 (adder tree) + 1, writer 2."""
    design = design_of(chain(4, 6), [(6, 4)])
    assert [pipeline_depth(process) for process in design.processes] == [2, 4, 2]
    # read in cycle 0, written in 2, read in 3, written in 7, read in 8, written in 10; the layer takes 1 + 4 cycles
    timing = timed(design, *named(design))[1]
    assert (timing.interval, timing.latency, timing.occupancy) == (5, 11, (1, 1))


def test_cheapest_depths_by_simulation():
    """The interval is that of a simulation with the chosen depths, and a cheaper one for any stream loses it."""
    design = residual()
    sized, timing = timed(design, *named(design))
    depths = [stream.depth for stream in sized.streams]
    model = event_model(design)
    assert timing.interval == model.slowest
    assert all(timing.minimal)
    before = [price(s.depth, s.bits) for s in design.streams]
    after = [price(s.depth, s.bits) for s in sized.streams]
    assert all(a <= b for a, b in zip(after, before, strict=True))
    assert sum(after) < 0.8 * sum(before)
    steps = [piped(schedule(p), pipeline_depth(p)) for p in design.processes]
    edges = [(s.producer, s.output, s.consumer, s.input) for s in design.streams]
    ends, most = simulate(steps, edges, depths, timing.interval, 6)
    assert timing.latency == ends[-1, 0] + 1
    assert list(timing.occupancy) == most
    assert (np.diff(ends[:, -2:]) == timing.interval).all()
    cheaper = 0
    for place, stream in enumerate(design.streams):
        options = worthwhile(stream.depth, stream.bits)
        for depth in options[options.index(depths[place]) + 1 :]:
            tried = [*depths[:place], depth, *depths[place + 1 :]]
            kept = model.interval(tried) == model.slowest
            assert not kept or any(event_model(design, times).deadlock(tried) for times in (0, 2))
            cheaper += 1
    assert cheaper > 0


def test_given_depth_is_kept():
    design = residual()
    deepest = max(range(len(design.streams)), key=lambda n: design.streams[n].depth)
    wanted = design.streams[deepest].depth + 100
    sized, timing = timed(design, *named(design), {f"s{deepest}": wanted})
    assert sized.streams[deepest].depth == wanted
    assert [n for n, minimal in enumerate(timing.minimal) if minimal is None] == [deepest]
    assert timing.notes == ()


def test_given_depth_that_slows_is_noted():
    layers = chain(24, 24, 24)
    design = design_of(layers, [(2, 2), (2, 2)])
    (middle,) = (n for n, s in enumerate(design.streams) if (s.producer, s.consumer) == (1, 2))
    _, free = timed(design, *named(design))
    sized, timing = timed(design, *named(design), {f"s{middle}": 1})
    assert sized.streams[middle].depth == 1
    assert timing.interval > free.interval
    assert timing.notes == (
        f"the depths given in the plan ('s{middle}': 1) slow the design: a frame every {timing.interval} cycles, "
        f"where deeper streams would allow {free.interval}",
    )
    assert timing.interval == event_model(design).interval([s.depth for s in sized.streams])


def test_given_depth_that_stops_the_design_is_refused():
    design = residual()
    (fork,) = (n for n, p in enumerate(design.processes) if type(p).__name__ == "Fork")
    short = next(n for n, s in enumerate(design.streams) if s.producer == fork and s.output == 1)
    processes, streams = named(design)
    with pytest.raises(PlanFileError) as caught:
        timed(design, processes, streams, {f"s{short}": 3})
    message = caught.value.message
    start = (
        f"with the depths given in the plan ('s{short}': 3) the design does not get a frame through: it stops in cycle "
    )
    assert message.startswith(start)
    assert f"'p{fork}' finds full ('s{short}', 3 words)" in message
    assert "finds empty ('s" in message


def test_given_depth_of_a_stream_that_is_not_there():
    design = residual()
    with pytest.raises(PlanFileError, match="streams that there are not: nothing"):
        timed(design, *named(design), {"nothing": 3})


def test_depths_worth_a_look():
    """Of 8 bits: 600 words are two block RAMs or 19 rows; each lower price with the deepest FIFO that has it."""
    found = worthwhile(600, 8)
    assert found[-1] == 2
    prices = [price(depth, 8) for depth in found]
    assert prices == sorted(set(prices), reverse=True)
    assert prices[0] <= price(600, 8)
    for depth in range(2, 601):
        best = max(d for d in found if price(d, 8) <= price(depth, 8))
        assert best >= depth


def test_search_finds_the_least_of_each_stream():
    """Against a rule that is known: one stream needs 70 words, and two of them 100 words together."""
    options = [worthwhile(300, 16), worthwhile(300, 16), worthwhile(300, 16)]
    rule = lambda d: d[0] >= 70 and d[1] + d[2] >= 100  # noqa: E731
    found, settled = cheapest(options, [16] * 3, rule)
    assert rule(found)
    assert all(settled)
    for place, depth in enumerate(found):
        for less in options[place][options[place].index(depth) + 1 :]:
            assert not rule([*found[:place], less, *found[place + 1 :]])


def test_search_that_has_no_time_changes_nothing():
    options = [worthwhile(300, 16), [2]]
    assert cheapest(options, [16, 16], lambda depths: True, lambda: False) == ([options[0][0], 2], [False, True])


def test_bare_step_function():
    nodes = (
        Source("x", (16,), U4, 0 * ONE, 15 * ONE),
        Step("s", "x", np.array([[2, 5, 11]]), 0 * ONE, ONE, 0 * ONE, 15 * ONE, IntType(2, signed=False)),
    )
    layers = layers_of(Graph(nodes, ("s",)))
    for pe in divisors(16):
        design = design_of(layers, [(pe, 1)])
        timing = timed(design, *named(design))[1]
        assert timing.interval == max(p.cycles + pipeline_depth(p) for p in design.processes)
        assert timing.latency >= timing.interval


@pytest.mark.parametrize("seed", range(0, 84, 2))
def test_chosen_depths_hold_with_other_pipelines(seed):
    """The pace is kept with pipelines as assumed; with none, and with deeper ones, nothing stops."""
    design = random_case(seed, networks.layer_network(seed), collections.Counter()).design
    sized, timing = timed(design, *named(design))
    depths = [stream.depth for stream in sized.streams]
    assert timing.interval == event_model(design).interval(depths) == event_model(design).slowest
    assert [event_model(design, times).deadlock(depths) for times in PIPELINES] == [None] * len(PIPELINES)


def test_pace_that_only_a_deep_pipeline_keeps_is_refused():
    """A copier on the short branch holds five words in its pipeline, if that is as deep as assumed; else none."""
    every = np.arange(8)
    copies, slow = Schedule((every,), (every,), 8), Schedule((every,), (np.arange(4, 12),), 12)
    fork, join = Schedule((every,), (every, every), 8), Schedule((every, every), (every,), 8)
    edges = [(0, 0, 1, 0), (1, 0, 2, 0), (1, 1, 3, 0), (2, 0, 4, 0), (3, 0, 4, 1)]
    models = [EventModel([copies, fork, slow, piped(copies, 5 * times), join], edges) for times in PIPELINES]
    shallow, deep = [2, 2, 2, 2, 2], [2, 2, 9, 2, 9]
    assert [model.deadlock(shallow) is None for model in models] == [False, True, True]
    interval = models[1].interval(shallow)
    judge = _Judge(models, deep, interval, None)
    assert models[1].still_steady(shallow, interval, judge.frame) is not None
    assert judge.holds(deep)
    assert not judge.holds(shallow)
