# SPDX-License-Identifier: Apache-2.0
"""What each hardware block takes: one function per block and option, in terms that a hardware engineer knows.

Nothing has a default: an option without a price is an error, not a free layer. The coefficients, each with
its origin, are in coefficients.toml; benchmarks/fit_cost.py fits them to what was built. An estimate is for
the block alone, without the FIFOs around it, which have a price of their own.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal, TypeAlias

from flow.plan.cost_coefficients import Coefficients, ModelError, coefficients, error_of_model
from flow.plan.cost_memory import RomMemory, amount, buffer, fifo, rom, small_rom, width_converter
from flow.plan.resources import Resources

__all__ = [
    "MatrixVector",
    "ModelError",
    "StepHardware",
    "error_of_model",
    "fifo",
    "matrix_vector",
    "matrix_vector_cycles",
    "rom",
    "shell",
    "step_function",
    "step_terms",
    "stream_reader",
    "stream_writer",
    "width_converter",
]

Multiplier: TypeAlias = Literal["lut", "dsp"]
StepForm: TypeAlias = Literal["wire", "shift", "multiply_shift", "thresholds", "search", "table", "ranges"]

_DSP_PORTS = {"DSP48E1": (25, 18), "DSP48E2": (27, 18)}
"""Bits of the two signed operands of a DSP slice (UG479, UG579)."""


@dataclass(frozen=True, slots=True)
class MatrixVector:
    """A folded matrix-vector unit: ``pe`` outputs at once, each from ``simd`` inputs a cycle.

    Attributes:
        inputs: Elements that one output is computed from.
        outputs: Outputs for one position.
        positions: How many times a frame the product is applied.
        pe: Outputs at once; divides ``outputs``.
        simd: Inputs at once; divides ``inputs``.
        weight_bits: Of one weight.
        input_bits: Of one input.
        acc_bits: Of an accumulator.
        xnor: Whether both operands are bipolar, so that a product is an XNOR and a sum a count of ones.
        weight_memory: What holds the weights.
        multiplier: What multiplies. Bipolar products are XNOR in LUTs, whatever this says.
    """

    inputs: int
    outputs: int
    positions: int
    pe: int
    simd: int
    weight_bits: int
    input_bits: int
    acc_bits: int
    xnor: bool
    weight_memory: RomMemory
    multiplier: Multiplier

    def __post_init__(self) -> None:
        for what, total, folded in (("pe", self.outputs, self.pe), ("simd", self.inputs, self.simd)):
            if folded < 1 or total % folded:
                raise ValueError(f"{what} = {folded} does not divide {total}")
        if min(self.positions, self.weight_bits, self.input_bits, self.acc_bits) < 1:
            raise ValueError(f"positions and bits must be at least 1: {self}")
        if self.xnor and (self.weight_bits, self.input_bits) != (1, 1):
            raise ValueError(f"bipolar operands have one bit: {self}")


@dataclass(frozen=True, slots=True)
class StepHardware:
    """A step function behind ``pe`` accumulators.

    Attributes:
        form: How it is computed.
        channels: How many different functions; 1 where all channels share one.
        pe: Values at once.
        in_bits: Of an accumulator.
        out_bits: Of a result.
        levels: Boundaries of one function.
        factor_bits: Of the factor of ``multiply_shift``.
        bias_bits: Of the bias of ``shift`` and ``multiply_shift``; 0 where there is none.
        multiplier: What multiplies in ``multiply_shift``.
    """

    form: StepForm
    channels: int
    pe: int
    in_bits: int
    out_bits: int
    levels: int
    factor_bits: int
    bias_bits: int
    multiplier: Multiplier

    @property
    def words(self) -> int:
        """Functions that one of the ``pe`` values takes in turn: the depth of its parameter memory."""
        return max(1, ceil(self.channels / self.pe))


def matrix_vector(config: MatrixVector, dsp_kind: str, using: Coefficients | None = None) -> dict[str, Resources]:
    """What a matrix-vector unit takes, by term; the terms add up to the unit.

    Args:
        config: The unit.
        dsp_kind: ``DSP48E1`` or ``DSP48E2``.
        using: Other coefficients than those that come with the program.

    Returns:
        product (multipliers), adder_tree, accumulator, weight_memory (one ROM for each of the ``pe`` outputs;
        nothing where each holds a single word), input_buffer (the inputs, kept for the outputs that follow),
        control (counters and handshakes).
    """
    c = using or coefficients()
    return {
        "product": _products(config, dsp_kind, c),
        "adder_tree": _adder_trees(config, c),
        "accumulator": amount(
            c.accumulator_lut * config.pe * config.acc_bits, c.accumulator_ff * config.pe * config.acc_bits
        ),
        "weight_memory": _weight_memory(config, c),
        "input_buffer": _input_buffer(config, c),
        "control": amount(c.control_lut, c.control_ff),
    }


def matrix_vector_cycles(config: MatrixVector) -> int:
    """Cycles of one frame at one iteration a cycle, without the latency of the pipeline."""
    return config.positions * (config.outputs // config.pe) * (config.inputs // config.simd)


def dsp_slices(left_bits: int, right_bits: int, dsp_kind: str) -> int:
    """DSP slices of one signed product: one where it fits, else as many as cover both operands in parts.

    A lower part is unsigned and so one bit narrower than the port. Packing of several products in one slice
    is not counted: no block does it yet.
    """
    ports = _DSP_PORTS.get(dsp_kind)
    if ports is None:
        raise ValueError(f"'{dsp_kind}' is no DSP slice; known: {', '.join(_DSP_PORTS)}")

    def parts(bits: int, port: int) -> int:
        return max(1, ceil((bits - 1) / (port - 1)))

    wide, narrow = ports
    return min(parts(left_bits, wide) * parts(right_bits, narrow), parts(right_bits, wide) * parts(left_bits, narrow))


def step_function(config: StepHardware, dsp_kind: str, using: Coefficients | None = None) -> Resources:
    """What a step function takes behind all ``pe`` accumulators, its parameters included."""
    return Resources.total(step_terms(config, dsp_kind, using).values())


def step_terms(config: StepHardware, dsp_kind: str, using: Coefficients | None = None) -> dict[str, Resources]:
    """The same by term: logic, and memory for parameters (nothing where they are constants)."""
    c = using or coefficients()
    match config.form:
        case "wire":
            return {}
        case "shift":
            return _shift(config, c)
        case "multiply_shift":
            return _multiply_shift(config, dsp_kind, c)
        case "thresholds":
            return _thresholds(config, c)
        case "search":
            return _search(config, c)
        case "table":
            return _table(config, c)
        case "ranges":
            return _ranges(config, c)
        case _:
            raise ValueError(f"a step function in the form '{config.form}' has no price")


def stream_reader(in_lanes: int, out_lanes: int, lane_bits: int, word_bits: int) -> Resources:
    """From the AXI stream into the design: the registers of the port, and the converter behind it.

    Args:
        in_lanes: Values in one word of the AXI stream.
        out_lanes: Values that leave at once.
        lane_bits: Of one value.
        word_bits: Of the AXI stream.
    """
    return _axi_port(word_bits) + width_converter(in_lanes, out_lanes, lane_bits)


def stream_writer(in_lanes: int, out_lanes: int, lane_bits: int, word_bits: int) -> Resources:
    """From the design to the AXI stream: the converter, and the registers of the port with TKEEP and TLAST.

    Args:
        in_lanes: Values that arrive at once.
        out_lanes: Values in one word of the AXI stream.
        lane_bits: Of one value.
        word_bits: Of the AXI stream.
    """
    return width_converter(in_lanes, out_lanes, lane_bits) + _axi_port(word_bits)


def shell(family: str) -> Resources:
    """What a board's processor side takes: two DMA channels and what joins them to memory and processor.

    The DMA and interconnect of a Zynq are measured (on Zynq UltraScale+; on a Zynq-7000 only the DMA). A
    board without a processor has no shell. Of a data centre card only the data movers and the control
    registers of the kernel are counted, both **unmeasured**: its platform lies outside of the budget.

    Args:
        family: ``zynq7000``, ``zynqmp``, ``artix7`` or ``alveo``.
    """
    c = coefficients()
    channels = amount(c.dma_lut, c.dma_ff, bram18=round(c.dma_bram18)).scaled(2)
    match family:
        case "zynq7000" | "zynqmp":
            return channels + amount(c.interconnect_lut, c.interconnect_ff)
        case "artix7":
            return Resources.zero()
        case "alveo":
            return channels + amount(c.kernel_control_lut, c.kernel_control_ff)
        case _:
            raise ValueError(f"the shell of family '{family}' has no price")


def _products(config: MatrixVector, dsp_kind: str, c: Coefficients) -> Resources:
    count = config.pe * config.simd
    if config.xnor:
        return amount(c.xnor_lut * count)
    if config.multiplier == "dsp":
        return amount(dsp=count * dsp_slices(config.weight_bits, config.input_bits, dsp_kind))
    lut = c.product_lut * count * config.weight_bits * config.input_bits
    return amount(lut, c.pipeline_ff * count * (config.weight_bits + config.input_bits))


def _adder_trees(config: MatrixVector, c: Coefficients) -> Resources:
    if config.xnor:
        count = config.pe * config.simd
        return amount(c.popcount_lut * count, c.popcount_ff * count)
    bits = config.pe * adder_tree_bits(config.simd, config.weight_bits + config.input_bits, config.acc_bits)
    return amount(c.adder_lut * bits, c.pipeline_ff * bits)


def adder_tree_bits(operands: int, bits: int, acc_bits: int) -> int:
    """Bits of all two-input adders of a balanced tree: a bit more on each level, up to the accumulator's."""
    total = 0
    while operands > 1:
        bits = bits + 1
        total += operands // 2 * min(bits, acc_bits)
        operands = (operands + 1) // 2
    return total


