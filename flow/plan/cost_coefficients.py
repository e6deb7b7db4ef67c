# SPDX-License-Identifier: Apache-2.0
"""The numbers of the cost model, read from coefficients.toml: each with its unit and where it comes from."""

import functools
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

FILE = Path(__file__).with_name("coefficients.toml")

Origin = Literal["architecture", "fitted", "measured", "assumed"]
Kind = Literal["matrix_vector", "fifo", "converter", "shell", "other"]
"""Of a block, by what its estimate was compared with; ``other`` was compared with nothing."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Amounts per unit of structure; ``coefficients.toml`` says for each what was measured and on how much.

    Attributes:
        rom_bits_per_lut: Constants that one LUT holds.
        srl_words: Words of a shift register in one LUT per bit.
        luts_per_bram18: The exchange rate at which a small memory moves from LUTs to block RAM.
        saturation_bits_per_lut: Bits that one LUT compares with a constant or a sign.
        constant_comparator: LUTs of a comparison with a constant, relative to one of two variables.
        xnor_lut: LUTs of one product of two bipolar values.
        product_lut: LUTs for one bit of one operand times one bit of the other.
        adder_lut: LUTs for one bit of an adder.
        popcount_lut: LUTs for one counted bit.
        accumulator_lut: LUTs for one bit of an accumulator: adder, and start of the next sum.
        comparator_lut: LUTs for one bit of the comparison of two variables.
        control_lut: LUTs of the counters and handshakes of one unit.
        pipeline_ff: Flip-flops for one bit of a product or of a sum in the adder tree.
        popcount_ff: Flip-flops for one counted bit.
        accumulator_ff: Flip-flops for one bit of an accumulator.
        rom_ff: Flip-flops for one bit that is read from a ROM in LUTs.
        control_ff: Flip-flops of the counters and handshakes of one unit.
        fifo_register_lut: LUTs for one bit of a FIFO of one or two words, held in registers.
        fifo_register_ff: Flip-flops for the same.
        fifo_register_control_lut: LUTs for the handshake of the same.
        fifo_register_control_ff: Flip-flops for the handshake of the same.
        fifo_srl_lut: LUTs for one bit of a FIFO in shift registers, beside the shift registers themselves.
        fifo_srl_ff: Flip-flops for one bit of it.
        fifo_control_lut: LUTs for the counters of a FIFO deeper than two words.
        fifo_control_ff: Flip-flops for the same.
        narrowing_lut: LUTs for one bit of the wide side of a converter from wide to narrow.
        widening_lut: LUTs for one bit of the wide side of a converter from narrow to wide.
        converter_ff: Flip-flops for one bit of both sides of a converter.
        maximum_lut: LUTs for one bit of the greater of two values.
        maximum_ff: Flip-flops for one bit of it.
        counter_lut: LUTs of the counters and handshakes of a process that only moves, compares or looks up.
        counter_ff: Flip-flops for the same.
        dma_lut: LUTs of one DMA channel.
        dma_ff: Flip-flops of one DMA channel.
        dma_bram18: Block RAMs of one DMA channel.
        interconnect_lut: LUTs of what joins processor, memory and DMA, resets included.
        interconnect_ff: Flip-flops of the same.
        kernel_control_lut: LUTs of the control registers of a kernel for a data centre card.
        kernel_control_ff: Flip-flops of the same.
    """

    rom_bits_per_lut: float
    srl_words: float
    luts_per_bram18: float
    saturation_bits_per_lut: float
    constant_comparator: float
    xnor_lut: float
    product_lut: float
    adder_lut: float
    popcount_lut: float
    accumulator_lut: float
    comparator_lut: float
    control_lut: float
    pipeline_ff: float
    popcount_ff: float
    accumulator_ff: float
    rom_ff: float
    control_ff: float
    fifo_register_lut: float
    fifo_register_ff: float
    fifo_register_control_lut: float
    fifo_register_control_ff: float
    fifo_srl_lut: float
    fifo_srl_ff: float
    fifo_control_lut: float
    fifo_control_ff: float
    narrowing_lut: float
    widening_lut: float
    converter_ff: float
    maximum_lut: float
    maximum_ff: float
    counter_lut: float
    counter_ff: float
    dma_lut: float
    dma_ff: float
    dma_bram18: float
    interconnect_lut: float
    interconnect_ff: float
    kernel_control_lut: float
    kernel_control_ff: float


