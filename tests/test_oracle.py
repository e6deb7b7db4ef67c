# SPDX-License-Identifier: Apache-2.0
"""The oracle against cases worked out by hand, and against qonnx's float32 executor."""

import math
import time
from fractions import Fraction

import numpy as np
import oracle
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracle import HALF, Interval, evaluate, exact, quant_integer
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

DOMAIN = "qonnx.custom_op.general"


def f32(x):
    """The float32 next to x, as the rational number it is."""
    return Fraction(float(np.float32(x)))


def graph(nodes, inputs, initializers, output="y", opset=13):
    """A model of a few nodes; inputs are name -> shape."""
    g = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in initializers.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 2)]
    return helper.make_model(g, opset_imports=opsets, ir_version=8)


def run(op, *inputs, opset=13, domain="", outputs=("y",), **attributes):
    """One node on constant inputs."""
    names = [f"i{k}" if v is not None else "" for k, v in enumerate(inputs)]
    node = helper.make_node(op, names, list(outputs), domain=domain, **attributes)
    constants = {n: v for n, v in zip(names, inputs, strict=True) if n}
    values = evaluate(graph([node], {}, constants, opset=opset), {})
    return values["y"] if len(outputs) == 1 else [values[o] for o in outputs]


def quant(x, scale=1.0, zero_point=0.0, bits=8, signed=1, narrow=0, mode="ROUND", op="Quant", domain=DOMAIN):
    inputs = [np.asarray(v, dtype=np.float32) for v in (x, scale, zero_point, bits)]
    kw = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    return run(op, *inputs, domain=domain, **kw).tolist()


# -------------------------------------------------------------------------------------------------- rounding

POINTS = [-2.5, -1.75, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.5]
ROUNDED = {
    "ROUND": [-2, -2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2],
    "HALF_EVEN": [-2, -2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2],
    "CEIL": [-2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3],
    "FLOOR": [-3, -2, -2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2],
    "UP": [-3, -2, -2, -2, -1, -1, -1, -1, 0, 1, 1, 1, 1, 2, 2, 2, 3],
    "DOWN": [-2, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2],
    "ROUND_TO_ZERO": [-2, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2],
    "HALF_UP": [-3, -2, -2, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3],
    "HALF_DOWN": [-2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2],
}


@pytest.mark.parametrize("mode", ROUNDED)
def test_rounding_by_hand(mode):
    assert quant(POINTS, mode=mode) == ROUNDED[mode]
    assert quant(POINTS, mode=mode.lower()) == ROUNDED[mode]


@pytest.mark.parametrize("mode", ROUNDED)
@pytest.mark.parametrize("side", [-1, 1])
def test_right_beside_a_tie_the_nearest_integer_wins(mode, side):
    # 40 bits finer than any float32 could show
    for k in range(-3, 3):
        t = k + HALF + side * Fraction(1, 2**64)
        nearest = k + (side > 0)
        low, high = k, k + 1
        towards_zero = high if high <= 0 else low
        away = low if high <= 0 else high
        expected = {
            "CEIL": high,
            "FLOOR": low,
            "UP": away,
            "DOWN": towards_zero,
            "ROUND_TO_ZERO": towards_zero,
        }
        assert quant_integer(t, 8, True, False, mode) == expected.get(mode, nearest)


@pytest.mark.parametrize("mode", [m for m in ROUNDED if m != "ROUND_TO_ZERO"])
def test_rounding_as_qonnx_does(mode):
    x = np.arange(-80, 81, dtype=np.float32).reshape(1, -1) / 8
    model = quant_model(x.shape, 0.5, 1.0, 5, 1, 1, mode)
    expected = execute(model, {"x": x})["y"]
    assert np.array_equal(oracle.to_float(evaluate(model, {"x": x})["y"]), expected)


def test_an_unknown_rounding_mode_is_refused():
    with pytest.raises(KeyError):
        quant([1.0], mode="STOCHASTIC")


