# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import oracle
import pytest
import random_models
from pass_helpers import bipolar, dataflow, dense, ints, model, quant, step

from flow.api.compile import compile_graph
from flow.errors import OptionError, UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.dataflow import Source, Step, execute, infer_types, verify_dataflow
from flow.ir.input_type import parse_input_type
from flow.ir.model import (
    BatchNorm,
    Binary,
    Constant,
    Input,
    MatMul,
    QuantizedConstant,
    Reshape,
    Softmax,
    Transpose,
    Unary,
)
from flow.ir.reference import Evaluation
from flow.passes.integerize import integerize
from flow.passes.pipelines import MODEL_PASSES

X = Input("x", (2,))
W = QuantizedConstant("w", np.array([[1, -2], [3, 0]]), np.array(0.5))


def prepared(graph):
    for each in MODEL_PASSES:
        graph = each(graph)
    return graph


def assert_exact(graph, frames, input_type=None):
    """Every quantiser of the hardware gives the level of the model; so does the output, behind the tail."""
    integers = integerize(graph, input_type)
    verify_dataflow(integers.graph)
    run = Evaluation(graph, {"x": frames})
    values = execute(integers.graph, {integers.source.name: integers.encode(frames)}, keep=True)
    for name, decision in run.decisions.items():
        if name in values:
            assert np.array_equal(values[name], decision.levels), name
    decoded = integers.decode(values[integers.output])
    expected = run.tensors[graph.outputs[0]].value
    np.testing.assert_allclose(decoded, expected, rtol=1e-12, atol=1e-12)
    return integers


def test_a_layer_of_one_scale():
    graph = model(X, quant("a", "x", 0.25, bits=3), W, MatMul("m", "a", "w"), quant("y", "m", 0.5, bits=3))
    # the sum counts 1/8; the level is sum / 4, to even at ties
    found = integerize(graph)
    expected = dataflow(
        Source("a", (2,), graph["a"].element, ints(-4), ints(3)),
        dense("m", "a", [[1, -2], [3, 0]], "i5"),
        step("y", "m", [[-13, -10, -5, -2, 3, 6, 11]], -4, 1, -16, 12, "i3"),
    )
    y = expected["y"]
    x = np.arange(-16, 13)[:, None]
    assert y.evaluate(x)[:, 0].tolist() == [max(-4, min(3, round(Fraction(v, 4)))) for v in range(-16, 13)]
    assert found.graph.same(expected)
    assert found.head.same(model(X, graph["a"]))
    assert found.tail.same(model(Input("y", (2,))))
    assert found.encodings["a"].scale == (Fraction(1, 4),)
    assert found.encodings["m"].scale == (Fraction(1, 8),)
    assert found.encodings["y"].scale == (Fraction(1, 2),)


def test_zero_points_go_into_the_offset_and_rows_of_scales_into_the_weights():
    w = QuantizedConstant("w", np.array([[1, 2], [3, -1]]), np.array([[0.5], [0.75]]))
    graph = model(X, quant("a", "x", 0.5, 2.0, 4, False), w, MatMul("m", "a", "w"), quant("y", "m", bits=8))
    found = integerize(graph)
    # steps 1/4 and 3/8: a common step of 1/8
    assert found.graph["m"].weight.tolist() == [[2, 4], [9, -3]]
    assert found.encodings["m"].scale == (Fraction(1, 8),)
    # the offset is -1 for each input: -(0.5 + 2.25) and -(1 - 0.75)
    assert found.encodings["m"].offset == (Fraction(-11, 4), Fraction(-1, 4))
    assert_exact(graph, np.random.default_rng(0).normal(size=(50, 2)) * 4)


def test_a_transposed_input_moves_the_rows_of_the_weights():
    w = QuantizedConstant("w", np.arange(6).reshape(6, 1), np.array(1.0))
    graph = model(
        Input("x", (2, 3)),
        quant("a", "x"),
        Transpose("t", "a", (1, 0)),
        Reshape("r", "t", (6,)),
        w,
        MatMul("m", "r", "w"),
        quant("y", "m", bits=8),
    )
    found = assert_exact(graph, np.random.default_rng(0).normal(size=(50, 2, 3)) * 4)
    assert found.graph["m"].weight[:, 0].tolist() == [0, 2, 4, 1, 3, 5]


def test_a_reshape_and_steps_for_each_channel_behind_positions():
    rng = np.random.default_rng(5)
    graph = model(
        Input("x", (2, 3)),
        quant("a", "x"),
        QuantizedConstant("w", rng.integers(-3, 4, (3, 2)), np.array([0.5, 0.25])),
        MatMul("m", "a", "w"),
        Constant("c", np.array([0.5, -1.25])),
        Binary("s", "add", "m", "c"),
        quant("b", "s", 0.5, bits=5),
        Reshape("r", "b", (4,)),
        QuantizedConstant("v", rng.integers(-3, 4, (4, 2)), np.array(1.0)),
        MatMul("n", "r", "v"),
        quant("y", "n", 1.0, bits=6),
    )
    assert_exact(graph, rng.normal(size=(60, 2, 3)) * 5)


