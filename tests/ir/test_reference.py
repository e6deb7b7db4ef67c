# SPDX-License-Identifier: Apache-2.0
"""The exact reference against the oracle, which shares no code with it, and its error bounds against both."""

from fractions import Fraction

import numpy as np
import oracle
import pytest
import random_models
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

from flow.errors import ExactnessError, UnsupportedModelError
from flow.frontend.importer import import_proto
from flow.ir.graph import Graph
from flow.ir.model import (
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Constant,
    Input,
    LeakyRelu,
    MatMul,
    Quant,
    QuantizedConstant,
    Reshape,
    Softmax,
    Transpose,
    Unary,
    constants,
)
from flow.ir.near_ties import activation_quantizers, parameter_quantizers
from flow.ir.numbers import to_float
from flow.ir.reference import DOUBLE, SINGLE, Evaluation, Levels, evaluate, frame_shape, lsb_of
from flow.ir.rounding import Rounding

SEEDS = range(165)


def ends(value):
    """Rational numbers on both sides of an exact number of the oracle."""
    return (value.lo, value.hi) if isinstance(value, oracle.Interval) else (Fraction(value), Fraction(value))


def assert_bounded(approximation, exact, where):
    """|value - true| <= error for every element."""
    value = approximation.value
    if exact.size != value.size:
        assert value.size < exact.size, where
        return  # a parameter that is broadcast elsewhere
    error = np.broadcast_to(approximation.error, value.shape).reshape(-1)
    for v, e, t in zip(value.reshape(-1).tolist(), error.tolist(), exact.reshape(-1), strict=True):
        if not np.isfinite(e):
            continue
        low, high = ends(t)
        # the oracle's interval is far narrower than the bound, unless both are nothing
        slack = high - low
        assert Fraction(v) - Fraction(e) - slack <= low, (where, v, e, float(t))
        assert high <= Fraction(v) + Fraction(e) + slack, (where, v, e, float(t))
        if approximation.lsb is not None:
            assert Fraction(v) == low == high, (where, v, float(t))
            assert (Fraction(v) / Fraction(2) ** approximation.lsb).denominator == 1, where


@pytest.fixture(scope="module")
def models():
    """(seed, model, feeds, graph, exact values of the oracle)."""
    result = []
    for seed in SEEDS:
        proto = random_models.random_model(seed)
        try:
            graph = import_proto(proto).graph
        except UnsupportedModelError:  # a quantiser with one level only
            continue
        feeds = random_models.random_feeds(proto, seed, 2)
        result.append((seed, proto, feeds, graph, oracle.evaluate(proto, feeds)))
    assert len(result) >= 150
    return result


def test_every_level_is_the_oracles(models):
    compared = 0
    for seed, proto, feeds, graph, exact in models:
        levels = oracle.quant_integers(proto, exact)
        run = Evaluation(graph, feeds)
        for name in (*activation_quantizers(graph), *parameter_quantizers(graph)):
            found = run.decisions[name].levels
            assert found.reshape(-1).tolist() == levels[name].reshape(-1).tolist(), (seed, name)
            compared += found.size
    assert compared > 5000


@pytest.mark.parametrize("precision", [DOUBLE, SINGLE])
def test_the_error_bounds_hold(models, precision):
    tensors = exactly = 0
    for seed, _, feeds, graph, exact in models:
        run = Evaluation(graph, feeds, precision=precision)
        for name, approximation in run.tensors.items():
            if name in exact:
                assert_bounded(approximation, exact[name], (seed, name))
                tensors += 1
                exactly += approximation.lsb is not None
    assert 0.2 < exactly / tensors < 0.95