# ---------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "low", "high"),
    [
        (8, 1, 0, -128, 127),
        (8, 1, 1, -127, 127),
        (8, 0, 0, 0, 255),
        (8, 0, 1, 0, 254),
        (2, 1, 0, -2, 1),
        (2, 1, 1, -1, 1),
        (1, 0, 0, 0, 1),
        (1, 0, 1, 0, 0),
    ],
)
def test_saturation(bits, signed, narrow, low, high):
    x = [-1e6, low - 1, low - 0.75, low, high, high + 0.75, high + 1, 1e6]
    expected = [low, low, low, low, high, high, high, high]
    assert quant(x, bits=bits, signed=signed, narrow=narrow) == expected
    assert quant(x, bits=bits, signed=signed, narrow=narrow, mode="FLOOR") == expected
    assert quant(x, bits=bits, signed=signed, narrow=narrow, mode="CEIL") == expected


def test_a_signed_quant_of_one_bit_is_bipolar():
    x = [-3.0, -0.5, -(2.0**-149), -0.0, 0.0, 2.0**-149, 0.5, 3.0]
    expected = [-1, -1, -1, 1, 1, 1, 1, 1]
    for narrow in (0, 1):
        for mode in ("ROUND", "FLOOR", "CEIL"):  # the mode says nothing here
            assert quant(x, bits=1, narrow=narrow, mode=mode) == expected
    # x / 0.5 + 1 >= 0, and (q - 1) * 0.5
    assert quant([-0.75, -0.5, -0.25], 0.5, 1.0, bits=1) == [-1, 0, 0]


def test_bipolar_quant():
    x, scale = np.float32([[-1, -0.0, 2.0**-149], [5, -5, 0]]), np.float32([[0.5], [0.1]])
    a, b = f32(0.5), f32(0.1)
    assert run("BipolarQuant", x, scale, domain=DOMAIN).tolist() == [[-a, a, a], [b, -b, b]]


# ------------------------------------------------------------------------------------ scales and zero points


def test_scales_are_the_rationals_that_float32_holds():
    s = f32(0.1)
    assert s != Fraction(1, 10)
    assert quant([0.25], 0.1) == [2 * s]  # 0.25 / s is just below 2.5
    assert Fraction(0.25) / s < Fraction(5, 2)
    assert quant([0.25], 0.1, mode="CEIL") == [3 * s]
    # float32(0.3) / float32(0.1) is above 3, and float32 arithmetic cannot see it
    assert f32(0.3) / s > 3
    assert np.float32(0.3) / np.float32(0.1) == 3
    assert quant([0.3], 0.1, mode="CEIL") == [4 * s]
    assert quant([0.3], 0.1, mode="FLOOR") == [3 * s]


def test_zero_points():
    # q = clip(round(x / 0.5 + 3)), output (q - 3) * 0.5
    assert quant([-2, -1.5, -1, 0, 0.25, 0.75, 6, 7], 0.5, 3.0, bits=4, signed=0) == [
        Fraction(v) for v in (-1.5, -1.5, -1, 0, 0.5, 0.5, 6, 6)
    ]
    # the zero point comes before the rounding: 2.5 and 3.5 go to 2 and 4
    assert quant([0.25, 0.75], 0.5, 2.0, bits=4, signed=0) == [0, 1]
    # a zero point off the integers moves the ties
    assert quant([0.0, 0.25], 1.0, 0.25, bits=4) == [Fraction(-1, 4), Fraction(-1, 4)]
    assert quant([0.375], 1.0, 0.25, bits=4) == [Fraction(3, 4)]


def test_scale_zero_point_and_bits_per_channel():
    x = [[1.0, 1.0, 1.0], [-8.0, -8.0, -8.0]]
    assert quant(x, [[0.5, 1.0, 4.0]], [[0, 1, 0]], bits=4) == [[1, 1, 0], [-4, -8, -8]]
    assert quant([[100.0, 100.0]], 1.0, 0.0, bits=[[3, 5]]) == [[3, 15]]
    rows = quant([[2.0, 4.0], [2.0, 4.0]], [[1.0], [4.0]], bits=3)
    assert rows == [[2, 3], [0, 4]]


@pytest.mark.parametrize("domain", oracle.QUANT_DOMAINS)
@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
def test_every_domain_and_name(domain, op):
    assert quant([2.5, 3.5, 300], op=op, domain=domain) == [2, 4, 127]


