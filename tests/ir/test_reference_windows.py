# SPDX-License-Identifier: Apache-2.0
"""Windows, joins, moves and selections: approximate values and exact elements against plain loops in rationals."""

from fractions import Fraction

import numpy as np
import pytest
from window_definitions import plain_conv, plain_transposed

from flow.errors import ExactnessError
from flow.ir.graph import Graph
from flow.ir.model import (
    ArgMax,
    Binary,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Input,
    LeakyRelu,
    Pad,
    Permute,
    Pool,
    Quant,
    Reduce,
    Slice,
    SpaceToDepth,
    Transpose,
    Upsample,
)
from flow.ir.model_rules import infer_shapes
from flow.ir.reference import DOUBLE, SINGLE, Evaluation, Levels
from flow.ir.rounding import Rounding
from flow.ir.window import Window

RNG = np.random.default_rng(5)
SHAPE = (5, 4, 6)
THIRDS = (Fraction(1, 3),)


def window(kernel, strides=(1, 1), dilations=(1, 1), before=(0, 0), after=(0, 0)):
    return Window(kernel, strides, dilations, before, after)


def run_of(*nodes, shape=SHAPE, levels=None, frames=2, **options):
    """Levels of one third each: no value is dyadic, so that every bound is at work."""
    if levels is None:
        levels = RNG.integers(-9, 10, (frames, *shape))
    graph = Graph((Input("x", shape), *nodes), (nodes[-1].name,))
    return Evaluation(graph, {"x": Levels(levels, THIRDS, (Fraction(0),))}, **options), levels


def assert_exact(run, name, expected):
    """Every element in exact arithmetic is what is expected, and lies within the bound of the approximate one."""
    y = run.tensors[name]
    assert y.value.shape == expected.shape
    error = np.broadcast_to(y.error, y.value.shape)
    assert error.max() > 0 or y.lsb is not None
    for index in np.ndindex(expected.shape):
        number = run.number(name, index)
        assert number == expected[index], index
        assert abs(Fraction(float(y.value[index])) - number) <= Fraction(float(error[index])), index


def rational(array):
    flat = np.empty(array.size, object)
    flat[:] = [Fraction(v) for v in array.reshape(-1).tolist()]
    return flat.reshape(array.shape)


WINDOWS = [
    window((2, 3)),
    window((2, 3), (2, 1), (1, 1), (1, 0), (0, 2)),
    window((2, 2), (1, 2), (2, 1), (1, 1), (1, 0)),
]


