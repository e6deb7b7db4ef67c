# SPDX-License-Identifier: Apache-2.0
"""What memories, FIFOs and width converters take: geometry of the primitives, and measured overheads."""

from math import ceil, gcd
from typing import Literal, TypeAlias

from flow.plan.cost_coefficients import Coefficients, coefficients
from flow.plan.resources import Resources

RomMemory: TypeAlias = Literal["lut", "bram", "uram"]

_BRAM18_ASPECTS = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""Words and bits of a block RAM of 18 Kibit (UG473, UG573: simple dual port)."""
_NARROW = 2
"""The one and two bit shapes serve memories of that width only: for 45,000 words of 6 bits Vivado took 22
block RAMs (in two builds), where six columns of 16K x 1 would have been 18."""
_URAM_WORDS, _URAM_BITS = 4096, 72
_LUTRAM_WORDS = 64
_SHALLOW_WORDS = 32  # a LUT is two memories of this many words, on the same address
_LUTRAM_BITS = {_LUTRAM_WORDS: 3, _SHALLOW_WORDS: 6}
"""Bits of a word in four LUTs that are written and read on different addresses: RAM64M, RAM32M (UG474). An
UltraScale+ slice does with an eighth less (RAM64M8, RAM32M16: UG574), which is not counted."""
_FREE_MULTIPLEXER = 4  # the F7 and F8 multiplexers join four LUTs at no cost
_REGISTER_FIFO_WORDS = 2


def amount(lut: float = 0, ff: float = 0, *, dsp: int = 0, bram18: int = 0, uram: int = 0) -> Resources:
    """Whole numbers of estimates that are not: rounded up, after the noise of floating point is cut off."""
    return Resources(ceil(round(lut, 6)), ceil(round(ff, 6)), dsp, bram18, uram)


def rom(depth: int, width: int, memory: RomMemory, using: Coefficients | None = None) -> Resources:
    """A read-only memory with one port, registered.

    One word is no memory: it is a constant of the logic that reads it, and takes nothing.

    Args:
        depth: Words.
        width: Bits of a word.
        memory: What it is made of.
        using: Other coefficients than those that come with the program.
    """
    _at_least_one(depth=depth, width=width)
    if depth == 1:
        return Resources.zero()
    match memory:
        case "lut":
            c = using or coefficients()
            return amount(_rom_luts(depth, c) * width, c.rom_ff * width)
        case "bram":
            return amount(bram18=bram18(depth, width))
        case "uram":
            return amount(uram=ceil(depth / _URAM_WORDS) * ceil(width / _URAM_BITS))
        case _:
            raise ValueError(f"'{memory}' is no memory")


def bram18(depth: int, width: int) -> int:
    """Block RAMs of 18 Kibit for a memory: all in the one shape with which it takes the fewest."""
    return min(
        ceil(depth / words) * ceil(width / bits)
        for words, bits in _BRAM18_ASPECTS
        if bits > _NARROW or width <= _NARROW
    )


def small_rom(depth: int, width: int, using: Coefficients | None = None) -> Resources:
    """A ROM in LUTs or block RAM, whichever is cheaper at ``luts_per_bram18``."""
    return _cheaper(rom(depth, width, "lut", using), rom(depth, width, "bram", using), using)


def buffer(depth: int, width: int, using: Coefficients | None = None) -> Resources:
    """A memory with one port to write and one to read, in LUTs or block RAM, whichever is cheaper.

    One word is a register.
    """
    _at_least_one(depth=depth, width=width)
    if depth == 1:
        return amount(0, width)
    banks = ceil(depth / _LUTRAM_WORDS)
    words = _SHALLOW_WORDS if depth <= _SHALLOW_WORDS else _LUTRAM_WORDS
    distributed = amount(banks * _lutram_luts(width, _LUTRAM_BITS[words]) + width * ceil((banks - 1) / 3), width)
    return _cheaper(distributed, amount(0, width, bram18=bram18(depth, width)), using)


def fifo(depth: int, width: int, using: Coefficients | None = None) -> Resources:
    """A FIFO: registers for one or two words, then shift registers, then block RAM where that is cheaper.

    Args:
        depth: Words it can hold.
        width: Bits of a word.
        using: Other coefficients than those that come with the program.
    """
    _at_least_one(depth=depth, width=width)
    c = using or coefficients()
    if depth <= _REGISTER_FIFO_WORDS:
        return amount(
            c.fifo_register_control_lut + c.fifo_register_lut * width,
            c.fifo_register_control_ff + c.fifo_register_ff * width,
        )
    shift_registers = ceil(depth / c.srl_words) * width
    control = amount(c.fifo_control_lut + c.fifo_srl_lut * width, c.fifo_control_ff + c.fifo_srl_ff * width)
    return control + _cheaper(amount(shift_registers), amount(bram18=bram18(depth, width)), using)


def width_converter(in_lanes: int, out_lanes: int, lane_bits: int, using: Coefficients | None = None) -> Resources:
    """What stands between words of ``in_lanes`` and words of ``out_lanes`` values; nothing where they agree.

    Where one number divides the other it is a register of the wide word. Else it must hold a part of a word
    beside a whole one, and both place what comes and shift what is left.
    """
    _at_least_one(in_lanes=in_lanes, out_lanes=out_lanes, lane_bits=lane_bits)
    if in_lanes == out_lanes:
        return Resources.zero()
    c = using or coefficients()
    common = gcd(in_lanes, out_lanes)
    divides = common == min(in_lanes, out_lanes)
    held = max(in_lanes, out_lanes) if divides else in_lanes + out_lanes - common
    narrowing = c.narrowing_lut if in_lanes > out_lanes or not divides else 0
    widening = c.widening_lut if in_lanes < out_lanes or not divides else 0
    return amount(
        c.counter_lut + (narrowing + widening) * held * lane_bits,
        c.counter_ff + c.converter_ff * (held + min(in_lanes, out_lanes)) * lane_bits,
    )


def _lutram_luts(width: int, bits: int) -> int:
    """LUTs of one bank: four for each group of bits, and two where a single bit is left (RAM32X1D, RAM64X1D)."""
    groups, rest = divmod(width, bits)
    return 4 * groups + (0 if rest == 0 else 2 if rest == 1 else 4)


def _rom_luts(depth: int, c: Coefficients) -> float:
    """LUTs for each bit of width: the words, and what selects among more than the free multiplexers join."""
    if depth <= _SHALLOW_WORDS:
        return 0.5
    luts = ceil(depth / c.rom_bits_per_lut)
    return luts + ceil((ceil(luts / _FREE_MULTIPLEXER) - 1) / 3)


def _cheaper(luts: Resources, blocks: Resources, using: Coefficients | None) -> Resources:
    rate = (using or coefficients()).luts_per_bram18
    return luts if luts.lut + rate * luts.bram18 <= blocks.lut + rate * blocks.bram18 else blocks


def _at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1; found {value}")
