# SPDX-License-Identifier: Apache-2.0
"""Single numbers in exact arithmetic: rationals, and intervals of any precision where a root or exp stands.

A number is a ``Fraction`` as long as it is rational; a square root of a non-square, an exponential and what
follows from them is an mpmath interval that surely holds it. The caller raises the precision until a rounding
decision is certain.
"""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, TypeAlias

from mpmath import iv

from flow.errors import ExactnessError
from flow.ir.rounding import Rounding, round_exact

Number: TypeAlias = Any  # Fraction, or mpmath's ivmpf, which has no type information
PRECISIONS = (80, 160, 640, 2560)
"""Bits of interval arithmetic that are tried in turn."""


def _interval(x: Number) -> Number:
    if isinstance(x, Fraction):
        return iv.mpf(x.numerator) / iv.mpf(x.denominator)
    return x


def add(x: Number, y: Number) -> Number:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x + y
    return _interval(x) + _interval(y)


def negate(x: Number) -> Number:
    return -x


def multiply(x: Number, y: Number) -> Number:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x * y
    if x == 0 or y == 0:
        return Fraction(0)
    return _interval(x) * _interval(y)


def divide(x: Number, y: Number) -> Number:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x / y
    return Fraction(0) if isinstance(x, Fraction) and x == 0 else _interval(x) / _interval(y)


def square_root(x: Number) -> Number:
    if isinstance(x, Fraction) and x >= 0:
        top, bottom = math.isqrt(x.numerator), math.isqrt(x.denominator)
        if top * top == x.numerator and bottom * bottom == x.denominator:
            return Fraction(top, bottom)
    return iv.sqrt(_interval(x))


def power(x: Number, exponent: Fraction) -> Number:
    """``x ** exponent`` for an integer exponent or one half."""
    if exponent == Fraction(1, 2):
        return square_root(x)
    result: Number = Fraction(1)
    for _ in range(abs(int(exponent))):
        result = multiply(result, x)
    return result if exponent >= 0 else divide(Fraction(1), result)


def larger(x: Number, y: Fraction) -> Number:
    if isinstance(x, Fraction):
        return max(x, y)
    bound = _interval(y)
    return iv.mpf([max(x.a, bound.a), max(x.b, bound.b)])


def smaller(x: Number, y: Fraction) -> Number:
    return negate(larger(negate(x), -y))


_FAR = 1500
_ALMOST = Fraction(1) - Fraction(1, 2**2100)
"""Stands for every number in (1 - 2**-2100, 1): no boundary, a rational of fewer bits, lies between them."""


def sigmoid(x: Number) -> Number:
    if isinstance(x, Fraction) and x == 0:
        return Fraction(1, 2)
    if x >= _FAR:  # exp(-1500) < 2**-2100: more precision would never tell it from 1
        return _ALMOST
    if x <= -_FAR:
        return 1 - _ALMOST
    return iv.mpf(1) / (iv.mpf(1) + iv.exp(-_interval(x)))


def tanh(x: Number) -> Number:
    if isinstance(x, Fraction) and x == 0:
        return Fraction(0)
    if 2 * x >= _FAR:
        return _ALMOST
    if 2 * x <= -_FAR:
        return -_ALMOST
    return 1 - 2 / (iv.exp(2 * _interval(x)) + 1)


def leaky_relu(x: Number, slope: Fraction) -> Number:
    if isinstance(x, Fraction):
        return x if x > 0 else x * slope
    if x.a > 0:
        return x
    if x.b < 0:
        return x * _interval(slope)
    ends = [(x * _interval(slope)), x]
    return iv.mpf([min(e.a for e in ends), max(e.b for e in ends)])


def total(numbers: Iterable[Number]) -> Number:
    rational, rest = Fraction(0), []
    for number in numbers:
        if isinstance(number, Fraction):
            rational += number
        else:
            rest.append(number)
    result: Number = rational
    for number in rest:
        result = add(result, number)
    return result


def to_float(x: Number) -> float:
    """The float64 next to ``x`` (to the middle of an interval)."""
    return float(x) if isinstance(x, Fraction) else float(x.mid)


def decide(compute: Callable[[], Number], rounded: Callable[[Fraction], int], what: str) -> int:
    """``rounded`` of the number that ``compute`` gives, at the first precision that leaves no doubt.

    Args:
        compute: Gives the number in the precision in force.
        rounded: A non-decreasing function to integers.
        what: Names the decision, for the error.

    Raises:
        ExactnessError: The number cannot be told from a boundary at 2,560 bits.
    """
    before = iv.prec
    try:
        for precision in PRECISIONS:
            iv.prec = precision
            number = compute()
            if isinstance(number, Fraction):
                return rounded(number)
            low, high = rounded(_end(number.a)), rounded(_end(number.b))
            if low == high:
                return low
    finally:
        iv.prec = before
    raise ExactnessError(f"{what}: {PRECISIONS[-1]} bits do not decide on which side of a boundary it lies")


def _end(point: Number) -> Fraction:
    """The rational at one end of an interval."""
    sign, mantissa, exponent, _ = point._mpi_[0]
    value = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -value if sign else value


def quantize_exact(x: Fraction, mode: Rounding, lo: int, hi: int) -> int:
    """``x`` rounded and clipped to ``[lo, hi]``, exactly."""
    return min(max(round_exact(x, mode), lo), hi)
