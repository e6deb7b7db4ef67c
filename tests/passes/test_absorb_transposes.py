# SPDX-License-Identifier: Apache-2.0
"""Transpositions vanish, and the graph computes the same in the same order."""

from dataclasses import replace

import numpy as np
import pytest

from flow.ir.graph import Graph
from flow.ir.model import (
    ArgMax,
    BatchNorm,
    Binary,
    Clip,
    Concat,
    Constant,
    Conv,
    Input,
    LeakyRelu,
    Pad,
    Pool,
    Quant,
    QuantizedConstant,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
    Unary,
    Upsample,
)
from flow.ir.model_rules import infer_shapes, verify_model
from flow.ir.reference import Evaluation
from flow.ir.rounding import Rounding
from flow.ir.window import Window
from flow.passes.absorb_transposes import absorb_transposes

LAST, FIRST = (1, 2, 0), (2, 0, 1)


def graph_of(*nodes):
    return Graph(nodes, (nodes[-1].name,))


def quant(name, x, scale=0.25):
    return Quant(name, x, np.asarray(scale), np.array(0.0), 4, True, False, Rounding.HALF_EVEN)


def assert_same(graph):
    verify_model(graph)
    found = absorb_transposes(graph)
    verify_model(found)
    assert found.outputs == graph.outputs
    x = np.random.default_rng(0).normal(size=(4, *graph.nodes[0].shape))
    before = Evaluation(graph, {graph.nodes[0].name: x}).tensors[graph.outputs[0]].value
    after = Evaluation(found, {graph.nodes[0].name: x}).tensors[graph.outputs[0]].value
    assert before.shape == after.shape
    np.testing.assert_allclose(after, before, rtol=1e-13, atol=1e-13)  # float sums in another order
    return found


def moves(graph):
    return [(n.name, n.x) for n in graph.nodes if isinstance(n, Transpose)]


def test_between_two_convolutions_nothing_is_left():
    rng = np.random.default_rng(0)
    nodes = [Input("x", (3, 5, 6)), quant("a", "x", rng.uniform(0.1, 1, (3, 1, 1)))]
    for number, x in enumerate(("a", "r0")):
        nodes += [
            Transpose(f"t{number}", x, LAST),
            QuantizedConstant(f"w{number}", rng.integers(-3, 4, (3, 3, 3, 3)), np.array(0.5)),
            Conv(f"c{number}", f"t{number}", f"w{number}", Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1)), 1),
            Transpose(f"u{number}", f"c{number}", FIRST),
            BatchNorm(f"b{number}", f"u{number}", *(rng.uniform(0.5, 1, (4, 3, 1, 1))), 1e-5),
            Unary(f"r{number}", "relu", f"b{number}"),
        ]
    found = assert_same(graph_of(*nodes))
    assert moves(found) == [("x:arranged", "x"), ("r1", "r1:stored")]
    assert found["a"].scale.shape == (1, 1, 3)
    assert infer_shapes(found)["b1"] == (5, 6, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "move",
    [
        Pad("p", "a", (0, 2, 1), (0, 1, 0), 0.0),
        Slice("p", "a", (0, 1, 0), (9, 5, 6), (1, 1, 2)),
        Upsample("p", "a", (1, 2, 2)),
        Concat("p", ("a", "a"), 1),
    ],
    ids=lambda move: type(move).__name__,
)
def test_the_input_takes_the_order_of_what_stands_behind_a_mover(move, channels):
    """The mover has channels first too; one channel would hide the transposition as a reshape."""
    stop = {"stop": (channels, *move.stop[1:])} if isinstance(move, Slice) else {}
    nodes = [
        Input("x", (channels, 5, 6)),
        quant("a", "x"),
        replace(move, **stop),
        Transpose("t", "p", LAST),
        QuantizedConstant("w", np.ones((3, 3, channels, 2), np.int64), np.array(0.5)),
        Conv("c", "t", "w", Window((3, 3), (1, 1), (1, 1), (0, 0), (0, 0)), 1),
    ]
    found = assert_same(graph_of(*nodes))
    assert found.nodes[1].x == "x"
    assert [n.name for n in found.nodes if isinstance(n, Transpose | Reshape)] == ["x:arranged"]
    assert infer_shapes(found)["p"][-1] == channels


def test_the_output_keeps_name_and_order():
    x = Input("x", (2, 3, 4))
    assert moves(assert_same(graph_of(x, Unary("r", "relu", "x"), Transpose("y", "r", LAST)))) == [("y", "r")]
    found = assert_same(graph_of(x, Transpose("t", "x", LAST), Unary("y", "relu", "t"), Transpose("z", "y", FIRST)))
    assert found.outputs == ("z",)


def test_two_readers_share_one_transposition():
    found = assert_same(
        graph_of(
            Input("x", (2, 3, 4)),
            quant("a", "x"),
            Transpose("t", "a", LAST),
            Pool("p", "t", "max", Window.of((1, 1)), True),
            Transpose("u", "a", LAST),
            Pool("q", "u", "max", Window.of((1, 1)), True),
            Binary("y", "add", "p", "q"),
        )
    )
    assert len(moves(found)) == 1


def test_axes_of_size_one_are_reshaped():
    found = assert_same(
        graph_of(Input("x", (4, 1, 1)), Unary("r", "relu", "x"), Transpose("t", "r", LAST), Reshape("y", "t", (4,)))
    )
    assert not moves(found)


def test_without_transposes_nothing_changes():
    graph = graph_of(Input("x", (2, 3)), Unary("y", "relu", "x"))
    assert absorb_transposes(graph) is graph


