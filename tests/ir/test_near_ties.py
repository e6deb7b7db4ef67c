# SPDX-License-Identifier: Apache-2.0
"""Models that float32 gets wrong: each difference is proved to be a near-tie, or is an error."""

import numpy as np
import pytest

from flow.ir.graph import Graph
from flow.ir.model import Binary, BipolarQuant, Constant, Input, MatMul, Quant, Unary
from flow.ir.near_ties import activation_quantizers, compare_float32, parameter_quantizers
from flow.ir.reference import Evaluation
from flow.ir.rounding import Rounding


def quant(name, x, scale=1.0, zero=0.0, bits=8, rounding=Rounding.HALF_EVEN):
    return Quant(name, x, np.array(scale, float), np.array(zero, float), bits, True, False, rounding)


X = Input("x", (2,))
# 16777216 + 1 is no float32: 0.5 * (2**24 + 1) * 2**-24 lies above the tie by 2**-25, float32 has it on the tie
ADD = Constant("c", np.array([2.0**-25, 0.0]))
ACTIVATION = Graph((X, ADD, Binary("s", "add", "x", "c"), quant("q", "s"), Unary("y", "neg", "q")), ("y",))
FRAMES = np.array([[0.5, 0.25], [1.25, 0.5]])


def as_float32(graph, frames):
    """The graph in float32, operation by operation; only the operations of this file."""
    values = {}
    for node in graph.nodes:
        match node:
            case Input():
                values[node.name] = frames.astype(np.float32)
            case Constant(value=value):
                values[node.name] = value.astype(np.float32)
            case Binary(kind="add", x=x, y=y):
                values[node.name] = values[x] + values[y]
            case Binary(kind="mul", x=x, y=y):
                values[node.name] = values[x] * values[y]
            case Unary(x=x):
                values[node.name] = -values[x]
            case MatMul(x=x, weight=w):
                values[node.name] = values[x] @ values[w]
            case Quant(x=x):
                level = np.clip(np.rint(values[x] / np.float32(node.scale)), *node.range)
                values[node.name] = (level * np.float32(node.scale)).astype(np.float32)
            case BipolarQuant(x=x):
                values[node.name] = np.where(values[x] >= 0, np.float32(1), np.float32(-1))
    return values


def test_an_activation_that_float32_rounds_the_other_way():
    run = as_float32(ACTIVATION, FRAMES)
    assert run["q"].tolist() == [[0, 0], [1, 0]]
    assert Evaluation(ACTIVATION, {"x": FRAMES}).decisions["q"].levels.tolist() == [[1, 0], [1, 0]]
    found = compare_float32(ACTIVATION, FRAMES, run)
    assert found.errors == ()
    (tie,) = found.near_ties
    assert (tie.tensor, tie.frame, tie.element, tie.exact, tie.float32) == ("q", 0, 0, 1, 0)
    assert tie.ulps == pytest.approx(0.5)  # 2**-25 of units of 2**-24
    assert found.compared == 4 + 4
    assert found.parameter_ties == ()


def test_what_follows_a_flip_is_compared_with_the_flipped_level():
    graph = Graph((*ACTIVATION.nodes, quant("p", "y", 0.5)), ("p",))
    found = compare_float32(graph, FRAMES, as_float32(graph, FRAMES))
    assert [tie.tensor for tie in found.near_ties] == ["q"]
    assert found.errors == ()
    assert found.compared == 8


def weights():
    # 0.3 / 0.2 of float32 numbers: the exact quotient of the two lies beside the tie at 1.5
    for k in range(1, 2000):
        scale = np.float32(k) * np.float32(0.001)
        value = np.float32(np.float32(1.5) * scale)
        exact = float(value) / float(scale)
        if np.float32(value / scale) == np.float32(1.5) and exact < 1.5:
            return float(value), float(scale)
    raise AssertionError


def test_a_weight_that_float32_rounds_the_other_way():
    value, scale = weights()
    w = Constant("w", np.array([[value], [scale]]))
    graph = Graph((X, quant("a", "x"), w, quant("q", "w", scale), MatMul("y", "a", "q")), ("y",))
    frames = np.array([[1.0, 2.0], [3.0, 4.0], [-5.0, 0.0]])
    run = as_float32(graph, frames)
    assert Evaluation(graph, {"x": frames}).decisions["q"].levels.tolist() == [[1], [1]]
    assert np.rint(run["q"] / np.float32(scale)).tolist() == [[2], [1]]
    found = compare_float32(graph, frames, run)
    assert found.errors == ()
    (tie,) = found.near_ties
    assert found.parameter_ties == (tie,)
    assert (tie.tensor, tie.frame, tie.element, tie.exact, tie.float32) == ("q", None, 0, 1, 2)
    assert tie.ulps < 1
    assert found.compared == 2 + 6 + 3
    assert parameter_quantizers(graph) == ("q",)
    assert activation_quantizers(graph) == ("a",)


