# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on float64 tensors that carry a bound on their error.

Running error analysis: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 3.1 to 3.3.
Dyadic values with few bits, which power-of-two scales give, are known to be exact and carry no error. With the
unit roundoff of float32 the same analysis bounds what any float32 execution may get, in any order of summation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.ir.erf import erf
from flow.ir.model import BatchNorm, BinaryKind, UnaryKind
from flow.ir.types import Ints, Reals

DOUBLE, SINGLE = 53, 24
"""Significand bits of float64 and float32."""
_UNDERFLOW = {DOUBLE: 1e-300, SINGLE: 2.0**-149}
"""Added to every bound: underflow, which the relative error model leaves out."""

Product: TypeAlias = Callable[[Reals, Reals], Reals]
"""A product that is linear in both factors, with coefficients 0 and 1: a matrix product, a convolution."""


@dataclass(frozen=True, slots=True)
class Approximation:
    """A float64 tensor and a bound on its distance from the true one.

    Attributes:
        value: (frames, *shape); without the first axis for a parameter.
        error: A bound on ``|value - true|``, element by element or one for all.
        lsb: All values are exact multiples of ``2**lsb``; None where that is not known. The error is then 0.
    """

    value: Reals
    error: Reals
    lsb: int | None

    def moved(self, move: Callable[[Reals], Reals]) -> "Approximation":
        """The same elements elsewhere (some of them, or some more than once)."""
        error = move(np.broadcast_to(self.error, self.value.shape)) if np.any(self.error) else np.zeros(())
        return Approximation(move(self.value), error, self.lsb)


def lsb_of(values: Reals) -> int | None:
    """The greatest ``e`` such that every value is a multiple of ``2**e``; None if not all are finite."""
    pattern = np.ascontiguousarray(values, np.float64).view(np.int64)
    fraction = pattern & ((1 << 52) - 1)
    # a value less its lowest one, which the subtraction of the two gives back; a power of two is its own
    without = np.where(fraction == 0, 0, pattern & (pattern - 1)).view(np.float64)
    lowest = np.abs(values - without)
    least = float(np.min(lowest, initial=np.inf, where=lowest != 0))
    if not np.isfinite(lowest).all():
        return None
    return int(np.frexp(least)[1]) - 1 if np.isfinite(least) else 0


def common_lsb(*lsbs: int | None) -> int | None:
    """The unit of values of which each is a multiple of one of ``2**lsb``; None where one is not known."""
    known = [lsb for lsb in lsbs if lsb is not None]
    return min(known) if len(known) == len(lsbs) else None


def exact(value: Reals) -> Approximation:
    """Numbers that are what they are."""
    return Approximation(value, np.zeros(()), lsb_of(value))


def integers(levels: Ints) -> Approximation:
    return Approximation(levels.astype(np.float64), np.zeros(()), 0)


def negated(x: Approximation) -> Approximation:
    return Approximation(-x.value, x.error, x.lsb)


def _is_zero(x: Approximation) -> NDArray[np.bool_]:
    """Where zero is exact: without it every element of a frame of zeros would be left for exact arithmetic."""
    return np.asarray((x.value == 0) & (x.error == 0))


def _where_zero(x: Approximation, zero: NDArray[np.bool_]) -> Approximation:
    """Without an error where the result is zero for certain."""
    return Approximation(x.value, np.where(zero, 0.0, x.error), x.lsb)


