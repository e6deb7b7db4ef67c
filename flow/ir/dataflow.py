# SPDX-License-Identifier: Apache-2.0
"""The dataflow language: integers only, and blocks that become hardware.

``evaluate`` of each operation is the specification of its hardware, bit for bit. Arrays are (frames, *shape);
channels lie along the last axis, and element ``i`` of a frame (in row-major order) is in channel
``i % channels``. What depends on parallelism is in the plan, not here.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.errors import VerifyError
from flow.ir.graph import Graph, Node
from flow.ir.types import MAX_BITS, Bipolar, ElementType, Ints, IntType, common_type, type_of_values
from flow.ir.window import Window, correlate, depth_to_space

Shape: TypeAlias = tuple[int, ...]

_FLOAT_EXACT = 2**24
_DOUBLE_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a tensor.

    Attributes:
        shape: Of one frame.
        element: The type that carries it in hardware.
        lo: The least value of each channel, (channels,) or (1,) where all are alike.
        hi: The greatest value, shaped like ``lo``.
    """

    shape: Shape
    element: ElementType
    lo: Ints
    hi: Ints

    @property
    def size(self) -> int:
        """Elements of one frame."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Source(Node):
    """The integers that arrive, one frame at a time; ``lo`` and ``hi`` are (1,) or one for each channel."""

    shape: Shape
    element: ElementType
    lo: Ints
    hi: Ints

    def infer(self) -> TensorType:
        return TensorType(self.shape, self.element, self.lo, self.hi)

    def verify(self) -> None:
        if int(self.lo.min()) < self.element.min or int(self.hi.max()) > self.element.max:
            raise VerifyError(f"'{self.name}': values in [{self.lo.min()}, {self.hi.max()}] do not fit {self.element}")


@dataclass(frozen=True, eq=False)
class Dense(Node):
    """``y = x @ weight``, summed exactly in ``acc``; ``weight`` is (inputs, outputs)."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    weight: Ints
    acc: IntType

    @property
    def matrix(self) -> Ints:
        """The weights of each output, in the order in which their inputs arrive: (inputs, outputs)."""
        return self.weight

    @cached_property
    def weight_type(self) -> ElementType:
        """The type at which the weights are stored: the narrowest that their values need."""
        return type_of_values(self.weight)

    def sum_range(self, x: TensorType) -> tuple[Ints, Ints]:
        """The least and greatest total of each output over all inputs of type ``x``."""
        low, high = _term_ranges(self.weight, *over_channels(x, self.weight.shape[0]))
        return low.sum(0), high.sum(0)

    def partial_range(self, x: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum that any input can reach, in any order of addition."""
        low, high = _term_ranges(self.weight, *over_channels(x, self.weight.shape[0]))
        return _partial(low, high)

    def infer(self, x: TensorType) -> TensorType:
        lo, hi = self.sum_range(x)
        return TensorType((*x.shape[:-1], self.weight.shape[1]), self.acc, lo, hi)

    def verify(self, x: TensorType) -> None:
        if not x.shape or x.shape[-1] != self.weight.shape[0]:
            raise VerifyError(f"'{self.name}': {self.weight.shape[0]} rows of weights for an input of shape {x.shape}")
        _check_accumulator(self.name, self.acc, self.partial_range(x))

    def evaluate(self, x: Ints) -> Ints:
        bound = int(np.abs(x).max(initial=0)) * int(np.abs(self.weight).sum(0).max(initial=0))
        return _exactly(lambda x, weight: x @ weight, x, self.weight, bound)


@dataclass(frozen=True, eq=False)
class Convolution(Node):
    """The sum over a sliding window of inputs times weights, summed exactly in ``acc``.

    Attributes:
        x: (height, width, channels).
        weight: (*kernel, channels / groups, outputs); output ``m`` is in group ``m // (outputs / groups)``.
        window: Where the taps lie.
        groups: In how many parts channels and outputs fall; as many as channels: depthwise.
        pad: The integer around the input: that which stands for zero.
        acc: The type of the sum.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    weight: Ints
    window: Window
    groups: int
    pad: int
    acc: IntType

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[-1])

    @property
    def depthwise(self) -> bool:
        """Whether every channel has one output of its own."""
        return self.groups > 1 and self.groups == self.outputs and self.weight.shape[-2] == 1

    @property
    def matrix(self) -> Ints:
        """The weights of each output, the taps in order and the channels fastest: (inputs, outputs)."""
        return self.weight.reshape(-1, self.outputs)

    @cached_property
    def weight_type(self) -> ElementType:
        """The type at which the weights are stored: the narrowest that their values need."""
        return type_of_values(self.weight)

    def tap_type(self, x: TensorType) -> ElementType:
        """The type of an input or of the padding."""
        return padded_type(x.element, self.window, self.pad)

    def terms(self, x: TensorType) -> tuple[Ints, Ints]:
        """The least and the greatest product of each weight with its input: (inputs, outputs) each."""
        channels = self.groups * self.weight.shape[-2]
        lo, hi = over_channels(x, channels)
        if self.window.pads:
            lo, hi = np.minimum(lo, self.pad), np.maximum(hi, self.pad)
        # (channels / groups, outputs): the interval of the channel that each output reads in each row
        rows, per_group = self.weight.shape[-2], self.outputs // self.groups
        by_output = [np.repeat(bound.reshape(self.groups, rows), per_group, axis=0).T for bound in (lo, hi)]
        low, high = _products(self.weight, by_output[0], by_output[1])
        return low.reshape(-1, self.outputs), high.reshape(-1, self.outputs)

    def sum_range(self, x: TensorType) -> tuple[Ints, Ints]:
        """The least and greatest total of each output over all inputs of type ``x``."""
        low, high = self.terms(x)
        return low.sum(0), high.sum(0)

    def partial_range(self, x: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum that any input can reach, in any order of addition."""
        return _partial(*self.terms(x))

    def infer(self, x: TensorType) -> TensorType:
        lo, hi = self.sum_range(x)
        return TensorType((*self.window.outputs(x.shape[:-1]), self.outputs), self.acc, lo, hi)

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3 or x.shape[-1] != self.groups * self.weight.shape[-2] or self.outputs % self.groups:
            raise VerifyError(
                f"'{self.name}': weights {self.weight.shape} in {self.groups} groups for an input of shape {x.shape}"
            )
        if self.weight.shape[:-2] != self.window.kernel:
            raise VerifyError(f"'{self.name}': weights {self.weight.shape} for the window {self.window}")
        _check_window(self.name, self.window, x)
        _check_accumulator(self.name, self.acc, self.partial_range(x))

    def evaluate(self, x: Ints) -> Ints:
        greatest = max(int(np.abs(x).max(initial=0)), abs(self.pad))
        bound = greatest * int(np.abs(self.matrix).sum(0).max(initial=0))

        def product(x: "NDArray[Any]", weight: "NDArray[Any]") -> "NDArray[Any]":
            return correlate(self.window.padded(x, self.pad), weight, self.window, self.groups)

        return _exactly(product, x, self.weight, bound)


def padded_type(element: ElementType, window: Window, pad: int) -> ElementType:
    """The type that holds the values and the padding."""
    if not window.pads or (element.min <= pad <= element.max and not (isinstance(element, Bipolar) and pad == 0)):
        return element
    return IntType.holding(min(element.min, pad), max(element.max, pad))


def _check_window(name: str, window: Window, x: TensorType) -> None:
    try:
        window.outputs(x.shape[:-1])
    except ValueError as error:
        raise VerifyError(f"'{name}': {error}") from error


def _check_accumulator(name: str, acc: IntType, reached: tuple[int, int]) -> None:
    lo, hi = reached
    if lo < acc.min or hi > acc.max:
        raise VerifyError(
            f"'{name}': accumulator {acc} overflows: sums reach [{lo}, {hi}], which needs {IntType.holding(lo, hi)}"
        )


def _exactly(
    product: "Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]", x: Ints, weight: Ints, bound: int
) -> Ints:
    """A sum of products in the fastest arithmetic in which no partial sum, up to ``bound``, is rounded."""
    if bound < _FLOAT_EXACT:  # BLAS is far faster than int64
        single: Ints = np.rint(product(x.astype(np.float32), weight.astype(np.float32))).astype(np.int64)
        return single
    if bound < _DOUBLE_EXACT:
        double: Ints = np.rint(product(x.astype(np.float64), weight.astype(np.float64))).astype(np.int64)
        return double
    exact: Ints = product(x, weight)
    return exact


def over_channels(x: TensorType, channels: int) -> tuple[Ints, Ints]:
    """The interval of each of ``channels`` channels, where ``x`` has one for all, for each channel, or for each
    element; element ``i`` is in channel ``i % channels``.
    """
    if x.lo.size % channels == 0:
        return x.lo.reshape(-1, channels).min(0), x.hi.reshape(-1, channels).max(0)
    repeats = channels // x.lo.size
    return np.tile(x.lo, repeats), np.tile(x.hi, repeats)


def _term_ranges(weight: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    return _products(weight, lo[:, None], hi[:, None])


def _products(weight: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    at_lo, at_hi = weight * lo, weight * hi
    return np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi)


def _partial(low: Ints, high: Ints) -> tuple[int, int]:
    return int(np.minimum(low, 0).sum(0).min()), int(np.maximum(high, 0).sum(0).max())


@dataclass(frozen=True, eq=False)
class Pooling(Node):
    """The greatest value, or the sum, of every window, channel by channel.

    Attributes:
        x: (height, width, channels).
        kind: ``max`` or ``sum``.
        window: Where the taps lie.
        pad: The integer around the input: the least of a maximum, that of zero of a sum.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    kind: Literal["max", "sum"]
    window: Window
    pad: int

    @property
    def taps(self) -> int:
        return math.prod(self.window.kernel)

    def tap_type(self, x: TensorType) -> ElementType:
        """The type of an input or of the padding."""
        return padded_type(x.element, self.window, self.pad)

    def infer(self, x: TensorType) -> TensorType:
        shape = (*self.window.outputs(x.shape[:-1]), x.shape[-1])
        lo, hi = over_channels(x, x.shape[-1]) if x.lo.size > 1 else (x.lo, x.hi)
        if self.kind == "max":
            return TensorType(shape, x.element, lo, hi)
        if self.window.pads:
            lo, hi = np.minimum(lo, self.pad), np.maximum(hi, self.pad)
        lo, hi = lo * self.taps, hi * self.taps
        return TensorType(shape, IntType.holding(min(int(lo.min()), 0), max(int(hi.max()), 0)), lo, hi)

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3:
            raise VerifyError(f"'{self.name}': it needs (height, width, channels), not {x.shape}")
        _check_window(self.name, self.window, x)
        if self.kind == "max" and self.window.pads and self.pad > int(x.lo.min()):
            raise VerifyError(f"'{self.name}': the padding {self.pad} may exceed an input, which reach {x.lo.min()}")
        if any(
            b >= s or a >= s for b, a, s in zip(self.window.before, self.window.after, self.window.span, strict=True)
        ):
            raise VerifyError(f"'{self.name}': a window holds nothing but padding")

    def evaluate(self, x: Ints) -> Ints:
        padded = self.window.padded(x, self.pad)
        seen = [self.window.seen(padded, tap) for tap in self.window.taps()]
        combined: Ints = functools.reduce(np.maximum if self.kind == "max" else np.add, seen)
        return combined.copy() if len(seen) == 1 else combined


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """``sum of factors[i] * xs[i]``, exact in ``acc``; ``factors`` is (operands, channels or 1)."""

    operands: ClassVar[tuple[str, ...]] = ("xs",)

    xs: tuple[str, ...]
    factors: Ints
    acc: IntType

    def ranges(self, *xs: TensorType) -> tuple[Ints, Ints]:
        """The least and the greatest sum of each channel."""
        low: Ints = np.zeros(1, np.int64)
        high: Ints = np.zeros(1, np.int64)
        channels = max([self.factors.shape[1], *(x.shape[-1] for x in xs if x.lo.size > 1)])
        for factor, x in zip(self.factors, xs, strict=True):
            least, greatest = _products(factor, *over_channels(x, channels))
            low, high = low + least, high + greatest
        return low, high

    def partial_range(self, *xs: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum, in any order of addition."""
        channels = max(x.shape[-1] for x in xs)
        terms = [_products(factor, *over_channels(x, channels)) for factor, x in zip(self.factors, xs, strict=True)]
        return _partial(np.stack([low for low, _ in terms]), np.stack([high for _, high in terms]))

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType(xs[0].shape, self.acc, *self.ranges(*xs))

    def verify(self, *xs: TensorType) -> None:
        _check_alike(self.name, xs)
        if self.factors.shape[0] != len(xs) or self.factors.shape[1] not in (1, xs[0].shape[-1]):
            raise VerifyError(f"'{self.name}': factors {self.factors.shape} for {len(xs)} x {xs[0].shape}")
        _check_accumulator(self.name, self.acc, self.partial_range(*xs))

    def evaluate(self, *xs: Ints) -> Ints:
        total: Ints = functools.reduce(np.add, [f * x for f, x in zip(self.factors, xs, strict=True)])
        return total


@dataclass(frozen=True, eq=False)
class Gate(Node):
    """``(x + x_offset) * (gate + gate_offset)``, exact in ``acc``.

    ``gate`` is shaped like ``x``, or has one value for each channel of a frame: (1, ..., 1, channels).
    """

    operands: ClassVar[tuple[str, ...]] = ("x", "gate")

    x: str
    gate: str
    x_offset: int
    gate_offset: int
    acc: IntType

    def infer(self, x: TensorType, gate: TensorType) -> TensorType:
        return TensorType(x.shape, self.acc, *self.ranges(x, gate))

    def ranges(self, x: TensorType, gate: TensorType) -> tuple[Ints, Ints]:
        """The least and the greatest product of each channel."""
        channels = x.shape[-1] if max(x.lo.size, gate.lo.size) > 1 else 1
        bounds = [bound + self.x_offset for bound in over_channels(x, channels)]
        others = [bound + self.gate_offset for bound in over_channels(gate, channels)]
        corners = np.stack([a * b for a in bounds for b in others])
        return corners.min(0), corners.max(0)

    def partial_range(self, x: TensorType, gate: TensorType) -> tuple[int, int]:
        """The least and the greatest product, and zero."""
        lo, hi = self.ranges(x, gate)
        return min(int(lo.min()), 0), max(int(hi.max()), 0)

    def verify(self, x: TensorType, gate: TensorType) -> None:
        if gate.shape != x.shape and gate.shape != (1,) * (len(x.shape) - 1) + x.shape[-1:]:
            raise VerifyError(f"'{self.name}': a gate of shape {gate.shape} for {x.shape}")
        _check_accumulator(self.name, self.acc, self.partial_range(x, gate))

    def evaluate(self, x: Ints, gate: Ints) -> Ints:
        return (x + self.x_offset) * (gate + self.gate_offset)


@dataclass(frozen=True, eq=False)
class Concatenation(Node):
    """The channels of several tensors, one behind the other."""

    operands: ClassVar[tuple[str, ...]] = ("xs",)

    xs: tuple[str, ...]

    def infer(self, *xs: TensorType) -> TensorType:
        ranges = [over_channels(x, x.shape[-1]) for x in xs]
        lo, hi = (np.concatenate([r[end] for r in ranges]) for end in (0, 1))
        shape = (*xs[0].shape[:-1], sum(x.shape[-1] for x in xs))
        return TensorType(shape, common_type(x.element for x in xs), lo, hi)

    def verify(self, *xs: TensorType) -> None:
        if len({x.shape[:-1] for x in xs}) != 1:
            raise VerifyError(f"'{self.name}': {', '.join(str(x.shape) for x in xs)} differ in more than channels")

    def evaluate(self, *xs: Ints) -> Ints:
        return np.concatenate(xs, axis=-1)


@dataclass(frozen=True, eq=False)
class Selection(Node):
    """Every ``step``-th element from ``start`` to before ``stop``, one of each for each axis; steps are positive."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        shape = tuple(len(range(*part)) for part in zip(self.start, self.stop, self.step, strict=True))
        if x.lo.size == 1:
            return TensorType(shape, x.element, x.lo, x.hi)
        lo, hi = over_channels(x, x.shape[-1])
        channels = slice(self.start[-1], self.stop[-1], self.step[-1])
        return TensorType(shape, x.element, lo[channels], hi[channels])

    def verify(self, x: TensorType) -> None:
        parts = list(zip(self.start, self.stop, self.step, x.shape, strict=False))
        if len(self.start) != len(x.shape) or any(not 0 <= a < b <= size or c < 1 for a, b, c, size in parts):
            raise VerifyError(f"'{self.name}': it cannot take {self.start} to {self.stop} of {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        parts = (slice(*part) for part in zip(self.start, self.stop, self.step, strict=True))
        return x[(slice(None), *parts)]


@dataclass(frozen=True, eq=False)
class Padding(Node):
    """``value`` around (height, width, channels): so many rows and columns before and behind."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    before: tuple[int, int]
    after: tuple[int, int]
    value: int

    def infer(self, x: TensorType) -> TensorType:
        height, width = (b + s + a for b, s, a in zip(self.before, x.shape[:2], self.after, strict=True))
        element = padded_type(x.element, self.window, self.value)
        lo, hi = np.minimum(x.lo, self.value), np.maximum(x.hi, self.value)
        return TensorType((height, width, x.shape[-1]), element, lo, hi)

    @property
    def window(self) -> Window:
        """It is a window of one tap, over a padded input."""
        return Window((1, 1), (1, 1), (1, 1), self.before, self.after)

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3 or min(*self.before, *self.after) < 0:
            raise VerifyError(f"'{self.name}': {self.before} before and {self.after} behind {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return self.window.padded(x, self.value)


@dataclass(frozen=True, eq=False)
class Repeat(Node):
    """Every pixel of (height, width, channels) so many times in each direction."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    factors: tuple[int, int]

    def infer(self, x: TensorType) -> TensorType:
        (rows, columns), (height, width, channels) = self.factors, x.shape
        return TensorType((height * rows, width * columns, channels), x.element, x.lo, x.hi)

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3 or min(self.factors) < 1:
            raise VerifyError(f"'{self.name}': {self.factors} times {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return x.repeat(self.factors[0], axis=1).repeat(self.factors[1], axis=2)


@dataclass(frozen=True, eq=False)
class PixelShuffle(Node):
    """Channels become blocks of pixels.

    Attributes:
        x: (height, width, block * block * channels).
        block: The size of a block.
        depth_last: Whether channel ``(row * block + column) * channels + c`` goes to pixel (row, column) of the
            block; else channel ``(c * block + row) * block + column`` does.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    block: int
    depth_last: bool

    def infer(self, x: TensorType) -> TensorType:
        height, width, depth = x.shape
        shape = (height * self.block, width * self.block, depth // self.block**2)
        if x.lo.size == 1:
            return TensorType(shape, x.element, x.lo, x.hi)
        # each channel of the result comes from block * block channels
        split = (-1, shape[-1]) if self.depth_last else (shape[-1], -1)
        axis = 0 if self.depth_last else 1
        lo, hi = over_channels(x, depth)
        return TensorType(shape, x.element, lo.reshape(split).min(axis), hi.reshape(split).max(axis))

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3 or x.shape[-1] % self.block**2:
            raise VerifyError(f"'{self.name}': blocks of {self.block} x {self.block} of {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return depth_to_space(x, self.block, depth_last=self.depth_last)


def _check_alike(name: str, xs: tuple[TensorType, ...]) -> None:
    if len({x.shape for x in xs}) != 1:
        raise VerifyError(f"'{name}': {', '.join(str(x.shape) for x in xs)} are not alike")


@dataclass(frozen=True, eq=False)
class Step(Node):
    """One monotone step function for each channel: ``start + stride * (number of thresholds <= x)``.

    It is the exact meaning of everything that stands between an accumulator and the next quantiser. A plan
    realises it in the cheapest form that is proved equal (``flow.ir.step_forms``).

    Attributes:
        x: The tensor it reads.
        thresholds: (channels, boundaries), non-decreasing along a row; channels is 1 where all are alike.
            Unused places at the end of a row hold ``NEVER``.
        start: (channels,): the value below the first threshold.
        stride: (channels,): what each threshold adds; +1 or -1, and +2 or -2 between bipolar values.
        lo: (channels,): the least input for which the function is known.
        hi: (channels,): the greatest.
        element: The type of the result.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    thresholds: Ints
    start: Ints
    stride: Ints
    lo: Ints
    hi: Ints
    element: ElementType

    @property
    def channels(self) -> int:
        return int(self.thresholds.shape[0])

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which thresholds lie inside the interval: those at which the value really changes."""
        within: NDArray[np.bool_] = (self.thresholds > self.lo[:, None]) & (self.thresholds <= self.hi[:, None])
        return within

    def ends(self) -> tuple[Ints, Ints]:
        """The value of each channel at its least and at its greatest input."""
        at_lo = self.start + self.stride * (self.thresholds <= self.lo[:, None]).sum(1)
        at_hi = self.start + self.stride * (self.thresholds <= self.hi[:, None]).sum(1)
        return at_lo, at_hi

    def infer(self, x: TensorType) -> TensorType:
        at_lo, at_hi = self.ends()
        return TensorType(x.shape, self.element, np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi))

    def verify(self, x: TensorType) -> None:
        if x.size % self.channels or (self.channels > 1 and x.shape[-1] != self.channels != x.size):
            raise VerifyError(f"'{self.name}': {self.channels} channels for an input of shape {x.shape}")
        if not bool((np.diff(self.thresholds, axis=1) >= 0).all()):
            raise VerifyError(f"'{self.name}': thresholds are not in order")
        unit = 2 if isinstance(self.element, Bipolar) else 1
        if not bool((np.abs(self.stride) == unit).all()):
            raise VerifyError(f"'{self.name}': strides must be {unit} or -{unit} for {self.element}")
        lo, hi = over_channels(x, self.channels)
        known = bool((self.lo <= lo).all() and (self.hi >= hi).all())
        if not known:
            raise VerifyError(f"'{self.name}': its input leaves the interval for which it is known")
        at_lo, at_hi = self.ends()
        low, high = int(min(at_lo.min(), at_hi.min())), int(max(at_lo.max(), at_hi.max()))
        if low < self.element.min or high > self.element.max:
            raise VerifyError(f"'{self.name}': values in [{low}, {high}] do not fit {self.element}")

    def evaluate(self, x: Ints) -> Ints:
        if self.channels == 1:
            rank: Ints = np.searchsorted(self.thresholds[0], x, side="right").astype(np.int64)
            uniform: Ints = self.start[0] + self.stride[0] * rank
            return uniform
        rows = x.reshape(-1, self.channels)
        count = np.empty(rows.shape, np.int64)
        for channel in range(self.channels):
            count[:, channel] = np.searchsorted(self.thresholds[channel], rows[:, channel], side="right")
        return (self.start + self.stride * count).reshape(x.shape)


@dataclass(frozen=True, eq=False)
class Lookup(Node):
    """One function for each channel that rises and falls: ``values[number of thresholds <= x]``.

    Attributes:
        x: The tensor it reads.
        thresholds: (channels, boundaries), non-decreasing along a row; channels is 1 where all are alike.
            Unused places at the end of a row hold ``NEVER``.
        values: (channels, boundaries + 1): between the thresholds. Behind unused places they repeat the last.
        lo: (channels,): the least input for which the function is known.
        hi: (channels,): the greatest.
        element: The type of the result.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    thresholds: Ints
    values: Ints
    lo: Ints
    hi: Ints
    element: ElementType

    @property
    def channels(self) -> int:
        return int(self.thresholds.shape[0])

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which thresholds lie inside the interval."""
        within: NDArray[np.bool_] = (self.thresholds > self.lo[:, None]) & (self.thresholds <= self.hi[:, None])
        return within

    def infer(self, x: TensorType) -> TensorType:
        reached = np.concatenate([np.ones((self.channels, 1), np.bool_), self.inside], axis=1)
        first = self.values[:, :1]
        known = np.where(reached, self.values, first)
        return TensorType(x.shape, self.element, known.min(1), known.max(1))

    def verify(self, x: TensorType) -> None:
        if x.size % self.channels or (self.channels > 1 and x.shape[-1] != self.channels != x.size):
            raise VerifyError(f"'{self.name}': {self.channels} channels for an input of shape {x.shape}")
        if self.values.shape != (self.channels, self.thresholds.shape[1] + 1):
            raise VerifyError(f"'{self.name}': values {self.values.shape} for thresholds {self.thresholds.shape}")
        if not bool((np.diff(self.thresholds, axis=1) >= 0).all()):
            raise VerifyError(f"'{self.name}': thresholds are not in order")
        lo, hi = over_channels(x, self.channels)
        if not bool((self.lo <= lo).all() and (self.hi >= hi).all()):
            raise VerifyError(f"'{self.name}': its input leaves the interval for which it is known")
        low, high = int(self.values.min()), int(self.values.max())
        if low < self.element.min or high > self.element.max:
            raise VerifyError(f"'{self.name}': values in [{low}, {high}] do not fit {self.element}")

    def evaluate(self, x: Ints) -> Ints:
        rows = x.reshape(-1, self.channels)
        found = np.empty(rows.shape, np.int64)
        for channel in range(self.channels):
            count = np.searchsorted(self.thresholds[channel], rows[:, channel], side="right")
            found[:, channel] = self.values[channel][count]
        return found.reshape(x.shape)


NEVER = 1 << (MAX_BITS + 2)
"""A threshold that no input reaches."""


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """The same elements in the same order, in another shape: no hardware."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    shape: Shape

    def infer(self, x: TensorType) -> TensorType:
        channels = x.lo.size
        if channels > 1 and self.shape and self.shape[-1] != channels:
            repeated = (x.size // channels,)
            whole = np.tile(x.lo, repeated), np.tile(x.hi, repeated)
            alike = (self.shape[-1] == x.size,)
            if not alike[0]:
                whole = np.array([x.lo.min()]), np.array([x.hi.max()])
            return TensorType(self.shape, x.element, *whole)
        return TensorType(self.shape, x.element, x.lo, x.hi)

    def verify(self, x: TensorType) -> None:
        if math.prod(self.shape) != x.size:
            raise VerifyError(f"'{self.name}': {x.shape} cannot become {self.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return x.reshape(x.shape[0], *self.shape)


Product: TypeAlias = Dense | Convolution
DataflowOp: TypeAlias = (
    Source
    | Dense
    | Convolution
    | Pooling
    | Sum
    | Gate
    | Concatenation
    | Selection
    | Padding
    | Repeat
    | PixelShuffle
    | Step
    | Lookup
    | Flatten
)
DataflowGraph: TypeAlias = Graph[DataflowOp]
DATAFLOW_OPS: tuple[type[DataflowOp], ...] = (
    Source,
    Dense,
    Convolution,
    Pooling,
    Sum,
    Gate,
    Concatenation,
    Selection,
    Padding,
    Repeat,
    PixelShuffle,
    Step,
    Lookup,
    Flatten,
)


def product_before(step: Step, graph: DataflowGraph) -> Product | None:
    """The product that a step reads, channel by channel, if nothing else sees its sums; else None."""
    product = graph[step.x]
    if not isinstance(product, Dense | Convolution) or product.name in graph.outputs:
        return None
    if graph.users[product.name] != (step,):
        return None
    return product if step.channels == product.weight.shape[-1] else None


def infer_types(graph: DataflowGraph) -> dict[str, TensorType]:
    """The type and the interval of every tensor."""
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        types[node.name] = node.infer(*(types[name] for name in node.inputs))
    return types


def verify_dataflow(graph: DataflowGraph) -> None:
    """The rules of the dataflow language; every violation is listed."""
    graph.check_wiring()
    problems: list[str] = []
    types: dict[str, TensorType] = {}
    for node in graph.nodes:
        try:
            operands = [types[name] for name in node.inputs]
            node.verify(*operands)
            types[node.name] = node.infer(*operands)
        except VerifyError as error:
            problems.append(str(error))
            break  # what follows would only repeat it
        element = types[node.name].element
        if element.bits > MAX_BITS:
            problems.append(f"'{node.name}': {element} is wider than {MAX_BITS} bits")
    if problems:
        raise VerifyError("\n".join(problems))


def execute(graph: DataflowGraph, feeds: dict[str, Ints], *, keep: bool = False) -> dict[str, Ints]:
    """Every output (with ``keep`` every tensor) for a batch of integers, (frames, *shape)."""
    values: dict[str, Ints] = {}
    for node in graph.nodes:
        if isinstance(node, Source):
            values[node.name] = feeds[node.name]
        else:
            values[node.name] = node.evaluate(*(values[name] for name in node.inputs))
    return values if keep else {name: values[name] for name in graph.outputs}