def _weight_memory(config: MatrixVector, c: Coefficients) -> Resources:
    depth = config.inputs // config.simd * (config.outputs // config.pe)
    return rom(depth, config.simd * config.weight_bits, config.weight_memory, c).scaled(config.pe)


def _input_buffer(config: MatrixVector, c: Coefficients) -> Resources:
    """The register of the inputs at work; and all inputs, where several folds of outputs read them."""
    width = config.simd * config.input_bits
    register = amount(0, width)
    depth = config.inputs // config.simd
    if config.pe == config.outputs or depth == 1:
        return register
    return register + buffer(depth, width, c)


def _saturation(bits: int, out_bits: int, c: Coefficients) -> float:
    """LUTs that see whether the upper bits are a mere sign, and choose between value and limit."""
    return bits / c.saturation_bits_per_lut + out_bits


def _shift(config: StepHardware, c: Coefficients) -> dict[str, Resources]:
    adders = 2 if config.bias_bits else 1  # rounding, and the bias
    lut = adders * c.adder_lut * config.in_bits + _saturation(config.in_bits, config.out_bits, c)
    logic = amount(lut * config.pe, config.pe * (config.in_bits + config.out_bits))
    return {"logic": logic, "memory": _parameters(config, config.bias_bits, c)}


def _multiply_shift(config: StepHardware, dsp_kind: str, c: Coefficients) -> dict[str, Resources]:
    product_bits = config.in_bits + config.factor_bits
    lut = _saturation(product_bits, config.out_bits, c)
    if config.bias_bits:
        lut += c.adder_lut * max(product_bits, config.bias_bits)
    ff, dsp = product_bits + config.out_bits, 0
    if config.multiplier == "dsp":
        dsp = dsp_slices(config.in_bits, config.factor_bits, dsp_kind)
    else:
        lut += c.product_lut * config.in_bits * config.factor_bits
        ff += product_bits
    return {
        "logic": amount(lut * config.pe, ff * config.pe, dsp=dsp * config.pe),
        "memory": _parameters(config, config.factor_bits + config.bias_bits, c),
    }


