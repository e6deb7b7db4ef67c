# SPDX-License-Identifier: Apache-2.0
"""C-simulation with streams of bounded depth: it runs as planned, and names the streams where it stops."""

import collections
import re

import numpy as np
import pytest
import stream_stops
import test_random_networks as networks
from random_designs import random_inputs, random_plan, source_of

from flow.api.boundaries import compare_boundaries
from flow.backend import tools
from flow.backend.csim import Simulator, compile_design
from flow.emit.hls import HlsOptions, emit_hls, names_of
from flow.errors import ExactnessError
from flow.ir.dataflow import Convolution, Source, Step, Sum, execute, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan.design import build_design
from flow.plan.layers import layers_of
from flow.plan.plan import LayerPlan, Plan
from flow.plan.timing import timed

pytestmark = pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
ONE = np.ones(1, np.int64)
U4, I16 = IntType(4, signed=False), IntType(16, signed=True)


def residual():
    """A convolution, and a block of one more with a short cut around it."""
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
    graph = Graph(nodes, ("last",))
    verify_dataflow(graph)
    return graph


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounded")
    graph = residual()
    layers = layers_of(graph)
    plans = [LayerPlan(x.name, 2, x.simd_options[-1], "lut", "lut", next(iter(x.forms or ["none"]))) for x in layers]
    design = build_design(layers, Plan("pynq-z2", 100.0, tuple(plans)), 64)
    emit_hls(design, HlsOptions("test", "network", "vitis", {}, {}, {}, 1)).write(folder)
    names = names_of(design, {})
    simulator = Simulator(compile_design(folder))
    x = np.random.default_rng(1).integers(0, 16, (5, 6, 7, 4))

    def run(depths):
        return simulator.run_bounded(x, design.source.element, design.sink.element, (6, 7, 6), depths)

    return design, names, run, execute(graph, {"x": x})["last"], folder, simulator


def test_residual_network_at_its_planned_depths(built):
    design, names, run, expected, *_ = built
    assert np.array_equal(run({names.stream(s): s.depth for s in design.streams}), expected)


def test_short_branch_that_is_too_short_is_named(built):
    design, names, run, expected, *_ = built
    depths = {names.stream(s): s.depth for s in design.streams}
    (short,) = (n for n in depths if n.startswith("copy1_from"))
    assert depths[short] > 10
    with pytest.raises(ExactnessError) as caught:
        run(depths | {short: 1})
    assert re.search(rf"full are the streams .*'{short}' \(depth 1\).*; empty are .*'from_d'", caught.value.message)
    assert np.array_equal(run(depths), expected)  # a stop leaves nothing behind


def random_branched(seed):
    """A random network with a fork, and a random plan for it."""
    graph = networks.layer_network(seed)
    layers = layers_of(graph)
    return graph, build_design(layers, random_plan(np.random.default_rng(seed), layers, collections.Counter()), 64)


BRANCHED = [n for n in range(3 * len(networks.KINDS)) if networks.KINDS[n % len(networks.KINDS)] is networks.residual]


@pytest.mark.parametrize("seed", BRANCHED)
def test_stops_are_those_of_the_event_model(tmp_path, seed):
    """At the planned depths it runs; at the least of a stream with which the model runs, too; with one less it stops.

    C-simulation knows no time, and its processes read before they write: the model gets their order.
    """
    graph, design = random_branched(seed)
    names = names_of(design, {})
    streams = [names.stream(s) for s in design.streams]
    design, timing = timed(design, names.identifiers, streams)
    assert timing.notes == ()
    emit_hls(design, HlsOptions("test", "network", "vitis", {}, {}, {}, 1)).write(tmp_path)
    simulator = Simulator(compile_design(tmp_path))
    x = random_inputs(source_of(graph), seed, 3)
    (expected,) = execute(graph, {source_of(graph).name: x}).values()
    model, planned = stream_stops.program_model(design), [stream.depth for stream in design.streams]

    def run(depths):
        named = dict(zip(streams, depths, strict=True))
        return simulator.run_bounded(x, design.source.element, design.sink.element, expected.shape[1:], named)

    assert np.array_equal(run(planned), expected)
    stops = sum(
        stream_stops.stops_as_modelled(model, planned, streams, place, run, expected) for place in range(len(streams))
    )
    assert stops > 0


def test_layers_that_pass_no_window_have_no_core_of_their_own(built):
    folder = built[4]
    units = {path.name: path.read_text() for path in (folder / "csim" / "units").glob("*.cpp")}
    with_core = sorted(name for name, text in units.items() if "flow_csimcore_" in text)
    assert with_core == ["02_first.cpp", "06_d.cpp"]


def test_boundaries_of_a_convolution_reach_its_core(built):
    """Windows made for its boundaries enter behind the window unit, one at each position of a frame."""
    design, names, *_, simulator = built
    found, tried = compare_boundaries(design, names, simulator)
    assert found.differences == 0
    assert tried.startswith("360 sums on and below every boundary")
    assert found.compared == (5 + 1) * 6 * 7 * 6  # 15 x 2 x 6 windows at 42 positions fill 5 frames; 30 sums one


def test_design_without_a_fork_has_no_coroutines(tmp_path):
    graph = Graph(residual().nodes[:3], ("first",))
    layers = layers_of(graph)
    design = build_design(layers, Plan("pynq-z2", 100.0, (LayerPlan("first", 2, 4, "lut", "lut", "thresholds"),)), 64)
    files = emit_hls(design, HlsOptions("test", "network", "vitis", {}, {}, {}, 1)).files
    assert not any("coroutines" in str(path) or "bounded" in str(path) for path in files)
