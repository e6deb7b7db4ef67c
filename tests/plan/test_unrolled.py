# SPDX-License-Identifier: Apache-2.0
"""The unrolled style as a plan: what it refuses, when it is chosen, what it is priced at."""

import csv
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from test_design import chain

from flow.errors import InfeasibleError, PlanFileError, UnsupportedModelError
from flow.ir.dataflow import Dense, Pooling, Source
from flow.ir.graph import Graph
from flow.ir.types import IntType
from flow.ir.window import Window
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.goals import Goals
from flow.plan.layers import layers_of
from flow.plan.plan import print_plan, read_plan
from flow.plan.style import against_stream, plan_for, resources_of
from flow.plan.unrolled import latency_of

BOARD = boards.load("pynq-z2")
LAYERS = chain(3, 4, 2)


def planned(style, board=BOARD, target_fps=None):
    return plan_for(LAYERS, board, 100.0, Goals(target_fps=target_fps), style)


def test_unrolled_plan_is_read_back(tmp_path):
    plan = planned("unrolled").plan
    assert plan.style == "unrolled"
    assert all((p.pe, p.simd) == (x.outputs, x.inputs) for p, x in zip(plan.layers, LAYERS, strict=True))
    path = tmp_path / "plan.toml"
    path.write_text(print_plan(plan))
    assert read_plan(path, LAYERS) == plan
    path.write_text(print_plan(replace(plan, layers=(replace(plan.layers[0], pe=2), *plan.layers[1:]))))
    with pytest.raises(PlanFileError, match="unrolled, pe and simd are 4 and 3, memory and multiplier 'lut'"):
        read_plan(path, LAYERS)
    path.write_text(print_plan(plan).replace('style = "unrolled"', 'style = "baroque"'))
    with pytest.raises(PlanFileError, match="style = 'baroque'; possible: stream, unrolled"):
        read_plan(path, LAYERS)
    path.write_text(print_plan(plan).replace('style = "unrolled"\n', ""))
    assert read_plan(path, LAYERS).style == "stream"


def test_resources_add_up_and_hold_no_fifo():
    design = build_design(LAYERS, planned("unrolled").plan, BOARD.axis_bits)
    found = resources_of(design, BOARD)
    assert found.total.lut == sum(part.lut for part in found.parts.values())
    assert found.parts["fifos"].lut == found.total.dsp == 0
    assert design.interval == 1
    assert latency_of(design) >= 2
    assert against_stream(LAYERS, design.plan, BOARD) == "in 1 cycles a frame the stream style does not fit"


def test_auto_takes_the_cheaper():
    """What streams cannot reach is unrolled; at a slow rate folding is cheaper, if only just."""
    for fps in (1e7, 1e6):
        found = planned("auto", target_fps=fps)
        prices = {
            style: sum(a / b for (_, a), (_, b) in zip(f.resources.items(), BOARD.resources.items(), strict=True) if a)
            for style in ("stream", "unrolled")
            for f in [planned(style, target_fps=fps)]
        }
        assert found.plan.style == min(prices, key=prices.get)
    assert planned("auto", target_fps=1e8).plan.style == "unrolled"


def test_network_that_does_not_fit():
    tiny = replace(BOARD, resources=replace(BOARD.resources, lut=100))
    with pytest.raises(InfeasibleError, match=r"unrolled, the network does not fit pynq-z2: LUT [\d,]+ of 70"):
        planned("unrolled", tiny)


def test_other_layers_are_refused_by_name():
    one = np.ones(1, np.int64)
    window = Window((2, 2), (2, 2), (1, 1), (0, 0), (0, 0))
    source = Source("x", (4, 4, 2), IntType(4, False), 0 * one, 15 * one)
    layers = layers_of(Graph((source, Pooling("p", "x", "max", window, 0)), ("p",)))
    with pytest.raises(UnsupportedModelError, match=r"each of its [\d,]+ positions would be hardware of its own"):
        plan_for(layers, BOARD, 100.0, style="unrolled")
    assert plan_for(layers, BOARD, 100.0, style="auto").plan.style == "stream"


def test_a_layer_without_weights_is_no_function_of_its_input():
    one = np.ones(1, np.int64)
    source = Source("x", (3,), IntType(4, False), 0 * one, 15 * one)
    dead = Dense("dead", "x", np.zeros((3, 2), np.int64), IntType(2, True))
    layers = layers_of(Graph((source, dead), ("dead",)))
    with pytest.raises(UnsupportedModelError, match="all its weights are 0"):
        plan_for(layers, BOARD, 100.0, style="unrolled")
    assert plan_for(layers, BOARD, 100.0, style="auto").plan.style == "stream"


def test_a_bit_costs_what_it_did_in_routed_networks(shared):
    """LUTs over the solver's own count, which leaves out about a bit in ten (test_adder_graph.py): one LUT a bit."""
    ratios = []
    with shared("ground_truth", "calibration.csv").open() as rows:
        for row in csv.DictReader(rows):
            if "da4ml" in row["tool"]:
                ratios.append(int(row["LUT"]) / float(re.search(r"da4ml_cost=([\d.]+)", row["notes"])[1]))
    assert len(ratios) == 20
    assert (round(min(ratios), 2), round(statistics.median(ratios), 2), round(max(ratios), 2)) == (0.97, 1.05, 1.13)
