# SPDX-License-Identifier: Apache-2.0
"""Measured rows as blocks that the cost model can be held against; which row is what, and what rule leaves it out.

FINN's blocks have the structure of ours, with extras that ours do not have; an extra is priced here, with what the
fit finds for it, and is no part of the model:

- the matrix-vector unit keeps all its inputs in registers behind a multiplexer, has one weight memory for all PE,
  compares with all thresholds at once, and ``MVAU_hls`` takes its weights from a stream of two register slices;
- a kernel from the HLS tool (``_Batch``) has a register slice of two words on each of its two ports;
- a width converter in RTL has no loop, and so not the control of ours.
"""

import csv
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flow.plan import cost
from flow.plan.cost_coefficients import Coefficients
from flow.plan.cost_memory import rom
from flow.plan.resources import Resources

Row = dict[str, str]

UNITS = ("MVAU_hls", "StreamingFCLayer_Batch")
FIFOS = ("StreamingFIFO", "StreamingFIFO_rtl")
_BRAM18_BITS = 18 * 1024


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of measurements."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def repository(row: Row) -> str:
    """Whose design it is: the part of the source before the commit."""
    return row["source"].split(":")[1].split("@")[0]


def is_built(row: Row) -> bool:
    """Whether it was synthesised or routed, not only estimated by the HLS tool."""
    return row["stage"] in ("vsynth", "impl")


def noted(row: Row, report: str, resource: str) -> int | None:
    """A number that another report of the same block gave, from the notes."""
    found = re.search(rf"{report} [^;]*?\b{resource}=(\d+)", row["notes"])
    return int(found[1]) if found else None


def options(row: Row) -> dict[str, str]:
    """The parameters of a block."""
    return dict(option.split("=", 1) for option in row["parallelism"].split(";") if "=" in option)


@dataclass(frozen=True)
class Sorted:
    """Every row in one place.

    Attributes:
        used: The rows by what they serve for.
        left_out: The rows by the rule that leaves them out.
    """

    used: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))


def sort_rows(rows: Sequence[Row]) -> Sorted:
    """Which row serves for what, and which rule leaves the others out."""
    folded = {row["source"] for row in rows if _has_folded_constants(row)}
    found = Sorted()
    for row in rows:
        rule = _rule(row, folded)
        if rule is None:
            found.used[_use(row)].append(row)
        else:
            found.left_out[rule].append(row)
    return found


def _use(row: Row) -> str:
    kind = row["layer_type"]
    if kind in UNITS:
        return "matrix-vector units"
    if kind in FIFOS:
        return "FIFOs"
    if kind.startswith("StreamingDataWidthConverter"):
        return "width converters"
    return {
        "StreamingMaxPool_Batch": "pools",
        "Thresholding_Batch": "tables",
        "Thresholding_rtl": "searches",
        "shell": "shell",
        "model": "whole designs" if row["tool"].startswith("FINN") else "DSP of whole designs",
    }.get(kind, "HLS estimates of dense layers")


def _rule(row: Row, folded: set[str]) -> str | None:
    """The first rule that leaves a row out; None if it is used."""
    if row["stage"] == "csynth":
        return None if is_dense_estimate(row) else "HLS estimate (csynth), not of a dense layer in resource strategy"
    kind = row["layer_type"]
    small = kind == "StreamingDataWidthConverter_Batch" and _has_constant_bits(row)
    foreign = kind == "model" and not row["tool"].startswith("FINN") and not _counts_dsp(row)
    rules = (
        (row["source"] in folded, "build with a unit smaller than the ROM of its own parameters: folded constants"),
        (kind.startswith("ConvolutionInputGenerator"), "window unit that emits a whole window at once, from registers"),
        (kind == "LabelSelect_hls", "arg max: no such block here"),
        (kind in FIFOS and _lost_its_memory(row), "FIFO whose memory cannot hold its declared size: trimmed"),
        (small, "width converter with fewer flip-flops than its own words: constant bits"),
        (kind == "Thresholding_Batch" and row["in_shape"] == "1x1", "one value a frame: no loop, no control"),
        (kind == "shell" and int(row["BRAM18"]) > 2, "DMA channel for words of thousands of bits"),
        (foreign, "whole model of another generator (hls4ml, da4ml): another structure"),
    )
    return next((rule for applies, rule in rules if applies), None)


