# SPDX-License-Identifier: Apache-2.0
"""The elementwise functions: float64 with its bound, exact numbers, and what saturates far out."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from mpmath import iv, mp

from flow.ir import numbers
from flow.ir.erf import ERF_ERROR, erf
from flow.ir.graph import Graph
from flow.ir.model import Input, Quant, Unary
from flow.ir.numbers import to_float
from flow.ir.reference import DOUBLE, SINGLE, Evaluation
from flow.ir.rounding import Rounding

DEFINED = {
    "sign": mp.sign,
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "elu": lambda x: x if x > 0 else mp.exp(x) - 1,
    "hardswish": lambda x: x * min(max(x / 6 + mp.mpf(1) / 2, 0), 1),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "gelu": lambda x: x * (1 + mp.erf(x / mp.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(44715) / 10**6 * x**3))) / 2,
}
POINTS = np.concatenate(
    [
        np.random.default_rng(0).normal(size=60) * np.repeat([1e-3, 1, 10], 20),
        [0.0, -0.0, 3, -3, 6, -6, 5.999, 1e-300, -1e-300, 30, -30, 700, -700],
    ]
)


def run(kind, x, **options):
    graph = Graph((Input("x", (1,)), Unary("y", kind, "x")), ("y",))
    return Evaluation(graph, {"x": np.asarray(x, float).reshape(-1, 1)}, **options)


@pytest.fixture(autouse=True)
def _precise():
    before = mp.prec, iv.prec
    mp.prec, iv.prec = 2200, 160
    yield
    mp.prec, iv.prec = before


@pytest.mark.parametrize("kind", DEFINED)
@pytest.mark.parametrize("precision", [DOUBLE, SINGLE])
def test_values_lie_within_their_bounds(kind, precision):
    found = run(kind, POINTS, precision=precision).tensors["y"]
    error = np.broadcast_to(found.error, found.value.shape)
    for x, y, e in zip(POINTS.tolist(), found.value[:, 0].tolist(), error[:, 0].tolist(), strict=True):
        assert abs(mp.mpf(y) - DEFINED[kind](mp.mpf(x))) <= e, x


@pytest.mark.parametrize("kind", DEFINED)
def test_slopes_are_within_what_the_bounds_take(kind):
    """An error that enters a function leaves it no larger than the bound says."""
    if kind == "sign":
        return
    graph = Graph((Input("x", (1,)), Unary("n", "tanh", "x"), Unary("y", kind, "n")), ("y",))
    x = np.linspace(-20, 20, 4001)
    # the error of tanh is 2^-49 absolute: far above the rounding of the function behind it
    steep = np.max(np.abs(np.diff(run(kind, x).tensors["y"].value[:, 0]) / np.diff(x)))
    y = Evaluation(graph, {"x": x[:, None]})
    assert steep * y.tensors["n"].error.max() <= y.tensors["y"].error.max()
    factor = {"hardswish": 1.5, "silu": 1.1, "gelu": 1.13, "gelu_tanh": 1.13}.get(kind, 1.0)
    assert steep <= factor


@pytest.mark.parametrize("kind", DEFINED)
def test_exact_numbers_hold_the_true_one(kind):
    for x in POINTS.tolist():
        number = getattr(numbers, kind)(Fraction(x))
        true = DEFINED[kind](mp.mpf(x))
        if isinstance(number, Fraction):
            assert abs(mp.mpf(number.numerator) / number.denominator - true) < mp.mpf(2) ** -900, x
        else:
            with mp.workprec(2200):
                assert mp.mpf(number.a._mpi_[0]) <= true <= mp.mpf(number.b._mpi_[1]), x
        if abs(x) < 100:
            assert to_float(number) == pytest.approx(float(true), rel=1e-14, abs=1e-22)


@pytest.mark.parametrize("kind", DEFINED)
def test_intervals_lead_to_intervals_around(kind):
    """An operand that is known to lie in an interval: the result holds the function of both ends and of the middle."""
    for low, high in ((-3.5, -2.5), (-1.0, 0.5), (0.25, 0.5), (2.5, 4.0), (-40.0, -39.0), (50.0, 60.0), (0.0, 1.0)):
        number = getattr(numbers, kind)(iv.mpf([low, high]))
        ends = (number, number) if isinstance(number, Fraction) else (number.a, number.b)
        for x in (low, (low + high) / 2, high):
            true = DEFINED[kind](mp.mpf(x))
            slack = mp.mpf(2) ** -40
            assert to_float(ends[0]) - slack <= true <= to_float(ends[1]) + slack, (low, high, x)


FAR = [1.0e300, 1500.0, 800.0, 60.0, 54.0, 53.9]


@pytest.mark.parametrize("x", FAR)
@pytest.mark.parametrize(
    ("kind", "above", "below"),
    [
        # at x and -x: does the ceiling, or the floor, see that the limit is not reached?
        ("softplus", ("ceil", 1), ("ceil", 1)),
        ("elu", ("floor", 0), ("floor", -1)),
        ("silu", ("floor", -1), ("floor", -1)),
        ("gelu", ("floor", -1), ("floor", -1)),
        ("gelu_tanh", ("floor", -1), ("floor", -1)),
    ],
)
def test_limits_far_out_are_not_reached(kind, above, below, x):
    """In units of x above and of one below; only exact arithmetic can tell."""
    for value, (mode, level), base in ((x, above, x), (-x, below, 0.0)):
        rounding = Rounding(mode)
        graph_x = Fraction(value)

        def position(exactly=graph_x, start=base):
            return numbers.add(getattr(numbers, kind)(exactly), -Fraction(start))

        found = numbers.decide(position, lambda p, r=rounding: numbers.quantize_exact(p, r, -9, 9), kind)
        assert found == level, (kind, value)


def test_a_quantiser_behind_a_saturated_function():
    quant = Quant("q", "y", np.ones(()), np.zeros(()), 8, True, False, Rounding.FLOOR)
    graph = Graph((Input("x", (3,)), Unary("y", "gelu", "x"), quant), ("q",))
    run_ = Evaluation(graph, {"x": np.array([[60.0, -60.0, -1e300]])})
    assert run_.decisions["q"].levels.tolist() == [[59, -1, -1]]
    quant = Quant("q", "y", np.ones(()), np.zeros(()), 8, True, False, Rounding.CEIL)
    graph = Graph((Input("x", (2,)), Unary("y", "softplus", "x"), quant), ("q",))
    assert Evaluation(graph, {"x": np.array([[60.0, -60.0]])}).decisions["q"].levels.tolist() == [[61, 1]]


def test_sign_of_a_value_in_doubt():
    graph = Graph((Input("x", (3,)), Unary("t", "tanh", "x"), Unary("y", "sign", "t")), ("y",))
    y = Evaluation(graph, {"x": np.array([[1e-300, -1.0, 1.0]])}).tensors["y"]
    assert y.error.tolist() == [[2, 0, 0]]
    exact = run("sign", [0.0, -0.0, 5e-324]).tensors["y"]
    assert (exact.value.reshape(-1).tolist(), exact.lsb) == ([0, 0, 1], 0)


def test_erf():
    x = np.concatenate([np.random.default_rng(0).uniform(-7, 7, 1000), np.arange(-112, 113) / 16, [0.0, 1e300, -1e300]])
    found = erf(x)
    mp.prec = 100
    worst = max(abs(mpmath.erf(mp.mpf(v)) - f) for v, f in zip(x.tolist(), found.tolist(), strict=True))
    assert worst <= ERF_ERROR
    assert erf(np.array(-0.0)) == 0


@pytest.mark.parametrize("prec", [80, 160, 640])
def test_erf_bounds(prec, monkeypatch):
    """By the series and, in the tail, by the bounds: both hold the true value."""
    monkeypatch.setattr(iv, "prec", prec)
    monkeypatch.setattr(mp, "prec", 4000)
    for value in (
        Fraction(1, 3),
        Fraction(-7, 2),
        Fraction(5),
        Fraction(-8),
        Fraction(-14),
        Fraction(20),
        Fraction(38),
    ):
        point = iv.mpf(value.numerator) / value.denominator
        interval = numbers.erf(point)
        true = mpmath.erf(mp.mpf(value.numerator) / value.denominator)
        assert mp.mpf(interval.a._mpi_[0]) <= true <= mp.mpf(interval.b._mpi_[1])
        assert float(interval.delta) < 2.0 ** (-prec / 4 - 4) + 1e-13


def test_greatest():
    third = iv.mpf(1) / 3
    assert numbers.greatest([Fraction(1, 4), Fraction(1, 2)]) == Fraction(1, 2)
    assert numbers.greatest([Fraction(1, 4), third]) == third
    assert to_float(numbers.greatest([third, Fraction(1, 2), -third])) == 0.5
