# SPDX-License-Identifier: Apache-2.0
"""A convolution pads its input itself."""

import numpy as np
import pytest

from flow.ir.graph import Graph
from flow.ir.model import Conv, Input, Pad, QuantizedConstant
from flow.ir.reference import Evaluation
from flow.ir.window import Window
from flow.passes.merge_pads import merge_pads
from flow.passes.remove_dead_nodes import remove_dead_nodes

WEIGHT = QuantizedConstant("w", np.arange(18).reshape(3, 3, 2, 1) - 9, np.array(0.5))
WINDOW = Window((3, 3), (2, 1), (1, 1), (1, 0), (0, 0))


def graph_with(pad):
    return Graph((Input("x", (5, 6, 2)), pad, WEIGHT, Conv("y", "p", "w", WINDOW, 1)), ("y",))


def test_merged():
    graph = graph_with(Pad("p", "x", (0, 1, 0), (2, 3, 0), 0.0))
    found = remove_dead_nodes(merge_pads(graph))
    assert [type(n) for n in found.nodes] == [Input, QuantizedConstant, Conv]
    assert found["y"].window == Window((3, 3), (2, 1), (1, 1), (1, 1), (2, 3))
    x = np.random.default_rng(0).normal(size=(3, 5, 6, 2))
    before, after = (Evaluation(g, {"x": x}).tensors["y"].value for g in (graph, found))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "pad",
    [
        Pad("p", "x", (1, 1, 0), (1, 1, 0), 0.5),
        Pad("p", "x", (1, 1, 0), (1, -1, 0), 0.0),
    ],
)
def test_stays(pad):
    graph = graph_with(pad)
    assert merge_pads(graph) is graph
