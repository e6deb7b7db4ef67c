# SPDX-License-Identifier: Apache-2.0
"""The function that a QONNX graph defines on the real numbers, evaluated naively and exactly.

This is the independent side of the tests: it imports nothing from the compiler, and it has no speed to
defend. Every float in the graph (initialiser, attribute, feed) is the rational number it is. A value is

- an ``int`` in an integer tensor,
- a ``Fraction`` in a float tensor, as long as it is rational,
- an ``Interval`` with rational ends where it is not (the root of a non-square, sigmoid, tanh, exp).

Whatever depends on the order of two values (Quant, Relu, Clip, ...) is decided by proof: where an interval
straddles the boundary, the whole graph is evaluated again with more bits, and ``UndecidableError`` is raised
when 2000 bits are not enough. Casts between float types are the identity, as on real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from numbers import Number
from typing import Any

import mpmath
import numpy as np
import onnx
from onnx import numpy_helper

START_BITS = 96
MOST_BITS = 2000
QUANT_DOMAINS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general", "")
ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)
# exp(x) of x < -FAR is known to lie in (0, 2**-4000), and nothing more
FAR = 3000
FAR_HIGH = Fraction(1, 2**4000)


class UndecidableError(ArithmeticError):
    """A decision that needs more than ``MOST_BITS`` bits (two equal values reached in different ways)."""


class NeedMoreBitsError(ArithmeticError):
    """A decision that needs more bits than this evaluation carries."""


# ------------------------------------------------------------------------------------------------- intervals


class Interval(Number):
    """A real number known to lie strictly between two rationals, each kept to about ``bits`` bits.

    *Strictly*: every constructor below encloses an irrational number between rational ends, and every
    operation is strictly monotone or bilinear, so that the ends are never reached. That is what decides
    floor(sigmoid(1e9)) = 0: the value is near 1 and below it.
    """

    __slots__ = ("bits", "hi", "lo")
    __array_priority__ = 1000

    def __init__(self, lo: Fraction, hi: Fraction, bits: int) -> None:
        self.lo = round_to_bits(Fraction(lo), bits, math.floor)
        self.hi = round_to_bits(Fraction(hi), bits, math.ceil)
        self.bits = bits
        assert self.lo < self.hi, "an open interval holds at least one point"

    def __repr__(self) -> str:
        return f"Interval(about {float(self)!r}, width {float(self.hi - self.lo):.2g})"

    def __float__(self) -> float:
        return float((self.lo + self.hi) / 2)

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo, self.bits)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Interval):
            return Interval(self.lo + other.lo, self.hi + other.hi, min(self.bits, other.bits))
        if isinstance(other, int | Fraction):
            return Interval(self.lo + other, self.hi + other, self.bits)
        return NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Interval):
            corners = [a * b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
            return Interval(min(corners), max(corners), min(self.bits, other.bits))
        if isinstance(other, int | Fraction):
            if other == 0:
                return ZERO  # exactly, whatever the interval
            a, b = self.lo * other, self.hi * other
            return Interval(min(a, b), max(a, b), self.bits)
        return NotImplemented

    __rmul__ = __mul__

    def reciprocal(self) -> Interval:
        if self.lo < 0 < self.hi:
            raise NeedMoreBitsError("division by an interval around zero")
        if self.lo == 0 or self.hi == 0:
            raise OverflowError("division by a number that may be arbitrarily close to zero")
        return Interval(1 / self.hi, 1 / self.lo, self.bits)

    def __truediv__(self, other: Any) -> Any:
        return self * other.reciprocal() if isinstance(other, Interval) else self * (ONE / other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.reciprocal() * other

    def __lt__(self, other: Any) -> bool:
        lo, hi = (other.lo, other.hi) if isinstance(other, Interval) else (other, other)
        if self.hi <= lo:
            return True
        if self.lo >= hi:
            return False
        raise NeedMoreBitsError(f"{self} against {other}")

    __le__ = __lt__  # the same for open intervals: equality is never established

    def __gt__(self, other: Any) -> bool:
        return not self < other

    __ge__ = __gt__


def round_to_bits(x: Fraction, bits: int, direction: Callable[[Fraction], int]) -> Fraction:
    """X rounded down (math.floor) or up (math.ceil) to a dyadic number of about ``bits`` bits."""
    if x == 0 or (x.numerator.bit_length() <= bits and x.denominator & (x.denominator - 1) == 0):
        return x
    shift = bits - (x.numerator.bit_length() - x.denominator.bit_length())
    power = Fraction(2) ** shift
    return direction(x * power) / power


def sqrt(x: Any, bits: int) -> Any:
    """The square root: exact for the square of a rational number."""
    if x < 0:
        raise ValueError(f"square root of {x}")
    if isinstance(x, Interval):
        low, high = sqrt(x.lo, bits), sqrt(x.hi, bits)
        return Interval(getattr(low, "lo", low), getattr(high, "hi", high), min(bits, x.bits))
    x = Fraction(x)
    n, d = math.isqrt(x.numerator), math.isqrt(x.denominator)
    if n * n == x.numerator and d * d == x.denominator:
        return Fraction(n, d)
    # r = floor(2**k * sqrt(x)), so that r / 2**k < sqrt(x) < (r + 1) / 2**k
    k = max(0, bits + x.denominator.bit_length() - x.numerator.bit_length())
    r = math.isqrt((x.numerator << (2 * k)) // x.denominator)
    return Interval(Fraction(r, 2**k), Fraction(r + 1, 2**k), bits)


def exp_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """A rational below and one above exp(x), by mpmath's interval arithmetic; both are 1 for x = 0."""
    if x == 0:
        return ONE, ONE
    if x < -FAR:
        return ZERO, FAR_HIGH
    if x > FAR:
        raise OverflowError(f"exp({float(x)})")
    iv = mpmath.iv
    before = iv.prec
    try:
        iv.prec = bits + 20
        y = iv.exp(iv.mpf(x.numerator) / iv.mpf(x.denominator))
        ends = mpf_to_fraction(y.a), mpf_to_fraction(y.b)
    finally:
        iv.prec = before
    slack = abs(ends[1]) / 2 ** (bits + 10)  # mpmath promises outward rounding; nothing here leans on it
    return ends[0] - slack, ends[1] + slack