def test_other_domains_are_refused():
    with pytest.raises(NotImplementedError, match="elsewhere::Quant"):
        quant([1.0], domain="elsewhere")


def test_a_fractional_bit_width_is_refused():
    with pytest.raises(ValueError, match="bit width"):
        quant([1.0], bits=2.5)


def test_quant_integers():
    model = quant_model((1, 3), 0.5, 3.0, 4, 0, 0, "ROUND")
    values = evaluate(model, {"x": np.float32([[-2, 0.25, 7]])})
    assert oracle.quant_integers(model, values)["y"].tolist() == [[0, 4, 15]]


# ------------------------------------------------------------------------------------------------- operators


def test_matmul_and_gemm_are_exact():
    big = np.float32([[2.0**24, 1.0, -(2.0**24)]])  # float32 loses the 1 in this order
    ones = np.ones((3, 1), dtype=np.float32)
    assert run("MatMul", big, ones).tolist() == [[1]]
    a, b, c = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6], [7, 8]]), np.float32([0.5, -1])
    assert run("Gemm", a, b).tolist() == [[19, 22], [43, 50]]
    assert run("Gemm", a, b, c, transB=1).tolist() == [[17.5, 22], [39.5, 52]]
    assert run("Gemm", a, b, c, transA=1, alpha=0.5, beta=2.0).tolist() == [[14, 13], [20, 20]]
    assert run("Gemm", a, b, alpha=0.1)[0, 0] == 19 * f32(0.1)


def test_arithmetic():
    a, b = np.float32([[1, -2]]), np.float32([[4], [-0.5]])
    assert run("Add", a, b).tolist() == [[5, 2], [0.5, -2.5]]
    assert run("Sub", a, b).tolist() == [[-3, -6], [1.5, -1.5]]
    assert run("Mul", a, b).tolist() == [[4, -8], [-0.5, 1]]
    assert run("Div", a, b).tolist() == [[0.25, -0.5], [-2, 4]]
    assert run("Div", np.float32(1), np.float32(3)).tolist() == Fraction(1, 3)
    assert run("Div", np.int64([7, -7]), np.int64([2, 2])).tolist() == [3, -3]
    assert run("Neg", a).tolist() == [[-1, 2]]
    with pytest.raises(ZeroDivisionError):
        run("Div", a, np.float32(0))
    with pytest.raises(ValueError, match="not real"):
        run("Neg", np.float32([np.inf]))


def test_powers_and_roots():
    assert run("Pow", np.float32([4, 0.25]), np.float32(0.5)).tolist() == [2, 0.5]
    assert run("Pow", np.float32([-3, 0.5]), np.float32(2)).tolist() == [9, 0.25]
    assert run("Pow", np.float32([4]), np.float32(-1.5)).tolist() == [0.125]
    assert run("Sqrt", np.float32([0, 2.25])).tolist() == [0, 1.5]
    (root,) = run("Sqrt", np.float32([2]))
    assert root.lo**2 < 2 < root.hi**2
    assert root.hi - root.lo < Fraction(1, 2**90)
    (cube,) = run("Pow", np.float32([2]), np.float32(1.5))
    assert cube.lo**2 < 8 < cube.hi**2
    with pytest.raises(ValueError, match="square root"):
        run("Sqrt", np.float32([-1]))


def test_activations():
    x = np.float32([-2, -0.5, 0, 0.5, 8])
    assert run("Relu", x).tolist() == [0, 0, 0, 0.5, 8]
    assert run("LeakyRelu", x).tolist() == [-2 * f32(0.01), -f32(0.01) / 2, 0, 0.5, 8]
    assert run("LeakyRelu", x, alpha=0.25).tolist() == [-0.5, -0.125, 0, 0.5, 8]
    low, high = np.float32(-1), np.float32(0.25)
    assert run("Clip", x, low, high).tolist() == [-1, -0.5, 0, 0.25, 0.25]
    assert run("Clip", x, None, high).tolist() == [-2, -0.5, 0, 0.25, 0.25]
    assert run("Clip", x, low).tolist() == [-1, -0.5, 0, 0.5, 8]
    assert run("Clip", x, opset=6, min=-1.0, max=0.25).tolist() == [-1, -0.5, 0, 0.25, 0.25]


