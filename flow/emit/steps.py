# SPDX-License-Identifier: Apache-2.0
"""The C++ of a step function: expressions and constant tables for each form."""

from dataclasses import dataclass, field, replace

import numpy as np

from flow.emit.cxx import Table, codes, table, type_name
from flow.ir.dataflow import NEVER, Lookup, Step
from flow.ir.rounding import Rounding
from flow.ir.step_forms import Form, MultiplyShift, Ranges, Search, Shift, Thresholds, Wire
from flow.ir.step_forms import Table as TableForm
from flow.ir.types import Bipolar, ElementType, Ints, IntType


@dataclass(frozen=True, slots=True)
class SearchStage:
    """One comparison of a binary search: with what, and what it adds to the count."""

    threshold: str
    size: int


@dataclass
class StepText:
    """What the template needs; fields that a form does not use stay empty."""

    form: str
    comment: str
    unused: list[str] = field(default_factory=list)
    multiplier: str = ""
    sum_type: str = ""
    product_type: str = ""
    factor_type: str = ""
    count_type: str = ""
    index_type: str = ""
    bias: str = ""
    factor: str = ""
    threshold: str = ""
    result: str = ""
    clip: str = "y"
    shift: int = 0
    half_even: bool = False
    half_less_one: int = 0
    levels: int = 0
    lo: int = 0
    halves: list[SearchStage] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def step_text(
    step: Step | Lookup,
    form: Form,
    *,
    name: str,
    pe: int,
    x: ElementType,
    y: ElementType,
    multiplier: str,
    certificate: str,
) -> StepText:
    """The C++ of ``form``.

    Args:
        step: The function that it realises.
        form: One of its forms.
        name: The layer's function; tables are called after it.
        pe: How many channels are computed at once: the first index of every table.
        x: The type of the argument.
        y: The type of the result.
        multiplier: What multiplies, in the words of the dialect.
        certificate: The proof, for the comment.
    """
    text = StepText(form.name, f"The step function, {certificate}.", multiplier=multiplier)
    writer = _Writer(text, name, pe, step, y, signed=isinstance(x, Bipolar) or x.signed)
    match form:
        case Wire():
            pass
        case Shift():
            writer.shift(form)
        case MultiplyShift():
            writer.multiply_shift(form)
        case Search():
            writer.thresholds(form, search=True)
        case Thresholds():
            writer.thresholds(form, search=False)
        case TableForm():
            writer.table(form)
        case Ranges():
            writer.ranges(form)
    read = " ".join([text.bias, text.factor, text.threshold, text.result, *(h.threshold for h in text.halves)])
    text.unused = [parameter for parameter in ("p", "fold") if f"[{parameter}]" not in read]
    return text


