# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from flow.ir.types import Bipolar, IntType, freeze, parse_type, type_of_values


@pytest.mark.parametrize(
    ("text", "least", "greatest"),
    [("u1", 0, 1), ("i1", -1, 0), ("u8", 0, 255), ("i8", -128, 127), ("b1", -1, 1), ("i48", -(2**47), 2**47 - 1)],
)
def test_extremes_and_names(text, least, greatest):
    kind = parse_type(text)
    assert (kind.min, kind.max, str(kind), kind.bits) == (least, greatest, text, int(text[1:]))


def test_bipolar_is_no_integer_type():
    assert parse_type("b1") == Bipolar()
    assert parse_type("b1") != IntType(1, signed=True)


@pytest.mark.parametrize("text", ["", "u", "8", "u0", "i0", "u08", "b2", "b0", "u100", "U8", " u8", "u8 ", "u-1", "f4"])
def test_what_is_no_type(text):
    with pytest.raises(ValueError, match=r"^not an integer type: "):
        parse_type(text)


def test_the_narrowest_type_that_holds():
    for lo, hi in itertools.product(range(-20, 21), repeat=2):
        if lo > hi:
            continue
        kind = IntType.holding(lo, hi)
        assert kind.signed == (lo < 0)
        assert kind.min <= lo <= hi <= kind.max
        assert kind.bits >= 1
        narrower = IntType(kind.bits - 1, kind.signed)
        assert kind.bits == 1 or lo < narrower.min or hi > narrower.max


def test_holding_at_powers_of_two():
    for bits in range(1, 48):
        power = 1 << bits
        assert IntType.holding(0, power - 1) == IntType(bits, signed=False)
        assert IntType.holding(0, power) == IntType(bits + 1, signed=False)
        assert IntType.holding(-power, power - 1) == IntType(bits + 1, signed=True)
        assert IntType.holding(-power, power) == IntType(bits + 2, signed=True)
        assert IntType.holding(-power - 1, 0) == IntType(bits + 2, signed=True)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([-1, 1], "b1"),
        ([-1, -1], "b1"),
        ([1, 1], "u1"),
        ([0, 1], "u1"),
        ([-1, 0], "i1"),
        ([-1, 0, 1], "i2"),
        ([], "u1"),
        ([3, 5], "u3"),
        ([-3], "i3"),
        ([-4, 3], "i3"),
        ([-2, 2], "i3"),
    ],
)
def test_the_type_of_constants(values, text):
    assert str(type_of_values(np.array(values, np.int64))) == text


def test_frozen_arrays():
    array = np.zeros(3)
    freeze(array)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