def mpf_to_fraction(x: Any) -> Fraction:
    (sign, mantissa, exponent, _), other = x._mpi_
    assert (sign, mantissa, exponent) == other[:3], "a single point"
    return (-1) ** sign * int(mantissa) * Fraction(2) ** int(exponent)


def increasing(ends: Callable[[Fraction, int], tuple[Fraction, Fraction]], x: Any, bits: int) -> Any:
    """A strictly increasing function, from its bounds at rational points."""
    if isinstance(x, Interval):
        return Interval(ends(x.lo, bits)[0], ends(x.hi, bits)[1], bits)
    low, high = ends(Fraction(x), bits)
    return low if low == high else Interval(low, high, bits)


def exp(x: Any, bits: int) -> Any:
    return increasing(exp_ends, x, bits)


def sigmoid_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    if x > 0:
        low, high = sigmoid_ends(-x, bits)
        return 1 - high, 1 - low
    low, high = exp_ends(x, bits)
    return low / (1 + low), high / (1 + high)


def sigmoid(x: Any, bits: int) -> Any:
    return increasing(sigmoid_ends, x, bits)


def tanh_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    low, high = sigmoid_ends(2 * x, bits)
    return 2 * low - 1, 2 * high - 1


def tanh(x: Any, bits: int) -> Any:
    return increasing(tanh_ends, x, bits)


# -------------------------------------------------------------------------------------------------- rounding


def half_even(x: Fraction) -> int:
    return round(x)  # Python rounds a Fraction half to even


