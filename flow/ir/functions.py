# SPDX-License-Identifier: Apache-2.0
"""Functions of one integer: steps, which never turn, and lookups, which may."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flow.errors import VerifyError
from flow.ir.graph import Node
from flow.ir.tensor_type import TensorType, over_channels
from flow.ir.types import MAX_BITS, Bipolar, ElementType, Ints

NEVER = 1 << (MAX_BITS + 2)
"""A threshold that no input reaches."""
_BLOCK = 1 << 15  # elements at once: they stay in a cache while they are compared
_COMPARED = 32  # so many thresholds are faster compared one by one than searched


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
        return _inside(self)

    def ends(self) -> tuple[Ints, Ints]:
        """The value of each channel at its least and at its greatest input."""
        at_lo = self.start + self.stride * (self.thresholds <= self.lo[:, None]).sum(1)
        at_hi = self.start + self.stride * (self.thresholds <= self.hi[:, None]).sum(1)
        return at_lo, at_hi

    def infer(self, x: TensorType) -> TensorType:
        at_lo, at_hi = self.ends()
        return TensorType(x.shape, self.element, np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi))

    def verify(self, x: TensorType) -> None:
        _check_rows(self, x)
        unit = 2 if isinstance(self.element, Bipolar) else 1
        if not bool((np.abs(self.stride) == unit).all()):
            raise VerifyError(f"'{self.name}': strides must be {unit} or -{unit} for {self.element}")
        _check_reach(self, x, np.concatenate(self.ends()))

    def evaluate(self, x: Ints) -> Ints:
        return _applied(self, x, lambda count: self.start + self.stride * count)


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
        return _inside(self)

    def infer(self, x: TensorType) -> TensorType:
        reached = np.concatenate([np.ones((self.channels, 1), np.bool_), self.inside], axis=1)
        first = self.values[:, :1]
        known = np.where(reached, self.values, first)
        return TensorType(x.shape, self.element, known.min(1), known.max(1))

    def verify(self, x: TensorType) -> None:
        _check_rows(self, x)
        if self.values.shape != (self.channels, self.thresholds.shape[1] + 1):
            raise VerifyError(f"'{self.name}': values {self.values.shape} for thresholds {self.thresholds.shape}")
        _check_reach(self, x, self.values)

    def evaluate(self, x: Ints) -> Ints:
        return _applied(self, x, lambda count: np.take_along_axis(self.values.T, count, axis=0))


def _applied(function: Step | Lookup, x: Ints, value: Callable[["NDArray[np.integer]"], Ints]) -> Ints:
    """``value`` of the number of thresholds that each element reaches, some rows of channels at a time."""
    rows = x.reshape(-1, function.channels)
    found = np.empty(rows.shape, np.int64)
    step = max(1, _BLOCK // function.channels)
    for first in range(0, len(rows), step):
        found[first : first + step] = value(_reached(function.thresholds, rows[first : first + step]))
    return found.reshape(x.shape)


def _reached(thresholds: Ints, rows: Ints) -> "NDArray[np.integer]":
    """How many thresholds of its channel each element reaches; ``thresholds`` is (channels, boundaries)."""
    channels, boundaries = thresholds.shape
    if boundaries > _COMPARED:
        found = np.empty(rows.shape, np.int64)
        for channel in range(channels):
            found[:, channel] = np.searchsorted(thresholds[channel], rows[:, channel], side="right")
        return found
    count = np.zeros(rows.shape, np.uint8)
    for threshold in thresholds.T:
        count += rows >= threshold
    return count


def _inside(function: Step | Lookup) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = (function.thresholds > function.lo[:, None]) & (
        function.thresholds <= function.hi[:, None]
    )
    return within


def _check_rows(function: Step | Lookup, x: TensorType) -> None:
    """VerifyError where there is not one row of thresholds in order for each channel."""
    channels = function.channels
    if x.size % channels or (channels > 1 and x.shape[-1] != channels != x.size):
        raise VerifyError(f"'{function.name}': {channels} channels for an input of shape {x.shape}")
    if not bool((np.diff(function.thresholds, axis=1) >= 0).all()):
        raise VerifyError(f"'{function.name}': thresholds are not in order")


def _check_reach(function: Step | Lookup, x: TensorType, values: Ints) -> None:
    """VerifyError where the input leaves the known interval, or the values their type."""
    lo, hi = over_channels(x, function.channels)
    if not bool((function.lo <= lo).all() and (function.hi >= hi).all()):
        raise VerifyError(f"'{function.name}': its input leaves the interval for which it is known")
    low, high = int(values.min()), int(values.max())
    if low < function.element.min or high > function.element.max:
        raise VerifyError(f"'{function.name}': values in [{low}, {high}] do not fit {function.element}")
