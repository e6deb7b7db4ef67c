# SPDX-License-Identifier: Apache-2.0
"""The exact reference: evaluates a model graph so that every quantiser decides as it would on real numbers.

Every tensor is held as float64 with a bound on its error (running error analysis: Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., sections 3.1 to 3.3). Dyadic values with few bits, which
power-of-two scales give, are known to be exact and carry no error. Where the bound leaves in doubt to which
level a value rounds, that one element is computed again in rationals (``flow.ir.numbers``).

The same analysis with the unit roundoff of float32 bounds what any float32 execution may get, in any order of
summation: that is how a difference from a float32 run is proved to be a near-tie.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from flow.errors import ExactnessError
from flow.ir import numbers
from flow.ir.model import (
    BatchNorm,
    Binary,
    BinaryKind,
    BipolarQuant,
    Clip,
    Constant,
    Input,
    LeakyRelu,
    MatMul,
    ModelGraph,
    ModelOp,
    Quant,
    QuantizedConstant,
    Quantizer,
    Reshape,
    Shape,
    Softmax,
    Transpose,
    Unary,
    UnaryKind,
    constants,
    infer_shapes,
)
from flow.ir.numbers import Number
from flow.ir.rounding import distance_to_boundary, round_array
from flow.ir.types import Ints, Reals

DOUBLE, SINGLE = 53, 24
"""Significand bits of float64 and float32."""
_UNDERFLOW = {DOUBLE: 1e-300, SINGLE: 2.0**-149}
"""Added to every bound: underflow, which the relative error model leaves out."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Integers that stand for ``scale * level + offset``.

    Attributes:
        levels: (frames, *shape), or broadcastable to it.
        scale: One rational, or one for each element along the last axis.
        offset: Like ``scale``.
    """

    levels: Ints
    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]

    def number(self, index: tuple[int, ...]) -> Fraction:
        """The real value of one element, exactly."""
        level = int(self.levels[index])
        return _pick(self.scale, index) * level + _pick(self.offset, index)


def _pick(values: tuple[Fraction, ...], index: tuple[int, ...]) -> Fraction:
    return values[0] if len(values) == 1 else values[index[-1]]


Feed: TypeAlias = Reals | Levels


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


@dataclass(frozen=True, slots=True)
class Decision:
    """What a quantiser saw and gave.

    Attributes:
        levels: The level of every element, exact.
        position: ``x / scale + zero_point`` in float64.
        error: A bound on the error of ``position`` (on that of a float32 run, where that was asked for).
    """

    levels: Ints
    position: Reals
    error: Reals


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


class Evaluation:
    """Evaluates ``graph`` on a batch.

    Args:
        graph: A valid model graph.
        feeds: For every ``Input``: float values (taken as the rationals they are), or integers with a scale.
        precision: Significand bits of the arithmetic whose error is bounded. The decisions are exact in any
            case; with ``SINGLE`` every bound also covers a float32 execution of the same graph.
        forced: Levels that a quantiser shall hand on in place of its own: those of another execution, so
            that each segment of the network is compared on equal inputs.
        decide: Whether doubtful levels are decided exactly. Without, they are those of float64: enough to
            look for a boundary, which is then to be checked.

    Attributes:
        decisions: For every quantiser that was evaluated.
        tensors: Every tensor, approximately.
    """

    def __init__(
        self,
        graph: ModelGraph,
        feeds: Mapping[str, Feed],
        *,
        precision: int = DOUBLE,
        forced: Mapping[str, Ints] | None = None,
        decide: bool = True,
    ) -> None:
        self.graph = graph
        self.feeds = feeds
        self.precision = precision
        self.unit = 2.0**-precision
        self.tiny = _UNDERFLOW[precision]
        self.forced = forced or {}
        self.decides = decide
        self.shapes = infer_shapes(graph)
        self.parameters = constants(graph)
        self.decisions: dict[str, Decision] = {}
        self.tensors: dict[str, Approximation] = {}
        with np.errstate(over="ignore", under="ignore"):
            for node in graph.nodes:
                self.tensors[node.name] = self._evaluate(node)

    # -- approximately, all elements at once ---------------------------------------------------------------

    def _evaluate(self, node: ModelOp) -> Approximation:
        t = self.tensors
        match node:
            case Input(name=name):
                return self._feed(self.feeds[name])
            case Constant(value=value):
                return self._exact(value)
            case QuantizedConstant(levels=levels, scale=scale):
                return self._product(self._integers(levels), self._exact(scale))
            case Quant() | BipolarQuant():
                return self._quantize(node, t[node.x])
            case MatMul(x=x, weight=weight):
                return self._matmul(t[x], t[weight])
            case Binary(kind=kind, x=x, y=y):
                return self._binary(kind, t[x], t[y])
            case Unary(kind=unary, x=x):
                return self._unary(unary, t[x])
            case Clip(x=x, lo=lo, hi=hi):
                bounds = lsb_of(np.array([b for b in (lo, hi) if np.isfinite(b)]))
                lsb = None if t[x].lsb is None or bounds is None else min(t[x].lsb or 0, bounds)
                return self._rounded(np.clip(t[x].value, lo, hi), lsb, lambda: t[x].error)
            case LeakyRelu(x=x, slope=slope):
                low = self._product(t[x], self._exact(np.array(slope)))
                return Approximation(
                    np.where(t[x].value > 0, t[x].value, low.value),
                    np.maximum(t[x].error, low.error),
                    None if t[x].lsb is None or low.lsb is None else min(t[x].lsb or 0, low.lsb),
                )
            case BatchNorm():
                return self._batch_norm(node, t[node.x])
            case Reshape(x=x, shape=shape):
                return self._moved(node, lambda a: a.reshape(*self._lead(x, a), *shape))
            case Transpose(x=x, order=order):
                return self._moved(node, lambda a: self._transposed(x, a, order))
            case Softmax(x=x, axis=axis):
                shifted = t[x].value - t[x].value.max(axis=axis - len(self.shapes[x]), keepdims=True)
                value = np.exp(shifted)
                value = value / value.sum(axis=axis - len(self.shapes[x]), keepdims=True)
                spread = np.max(t[x].error) * 2 + (np.abs(shifted) + self.shapes[x][axis] + 16) * self.unit
                return Approximation(value, value * np.expm1(spread) + self.tiny, None)

    def _binary(self, kind: BinaryKind, x: Approximation, y: Approximation) -> Approximation:
        match kind:
            case "add":
                return self._sum(x, y)
            case "sub":
                return self._sum(x, _negated(y))
            case "mul":
                return self._product(x, y)
            case "div":
                return self._quotient(x, y)
            case "pow":
                return self._power(x, float(y.value.reshape(-1)[0]))

    def _unary(self, kind: UnaryKind, x: Approximation) -> Approximation:
        match kind:
            case "relu":
                return Approximation(np.maximum(x.value, 0.0), x.error, x.lsb)
            case "neg":
                return _negated(x)
            case "identity":
                return x
            case "sqrt":
                return self._square_root(x)
            case "sigmoid":
                value = 0.5 + 0.5 * np.tanh(0.5 * x.value)
                return Approximation(value, 0.25 * x.error + 16 * self.unit, None)
            case "tanh":
                return Approximation(np.tanh(x.value), x.error + 16 * self.unit, None)

    def _lead(self, x: str, array: Reals) -> tuple[int, ...]:
        return () if x in self.parameters else array.shape[:1]

    def _transposed(self, x: str, array: Reals, order: tuple[int, ...]) -> Reals:
        return array.transpose(order if x in self.parameters else (0, *(axis + 1 for axis in order)))

    def _moved(self, node: Reshape | Transpose, move: Callable[[Reals], Reals]) -> Approximation:
        x = self.tensors[node.x]
        error = np.broadcast_to(x.error, x.value.shape)
        return Approximation(move(x.value), move(error), x.lsb)

    def _exact(self, value: Reals) -> Approximation:
        return Approximation(value, np.zeros(()), lsb_of(value))

    def _integers(self, levels: Ints) -> Approximation:
        return Approximation(levels.astype(np.float64), np.zeros(()), 0)

    def _rounded(self, value: Reals, lsb: int | None, error: Callable[[], Reals]) -> Approximation:
        """The result of one rounded operation: exact where every value fits the significand.

        Args:
            value: As float64 has it.
            lsb: Every true value is a multiple of ``2**lsb``; None where that is not known.
            error: What the errors of the operands amount to, computed if it is needed.
        """
        if lsb is not None:
            greatest = max(value.max(initial=0.0), -value.min(initial=0.0))
            if greatest <= 2.0 ** min(self.precision + lsb, 1000):
                return Approximation(value, np.zeros(()), lsb)
        return Approximation(value, error() + self.unit * np.abs(value) + self.tiny, None)

    def _feed(self, feed: Feed) -> Approximation:
        if not isinstance(feed, Levels):
            return self._exact(feed.astype(np.float64))
        level = self._integers(feed.levels)
        scale = np.array([float(s) for s in feed.scale])
        offset = np.array([float(o) for o in feed.offset])
        scaled = self._product(level, self._rational(scale, feed.scale))
        if not any(feed.offset):
            return scaled
        return self._sum(scaled, self._rational(offset, feed.offset))

    def _rational(self, value: Reals, true: tuple[Fraction, ...]) -> Approximation:
        exact = self.precision >= DOUBLE and all(Fraction(v) == f for v, f in zip(value.tolist(), true, strict=True))
        if exact:
            return self._exact(value)
        return Approximation(value, self.unit * np.abs(value) + self.tiny, None)

    def _sum(self, x: Approximation, y: Approximation) -> Approximation:
        lsb = None if x.lsb is None or y.lsb is None else min(x.lsb, y.lsb)
        return self._rounded(x.value + y.value, lsb, lambda: x.error + y.error)

    def _product(self, x: Approximation, y: Approximation) -> Approximation:
        lsb = None if x.lsb is None or y.lsb is None else x.lsb + y.lsb

        def error() -> Reals:
            return np.abs(x.value) * y.error + x.error * np.abs(y.value) + x.error * y.error

        return self._rounded(x.value * y.value, lsb, error)

    def _quotient(self, x: Approximation, y: Approximation) -> Approximation:
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

        return self._rounded(value, lsb, error)

    def _power(self, x: Approximation, exponent: float) -> Approximation:
        if exponent == 0.5:
            return self._square_root(x)
        result = self._exact(np.ones(()))
        for _ in range(abs(int(exponent))):
            result = self._product(result, x)
        return result if exponent >= 0 else self._quotient(self._exact(np.ones(())), result)

    def _square_root(self, x: Approximation) -> Approximation:
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.sqrt(x.value)
            error = x.error / value + self.unit * value + self.tiny
        return Approximation(value, np.where(np.isfinite(error), error, np.inf), None)

    def _matmul(self, x: Approximation, weight: Approximation) -> Approximation:
        value = x.value @ weight.value
        lsb = None if x.lsb is None or weight.lsb is None else x.lsb + weight.lsb
        size = np.abs(x.value) @ np.abs(weight.value)
        if lsb is not None and size.max(initial=0.0) <= 2.0 ** min(self.precision + lsb, 1000):
            return Approximation(value, np.zeros(()), lsb)  # every partial sum is representable
        error = (x.value.shape[-1] + 2) * self.unit * size + self.tiny
        if np.any(weight.error):
            error = error + (np.abs(x.value) + x.error) @ np.broadcast_to(weight.error, weight.value.shape)
        if np.any(x.error):
            error = error + np.broadcast_to(x.error, x.value.shape) @ np.abs(weight.value)
        return Approximation(value, error, None)

    def _batch_norm(self, node: BatchNorm, x: Approximation) -> Approximation:
        slope = node.gamma / np.sqrt(node.variance + node.epsilon)
        value = (x.value - node.mean) * slope + node.beta
        # Whatever order is chosen (also x * slope + (beta - mean * slope)), each of at most eight roundings
        # is of a term no larger than this.
        size = (np.abs(x.value) + x.error + np.abs(node.mean)) * np.abs(slope) + np.abs(node.beta)
        return Approximation(value, x.error * np.abs(slope) + 8 * self.unit * size + self.tiny, None)

    def _quantize(self, node: Quantizer, x: Approximation) -> Approximation:
        scale, zero_point = self._exact(node.scale), self._exact(node.zero_point)
        position = self._quotient(x, scale)
        if np.any(node.zero_point):
            position = self._sum(position, zero_point)
        levels = self._levels(node, position)
        self.decisions[node.name] = Decision(levels, position.value, position.error)
        handed_on = self.forced.get(node.name, levels)
        centred = self._sum(self._integers(handed_on), _negated(zero_point))
        return self._product(centred, scale)

    def _levels(self, node: Quantizer, position: Approximation) -> Ints:
        if not self.decides or not np.any(position.error):
            return quantize_array(node, position.value).astype(np.int64)
        # decided in float64 even where the bound is for float32: the position itself is float64
        error = position.error if self.precision == DOUBLE else self._double_error(node.name)
        margin = error + np.spacing(np.abs(position.value))
        low = quantize_array(node, position.value - margin)
        high = quantize_array(node, position.value + margin)
        levels = high.astype(np.int64)
        for index in np.argwhere(~(low == high)):
            levels[tuple(index)] = self.decide(node, tuple(int(i) for i in index))
        return levels

    def _double_error(self, name: str) -> Reals:
        if not hasattr(self, "_double"):
            self._double = Evaluation(self.graph, self.feeds, forced=self.forced)
        return self._double.decisions[name].error

    # -- exactly, one element ------------------------------------------------------------------------------

    def decide(self, node: Quantizer, index: tuple[int, ...]) -> int:
        """The level of one element, in exact arithmetic."""
        scale = Fraction(_at(node.scale, index))
        zero_point = Fraction(_at(node.zero_point, index))

        def position() -> Number:
            return numbers.add(numbers.divide(self.number(node.x, index), scale), zero_point)

        return numbers.decide(position, lambda x: quantize_fraction(node, x), f"'{node.name}' at {index}")

    def number(self, name: str, index: tuple[int, ...]) -> Number:
        """One element of a tensor, exactly. ``index`` starts with the frame where the tensor has that axis."""
        node = self.graph[name]
        match node:
            case Input():
                feed = self.feeds[name]
                return feed.number(index) if isinstance(feed, Levels) else Fraction(float(feed[index]))
            case Constant(value=value):
                return Fraction(float(value[index]))
            case QuantizedConstant(levels=levels, scale=scale):
                return int(levels[index]) * Fraction(_at(scale, index))
            case Quant() | BipolarQuant():
                levels = self.forced.get(name, self.decisions[name].levels)
                return (int(levels[index]) - Fraction(_at(node.zero_point, index))) * Fraction(_at(node.scale, index))
            case MatMul(x=x, weight=weight):
                return numbers.total(
                    numbers.multiply(self.number(x, (*index[:-1], k)), self.number(weight, (k, index[-1])))
                    for k in range(self.shapes[x][-1])
                )
            case Binary(kind=kind, x=x, y=y):
                left, right = (
                    self.number(x, self._broadcast(x, index)),
                    self.number(y, self._broadcast(y, index)),
                )
                return _BINARY[kind](left, right)
            case Unary(kind=kind, x=x):
                return _UNARY[kind](self.number(x, index))
            case Clip(x=x, lo=lo, hi=hi):
                value = self.number(x, index)
                value = numbers.larger(value, Fraction(lo)) if np.isfinite(lo) else value
                return numbers.smaller(value, Fraction(hi)) if np.isfinite(hi) else value
            case LeakyRelu(x=x, slope=slope):
                return numbers.leaky_relu(self.number(x, index), Fraction(slope))
            case BatchNorm(x=x):
                centred = numbers.add(self.number(x, index), -Fraction(_at(node.mean, index)))
                spread = numbers.square_root(Fraction(_at(node.variance, index)) + Fraction(node.epsilon))
                scaled = numbers.divide(numbers.multiply(centred, Fraction(_at(node.gamma, index))), spread)
                return numbers.add(scaled, Fraction(_at(node.beta, index)))
            case Reshape(x=x, shape=shape):
                lead, inner = self._split(name, index)
                flat = int(np.ravel_multi_index(inner, shape)) if shape else 0
                return self.number(x, (*lead, *(int(i) for i in np.unravel_index(flat, self.shapes[x]))))
            case Transpose(x=x, order=order):
                lead, inner = self._split(name, index)
                source = [0] * len(order)
                for target_axis, source_axis in enumerate(order):
                    source[source_axis] = inner[target_axis]
                return self.number(x, (*lead, *source))
            case Softmax():
                raise ExactnessError(f"'{name}': nothing that is quantised may follow a softmax")

    def _split(self, name: str, index: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        rank = len(self.shapes[name])
        return index[: len(index) - rank], index[len(index) - rank :]

    def _broadcast(self, operand: str, index: tuple[int, ...]) -> tuple[int, ...]:
        """The index into an operand that was broadcast to the indexed element."""
        shape = self.shapes[operand]
        inner = index[len(index) - len(shape) :]
        lead = () if operand in self.parameters else index[:1]
        return (*lead, *(0 if size == 1 else i for size, i in zip(shape, inner, strict=True)))


def quantize_array(node: Quantizer, position: Reals) -> Reals:
    """The level at each float64 position, as floats."""
    if isinstance(node, BipolarQuant):
        return np.where(position >= 0, 1.0, -1.0)
    lo, hi = node.range
    return np.clip(round_array(position, node.rounding), lo, hi)


def quantize_fraction(node: Quantizer, position: Fraction) -> int:
    """The level at one exact position."""
    if isinstance(node, BipolarQuant):
        return 1 if position >= 0 else -1
    return numbers.quantize_exact(position, node.rounding, *node.range)


def boundary_distance(node: Quantizer, position: Reals) -> Reals:
    """How far each position is from the nearest one at which the level changes, in levels."""
    if isinstance(node, BipolarQuant):
        return np.abs(position)
    return distance_to_boundary(position, node.rounding)


def _negated(x: Approximation) -> Approximation:
    return Approximation(-x.value, x.error, x.lsb)


def _at(array: Reals, index: tuple[int, ...]) -> float:
    """The element of a parameter that is broadcast to ``index``."""
    if array.ndim == 0:
        return float(array)
    inner = index[len(index) - array.ndim :]
    return float(array[tuple(0 if size == 1 else i for size, i in zip(array.shape, inner, strict=True))])


_BINARY: dict[str, Callable[[Number, Number], Number]] = {
    "add": numbers.add,
    "sub": lambda x, y: numbers.add(x, numbers.negate(y)),
    "mul": numbers.multiply,
    "div": numbers.divide,
    "pow": numbers.power,
}
_UNARY: dict[str, Callable[[Number], Number]] = {
    "relu": lambda x: numbers.larger(x, Fraction(0)),
    "sigmoid": numbers.sigmoid,
    "tanh": numbers.tanh,
    "sqrt": numbers.square_root,
    "neg": numbers.negate,
    "identity": lambda x: x,
}


def evaluate(graph: ModelGraph, feeds: Mapping[str, Feed]) -> dict[str, Reals]:
    """The outputs of ``graph`` as float64, every quantiser having decided exactly.

    Returns:
        For each output (frames, *shape); the error of the float64 numbers is some units in the last place.
    """
    run = Evaluation(graph, feeds)
    return {name: run.tensors[name].value for name in graph.outputs}


def frame_shape(graph: ModelGraph) -> Shape:
    """The shape of one frame of the single input."""
    return next(node.shape for node in graph.nodes if isinstance(node, Input))