def test_single_bounds_cover_a_float32_run(models):
    """From the levels that qonnx itself got, every tensor of its run lies within the bound."""
    compared = 0
    for seed, proto, feeds, graph, _ in models[:70]:
        context = execute_onnx(
            ModelWrapper(random_models.set_batch(proto, 2)), dict(feeds), return_full_exec_context=True
        )
        forced = {}
        for name in (*activation_quantizers(graph), *parameter_quantizers(graph)):
            node = graph[name]
            forced[name] = np.rint(context[name] / node.scale + node.zero_point).astype(np.int64)
        run = Evaluation(graph, feeds, precision=SINGLE, forced=forced)
        for name, approximation in run.tensors.items():
            if name not in context or context[name] is None or context[name].size != approximation.value.size:
                continue
            found = context[name].astype(np.float64).reshape(approximation.value.shape)
            error = np.broadcast_to(approximation.error, found.shape)
            assert (np.abs(found - approximation.value) <= error).all(), (seed, name)
            compared += found.size
    assert compared > 3000


def test_exact_numbers_are_the_oracles(models):
    for seed, _, feeds, graph, exact in models[:60]:
        run = Evaluation(graph, feeds)
        for node in graph.nodes:
            if node.name not in exact or node.name in constants(graph) or isinstance(node, Softmax):
                continue
            if any(isinstance(n, Softmax) for n in graph.ancestors(node.name)):
                continue
            shape = run.tensors[node.name].value.shape
            for flat in {0, int(np.prod(shape)) - 1}:
                number = run.number(node.name, tuple(int(i) for i in np.unravel_index(flat, shape)))
                expected = exact[node.name].reshape(-1)[flat]
                if isinstance(number, Fraction) and not isinstance(expected, oracle.Interval):
                    assert number == expected, (seed, node.name)
                else:  # also the number that stands for a tanh or sigmoid that is all but one
                    assert to_float(number) == pytest.approx(float(expected), rel=1e-12)


# -------------------------------------------------------------------------------------------- one operation


X = Input("x", (2,))


def run_of(*nodes, feed, **options):
    return Evaluation(Graph((X, *nodes), (nodes[-1].name,)), {"x": feed}, **options)


def quant(name, x, scale=1.0, zero=0.0, bits=8, signed=True, narrow=False, rounding=Rounding.HALF_EVEN):
    return Quant(name, x, np.array(scale, float), np.array(zero, float), bits, signed, narrow, rounding)


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "expected"),
    [
        (3, True, False, [-4, 3]),
        (3, True, True, [-3, 3]),
        (3, False, False, [0, 7]),
        (3, False, True, [0, 6]),
        (1, True, False, [-1, 0]),
        (1, False, False, [0, 1]),
        (32, True, False, [-(2**31), 2**31 - 1]),
    ],
)
def test_ranges(bits, signed, narrow, expected):
    node = quant("q", "x", bits=bits, signed=signed, narrow=narrow)
    run = run_of(node, feed=np.array([[-1e30, 1e30]]))
    assert run.decisions["q"].levels.tolist() == [expected] == [list(node.range)]


def test_a_quantiser_gives_back_values():
    run = run_of(quant("q", "x", 0.25, 2.0, 4, False), feed=np.array([[0.6, -9.0]]))
    assert run.decisions["q"].levels.tolist() == [[4, 0]]
    assert run.tensors["q"].value.tolist() == [[0.5, -0.5]]
    assert run.number("q", (0, 1)) == Fraction(-1, 2)


def test_bipolar_takes_zero_as_plus_one():
    node = BipolarQuant("q", "x", np.array(0.5), np.zeros(()))
    run = run_of(node, feed=np.array([[0.0, -5e-324], [-0.0, 1.0]]))
    assert run.decisions["q"].levels.tolist() == [[1, -1], [1, 1]]
    assert run.tensors["q"].value.tolist() == [[0.5, -0.5], [0.5, 0.5]]