@dataclass
class _Writer:
    text: StepText
    name: str
    pe: int
    step: Step | Lookup
    y: ElementType
    signed: bool

    def number(self, values: Ints, what: str, comment: str, *, compared: bool = False) -> str:
        """An expression for one number of each channel: a literal where all are alike, else a table."""
        if len(set(values.tolist())) == 1:
            return f"({values[0]})" if values[0] < 0 else f"{values[0]}"
        return self._by_channel(values, what, comment, compared=compared)

    def row(self, values: Ints, what: str, comment: str, *, at_once: bool, compared: bool = False) -> str:
        """An expression for a row of numbers of each channel, (channels, n).

        Args:
            values: The rows.
            what: Names the table.
            comment: Explains it.
            at_once: Whether the whole row is read in one cycle; else one number of it, by each PE.
            compared: Whether the accumulator is compared with them.
        """
        if not bool((values == values[:1]).all()):
            return self._by_channel(values, what, comment, at_once=at_once, compared=compared)
        name = f"{self.name}_{what}"
        if at_once:
            shared, note, arrangement = values[0], "all channels alike", (("partition", 1),)
            expression = name
        else:  # each PE reads a place of its own, so each has its own copy
            shared, note = np.repeat(values[:1], self.pe, axis=0), "[PE], all channels alike"
            arrangement, expression = (("partition", 1),), f"{name}[p]"
        self._add(table(name, f"{comment}: {note}", shared, self._element(shared, compared=compared)), arrangement)
        return expression

    def _add(self, made: Table, arrangement: tuple[tuple[str, int], ...]) -> None:
        self.text.tables.append(replace(made, arrangement=arrangement))

    def _element(self, values: Ints, *, compared: bool) -> IntType:
        """The type of a table; signed where a signed accumulator is compared with it.

        The headers for C-simulation compare a signed number with a wider unsigned one as if both were unsigned.
        """
        lo, hi = int(values.min(initial=0)), int(values.max(initial=0))
        return IntType.holding(min(lo, -1) if compared and self.signed else lo, hi)

    def _by_channel(
        self, values: Ints, what: str, comment: str, *, at_once: bool = False, compared: bool = False
    ) -> str:
        name = f"{self.name}_{what}"
        # channel c = fold * PE + p
        folded = values.reshape(-1, self.pe, *values.shape[1:])
        ordered = folded.transpose(1, 0, *range(2, folded.ndim)).copy()
        arrangement = (("partition", 1), *([("reshape", 3)] if at_once else []))
        self._add(
            table(name, f"{comment}: [PE][fold]", ordered, self._element(ordered, compared=compared)), arrangement
        )
        return f"{name}[p][fold]"

    def range_of(self, *terms: tuple[Ints, Ints]) -> IntType:
        """The type that holds the sum of intervals, each given per channel."""
        lo = sum(t[0] for t in terms)
        hi = sum(t[1] for t in terms)
        return IntType.holding(min(int(np.min(lo)), 0), max(int(np.max(hi)), 0))

    def clip(self, lo: int, hi: int, reached: IntType, least: int, greatest: int) -> None:
        expression = "y"
        t = type_name(self.y)
        low = f"{t}({lo})"
        if greatest > hi:
            expression = f"(y > {hi}) ? {t}({hi}) : {t}({expression})"
        if least < lo:
            expression = (
                f"(y < {lo}) ? {low} : {t}({expression})"
                if expression == "y"
                else f"(y < {lo}) ? {low} : ({expression})"
            )
        self.text.clip = expression if expression != "y" else f"{t}(y)"

    def shift(self, form: Shift) -> None:
        text = self.text
        text.shift = form.shift
        text.half_even = form.rounding is Rounding.HALF_EVEN and form.shift > 0
        text.half_less_one = (1 << form.shift >> 1) - 1
        text.bias = self.number(form.bias, "bias", "Added to the accumulator")
        lo, hi = self.step.lo + form.bias, self.step.hi + form.bias
        margin = (1 << form.shift) >> 1 if text.half_even else 0
        reached = self.range_of((lo, hi + margin))
        text.sum_type = type_name(IntType(max(reached.bits, 2) + (not reached.signed), signed=True))
        self.clip(form.lo, form.hi, reached, int(lo.min()) >> form.shift, (int(hi.max()) + margin) >> form.shift)

    def multiply_shift(self, form: MultiplyShift) -> None:
        text = self.text
        text.shift = form.shift
        ends = np.stack([self.step.lo * form.factor, self.step.hi * form.factor])
        product = self.range_of((ends.min(0), ends.max(0)))
        low, high = ends.min(0) + form.bias, ends.max(0) + form.bias
        total = self.range_of((low, high))
        text.factor_type = type_name(IntType.holding(int(form.factor.min()), int(form.factor.max())))
        text.product_type = type_name(product)
        text.sum_type = type_name(IntType(total.bits + (not total.signed), signed=True))
        text.factor = self.number(form.factor, "factor", "Multiplies the accumulator")
        text.bias = self.number(form.bias, "bias", "Added to the product")
        self.clip(form.lo, form.hi, total, int(low.min()) >> form.shift, int(high.max()) >> form.shift)

    def thresholds(self, form: Thresholds, *, search: bool) -> None:
        text = self.text
        values, limit = self._reachable(form.thresholds)
        levels = values.shape[1]
        if search:
            self._search_stages(values, limit)
        elif levels == 1:
            text.levels, text.threshold = (
                1,
                self.number(values[:, 0], "threshold", "The result changes at this sum", compared=True),
            )
        elif levels:
            comment = "Each raises the result by one step"
            text.levels, text.threshold = (
                levels,
                self.row(values, "thresholds", comment, at_once=True, compared=True) + "[k]",
            )
        start = self.number(codes(form.start, self.y), "start", "The result below the first threshold")
        stride = np.sign(form.stride)
        if len(set(stride.tolist())) == 1:
            sign = "+" if stride[0] > 0 else "-"
            text.result = f"{start} {sign} count" if start != "0" or sign == "-" else "count"
        else:
            down = self.number((stride < 0).astype(np.int64), "falls", "1 where the result falls")
            fall, rise = f"{type_name(self.y)}({start} - count)", f"{type_name(self.y)}({start} + count)"
            text.result = f"{down} ? {fall} : {rise}"
        text.result = f"{type_name(self.y)}({text.result})"

    def _reachable(self, thresholds: Ints) -> tuple[Ints, int]:
        """The thresholds within the reach of the accumulator, a number behind it; sets the type of their count."""
        limit = int(self.step.hi.max()) + 1  # no accumulator reaches it
        values = np.where(thresholds == NEVER, limit, thresholds)
        self.text.count_type = f"ap_uint<{max(values.shape[1].bit_length(), 1)}>"
        return np.clip(values, int(self.step.lo.min()), limit), limit

    def ranges(self, form: Ranges) -> None:
        self._search_stages(*self._reachable(form.thresholds))
        values = codes(form.values, self.y)
        self.text.result = self.row(values, "values", "The result for each range", at_once=False) + "[count]"

    def _search_stages(self, values: Ints, limit: int) -> None:
        """One table for each stage: stage s holds the 2**s thresholds that its comparison can need."""
        depth = values.shape[1].bit_length()
        padding = np.full((values.shape[0], (1 << depth) - 1 - values.shape[1]), limit)
        whole = np.concatenate([values, padding], axis=1)
        for stage in range(depth):
            size = 1 << (depth - 1 - stage)
            places = np.arange(1 << stage) * 2 * size + size - 1
            comment = f"Thresholds of the search's comparison {stage + 1}"
            expression = self.row(whole[:, places], f"stage{stage}", comment, at_once=False, compared=True)
            index = f"count >> {depth - stage}" if stage else "0"
            self.text.halves.append(SearchStage(f"{expression}[{index}]", size))

    def table(self, form: TableForm) -> None:
        text = self.text
        text.lo = form.lo
        text.index_type = f"ap_uint<{max((form.entries.shape[1] - 1).bit_length(), 1)}>"
        values = codes(form.entries, self.y)
        text.result = self.row(values, "table", "The result for each sum", at_once=False) + "[index]"
