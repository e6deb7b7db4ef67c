# SPDX-License-Identifier: Apache-2.0
"""What the blocks beside the matrix-vector unit take: windows, pools, joins, moves, forks.

Measured are the greater of two values in a pool, and the counters and handshakes of a process that only moves or
compares, both on the kernels of one author. The rest is **unmeasured** in its place: the geometry of the memories
is that of the primitives, adders and products have the coefficients that were fitted to matrix-vector units.
"""

from flow.plan.cost import Multiplier, dsp_slices
from flow.plan.cost_coefficients import coefficients
from flow.plan.cost_memory import RomMemory, amount, buffer, rom, small_rom
from flow.plan.resources import Resources

_WINDOW_COUNTERS = 3  # nests of counters: where to write, where the window is, which tap


def window_unit(rows: int, row_words: int, word_bits: int) -> dict[str, Resources]:
    """A line buffer of so many rows of words, and its counters; unmeasured.

    Its nests of counters hold addresses, so each is taken to cost what the control of a matrix-vector unit does.
    """
    c = coefficients()
    counters = amount(c.control_lut, c.control_ff).scaled(_WINDOW_COUNTERS)
    return {"line_buffer": buffer(rows * row_words, word_bits), "window_control": counters + amount(0, word_bits)}


def depthwise(
    *,
    pe: int,
    depth: int,
    input_bits: int,
    weight_bits: int,
    acc_bits: int,
    memory: RomMemory,
    multiplier: Multiplier,
    dsp_kind: str,
) -> dict[str, Resources]:
    """One product a lane and cycle, summed in the lane; ``depth`` weights for each lane; unmeasured."""
    c = coefficients()
    return {
        "product": products(pe, input_bits, weight_bits, multiplier, dsp_kind),
        "accumulator": accumulators(pe, acc_bits),
        "weight_memory": rom(depth, weight_bits, memory).scaled(pe),
        "control": amount(c.control_lut, c.control_ff),
    }


def products(count: int, left_bits: int, right_bits: int, multiplier: Multiplier, dsp_kind: str) -> Resources:
    """So many products of two variables; unmeasured outside of a matrix-vector unit."""
    if multiplier == "dsp":
        return amount(dsp=count * dsp_slices(left_bits, right_bits, dsp_kind))
    c = coefficients()
    return amount(c.product_lut * count * left_bits * right_bits, c.pipeline_ff * count * (left_bits + right_bits))


def accumulators(count: int, bits: int) -> Resources:
    """So many sums that grow from cycle to cycle; unmeasured outside of a matrix-vector unit."""
    c = coefficients()
    return amount(c.accumulator_lut * count * bits, c.accumulator_ff * count * bits)


def adders(count: int, bits: int) -> Resources:
    """So many sums of two values, each in a register; unmeasured outside of a matrix-vector unit."""
    c = coefficients()
    return amount(c.adder_lut * count * bits, c.pipeline_ff * count * bits)


def maxima(count: int, bits: int) -> Resources:
    """So many choices of the greater of two values."""
    c = coefficients()
    return amount(c.maximum_lut * bits * count, c.maximum_ff * bits * count)


def control() -> Resources:
    """The counters and handshakes of one process."""
    c = coefficients()
    return amount(c.counter_lut, c.counter_ff)


def scaled_sum(lanes: int, operand_bits: list[int], factor_bits: list[int], acc_bits: int) -> Resources:
    """A sum of several operands, each times a constant (0 bits where the factor is 1 or -1); unmeasured."""
    total = adders(lanes * (len(operand_bits) - 1), acc_bits)
    for bits, factor in zip(operand_bits, factor_bits, strict=True):
        if factor:
            total += products(lanes, bits, factor, "lut", "")
    return total


def row_buffer(words: int, word_bits: int) -> Resources:
    """Words that are kept for later; unmeasured."""
    return buffer(words, word_bits)


def shuffled_pixels(pixels: int, words: int, lanes: int, bits: int, *, whole: bool) -> Resources:
    """One or two pixels of so many words whose values leave in another order; unmeasured.

    Where words move as a whole they are read from a memory where a table says. Else the lanes read registers, each
    through a multiplexer with an input for each word of the pixels; a LUT of a tree of them takes three inputs away.
    A pixel in one word is wires.
    """
    if words == 1:
        return Resources.zero()
    if whole:
        return buffer(pixels * words, lanes * bits) + small_rom(words, (words - 1).bit_length())
    selected = pixels * words
    return amount(lanes * bits * (selected - 1) / 3, selected * lanes * bits)


def parameters(lanes: int, words: int, bits: int) -> Resources:
    """Constants that each lane reads in turn; unmeasured."""
    return small_rom(words, bits).scaled(lanes)


def move(word_bits: int) -> Resources:
    """A word a cycle from one stream to another, or not: a register and counters; unmeasured."""
    return control() + amount(0, word_bits)


def fork(copies: int, word_bits: int) -> Resources:
    """A word a cycle to several streams: a register, and the handshake with each; unmeasured."""
    c = coefficients()
    return amount(c.fifo_register_control_lut * copies, c.fifo_register_control_ff * copies + word_bits)
