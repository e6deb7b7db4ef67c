# SPDX-License-Identifier: Apache-2.0
"""Images, sequences, branches and moves: the integer graph, after every pass, against the model as it was written.

The integers themselves are compared: the output ends in a quantiser, whose level the hardware must give.
"""

import numpy as np
import pytest

from flow.errors import UnsupportedModelError
from flow.ir.dataflow import execute, verify_dataflow
from flow.ir.graph import Graph
from flow.ir.model import (
    BatchNorm,
    Binary,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Input,
    MatMul,
    Pad,
    Pool,
    Quant,
    QuantizedConstant,
    Reduce,
    Reshape,
    Slice,
    Transpose,
    Unary,
    Upsample,
)
from flow.ir.model_rules import verify_model
from flow.ir.reference import Evaluation
from flow.ir.rounding import Rounding
from flow.ir.window import Window
from flow.passes.integerize import integerize
from flow.passes.pipelines import DATAFLOW_PASSES, MODEL_PASSES

LAST, FIRST = (1, 2, 0), (2, 0, 1)
SAME = Window((3, 3), (1, 1), (1, 1), (1, 1), (1, 1))


def quant(name, x, scale=0.25, zero=0.0, bits=4, signed=True):
    scale = np.asarray(scale, np.float32).astype(np.float64)
    return Quant(name, x, scale, np.array(zero), bits, signed, False, Rounding.HALF_EVEN)


def weights(name, *shape, scale=0.125, seed=0):
    rng = np.random.default_rng(seed)
    return QuantizedConstant(name, rng.integers(-3, 4, shape), np.asarray(scale, np.float32).astype(np.float64))


def norm(name, x, channels):
    rng = np.random.default_rng(channels)
    gamma, beta, mean = (rng.normal(size=(channels, 1, 1)) for _ in range(3))
    return BatchNorm(name, x, gamma, beta, mean, rng.uniform(0.5, 2, (channels, 1, 1)), 1e-5)


def assert_exact(*nodes, frames=20):
    """The levels of the last node, and the kinds of nodes of the integer graph."""
    graph = Graph(nodes, (nodes[-1].name,))
    verify_model(graph)
    x = np.random.default_rng(1).normal(size=(frames, *nodes[0].shape))
    run = Evaluation(graph, {nodes[0].name: x})
    for each in MODEL_PASSES:
        graph = each(graph)
        verify_model(graph)
    integers = integerize(graph)
    dataflow = integers.graph
    verify_dataflow(dataflow)
    for each in DATAFLOW_PASSES:
        dataflow = each(dataflow)
        verify_dataflow(dataflow)
    found = execute(dataflow, {integers.source.name: integers.encode(x)})[integers.output]
    expected = run.decisions[nodes[-1].name].levels
    decoded = integers.decode(found)
    assert decoded.shape == expected.shape
    last = nodes[-1]
    assert np.array_equal(np.rint(decoded / last.scale + last.zero_point), expected)
    assert len(np.unique(expected)) > 2, "the network gives nearly nothing but one value"
    return [type(node).__name__ for node in dataflow.nodes]


def test_channels_first_with_a_residual_and_unlike_scales():
    kinds = assert_exact(
        Input("x", (3, 8, 8)),
        quant("a", "x"),
        Transpose("a last", "a", LAST),
        weights("w1", 3, 3, 3, 4),
        Conv("c", "a last", "w1", SAME, 1),
        Transpose("c first", "c", FIRST),
        norm("bn", "c first", 4),
        Unary("r", "relu", "bn"),
        quant("q1", "r", 0.3, bits=3, signed=False),
        Transpose("q1 last", "q1", LAST),
        weights("w2", 3, 3, 4, 4, scale=np.random.default_rng(0).uniform(0.1, 0.2, (1, 1, 1, 4))),
        Conv("d", "q1 last", "w2", SAME, 1),
        Transpose("d first", "d", FIRST),
        quant("q2", "d first", 0.17),
        Binary("s", "add", "q2", "q1"),
        quant("q3", "s", 0.4, bits=5),
        Transpose("q3 last", "q3", LAST),
        Pool("p", "q3 last", "max", Window.of((2, 2), (2, 2)), True),
        Transpose("p first", "p", FIRST),
        Reshape("f", "p first", (64,)),
        weights("w3", 64, 5),
        MatMul("m", "f", "w3"),
        quant("y", "m", 0.5, bits=8),
    )
    assert kinds == [
        *("Source", "Convolution", "Step", "Convolution", "Step", "Sum", "Step", "Pooling", "Flatten", "Dense", "Step")
    ]


