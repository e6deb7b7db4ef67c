# SPDX-License-Identifier: Apache-2.0
"""What a layer, and a whole design, costs: the processes in the terms of the cost model, and their sum."""

from collections.abc import Mapping
from dataclasses import dataclass

from flow.ir.dataflow import (
    ChannelShuffle,
    Concatenation,
    Convolution,
    Dense,
    Gate,
    Padding,
    PixelShuffle,
    PixelUnshuffle,
    Pooling,
    Repeat,
    Selection,
    Sum,
)
from flow.ir.step_forms import MultiplyShift, Shift
from flow.ir.types import IntType
from flow.plan import cost
from flow.plan import cost_blocks as blocks
from flow.plan.board import Board
from flow.plan.cost_coefficients import Kind, priced
from flow.plan.cost_interval import bounds
from flow.plan.cost_packing import packed_products
from flow.plan.design import Design
from flow.plan.layers import Layer
from flow.plan.packing import packing_of
from flow.plan.plan import LayerPlan
from flow.plan.processes import Fork, Gearbox, LayerProcess, Process, WindowProcess, window_unit
from flow.plan.resources import Resources


@dataclass(frozen=True, slots=True)
class DesignResources:
    """What a design takes.

    Attributes:
        total: Everything.
        parts: By what it is for: layers, converters, fifos, shell.
        processes: Of each process, in order.
        low: The least that it can be expected to take (see ``flow.plan.cost_interval``).
        high: The most.
    """

    total: Resources
    parts: dict[str, Resources]
    processes: tuple[Resources, ...]
    low: Resources
    high: Resources


def layer_resources(layer: Layer, plan: LayerPlan, board: Board) -> dict[str, Resources]:
    """The terms of a layer's cost by name, its window unit included."""
    return operation_resources(layer, plan, board) | step_resources(layer, plan, board)


def operation_resources(layer: Layer, plan: LayerPlan, board: Board) -> dict[str, Resources]:
    """The terms that the form of the step function has no part in."""
    terms = _operation(layer, plan, board)
    unit = window_unit(layer, plan)
    if unit is not None:
        terms.update(blocks.window_unit(unit.rows, unit.row_words, unit.lanes * layer.core_x.element.bits))
    return terms


def step_resources(layer: Layer, plan: LayerPlan, board: Board) -> dict[str, Resources]:
    """The term of the step function, in which SIMD and the memory of the weights have no part."""
    if layer.step is None:
        return {}
    return {"step_function": cost.step_function(_step_hardware(layer, plan), board.dsp)}


