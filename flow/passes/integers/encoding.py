# SPDX-License-Identifier: Apache-2.0
"""What the integers of a tensor stand for, as exact rationals."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from flow.ir.reference import Levels
from flow.ir.types import Ints


@dataclass(frozen=True, slots=True)
class Encoding:
    """``scale * integer + offset``; one of each for the tensor, or one for each channel (along the last axis)."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]

    @classmethod
    def of(cls, scale: Iterable[Fraction], offset: Iterable[Fraction]) -> "Encoding":
        """One number where all channels have the same."""
        return cls(shortest(scale), shortest(offset))

    @property
    def uniform(self) -> bool:
        """Whether all channels are alike."""
        return len(self.scale) == 1 and len(self.offset) == 1

    def levels(self, integers: Ints) -> Levels:
        """The integers with what they stand for."""
        return Levels(integers, self.scale, self.offset)

    def channels(self, count: int) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]]:
        """Scale and offset of each of ``count`` channels."""
        return (
            self.scale * count if len(self.scale) == 1 else self.scale,
            self.offset * count if len(self.offset) == 1 else self.offset,
        )

    def level_of(self, value: Fraction) -> int | None:
        """The integer that stands for ``value`` in every channel; None where there is none."""
        count = max(len(self.scale), len(self.offset))
        scales, offsets = self.channels(count)
        found = {(value - o) / s for s, o in zip(scales, offsets, strict=True)}
        level = found.pop()
        return int(level) if not found and level.denominator == 1 else None


def shortest(values: Iterable[Fraction]) -> tuple[Fraction, ...]:
    """One number where all are the same."""
    found = tuple(values)
    return found[:1] if len(set(found)) == 1 else found


def common_step(values: Iterable[Fraction]) -> Fraction | None:
    """The greatest rational of which all are multiples; None where there are none."""
    nonzero = [value for value in values if value]
    if not nonzero:
        return None
    bottom = lcm(*(v.denominator for v in nonzero))
    return Fraction(gcd(*(abs(int(v * bottom)) for v in nonzero)), bottom)