TRANSPOSED = {
    # stride, padding, output padding, kernel, dilation, groups
    "doubles": (2, 1, 1, 3, 1, 1),
    "without overlap": (2, 0, 0, 2, 1, 1),
    "by three, in groups": (3, 1, 0, 4, 1, 2),
    "overlap of two": (2, 1, 0, 4, 1, 1),
    "stride one": (1, 1, 0, 3, 1, 1),
    "dilated": (2, 1, 0, 3, 2, 1),
    "gaps": (4, 0, 1, 2, 1, 1),
    "strides that differ": ((2, 3), 1, 1, 4, 1, 2),
    "rows alone": ((2, 1), 0, 0, 3, 1, 1),
    "columns alone": ((1, 3), 1, 0, 3, 1, 1),
    "columns alone, cut off": ((1, 2), 1, 0, 4, 1, 1),
}


@pytest.mark.parametrize("case", TRANSPOSED)
@pytest.mark.parametrize("by_channel", [False, True])
def test_transposed_convolutions(case, by_channel):
    stride, pad, more, kernel, dilation, groups = TRANSPOSED[case]
    scale = np.random.default_rng(3).uniform(0.1, 0.2, (1, 1, 1, 6)) if by_channel else 0.125
    strides = stride if isinstance(stride, tuple) else (stride,) * 2
    window = Window((kernel,) * 2, strides, (dilation,) * 2, (pad,) * 2, (pad - more,) * 2)
    kinds = assert_exact(
        Input("x", (5, 6, 4)),
        quant("a", "x"),
        weights("w", kernel, kernel, 4 // groups, 6, scale=scale),
        ConvTranspose("c", "a", "w", window, groups),
        quant("y", "c", 0.31),
    )
    assert ("PixelShuffle" in kinds) == (strides[0] > 1)


@pytest.mark.parametrize("kernel", [2, 3])
def test_transposed_convolutions_of_channels_with_unlike_scales(kernel):
    """Phases whose taps see other channels, or none at all, still have one scale for each output."""
    rng = np.random.default_rng(8)
    sparse = rng.integers(-3, 4, (kernel, kernel, 4, 3)) * (rng.random((kernel, kernel, 4, 3)) < 0.4)
    assert_exact(
        Input("x", (3, 4, 4)),
        quant("a", "x", np.array([0.25, 0.375, 0.5, 2.0])),
        QuantizedConstant("w", sparse, np.array(0.5)),
        ConvTranspose("c", "a", "w", Window((kernel,) * 2, (3, 2), (1, 1), (0, 0), (0, 0)), 1),
        quant("y", "c", 0.61),
    )


@pytest.mark.parametrize("zero", [3.0, -2.0, np.array([0.0, 1.0, -3.0, 7.0])])
def test_transposed_convolutions_of_what_has_a_zero_point(zero):
    """The zero point is taken off first: each phase would add it with weights of its own."""
    kinds = assert_exact(
        Input("x", (3, 4, 4)),
        quant("a", "x", zero=zero),
        weights("w", 3, 3, 4, 3),
        ConvTranspose("c", "a", "w", Window((3, 3), (2, 2), (1, 1), (0, 0), (0, 0)), 1),
        quant("y", "c", 0.61),
    )
    assert kinds[1] == "Step"


def test_phases_with_unlike_offsets_are_refused():
    nodes = (
        Input("x", (3, 4, 4)),
        quant("a", "x"),
        Constant("k", np.array(0.1)),
        Binary("b", "add", "a", "k"),
        weights("w", 2, 2, 4, 3),
        ConvTranspose("c", "b", "w", Window((2, 2), (2, 2), (1, 1), (0, 0), (0, 0)), 1),
        quant("y", "c", 0.61),
    )
    with pytest.raises(UnsupportedModelError, match="its phases have unlike offsets"):
        integerize(Graph(nodes, ("y",)))


@pytest.mark.parametrize(("kernel", "stride", "more"), [(1, 3, 0), (2, 2, 1), (3, 3, 0), (3, 2, 0), (4, 2, 0)])
def test_transposed_convolutions_of_a_sequence(kernel, stride, more):
    """Their phases lie in order: no shuffle."""
    kinds = assert_exact(
        Input("x", (7, 2)),
        quant("a", "x"),
        weights("w", kernel, 2, 3),
        ConvTranspose("c", "a", "w", Window((kernel,), (stride,), (1,), (0,), (-more,)), 1),
        quant("y", "c", 0.31),
    )
    assert "PixelShuffle" not in kinds


def test_a_mean_over_an_image_that_was_turned():
    """(1, 6) positions are (6, 1) behind the reshape: the window follows."""
    assert_exact(
        Input("x", (1, 6, 4)),
        quant("a", "x"),
        Reshape("r", "a", (6, 1, 4)),
        Reduce("m", "r", "mean", (0, 1), False),
        quant("y", "m", 0.05),
    )


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_channels_reduced_away_and_then_the_rows(kind):
    """Of (3, 5, 2) stays (3, 5), whose channels are the five."""
    assert_exact(
        Input("x", (3, 5, 2)),
        quant("a", "x"),
        Reduce("flat", "a", kind, (2,), False),
        Reduce("rows", "flat", "mean", (1,), True),
        quant("y", "rows", 0.05),
    )


def test_channels_reduced_away_and_the_rest_taken_apart():
    assert_exact(
        Input("x", (3, 5, 2)),
        quant("a", "x"),
        Reduce("flat", "a", "sum", (2,), False),
        Slice("last", "flat", (1, 0), (3, 5), (1, 1)),
        Slice("first", "flat", (0, 0), (1, 5), (1, 1)),
        Concat("turned", ("last", "first"), 0),
        quant("y", "turned"),
    )


def test_channels_of_unlike_ranges_in_another_shape():
    """Each element of the vector has its own range, that of the image behind it has one."""
    assert_exact(
        Input("x", (4,)),
        quant("a", "x", 0.5, signed=False),
        Slice("left", "a", (0,), (2,), (1,)),
        Slice("right", "a", (2,), (4,), (1,)),
        quant("narrow", "right", 1.0, bits=3, signed=False),
        Concat("both", ("narrow", "left"), 0),
        Reshape("r", "both", (4, 1)),
        quant("y", "r", 1.0, bits=4, signed=False),
    )


def test_depthwise_groups_dilation_and_a_padded_zero_point():
    assert_exact(
        Input("x", (7, 9, 4)),
        quant("a", "x", zero=3.0),
        weights("w", 3, 3, 1, 4),
        Conv("c", "a", "w", Window((3, 3), (2, 1), (1, 2), (1, 2), (0, 1)), 4),
        quant("b", "c", 0.2),
        weights("w2", 1, 3, 2, 6),
        Conv("e", "b", "w2", Window((1, 3), (1, 1), (1, 1), (0, 1), (0, 0)), 2),
        quant("y", "e", 0.3),
    )


def test_a_sequence_with_pools_and_a_gate():
    assert_exact(
        Input("x", (16, 3)),
        quant("a", "x"),
        weights("w", 5, 3, 4),
        Conv("c", "a", "w", Window((5,), (1,), (1,), (2,), (2,)), 1),
        quant("b", "c", 0.2),
        Pool("p", "b", "mean", Window.of((2,), (2,)), True),
        quant("p4", "p", 0.15, bits=5),
        Reduce("g", "p4", "mean", (0,), False),
        quant("g4", "g", 0.1, bits=6),
        weights("w2", 4, 4),
        MatMul("m", "g4", "w2"),
        Unary("sigmoid", "sigmoid", "m"),
        quant("gate", "sigmoid", 1 / 16, signed=False),
        Reshape("gate row", "gate", (1, 4)),
        Binary("z", "mul", "p4", "gate row"),
        quant("y", "z", 0.1),
    )


def test_channels_joined_split_padded_repeated_and_shuffled():
    assert_exact(
        Input("x", (6, 6, 4)),
        quant("a", "x"),
        Slice("s1", "a", (0, 0, 0), (6, 6, 2), (1, 1, 1)),
        Slice("s2", "a", (0, 0, 2), (6, 6, 4), (1, 1, 1)),
        quant("b", "s2", 0.4, bits=3),
        Concat("c", ("b", "s1", "a"), 2),
        quant("d", "c", 0.33),
        Pad("p", "d", (1, 0, 0), (0, 2, 0), 0.0),
        Upsample("u", "p", (2, 3, 1)),
        weights("w", 3, 3, 8, 8),
        Conv("cc", "u", "w", Window.of((3, 3), (2, 2)), 1),
        quant("e", "cc", 0.5),
        DepthToSpace("ds", "e", (2, 2), False),
        quant("y", "ds", 0.7, bits=3),
    )


def test_a_difference_and_a_square():
    assert_exact(
        Input("x", (6, 6, 4)),
        quant("a", "x"),
        quant("b", "a", 0.3),
        Binary("z", "sub", "a", "b"),
        quant("c", "z", 0.07, bits=3),
        Binary("zz", "mul", "c", "a"),
        quant("y", "zz", 0.05),
    )


IMAGE = (Input("x", (4, 4, 2)), quant("x4", "x"), Pool("a", "x4", "max", SAME, False))
REFUSED = {
    "a pad that is no level": (
        (*IMAGE, Pad("p", "a", (1, 1, 0), (1, 1, 0), 0.1), quant("y", "p")),
        "no integer of its input stands for 0.1",
    ),
    "a mean over padded borders": (
        (*IMAGE, Pool("p", "a", "mean", SAME, False), quant("y", "p")),
        "it divides by another number of values at the border",
    ),
    "a pool of what is not quantised": (
        (*IMAGE, Unary("r", "relu", "a"), Pool("p", "r", "mean", SAME, True), quant("y", "p")),
        "the relu 'r' in front of it is not quantised",
    ),
    "a join along the height": (
        (*IMAGE, quant("b", "a", 0.5), Concat("c", ("a", "b"), 0), Unary("r", "relu", "c"), quant("y", "r")),
        "it joins tensors of unlike scales along another axis than the channels",
    ),
    "a constant among channels": (
        (*IMAGE, Constant("k", np.ones((4, 4, 1))), Concat("c", ("a", "k"), 2), quant("y", "c")),
        "it joins the constant 'k'",
    ),
    "the greatest channel": (
        (*IMAGE, Reduce("r", "a", "max", (2,), True), quant("y", "r")),
        "it takes the max over axes",
    ),
    "channels repeated": (
        (*IMAGE, Upsample("u", "a", (1, 1, 2)), Unary("r", "relu", "u"), quant("y", "r")),
        "it repeats",
    ),
    "a gate for each position": (
        (*IMAGE, Reduce("r", "a", "mean", (2,), True), quant("g", "r"), Binary("z", "mul", "a", "g"), quant("y", "z")),
        "it multiplies",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    nodes, message = REFUSED[case]
    graph = Graph(nodes, (nodes[-1].name,))
    for each in MODEL_PASSES:
        graph = each(graph)
    with pytest.raises(UnsupportedModelError, match=message):
        integerize(graph)
