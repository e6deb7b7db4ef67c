# SPDX-License-Identifier: Apache-2.0
"""Fits the cost model to measured designs, says how far it is off, and writes coefficients.toml.

    python benchmarks/fit_cost.py CSV [--write]

CSV holds a measured block a row: source, layer_type, widths, parallelism, LUT, FF, DSP, BRAM18, stage, notes.

What is fitted on
    The matrix-vector units that FINN made (``MVAU_hls`` and ``StreamingFCLayer_Batch``) after synthesis or
    routing. They have the structure of ours: PE x SIMD products, adder trees, accumulators, weights from a
    memory, thresholds behind them. FIFOs and width converters of FINN that are written in RTL. The blocks of
    its shell.

What differs from ours is in the fit, and not in the model
    FINN keeps all inputs in registers behind a multiplexer, has one weight memory for all PE, compares with
    all thresholds at once, and ``MVAU_hls`` takes its weights from a stream: two register slices, one of
    which selects between its two words. (The rows hold only the sum of that selection and of the population
    count; the split rests on the one LUT a bit of a measured register FIFO.)

What is left out, and why
    - HLS estimates (``csynth``): 2.3 times the LUTs of the same unit once implemented. They serve for two
      checks only: whether the block RAMs of a unit hold thresholds, and the count of DSP slices.
    - Builds in which a unit without block RAM is smaller than the ROM of its own parameters: synthesis has
      folded constants there, and the row says nothing about the structure.
    - hls4ml (another structure: the inputs and accumulators of a layer side by side, multiplexed by the reuse
      factor, or constant weights), da4ml (constant weights), whole models. Of hls4ml's HLS estimates the DSP
      count is checked where the reuse factor is above 1: at 1 the weights are constants.
    - ``Thresholding_rtl`` (one boundary, the same for all channels) and ``Thresholding_Batch`` (6 bits in,
      6 out, folded into a table), windows and pooling (no such block yet), FIFOs neither of 2 nor of 32 words
      (two, whose block RAMs cannot hold their declared size), width converters that are HLS kernels of their
      own (with port registers that ours do not have), DMA channels with more than two block RAMs (they hold
      words of thousands of bits).

Repeated builds of one configuration by one author count once, with their median; every author weighs the
same. Coefficients are positive, the loss is on log ratios (soft L1), and a weak pull to a prior (from the
architecture of the device) decides where the rows do not. Validation leaves out all rows of one author at a
time. The structure of the model itself was chosen with all of them in sight, so a new author's designs can be
further off than the table says.
"""

import argparse
import csv
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from flow.plan import cost, cost_coefficients
from flow.plan.cost_coefficients import Coefficients, CostFile, ModelError
from flow.plan.cost_memory import rom
from flow.plan.resources import Resources

Row = dict[str, str]

LUT_PRIORS = {
    "product_lut": 1.0,  # an array multiplier: AND and full adder in one LUT
    "adder_lut": 1.0,  # a carry chain
    "popcount_lut": 1.5,  # Yosys makes 1.4 (8 bits) to 2.2 (112 bits) of a tree of adders, XNOR included
    "accumulator_lut": 1.0,
    "comparator_lut": 0.5,  # two bits of both operands in one LUT of a carry chain
    "control_lut": 100.0,
}
FF_PRIORS = {
    "pipeline_ff": 0.5,
    "popcount_ff": 1.0,
    "accumulator_ff": 2.0,
    "rom_ff": 0.3,
    "control_ff": 100.0,
}
MULTIPLEXER_PRIOR = 0.3  # LUTs a bit of FINN's input registers: a 16:1 multiplexer takes four LUTs
PULL = 0.45  # weight of a deviation from the prior by a factor of e, in the same unit as a row's log error
SOFT = 0.2  # log error beyond which the loss grows linearly
DIGITS = 4  # significant ones, of what is written