CHANNELS_FIRST = {
    "pad": Pad("p", "a", (0, 2, 1), (0, 1, 0), 0.0),
    "pad one side": Pad("p", "a", (0, 0, 0), (0, 0, 1), 0.0),
    "upsample": Upsample("p", "a", (1, 2, 2)),
    "upsample columns": Upsample("p", "a", (1, 1, 3)),
    "concat": Concat("p", ("a", "a"), 0),
    "mean": Reduce("p", "a", "mean", (1, 2), True),
    "batch norm": BatchNorm("p", "a", *np.random.default_rng(1).uniform(0.5, 1, (4, 3, 1, 1)), 1e-5),
    "scale": quant("p", "a", np.array([0.5, 0.25, 0.125]).reshape(3, 1, 1)),
    "slope": LeakyRelu("p", "a", np.array([0.5, 0.25, 0.125]).reshape(3, 1, 1)),
}


@pytest.mark.parametrize("case", CHANNELS_FIRST)
def test_an_operation_shows_where_the_channels_are(case):
    """Without a convolution the input is stored with its channels last just the same."""
    found = assert_same(graph_of(Input("x", (3, 5, 6)), quant("a", "x"), CHANNELS_FIRST[case]))
    assert moves(found)[0] == ("x:arranged", "x")
    assert infer_shapes(found)["a"] == (5, 6, 3)


CHANNELS_LAST = {
    "pad": Pad("p", "a", (2, 1, 0), (1, 0, 0), 0.0),
    "upsample": Upsample("p", "a", (2, 2, 1)),
    "concat": Concat("p", ("a", "a"), 2),
    "mean": Reduce("p", "a", "mean", (0, 1), True),
    "scale": quant("p", "a", np.linspace(0.1, 0.6, 6)),
    "all axes": Upsample("p", "a", (2, 2, 2)),
    "two axes of a parameter": LeakyRelu("p", "a", np.ones((3, 5, 1))),
    "nothing": Unary("p", "relu", "a"),
}


@pytest.mark.parametrize("case", CHANNELS_LAST)
def test_channels_that_lie_last_stay(case):
    graph = graph_of(Input("x", (3, 5, 6)), quant("a", "x"), CHANNELS_LAST[case])
    assert absorb_transposes(graph) is graph


def test_what_needs_an_order_outweighs_what_shows_one():
    """Columns are padded first: that alone would say that rows are the channels."""
    weight = QuantizedConstant("w", np.ones((1, 1, 6, 2), np.int64), np.array(0.5))
    conv = Conv("c", "p", "w", Window.of((1, 1)), 1)
    graph = graph_of(Input("x", (3, 5, 6)), quant("a", "x"), weight, Pad("p", "a", (0, 1, 0), (0, 1, 0), 0.0), conv)
    assert absorb_transposes(graph) is graph


def test_a_constant_that_is_joined_is_turned_with_the_activation():
    parameter = Constant("c", np.random.default_rng(2).normal(size=(2, 5, 6)))
    found = assert_same(graph_of(Input("x", (3, 5, 6)), parameter, Concat("p", ("x", "c"), 0)))
    assert infer_shapes(found)[found["p"].x] == (5, 6, 5)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    """Chains and branches of everything that has axes, in random orders of axes."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(s) for s in rng.integers(2, 6, 3))
    nodes = [Input("x", shape)]
    shapes = {"x": shape}
    names = ["x"]
    for number in range(14):
        x, name = names[-1] if rng.random() < 0.7 else names[rng.integers(len(names))], f"n{number}"
        size = shapes[x]
        rank = len(size)
        kind = rng.integers(12)
        parameter = rng.uniform(0.5, 2, tuple(int(s) if rng.random() < 0.5 else 1 for s in size))
        if kind <= 2:
            node = Transpose(name, x, tuple(int(i) for i in rng.permutation(rank)))
        elif kind == 3:
            node = Quant(name, x, parameter, np.zeros(()), 5, True, False, Rounding.HALF_EVEN)
        elif kind == 4:
            node = LeakyRelu(name, x, parameter)
        elif kind == 5:
            nodes.append(Constant(f"{name}:c", parameter))
            node = Binary(name, "mul", *((x, f"{name}:c") if rng.random() < 0.5 else (f"{name}:c", x)))
        elif kind == 6:
            others = [n for n in names if shapes[n] == size]
            node = Binary(name, "add", x, others[rng.integers(len(others))])
        elif kind == 7:
            node = Slice(name, x, *zip(*[(int(rng.integers(0, 2)), s, 1) for s in size], strict=True))
        elif kind == 8:
            node = Concat(name, (x, x), int(rng.integers(rank)))
        elif kind == 9:
            node = Pad(name, x, tuple(rng.integers(0, 2, rank).tolist()), tuple(rng.integers(0, 2, rank).tolist()), 0.5)
        elif kind == 10:
            node = Upsample(name, x, tuple(rng.integers(1, 3, rank).tolist()))
        elif rank == 3 and rng.random() < 0.5:
            node = Reduce(name, x, "mean", (int(rng.integers(3)),), bool(rng.random() < 0.7))
        else:
            node = Clip(name, x, -1.0, 1.5)
        try:
            shapes[name] = infer_shapes(graph_of(*nodes, node))[name]
        except Exception:
            continue
        if np.prod(shapes[name]) > 4000:
            continue
        nodes.append(node)
        names.append(name)
    last = names[-1]
    if len(shapes[last]) > 1 and rng.random() < 0.5:
        axis = int(rng.integers(len(shapes[last])))
        nodes.append(Softmax("end", last, axis) if rng.random() < 0.5 else ArgMax("end", last, axis, 1, keep=False))
        last = "end"
    graph = Graph(tuple(nodes), (last,))
    kept = graph.ancestors(last)
    assert_same(Graph(kept, (last,)))
