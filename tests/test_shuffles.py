# SPDX-License-Identifier: Apache-2.0
"""Channels, and elements of a frame, in another order: the C++ with every possible number of lanes."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from random_designs import compiled_library, random_case, random_plan

from flow.backend import tools
from flow.ir.dataflow import ChannelShuffle, Flatten, Source, execute, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.types import IntType

SHAPE = (2, 3, 4)
FRAME = np.arange(24).reshape(SHAPE)


def shuffle(rows, order):
    order = np.asarray(order).reshape(-1)
    source = Source("x", SHAPE, IntType(6, signed=True), np.array([-32]), np.array([31]))
    nodes = (source, Flatten("f", "x", (rows, order.size)), ChannelShuffle("y", "f", tuple(order.tolist())))
    return Graph(nodes, ("y",))


ORDERS = {
    "channels": (shuffle(6, [2, 0, 3, 1]), 1),
    "pairs of channels": (shuffle(6, [2, 3, 0, 1]), 2),
    "values of a row": (shuffle(2, FRAME[0].T), 1),
    "pixels of a frame": (shuffle(1, FRAME.transpose(1, 0, 2)), 4),
    "values of a frame": (shuffle(1, FRAME.transpose(2, 0, 1)), 1),
    "rows of a frame": (shuffle(1, FRAME[::-1]), 12),
}


@pytest.mark.parametrize("name", ORDERS)
def test_so_many_stay_side_by_side(name):
    graph, run = ORDERS[name]
    verify_dataflow(graph)
    assert graph["y"].run == run


@pytest.mark.skipif(tools.find(tools.GXX) is None, reason="no g++")
def test_cpp_with_every_number_of_lanes(tmp_path):
    cases, seen = [], set()
    for graph, run in ORDERS.values():
        size = len(graph["y"].order)
        for lanes in (n for n in range(1, size + 1) if size % n == 0):
            cases.append(random_case(len(cases), graph, Counter(), partial(plan_with, lanes)))
            seen.add("wires" if lanes == size else "memory" if run % lanes == 0 else "registers")
    assert seen == {"wires", "memory", "registers"}
    library = compiled_library(cases, tmp_path)
    x = np.random.default_rng(0).integers(-32, 32, (5, *SHAPE))
    for case in cases:
        expected = execute(case.graph, {"x": x})["y"].reshape(5, -1)
        element = case.design.source.element
        found = library.run(f"{case.name}_flow_csim", [x], [element], case.design.sink.element, expected.shape[1])
        assert np.array_equal(found, expected), case.design.plan


def plan_with(lanes, *arguments):
    """A plan of the one layer."""
    plan = random_plan(*arguments)
    return replace(plan, layers=tuple(replace(layer, pe=lanes) for layer in plan.layers))