def test_batch_normalization():
    x = np.float32([[1, 2], [3, 4]])
    gamma, beta, mean = np.float32([2, -1]), np.float32([0.5, 0]), np.float32([1, 2])
    var = np.float32([3.75, 0.75])
    y = run("BatchNormalization", x, gamma, beta, mean, var, epsilon=0.25)
    assert y.tolist() == [[0.5, 0], [2.5, -2]]
    # a root that is irrational, and where x is the mean the exact beta all the same
    y = run("BatchNormalization", x, gamma, beta, mean, np.float32([2, 3]))
    assert y[0].tolist() == [HALF, 0]
    assert isinstance(y[1, 0], Interval)
    expected = 0.5 + 4 / math.sqrt(2 + float(f32(1e-5)))
    assert abs(float(y[1, 0]) - expected) < 1e-15
    images = run("BatchNormalization", x.reshape(1, 2, 2), gamma, beta, mean, var, epsilon=0.25)
    assert images.tolist() == [[[0.5, 1.5], [-1, -2]]]


def taylor(x, terms=60):
    """Exp(x) of a small rational, with a bound of what is left out."""
    term = total = Fraction(1)
    for k in range(1, terms):
        term = term * x / k
        total += term
    return total, 2 * abs(term)


def test_exp_sigmoid_tanh():
    for x in (Fraction(1), Fraction(-3, 7), Fraction(5, 2)):
        e, left = taylor(x)
        low, high = oracle.exp_ends(x, 96)
        assert low - left < e < high + left
        assert high - low < Fraction(1, 2**90)
        s = oracle.sigmoid(x, 96)
        assert s.lo - left < e / (1 + e) < s.hi + left
        t = oracle.tanh(x, 96)
        assert abs(float(t) - math.tanh(x)) < 1e-15
    assert run("Sigmoid", np.float32([0])).tolist() == [HALF]
    assert run("Tanh", np.float32([0])).tolist() == [0]
    assert run("Exp", np.float32([0])).tolist() == [1]


def test_sigmoid_never_reaches_its_limits():
    x = np.float32([-1e9, -50, 50, 1e9])
    y = run("Sigmoid", x)
    assert oracle.to_float(y).tolist() == [pytest.approx(v, abs=1e-20) for v in (0, 0, 1, 1)]
    model = graph(
        [
            helper.make_node("Sigmoid", ["x"], ["s"]),
            helper.make_node("Quant", list("szob"), ["y"], domain=DOMAIN, signed=0, narrow=0, rounding_mode="FLOOR"),
        ],
        {"x": [4]},
        {"z": np.float32(1), "o": np.float32(0), "b": np.float32(4)},
    )
    assert evaluate(model, {"x": x})["y"].tolist() == [0, 0, 0, 0]
    next(a for a in model.graph.node[1].attribute if a.name == "rounding_mode").s = b"CEIL"
    assert evaluate(model, {"x": x})["y"].tolist() == [1, 1, 1, 1]


def test_softmax():
    assert run("Softmax", np.float32([[1, 1, 1]])).tolist() == [[Fraction(1, 3)] * 3]
    assert run("Softmax", np.float32([[7]])).tolist() == [[1]]
    x = np.float32([[1, 2, 4], [-1000, 0, 1e6]])
    y = run("Softmax", x)
    e = np.exp(x - x.max(axis=1, keepdims=True).astype(np.float64))
    assert np.allclose(oracle.to_float(y), e / e.sum(axis=1, keepdims=True), atol=1e-15)
    assert np.allclose(oracle.to_float(run("Softmax", x, axis=0)).sum(axis=0), 1)
    cube = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    assert np.isclose(oracle.to_float(run("Softmax", cube, opset=11)).sum(), 1)
    assert np.isclose(oracle.to_float(run("Softmax", cube, opset=13)).sum(), 2)


