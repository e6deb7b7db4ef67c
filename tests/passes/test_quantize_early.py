# SPDX-License-Identifier: Apache-2.0
"""Quantisers move in front of what only moves values, or takes the greatest."""

import numpy as np
import pytest

from flow.ir.graph import Graph
from flow.ir.model import (
    Binary,
    BipolarQuant,
    Concat,
    Constant,
    DepthToSpace,
    Input,
    LeakyRelu,
    MatMul,
    Pad,
    Pool,
    Quant,
    QuantizedConstant,
    Reduce,
    Reshape,
    Slice,
    Unary,
    Upsample,
)
from flow.ir.model_rules import verify_model
from flow.ir.reference import Evaluation
from flow.ir.rounding import Rounding
from flow.ir.window import Window
from flow.passes.quantize_early import quantize_early

X = Input("x", (4, 4, 4))
NARROW = Quant("q", "x", np.array(0.125), np.array(0.0), 6, True, False, Rounding.HALF_EVEN)
WEIGHT = QuantizedConstant("w", np.arange(16).reshape(4, 4) % 5 - 2, np.array(0.5))
FIRST = (NARROW, WEIGHT, MatMul("a", "q", "w"))
PADDED = Window((3, 3), (2, 2), (1, 1), (1, 1), (1, 1))


def quant(x, scale=0.3):
    return Quant("y", x, np.asarray(scale), np.array(1.0), 3, True, False, Rounding.HALF_EVEN)


def after(*nodes):
    graph = Graph(nodes, ("y",))
    verify_model(graph)
    found = quantize_early(graph)
    verify_model(found)
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 4))
    before, now = (Evaluation(g, {"x": x}).tensors["y"].value for g in (graph, found))
    assert np.array_equal(before, now)
    assert quantize_early(found) is found
    return graph, found


BY_CHANNEL = np.array([0.2, 0.3, 0.4, 0.5]).reshape(1, 1, 4)
MOVERS = {
    "max pool": (Pool("m", "a", "max", PADDED, True), BY_CHANNEL),
    "max over all": (Reduce("m", "a", "max", (0, 1), True), BY_CHANNEL),
    "max over all, flat": (Reduce("m", "a", "max", (0, 1), False), 0.3),
    "upsample": (Upsample("m", "a", (2, 3, 1)), BY_CHANNEL),
    "reshape": (Reshape("m", "a", (64,)), 0.3),
    "slice": (Slice("m", "a", (0, 1, 0), (4, 4, 2), (2, 1, 1)), 0.3),
    "depth to space": (DepthToSpace("m", "a", (2, 2), True), 0.3),
}


@pytest.mark.parametrize("case", MOVERS)
def test_moved_in_front(case):
    mover, scale = MOVERS[case]
    _, found = after(X, *FIRST, mover, quant("m", scale))
    assert [type(n) for n in found.nodes] == [Input, Quant, QuantizedConstant, MatMul, Quant, type(mover)]
    assert found.nodes[4].name == "y:before"


def test_every_operand_of_a_concat():
    relu = Unary("r", "relu", "a")
    _, found = after(X, *FIRST, relu, Concat("m", ("a", "r"), 2), quant("m"))
    assert found["y"].xs == ("y:before0", "y:before1")


def test_through_several_movers():
    _, found = after(X, *FIRST, Pool("p", "a", "max", PADDED, True), Reshape("m", "p", (16,)), quant("m"))
    assert [type(n) for n in found.nodes][3:] == [MatMul, Quant, Pool, Reshape]


def test_functions_of_one_value_move_along():
    half = Constant("h", np.array([0.5]))
    nodes = (Pool("p", "a", "max", PADDED, True), Reshape("m", "p", (16,)), half, Unary("r", "relu", "m"))
    _, found = after(X, *FIRST, *nodes, Binary("b", "add", "h", "r"), quant("b"))
    order = [type(n) for n in found.nodes if not isinstance(n, Constant)][3:]
    # a sum with a constant is not taken to rise, so that it stays behind the maximum
    assert order == [MatMul, Unary, Pool, Binary, Quant, Reshape]


def test_a_slope_loses_the_axes_that_its_operand_has_not():
    nodes = (Reshape("m", "a", (1, 1, 4, 16)), LeakyRelu("r", "m", np.full((1, 1, 1, 1), 0.3)))
    _, found = after(X, *FIRST, Reshape("flat", "a", (64,)), *(n.with_inputs({"a": "flat"}) for n in nodes), quant("r"))
    assert [type(n) for n in found.nodes][3:] == [MatMul, LeakyRelu, Quant, Reshape, Reshape]


def test_the_least_stays_behind_the_greatest():
    nodes = (X, *FIRST, Pool("p", "a", "max", PADDED, True), Unary("n", "neg", "p"), quant("n"))
    graph = Graph(nodes, ("y",))
    assert quantize_early(graph) is graph


STAYS = {
    "an average": (*FIRST, Pool("m", "a", "mean", PADDED, True), quant("m")),
    "a padding": (*FIRST, Pad("m", "a", (1, 1, 0), (1, 1, 0), 0.0), quant("m")),
    "a scale of each channel that the mover mixes": (
        *FIRST,
        DepthToSpace("m", "a", (2, 2), True),
        quant("m", np.array([0.2]).reshape(1, 1, 1) * np.ones((1, 8, 1)) * [[[1.0]]] * np.linspace(1, 2, 8)[:, None]),
    ),
    "what is narrow already": (NARROW, Reshape("m", "q", (64,)), quant("m")),
    "the float input, which the host handles": (Reshape("m", "x", (64,)), quant("m")),
    "a mover with another reader": (
        *FIRST,
        Reshape("m", "a", (64,)),
        BipolarQuant("z", "m", np.array(1.0), np.array(0.0)),
        Reshape("k", "z", (64,)),
        quant("m"),
        Concat("y2", ("k", "y"), 0),
    ),
}


@pytest.mark.parametrize("case", STAYS)
def test_stays(case):
    graph = Graph((X, *STAYS[case]), (STAYS[case][-1].name,))
    verify_model(graph)
    found = quantize_early(graph)
    if case == "a mover with another reader":
        assert found["y"].x == "m"
    else:
        assert found is graph