class Arithmetic:
    """Operations in an arithmetic of so many significand bits, their errors bounded."""

    def __init__(self, precision: int) -> None:
        self.precision = precision
        self.unit = 2.0**-precision
        self.tiny = _UNDERFLOW[precision]

    def _is_exact(self, greatest: float, lsb: int | None) -> bool:
        """Whether all multiples of ``2**lsb`` up to ``greatest`` fit the significand."""
        return lsb is not None and greatest <= 2.0 ** min(self.precision + lsb, 1000)

    def rounded(self, value: Reals, lsb: int | None, error: Callable[[], Reals]) -> Approximation:
        """The result of one rounded operation: exact where every value fits the significand.

        Args:
            value: As float64 has it.
            lsb: Every true value is a multiple of ``2**lsb``; None where that is not known.
            error: What the errors of the operands amount to, computed if it is needed.
        """
        if lsb is not None and self._is_exact(max(value.max(initial=0.0), -value.min(initial=0.0)), lsb):
            return Approximation(value, np.zeros(()), lsb)
        return Approximation(value, error() + self.unit * np.abs(value) + self.tiny, None)

    def binary(self, kind: BinaryKind, x: Approximation, y: Approximation) -> Approximation:
        match kind:
            case "add":
                return self.sum(x, y)
            case "sub":
                return self.sum(x, negated(y))
            case "mul":
                return self.product(x, y)
            case "div":
                return self.quotient(x, y)
            case "pow":
                return self.power(x, float(y.value.reshape(-1)[0]))

    def sum(self, x: Approximation, y: Approximation) -> Approximation:
        made = self.rounded(x.value + y.value, common_lsb(x.lsb, y.lsb), lambda: x.error + y.error)
        if not np.any(made.error):
            return made
        error = np.where(_is_zero(y), x.error, np.where(_is_zero(x), y.error, made.error))
        return Approximation(made.value, error, made.lsb)

    def product(self, x: Approximation, y: Approximation) -> Approximation:
        lsb = None if x.lsb is None or y.lsb is None else x.lsb + y.lsb

        def error() -> Reals:
            return np.abs(x.value) * y.error + x.error * np.abs(y.value) + x.error * y.error

        made = self.rounded(x.value * y.value, lsb, error)
        return _where_zero(made, _is_zero(x) | _is_zero(y)) if np.any(made.error) else made

    def quotient(self, x: Approximation, y: Approximation) -> Approximation:
        with np.errstate(divide="ignore", invalid="ignore"):
            value = x.value / y.value
        significand, exponent = np.frexp(np.abs(y.value))
        lsb = None
        if x.lsb is not None and y.lsb is not None and bool((significand == 0.5).all()):  # by powers of two
            lsb = x.lsb - int(exponent.max()) + 1

        def error() -> Reals:
            with np.errstate(divide="ignore", invalid="ignore"):
                spread = (x.error + np.abs(value) * y.error) / np.maximum(np.abs(y.value) - y.error, 0.0)
            return np.nan_to_num(spread, nan=np.inf)

        made = self.rounded(value, lsb, error)
        return _where_zero(made, _is_zero(x) & (np.abs(y.value) > y.error)) if np.any(made.error) else made

    def power(self, x: Approximation, exponent: float) -> Approximation:
        """``x ** exponent`` for an integer exponent or one half."""
        if exponent == 0.5:
            return self._square_root(x)
        result = exact(np.ones(()))
        for _ in range(abs(int(exponent))):
            result = self.product(result, x)
        return result if exponent >= 0 else self.quotient(exact(np.ones(())), result)

    def _square_root(self, x: Approximation) -> Approximation:
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.sqrt(x.value)
            error = x.error / value + self.unit * value + self.tiny
        return Approximation(value, np.where(np.isfinite(error), error, np.inf), None)

    # -- sums --------------------------------------------------------------------------------------------------

    def dot(self, x: Approximation, weight: Approximation, product: Product, terms: int) -> Approximation:
        """Sums of at most ``terms`` products each."""
        value = product(x.value, weight.value)
        size = product(np.abs(x.value), np.abs(weight.value))
        lsb = None if x.lsb is None or weight.lsb is None else x.lsb + weight.lsb
        if self._is_exact(size.max(initial=0.0), lsb):  # every partial sum is representable
            return Approximation(value, np.zeros(()), lsb)
        of_x, of_weight = self._ratio(x), self._ratio(weight)
        spread = np.broadcast_to(weight.error, weight.value.shape)
        if of_weight is None:
            by_weight = product(np.abs(x.value), spread)
        else:
            by_weight = of_weight * size + self.tiny * terms * np.max(np.abs(x.value), initial=0.0)
        if of_x is None:
            by_x = product(np.broadcast_to(x.error, x.value.shape), np.abs(weight.value) + spread)
        else:
            by_x = of_x * (size + by_weight) + self.tiny * float((np.abs(weight.value) + spread).sum())
        return Approximation(value, (terms + 2) * self.unit * size + by_x + by_weight + self.tiny, None)

    def _ratio(self, x: Approximation) -> float | None:
        """A small ``r`` such that every error is at most ``r * |value| + tiny``; None where there is none.

        A bound on a sum of products then follows from the sum of their sizes, without another product.
        """
        if not np.any(x.error):
            return 0.0
        above = np.broadcast_to(np.maximum(x.error - self.tiny, 0.0), x.value.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.max(np.where(above == 0, 0.0, above / np.abs(x.value)), initial=0.0))
        return ratio * (1 + 2.0**-40) if ratio <= 64 * self.unit else None

    def total(self, x: Approximation, add: Callable[[Reals], Reals], terms: int) -> Approximation:
        """Sums of at most ``terms`` elements each, as ``add`` has them."""
        value = add(x.value)
        size = add(np.abs(x.value))
        if self._is_exact(size.max(initial=0.0), x.lsb):
            return Approximation(value, np.zeros(()), x.lsb)
        spread = add(np.broadcast_to(x.error, x.value.shape)) if np.any(x.error) else np.zeros(())
        return Approximation(value, spread + (terms + 2) * self.unit * size + self.tiny, None)

    def mean(self, x: Approximation, add: Callable[[Reals], Reals], terms: int, counts: Reals) -> Approximation:
        """Sums divided by ``counts``, or multiplied by their rounded reciprocals."""
        quotient = self.quotient(self.total(x, add, terms), exact(counts))
        if quotient.lsb is not None:
            return quotient
        return Approximation(quotient.value, quotient.error + self.unit * np.abs(quotient.value) + self.tiny, None)

    # -- functions ---------------------------------------------------------------------------------------------

    def unary(self, kind: UnaryKind, x: Approximation) -> Approximation:
        """Each error is that of ``x`` times the greatest slope, and 16 roundings of the greatest number met."""
        size = np.abs(x.value)
        rounding = 16 * self.unit
        match kind:
            case "relu":
                return Approximation(np.maximum(x.value, 0.0), x.error, x.lsb)
            case "neg":
                return negated(x)
            case "identity":
                return x
            case "sqrt":
                return self._square_root(x)
            case "sign":
                doubtful = (size <= x.error) & (x.error > 0)
                if not bool(doubtful.any()):
                    return Approximation(np.sign(x.value), np.zeros(()), 0)
                return Approximation(np.sign(x.value), np.where(doubtful, 2.0, 0.0), None)
            case "sigmoid":
                return Approximation(_sigmoid(x.value), 0.25 * x.error + rounding, None)
            case "tanh":
                return Approximation(np.tanh(x.value), x.error + rounding, None)
            case "softplus":
                value = np.maximum(x.value, 0.0) + np.log1p(np.exp(-size))
                return Approximation(value, x.error + rounding * (1 + size), None)
            case "elu":
                value = np.where(x.value > 0, x.value, np.expm1(np.minimum(x.value, 0.0)))
                return Approximation(value, x.error + rounding, None)
            case "hardswish":
                value = x.value * np.clip(x.value / 6 + 0.5, 0.0, 1.0)
                return Approximation(value, 1.5 * x.error + rounding * size + self.tiny, None)
            case "silu":
                return Approximation(x.value * _sigmoid(x.value), 1.1 * x.error + rounding * size + self.tiny, None)
            case "gelu":
                value = 0.5 * x.value * (1 + erf(x.value * np.sqrt(0.5)))
                return Approximation(value, 1.13 * x.error + rounding * size + self.tiny, None)
            case "gelu_tanh":
                inner = np.sqrt(2 / np.pi) * (x.value + 0.044715 * x.value**3)
                value = 0.5 * x.value * (1 + np.tanh(inner))
                return Approximation(value, 1.13 * x.error + rounding * size + self.tiny, None)

    def clip(self, x: Approximation, lo: float, hi: float) -> Approximation:
        bounds = lsb_of(np.array([b for b in (lo, hi) if np.isfinite(b)]))
        return self.rounded(np.clip(x.value, lo, hi), common_lsb(x.lsb, bounds), lambda: x.error)

    def leaky_relu(self, x: Approximation, slope: Reals) -> Approximation:
        low = self.product(x, exact(slope))
        value = np.where(x.value > 0, x.value, low.value)
        return Approximation(value, np.maximum(x.error, low.error), common_lsb(x.lsb, low.lsb))

    def batch_norm(self, node: BatchNorm, x: Approximation) -> Approximation:
        slope = node.gamma / np.sqrt(node.variance + node.epsilon)
        value = (x.value - node.mean) * slope + node.beta
        # Whatever order is chosen (also x * slope + (beta - mean * slope)), each of at most eight roundings
        # is of a term no larger than this.
        size = (np.abs(x.value) + x.error + np.abs(node.mean)) * np.abs(slope) + np.abs(node.beta)
        return Approximation(value, x.error * np.abs(slope) + 8 * self.unit * size + self.tiny, None)

    def softmax(self, x: Approximation, axis: int) -> Approximation:
        """``axis`` counts from the end."""
        shifted = x.value - x.value.max(axis=axis, keepdims=True)
        value = np.exp(shifted)
        value = value / value.sum(axis=axis, keepdims=True)
        spread = np.max(x.error) * 2 + (np.abs(shifted) + x.value.shape[axis] + 16) * self.unit
        # library exponentials give zero where the result would be subnormal
        flushed = 0.0 if self.precision == DOUBLE else 2.0**-126
        return Approximation(value, value * np.expm1(spread) + self.tiny + flushed, None)

    # -- selections --------------------------------------------------------------------------------------------

    def greatest(self, x: Approximation, reduce: Callable[[Reals], Reals]) -> Approximation:
        """Maxima, as ``reduce`` has them; the greatest error of all that were compared goes with them."""
        error = reduce(np.broadcast_to(x.error, x.value.shape)) if np.any(x.error) else np.zeros(())
        return Approximation(reduce(x.value), error, x.lsb)

    def places(self, x: Approximation, axis: int, count: int) -> Approximation:
        """The places of the greatest values along an axis (counted from the end), of equals the first.

        Where errors leave the order in doubt, the error is the number of places.
        """
        order = np.argsort(-x.value, axis=axis, kind="stable")
        found = np.take(order, np.arange(count), axis=axis).astype(np.float64)
        if not np.any(x.error):
            return Approximation(found, np.zeros(()), 0)
        ordered = np.take_along_axis(x.value, order, axis=axis)
        error = np.broadcast_to(x.error, x.value.shape).max(axis=axis, keepdims=True)
        close = -np.diff(ordered, axis=axis) <= 2 * error  # one beside the next
        pad = [(0, 0)] * x.value.ndim
        pad[axis] = (1, 1)
        beside = np.pad(close, pad, constant_values=False)
        size = x.value.shape[axis]
        doubtful = np.take(beside, np.arange(size), axis=axis) | np.take(beside, np.arange(1, size + 1), axis=axis)
        return Approximation(found, np.where(np.take(doubtful, np.arange(count), axis=axis), float(size), 0.0), None)


def joined(parts: Sequence[Approximation], axis: int) -> Approximation:
    """Tensors of equal rank one behind the other."""
    errors = np.zeros(())
    if any(np.any(part.error) for part in parts):
        errors = np.concatenate([np.broadcast_to(part.error, part.value.shape) for part in parts], axis)
    return Approximation(
        np.concatenate([part.value for part in parts], axis), errors, common_lsb(*(part.lsb for part in parts))
    )


def _sigmoid(x: Reals) -> Reals:
    return 0.5 + 0.5 * np.tanh(0.5 * x)
