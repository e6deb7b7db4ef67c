# SPDX-License-Identifier: Apache-2.0
"""The unrolled style: all outputs of all layers in each cycle, weights as shifts and adders.

One pipelined function takes a frame, II = 1 where a frame fits one word of the AXI stream, else as many cycles as
it has words. Its layers are matrix products with step functions, one behind the other.
"""

from dataclasses import dataclass

import numpy as np

from flow.errors import InfeasibleError, Unsupported, UnsupportedModelError
from flow.ir.dataflow import Dense
from flow.ir.tensor_type import over_channels
from flow.ir.types import Bipolar, Ints
from flow.plan import cost
from flow.plan.adder_graph import AdderGraph
from flow.plan.adder_solver import MOST_DIGITS, count_digits, solve
from flow.plan.board import Board
from flow.plan.cost_interval import bounds
from flow.plan.cost_unrolled import adder_graph_price
from flow.plan.design import Design, build_design
from flow.plan.estimate import DesignResources, layer_resources
from flow.plan.folding import Folding
from flow.plan.goals import Goals
from flow.plan.layers import Layer
from flow.plan.plan import FormName, LayerPlan, Plan
from flow.plan.processes import Gearbox, LayerProcess
from flow.plan.resources import Resources

_LEVEL_NS = 2.0  # an adder of some ten bits with its route, assumed
_USABLE = 0.875  # of a period: what the scripts leave besides the uncertainty
_STEP_CYCLES = {"wire": 0, "shift": 1, "multiply_shift": 3, "thresholds": 1, "table": 1, "none": 0}
MODEL = "flow adder depths"
ASSUMPTION = (
    f"a level of adders takes {_LEVEL_NS:g} ns, a step function a cycle, 3 with a product, one for each stage of a "
    "search: assumed"
)


@dataclass(frozen=True, slots=True)
class LayerGraph:
    """The adders of a product.

    Attributes:
        graph: Them.
        adders: How many.
        bits: Of all of them together.
        depth: The most behind each other.
    """

    graph: AdderGraph
    adders: int
    bits: int
    depth: int

    def __str__(self) -> str:
        return (
            f"{self.adders:,} adders of {self.bits:,} bits, at most {self.depth} behind each other, by "
            f"{self.graph.solver}; compared with the weights on every unit vector"
        )


def obstacles(layers: tuple[Layer, ...]) -> list[Unsupported]:
    """The layers that cannot be unrolled."""
    found = []
    for layer in layers:
        channels = layer.step.channels if layer.step is not None else 1
        if layer.positions > 1:
            what = f"each of its {layer.positions:,} positions would be hardware of its own; unrolled, there is one"
        elif not (layer.op is None or isinstance(layer.op, Dense)):
            what = "only matrix products at one position, with step functions, can be unrolled"
        elif layer.product is not None and not layer.product.matrix.any():
            what = "all its weights are 0: a function that takes nothing of its input"
        elif channels not in (1, layer.outputs):
            what = "a step function without a product must be the same for all values, or one for each"
        elif sum(layer.name in other.reads for other in layers) > 1:
            what = "it has several readers"
        else:
            continue
        found.append(Unsupported((layer.name,), layer.kind, what, "choose --style stream"))
    return found


def small(layers: tuple[Layer, ...]) -> bool:
    """Whether the adder graphs of a network are found in reasonable time."""
    return sum(count_digits(layer.product.matrix) for layer in layers if layer.product is not None) <= MOST_DIGITS


def unroll(layers: tuple[Layer, ...], board: Board, clock_mhz: float, goals: Goals) -> Folding:
    """The unrolled plan; of each step function the form of the fewest LUTs.

    Raises:
        UnsupportedModelError: A layer cannot be unrolled.
        InfeasibleError: It does not fit, or the AXI stream is too slow for the frame rate.
    """
    problems = obstacles(layers)
    if problems:
        raise UnsupportedModelError(problems)
    plans = tuple(_layer_plan(layer, board) for layer in layers)
    plan = Plan(board.name, clock_mhz, plans, style="unrolled")
    design = build_design(layers, plan, board.axis_bits)
    total = resources_of(design, board).total
    available = dict(goals.budget(board).items())
    over = [f"{n.upper()} {a:,} of {available[n]:,} that may be used" for n, a in total.items() if a > available[n]]
    if over:
        raise InfeasibleError(
            f"unrolled, the network does not fit {board.name}: {', '.join(over)}",
            "choose --style stream, a larger board, or fewer bits",
        )
    fps = clock_mhz * 1e6 / design.interval
    if goals.target_fps is not None and fps < goals.target_fps:
        raise InfeasibleError(
            f"unrolled, a frame takes the {design.interval} words that it has on the AXI stream: {fps:,.0f} frames/s",
            "raise the clock, or lower the frame rate",
        )
    latency, most = latency_of(design), goals.latency(clock_mhz)
    if most is not None and latency > most:
        raise InfeasibleError(
            f"unrolled, a frame takes {latency:,} cycles from end to end; {goals.max_latency_us:g} us leave {most:,}",
            "raise the clock, or allow a longer latency",
        )
    return Folding(plan, total, False, "unrolled: every product of a frame has hardware of its own")