def test_what_stands_behind_the_last_quantiser_is_the_tail():
    c = Constant("c", np.array([0.5, 3.0]))
    nodes = (Binary("s", "mul", "a", "c"), Softmax("y", "s", 0))
    graph = model(X, quant("a", "x", 0.5), c, *nodes)
    found = assert_exact(graph, np.random.default_rng(0).normal(size=(20, 2)) * 4)
    assert found.output == "a"
    assert found.tail.same(model(Input("a", (2,)), c, *nodes))


def test_an_input_type_puts_the_first_quantiser_into_hardware():
    graph = model(X, quant("a", "x", 0.5, bits=3), W, MatMul("m", "a", "w"), quant("y", "m", bits=3))
    found = integerize(graph, parse_input_type("u8/255"))
    assert found.head is None
    assert found.source.same(Source("x", (2,), parse_input_type("u8").element, ints(0), ints(255)))
    frames = np.random.default_rng(0).integers(0, 256, (100, 2))
    run = Evaluation(graph, {"x": found.encodings["x"].levels(frames)})
    values = execute(found.graph, {"x": frames}, keep=True)
    assert all(np.array_equal(values[n], run.decisions[n].levels) for n in ("a", "y"))
    assert found.encode(np.array([[0.5 / 255, 300.0]])).tolist() == [[0, 255]]
    assert found.encode(np.array([[1.5 / 255 + 1e-9, -1.0]])).tolist() == [[2, 0]]
    bipolars = integerize(model(X, bipolar("y", "x")), parse_input_type("b1"))
    assert bipolars.encode(np.array([[0.0, -0.1]])).tolist() == [[1, -1]]


