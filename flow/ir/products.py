# SPDX-License-Identifier: Apache-2.0
"""Sums of products: dense layers, convolutions, and pools, which are sums or maxima over the same windows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from flow.errors import VerifyError
from flow.ir.graph import Node
from flow.ir.sliding import Numbers, convolved, over_taps
from flow.ir.tensor_type import (
    TensorType,
    check_accumulator,
    check_window,
    interval_products,
    over_channels,
    padded_type,
    partial_sums,
)
from flow.ir.types import ElementType, Ints, IntType, type_of_values
from flow.ir.window import Window

_FLOAT_EXACT = 2**24
_DOUBLE_EXACT = 2**53


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

    @cached_property
    def size(self) -> int:
        """The greatest sum of the magnitudes of an output's weights: so much inputs of -1 and +1 can add up to."""
        return int(np.abs(self.matrix).sum(0).max(initial=0))

    def sum_range(self, x: TensorType) -> tuple[Ints, Ints]:
        """The least and greatest total of each output over all inputs of type ``x``."""
        low, high = _term_ranges(self.weight, *over_channels(x, self.weight.shape[0]))
        return low.sum(0), high.sum(0)

    def partial_range(self, x: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum that any input can reach, in any order of addition."""
        low, high = _term_ranges(self.weight, *over_channels(x, self.weight.shape[0]))
        return partial_sums(low, high)

    def infer(self, x: TensorType) -> TensorType:
        lo, hi = self.sum_range(x)
        return TensorType((*x.shape[:-1], self.weight.shape[1]), self.acc, lo, hi)

    def verify(self, x: TensorType) -> None:
        if not x.shape or x.shape[-1] != self.weight.shape[0]:
            raise VerifyError(f"'{self.name}': {self.weight.shape[0]} rows of weights for an input of shape {x.shape}")
        check_accumulator(self.name, self.acc, self.partial_range(x))

    def evaluate(self, x: Ints) -> Ints:
        def product(x: Numbers, weight: Numbers) -> Numbers:
            return np.asarray(x.reshape(-1, x.shape[-1]) @ weight)  # one product, not one for each frame

        sums = _exactly(product, x, self.weight, _greatest(x) * self.size)
        return sums.reshape(*x.shape[:-1], self.weight.shape[1])


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

    @cached_property
    def size(self) -> int:
        """The greatest sum of the magnitudes of an output's weights: so much inputs of -1 and +1 can add up to."""
        return int(np.abs(self.matrix).sum(0).max(initial=0))

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
        low, high = interval_products(self.weight, by_output[0], by_output[1])
        return low.reshape(-1, self.outputs), high.reshape(-1, self.outputs)

    def sum_range(self, x: TensorType) -> tuple[Ints, Ints]:
        """The least and greatest total of each output over all inputs of type ``x``."""
        low, high = self.terms(x)
        return low.sum(0), high.sum(0)

    def partial_range(self, x: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum that any input can reach, in any order of addition."""
        return partial_sums(*self.terms(x))

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
        check_window(self.name, self.window, x)
        check_accumulator(self.name, self.acc, self.partial_range(x))

    def evaluate(self, x: Ints) -> Ints:
        def product(x: Numbers, weight: Numbers) -> Numbers:
            return convolved(self.window.padded(x, self.pad), weight, self.window, self.groups)

        return _exactly(product, x, self.weight, max(_greatest(x), abs(self.pad)) * self.size)


def _exactly(product: Callable[[Numbers, Numbers], Numbers], x: Ints, weight: Ints, bound: int) -> Ints:
    """A sum of products in the fastest arithmetic in which no partial sum, up to ``bound``, is rounded."""
    if bound < _FLOAT_EXACT:  # BLAS is far faster than int64
        return product(x.astype(np.float32), weight.astype(np.float32)).astype(np.int64)
    if bound < _DOUBLE_EXACT:
        return product(x.astype(np.float64), weight.astype(np.float64)).astype(np.int64)
    return product(x, weight)


def _greatest(x: Ints) -> int:
    """The greatest magnitude."""
    return max(int(x.max(initial=0)), -int(x.min(initial=0)))


def _term_ranges(weight: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    return interval_products(weight, lo[:, None], hi[:, None])


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
        check_window(self.name, self.window, x)
        if self.kind == "max" and self.window.pads and self.pad > int(x.lo.min()):
            raise VerifyError(f"'{self.name}': the padding {self.pad} may exceed an input, which reach {x.lo.min()}")
        if any(
            b >= s or a >= s for b, a, s in zip(self.window.before, self.window.after, self.window.span, strict=True)
        ):
            raise VerifyError(f"'{self.name}': a window holds nothing but padding")

    def evaluate(self, x: Ints) -> Ints:
        return over_taps(self.window.padded(x, self.pad), self.window, np.maximum if self.kind == "max" else np.add)