def _layer_plan(layer: Layer, board: Board) -> LayerPlan:
    def plan(form: FormName) -> LayerPlan:
        return LayerPlan(layer.name, layer.outputs, layer.inputs, "lut", "lut", form)

    plans = [plan(form) for form in layer.forms]  # type: ignore[arg-type]
    return min(plans, key=lambda p: _step(layer, p, board).lut, default=plan("none"))


def _step(layer: Layer, plan: LayerPlan, board: Board) -> Resources:
    return layer_resources(layer, plan, board).get("step_function", Resources.zero())


def layer_graph(layer: Layer) -> LayerGraph | None:
    """The adder graph of a layer's product; None without one."""
    if layer.product is None:
        return None
    lo, hi = input_range(layer)
    graph = solve(layer.product.matrix, lo, hi)
    bits = graph.bits(lo, hi)
    return LayerGraph(graph, len(graph.adders), bits, graph.depth)


def input_range(layer: Layer) -> tuple[Ints, Ints]:
    """The least and the greatest value of each input of a product."""
    lo, hi = over_channels(layer.x, layer.inputs)
    return np.ascontiguousarray(lo), np.ascontiguousarray(hi)


def levels_per_stage(clock_mhz: float) -> int:
    """How many adders follow each other between two registers; assumed."""
    return max(1, int(1000 / clock_mhz * _USABLE / _LEVEL_NS))


def layer_terms(layer: Layer, plan: LayerPlan, board: Board, clock_mhz: float) -> dict[str, Resources]:
    """The terms of an unrolled layer's cost by name."""
    terms: dict[str, Resources] = {}
    found = layer_graph(layer)
    if found is not None:
        lo, hi = input_range(layer)
        bits = [2 if isinstance(layer.x.element, Bipolar) else layer.x.element.bits] * layer.inputs
        kept = found.graph.register_bits(bits, lo, hi, levels_per_stage(clock_mhz))
        terms.update(adder_graph_price(found.bits, kept))
    if layer.step is not None:
        terms["step_function"] = _step(layer, plan, board)
    return terms


def resources_of(design: Design, board: Board) -> DesignResources:
    """What an unrolled design takes: no FIFO lies between its layers."""
    processes = []
    layers, ports = Resources.zero(), Resources.zero()
    for process in design.processes:
        if isinstance(process, LayerProcess):
            terms = layer_terms(process.layer, process.plan, board, design.plan.clock_mhz)
            processes.append(Resources.total(terms.values()))
            layers += processes[-1]
        else:
            assert isinstance(process, Gearbox)
            processes.append(_port(process, design))
            ports += processes[-1]
    parts = {"layers": layers, "converters": ports, "fifos": Resources.zero(), "shell": cost.shell(board.family)}
    low, high = bounds([("other", layers), ("converter", ports), ("shell", parts["shell"])])
    return DesignResources(Resources.total(parts.values()), parts, tuple(processes), low, high)


def _port(box: Gearbox, design: Design) -> Resources:
    if box.role == "input":
        return cost.stream_reader(box.in_lanes, box.out_lanes, box.element.bits, design.source.axis_bits)
    return cost.stream_writer(box.in_lanes, box.out_lanes, box.element.bits, design.sink.axis_bits)


def layer_cycles(layer: Layer, plan: LayerPlan, clock_mhz: float) -> int:
    """Cycles from a layer's inputs to its outputs."""
    found = layer_graph(layer)
    adders = found.graph.stages(levels_per_stage(clock_mhz)) if found is not None else 0
    if plan.form in ("search", "ranges"):
        assert layer.step is not None
        return adders + int(layer.step.thresholds.shape[1]).bit_length()
    return adders + _STEP_CYCLES[plan.form]


def latency_of(design: Design) -> int:
    """Cycles from the first word in to the last word out."""
    layers = sum(layer_cycles(p.layer, p.plan, design.plan.clock_mhz) for p in design.layers)
    return design.source.words + layers + design.sink.words