@dataclass(frozen=True, slots=True)
class Unit:
    """One configuration of FINN's matrix-vector unit, with the median of what its builds took."""

    repository: str
    name: str
    builds: int
    config: cost.MatrixVector
    levels: int
    out_bits: int
    weight_stream: bool
    threshold_bram18: int
    lut: float
    ff: float
    dsp: float
    bram18: float
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


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted coefficients of the model, and FINN's own of the structure that ours does not have."""

    values: dict[str, float]
    multiplexer: float

    def estimate(self, unit: Unit, base: Coefficients) -> Resources:
        """The unit as FINN builds it."""
        c = replace(base, **self.values)
        extra_lut = self.multiplexer * unit.buffered_bits + c.fifo_register_lut * unit.streamed_bits
        extra_ff = unit.buffered_bits + 2 * c.fifo_register_ff * unit.streamed_bits
        return unit.price(c) + Resources(round(extra_lut), round(extra_ff), 0, unit.threshold_bram18, 0)


def repository(row: Row) -> str:
    """Whose design it is: the part of the source before the commit."""
    return row["source"].split(":")[1].split("@")[0]


def built(rows: Iterable[Row], *kinds: str) -> list[Row]:
    """The rows of these kinds that were synthesised or routed, not only estimated."""
    return [row for row in rows if row["stage"] in ("vsynth", "impl") and row["layer_type"] in kinds]


def noted(row: Row, report: str, resource: str) -> int | None:
    """A number that another report of the same block gave, from the notes."""
    found = re.search(rf"{report} [^;]*?\b{resource}=(\d+)", row["notes"])
    return int(found[1]) if found else None


def units(rows: Sequence[Row]) -> tuple[list[Unit], int]:
    """The configurations to fit on, and how many rows they stand for."""
    chosen = [(row["source"], _unit(row)) for row in built(rows, "MVAU_hls", "StreamingFCLayer_Batch")]
    folded = {source for source, unit in chosen if unit.lut < _parameter_luts(unit)}
    groups: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
    for source, unit in chosen:
        if source not in folded:
            groups[unit.repository, unit.config, unit.levels, unit.out_bits].append(unit)
    merged = [
        replace(
            group[0],
            builds=len(group),
            **{name: statistics.median(getattr(u, name) for u in group) for name in ("lut", "ff", "dsp", "bram18")},
        )
        for group in groups.values()
    ]
    return merged, sum(len(group) for group in groups.values())


def _unit(row: Row) -> Unit:
    options = dict(option.split("=") for option in row["parallelism"].split(";"))
    shape = row["in_shape"].split("x")
    thresholds = noted(row, "HLS_csynth", "BRAM18") or 0
    weights, inputs, outs = (int(row[k]) for k in ("weight_bits", "act_bits", "out_bits"))
    config = cost.MatrixVector(
        inputs=int(row["n_in"]),
        outputs=int(row["n_out"]),
        positions=int(shape[1]) if len(shape) > 2 else 1,
        pe=int(options["PE"]),
        simd=int(options["SIMD"]),
        weight_bits=weights,
        input_bits=inputs,
        acc_bits=int(row["acc_bits"]),
        xnor=weights == inputs == 1,
        weight_memory="bram" if int(row["BRAM18"]) > thresholds else "lut",
        multiplier="dsp" if int(row["DSP"]) else "lut",
    )
    return Unit(
        repository=repository(row),
        name=row["layer_or_model"],
        builds=1,
        config=config,
        levels=0 if options["noActivation"] == "1" else 2**outs - 1,
        out_bits=outs,
        weight_stream=row["layer_type"] == "MVAU_hls",
        threshold_bram18=thresholds,
        lut=int(row["LUT"]),
        ff=int(row["FF"]),
        dsp=int(row["DSP"]),
        bram18=int(row["BRAM18"]),
        finn_lut=noted(row, "FINN_est", "LUT"),
        csynth_lut=noted(row, "HLS_csynth", "LUT"),
    )


def _parameter_luts(unit: Unit) -> float:
    if unit.bram18:
        return 0
    c = unit.config
    return c.outputs * (c.inputs * c.weight_bits + unit.levels * c.acc_bits) / 64


