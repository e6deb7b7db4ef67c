# SPDX-License-Identifier: Apache-2.0
"""What a layer, and a whole design, costs: the processes in the terms of the cost model, and their sum."""

from dataclasses import dataclass

from flow.ir.step_forms import MultiplyShift, Shift
from flow.ir.types import IntType
from flow.plan import cost
from flow.plan.board import Board
from flow.plan.design import Design, Gearbox, LayerProcess, Process
from flow.plan.layers import Layer
from flow.plan.plan import LayerPlan
from flow.plan.resources import Resources

FIFO_DEPTH = 2
"""Words between two processes of a chain: each reads what the other writes, in order, so two suffice to
decouple them, and no chain can deadlock."""


@dataclass(frozen=True, slots=True)
class DesignResources:
    """What a design takes.

    Attributes:
        total: Everything.
        parts: By what it is for: layers, converters, fifos, shell.
        processes: Of each process, in order.
    """

    total: Resources
    parts: dict[str, Resources]
    processes: tuple[Resources, ...]


def layer_resources(layer: Layer, plan: LayerPlan, board: Board) -> dict[str, Resources]:
    """The terms of a layer's cost by name."""
    terms: dict[str, Resources] = {}
    if layer.dense is not None:
        config = cost.MatrixVector(
            inputs=layer.inputs,
            outputs=layer.outputs,
            positions=layer.positions,
            pe=plan.pe,
            simd=plan.simd,
            weight_bits=layer.dense.weight_type.bits,
            input_bits=layer.x.element.bits,
            acc_bits=layer.dense.acc.bits,
            xnor=layer.xnor,
            weight_memory=plan.weight_memory,
            multiplier=plan.multiplier,
        )
        terms.update(cost.matrix_vector(config, board.dsp).items())
    if layer.step is not None:
        terms["step_function"] = cost.step_function(_step_hardware(layer, plan), board.dsp)
    return terms


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
        multiplier=plan.multiplier,
    )


def design_resources(design: Design, board: Board) -> DesignResources:
    """What a design takes, its shell included."""
    processes = tuple(_process(process, design, board) for process in design.processes)
    layers, converters = Resources.zero(), Resources.zero()
    for process, amount in zip(design.processes, processes, strict=True):
        if isinstance(process, LayerProcess):
            layers += amount
        else:
            converters += amount
    fifos = Resources.zero()
    for process in design.processes[:-1]:
        element = process.layer.y.element if isinstance(process, LayerProcess) else process.element
        fifos += cost.fifo(FIFO_DEPTH, process.out_lanes * element.bits)
    parts = {"layers": layers, "converters": converters, "fifos": fifos, "shell": cost.shell(board.family)}
    return DesignResources(sum(parts.values(), Resources.zero()), parts, processes)


def _process(process: Process, design: Design, board: Board) -> Resources:
    match process:
        case LayerProcess():
            return sum(layer_resources(process.layer, process.plan, board).values(), Resources.zero())
        case Gearbox(role="input"):
            return cost.stream_reader(
                process.in_lanes, process.out_lanes, process.element.bits, design.source.axis_bits
            )
        case Gearbox(role="output"):
            return cost.stream_writer(process.in_lanes, process.out_lanes, process.element.bits, design.sink.axis_bits)
        case Gearbox():
            return cost.width_converter(process.in_lanes, process.out_lanes, process.element.bits)
