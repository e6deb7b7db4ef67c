# SPDX-License-Identifier: Apache-2.0
"""How the numbers of the user arrive at the hardware: ``u8``, ``i4``, ``b1``, ``u8/255``, ``fixed<16,6>``."""

import re
from dataclasses import dataclass
from fractions import Fraction

from flow.errors import OptionError
from flow.ir.types import ElementType, IntType, parse_type


@dataclass(frozen=True, slots=True)
class InputType:
    """An integer type and what its unit is worth: the real input is ``scale * integer``."""

    element: ElementType
    scale: Fraction

    def __str__(self) -> str:
        return str(self.element) if self.scale == 1 else f"{self.element} * {self.scale}"


def parse_input_type(text: str) -> InputType:
    """The input type that a user wrote.

    ``u8``, ``i4`` and ``b1`` (-1 and +1) are integers; ``u8/255`` and ``u8*0.25`` give their unit a value;
    ``fixed<16,6>`` and ``ufixed<8,0>`` are the fixed-point types of HLS: width and integer bits.

    Raises:
        OptionError: It is none of these.
    """
    fixed = re.fullmatch(r"(?:ap_)?(u?)fixed<\s*(\d+)\s*,\s*(-?\d+)\s*>", text.strip())
    plain = re.fullmatch(r"([iub]\d+)(?:\s*([*/])\s*(\d+(?:\.\d+)?))?", text.strip())
    try:
        if fixed:
            bits, integer = int(fixed[2]), int(fixed[3])
            if 1 <= bits <= 32 and abs(integer) <= 64:
                return InputType(IntType(bits, signed=not fixed[1]), Fraction(2) ** (integer - bits))
        if plain:
            scale = Fraction(plain[3]) if plain[3] else Fraction(1)
            element = parse_type(plain[1])
            if element.bits <= 32 and scale > 0:
                return InputType(element, 1 / scale if plain[2] == "/" else scale)
    except ValueError:
        pass
    raise OptionError(
        f"'{text}' is not an input type",
        "use an integer (u8, i4, b1), one with a scale (u8/255, i8*0.5), or fixed<width,integer bits>; 1 to 32 bits",
    )
