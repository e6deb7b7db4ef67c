# SPDX-License-Identifier: Apache-2.0
"""The rounding modes of QONNX's Quant, on float64 arrays and on exact rationals.

Source: qonnx 1.0.0, ``custom_op/general/intquant.py`` (``resolve_rounding_mode``) and its documentation.
"""

import math
from enum import Enum
from fractions import Fraction

import numpy as np

from flow.ir.types import Reals


class Rounding(Enum):
    """How a real number becomes an integer. Every mode is non-decreasing and leaves integers alone."""

    HALF_EVEN = "half_even"
    HALF_AWAY = "half_away"  # QONNX: HALF_UP
    HALF_TO_ZERO = "half_to_zero"  # QONNX: HALF_DOWN
    FLOOR = "floor"
    CEIL = "ceil"
    AWAY = "away"  # QONNX: UP
    TO_ZERO = "to_zero"  # QONNX: DOWN; Brevitas writes ROUND_TO_ZERO


QONNX_NAMES = {
    "ROUND": Rounding.HALF_EVEN,
    "HALF_EVEN": Rounding.HALF_EVEN,
    "HALF_UP": Rounding.HALF_AWAY,
    "HALF_DOWN": Rounding.HALF_TO_ZERO,
    "FLOOR": Rounding.FLOOR,
    "CEIL": Rounding.CEIL,
    "UP": Rounding.AWAY,
    "DOWN": Rounding.TO_ZERO,
    "ROUND_TO_ZERO": Rounding.TO_ZERO,
}

_NEAREST = {Rounding.HALF_EVEN, Rounding.HALF_AWAY, Rounding.HALF_TO_ZERO}


def round_array(x: Reals, mode: Rounding) -> Reals:
    """``x`` rounded element by element; exact for every float64 below 2**52 in magnitude."""
    match mode:
        case Rounding.HALF_EVEN:
            return np.rint(x)
        case Rounding.FLOOR:
            return np.floor(x)
        case Rounding.CEIL:
            return np.ceil(x)
        case Rounding.AWAY:
            return np.where(x < 0, np.floor(x), np.ceil(x))
        case Rounding.TO_ZERO:
            return np.trunc(x)
        case Rounding.HALF_AWAY | Rounding.HALF_TO_ZERO:
            # x + 0.5 would be rounded, and so would the fraction of a negative x: that of |x| is exact
            size = np.abs(x)
            whole = np.floor(size)
            fraction = size - whole
            up = (fraction > 0.5) | ((fraction == 0.5) & (mode is Rounding.HALF_AWAY))
            rounded: Reals = np.copysign(whole + up, x)
            return rounded


def round_exact(x: Fraction, mode: Rounding) -> int:
    """``x`` rounded, exactly."""
    floor = math.floor(x)
    fraction = x - floor
    if fraction == 0:
        return floor
    match mode:
        case Rounding.FLOOR:
            return floor
        case Rounding.CEIL:
            return floor + 1
        case Rounding.AWAY:
            return floor + (x > 0)
        case Rounding.TO_ZERO:
            return floor + (x < 0)
        case Rounding.HALF_EVEN | Rounding.HALF_AWAY | Rounding.HALF_TO_ZERO:
            half = Fraction(1, 2)
            if fraction != half:
                return floor + (fraction > half)
            if mode is Rounding.HALF_EVEN:
                return floor + floor % 2
            return floor + ((x > 0) == (mode is Rounding.HALF_AWAY))


def distance_to_boundary(x: Reals, mode: Rounding) -> Reals:
    """How far ``x`` is from the nearest point at which the rounded value changes (not counting clipping)."""
    point = np.floor(x) + 0.5 if mode in _NEAREST else np.rint(x)
    return np.abs(x - point)