def fit_units(chosen: Sequence[Unit], base: Coefficients) -> Fit:
    """The coefficients of the matrix-vector unit, from these units alone."""
    base = replace(base, **dict.fromkeys([*LUT_PRIORS, *FF_PRIORS], 0.0))
    slices = [base.fifo_register_lut * u.streamed_bits for u in chosen]
    registers = [u.buffered_bits + 2 * base.fifo_register_ff * u.streamed_bits for u in chosen]
    buffers = [float(u.buffered_bits) for u in chosen]
    luts = _positive_fit(chosen, "lut", base, LUT_PRIORS, slices, {"multiplexer": (MULTIPLEXER_PRIOR, buffers)})
    ffs = _positive_fit(chosen, "ff", base, FF_PRIORS, registers, {})
    multiplexer = luts.pop("multiplexer")
    return Fit({name: _rounded(value) for name, value in (luts | ffs).items()}, multiplexer)


def _positive_fit(
    chosen: Sequence[Unit],
    resource: str,
    base: Coefficients,
    priors: dict[str, float],
    known: Sequence[float],
    extra: dict[str, tuple[float, Sequence[float]]],
) -> dict[str, float]:
    """Robust fit of log ratios. The model is linear in its coefficients: its own code gives the features."""
    constant = np.array([getattr(u.price(base), resource) for u in chosen], float)
    unit_of = 1e7  # so large that rounding up to whole LUTs does not matter
    columns = [
        (np.array([getattr(u.price(replace(base, **{n: unit_of})), resource) for u in chosen]) - constant) / unit_of
        for n in priors
    ] + [np.array(column, float) for _, column in extra.values()]
    matrix, offset = np.stack(columns, 1), constant + np.array(known, float)
    prior = np.log([*priors.values(), *(value for value, _ in extra.values())])
    truth = np.array([getattr(u, resource) for u in chosen], float)
    authors = Counter(u.repository for u in chosen)
    weight = np.array([1 / authors[u.repository] for u in chosen])
    weight = np.sqrt(weight * len(chosen) / weight.sum())

    def residuals(logs: np.ndarray) -> np.ndarray:
        error = np.log(matrix @ np.exp(logs) + offset) - np.log(truth)
        soft = SOFT * np.sqrt(2 * (np.sqrt(1 + (error / SOFT) ** 2) - 1))
        return np.concatenate([weight * soft, PULL * (logs - prior)])

    solution = np.exp(least_squares(residuals, prior).x)
    return dict(zip([*priors, *extra], solution.tolist(), strict=True))


def fit_lines(rows: Sequence[tuple[dict[str, float], float]], names: Sequence[str]) -> dict[str, float]:
    """Non-negative coefficients that minimise the relative error of a sum of terms, robustly."""
    matrix = np.array([[terms.get(name, 0.0) for name in names] for terms, _ in rows])
    truth = np.array([value for _, value in rows])
    found = least_squares(
        lambda x: (matrix @ x - truth) / truth,
        np.ones(len(names)),
        bounds=(0, np.inf),
        loss="soft_l1",
        f_scale=SOFT,
    )
    return {name: _rounded(float(value)) for name, value in zip(names, found.x, strict=True)}


def fit_fifos(rows: Sequence[Row]) -> dict[str, float]:
    """FIFOs in registers (two words) and in shift registers (32 words); each different one counts once."""
    shallow, deep = (_fifos(rows, depth) for depth in (2, 32))
    found: dict[str, float] = {}
    for resource, slope, constant in (("LUT", "lut", "control_lut"), ("FF", "ff", "control_ff")):
        terms = [({"slope": width, "constant": 1.0}, taken[resource]) for width, taken in shallow]
        line = fit_lines(terms, ("slope", "constant"))
        found |= {f"fifo_register_{slope}": line["slope"], f"fifo_register_{constant}": line["constant"]}
        cells = 1 if resource == "LUT" else 0  # the shift registers themselves
        terms = [({"slope": w, "constant": 1.0}, t[resource] - cells * w) for w, t in deep]
        line = fit_lines(terms, ("slope", "constant"))
        found |= {f"fifo_srl_{slope}": line["slope"], f"fifo_{constant}": line["constant"]}
    return found


def _fifos(rows: Sequence[Row], depth: int) -> list[tuple[float, dict[str, float]]]:
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in built(rows, "StreamingFIFO", "StreamingFIFO_rtl"):
        if row["parallelism"].startswith(f"depth={depth};impl_style=rtl"):
            lanes = int(row["in_shape"].strip("[]").split(",")[-1])
            groups[repository(row), lanes * int(row["act_bits"])].append(row)
    return [(width, _medians(group, ("LUT", "FF"))) for (_, width), group in groups.items()]