def test_decisions_on_irrational_numbers_are_proved():
    # sqrt(2) * 2**80 lies beside an integer that only 80 correct bits tell
    near = math.isqrt(2 * 4**80)
    model = graph(
        [
            helper.make_node("Sqrt", ["two"], ["r"]),
            helper.make_node("Sub", ["r", "near"], ["d"]),
            helper.make_node("Quant", ["d", "one", "zero", "bits"], ["y"], domain=DOMAIN, signed=1, narrow=0),
        ],
        {"near": [1]},
        dict(two=np.float32([2]), one=np.float32(1), zero=np.float32(0), bits=np.float32(1)),
    )
    for digits, sign in ((0, 1), (1, -1)):
        feed = np.array([Fraction(near + digits, 2**80)], dtype=object)
        assert evaluate(model, {"near": feed}, bits=40)["y"].tolist() == [sign]
        deep = np.array([Fraction(math.isqrt(2 * 4**900) + digits, 2**900)], dtype=object)
        assert evaluate(model, {"near": deep})["y"].tolist() == [sign]


def test_what_no_precision_decides_is_an_error():
    nodes = [
        helper.make_node("Sqrt", ["x"], ["r"]),
        helper.make_node("Mul", ["r", "r"], ["two"]),
        helper.make_node("Sub", ["two", "x"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    with pytest.raises(oracle.UndecidableError, match="2000 bits"):
        evaluate(graph(nodes, {"x": [1]}, {}), {"x": np.float32([2])})
    assert evaluate(graph(nodes, {"x": [1]}, {}), {"x": np.float32([4])})["y"].tolist() == [0]


def test_intervals_are_open():
    a = Interval(Fraction(0), Fraction(1), 96)
    assert a > 0
    assert a < 1
    assert not a >= 1
    with pytest.raises(oracle.NeedMoreBitsError):
        assert a < HALF
    assert a * 0 == 0
    assert (1 / (a + 1)).lo == HALF
    assert (2 - a).hi == 2
    assert (a * -3).lo == -3
    assert [(a - HALF).lo, (-a).hi] == [-HALF, 0]
    # just above 2, below 3: every mode is decided although the low end is an integer
    b = a + 2
    assert quant_integer(b, 8, True, False, "FLOOR") == 2
    assert quant_integer(b, 8, True, False, "CEIL") == 3
    with pytest.raises(oracle.NeedMoreBitsError):
        quant_integer(b, 8, True, False, "ROUND")
    assert quant_integer(b, 2, True, False, "ROUND") == 1


# ---------------------------------------------------------------------------------------------------- shapes


def test_shape_operators():
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert run("Reshape", x, np.int64([0, -1])).shape == (1, 6)
    assert run("Reshape", x, np.int64([3, 2])).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert run("Flatten", x).shape == (1, 6)
    assert run("Flatten", x, axis=2).shape == (2, 3)
    assert run("Flatten", x, axis=-1).shape == (2, 3)
    assert run("Flatten", x, axis=0).shape == (1, 6)
    assert run("Transpose", x).shape == (3, 2, 1)
    assert run("Transpose", x, perm=[0, 2, 1]).tolist() == [[[0, 3], [1, 4], [2, 5]]]
    assert run("Squeeze", x).shape == (2, 3)
    assert run("Squeeze", x, np.int64([0])).shape == (2, 3)
    assert run("Squeeze", x, opset=11, axes=[0]).shape == (2, 3)
    assert run("Unsqueeze", x, np.int64([0, 4])).shape == (1, 1, 2, 3, 1)
    assert run("Unsqueeze", x, opset=11, axes=[1]).shape == (1, 1, 2, 3)
    assert run("Shape", x).tolist() == [1, 2, 3]
    assert run("Gather", x, np.int64(1), axis=1).tolist() == [[3, 4, 5]]
    assert run("Gather", np.int64([4, 5]), np.int64(-1)).tolist() == 5
    assert run("Concat", x, x, axis=1).shape == (1, 4, 3)
    assert run("Identity", x).tolist() == x.tolist()
    assert run("Cast", np.float32([-1.5, 2.75]), to=TensorProto.INT64).tolist() == [-1, 2]
    assert all(isinstance(v, Fraction) for v in run("Cast", np.int64([3]), to=TensorProto.FLOAT))
    assert run("Dropout", x).tolist() == x.tolist()
    kept, mask = run("Dropout", x, outputs=("y", "mask"))
    assert kept.shape == mask.shape
    assert mask.all()


def test_constants():
    assert run("Constant", value=numpy_helper.from_array(np.float32([0.1]))).tolist() == [f32(0.1)]
    assert run("Constant", value=numpy_helper.from_array(np.float64([0.1]))).tolist() == [Fraction(0.1)]
    assert run("Constant", value_float=0.1).tolist() == f32(0.1)
    assert run("Constant", value_floats=[0.1, 1.0]).tolist() == [f32(0.1), 1]
    assert run("Constant", value_ints=[3, 4]).tolist() == [3, 4]
    assert run("Constant", value_int=3).tolist() == 3


def test_exact_numbers():
    assert exact(np.float32([0.1])).tolist() == [f32(0.1)]
    assert exact(np.float16([0.1])).tolist() == [Fraction(float(np.float16(0.1)))]
    assert [type(v) for v in exact(np.int8([1, -1]))] == [int, int]
    assert exact(np.float32(2)).shape == ()
    assert exact(np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)


def test_a_missing_feed_is_named():
    with pytest.raises(KeyError, match="x"):
        evaluate(quant_model((1, 1), 1.0, 0.0, 4, 1, 0, "ROUND"), {})


# --------------------------------------------------------------------------------------------- against qonnx


def quant_model(shape, scale, zero_point, bits, signed, narrow, mode):
    node = helper.make_node(
        "Quant", ["x", "s", "z", "b"], ["y"], domain=DOMAIN, signed=signed, narrow=narrow, rounding_mode=mode
    )
    constants = {"s": np.float32(scale), "z": np.float32(zero_point), "b": np.float32(bits)}
    model = graph([node], {"x": shape}, constants)
    for d in shape:
        model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = d
    return model


def execute(model, feeds):
    return execute_onnx(ModelWrapper(model), feeds)


@pytest.mark.parametrize("seed", range(40))
def test_random_quants_away_from_ties_agree_with_qonnx(seed):
    rng = np.random.default_rng(seed)
    modes = [m for m in ROUNDED if m != "ROUND_TO_ZERO"]
    bits, signed, narrow = (int(rng.integers(1, 13)), int(rng.integers(2)), int(rng.integers(2)))
    scale = np.float32(2.0 ** rng.uniform(-6, 4))
    zero_point = float(rng.integers(-3, 4))
    # t is a tenth or more away from every multiple of one half
    t = rng.integers(-(2**bits) * 3, 2**bits * 3, (4, 25)) / 2 + rng.uniform(0.1, 0.4, (4, 25))
    x = ((t - zero_point) * np.float64(scale)).astype(np.float32)
    model = quant_model(x.shape, scale, zero_point, bits, signed, narrow, modes[seed % len(modes)])
    expected = execute(model, {"x": x})["y"]
    got = oracle.to_float(evaluate(model, {"x": x})["y"])
    assert np.allclose(got, expected, rtol=1e-6, atol=0)


def test_a_dense_layer_of_32_by_32_is_fast():
    rng = np.random.default_rng(0)
    kw = {"domain": DOMAIN, "signed": 1, "narrow": 0}
    nodes = [
        helper.make_node("Quant", ["x", "s", "z", "b"], ["xq"], **kw),
        helper.make_node("Quant", ["w", "s", "z", "b"], ["wq"], **kw),
        helper.make_node("MatMul", ["xq", "wq"], ["t"]),
        helper.make_node("Quant", ["t", "s", "z", "b"], ["y"], **kw),
    ]
    constants = dict(w=rng.normal(size=(32, 32)).astype(np.float32), s=np.float32(0.013), z=np.float32(0))
    model = graph(nodes, {"x": [1, 32]}, {**constants, "b": np.float32(8)})
    x = rng.normal(size=(1, 32)).astype(np.float32)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        evaluate(model, {"x": x})
        best = min(best, time.process_time() - start)
    assert best < 0.05