def up(x: Fraction) -> int:
    """Away from zero."""
    return math.ceil(x) if x > 0 else math.floor(x)


def half_up(x: Fraction) -> int:
    """To the nearest, ties away from zero."""
    return math.floor(x + HALF) if x > 0 else math.ceil(x - HALF)


def half_down(x: Fraction) -> int:
    """To the nearest, ties towards zero."""
    return math.ceil(x - HALF) if x > 0 else math.floor(x + HALF)


ROUNDING: dict[str, Callable[[Fraction], int]] = {
    "ROUND": half_even,
    "HALF_EVEN": half_even,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
    "UP": up,
    "DOWN": math.trunc,
    "ROUND_TO_ZERO": math.trunc,
    "HALF_UP": half_up,
    "HALF_DOWN": half_down,
}


def integer_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The least and the greatest integer of a Quant (a signed one of 1 bit is bipolar, and has no range)."""
    if bits < 1:
        raise ValueError(f"a bit width of {bits}")
    if signed:
        return -(2 ** (bits - 1)) + bool(narrow), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - bool(narrow)


def quant_integer(t: Any, bits: int, signed: bool, narrow: bool, mode: str) -> int:
    """The integer that a Quant makes of t = x / scale + zero_point."""
    if bits == 1 and signed:
        return 1 if t >= 0 else -1
    low, high = integer_range(bits, signed, narrow)
    rounding = ROUNDING[mode.upper()]

    def quantise(point: Fraction) -> int:
        return min(max(rounding(point), low), high)

    return staircase(quantise, t)


def staircase(function: Callable[[Fraction], int], t: Any) -> int:
    """A rounding at t: any non-decreasing function that is constant between neighbouring multiples of 1/2."""
    if not isinstance(t, Interval):
        return function(Fraction(t))
    # its least and greatest values on the open interval: right above the low end, right below the high end
    above = (t.lo + Fraction(math.floor(2 * t.lo) + 1, 2)) / 2
    below = (t.hi + Fraction(math.ceil(2 * t.hi) - 1, 2)) / 2
    least, greatest = function(above), function(below)
    if least != greatest:
        raise NeedMoreBitsError(f"rounding {t}")
    return least


def quant(x: Any, scale: Any, zero_point: Any, bits: Any, signed: bool, narrow: bool, mode: str) -> Any:
    """One element through Quant."""
    if bits != int(bits):
        raise ValueError(f"a bit width of {bits}")
    q = quant_integer(x / scale + zero_point, int(bits), signed, narrow, mode)
    return (q - zero_point) * scale


# ----------------------------------------------------------------------------------------------- array tools


def exact(array: Any) -> np.ndarray:
    """Any array as one of exact numbers: floats become Fractions, integers and booleans become ints."""
    a = np.asarray(array)
    if a.dtype == object:
        return a
    out = np.empty(a.shape, dtype=object)
    if a.dtype.kind in "iub":
        out.ravel()[:] = [int(v) for v in a.ravel().tolist()]
        return out
    values = a.astype(np.float64)  # exact from every narrower float type
    if not np.isfinite(values).all():
        raise ValueError("infinities and NaN are not real numbers")
    out.reshape(-1)[:] = [Fraction(v) for v in values.ravel().tolist()]
    return out


def to_float(array: Any) -> np.ndarray:
    """The nearest float64 of every value (the middle of an interval)."""
    a = np.asarray(array, dtype=object)
    return np.array([float(v) for v in a.ravel()], dtype=np.float64).reshape(a.shape)


def each(function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """The function on every element, with numpy's broadcasting."""
    shaped = np.broadcast_arrays(*arrays)
    out = np.empty(shaped[0].shape, dtype=object)
    out.reshape(-1)[:] = [function(*values) for values in zip(*(a.ravel() for a in shaped), strict=True)]
    return out


def all_rational(*arrays: np.ndarray) -> bool:
    return not any(isinstance(v, Interval) for a in arrays for v in a.ravel())