def is_dense_estimate(row: Row) -> bool:
    """An HLS estimate of one dense layer of hls4ml that is folded by a reuse factor."""
    given = all(row[key] for key in ("n_in", "n_out", "reuse_factor", "weight_bits", "act_bits", "DSP"))
    kinds = ("single_dense_model", "dense_resource", "dense")
    return row["strategy"] == "resource" and given and row["reuse_factor"] != "1" and row["layer_type"] in kinds


def _has_folded_constants(row: Row) -> bool:
    return is_built(row) and row["layer_type"] in UNITS and int(row["LUT"]) < _parameter_luts(_unit(row))


def _lost_its_memory(row: Row) -> bool:
    depth, blocks = int(options(row)["depth"]), int(row["BRAM18"])
    return blocks > 0 and blocks * _BRAM18_BITS < depth * fifo_width(row)


def _has_constant_bits(row: Row) -> bool:
    """Its wide side stands in the two words of a port, in the shifted word, and in the word behind that."""
    return int(row["FF"]) < 4 * max(converter_widths(row))


def _counts_dsp(row: Row) -> bool:
    """A synthesised stack of dense layers, folded, with products in DSP slices."""
    folded = row["strategy"] == "resource" and row["reuse_factor"].isdigit() and row["reuse_factor"] != "1"
    stack = re.fullmatch(r"MODEL:dense_\d+(-\d+)+", row["layer_or_model"])
    return row["stage"] == "vsynth" and folded and stack is not None and row["DSP"] not in ("", "0")


def fifo_width(row: Row) -> int:
    """Bits of a word."""
    return int(row["in_shape"].strip("[]").split(",")[-1]) * int(row["act_bits"])


def converter_widths(row: Row) -> tuple[int, int]:
    """Bits of a word in front of a width converter, and behind it."""
    return int(row["in_shape"].rstrip("b")), int(row["out_shape"].rstrip("b"))


