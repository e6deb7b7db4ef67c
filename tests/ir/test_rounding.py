# SPDX-License-Identifier: Apache-2.0
"""Every mode against its definition in words, on rationals."""

import math
from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.ir.rounding import QONNX_NAMES, Rounding, distance_to_boundary, round_array, round_exact

HALF = Fraction(1, 2)
NEAREST = {
    Rounding.HALF_EVEN: lambda low: low if low % 2 == 0 else low + 1,
    Rounding.HALF_AWAY: lambda low: low + 1 if low >= 0 else low,
    Rounding.HALF_TO_ZERO: lambda low: low if low >= 0 else low + 1,
}
DIRECTED = {
    Rounding.FLOOR: math.floor,
    Rounding.CEIL: math.ceil,
    Rounding.AWAY: lambda x: math.ceil(x) if x > 0 else math.floor(x),
    Rounding.TO_ZERO: math.trunc,
}


def defined(x, mode):
    """From the definition: the nearer integer, and at a tie the one of the mode."""
    if mode in DIRECTED:
        return DIRECTED[mode](x)
    candidates = sorted([math.floor(x), math.floor(x) + 1], key=lambda n: abs(x - n))
    if abs(x - candidates[0]) == abs(x - candidates[1]):
        return NEAREST[mode](math.floor(x))
    return candidates[0]


PLACES = [p for k in range(-6, 7) for t in (k, k + 0.5) for p in (t, np.nextafter(t, -9), np.nextafter(t, 9))]
NEAR_TIES = [0.49999999999999994, -0.49999999999999994, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 5e-324, -5e-324, 0.0, -0.0]
LARGE = [2.0**51 + 0.5, -(2.0**51) - 0.5, 2.0**52 - 0.5, 2.0**52 - 1.5, -(2.0**52) + 0.5, 4503599627370495.0]


@pytest.mark.parametrize("mode", list(Rounding))
def test_arrays_and_rationals_at_and_around_every_tie(mode):
    values = [float(v) for v in (*PLACES, *NEAR_TIES, *LARGE)]
    expected = [defined(Fraction(v), mode) for v in values]
    assert [round_exact(Fraction(v), mode) for v in values] == expected
    found = round_array(np.array(values), mode)
    assert found.dtype == np.float64
    assert found.astype(object).tolist() == expected


def test_the_greatest_number_above_minus_a_half():
    assert round_array(np.array([-0.49999999999999994]), Rounding.HALF_AWAY).tolist() == [0.0]


@pytest.mark.parametrize("mode", list(Rounding))
@settings(max_examples=150, deadline=None)
@given(x=st.fractions(-50, 50, max_denominator=12) | st.floats(-1e6, 1e6).map(Fraction))
def test_random_rationals(mode, x):
    assert round_exact(x, mode) == defined(x, mode)
    assert round_exact(Fraction(round_exact(x, mode)), mode) == round_exact(x, mode)


@pytest.mark.parametrize("mode", list(Rounding))
def test_non_decreasing(mode):
    values = np.sort(np.array([float(v) for v in (*PLACES, *NEAR_TIES)]))
    assert (np.diff(round_array(values, mode)) >= 0).all()


@pytest.mark.parametrize("name", sorted(QONNX_NAMES))
def test_the_names_of_qonnx_mean_what_the_oracle_says(name):
    for x in PLACES:
        # a range that clips nothing
        assert round_exact(Fraction(float(x)), QONNX_NAMES[name]) == oracle.quant_integer(
            Fraction(float(x)), 8, True, False, name
        )


@pytest.mark.parametrize("mode", list(Rounding))
def test_the_distance_to_the_nearest_change(mode):
    offset = 0.5 if mode in NEAREST else 0.0
    for x in (-2.75, -2.5, -2.0, -0.25, 0.0, 0.25, 0.5, 1.0, 1.125, 7.875):
        expected = min(abs(x - (k + offset)) for k in range(-5, 12))
        assert distance_to_boundary(np.array([x]), mode).tolist() == [expected]
