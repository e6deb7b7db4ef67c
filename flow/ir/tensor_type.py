# SPDX-License-Identifier: Apache-2.0
"""What is known of a tensor of the dataflow language, and arithmetic on intervals."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from flow.errors import VerifyError
from flow.ir.types import Bipolar, ElementType, Ints, IntType
from flow.ir.window import Window

Shape: TypeAlias = tuple[int, ...]


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


def over_channels(x: TensorType, channels: int) -> tuple[Ints, Ints]:
    """The interval of each of ``channels`` channels, where ``x`` has one for all, for each channel, or for each
    element; element ``i`` is in channel ``i % channels``.
    """
    if x.lo.size % channels == 0:
        return x.lo.reshape(-1, channels).min(0), x.hi.reshape(-1, channels).max(0)
    repeats = channels // x.lo.size
    return np.tile(x.lo, repeats), np.tile(x.hi, repeats)


def padded_type(element: ElementType, window: Window, pad: int) -> ElementType:
    """The type that holds the values and the padding."""
    if not window.pads or (element.min <= pad <= element.max and not (isinstance(element, Bipolar) and pad == 0)):
        return element
    return IntType.holding(min(element.min, pad), max(element.max, pad))


def interval_products(weight: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
    """The least and the greatest product of each weight with a number from its interval."""
    at_lo, at_hi = weight * lo, weight * hi
    return np.minimum(at_lo, at_hi), np.maximum(at_lo, at_hi)


def partial_sums(low: Ints, high: Ints) -> tuple[int, int]:
    """The least and the greatest sum of some of the terms along the first axis, given the bounds of each."""
    return int(np.minimum(low, 0).sum(0).min()), int(np.maximum(high, 0).sum(0).max())


def check_window(name: str, window: Window, x: TensorType) -> None:
    """VerifyError where the window does not fit its input."""
    try:
        window.outputs(x.shape[:-1])
    except ValueError as error:
        raise VerifyError(f"'{name}': {error}") from error


def check_accumulator(name: str, acc: IntType, reached: tuple[int, int]) -> None:
    """VerifyError where sums leave the accumulator."""
    lo, hi = reached
    if lo < acc.min or hi > acc.max:
        raise VerifyError(
            f"'{name}': accumulator {acc} overflows: sums reach [{lo}, {hi}], which needs {IntType.holding(lo, hi)}"
        )