@dataclass(frozen=True, slots=True)
class ModelError:
    """How far the model is from what was built, on designs of authors whose rows were left out of the fit.

    SMAPE is the mean of ``2 |estimate - truth| / (estimate + truth)``, in percent; a ratio is the median of
    estimate / truth. None of it covers a design of this compiler: the rows are blocks that another compiler
    made, priced with that compiler's own extras.

    Attributes:
        rows: Measured matrix-vector units.
        configurations: Different ones among them; each counts once.
        repositories: Authors; each was left out in turn.
        lut_smape: Of LUTs, in percent.
        lut_ratio: Of LUTs.
        ff_smape: Of flip-flops, in percent.
        ff_ratio: Of flip-flops.
        bram18_within_one: Percent of the units with weights in block RAM whose count is at most one off.
        bram18_ratio: Of block RAMs.
        bram18_rows: Configurations with weights in block RAM.
        dsp_exact: Percent of the rows in ``dsp_rows`` whose count is right.
        dsp_ratio: Of DSP slices.
        dsp_rows: Synthesised stacks of dense layers with DSP slices.
        sums: Builds whose blocks were added up, to check the intervals of sums.
        lut_covered: Percent of the sums whose LUTs lie in their interval.
        ff_covered: The same for flip-flops.
    """

    rows: int
    configurations: int
    repositories: int
    lut_smape: float
    lut_ratio: float
    ff_smape: float
    ff_ratio: float
    bram18_within_one: float
    bram18_ratio: float
    bram18_rows: int
    dsp_exact: float
    dsp_ratio: float
    dsp_rows: int
    sums: int
    lut_covered: float
    ff_covered: float

    def sentence(self, resource: str) -> str:
        """The error of one resource in words; ``resource`` is a name as in ``Resources.items()``."""
        left_out = f"on {self.configurations} units of {self.repositories} authors, each left out in turn"
        match resource:
            case "lut":
                return f"SMAPE {self.lut_smape:g} %, median ratio {self.lut_ratio:g} {left_out}"
            case "ff":
                return f"SMAPE {self.ff_smape:g} %, median ratio {self.ff_ratio:g} {left_out}"
            case "bram18":
                share = f"within one for {self.bram18_within_one:g} %"
                return f"{share} of {self.bram18_rows} matrix-vector units with weights in block RAM"
            case "dsp":
                return f"exact for {self.dsp_exact:g} % of {self.dsp_rows} synthesised stacks of dense layers"
            case "uram":
                return "not compared with anything built"
            case _:
                raise ValueError(f"'{resource}' is no resource")


@dataclass(frozen=True, slots=True)
class Interval:
    """Within what factor of its estimate, up or down, four of five blocks were.

    Attributes:
        lut: The factor for LUTs.
        ff: The same for flip-flops.
        blocks: How many different ones that is read from; 0 where it is assumed.
        authors: Of how many authors, each left out of the fit in turn, each with the same weight.
    """

    lut: float
    ff: float
    blocks: int
    authors: int


@dataclass(frozen=True, slots=True)
class CostFile:
    """All of coefficients.toml.

    Attributes:
        coefficients: The values.
        units: What each is counted in, by name.
        origins: How each was found, by name.
        sources: The same in words: which rows and how many, or which fact.
        intervals: How far blocks of a kind were from their estimates, by kind.
        error: How far the model is from what was built.
    """

    coefficients: Coefficients
    units: dict[str, str]
    origins: dict[str, Origin]
    sources: dict[str, str]
    intervals: dict[Kind, Interval]
    error: ModelError


def read(path: Path) -> CostFile:
    """Reads a file of coefficients.

    Raises:
        ValueError: A key is missing or unknown, or a value is not a number; all problems at once.
    """
    data = tomllib.loads(path.read_text())
    names = [f.name for f in fields(Coefficients)]
    entries = data.get("coefficients", {})
    problems = _wrong_keys(data, ["coefficients", "interval", "error"], "the file")
    problems += _wrong_keys(entries, names, "coefficients")
    problems += _wrong_keys(data.get("error", {}), [f.name for f in fields(ModelError)], "error")
    for name in names:
        problems += _wrong_entry(name, entries.get(name, {}))
    problems += _wrong_keys(data.get("interval", {}), list(get_args(Kind)), "interval")
    for kind, interval in data.get("interval", {}).items():
        problems += _wrong_keys(interval, [f.name for f in fields(Interval)], f"interval.{kind}")
    if problems:
        raise ValueError(f"{path.name} is not complete:\n" + "\n".join(f"  - {p}" for p in problems))
    return CostFile(
        coefficients=Coefficients(**{name: float(entries[name]["value"]) for name in names}),
        units={name: entries[name]["unit"] for name in names},
        origins={name: entries[name]["origin"] for name in names},
        sources={name: entries[name]["source"] for name in names},
        intervals={kind: Interval(**found) for kind, found in data["interval"].items()},
        error=ModelError(**data["error"]),
    )


@functools.cache
def cost_file() -> CostFile:
    """The coefficients that come with the program, read at the first use."""
    return read(FILE)


def coefficients() -> Coefficients:
    """The values of the coefficients that come with the program."""
    return cost_file().coefficients


def error_of_model() -> ModelError:
    """How far estimates made with these coefficients are from what was built."""
    return cost_file().error


def _wrong_keys(table: dict[str, Any], expected: list[str], where: str) -> list[str]:
    unknown = [f"{where}: unknown key '{key}'" for key in table if key not in expected]
    return unknown + [f"{where}: missing key '{key}'" for key in expected if key not in table]


def _wrong_entry(name: str, entry: dict[str, Any]) -> list[str]:
    if not entry:
        return []  # reported as missing
    problems = _wrong_keys(entry, ["value", "unit", "origin", "source"], name)
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        problems.append(f"{name}: value {value!r} is not a number of at least 0")
    if entry.get("origin") not in get_args(Origin):
        problems.append(f"{name}: origin {entry.get('origin')!r} is none of {', '.join(get_args(Origin))}")
    if not entry.get("source"):
        problems.append(f"{name}: no source")
    return problems