A = quant("a", "x")
REFUSED = {
    "computed weights": (
        [A, Constant("c", np.ones((2, 2))), Unary("w", "neg", "c"), MatMul("m", "a", "w"), quant("y", "m")],
        "its weights are computed ('w', neg), not constant",
    ),
    "float weights": (
        [A, Constant("w", np.array([[0.1, 1.0], [1.0, 1.0]])), MatMul("m", "a", "w"), quant("y", "m")],
        "its weights 'w' are float32 and not quantised",
    ),
    "an activation that is not quantised": (
        [A, Unary("r", "relu", "a"), W, MatMul("m", "r", "w"), quant("y", "m")],
        "the relu 'r' in front of it is not quantised",
    ),
    "no quantiser": ([Unary("y", "relu", "x")], "no quantiser stands before the output"),
    "two heads": ([A, quant("b", "x"), Binary("y", "add", "a", "b")], "the float input is quantised twice"),
    "softmax inside": ([A, Softmax("s", "a", 0), quant("y", "s")], "a softmax stands before it"),
    "irrational": (
        [A, BatchNorm("n", "a", *[np.ones(2)] * 4, 1.0), W, MatMul("m", "n", "w"), quant("y", "m")],
        "the batch norm 'n' scales its input by a square root, which is irrational",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_integers_is_refused_by_name(case):
    nodes, why = REFUSED[case]
    with pytest.raises(UnsupportedModelError) as error:
        integerize(model(X, *nodes))
    assert why in str(error.value)
    assert len(error.value.problems) == 1


def test_a_product_of_the_float_input_asks_for_its_type():
    graph = model(X, W, MatMul("m", "x", "w"), quant("y", "m"))
    with pytest.raises(OptionError, match="the model multiplies its input 'x' without quantising it first"):
        integerize(graph)
    assert_exact(graph, np.random.default_rng(0).integers(-8, 8, (50, 2)).astype(float), parse_input_type("i4"))


def test_sums_wider_than_the_language():
    w = QuantizedConstant("w", np.array([[2**17]]), np.array(1.0))
    graph = model(Input("x", (1,)), quant("a", "x", bits=32), w, MatMul("m", "a", "w"), quant("y", "m"))
    with pytest.raises(UnsupportedModelError, match="its sums need 49 bits; 48 are possible"):
        integerize(graph)


def test_more_boundaries_than_memory_are_refused():
    w = QuantizedConstant("w", np.array([[2**12]]), np.array(1.0))
    wide = (Input("x", (1,)), quant("a", "x", bits=16), w, MatMul("m", "a", "w"))
    message = "268,431,361 levels apart in 1 channel; 8,388,608 boundaries are possible"
    with pytest.raises(UnsupportedModelError, match=message):
        integerize(model(*wide, quant("y", "m", bits=32)))
    integerize(model(*wide, quant("y", "m", bits=16)))


def test_values_outside_the_input_type_are_counted():
    graph = model(X, W, MatMul("m", "x", "w"), quant("y", "m"))
    integers = integerize(graph, parse_input_type("u8/255"))
    frames = np.array([[0.0, 1.0], [-0.001, 1.001], [-0.002, 1.002], [5.0, 0.5]])
    assert integers.clipped(frames) == 3
    assert integers.encode(frames)[2:].tolist() == [[0, 255], [255, 128]]
    assert integerize(model(X, quant("a", "x"), W, MatMul("m", "a", "w"), quant("y", "m"))).clipped(frames) == 0


def test_random_models_against_the_oracle():
    """Import, all passes, integers: equal to the exact levels of an evaluator that shares no code."""
    compiled = refused = 0
    for seed in range(90):
        proto = random_models.random_model(seed)
        try:
            graph = prepared(import_proto(proto).graph)
            integers = compile_graph(graph, None)
        except (UnsupportedModelError, OptionError):
            refused += 1
            continue
        compiled += 1
        feeds = random_models.random_feeds(proto, seed, 3)
        exact = oracle.evaluate(proto, feeds)
        levels = oracle.quant_integers(proto, exact)
        frames = feeds["x"].astype(np.float64)
        values = execute(integers.graph, {integers.source.name: integers.encode(frames)}, keep=True)
        for name, value in values.items():
            if name in levels:
                assert value.reshape(3, -1).tolist() == levels[name].reshape(3, -1).tolist(), (seed, name)
        decoded = integers.decode(values[integers.output]).reshape(3, -1)
        expected = oracle.to_float(exact["y"]).reshape(3, -1)
        np.testing.assert_allclose(decoded, expected, rtol=1e-9, atol=1e-12, err_msg=str(seed))
        types = infer_types(integers.graph)
        for name, value in values.items():
            assert value.min() >= types[name].lo.min()
            assert value.max() <= types[name].hi.max()
    assert compiled > 4 * refused


def test_random_models_without_an_input_quant():
    compiled = 0
    for seed in range(40):
        proto = random_models.random_model(seed, input_quant=False)
        try:
            graph = prepared(import_proto(proto).graph)
            integers = compile_graph(graph, parse_input_type("fixed<16,6>"))
        except (UnsupportedModelError, OptionError):
            continue
        compiled += 1
        feeds = random_models.random_feeds(proto, seed, 2)
        levels = oracle.quant_integers(proto, oracle.evaluate(proto, feeds))
        values = execute(integers.graph, {"x": integers.encode(feeds["x"].astype(np.float64))}, keep=True)
        for name in levels:
            if name in values:
                assert values[name].reshape(2, -1).tolist() == levels[name].reshape(2, -1).tolist(), (seed, name)
    assert compiled > 20


def test_every_step_is_that_of_the_reference_on_its_whole_interval():
    graph = model(
        X,
        quant("a", "x", 0.3, bits=3),
        QuantizedConstant("w", np.array([[1, -2], [3, 1]]), np.array([0.7, 0.11])),
        MatMul("m", "a", "w"),
        Unary("t", "tanh", "m"),
        quant("y", "t", 0.13, bits=4),
    )
    integers = integerize(graph)
    node = next(n for n in integers.graph.nodes if isinstance(n, Step))
    points = np.arange(node.lo.min(), node.hi.max() + 1)[:, None].repeat(2, 1)
    segment = model(Input("m", (2,)), graph["t"], graph["y"])
    exact = Evaluation(segment, {"m": integers.encodings["m"].levels(points)}).decisions["y"].levels
    for c in range(2):
        inside = (points[:, c] >= node.lo[c]) & (points[:, c] <= node.hi[c])
        assert node.evaluate(points)[inside, c].tolist() == exact[inside, c].tolist()


def test_parameters_that_differ_from_position_to_position_in_front_of_a_product():
    graph = model(
        Input("x", (2, 3)),
        quant("a", "x"),
        Constant("c", np.arange(6.0).reshape(2, 3)),
        Binary("s", "add", "a", "c"),
        quant("b", "s"),
        QuantizedConstant("w", np.ones((3, 1), np.int64), np.array(1.0)),
        MatMul("m", "b", "w"),
        quant("y", "m", bits=8),
    )
    assert_exact(graph, np.random.default_rng(0).normal(size=(20, 2, 3)))


POSITIONS = (
    Input("x", (2, 2)),
    quant("a", "x"),
    QuantizedConstant("w", np.array([[1, 5], [1, 3]]), np.array(1.0)),
    MatMul("m", "a", "w"),
    Constant("c", np.arange(4.0).reshape(2, 2)),
    Binary("s", "add", "m", "c"),
    quant("y", "s", 2.0, bits=5),
)


def test_parameters_that_differ_from_position_to_position_behind_a_product():
    graph = model(*POSITIONS)
    found = integerize(graph)
    assert found.graph["y"].lo.tolist() == [-16, -64, -16, -64]
    assert found.graph["y"].hi.tolist() == [14, 56, 14, 56]
    frames = np.random.default_rng(0).normal(size=(60, 2, 2)) * 6
    levels = Evaluation(graph, {"x": frames}).decisions["y"].levels
    assert np.array_equal(execute(found.graph, {"a": found.encode(frames)})["y"], levels)


def test_parameters_that_differ_from_position_to_position_are_a_valid_graph():
    verify_dataflow(integerize(model(*POSITIONS)).graph)
