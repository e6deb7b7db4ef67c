# SPDX-License-Identifier: Apache-2.0
"""The numbers of the cost model, read from coefficients.toml: each with its unit and where it comes from.

All prices are made with the file that is in use: the one that comes with the program, or, within ``using``, another.
"""

import functools
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from flow.errors import CostFileError

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
class OwnError:
    """How far the model is from builds of the user's own, which it was refitted to (``flow calibrate``).

    Attributes:
        builds: How many; each was left out in turn where there are several, else the figures are of the fit itself.
        blocks: Measured blocks in them.
        lut_smape: Of LUTs, in percent.
        lut_ratio: Median of estimate / measured.
        ff_smape: Of flip-flops, in percent.
        ff_ratio: Median of estimate / measured.
    """

    builds: int
    blocks: int
    lut_smape: float
    lut_ratio: float
    ff_smape: float
    ff_ratio: float

    def sentence(self, resource: str) -> str:
        """The error of one resource in words."""
        smape, ratio = (self.lut_smape, self.lut_ratio) if resource == "lut" else (self.ff_smape, self.ff_ratio)
        how = "each left out in turn" if self.builds > 1 else "which it was fitted to: of no other build is it known"
        builds = f"{self.builds} own build{'s' if self.builds > 1 else ''}"
        return f"SMAPE {smape:g} %, median ratio {ratio:g} on {self.blocks} blocks of {builds}, {how}"


@dataclass(frozen=True, slots=True)
class CostFile:
    """All of coefficients.toml, or of a file like it.

    Attributes:
        coefficients: The values.
        units: What each is counted in, by name.
        origins: How each was found, by name.
        sources: The same in words: which rows and how many, or which fact.
        intervals: How far blocks of a kind were from their estimates, by kind.
        error: How far the model is from what was built, with the coefficients that come with the program.
        own: How far it is from the user's builds, where it was refitted to them.
    """

    coefficients: Coefficients
    units: dict[str, str]
    origins: dict[str, Origin]
    sources: dict[str, str]
    intervals: dict[Kind, Interval]
    error: ModelError
    own: OwnError | None = None

    def sentence(self, resource: str) -> str:
        """The error of one resource in words. What is counted, not fitted, is as it was."""
        if self.own is not None and resource in ("lut", "ff"):
            return self.own.sentence(resource)
        return self.error.sentence(resource)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        return hashlib.sha256(render(self).encode()).hexdigest()


def read(path: Path) -> CostFile:
    """Reads a file of coefficients.

    Raises:
        ValueError: A key is missing or unknown, or a value is not a number; all problems at once.
    """
    data = tomllib.loads(path.read_text())
    names = [f.name for f in fields(Coefficients)]
    tables: dict[str, Any] = {name: data[name] for name in (*_TABLES, "own") if name in data}
    problems = _not_tables(tables)
    if not problems:
        entries, intervals, error = (tables.get(name, {}) for name in ("coefficients", "interval", "error"))
        problems = _wrong_keys({n: t for n, t in data.items() if n != "own"}, _TABLES, "the file")
        problems += _wrong_keys(entries, names, "coefficients")
        problems += _wrong_numbers(error, ModelError, "error")
        for name in names:
            problems += _wrong_entry(name, entries.get(name, {}))
        problems += _wrong_keys(intervals, list(get_args(Kind)), "interval")
        for kind, interval in intervals.items():
            problems += _wrong_numbers(interval, Interval, f"interval.{kind}")
        if "own" in tables:
            problems += _wrong_numbers(tables["own"], OwnError, "own")
    if problems:
        raise ValueError(f"{path.name} is not complete:\n" + "\n".join(f"  - {p}" for p in problems))
    return CostFile(
        coefficients=Coefficients(**{name: float(entries[name]["value"]) for name in names}),
        units={name: entries[name]["unit"] for name in names},
        origins={name: entries[name]["origin"] for name in names},
        sources={name: entries[name]["source"] for name in names},
        intervals={kind: Interval(**found) for kind, found in intervals.items()},
        error=ModelError(**error),
        own=OwnError(**tables["own"]) if "own" in tables else None,
    )


