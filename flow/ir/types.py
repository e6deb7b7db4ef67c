# SPDX-License-Identifier: Apache-2.0
"""Integer types of the dataflow language: arbitrary widths, and the one-bit type that holds -1 and +1."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Reals: TypeAlias = NDArray[np.float64]

MAX_BITS = 48
"""The widest integer that the dataflow language holds: sums of products stay exact in int64."""


@dataclass(frozen=True, slots=True)
class IntType:
    """A two's-complement integer; ``IntType(4, signed=False)`` prints as ``u4``."""

    bits: int
    signed: bool

    def __str__(self) -> str:
        return f"{'i' if self.signed else 'u'}{self.bits}"

    @property
    def min(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @classmethod
    def holding(cls, lo: int, hi: int) -> "IntType":
        """The narrowest type that holds every integer from ``lo`` to ``hi``."""
        bits = max(hi.bit_length() if hi >= 0 else (~hi).bit_length(), (~lo).bit_length() if lo < 0 else 1)
        return cls(bits + (lo < 0), signed=lo < 0)


@dataclass(frozen=True, slots=True)
class Bipolar:
    """The numbers -1 and +1, stored in one bit (0 is -1); prints as ``b1``."""

    def __str__(self) -> str:
        return "b1"

    @property
    def bits(self) -> int:
        return 1

    @property
    def min(self) -> int:
        return -1

    @property
    def max(self) -> int:
        return 1


ElementType: TypeAlias = IntType | Bipolar


def parse_type(text: str) -> ElementType:
    """The type that prints as ``text``; ValueError where there is none."""
    if text == "b1":
        return Bipolar()
    match = re.fullmatch(r"([iu])([1-9]\d?)", text)
    if match is None:
        raise ValueError(f"not an integer type: {text!r}")
    return IntType(int(match[2]), signed=match[1] == "i")


def type_of_values(values: Ints) -> ElementType:
    """The type at which constants are stored: bipolar where all are -1 or +1, else the narrowest integer."""
    if values.size and bool((np.abs(values) == 1).all()) and bool((values < 0).any()):
        return Bipolar()
    return IntType.holding(int(values.min(initial=0)), int(values.max(initial=0)))


def common_type(elements: Iterable[ElementType]) -> ElementType:
    """The narrowest type that holds the values of all of them."""
    distinct = set(elements)
    if len(distinct) == 1:
        return distinct.pop()
    return IntType.holding(min(e.min for e in distinct), max(e.max for e in distinct))


def freeze(array: NDArray[np.generic]) -> None:
    """Makes an array read-only: a frozen dataclass does not reach into it."""
    array.setflags(write=False)