def test_decisions_that_float64_gets_wrong():
    third = Levels(np.array([[3, 6]]), (Fraction(1, 3),), (Fraction(0),))
    ceil = quant("q", "x", rounding=Rounding.CEIL)
    assert run_of(ceil, feed=third).decisions["q"].levels.tolist() == [[1, 2]]
    # ten tenths of float64 are more than one
    c = Constant("c", np.full((10, 2), 0.1))
    nodes = (
        Constant("o", np.full((2, 10), 1.0)),
        MatMul("m", "x", "o"),
        MatMul("n", "m", "c"),
        quant("q", "n", rounding=Rounding.CEIL),
    )
    found = run_of(c, *nodes, feed=np.array([[1.0, 0.0]])).decisions["q"]
    assert found.levels.tolist() == [[2, 2]]
    assert found.position.max() <= 1.0000000000000002
    # tanh is below one for every number
    floor = quant("q", "t", rounding=Rounding.FLOOR)
    assert run_of(Unary("t", "tanh", "x"), floor, feed=np.array([[700.0, -1e300]])).decisions["q"].levels.tolist() == [
        [0, -1]
    ]
    ceil = quant("q", "t", rounding=Rounding.CEIL)
    sigmoid = Unary("t", "sigmoid", "x")
    assert run_of(sigmoid, ceil, feed=np.array([[-1e300, 1e300]])).decisions["q"].levels.tolist() == [[1, 1]]


def test_zero_divided_is_zero_and_needs_no_decision(monkeypatch):
    """Of frames of zeros every element would lie on the boundary of a quantiser that rounds up."""
    decided = []
    monkeypatch.setattr(Evaluation, "decide", lambda _, node, index: decided.append(index) or 1)
    ceil = quant("q", "x", 0.3, zero=2.0, rounding=Rounding.CEIL)
    run = run_of(ceil, feed=np.array([[0.0, 1e-3]]))
    assert run.decisions["q"].levels.tolist() == [[2, 3]]
    assert decided == []
    assert run.decisions["q"].error[0, 0] == 0 < run.decisions["q"].error[0, 1]


def test_without_decisions_levels_are_those_of_float64():
    floor = quant("q", "t", rounding=Rounding.FLOOR)
    run = run_of(Unary("t", "tanh", "x"), floor, feed=np.array([[700.0, 1.0]]), decide=False)
    assert run.decisions["q"].levels.tolist() == [[1, 0]]


def test_forced_levels_are_handed_on_and_own_ones_kept():
    nodes = (quant("a", "x", 0.5), Unary("n", "neg", "a"), quant("b", "n", 0.5))
    run = run_of(*nodes, feed=np.array([[1.0, 2.0]]), forced={"a": np.array([[7, -3]])})
    assert run.decisions["a"].levels.tolist() == [[2, 4]]
    assert run.decisions["b"].levels.tolist() == [[-7, 3]]
    assert run.number("n", (0, 0)) == Fraction(-7, 2)


def test_single_precision_decides_exactly_too():
    nodes = (
        Constant("c", np.array(1.0 + 2**-40)),
        Binary("m", "mul", "x", "c"),
        quant("q", "m", rounding=Rounding.CEIL),
    )
    for precision in (SINGLE, DOUBLE):
        run = run_of(*nodes, feed=np.array([[1.0, 3.0]]), precision=precision)
        assert run.decisions["q"].levels.tolist() == [[2, 4]]
    assert run_of(*nodes, feed=np.array([[1.0, 3.0]]), precision=SINGLE).decisions["q"].error.max() > 2**-24
    # a tanh in front: float64 itself is in doubt
    nodes = (Unary("t", "tanh", "x"), quant("q", "t", rounding=Rounding.FLOOR))
    run = run_of(*nodes, feed=np.array([[30.0, 2.0]]), precision=SINGLE)
    assert run.decisions["q"].levels.tolist() == [[0, 0]]


def test_levels_with_scales_and_offsets_for_each_channel():
    feed = Levels(np.array([[3, -2]]), (Fraction(1, 3), Fraction(2)), (Fraction(0), Fraction(1, 7)))
    run = run_of(Unary("y", "neg", "x"), feed=feed)
    assert run.number("y", (0, 0)) == -1
    assert run.number("y", (0, 1)) == Fraction(27, 7)
    assert np.abs(run.tensors["y"].value - [[-1.0, 27 / 7]]).max() <= run.tensors["y"].error.max()