def over_common_denominator(a: np.ndarray) -> tuple[np.ndarray, int]:
    """Integers n and one denominator d with a = n / d."""
    d = math.lcm(*(v.denominator for v in a.ravel())) if a.size else 1
    return each(lambda v: v.numerator * (d // v.denominator), a), d


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not all_rational(a, b):
        return np.asarray(a @ b, dtype=object)
    (na, da), (nb, db) = over_common_denominator(a), over_common_denominator(b)
    product = np.asarray(na @ nb, dtype=object)  # integers
    return each(lambda n: Fraction(n, da * db), product)


# ------------------------------------------------------------------------------------------------- operators


class Node:
    """One node with its evaluated inputs; an input that is left out is None."""

    def __init__(self, proto: onnx.NodeProto, inputs: list[np.ndarray | None], opset: int, bits: int) -> None:
        self.proto, self.inputs, self.opset, self.bits = proto, inputs, opset, bits
        self.attributes = {a.name: a for a in proto.attribute}

    def __getitem__(self, index: int) -> np.ndarray:
        value = self.optional(index)
        if value is None:
            raise ValueError(f"{self.proto.op_type} {self.proto.name!r} lacks input {index}")
        return value

    def optional(self, index: int) -> np.ndarray | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int | None = None) -> int:
        if name in self.attributes:
            return int(self.attributes[name].i)
        if default is None:
            raise ValueError(f"{self.proto.op_type} {self.proto.name!r} lacks its attribute {name}")
        return default

    def integers(self, name: str) -> list[int] | None:
        return list(self.attributes[name].ints) if name in self.attributes else None

    def real(self, name: str, default: float) -> Fraction:
        """A float attribute: ONNX stores it, and means its default, as float32."""
        value = self.attributes[name].f if name in self.attributes else default
        return Fraction(float(np.float32(value)))

    def string(self, name: str, default: str) -> str:
        return self.attributes[name].s.decode() if name in self.attributes else default


def is_integer_tensor(a: np.ndarray) -> bool:
    return a.size > 0 and all(isinstance(v, int) for v in a.ravel())


def op_div(n: Node) -> np.ndarray:
    if is_integer_tensor(n[0]) and is_integer_tensor(n[1]):
        return each(lambda a, b: math.trunc(Fraction(a, b)), n[0], n[1])
    return each(lambda a, b: a / b, n[0], n[1])


def op_pow(n: Node) -> np.ndarray:
    def power(x: Any, e: Any) -> Any:
        k = 2 * Fraction(e)
        if k.denominator != 1:
            raise NotImplementedError(f"power {e}: only multiples of 1/2")
        if k.numerator % 2 == 0:
            base, times = x, k.numerator // 2
        else:
            base, times = sqrt(x, n.bits), k.numerator
        if isinstance(base, Interval):
            result: Any = ONE
            for _ in range(abs(times)):
                result = base * result
            return result if times >= 0 else ONE / result
        return Fraction(base) ** times

    return each(power, n[0], n[1])


def op_gemm(n: Node) -> np.ndarray:
    a = n[0].T if n.integer("transA", 0) else n[0]
    b = n[1].T if n.integer("transB", 0) else n[1]
    alpha, beta = n.real("alpha", 1.0), n.real("beta", 1.0)
    y = each(lambda v: alpha * v, matmul(a, b))
    c = n.optional(2)
    return y if c is None else each(lambda v, w: v + beta * w, y, c)


def op_batch_normalization(n: Node) -> np.ndarray:
    if n.integer("training_mode", 0):
        raise NotImplementedError("BatchNormalization in training mode")
    x = n[0]
    shape = [1, -1] + [1] * (x.ndim - 2)  # channels are axis 1
    gamma, beta, mean, var = (n[i].reshape(shape) for i in (1, 2, 3, 4))
    epsilon = n.real("epsilon", 1e-5)
    factor = each(lambda g, v: g / sqrt(v + epsilon, n.bits), gamma, var)
    return each(lambda v, m, f, b: (v - m) * f + b, x, mean, factor, beta)


def op_clip(n: Node) -> np.ndarray:
    y = n[0]
    if n.opset < 11:
        low = exact(np.float32(n.attributes["min"].f)) if "min" in n.attributes else None
        high = exact(np.float32(n.attributes["max"].f)) if "max" in n.attributes else None
    else:
        low, high = n.optional(1), n.optional(2)
    if low is not None:
        y = each(lambda v, m: m if v < m else v, y, low)
    if high is not None:
        y = each(lambda v, m: m if v > m else v, y, high)
    return y


def op_leaky_relu(n: Node) -> np.ndarray:
    alpha = n.real("alpha", 0.01)
    return each(lambda v: alpha * v if v < 0 else v, n[0])


def op_softmax(n: Node) -> np.ndarray:
    x = n[0]
    if n.opset >= 13:
        rows = np.moveaxis(x, n.integer("axis", -1), -1)
    else:  # the older definition: everything from the axis on is one row
        axis = n.integer("axis", 1) % x.ndim
        rows = x.reshape([*x.shape[:axis], -1])
    flat = rows.reshape(-1, rows.shape[-1])
    out = np.empty(flat.shape, dtype=object)
    for i, row in enumerate(flat):
        # any rational may be taken off every element; one near the greatest keeps exp small
        near = max(Fraction(v) if not isinstance(v, Interval) else (v.lo + v.hi) / 2 for v in row)
        e = [exp(v - near, n.bits) for v in row]
        for j, value in enumerate(e):
            rest = sum(e[:j] + e[j + 1 :], ZERO)
            # value / (value + rest) grows with value and falls with rest
            lo, hi = getattr(value, "lo", value), getattr(value, "hi", value)
            rest_lo, rest_hi = getattr(rest, "lo", rest), getattr(rest, "hi", rest)
            low, high = lo / (lo + rest_hi), hi / (hi + rest_lo)
            out[i, j] = low if low == high else Interval(low, high, n.bits)
    out = out.reshape(rows.shape)
    if n.opset >= 13:
        return np.moveaxis(out, -1, n.integer("axis", -1))
    return out.reshape(x.shape)


def op_quant(n: Node) -> np.ndarray:
    signed, narrow = bool(n.integer("signed")), bool(n.integer("narrow"))
    mode = n.string("rounding_mode", "ROUND")
    return each(lambda x, s, z, b: quant(x, s, z, b, signed, narrow, mode), n[0], n[1], n[2], n[3])


def op_bipolar_quant(n: Node) -> np.ndarray:
    return each(lambda x, s: s if x >= 0 else -s, n[0], n[1])


def op_reshape(n: Node) -> np.ndarray:
    shape = [int(v) for v in n[1].ravel()]
    if not n.integer("allowzero", 0):
        shape = [n[0].shape[i] if v == 0 else v for i, v in enumerate(shape)]
    return n[0].reshape(shape)


def op_flatten(n: Node) -> np.ndarray:
    axis = n.integer("axis", 1)
    axis = axis + n[0].ndim if axis < 0 else axis
    return n[0].reshape(math.prod(n[0].shape[:axis]), -1)


def axes_of(n: Node) -> list[int] | None:
    """The axes of Squeeze and Unsqueeze: an attribute before opset 13, then an input."""
    if n.opset < 13:
        return n.integers("axes")
    given = n.optional(1)
    return None if given is None else [int(v) for v in given.ravel()]


def op_squeeze(n: Node) -> np.ndarray:
    axes = axes_of(n)
    return np.squeeze(n[0], axis=None if axes is None else tuple(axes))


def op_unsqueeze(n: Node) -> np.ndarray:
    axes = axes_of(n)
    if axes is None:
        raise ValueError("Unsqueeze without axes")
    return np.expand_dims(n[0], tuple(axes))


def op_constant(n: Node) -> np.ndarray:
    (attribute,) = n.proto.attribute
    if attribute.name == "value":
        return exact(numpy_helper.to_array(attribute.t))
    if attribute.name in ("value_float", "value_floats"):
        single = attribute.name == "value_float"
        return exact(np.array(attribute.f if single else list(attribute.floats), dtype=np.float32))
    if attribute.name in ("value_int", "value_ints"):
        single = attribute.name == "value_int"
        return exact(np.array(attribute.i if single else list(attribute.ints), dtype=np.int64))
    raise NotImplementedError(f"Constant with {attribute.name}")


def op_shape(n: Node) -> np.ndarray:
    shape = list(n[0].shape)
    return exact(np.array(shape[n.integer("start", 0) : n.integer("end", len(shape))], dtype=np.int64))


def op_gather(n: Node) -> np.ndarray:
    return np.asarray(np.take(n[0], n[1].astype(np.int64), axis=n.integer("axis", 0)), dtype=object)


def op_cast(n: Node) -> np.ndarray:
    to = n.integer("to")
    t = onnx.TensorProto
    if to in (t.FLOAT, t.DOUBLE, t.FLOAT16, t.BFLOAT16):
        return each(lambda v: v if isinstance(v, Interval) else Fraction(v), n[0])
    if to in (t.INT8, t.INT16, t.INT32, t.INT64, t.UINT8, t.UINT16, t.UINT32, t.UINT64):
        name = onnx.helper.tensor_dtype_to_np_dtype(to)
        info = np.iinfo(name)

        def truncate(v: Any) -> int:
            q = staircase(math.trunc, v)
            if not info.min <= q <= info.max:
                raise OverflowError(f"{q} does not fit {name}")
            return q

        return each(truncate, n[0])
    if to == t.BOOL:
        return each(lambda v: int(v > 0 or v < 0), n[0])
    raise NotImplementedError(f"Cast to {to}")


def op_dropout(n: Node) -> list[np.ndarray]:
    training = n.optional(2)
    if training is not None and any(v != 0 for v in training.ravel()):
        raise NotImplementedError("Dropout in training mode")
    return [n[0], each(lambda v: 1, n[0])][: len(n.proto.output)]


def elementwise(function: Callable[..., Any], count: int) -> Callable[[Node], np.ndarray]:
    return lambda n: each(function, *(n[i] for i in range(count)))


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "MatMul": lambda n: matmul(n[0], n[1]),
    "Gemm": op_gemm,
    "Add": elementwise(lambda a, b: a + b, 2),
    "Sub": elementwise(lambda a, b: a - b, 2),
    "Mul": elementwise(lambda a, b: a * b, 2),
    "Div": op_div,
    "Pow": op_pow,
    "Sqrt": lambda n: each(lambda v: sqrt(v, n.bits), n[0]),
    "Exp": lambda n: each(lambda v: exp(v, n.bits), n[0]),
    "Neg": elementwise(lambda a: -a, 1),
    "BatchNormalization": op_batch_normalization,
    "Relu": elementwise(lambda v: v if v > 0 else ZERO, 1),
    "LeakyRelu": op_leaky_relu,
    "Clip": op_clip,
    "Sigmoid": lambda n: each(lambda v: sigmoid(v, n.bits), n[0]),
    "Tanh": lambda n: each(lambda v: tanh(v, n.bits), n[0]),
    "Softmax": op_softmax,
    "Reshape": op_reshape,
    "Flatten": op_flatten,
    "Transpose": lambda n: np.transpose(n[0], n.integers("perm")),
    "Squeeze": op_squeeze,
    "Unsqueeze": op_unsqueeze,
    "Identity": lambda n: n[0],
    "Constant": op_constant,
    "Shape": op_shape,
    "Gather": op_gather,
    "Concat": lambda n: np.concatenate([n[i] for i in range(len(n.inputs))], axis=n.integer("axis")),
    "Cast": op_cast,
    "Dropout": op_dropout,
}
QUANT_OPERATORS: dict[str, Callable[[Node], Any]] = {
    "Quant": op_quant,
    "IntQuant": op_quant,
    "BipolarQuant": op_bipolar_quant,
}