@pytest.mark.parametrize("win", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("precision", [DOUBLE, SINGLE])
def test_convolutions(win, groups, precision):
    weight = RNG.normal(size=(*win.kernel, 6 // groups, 6))
    run, levels = run_of(Constant("w", weight), Conv("y", "x", "w", win, groups), frames=1, precision=precision)
    x = rational(levels) / 3
    assert_exact(run, "y", plain_conv(x, rational(weight), win, groups))


@pytest.mark.parametrize(
    "win",
    [window((2, 3)), window((3, 2), (2, 3), (1, 1), (1, 0), (0, -1)), window((2, 2), (1, 2), (2, 1), (0, 1), (1, -1))],
    ids=str,
)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_transposed_convolutions(win, groups):
    weight = RNG.normal(size=(*win.kernel, 6 // groups, 6))
    shape = (3, 2, 6)
    run, levels = run_of(Constant("w", weight), ConvTranspose("y", "x", "w", win, groups), shape=shape, frames=1)
    size = run.shapes["y"][:-1]
    assert_exact(run, "y", plain_transposed(rational(levels) / 3, rational(weight), win, groups, size))


@pytest.mark.parametrize("win", WINDOWS, ids=str)
@pytest.mark.parametrize(("kind", "whole"), [("max", False), ("mean", False), ("mean", True)])
def test_pools(win, kind, whole):
    run, levels = run_of(Pool("y", "x", kind, win, whole))
    x = rational(levels) / 3
    expected = np.empty(run.tensors["y"].value.shape, object)
    for frame, *place, c in np.ndindex(expected.shape):
        inside = [
            x[(frame, *at, c)]
            for at in (win.inputs(tap, tuple(place)) for tap in win.taps())
            if all(0 <= i < s for i, s in zip(at, SHAPE[:2], strict=True))
        ]
        taps = win.kernel[0] * win.kernel[1]
        expected[(frame, *place, c)] = (
            max(inside) if kind == "max" else sum(inside) / Fraction(taps if whole else len(inside))
        )
    assert_exact(run, "y", expected)


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
def test_reductions(axes, keep, kind):
    run, levels = run_of(Reduce("y", "x", kind, axes, keep))
    x, places = rational(levels) / 3, tuple(axis + 1 for axis in axes)
    count = int(np.prod([SHAPE[axis] for axis in axes]))
    if kind == "max":
        expected = x.max(axis=places, keepdims=keep)
    else:
        expected = x.sum(axis=places, keepdims=keep) / Fraction(count if kind == "mean" else 1)
    assert_exact(run, "y", np.asarray(expected, object))


MOVES = {
    "slice": (Slice("y", "x", (1, 0, 2), (5, 4, 6), (2, 3, 1)), lambda x: x[:, 1:5:2, 0:4:3, 2:6]),
    "upsample": (Upsample("y", "x", (2, 1, 3)), lambda x: x.repeat(2, 1).repeat(3, 3)),
    "pad": (
        Pad("y", "x", (1, 0, 0), (0, 2, 1), 0.75),
        lambda x: np.pad(x, [(0, 0), (1, 0), (0, 2), (0, 1)], constant_values=Fraction(3, 4)),
    ),
    "concat": (Concat("y", ("x", "x"), 1), lambda x: np.concatenate([x, x], 2)),
    "leaky": (
        LeakyRelu("y", "x", np.array([0.0, 0.5, 1.0, 2.0, 0.25, 0.1])),
        lambda x: np.where(x > 0, x, x * rational(np.array([0.0, 0.5, 1.0, 2.0, 0.25, 0.1]))),
    ),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name):
    node, defined = MOVES[name]
    run, levels = run_of(node)
    assert_exact(run, "y", defined(rational(levels) / 3))


@pytest.mark.parametrize("depth_last", [True, False])
@pytest.mark.parametrize("block", [(2, 2), (2, 3)])
def test_depth_to_space(block, depth_last):
    rows, columns = block
    run, levels = run_of(DepthToSpace("y", "x", block, depth_last), shape=(2, 3, rows * columns * 2))
    x = rational(levels) / 3
    expected = np.empty((2, 2 * rows, 3 * columns, 2), object)
    for frame, i, j, row, column, c in np.ndindex(2, 2, 3, rows, columns, 2):
        depth = (row * columns + column) * 2 + c if depth_last else (c * rows + row) * columns + column
        expected[frame, i * rows + row, j * columns + column, c] = x[frame, i, j, depth]
    assert_exact(run, "y", expected)


def test_space_to_depth():
    run, levels = run_of(SpaceToDepth("y", "x", (2, 3)), shape=(4, 6, 2))
    x = rational(levels) / 3
    expected = np.empty((len(x), 2, 2, 12), object)
    for frame, i, j, row, column, c in np.ndindex(len(x), 2, 2, 2, 3, 2):
        expected[frame, i, j, (row * 3 + column) * 2 + c] = x[frame, i * 2 + row, j * 3 + column, c]
    assert_exact(run, "y", expected)


@pytest.mark.parametrize(("axis", "order"), [(0, (1, 0)), (2, (3, 0, 2, 1))])
def test_permute(axis, order):
    run, levels = run_of(Permute("y", "x", axis, order), shape=(2, 3, 4))
    assert_exact(run, "y", np.take(rational(levels) / 3, order, axis + 1))


def test_moves_of_parameters_have_no_batch_axis():
    value = RNG.normal(size=(2, 2, 4))
    nodes = (
        Constant("c", value),
        DepthToSpace("d", "c", (2, 2), True),
        Upsample("u", "d", (1, 1, 6)),
        Pad("p", "u", (1, 0, 0), (0, 0, 0), 0.0),
        Slice("s", "p", (0, 0, 0), (5, 4, 6), (1, 1, 1)),
        Concat("k", ("s", "x"), 0),
    )
    run, levels = run_of(*nodes)
    assert run.tensors["k"].value.shape == (2, 10, 4, 6)
    for index in ((0, 1, 2, 3), (1, 4, 3, 5), (1, 9, 3, 5), (0, 5, 0, 0)):
        number = run.number("k", index)
        assert float(number) == pytest.approx(run.tensors["k"].value[index], rel=1e-15)
    assert run.number("k", (1, 9, 3, 5)) == Fraction(int(levels[1, 4, 3, 5]), 3)
    assert infer_shapes(run.graph)["k"] == (10, 4, 6)


def test_operands_of_unlike_rank_keep_their_frames_apart():
    """(frames, channels) beside (frames, height, width, channels), with as many frames as columns."""
    nodes = (Reduce("g", "x", "mean", (0, 1), False), Binary("y", "mul", "x", "g"))
    run, levels = run_of(*nodes, frames=4)
    x = rational(levels) / 3
    mean = x.sum(axis=(1, 2)) / Fraction(20)
    assert_exact(run, "y", x * mean[:, None, None, :])


def test_a_parameter_of_greater_rank():
    value = RNG.normal(size=(3, 2))
    run, levels = run_of(Constant("c", value), Binary("y", "add", "x", "c"), shape=(2,), frames=3)
    assert_exact(run, "y", (rational(levels) / 3)[:, None, :] + rational(value)[None])


def test_exact_sums_carry_no_error():
    weight = RNG.integers(-8, 8, (3, 3, 6, 6)) / 4
    graph = Graph(
        (Input("x", SHAPE), Constant("w", weight), Conv("y", "x", "w", window((3, 3)), 1), Pool("p", "y", "mean",
         window((2, 2)), False)),
        ("p",),
    )  # fmt: skip
    run = Evaluation(graph, {"x": RNG.integers(-8, 8, (2, *SHAPE)) / 16})
    assert (run.tensors["y"].lsb, run.tensors["p"].lsb) == (-6, -8)
    assert not np.any(run.tensors["p"].error)


def test_errors_of_quantised_weights_enter_once():
    """Weights and inputs with their own relative errors: the bound holds, and is of the size that it should be."""
    scale = RNG.uniform(0.01, 0.1, 6)
    weights = Quant("q", "w", scale, np.zeros(()), 8, True, True, Rounding.HALF_EVEN)
    win = window((3, 3))
    nodes = (Constant("w", RNG.normal(size=(3, 3, 6, 6))), weights, Conv("y", "x", "q", win, 1))
    for precision in (DOUBLE, SINGLE):
        run, levels = run_of(*nodes, frames=1, precision=precision)
        exact = rational(run.decisions["q"].levels) * rational(scale)
        assert_exact(run, "y", plain_conv(rational(levels) / 3, exact, win, 1))
        size = np.abs(run.tensors["y"].value).max()
        assert run.tensors["y"].error.max() < 400 * size * 2.0**-precision


# ------------------------------------------------------------------------------------- places of the greatest


def places(*values, count=1, keep=True, **options):
    graph = Graph((Input("x", (len(values),)), ArgMax("y", "x", 0, count, keep)), ("y",))
    return Evaluation(graph, {"x": np.array([values], float)}, **options).tensors["y"]


def test_places_of_the_greatest():
    assert places(1, 3, 2).value.tolist() == [[1]]
    assert places(1, 3, 3, keep=False).value.tolist() == [1]
    assert places(1, 3, 2, 3, count=3).value.tolist() == [[1, 3, 2]]
    assert places(1, 3).lsb == 0


def test_places_in_doubt_have_the_error_of_any_place():
    third = Constant("c", np.array([1 / 3, 1 / 3, 0.1]))
    graph = Graph((Input("x", (3,)), third, Binary("m", "mul", "x", "c"), ArgMax("y", "m", 0, 2, True)), ("y",))
    x = np.array([[3.0, 3.0, 1.0], [1.0, 9.0, 3.0]])
    error = Evaluation(graph, {"x": x}).tensors["y"].error
    assert error.tolist() == [[3, 3], [0, 0]]
    assert Evaluation(graph, {"x": x}, precision=SINGLE).tensors["y"].error.tolist()[0] == [3, 3]


def test_nothing_is_decided_behind_places():
    quant = Quant("q", "y", np.ones(()), np.full((), 0.0), 4, True, False, Rounding.FLOOR)
    graph = Graph((Input("x", (3,)), ArgMax("y", "x", 0, 1, True), quant), ("q",))
    run = Evaluation(graph, {"x": np.zeros((1, 3))})
    with pytest.raises(ExactnessError, match="'y': nothing that is quantised may follow a search for the greatest"):
        run.number("y", (0, 0))


def test_a_transposed_input_goes_as_fast():
    """A convolution of channels that lie first in memory: numpy must not fall back to its own loops."""
    import time

    weight = Constant("w", RNG.normal(size=(64, 64, 3, 3)))
    nodes = (
        Input("x", (64, 64, 64)),
        weight,
        Transpose("t", "w", (2, 3, 1, 0)),
        Transpose("l", "x", (1, 2, 0)),
        Conv("y", "l", "t", window((3, 3)), 1),
    )
    start = time.process_time()
    Evaluation(Graph(nodes, ("y",)), {"x": RNG.normal(size=(1, 64, 64, 64))})
    assert time.process_time() - start < 3