OPERATIONS = {
    "sub": (Binary("y", "sub", "x", "c"), lambda x, c: x - c),
    "add": (Binary("y", "add", "c", "x"), lambda x, c: x + c),
    "mul": (Binary("y", "mul", "x", "c"), lambda x, c: x * c),
    "div": (Binary("y", "div", "x", "c"), lambda x, c: x / c),
    "inverse": (Binary("y", "div", "c", "x"), lambda x, c: c / x),
    "neg": (Unary("y", "neg", "x"), lambda x, c: -x),
    "relu": (Unary("y", "relu", "x"), lambda x, c: max(x, Fraction(0))),
    "identity": (Unary("y", "identity", "x"), lambda x, c: x),
    "clip": (Clip("y", "x", -0.3, 0.7), lambda x, c: min(max(x, Fraction(-0.3)), Fraction(0.7))),
    "leaky": (LeakyRelu("y", "x", np.array(0.3)), lambda x, c: x if x > 0 else x * Fraction(0.3)),
    "steep": (LeakyRelu("y", "x", np.array(3.7)), lambda x, c: x if x > 0 else x * Fraction(3.7)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("precision", [DOUBLE, SINGLE])
def test_operations_exactly_and_within_their_bounds(name, precision):
    node, defined = OPERATIONS[name]
    rng = np.random.default_rng(0)
    for size in (1e-3, 1.0, 1e6):
        levels = rng.integers(-9, 10, (40, 2)) * 2 + 1
        feed = Levels(levels, (Fraction(size) / 7,), (Fraction(1, 1000),))
        c = Constant("c", np.array([0.3, -1.7]))
        run = run_of(c, node, feed=feed, precision=precision)
        true = [
            [defined(feed.number((n, k)), Fraction(float(c.value[k]))) for k in range(2)] for n in range(len(levels))
        ]
        exact = np.array(true, object)
        assert_bounded(run.tensors["y"], exact, name)
        for n in range(10):
            assert run.number("y", (n, n % 2)) == true[n][n % 2]


@pytest.mark.parametrize("precision", [DOUBLE, SINGLE])
def test_errors_that_enter_a_product_are_carried_through(precision):
    """Cancellation leaves inputs, and weights, whose error is far above their own last place."""
    rng = np.random.default_rng(0)
    far = Constant("far", np.array(1e7 / 3))
    feed = Levels(rng.integers(-50, 50, (20, 2)), (Fraction(1, 7),), (Fraction(0),))
    w = Constant("w", rng.normal(size=(2, 3)))
    cancelled = (Binary("u", "add", "w", "far"), Binary("v", "sub", "u", "far"))
    inputs = (Binary("s", "add", "x", "far"), Binary("t", "sub", "s", "far"))
    for nodes in ((*inputs, MatMul("y", "t", "w")), (*cancelled, MatMul("y", "x", "v"))):
        run = run_of(far, w, *nodes, feed=feed, precision=precision)
        assert_bounded(
            run.tensors["y"],
            np.array([[run.number("y", (n, c)) for c in range(3)] for n in range(20)], object),
            nodes[0].name,
        )
        # of the same size as what float64 (or a float32 run) really does
        assert run.tensors["y"].error.max() < 1e9 * 2.0**-precision


def test_powers_and_roots_of_parameters():
    c = Constant("c", np.array([4.0, 0.25, 3.0]))
    for exponent, expected in (
        (2.0, [16, Fraction(1, 16), 9]),
        (-1.0, [Fraction(1, 4), 4, Fraction(1, 3)]),
        (0.5, [2, Fraction(1, 2), None]),
    ):
        graph = Graph((c, Constant("e", np.array(exponent)), Binary("y", "pow", "c", "e")), ("y",))
        run = Evaluation(graph, {})
        for place, value in enumerate(expected):
            if value is not None:
                assert run.number("y", (place,)) == value
                assert abs(run.tensors["y"].value[place] - value) <= np.broadcast_to(run.tensors["y"].error, 3)[place]
    root = Evaluation(Graph((c, Unary("y", "sqrt", "c")), ("y",)), {})
    assert root.number("y", (0,)) == 2
    assert to_float(root.number("y", (2,))) == pytest.approx(3**0.5, rel=1e-15)


def test_layout():
    x = Input("x", (2, 3))
    graph = Graph((x, Transpose("t", "x", (1, 0)), Reshape("y", "t", (6,))), ("y",))
    frames = np.arange(12.0).reshape(2, 2, 3)
    run = Evaluation(graph, {"x": frames})
    assert run.tensors["y"].value.tolist() == [[0, 3, 1, 4, 2, 5], [6, 9, 7, 10, 8, 11]]
    assert [run.number("y", (1, k)) for k in range(6)] == [6, 9, 7, 10, 8, 11]
    assert frame_shape(graph) == (2, 3)
    assert evaluate(graph, {"x": frames})["y"].tolist() == run.tensors["y"].value.tolist()


def test_quantised_constants_and_batch_norm():
    w = QuantizedConstant("w", np.array([[3, -1], [0, 2]]), np.array([[0.1], [0.7]]))
    norm = BatchNorm("y", "m", *(np.array(v) for v in ([1.5, -2.0], [0.1, 0.2], [0.3, -0.4], [3.0, 0.25])), 1.0)
    run = run_of(w, MatMul("m", "x", "w"), norm, feed=np.array([[1.0, 2.0]]))
    assert run.number("w", (1, 1)) == 2 * Fraction(0.7)
    # the square root of 3 + 1 is rational
    first = 3 * Fraction(0.1) - Fraction(0.3)
    assert run.number("y", (0, 0)) == first * Fraction(3, 2) / 2 + Fraction(0.1)
    second = -1 * Fraction(0.1) + 4 * Fraction(0.7) + Fraction(0.4)
    assert float(run.tensors["y"].value[0, 1]) == pytest.approx(float(second) * -2 / 1.25**0.5 + 0.2)


def test_nothing_is_decided_behind_a_softmax():
    with pytest.raises(ExactnessError, match="'s': nothing that is quantised may follow a softmax"):
        run_of(Softmax("s", "x", 0), quant("q", "s", rounding=Rounding.FLOOR), feed=np.array([[0.0, -800.0]]))


@pytest.mark.parametrize("precision", [DOUBLE, SINGLE])
def test_softmax_is_within_its_bound(precision):
    rng = np.random.default_rng(0)
    for size in (0.1, 3.0, 30.0, 100.0):
        x = rng.normal(size=(50, 2)) * size
        kind = np.float32 if precision == SINGLE else np.float64
        x = x.astype(np.float32).astype(np.float64)
        run = run_of(Softmax("y", "x", 0), feed=x, precision=precision)
        e = np.exp(x.astype(kind) - x.astype(kind).max(1, keepdims=True))
        found = (e / e.sum(1, keepdims=True)).astype(np.float64)
        assert (np.abs(found - run.tensors["y"].value) <= run.tensors["y"].error).all()
        value = run.tensors["y"].value
        exact = oracle.evaluate(softmax_model(), {"x": x})["y"]
        assert all(
            abs(Fraction(float(v)) - ends(t)[0]) <= Fraction(float(e))
            for v, e, t in zip(value.ravel(), run.tensors["y"].error.ravel(), exact.ravel(), strict=True)
        )


def softmax_model():
    info = [helper.make_tensor_value_info(name, 1, [1, 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], axis=1)], "g", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def test_softmax_of_far_logits_in_float32():
    x = np.array([[0.0, -104.5]])
    run = run_of(Softmax("y", "x", 0), feed=x, precision=SINGLE)
    found = np.array([[1.0, 0.0]])  # exp(-104.5) is below half of the least float32
    assert (np.abs(found - run.tensors["y"].value) <= run.tensors["y"].error).all()


def test_the_greatest_number_above_minus_a_half():
    run = run_of(quant("q", "x", rounding=Rounding.HALF_AWAY), feed=np.array([[-0.49999999999999994, 0.0]]))
    assert run.decisions["q"].levels.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0], 0),
        ([], 0),
        ([1.0], 0),
        ([6.0, 4.0], 1),
        ([0.75, 8.0], -2),
        ([0.1], -55),
        ([np.inf], None),
        ([5e-324], -1074),
        ([2.0**900], 900),
        ([-3.0, 0.0], 0),
    ],
)
def test_the_unit_of_dyadic_numbers(values, expected):
    assert lsb_of(np.array(values)) == expected
