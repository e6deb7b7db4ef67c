# SPDX-License-Identifier: Apache-2.0
"""The C++ of layers that read several streams: sums, gates, concatenations."""

from dataclasses import replace
from types import SimpleNamespace

from flow.emit.cxx import table, type_name
from flow.emit.process_text import (
    HlsOptions,
    add_layer,
    finish,
    interval_type,
    layer_header,
    moved,
    number,
    shape_text,
)
from flow.ir.dataflow import Concatenation, Gate, Sum
from flow.ir.types import Ints, IntType
from flow.plan.processes import LayerProcess


def add_join(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A word of each operand a cycle: a sum with constant factors, or a product."""
    layer, plan = process.layer, process.plan
    add_layer(text, process)
    folds = layer.outputs // plan.pe
    text.operands = [f"x{place}" for place in range(len(layer.xs))]
    if isinstance(layer.op, Gate):
        _add_gate(text, process, options)
    else:
        assert isinstance(layer.op, Sum)
        terms = [_term(text, i, factor, process) for i, factor in enumerate(layer.op.factors)]
        vars(text).update(
            total=terms[0] + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in terms[1:]),
            left=None,
        )
        what = f"sum of {len(layer.xs)} x {shape_text(layer.x.shape)}, accumulator {layer.op.acc}"
        text.header = _header(process, options, what)
    counted = folds > 1 and ((layer.step is not None and layer.step.channels > 1) or bool(text.tables))
    vars(text).update(
        words=process.out_words, folds=folds if counted else 1, finish=finish(text, "total", "fold" if counted else "0")
    )


def add_gate(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """A product with one factor for each channel, held for a frame."""
    layer, plan = process.layer, process.plan
    add_layer(text, process)
    folds = layer.outputs // plan.pe
    text.operands = ["x0", "x1"]
    _add_gate(text, process, options, gate="held[fold][p]")
    vars(text).update(
        gate_type=type_name(layer.xs[1].element),
        gates=folds,
        words=process.out_words,
        iterations=process.cycles,
        finish=finish(text, "total", "fold" if folds > 1 else "0"),
    )


def _add_gate(text: SimpleNamespace, process: LayerProcess, options: HlsOptions, gate: str = "x1[p]") -> None:
    layer = process.layer
    assert isinstance(layer.op, Gate)
    op, (x, factor) = layer.op, layer.xs
    left, right = (
        interval_type(t.element.min + offset, t.element.max + offset)
        for t, offset in ((x, op.x_offset), (factor, op.gate_offset))
    )
    vars(text).update(
        left=number("x0[p]", x.element) + _offset(op.x_offset),
        right=number(gate, factor.element) + _offset(op.gate_offset),
        left_type=type_name(left),
        right_type=type_name(right),
        multiplier=process.plan.multiplier,
    )
    what = f"{shape_text(x.shape)} {x.element} times {shape_text(factor.shape)} {factor.element}, product {op.acc}"
    text.header = _header(process, options, what)


def add_concatenate(text: SimpleNamespace, process: LayerProcess, options: HlsOptions) -> None:
    """The channels of each operand in turn, pixel by pixel."""
    layer, plan = process.layer, process.plan
    assert isinstance(layer.op, Concatenation)
    add_layer(text, process)
    end, text.parts = 0, []
    for place, x in enumerate(layer.xs):
        end += x.shape[-1] // plan.pe
        value = moved("x[p]", x.element, layer.y.element)
        text.parts.append(SimpleNamespace(end=end, input=text.inputs[place], value=value))
    text.header = _header(process, options, " and ".join(shape_text(x.shape) for x in layer.xs))
    vars(text).update(iterations=process.cycles, pixel_words=end)


def _header(process: LayerProcess, options: HlsOptions, what: str) -> list[str]:
    y = process.layer.y.element
    return layer_header(process, options, [f"{what}: {y}", f"PE {process.plan.pe}: {process.cycles} cycles a frame"])


def _term(text: SimpleNamespace, place: int, factor: Ints, process: LayerProcess) -> str:
    """An operand times its factor."""
    pe = process.plan.pe
    value = number(f"x{place}[p]", process.layer.xs[place].element)
    distinct = set(factor.tolist())
    if distinct == {1}:
        return value
    if distinct == {-1}:
        return f"-{value}"
    holding = type_name(IntType.holding(int(factor.min()), int(factor.max())))
    if len(distinct) == 1:
        return f"{holding}({factor[0]}) * {value}"
    name = f"{text.identifier}_factors{place}"
    # channel c = fold * PE + p
    folded = factor.reshape(-1, pe).T.copy()
    constants = table(name, f"Factors of operand {place}: [PE][fold]", folded)
    text.tables.append(replace(constants, arrangement=(("partition", 1),)))
    fold = "fold" if folded.shape[1] > 1 else "0"
    return f"{holding}({name}[p][{fold}]) * {value}"


def _offset(offset: int) -> str:
    if offset == 0:
        return ""
    return f" + {offset}" if offset > 0 else f" - {-offset}"