def fit_converters(rows: Sequence[Row]) -> dict[str, float]:
    """Width converters written in RTL; all of one author."""
    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in built(rows, "StreamingDataWidthConverter_rtl"):
        groups[int(row["in_shape"].rstrip("b")), int(row["out_shape"].rstrip("b"))].append(row)
    luts, ffs = [], []
    for (before, after), group in groups.items():
        taken = _medians(group, ("LUT", "FF"))
        kind = "narrowing_lut" if before > after else "widening_lut"
        luts.append(({kind: float(max(before, after)), "converter_control_lut": 1.0}, taken["LUT"]))
        ffs.append(({"converter_ff": float(before + after), "converter_control_ff": 1.0}, taken["FF"]))
    return fit_lines(luts, ("narrowing_lut", "widening_lut", "converter_control_lut")) | fit_lines(
        ffs, ("converter_ff", "converter_control_ff")
    )


def shell_blocks(rows: Sequence[Row]) -> dict[str, float]:
    """One DMA channel, and the interconnect with its reset: the median over authors, and over directions."""
    groups: dict[str, dict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in built(rows, "shell"):
        name = re.sub(r"_\d+M?$", "", row["layer_or_model"])
        kind = "dma" if "IODMA" in name else "reset" if name.startswith("rst_") else name
        if int(row["BRAM18"]) <= 2:
            groups[kind][repository(row), name].append(row)
    blocks = {
        kind: {
            key: statistics.median(_medians(group, (key,))[key] for group in instances.values())
            for key in ("LUT", "FF", "BRAM18")
        }
        for kind, instances in groups.items()
    }
    joined = [blocks[kind] for kind in ("axi_interconnect", "smartconnect", "reset")]
    return {
        "dma_lut": blocks["dma"]["LUT"],
        "dma_ff": blocks["dma"]["FF"],
        "dma_bram18": float(math.ceil(blocks["dma"]["BRAM18"])),
        "interconnect_lut": sum(block["LUT"] for block in joined),
        "interconnect_ff": sum(block["FF"] for block in joined),
    }


def _medians(group: Sequence[Row], keys: Sequence[str]) -> dict[str, float]:
    return {key: statistics.median(float(row[key]) for row in group) for key in keys}


def dsp_pairs(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Estimated and HLS-estimated DSP slices of hls4ml's single layers that multiply in DSP slices."""
    pairs = []
    for row in rows:
        complete = all(row[key] for key in ("n_in", "n_out", "reuse_factor", "weight_bits", "act_bits", "DSP"))
        if row["stage"] != "csynth" or row["strategy"] != "resource" or not complete or row["DSP"] == "0":
            continue
        if row["reuse_factor"] == "1":
            continue
        if row["layer_type"] not in ("single_dense_model", "dense_resource", "dense"):
            continue
        at_once = math.ceil(int(row["n_in"]) * int(row["n_out"]) / int(row["reuse_factor"]))
        each = cost.dsp_slices(int(float(row["weight_bits"])), int(float(row["act_bits"])), "DSP48E2")
        pairs.append((float(at_once * each), float(row["DSP"])))
    return pairs


def smape(pairs: Sequence[tuple[float, float]]) -> float:
    """Symmetric mean absolute percentage error of (estimate, truth)."""
    return 100 * statistics.mean(2 * abs(e - t) / (e + t) if e + t else 0.0 for e, t in pairs)


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Median of estimate / truth."""
    return statistics.median(e / t for e, t in pairs)


def within(pairs: Sequence[tuple[float, float]], distance: float) -> float:
    """Percent of the estimates that are at most ``distance`` off."""
    return 100 * statistics.mean(abs(e - t) <= distance for e, t in pairs)


def left_out(chosen: Sequence[Unit], rows: Sequence[Row], base: Coefficients) -> list[tuple[Unit, Resources]]:
    """Every unit as estimated without any row of its author."""
    estimates = []
    for author in sorted({u.repository for u in chosen}):
        others = [row for row in rows if repository(row) != author]
        trained = replace(base, **fit_fifos(others))
        fit = fit_units([u for u in chosen if u.repository != author], trained)
        estimates += [(u, fit.estimate(u, trained)) for u in chosen if u.repository == author]
    return estimates


def pairs_of(estimates: Iterable[tuple[Unit, Resources]], resource: str) -> list[tuple[float, float]]:
    """(estimate, truth) of one resource."""
    return [(float(getattr(r, resource)), float(getattr(u, resource))) for u, r in estimates]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found: the numbers to write, and the table to print."""

    values: dict[str, float]
    sources: dict[str, str]
    error: ModelError
    table: str


def run(rows: Sequence[Row], current: CostFile) -> Outcome:
    """Fits and validates on the rows of a file; ``current`` gives what is not fitted."""
    chosen, count = units(rows)
    simple = fit_fifos(rows) | fit_converters(rows) | shell_blocks(rows)
    base = replace(current.coefficients, **simple)
    fit = fit_units(chosen, base)
    inside = [(u, fit.estimate(u, base)) for u in chosen]
    outside = left_out(chosen, rows, current.coefficients)
    memories = [(u, r) for u, r in outside if u.config.weight_memory == "bram"]
    dsp = dsp_pairs(rows)
    error = ModelError(
        rows=count,
        configurations=len(chosen),
        repositories=len({u.repository for u in chosen}),
        lut_smape=round(smape(pairs_of(outside, "lut")), 1),
        lut_ratio=round(ratio(pairs_of(outside, "lut")), 2),
        ff_smape=round(smape(pairs_of(outside, "ff")), 1),
        ff_ratio=round(ratio(pairs_of(outside, "ff")), 2),
        bram18_within_one=round(within(pairs_of(memories, "bram18"), 1), 1),
        bram18_ratio=round(ratio(pairs_of(memories, "bram18")), 2),
        bram18_rows=len(memories),
        dsp_exact=round(within(dsp, 0), 1),
        dsp_ratio=round(ratio(dsp), 2),
        dsp_rows=len(dsp),
    )
    sources = _sources(rows, chosen, count)
    return Outcome(fit.values | simple, sources, error, _table(inside, outside, memories, dsp, fit, error))


def _sources(rows: Sequence[Row], chosen: Sequence[Unit], count: int) -> dict[str, str]:
    authors = len({u.repository for u in chosen})
    matrix = f"{count} implemented matrix-vector units of {authors} authors, {len(chosen)} different"
    binary = [u for u in chosen if u.config.xnor]
    counted = f"{len(binary)} different bipolar units of one author, in their sum with FINN's weight stream"
    shallow, deep = _fifos(rows, 2), _fifos(rows, 32)
    converters = built(rows, "StreamingDataWidthConverter_rtl")
    sources = dict.fromkeys([*LUT_PRIORS, *FF_PRIORS], matrix)
    sources |= dict.fromkeys(("popcount_lut", "popcount_ff"), counted)
    registers = f"FINN's register FIFOs of two words, {len(shallow)} different"
    srl = f"FINN's shift register FIFOs of 32 words, {len(deep)} different"
    for resource in ("lut", "ff"):
        sources |= dict.fromkeys((f"fifo_register_{resource}", f"fifo_register_control_{resource}"), registers)
        sources |= dict.fromkeys((f"fifo_srl_{resource}", f"fifo_control_{resource}"), srl)
    for name in (
        "narrowing_lut",
        "widening_lut",
        "converter_ff",
        "converter_control_lut",
        "converter_control_ff",
    ):
        sources[name] = f"{len(converters)} RTL width converters of one author; not validated on another's"
    shell = built(rows, "shell")
    for name in ("dma_lut", "dma_ff", "dma_bram18", "interconnect_lut", "interconnect_ff"):
        sources[name] = f"median over authors of FINN's shell, {len(shell)} blocks in all"
    return sources


def _table(
    inside: Sequence[tuple[Unit, Resources]],
    outside: Sequence[tuple[Unit, Resources]],
    memories: Sequence[tuple[Unit, Resources]],
    dsp: Sequence[tuple[float, float]],
    fit: Fit,
    error: ModelError,
) -> str:
    def line(title: str, pairs: Sequence[tuple[float, float]]) -> str:
        return f"{title:<58}{len(pairs):>5}{smape(pairs):>9.1f}{ratio(pairs):>8.2f}"

    lines = [f"{'matrix-vector units (one for each configuration)':<58}{'n':>5}{'SMAPE %':>9}{'ratio':>8}"]
    for resource in ("lut", "ff"):
        lines.append(line(f"{resource.upper()}, fitted on all", pairs_of(inside, resource)))
        lines.append(line(f"{resource.upper()}, author left out", pairs_of(outside, resource)))
        for author in sorted({u.repository for u, _ in outside}):
            own = [(u, r) for u, r in outside if u.repository == author]
            lines.append(line(f"    {author}", pairs_of(own, resource)))
    compared = [(u, r) for u, r in outside if u.finn_lut is not None]
    lines.append(line("LUT, author left out, where FINN's estimate is known", pairs_of(compared, "lut")))
    lines.append(line("LUT, FINN's estimate for the same", [(u.finn_lut or 0, u.lut) for u, _ in compared]))
    hls = [(u.csynth_lut or 0, u.lut) for u, _ in outside if u.csynth_lut]
    lines.append(line("LUT, the HLS tool's estimate (without weight memory)", hls))
    blocks = pairs_of(memories, "bram18")
    lines.append(line("BRAM18, weights in block RAM", blocks))
    lines.append(f"    within one: {error.bram18_within_one:g} %; exact: {within(blocks, 0):.1f} %")
    lines.append(line("DSP, hls4ml single layers, against HLS estimates", dsp))
    lines.append(f"    exact: {error.dsp_exact:g} %; within 3 %: {_near(dsp, 0.03):.1f} %")
    lines += ["", "unit by unit, author left out:"]
    for u, r in outside:
        c = u.config
        shape = f"w{c.weight_bits}a{c.input_bits} {c.inputs}x{c.outputs} pe{c.pe} simd{c.simd} levels{u.levels}"
        lines.append(
            f"  {u.repository.split('/')[0][:12]:<13}{shape:<38}x{u.builds:<3}"
            f"LUT {r.lut:>6} / {u.lut:>8g}   FF {r.ff:>6} / {u.ff:>8g}   BRAM18 {r.bram18:>3} / {u.bram18:g}"
        )
    lines += ["", *(f"{name:<20}{value:g}" for name, value in fit.values.items())]
    lines.append(f"{'(input multiplexer)':<20}{fit.multiplexer:.3g}")
    return "\n".join(lines)


def _near(pairs: Sequence[tuple[float, float]], share: float) -> float:
    return 100 * statistics.mean(abs(e - t) <= share * t for e, t in pairs)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def render(outcome: Outcome, current: CostFile) -> str:
    """coefficients.toml with the outcome; what is neither fitted nor measured stays as it is."""
    values = asdict(current.coefficients) | outcome.values
    sources = current.sources | outcome.sources
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# The numbers of the cost model; cost_coefficients.py says what each one is.",
        "# origin: architecture (a fact about the device), fitted or measured (by benchmarks/fit_cost.py,",
        "# which writes this file), assumed (nothing here has measured it).",
    ]
    for field in fields(Coefficients):
        name = field.name
        lines += [
            "",
            f"[coefficients.{name}]",
            f"value = {values[name]:g}",
            f'unit = "{current.units[name]}"',
            f'origin = "{current.origins[name]}"',
            f'source = "{sources[name]}"',
        ]
    lines += ["", "# On designs of authors whose rows were left out of the fit.", "[error]"]
    lines += [f"{name} = {value:g}" for name, value in asdict(outcome.error).items()]
    return "\n".join(lines) + "\n"


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of measurements."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main(write: Callable[[str], None] = print) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Fits the cost model to measured designs.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("--write", action="store_true", help="rewrite coefficients.toml")
    arguments = parser.parse_args()
    current = cost_coefficients.read(cost_coefficients.FILE)
    outcome = run(read_rows(arguments.csv), current)
    write(outcome.table)
    if arguments.write:
        cost_coefficients.FILE.write_text(render(outcome, current))


if __name__ == "__main__":
    main()
