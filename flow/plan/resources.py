# SPDX-License-Identifier: Apache-2.0
"""Amounts of what an FPGA is made of: what a board offers, what a design asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Resources:
    """How many of each resource; whole numbers, so an estimator rounds before it gets here.

    Attributes:
        lut: Six-input look-up tables.
        ff: Flip-flops.
        dsp: DSP48 slices.
        bram18: Block RAMs of 18 Kibit; a RAMB36 counts as two.
        uram: UltraRAMs of 288 Kibit.
    """

    lut: int
    ff: int
    dsp: int
    bram18: int
    uram: int

    @classmethod
    def zero(cls) -> Self:
        """Nothing at all: where a sum starts."""
        return cls(lut=0, ff=0, dsp=0, bram18=0, uram=0)

    @classmethod
    def total(cls, parts: "Iterable[Resources]") -> Self:
        """What all parts take together."""
        rows = [part.amounts for part in parts]
        return cls(*map(sum, zip(*rows, strict=True))) if rows else cls.zero()

    @property
    def amounts(self) -> tuple[int, int, int, int, int]:
        """The amounts alone, in the order of ``items``."""
        return self.lut, self.ff, self.dsp, self.bram18, self.uram

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            lut=self.lut + other.lut,
            ff=self.ff + other.ff,
            dsp=self.dsp + other.dsp,
            bram18=self.bram18 + other.bram18,
            uram=self.uram + other.uram,
        )

    def scaled(self, factor: int) -> "Resources":
        """What ``factor`` copies take."""
        return Resources(
            lut=self.lut * factor,
            ff=self.ff * factor,
            dsp=self.dsp * factor,
            bram18=self.bram18 * factor,
            uram=self.uram * factor,
        )

    def over(self, budget: "Resources") -> "Resources":
        """What exceeds the budget."""
        return Resources(*(max(a - b, 0) for a, b in zip(self.amounts, budget.amounts, strict=True)))

    def fits(self, budget: "Resources") -> bool:
        """Whether no resource exceeds the budget; using all of it still fits."""
        return all(amount <= getattr(budget, name) for name, amount in self.items())

    def items(self) -> Iterator[tuple[str, int]]:
        """Each name with its amount, always in the order lut, ff, dsp, bram18, uram."""
        return zip(("lut", "ff", "dsp", "bram18", "uram"), self.amounts, strict=True)
