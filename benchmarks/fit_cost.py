# SPDX-License-Identifier: Apache-2.0
"""Fits the cost model to measured designs, says how far it is off, and writes coefficients.toml.

    python benchmarks/fit_cost.py CSV [--model TFC_1W1A.onnx] [--write]

CSV holds a measured block a row: source, layer_type, widths, parallelism, LUT, FF, DSP, BRAM18, stage, notes. Which
row serves for what, and which rule leaves which rows out, stands in ``finn_rows.py``; the table counts them. With
``--model`` the network of that file is planned with the folding of its FINN builds in CSV, and compared as a whole.

Repeated builds of one configuration by one author count once, with their median; every author weighs the same.
Coefficients are positive, the loss is on log ratios (soft L1), and a weak pull to a prior (from the architecture of
the device) decides where the rows do not. Validation leaves out all rows of one author at a time. The structure of
the model itself was chosen with all of them in sight, so a new author's designs can be further off than the table
says.
"""

import argparse
import itertools
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import whole_designs
from finn_rows import (
    Kernel,
    Row,
    ShellBlock,
    Sorted,
    Unit,
    counts,
    kernels,
    options,
    read_rows,
    shell_blocks,
    sort_rows,
    units,
)

from flow.plan import cost, cost_coefficients
from flow.plan.cost_coefficients import Coefficients, CostFile, Interval, Kind, ModelError
from flow.plan.cost_fit import Pairs, factor, features, line_fit, positive_fit, ratio, smape, within
from flow.plan.cost_interval import bounds
from flow.plan.resources import Resources

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
KERNEL_LUT_PRIORS = {
    "narrowing_lut": 0.5,  # load or shift: two multiplexers of two in a LUT
    "widening_lut": 0.1,  # a write enable for each part
    "maximum_lut": 1.0,  # half a LUT to compare, half to choose
    "counter_lut": 50.0,
    "slice_lut": 0.5,  # of FINN's ports: two multiplexers of two in a LUT
    "rtl_control_lut": 5.0,  # of FINN's converters in RTL
}
KERNEL_FF_PRIORS = {
    "converter_ff": 1.0,
    "maximum_ff": 1.0,
    "counter_ff": 50.0,
    "rtl_control_ff": 5.0,
}
EXTRAS = ("slice_lut", "rtl_control_lut", "rtl_control_ff")
"""What FINN's blocks have and ours do not."""
SHARE = 0.8  # of the blocks that an interval holds
UNMEASURED = Interval(2, 2, 0, 0)
"""Of blocks that were compared with nothing: a factor of two either way is assumed."""
DIGITS = 4  # significant ones, of what is written
HEADING = """\
# SPDX-License-Identifier: Apache-2.0
# The numbers of the cost model; cost_coefficients.py says what each one is.
# origin: architecture (a fact about the device), fitted or measured (by benchmarks/fit_cost.py,
# which writes this file), assumed (nothing here has measured it).
"""


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted coefficients of the model, and FINN's own of the structure that ours does not have."""

    values: dict[str, float]
    extras: dict[str, float]
    multiplexer: float

    def unit(self, unit: Unit, base: Coefficients) -> Resources:
        """A matrix-vector unit as FINN builds it."""
        c = replace(base, **self.values)
        extra_lut = self.multiplexer * unit.buffered_bits + c.fifo_register_lut * unit.streamed_bits
        extra_ff = unit.buffered_bits + 2 * c.fifo_register_ff * unit.streamed_bits
        return unit.price(c) + Resources(round(extra_lut), round(extra_ff), 0, unit.threshold_bram18, 0)

    def kernel(self, kernel: Kernel) -> Resources:
        """A small block as FINN builds it."""
        values = KERNEL_LUT_PRIORS | KERNEL_FF_PRIORS | self.values | self.extras
        return Resources(round(kernel.estimate(values, "lut")), round(kernel.estimate(values, "ff")), 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Compared:
    """A block with its estimate, made without any row of its author.

    Attributes:
        kind: As in the intervals.
        label: What it is.
        repository: Whose design.
        sources: The builds that it was taken from, once for each instance.
        estimate: Of the model.
        lut: Measured.
        ff: Measured.
    """

    kind: Kind
    label: str
    repository: str
    sources: tuple[str, ...]
    estimate: Resources
    lut: float
    ff: float


def fit_all(chosen: Sequence[Unit], small: Sequence[Kernel], shell: Sequence[ShellBlock], base: Coefficients) -> Fit:
    """All coefficients, from these blocks alone."""
    simple = _fit_fifos([k for k in small if k.kind == "fifo"])
    found, extras = _fit_kernels([k for k in small if k.kind != "fifo"])
    values = simple | found | _shell_values(shell)
    matrix, multiplexer = fit_units(chosen, replace(base, **values))
    return Fit(values | matrix, extras, multiplexer)


def fit_units(chosen: Sequence[Unit], base: Coefficients) -> tuple[dict[str, float], float]:
    """The coefficients of the matrix-vector unit, and the LUTs of a bit of FINN's input multiplexer."""
    base = replace(base, **dict.fromkeys([*LUT_PRIORS, *FF_PRIORS], 0.0))
    slices = [base.fifo_register_lut * u.streamed_bits for u in chosen]
    registers = [u.buffered_bits + 2 * base.fifo_register_ff * u.streamed_bits for u in chosen]
    buffers = [float(u.buffered_bits) for u in chosen]
    *luts, multiplexer = _fit_resource(chosen, "lut", base, LUT_PRIORS, slices, [(MULTIPLEXER_PRIOR, buffers)])
    ffs = _fit_resource(chosen, "ff", base, FF_PRIORS, registers, [])
    found = dict(zip([*LUT_PRIORS, *FF_PRIORS], [*luts, *ffs], strict=True))
    return {name: _rounded(value) for name, value in found.items()}, multiplexer


def _fit_resource(
    chosen: Sequence[Unit],
    resource: str,
    base: Coefficients,
    priors: dict[str, float],
    known: Sequence[float],
    extra: Sequence[tuple[float, Sequence[float]]],
) -> list[float]:
    """One resource of the matrix-vector units: the model's own code gives the features."""
    prices = [lambda c, u=u: float(getattr(u.price(c), resource)) for u in chosen]
    constant, model = features(prices, list(priors), base)
    columns = [*model.T, *(np.array(column, float) for _, column in extra)]
    prior = np.array([*priors.values(), *(value for value, _ in extra)])
    truth = np.array([getattr(u, resource) for u in chosen], float)
    offset = constant + np.array(known, float)
    return positive_fit(np.stack(columns, 1), offset, truth, prior, _weights(chosen)).tolist()


def _weights(blocks: Sequence[Unit] | Sequence[Kernel]) -> np.ndarray:
    """Every author weighs the same."""
    authors = Counter(block.repository for block in blocks)
    return np.array([1 / authors[block.repository] for block in blocks])


def _fit_fifos(fifos: Sequence[Kernel]) -> dict[str, float]:
    """FIFOs in registers (two words) and in shift registers; each different one counts once."""
    found: dict[str, float] = {}
    for names in (
        ("fifo_register_lut", "fifo_register_control_lut"),
        ("fifo_register_ff", "fifo_register_control_ff"),
        ("fifo_srl_lut", "fifo_control_lut"),
        ("fifo_srl_ff", "fifo_control_ff"),
    ):
        resource = names[0].rsplit("_", 1)[1]
        rows = [(k.lut_terms if resource == "lut" else k.ff_terms, getattr(k, resource)) for k in fifos]
        rows = [(terms, taken) for terms, taken in rows if names[0] in terms]
        features = np.array([[terms[name] for name in names] for terms, _ in rows])
        truth = np.array([taken - terms.get("", 0.0) for terms, taken in rows])
        found |= {n: _rounded(value) for n, value in zip(names, line_fit(features, truth).tolist(), strict=True)}
    return found


def _fit_kernels(small: Sequence[Kernel]) -> tuple[dict[str, float], dict[str, float]]:
    """Width converters, pools and tables together: they share the control and FINN's port registers."""
    found: dict[str, float] = {}
    for resource, priors in (("lut", KERNEL_LUT_PRIORS), ("ff", KERNEL_FF_PRIORS)):
        terms = [k.lut_terms if resource == "lut" else k.ff_terms for k in small]
        names = [name for name in priors if any(name in of for of in terms)]
        features = np.array([[of.get(name, 0.0) for name in names] for of in terms])
        offset = np.array([of.get("", 0.0) for of in terms])
        truth = np.array([getattr(k, resource) for k in small], float)
        prior = np.array([priors[name] for name in names])
        values = positive_fit(features, offset, truth, prior, _weights(small)).tolist()
        found |= {name: _rounded(value) for name, value in zip(names, values, strict=True)}
    extras = {name: found.pop(name) for name in EXTRAS if name in found}
    return found, extras


def _shell_values(shell: Sequence[ShellBlock]) -> dict[str, float]:
    """One DMA channel, and the interconnect with its reset: the median over authors, and over directions."""

    def median(kind: str, resource: str) -> float:
        return statistics.median(getattr(block, resource) for block in shell if block.kind == kind)

    joined = [kind for kind in ("axi_interconnect", "smartconnect", "reset") if any(b.kind == kind for b in shell)]
    return {
        "dma_lut": median("dma", "lut"),
        "dma_ff": median("dma", "ff"),
        "dma_bram18": float(math.ceil(median("dma", "bram18"))),
        "interconnect_lut": _rounded(sum(median(kind, "lut") for kind in joined)),
        "interconnect_ff": _rounded(sum(median(kind, "ff") for kind in joined)),
    }


def left_out(
    chosen: Sequence[Unit], small: Sequence[Kernel], shell: Sequence[ShellBlock], base: Coefficients
) -> list[tuple[Unit | Kernel | ShellBlock, Compared]]:
    """Every block as estimated without any row of its author."""
    found: list[tuple[Unit | Kernel | ShellBlock, Compared]] = []
    for author in sorted({u.repository for u in chosen}):
        fit = fit_all(
            [u for u in chosen if u.repository != author],
            [k for k in small if k.repository != author],
            [b for b in shell if b.repository != author],
            base,
        )
        own_base = replace(base, **fit.values)
        found += [
            (u, Compared("matrix_vector", _shape(u), author, u.sources, fit.unit(u, own_base), u.lut, u.ff))
            for u in chosen
            if u.repository == author
        ]
        found += [
            (k, Compared(_kind(k), k.label, author, k.sources, fit.kernel(k), k.lut, k.ff))
            for k in small
            if k.repository == author and k.kind in ("fifo", "converter")
        ]
        others = [b for b in shell if b.repository != author]
        for block in shell:
            alike = [b for b in others if b.kind == block.kind]
            if block.repository == author and alike:
                estimate = Resources(
                    *(round(statistics.median(getattr(b, name) for b in alike)) for name in ("lut", "ff")), 0, 0, 0
                )
                found.append(
                    (block, Compared("shell", block.name, author, block.sources, estimate, block.lut, block.ff))
                )
    return found


def _kind(kernel: Kernel) -> Kind:
    return "fifo" if kernel.kind == "fifo" else "converter"


def _shape(unit: Unit) -> str:
    c = unit.config
    return f"w{c.weight_bits}a{c.input_bits} {c.inputs}x{c.outputs} pe{c.pe} simd{c.simd} levels{unit.levels}"


def intervals(compared: Sequence[Compared]) -> dict[Kind, Interval]:
    """For each kind of block, the factor within which ``SHARE`` of the estimates are."""
    found: dict[Kind, Interval] = {}
    kinds: tuple[Kind, ...] = ("matrix_vector", "fifo", "converter", "shell")
    for kind in kinds:
        blocks = [c for c in compared if c.kind == kind]
        authors = [c.repository for c in blocks]
        lut, ff = (_rounded(factor(pairs_of(blocks, resource), authors, SHARE)) for resource in ("lut", "ff"))
        found[kind] = Interval(lut, ff, len(blocks), len(set(authors)))
    found["other"] = UNMEASURED
    return found


def pairs_of(compared: Iterable[Compared], resource: str) -> list[tuple[float, float]]:
    """(estimate, truth) of one resource."""
    return [(float(getattr(c.estimate, resource)), float(getattr(c, resource))) for c in compared]


@dataclass(frozen=True, slots=True)
class Sum:
    """The blocks of one build together, and its intervals from the errors of the other authors' blocks."""

    repository: str
    source: str
    blocks: int
    estimate: tuple[float, float]
    truth: tuple[float, float]
    added: tuple[tuple[float, float], tuple[float, float]]
    squared: tuple[tuple[float, float], tuple[float, float]]

    def holds(self, resource: int, how: str) -> bool:
        """Whether the truth lies in the interval."""
        low, high = getattr(self, how)[resource]
        return bool(low <= self.truth[resource] <= high)


def sums(compared: Sequence[Compared]) -> list[Sum]:
    """Every build whose blocks were estimated, with two ways to make the interval of a sum.

    ``added``: the ends are added (errors go together). ``squared``: the distances of the ends from the estimate are
    added as squares (errors are independent).
    """
    found = []
    for author in sorted({c.repository for c in compared}):
        theirs = [c for c in compared if c.repository == author]
        others = intervals([c for c in compared if c.repository != author])
        for source in sorted({source for c in theirs for source in c.sources}):
            blocks = [c for c in theirs for _ in range(c.sources.count(source))]
            low, high = bounds([(c.kind, c.estimate) for c in blocks], others)
            estimate = (float(sum(c.estimate.lut for c in blocks)), float(sum(c.estimate.ff for c in blocks)))
            truth = (sum(c.lut for c in blocks), sum(c.ff for c in blocks))
            added = ((float(low.lut), float(high.lut)), (float(low.ff), float(high.ff)))
            squared = []
            for resource, name in enumerate(("lut", "ff")):
                factors = [(getattr(c.estimate, name), getattr(others[c.kind], name)) for c in blocks]
                below = math.hypot(*(e - e / f for e, f in factors))
                above = math.hypot(*(e * f - e for e, f in factors))
                squared.append((estimate[resource] - below, estimate[resource] + above))
            found.append(Sum(author, source, len(blocks), estimate, truth, added, (squared[0], squared[1])))
    return found


def covered(found: Sequence[Sum], resource: int, how: str) -> float:
    """Percent of the sums that lie in their interval; every author weighs the same."""
    by_author: dict[str, list[bool]] = defaultdict(list)
    for one in found:
        by_author[one.repository].append(one.holds(resource, how))
    return 100 * statistics.mean(statistics.mean(held) for held in by_author.values())


def blocks_covered(compared: Sequence[Compared], kind: Kind, resource: str) -> float:
    """Percent of the blocks that lie in the interval made of the other authors' errors; every author the same."""
    shares = []
    for author in sorted({c.repository for c in compared if c.kind == kind}):
        limit = getattr(intervals([c for c in compared if c.repository != author])[kind], resource)
        own = pairs_of([c for c in compared if c.repository == author and c.kind == kind], resource)
        shares.append(statistics.mean(e / limit <= t <= e * limit for e, t in own))
    return 100 * statistics.mean(shares)


def dsp_of_estimates(rows: Iterable[Row]) -> list[tuple[float, float]]:
    """Estimated and HLS-estimated DSP slices of hls4ml's single layers that multiply in DSP slices."""
    pairs = []
    for row in rows:
        if row["DSP"] != "0":
            at_once = math.ceil(int(row["n_in"]) * int(row["n_out"]) / int(row["reuse_factor"]))
            each = cost.dsp_slices(int(float(row["weight_bits"])), int(float(row["act_bits"])), "DSP48E2")
            pairs.append((float(at_once * each), float(row["DSP"])))
    return pairs


def dsp_of_designs(rows: Iterable[Row]) -> list[tuple[float, float]]:
    """Estimated and synthesised DSP slices of hls4ml's stacks of dense layers."""
    pairs = []
    for row in rows:
        sizes = [int(size) for size in row["layer_or_model"].split("_")[1].split("-")]
        each = cost.dsp_slices(int(row["weight_bits"]), int(row["act_bits"]), "DSP48E2")
        at_once = sum(
            math.ceil(a * b / legal_reuse(int(row["reuse_factor"]), a, b)) for a, b in itertools.pairwise(sizes)
        )
        pairs.append((float(at_once * each), float(row["DSP"])))
    return pairs


def legal_reuse(asked: int, inputs: int, outputs: int) -> int:
    """The reuse factor that hls4ml takes for a dense layer when it is asked for another: the nearest legal one.

    Legal are divisors of all products, by which whole inputs are folded first: a divisor of the inputs, or a
    multiple of them.
    """
    total = inputs * outputs
    legal = [f for f in range(1, total + 1) if total % f == 0 and (inputs % f == 0 or f % inputs == 0)]
    return min(legal, key=lambda f: abs(f - asked))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found: the numbers to write, and the table to print."""

    values: dict[str, float]
    sources: dict[str, str]
    intervals: dict[Kind, Interval]
    error: ModelError
    extras: dict[str, float]
    table: str


def run(rows: Sequence[Row], current: CostFile) -> Outcome:
    """Fits and validates on the rows of a file; ``current`` gives what is not fitted."""
    found = sort_rows(rows)
    base = current.coefficients
    chosen, small = units(found.used["matrix-vector units"]), kernels(found, base)
    shell = shell_blocks(found.used["shell"])
    fit = fit_all(chosen, small, shell, base)
    outside = left_out(chosen, small, shell, base)
    compared = [c for _, c in outside]
    matrix = [c for c in compared if c.kind == "matrix_vector"]
    memories = [
        (float(c.estimate.bram18), u.bram18)
        for u, c in outside
        if isinstance(u, Unit) and u.config.weight_memory == "bram"
    ]
    dsp = dsp_of_designs(found.used["DSP of whole designs"])
    together = sums(compared)
    error = ModelError(
        rows=len(found.used["matrix-vector units"]),
        configurations=len(chosen),
        repositories=len({u.repository for u in chosen}),
        lut_smape=round(smape(pairs_of(matrix, "lut")), 1),
        lut_ratio=round(ratio(pairs_of(matrix, "lut")), 2),
        ff_smape=round(smape(pairs_of(matrix, "ff")), 1),
        ff_ratio=round(ratio(pairs_of(matrix, "ff")), 2),
        bram18_within_one=round(within(memories, 1), 1),
        bram18_ratio=round(ratio(memories), 2),
        bram18_rows=len(memories),
        dsp_exact=round(within(dsp, 0), 1),
        dsp_ratio=round(ratio(dsp), 2),
        dsp_rows=len(dsp),
        sums=len(together),
        lut_covered=round(covered(together, 0, "added"), 1),
        ff_covered=round(covered(together, 1, "added"), 1),
    )
    table = _table(found, fit, small, base, outside, memories, dsp, together)
    extras = {
        "stream_lut": fit.values["fifo_register_lut"],
        "stream_ff": 2 * fit.values["fifo_register_ff"],
        "buffer_lut": fit.multiplexer,
        "buffer_ff": 1.0,
    }
    return Outcome(fit.values, _sources(found, chosen, small), intervals(compared), error, extras, table)


def _sources(found: Sorted, chosen: Sequence[Unit], small: Sequence[Kernel]) -> dict[str, str]:
    def named(kind: str, *, deep: bool | None = None) -> str:
        of = [k for k in small if k.kind == kind and (deep is None or deep == ("" in k.lut_terms))]
        authors = len({k.repository for k in of})
        return f"{len(of)} different of {authors} author{'s' if authors > 1 else ''}"

    count = len(found.used["matrix-vector units"])
    authors = len({u.repository for u in chosen})
    matrix = f"{count} implemented matrix-vector units of {authors} authors, {len(chosen)} different"
    binary = [u for u in chosen if u.config.xnor]
    counted = f"{len(binary)} different bipolar units of one author, in their sum with FINN's weight stream"
    sources = dict.fromkeys([*LUT_PRIORS, *FF_PRIORS], matrix)
    sources |= dict.fromkeys(("popcount_lut", "popcount_ff"), counted)
    for resource in ("lut", "ff"):
        registers = f"FINN's register FIFOs of two words, {named('fifo', deep=False)}"
        sources |= dict.fromkeys((f"fifo_register_{resource}", f"fifo_register_control_{resource}"), registers)
        srl = f"FINN's shift register FIFOs of 32 words, {named('fifo', deep=True)}"
        sources |= dict.fromkeys((f"fifo_srl_{resource}", f"fifo_control_{resource}"), srl)
        sources[f"maximum_{resource}"] = f"FINN's pools, {named('pool')}; not validated on another's"
        sources[f"counter_{resource}"] = (
            "FINN's HLS kernels for width conversion, pooling and tables of one author; not validated on another's"
        )
    converters = f"FINN's width converters in RTL and HLS, {named('converter')}"
    sources |= dict.fromkeys(("narrowing_lut", "widening_lut", "converter_ff"), converters)
    shell = f"median over authors of FINN's shell, {len(found.used['shell'])} blocks in all"
    names = ("dma_lut", "dma_ff", "dma_bram18", "interconnect_lut", "interconnect_ff")
    return sources | dict.fromkeys(names, shell)


def _table(
    found: Sorted,
    fit: Fit,
    small: Sequence[Kernel],
    base: Coefficients,
    outside: Sequence[tuple[Unit | Kernel | ShellBlock, Compared]],
    memories: Pairs,
    dsp: Pairs,
    together: Sequence[Sum],
) -> str:
    compared = [c for _, c in outside]
    own_base = replace(base, **fit.values)
    own = [(u, fit.unit(u, own_base)) for u, _ in outside if isinstance(u, Unit)]
    lines = [counts(found), "", f"{'one for each configuration':<66}{'n':>5}{'SMAPE %':>9}{'ratio':>8}"]

    def line(title: str, pairs: Pairs) -> str:
        return f"{title:<66}{len(pairs):>5}{smape(pairs):>9.1f}{ratio(pairs):>8.2f}"

    for resource in ("lut", "ff"):
        inside = [(float(getattr(r, resource)), float(getattr(u, resource))) for u, r in own]
        lines.append(line(f"matrix-vector unit {resource.upper()}, fitted on all", inside))
        for kind in ("matrix_vector", "fifo", "converter", "shell"):
            blocks = [c for c in compared if c.kind == kind]
            lines.append(
                line(f"{kind.replace('_', '-')} {resource.upper()}, author left out", pairs_of(blocks, resource))
            )
            for author in sorted({c.repository for c in blocks}):
                lines.append(line(f"    {author}", pairs_of([c for c in blocks if c.repository == author], resource)))
    for kind in ("pool", "table"):
        for resource in ("lut", "ff"):
            one = [k for k in small if k.kind == kind]
            pairs = [(float(getattr(fit.kernel(k), resource)), getattr(k, resource)) for k in one]
            lines.append(line(f"{kind} {resource.upper()}, fitted on all: all of one author", pairs))
    finn = [(u, c) for u, c in outside if isinstance(u, Unit) and u.finn_lut is not None]
    lines.append(line("LUT, author left out, where FINN's estimate is known", pairs_of([c for _, c in finn], "lut")))
    lines.append(line("LUT, FINN's estimate for the same", [(u.finn_lut or 0, u.lut) for u, _ in finn]))
    hls = [(u.csynth_lut, u.lut) for u, _ in outside if isinstance(u, Unit) and u.csynth_lut]
    lines.append(line("LUT, the HLS tool's estimate (csynth, without weight memory)", hls))
    lines.append(line("BRAM18, weights in block RAM", memories))
    lines.append(f"    within one: {within(memories, 1):.1f} %; exact: {within(memories, 0):.1f} %")
    lines.append(line("DSP, hls4ml's stacks of dense layers, synthesised", dsp))
    lines.append(f"    exact: {within(dsp, 0):.1f} %; within one: {within(dsp, 1):.1f} %")
    estimates = dsp_of_estimates(found.used["HLS estimates of dense layers"])
    lines.append(line("DSP, hls4ml's single layers, HLS estimates (csynth)", estimates))
    lines.append(f"    exact: {within(estimates, 0):.1f} %")
    lines += _cycles(found, [u for u, _ in outside if isinstance(u, Unit)])
    searches = [(_search_ff(row, own_base), float(row["FF"])) for row in found.used["searches"]]
    lines.append(line("FF of a search (FINN's thresholds in RTL), no row of it in the fit", searches))

    lines += ["", f"factor within which {SHARE:.0%} of the left-out blocks are, and how many of an author's blocks"]
    lines.append("are within the factor that the other authors' blocks give (the mean over authors):")
    for kind, interval in intervals(compared).items():
        if interval.blocks:
            held = [blocks_covered(compared, kind, resource) for resource in ("lut", "ff")]
            lines.append(
                f"  {kind:<14} LUT {interval.lut:.2f} ({held[0]:.0f} % covered)   FF {interval.ff:.2f} "
                f"({held[1]:.0f} % covered)   "
                f"{interval.blocks} blocks of {interval.authors} authors"
            )
    lines += ["", f"sums of the blocks of a build, {len(together)} builds, intervals from the other authors' errors:"]
    for how, title in (("added", "ends added (used)"), ("squared", "as squares")):
        shares = [covered(together, resource, how) for resource in (0, 1)]
        lines.append(f"  {title:<20} LUT covered {shares[0]:.1f} %, FF covered {shares[1]:.1f} %")
    for resource, name in enumerate(("LUT", "FF")):
        lines.append(line(f"  {name} of the sums", [(s.estimate[resource], s.truth[resource]) for s in together]))
    lines += ["", "block by block, author left out:"]
    for c in compared:
        lines.append(
            f"  {c.repository.split('/')[0][:12]:<13}{c.kind:<14}{c.label[:52]:<53}x{len(c.sources):<3}"
            f"LUT {c.estimate.lut:>6} / {c.lut:>8g}   FF {c.estimate.ff:>6} / {c.ff:>8g}"
        )
    lines += ["", *(f"{name:<26}{value:g}" for name, value in fit.values.items())]
    extras = fit.extras | {"multiplexer_lut": fit.multiplexer}
    lines += [f"{name:<26}{value:.3g}   (FINN's, not in the model)" for name, value in extras.items()]
    return "\n".join(lines)


def _search_ff(row: Row, c: Coefficients) -> float:
    """Flip-flops of a binary search without its parameters: FINN's RTL compares once a stage, as ours does."""
    bits, outs, pe = int(row["act_bits"]), int(row["out_bits"]), int(options(row)["PE"])
    step = cost.StepHardware("search", 1, pe, bits, outs, 2**outs - 1, 0, 0, "lut")
    return float(cost.step_terms(step, "DSP48E2", c)["logic"].ff)


def _cycles(found: Sorted, chosen: Sequence[Unit]) -> list[str]:
    """Whether a folded unit takes the cycles that the model says."""
    known = [(float(cost.matrix_vector_cycles(u.config)), float(u.cycles)) for u in chosen if u.cycles is not None]
    told = [row for row in found.used["HLS estimates of dense layers"] if row["II"]]
    reuse = [(float(row["reuse_factor"]), float(row["II"])) for row in told]
    return [
        f"cycles of a matrix-vector unit, as FINN counts them: {within(known, 0):.1f} % exact of {len(known)}",
        f"II of hls4ml's dense layers (csynth) is the products over those at once: {within(reuse, 0):.1f} % exact "
        f"of {len(reuse)}",
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def render(outcome: Outcome, current: CostFile) -> str:
    """coefficients.toml with the outcome; what is neither fitted nor measured stays as it is."""
    values = replace(current.coefficients, **outcome.values)
    sources = current.sources | outcome.sources
    found = replace(current, coefficients=values, sources=sources, intervals=outcome.intervals, error=outcome.error)
    return cost_coefficients.render(found, HEADING)


def main(write: Callable[[str], None] = print) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Fits the cost model to measured designs.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("--model", type=Path, help="TFC_1W1A.onnx, to compare whole designs")
    parser.add_argument("--write", action="store_true", help="rewrite coefficients.toml")
    arguments = parser.parse_args()
    current = cost_coefficients.read(cost_coefficients.FILE)
    rows = read_rows(arguments.csv)
    outcome = run(rows, current)
    write(outcome.table)
    if arguments.write:
        cost_coefficients.FILE.write_text(render(outcome, current))
    if arguments.model is not None:
        write("\n" + whole_designs.table(rows, arguments.model, outcome.extras))


if __name__ == "__main__":
    main()