def _operation(layer: Layer, plan: LayerPlan, board: Board) -> dict[str, Resources]:
    """What a layer takes without its window unit and its step function."""
    pe, acc_bits = plan.pe, layer.acc.element.bits
    word_bits = pe * layer.y.element.bits
    packing = packing_of(layer, plan, board.dsp)
    match layer.op:
        case None:
            return {"control": blocks.control()}
        case Padding() | PixelUnshuffle():
            return {}
        case Convolution() if layer.depthwise:
            return blocks.depthwise(
                pe=pe,
                depth=layer.outputs // pe * layer.taps,
                input_bits=layer.core_x.element.bits,
                weight_bits=layer.op.weight_type.bits,
                acc_bits=acc_bits,
                memory=plan.weight_memory,
                multiplier=plan.unit,
                dsp_kind=board.dsp,
            )
        case Dense() | Convolution():
            config = _matrix_vector(layer, plan)
            packed = packed_products(packing, pe, plan.simd, config.weight_bits) if packing is not None else {}
            return {**_matrix_vector_terms(config, board.dsp), **packed}
        case Pooling():
            combine = blocks.maxima(pe, acc_bits) if layer.op.kind == "max" else blocks.accumulators(pe, acc_bits)
            words = 0 if layer.lanewise else layer.acc.shape[1] * (layer.outputs // pe)
            kept = {"row_buffer": blocks.row_buffer(words, pe * acc_bits)} if words else {}
            return {"combine": combine, "control": blocks.control(), **kept}
        case Sum():
            return _sum(layer, layer.op, plan)
        case Gate():
            left, right = (x.element.bits + 1 for x in layer.xs)
            terms = {
                "product": blocks.products(pe, left, right, plan.unit, board.dsp),
                "control": blocks.control(),
            }
            if layer.xs[0].shape != layer.xs[1].shape:
                terms["gate_buffer"] = blocks.row_buffer(layer.outputs // pe, pe * layer.xs[1].element.bits)
            return terms
        case Concatenation() | Selection():
            return {"move": blocks.move(word_bits)}
        case Repeat():
            row = layer.x.size // layer.x.shape[0] // pe
            return {"move": blocks.move(word_bits), "row_buffer": blocks.row_buffer(row, word_bits)}
        case PixelShuffle():
            row = layer.x.size // layer.x.shape[0] // pe
            return {"move": blocks.move(word_bits), "row_buffer": blocks.row_buffer(2 * row, word_bits)}
        case ChannelShuffle():
            pixels, whole = min(layer.positions, 2), layer.op.run % pe == 0
            pixel = blocks.shuffled_pixels(pixels, layer.outputs // pe, pe, layer.y.element.bits, whole=whole)
            return {"move": blocks.move(word_bits), "pixel_buffer": pixel}


@priced
def _matrix_vector_terms(config: cost.MatrixVector, dsp: str) -> Mapping[str, Resources]:
    """Once for all layers of a network that are alike, and all forms of their step functions."""
    return cost.matrix_vector(config, dsp)


def _matrix_vector(layer: Layer, plan: LayerPlan) -> cost.MatrixVector:
    assert layer.product is not None
    return cost.MatrixVector(
        inputs=layer.inputs,
        outputs=layer.outputs,
        positions=layer.positions,
        pe=plan.pe,
        simd=plan.simd,
        weight_bits=layer.product.weight_type.bits,
        input_bits=layer.core_x.element.bits,
        acc_bits=layer.product.acc.bits,
        xnor=layer.xnor,
        weight_memory=plan.weight_memory,
        multiplier=plan.unit,
    )


def _sum(layer: Layer, op: Sum, plan: LayerPlan) -> dict[str, Resources]:
    constants, bits = Resources.zero(), []
    for row in op.factors:
        alike = len(set(row.tolist())) == 1
        unit = alike and abs(int(row[0])) == 1
        bits.append(0 if unit else IntType.holding(int(row.min()), int(row.max())).bits)
        if not alike:
            constants += blocks.parameters(plan.pe, layer.outputs // plan.pe, bits[-1])
    operands = [x.element.bits for x in layer.xs]
    return {
        "sum": blocks.scaled_sum(plan.pe, operands, bits, op.acc.bits),
        "factors": constants,
        "control": blocks.control(),
    }


def _step_hardware(layer: Layer, plan: LayerPlan) -> cost.StepHardware:
    assert layer.step is not None
    form = layer.forms[plan.form][0]
    factor_bits = bias_bits = 0
    if isinstance(form, MultiplyShift):
        factor_bits = IntType.holding(int(form.factor.min()), int(form.factor.max())).bits
    if isinstance(form, Shift | MultiplyShift):
        bias_bits = IntType.holding(int(form.bias.min()), int(form.bias.max())).bits
    return cost.StepHardware(
        form=form.name,  # type: ignore[arg-type]
        channels=layer.step.channels,
        pe=plan.pe,
        in_bits=layer.acc.element.bits,
        out_bits=layer.y.element.bits,
        levels=layer.step.thresholds.shape[1],
        factor_bits=factor_bits,
        bias_bits=bias_bits,
        multiplier=plan.unit,
    )


def design_resources(design: Design, board: Board) -> DesignResources:
    """What a design takes, its shell included."""
    processes = tuple(process_resources(process, design, board) for process in design.processes)
    layers, converters = Resources.zero(), Resources.zero()
    for process, amount in zip(design.processes, processes, strict=True):
        if isinstance(process, LayerProcess):
            layers += amount
        else:
            converters += amount
    fifos = Resources.zero()
    for stream in design.streams:
        fifos += cost.fifo(stream.depth, stream.bits)
    parts = {"layers": layers, "converters": converters, "fifos": fifos, "shell": cost.shell(board.family)}
    kinds: list[tuple[Kind, Resources]] = [("converter", converters), ("fifo", fifos), ("shell", parts["shell"])]
    for process in design.layers:
        kinds += _kinds(process.layer, process.plan, layer_resources(process.layer, process.plan, board))
    low, high = bounds(kinds)
    return DesignResources(Resources.total(parts.values()), parts, processes, low, high)


def layer_bounds(layer: Layer, plan: LayerPlan, terms: dict[str, Resources]) -> tuple[Resources, Resources]:
    """The least and the most that a layer with these terms can be expected to take."""
    return bounds(_kinds(layer, plan, terms))


def _kinds(layer: Layer, plan: LayerPlan, terms: dict[str, Resources]) -> list[tuple[Kind, Resources]]:
    """The terms by what their estimates were compared with: those of a matrix-vector unit, or nothing.

    The measured units compare with all their thresholds at once; no other form of a step function was measured.
    """
    if layer.product is None or layer.depthwise:
        return [("other", amount) for amount in terms.values()]
    unmeasured = {"line_buffer", "window_control"}
    if plan.form != "thresholds":
        unmeasured.add("step_function")
    return [("other" if name in unmeasured else "matrix_vector", amount) for name, amount in terms.items()]


def process_kind(process: Process, board: Board) -> Kind:
    """What the estimate of a process was compared with; of a layer: that of most of its LUTs."""
    if not isinstance(process, LayerProcess):
        return "converter"
    luts: dict[Kind, int] = {}
    for kind, amount in _kinds(process.layer, process.plan, layer_resources(process.layer, process.plan, board)):
        luts[kind] = luts.get(kind, 0) + amount.lut
    return max(luts, key=lambda kind: luts[kind], default="other")


def process_resources(process: Process, design: Design, board: Board) -> Resources:
    """What a process takes; a window unit is counted with its layer."""
    match process:
        case LayerProcess():
            return Resources.total(layer_resources(process.layer, process.plan, board).values())
        case WindowProcess():
            return Resources.zero()
        case Fork():
            return blocks.fork(process.copies, process.lanes * process.element.bits)
        case Gearbox(role="input"):
            return cost.stream_reader(
                process.in_lanes, process.out_lanes, process.element.bits, design.source.axis_bits
            )
        case Gearbox(role="output"):
            return cost.stream_writer(process.in_lanes, process.out_lanes, process.element.bits, design.sink.axis_bits)
        case Gearbox():
            return cost.width_converter(process.in_lanes, process.out_lanes, process.element.bits)
