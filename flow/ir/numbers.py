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


def sign(x: Number) -> Number:
    """-1, 0 or 1; an interval around zero gives the interval of all three."""
    if isinstance(x, Fraction):
        return Fraction((x > 0) - (x < 0))
    if x.a > 0:
        return Fraction(1)
    return Fraction(-1) if x.b < 0 else iv.mpf([-1, 1])


def softplus(x: Number) -> Number:
    """``log(1 + exp(x))``."""
    if isinstance(x, Fraction) and x >= _FAR:  # less than exp(-1500) above x
        return x + (1 - _ALMOST)
    if x <= -_FAR:
        return 1 - _ALMOST
    return iv.log(1 + iv.exp(_interval(x)))


def elu(x: Number) -> Number:
    """``x`` where positive, else ``exp(x) - 1``."""
    if isinstance(x, Fraction):
        if x >= 0:
            return x
        return -_ALMOST if x <= -_FAR else iv.exp(_interval(x)) - 1
    if x.a >= 0:
        return x
    low = iv.exp(iv.mpf(x.a)) - 1
    return iv.exp(x) - 1 if x.b <= 0 else iv.mpf([low.a, x.b])


def hardswish(x: Number) -> Number:
    """``x * clip(x / 6 + 1/2, 0, 1)``."""
    gate = add(multiply(x, Fraction(1, 6)), Fraction(1, 2))
    return multiply(x, smaller(larger(gate, Fraction(0)), Fraction(1)))


def silu(x: Number) -> Number:
    """``x * sigmoid(x)``."""
    return multiply(x, sigmoid(x))


_FAR_NORMAL = 54
"""A normal variable lies that many deviations out with a probability below exp(-1458) < 2**-2100."""


def gelu(x: Number) -> Number:
    """``x * (1 + erf(x / sqrt(2))) / 2``."""
    if x >= _FAR_NORMAL:
        return multiply(x, _ALMOST)
    if x <= -_FAR_NORMAL:
        return multiply(x, 1 - _ALMOST)
    if isinstance(x, Fraction) and x == 0:
        return Fraction(0)
    return multiply(x, (1 + erf(_interval(x) / iv.sqrt(iv.mpf(2)))) / 2)


def gelu_tanh(x: Number) -> Number:
    """``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``."""
    if isinstance(x, Fraction) and x == 0:
        return Fraction(0)
    cube = multiply(multiply(x, x), x)
    inner = multiply(iv.sqrt(2 / iv.pi), add(x, multiply(cube, Fraction(44715, 1000000))))
    return multiply(x, multiply(add(Fraction(1), tanh(inner)), Fraction(1, 2)))


def erf(x: Number) -> Number:
    """The error function of an interval: it rises, so its ends lead to the ends."""
    low = _erf_of_point(iv.mpf(x.a))
    return iv.mpf([low.a, low.b]) if x.a == x.b else iv.mpf([low.a, _erf_of_point(iv.mpf(x.b)).b])


def _erf_of_point(x: Number) -> Number:
    """By ``2 / sqrt(pi) * exp(-x^2) * sum_n 2^n x^(2n+1) / (2n+1)!!`` (Abramowitz and Stegun, 7.1.6).

    All terms of a positive ``x`` are positive; once each is less than half of the one before, the rest is less
    than the last. They are summed twice in integers, rounded down and rounded up. Far out, where the distance
    from one is small beside the precision, 7.1.13 bounds it at once: ``erfc(x) * sqrt(pi) / 2 * exp(x^2)`` lies
    between ``1 / (x + sqrt(x^2 + 2))`` and ``1 / (x + sqrt(x^2 + 4 / pi))``.
    """
    if x.b < 0:
        return -_erf_of_point(-x)
    if not x.a > 0:
        return iv.mpf(0) if x.a == x.b == 0 else iv.mpf([-1, 1])
    rest = 2 / iv.sqrt(iv.pi) * iv.exp(-x * x)
    if rest.b < iv.mpf(2) ** (-iv.prec // 4):
        least_part, greatest_part = (1 / (x + iv.sqrt(x * x + part)) for part in (iv.mpf(2), 4 / iv.pi))
        return 1 - rest * iv.mpf([least_part.a, greatest_part.b])
    point = _end(x.a)  # an end of an interval: a rational
    double = 2 * point * point
    bits = iv.prec + 64
    low, high = int(point * (1 << bits)), -int(-point * (1 << bits) // 1)
    least, greatest = low, high
    low_factor, high_factor = int(double * (1 << bits)), -int(-double * (1 << bits) // 1)
    odd = 1
    while high > 1 or 2 * double >= odd + 2:
        odd += 2
        low = low * low_factor // (odd << bits)
        high = -(-high * high_factor // (odd << bits))
        least, greatest = least + low, greatest + high
    unit = iv.mpf(2) ** -bits
    total_ = iv.mpf([(least * unit).a, ((greatest + high) * unit).b])
    return rest * total_


def greatest(numbers: Iterable[Number]) -> Number:
    """The maximum: of intervals, that of their ends."""
    found: Number = None
    for number in numbers:
        if found is None:
            found = number
        elif isinstance(number, Fraction):
            found = larger(found, number)
        elif isinstance(found, Fraction):
            found = larger(number, found)
        else:
            found = iv.mpf([max(found.a, number.a), max(found.b, number.b)])
    return found


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
