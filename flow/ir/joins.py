# SPDX-License-Identifier: Apache-2.0
"""Where tensors meet: sums, gates, channels side by side."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flow.errors import VerifyError
from flow.ir.graph import Node
from flow.ir.tensor_type import TensorType, check_accumulator, interval_products, over_channels, partial_sums
from flow.ir.types import Ints, IntType, common_type


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
            least, greatest = interval_products(factor, *over_channels(x, channels))
            low, high = low + least, high + greatest
        return low, high

    def partial_range(self, *xs: TensorType) -> tuple[int, int]:
        """The least and greatest partial sum, in any order of addition."""
        channels = max(x.shape[-1] for x in xs)
        terms = [
            interval_products(factor, *over_channels(x, channels)) for factor, x in zip(self.factors, xs, strict=True)
        ]
        return partial_sums(np.stack([low for low, _ in terms]), np.stack([high for _, high in terms]))

    def infer(self, *xs: TensorType) -> TensorType:
        return TensorType(xs[0].shape, self.acc, *self.ranges(*xs))

    def verify(self, *xs: TensorType) -> None:
        _check_alike(self.name, xs)
        if self.factors.shape[0] != len(xs) or self.factors.shape[1] not in (1, xs[0].shape[-1]):
            raise VerifyError(f"'{self.name}': factors {self.factors.shape} for {len(xs)} x {xs[0].shape}")
        check_accumulator(self.name, self.acc, self.partial_range(*xs))

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
        check_accumulator(self.name, self.acc, self.partial_range(x, gate))

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


def _check_alike(name: str, xs: tuple[TensorType, ...]) -> None:
    if len({x.shape for x in xs}) != 1:
        raise VerifyError(f"'{name}': {', '.join(str(x.shape) for x in xs)} are not alike")