def is_quant(node: onnx.NodeProto) -> bool:
    return node.op_type in QUANT_OPERATORS and node.domain in QUANT_DOMAINS


def operator_of(node: onnx.NodeProto) -> Callable[[Node], Any]:
    import oracle_operators as more  # which needs this module

    if node.op_type == "Trunc":
        return more.op_trunc
    if is_quant(node):
        return QUANT_OPERATORS[node.op_type]
    if node.domain in ("", "ai.onnx") and node.op_type in {**OPERATORS, **more.OPERATORS}:
        return {**OPERATORS, **more.OPERATORS}[node.op_type]
    if node.domain.endswith("channels_last") and node.op_type in more.CHANNELS_LAST:
        return more.CHANNELS_LAST[node.op_type]
    raise NotImplementedError(f"{node.domain or 'ai.onnx'}::{node.op_type}")


def evaluate_node(
    node: onnx.NodeProto, inputs: list[np.ndarray | None], opset: int = 13, bits: int = START_BITS
) -> list[np.ndarray]:
    """The outputs of one node; ``NeedMoreBitsError`` where ``bits`` do not decide it."""
    function = operator_of(node)
    result = function(Node(node, inputs, opset, bits))
    results = result if isinstance(result, list) else [result]
    return [np.asarray(r, dtype=object) for r in results]