@dataclass(frozen=True, slots=True)
class Unit:
    """One configuration of FINN's matrix-vector unit, with the median of what its builds took."""

    repository: str
    sources: tuple[str, ...]
    config: cost.MatrixVector
    levels: int
    out_bits: int
    weight_stream: bool
    threshold_bram18: int
    lut: float
    ff: float
    dsp: float
    bram18: float
    cycles: int | None
    finn_lut: float | None
    csynth_lut: float | None

    def price(self, c: Coefficients) -> Resources:
        """What the model says of this structure, input registers and weight stream aside."""
        unit = self.config
        terms = cost.matrix_vector(unit, "DSP48E2", c)
        lanes = unit.pe * unit.simd
        weights = rom(unit.inputs * unit.outputs // lanes, lanes * unit.weight_bits, unit.weight_memory, c)
        total = terms["product"] + terms["adder_tree"] + terms["accumulator"] + terms["control"] + weights
        if not self.levels:
            return total
        step = cost.StepHardware(
            "thresholds", unit.outputs, unit.pe, unit.acc_bits, self.out_bits, self.levels, 0, 0, "lut"
        )
        total += cost.step_terms(step, "DSP48E2", c)["logic"]
        if self.threshold_bram18:
            return total
        return total + rom(step.words, self.levels * unit.acc_bits, "lut", c).scaled(unit.pe)

    @property
    def buffered_bits(self) -> int:
        """Bits of FINN's input registers."""
        return self.config.inputs * self.config.input_bits if self.config.inputs > self.config.simd else 0

    @property
    def streamed_bits(self) -> int:
        """Width of FINN's stream of weights, where it has one with register slices."""
        return self.config.pe * self.config.simd * self.config.weight_bits if self.weight_stream else 0


def units(rows: Iterable[Row]) -> list[Unit]:
    """Matrix-vector units; builds of one configuration by one author count once, with their median."""
    groups: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
    for row in rows:
        unit = _unit(row)
        groups[unit.repository, unit.config, unit.levels, unit.out_bits].append(unit)
    return [
        replace(
            group[0],
            sources=tuple(source for unit in group for source in unit.sources),
            **{name: statistics.median(getattr(u, name) for u in group) for name in ("lut", "ff", "dsp", "bram18")},
        )
        for group in groups.values()
    ]


def _unit(row: Row) -> Unit:
    given = options(row)
    shape = row["in_shape"].split("x")
    thresholds = noted(row, "HLS_csynth", "BRAM18") or 0
    weights, inputs, outs = (int(row[k]) for k in ("weight_bits", "act_bits", "out_bits"))
    config = cost.MatrixVector(
        inputs=int(row["n_in"]),
        outputs=int(row["n_out"]),
        positions=int(shape[1]) if len(shape) > 2 else 1,
        pe=int(given["PE"]),
        simd=int(given["SIMD"]),
        weight_bits=weights,
        input_bits=inputs,
        acc_bits=int(row["acc_bits"]),
        xnor=weights == inputs == 1,
        weight_memory="bram" if int(row["BRAM18"]) > thresholds else "lut",
        multiplier="dsp" if int(row["DSP"]) else "lut",
    )
    cycles = re.search(r"est_cycles=(\d+)", row["notes"])
    return Unit(
        repository=repository(row),
        sources=(row["source"],),
        config=config,
        levels=0 if given["noActivation"] == "1" else 2**outs - 1,
        out_bits=outs,
        weight_stream=row["layer_type"] == "MVAU_hls",
        threshold_bram18=thresholds,
        lut=int(row["LUT"]),
        ff=int(row["FF"]),
        dsp=int(row["DSP"]),
        bram18=int(row["BRAM18"]),
        cycles=int(cycles[1]) if cycles else None,
        finn_lut=noted(row, "FINN_est", "LUT"),
        csynth_lut=noted(row, "HLS_csynth", "LUT"),
    )


def _parameter_luts(unit: Unit) -> float:
    if unit.bram18:
        return 0
    c = unit.config
    return c.outputs * (c.inputs * c.weight_bits + unit.levels * c.acc_bits) / 64


Terms = dict[str, float]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A small block: how much of each coefficient is in it, and the median of what its builds took.

    Attributes:
        repository: Whose design.
        kind: ``fifo``, ``converter``, ``pool`` or ``table``.
        label: What it is, for tables.
        sources: The builds that it was taken from.
        lut_terms: Coefficient -> how often it counts; "" is what is known without one.
        ff_terms: The same for flip-flops.
        lut: Measured.
        ff: Measured.
    """

    repository: str
    kind: str
    label: str
    sources: tuple[str, ...]
    lut_terms: Terms
    ff_terms: Terms
    lut: float
    ff: float

    def estimate(self, values: dict[str, float], resource: str) -> float:
        """The sum of the terms; a coefficient that no row could be fitted on counts nothing."""
        terms = self.lut_terms if resource == "lut" else self.ff_terms
        return sum(amount * (1.0 if not name else values.get(name, 0.0)) for name, amount in terms.items())


def kernels(rows: Sorted, base: Coefficients) -> list[Kernel]:
    """FIFOs, width converters, pools and tables; builds of one configuration by one author count once."""
    groups: dict[tuple[object, ...], list[Kernel]] = defaultdict(list)
    makers = (
        ("FIFOs", _fifo),
        ("width converters", _converter),
        ("pools", _pool),
        ("tables", lambda row: _table(row, base)),
    )
    for use, make in makers:
        for row in rows.used[use]:
            kernel = make(row)
            groups[kernel.repository, kernel.kind, kernel.label].append(kernel)
    return [
        replace(
            group[0],
            sources=tuple(source for kernel in group for source in kernel.sources),
            lut=statistics.median(k.lut for k in group),
            ff=statistics.median(k.ff for k in group),
        )
        for group in groups.values()
    ]


def _kernel(row: Row, kind: str, label: str, lut_terms: Terms, ff_terms: Terms) -> Kernel:
    return Kernel(repository(row), kind, label, (row["source"],), lut_terms, ff_terms, int(row["LUT"]), int(row["FF"]))


def _fifo(row: Row) -> Kernel:
    depth, width = int(options(row)["depth"]), float(fifo_width(row))
    label = f"{depth} words of {width:g} bits"
    if depth <= 2:
        return _kernel(
            row,
            "fifo",
            label,
            {"fifo_register_lut": width, "fifo_register_control_lut": 1},
            {"fifo_register_ff": width, "fifo_register_control_ff": 1},
        )
    cells = -(-depth // 32) * width  # the shift registers themselves
    return _kernel(
        row,
        "fifo",
        label,
        {"fifo_srl_lut": width, "fifo_control_lut": 1, "": cells},
        {"fifo_srl_ff": width, "fifo_control_ff": 1},
    )


def _slices(widths: float) -> tuple[Terms, Terms]:
    """The register slices on the ports of an HLS kernel: two words each, one of which is selected."""
    return {"slice_lut": widths, "counter_lut": 1}, {"counter_ff": 1, "": 2 * widths}


def _converter(row: Row) -> Kernel:
    before, after = converter_widths(row)
    kind = "narrowing_lut" if before > after else "widening_lut"
    if row["layer_type"].endswith("_rtl"):
        lut: Terms = {"rtl_control_lut": 1}
        ff: Terms = {"rtl_control_ff": 1}
    else:
        lut, ff = _slices(before + after)
    lut, ff = lut | {kind: max(before, after)}, ff | {"converter_ff": before + after}
    return _kernel(row, "converter", f"{before} to {after} bits {row['layer_type'][-5:]}", lut, ff)


def _pool(row: Row) -> Kernel:
    """The greatest of the words under a window that moves by its own length: one word is kept."""
    channels = re.search(r"NumChannels=(\d+)", row["parallelism"])
    assert channels is not None
    width = int(channels[1]) * int(row["act_bits"])
    lut, ff = _slices(2 * width)
    return _kernel(
        row,
        "pool",
        f"{row['parallelism']} {row['act_bits']} bits",
        lut | {"maximum_lut": width},
        ff | {"maximum_ff": width},
    )


def _table(row: Row, base: Coefficients) -> Kernel:
    """Thresholds of few input bits, alike in all channels: synthesis made a table of them."""
    bits = int(row["act_bits"])
    words = rom(2**bits, bits, "lut", base)
    lut, ff = _slices(2 * bits)
    ff[""] += words.ff
    return _kernel(row, "table", f"{row['in_shape']} {bits} bits", lut | {"": words.lut}, ff)


@dataclass(frozen=True, slots=True)
class ShellBlock:
    """One block of FINN's shell, as one author built it."""

    repository: str
    kind: str
    name: str
    sources: tuple[str, ...]
    lut: float
    ff: float
    bram18: float


def shell_blocks(rows: Iterable[Row]) -> list[ShellBlock]:
    """DMA channels by direction, interconnect and reset: the median of an author's builds."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        name = re.sub(r"_\d+M?$", "", row["layer_or_model"])
        kind = "dma" if "IODMA" in name else "reset" if name.startswith("rst_") else name
        groups[repository(row), kind, name].append(row)
    return [
        ShellBlock(
            *key,
            tuple(row["source"] for row in group),
            *(statistics.median(float(row[r]) for row in group) for r in ("LUT", "FF", "BRAM18")),
        )
        for key, group in groups.items()
    ]


def counts(found: Sorted) -> str:
    """How many rows serve for what, and how many each rule leaves out."""
    lines = ["rows used"]
    lines += [f"{len(rows):>6}  {use}" for use, rows in found.used.items()]
    lines.append("rows left out, by rule (the first that applies)")
    rules = Counter({rule: len(rows) for rule, rows in found.left_out.items()})
    lines += [f"{number:>6}  {rule}" for rule, number in rules.most_common()]
    return "\n".join(lines)