def test_a_corrupted_level_is_an_error():
    run = as_float32(ACTIVATION, FRAMES)
    run["q"][1, 1] = 3.0
    run["y"][1, 1] = -3.0
    found = compare_float32(ACTIVATION, FRAMES, run)
    assert len(found.near_ties) == 1
    (error,) = found.errors
    assert error.startswith(
        "'q', frame 1, element 1: the model defines level 0 (position 0.5), float32 gave 3; its error is at most "
    )


def test_a_value_that_is_no_level_is_an_error():
    run = as_float32(ACTIVATION, FRAMES)
    assert compare_float32(ACTIVATION, FRAMES, run).errors == ()
    run["q"][1, 0] += np.float32(0.01)
    (error,) = compare_float32(ACTIVATION, FRAMES, run).errors
    assert error.startswith("'q' at (1, 0): float32 gave ")
    assert error.endswith("which is none of its levels")


def test_a_level_beyond_the_tie_or_in_the_middle_is_an_error():
    graph = Graph((X, quant("y", "x")), ("y",))
    frames = np.array([[0.5, 0.25]])
    for wrong in ([[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]]):
        # the input is exact, and so is the tie: there is no error that could explain it
        found = compare_float32(graph, frames, {"y": np.array(wrong, np.float32)})
        assert len(found.errors) == 1
        assert found.near_ties == ()
        assert found.compared == 2


def test_two_levels_off_at_a_near_tie_is_an_error():
    run = as_float32(ACTIVATION, FRAMES)
    run["q"][0, 0], run["y"][0, 0] = 2.0, -2.0
    found = compare_float32(ACTIVATION, FRAMES, run)
    assert found.near_ties == ()
    assert len(found.errors) == 1
    assert "'q', frame 0, element 0: the model defines level 1" in found.errors[0]


def test_a_corrupted_weight_is_an_error():
    w = Constant("w", np.array([[1.25], [0.5]]))
    graph = Graph((X, quant("a", "x"), w, quant("q", "w"), MatMul("y", "a", "q")), ("y",))
    frames = np.array([[1.0, 2.0]])
    run = as_float32(graph, frames)
    run["q"][1, 0] = 1.0
    run["y"] = run["a"] @ run["q"]
    found = compare_float32(graph, frames, run)
    assert found.near_ties == ()
    assert len(found.errors) == 1
    assert found.errors[0].startswith(
        "'q', frame None, element 1: the model defines level 0 (position 0.5), float32 gave 1"
    )


def test_a_corrupted_output_is_an_error():
    c = Constant("c", np.array([0.1, 3.0]))
    graph = Graph((X, quant("q", "x"), c, Binary("y", "mul", "q", "c")), ("y",))
    run = as_float32(graph, FRAMES)
    assert compare_float32(graph, FRAMES, run).errors == ()
    run["y"][1, 0] += np.float32(1e-6)
    (error,) = compare_float32(graph, FRAMES, run).errors
    assert error.startswith("'y' at (1, 0): the model defines 0.1, float32 gave 0.100001")
    run["y"][1, 0] = np.nan
    assert len(compare_float32(graph, FRAMES, run).errors) == 1


def test_bipolar_near_ties():
    nodes = (X, ADD, Binary("s", "add", "x", "c"), BipolarQuant("y", "s", np.ones(()), np.zeros(())))
    graph = Graph(nodes, ("y",))
    frames = np.array([[-(2.0**-25) - 2.0**-50, 1.0]])
    run = as_float32(graph, frames)
    exact = Evaluation(graph, {"x": frames}).decisions["y"].levels
    assert exact.tolist() == [[-1, 1]]
    run["y"] = np.array([[1.0, 1.0]], np.float32)
    found = compare_float32(graph, frames, run)
    assert [(t.exact, t.float32) for t in found.near_ties] == [(-1, 1)] or len(found.errors) == 1
    run["y"] = np.array([[-1.0, -1.0]], np.float32)
    assert len(compare_float32(graph, frames, run).errors) == 1