# ---------------------------------------------------------------------------------------------------- graphs


def opset_of(model: onnx.ModelProto) -> int:
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 13)


def start_values(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    values = {t.name: exact(numpy_helper.to_array(t)) for t in model.graph.initializer}
    values.update({name: exact(array) for name, array in feeds.items()})
    missing = [i.name for i in model.graph.input if i.name not in values]
    if missing:
        raise KeyError(f"no feed for {missing}")
    return values


def evaluate_at(model: onnx.ModelProto, values: dict[str, np.ndarray], bits: int) -> dict[str, np.ndarray]:
    values = dict(values)
    opset = opset_of(model)
    for node in model.graph.node:
        inputs = [values[name] if name else None for name in node.input]
        outputs = evaluate_node(node, inputs, opset, bits)
        values.update({name: out for name, out in zip(node.output, outputs, strict=False) if name})
    return values


def evaluate(model: onnx.ModelProto, feeds: Mapping[str, Any], bits: int = START_BITS) -> dict[str, np.ndarray]:
    """Every tensor of the graph by name, initialisers included, in exact numbers.

    ``feeds`` holds arrays of floats, of integers, or of Fractions, in any batch size that the graph's own
    Reshapes allow (declared shapes are not looked at). ``bits`` is the precision to start with.
    """
    start = start_values(model, feeds)
    while True:
        try:
            return evaluate_at(model, start, bits)
        except NeedMoreBitsError as error:
            if bits >= MOST_BITS:
                raise UndecidableError(f"undecided at {bits} bits: {error}") from error
            bits = min(2 * bits, MOST_BITS)


def quant_integers(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The q behind every Quant and BipolarQuant output, by tensor name: output = (q - zero_point) * scale."""

    def integer(y: Any, scale: Any, zero_point: Any) -> int:
        q = Fraction(y / scale + zero_point)
        assert q.denominator == 1, "only a Quant gives this"
        return q.numerator

    integers = {}
    for node in model.graph.node:
        if is_quant(node):
            zero_point = exact(0) if node.op_type == "BipolarQuant" else values[node.input[2]]
            integers[node.output[0]] = each(integer, values[node.output[0]], values[node.input[1]], zero_point)
    return integers