def _thresholds(config: StepHardware, c: Coefficients) -> dict[str, Resources]:
    comparator = c.comparator_lut * config.in_bits
    if config.words == 1:
        comparator *= c.constant_comparator
    count = c.popcount_lut if config.levels > 1 else 0
    lut = config.levels * (comparator + count)
    return {
        "logic": amount(lut * config.pe, config.out_bits * config.pe),
        "memory": _parameters(config, config.levels * config.in_bits, c),
    }


def _search(config: StepHardware, c: Coefficients) -> dict[str, Resources]:
    """One comparison in each stage of the pipeline; stage k reads one of the 2**k thresholds it can meet."""
    stages = max(1, config.levels.bit_length())
    lut = stages * c.comparator_lut * config.in_bits
    ff = stages * (config.in_bits + config.out_bits)
    memory = Resources.zero()
    for stage in range(stages):
        memory += small_rom(config.words << stage, config.in_bits, c).scaled(config.pe)
    return {"logic": amount(lut * config.pe, ff * config.pe), "memory": memory}


def _table(config: StepHardware, c: Coefficients) -> dict[str, Resources]:
    index = amount(c.adder_lut * config.in_bits, config.out_bits)
    memory = small_rom(config.words << config.in_bits, config.out_bits, c)
    return {"logic": index.scaled(config.pe), "memory": memory.scaled(config.pe)}


def _ranges(config: StepHardware, c: Coefficients) -> dict[str, Resources]:
    """A search for the range, and a memory with a value for each."""
    values = small_rom(config.words << config.levels.bit_length(), config.out_bits, c)
    return {**_search(config, c), "values": values.scaled(config.pe)}


def _parameters(config: StepHardware, bits: int, c: Coefficients) -> Resources:
    return small_rom(config.words, bits, c).scaled(config.pe) if bits else Resources.zero()


def _axi_port(word_bits: int) -> Resources:
    """Registers of two words, with a bit of TKEEP and of TSTRB for each byte, and TLAST."""
    return fifo(2, word_bits + 2 * (word_bits // 8) + 1)