def load(path: Path) -> CostFile:
    """Reads a file that the user names.

    Raises:
        CostFileError: It cannot be read, or is not complete.
    """
    remedy = "flow calibrate DIR... --out FILE writes such a file"
    try:
        return read(path)
    except OSError as error:
        raise CostFileError(f"{path}: {error.strerror}", remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CostFileError(f"{path} is not TOML: {error}", remedy) from error
    except ValueError as error:
        raise CostFileError(str(error), remedy) from error


def render(file: CostFile, heading: str = "") -> str:
    """The text that ``read`` takes; ``heading``: lines of comment in front of it."""
    lines = [heading] if heading else []
    for name, value in asdict(file.coefficients).items():
        lines += [
            f"[coefficients.{name}]",
            f"value = {value:g}",
            f"unit = {_quoted(file.units[name])}",
            f"origin = {_quoted(file.origins[name])}",
            f"source = {_quoted(file.sources[name])}",
            "",
        ]
    lines.append(
        "# Within what factor of their estimates four of five blocks were, of authors whose rows were left out"
    )
    lines.append("# of the fit; 'other' is assumed. (Refitted by flow calibrate: of builds in place of authors.)")
    for kind, interval in file.intervals.items():
        lines += [f"[interval.{kind}]", *_numbers(interval), ""]
    lines += ["# On designs of authors whose rows were left out of the fit.", "[error]", *_numbers(file.error)]
    if file.own is not None:
        lines += ["", "# On the user's own builds.", "[own]", *_numbers(file.own)]
    return "\n".join(lines) + "\n"


_in_use: list[CostFile] = []
"""The innermost ``using`` last."""
_prices: list[Callable[[], None]] = []
"""What forgets the prices that ``priced`` keeps."""
F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def packaged() -> CostFile:
    """The coefficients that come with the program, read at the first use."""
    return read(FILE)


def cost_file() -> CostFile:
    """The coefficients in use."""
    return _in_use[-1] if _in_use else packaged()


@contextmanager
def using(file: CostFile) -> Iterator[None]:
    """Prices are made with these coefficients, in all threads, until the end of the block."""
    _in_use.append(file)
    _forget()
    try:
        yield
    finally:
        _in_use.pop()
        _forget()


def priced(function: F) -> F:
    """Like ``functools.cache``, for what is computed from the coefficients in use."""
    kept = functools.cache(function)
    _prices.append(kept.cache_clear)
    return kept  # type: ignore[return-value]


def _forget() -> None:
    for clear in _prices:
        clear()


def coefficients() -> Coefficients:
    """The values of the coefficients in use."""
    return cost_file().coefficients


def error_of_model() -> ModelError:
    """How far estimates with the program's own coefficients are from what was built."""
    return cost_file().error


_TABLES = ["coefficients", "interval", "error"]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _numbers(values: ModelError | Interval | OwnError) -> list[str]:
    return [f"{name} = {value:g}" for name, value in asdict(values).items()]


def _not_tables(tables: dict[str, Any]) -> list[str]:
    """The parts of the file that are no tables of what they shall hold."""
    wrong = [f"{name} is not a table" for name, table in tables.items() if not isinstance(table, dict)]
    for name in ("coefficients", "interval"):
        entries = tables.get(name, {})
        if isinstance(entries, dict):
            wrong += [f"{name}.{key} is not a table" for key, entry in entries.items() if not isinstance(entry, dict)]
    return wrong


def _wrong_numbers(table: dict[str, Any], of: type, where: str) -> list[str]:
    """A table that holds the fields of a class, all numbers."""
    wrong = [f"{where}: {key} = {value!r} is not a number" for key, value in table.items() if not _is_number(value)]
    return _wrong_keys(table, [f.name for f in fields(of)], where) + wrong


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _wrong_keys(table: dict[str, Any], expected: list[str], where: str) -> list[str]:
    unknown = [f"{where}: unknown key '{key}'" for key in table if key not in expected]
    return unknown + [f"{where}: missing key '{key}'" for key in expected if key not in table]


def _wrong_entry(name: str, entry: dict[str, Any]) -> list[str]:
    if not entry:
        return []  # reported as missing
    problems = _wrong_keys(entry, ["value", "unit", "origin", "source"], name)
    value = entry.get("value")
    if not _is_number(value):
        problems.append(f"{name}: value {value!r} is not a number of at least 0")
    if entry.get("origin") not in get_args(Origin):
        problems.append(f"{name}: origin {entry.get('origin')!r} is none of {', '.join(get_args(Origin))}")
    if not entry.get("source"):
        problems.append(f"{name}: no source")
    return problems
