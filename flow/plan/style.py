# SPDX-License-Identifier: Apache-2.0
"""Which of the two styles a network is built in, and what is known of a design in either."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from flow.errors import InfeasibleError, PlanFileError
from flow.plan import estimate, timing, unrolled
from flow.plan.board import Board
from flow.plan.cost_interval import bounds
from flow.plan.design import Design, build_design
from flow.plan.estimate import DesignResources, design_resources, layer_resources
from flow.plan.folding import Folding, fold
from flow.plan.goals import Goals, cost
from flow.plan.layers import Layer
from flow.plan.plan import Plan
from flow.plan.processes import LayerProcess
from flow.plan.resources import Resources
from flow.plan.timing import Timing

StyleChoice: TypeAlias = Literal["stream", "unrolled", "auto"]


def plan_for(
    layers: tuple[Layer, ...], board: Board, clock_mhz: float, goals: Goals | None = None, style: StyleChoice = "auto"
) -> Folding:
    """The plan in a style; ``auto``: the faster one where speed counts most, else the cheaper one.

    Raises:
        UnsupportedModelError: A layer cannot be unrolled.
        InfeasibleError: The network does not fit.
    """
    goals = goals if goals is not None else Goals()
    if style == "stream":
        return fold(layers, board, clock_mhz, goals)
    if style == "unrolled":
        return unrolled.unroll(layers, board, clock_mhz, goals)
    if unrolled.obstacles(layers) or not unrolled.small(layers):
        return fold(layers, board, clock_mhz, goals)
    try:
        flat = unrolled.unroll(layers, board, clock_mhz, goals)
    except InfeasibleError:
        return fold(layers, board, clock_mhz, goals)
    try:
        streamed = fold(layers, board, clock_mhz, goals)
    except InfeasibleError:
        return flat

    def rank(folding: Folding) -> tuple[int, int]:
        interval = build_design(layers, folding.plan, board.axis_bits).interval if goals.fastest else 0
        return interval, cost(folding.resources, board)

    return min(streamed, flat, key=rank)


def against_stream(layers: tuple[Layer, ...], plan: Plan, board: Board) -> str:
    """What the stream style would take for the interval of an unrolled plan, in words."""
    design = build_design(layers, plan, board.axis_bits)
    fps = plan.clock_mhz * 1e6 / (design.interval + 0.5)  # that many cycles, whatever the division rounds to
    try:
        other = fold(layers, board, plan.clock_mhz, Goals(target_fps=fps))
    except InfeasibleError:
        return f"in {design.interval} cycles a frame the stream style does not fit"
    ours = resources_of(design, board).total
    amounts = ", ".join(
        f"{mine:,} {name.upper()} against {theirs:,}"
        for (name, mine), (_, theirs) in zip(ours.items(), other.resources.items(), strict=True)
        if mine or theirs
    )
    return f"against the stream style at no more cycles a frame: {amounts}"


def resources_of(design: Design, board: Board) -> DesignResources:
    """What a design takes, its shell included."""
    return unrolled.resources_of(design, board) if _flat(design) else design_resources(design, board)


def layer_terms(process: LayerProcess, design: Design, board: Board) -> dict[str, Resources]:
    """The terms of a layer's cost by name."""
    if _flat(design):
        return unrolled.layer_terms(process.layer, process.plan, board, design.plan.clock_mhz)
    return layer_resources(process.layer, process.plan, board)


def layer_bounds(process: LayerProcess, design: Design, terms: dict[str, Resources]) -> tuple[Resources, Resources]:
    """The least and the most that a layer with these terms can be expected to take."""
    if _flat(design):
        return bounds([("other", amount) for amount in terms.values()])
    return estimate.layer_bounds(process.layer, process.plan, terms)


def timed(
    design: Design, processes: Sequence[str], streams: Sequence[str], given: Mapping[str, int], latency: int | None
) -> tuple[Design, Timing]:
    """The design with its streams as deep as they must be, and its timing; one that has no streams as it is.

    Raises:
        PlanFileError: The plan gives a depth to a stream that there is not, or one that stops the design.
    """
    if not _flat(design):
        return timing.timed(design, processes, streams, given, latency)
    if given:
        raise PlanFileError(
            f"the plan gives depths for streams: {', '.join(given)}; the unrolled style has none",
            "take its [[fifo]] entries out",
        )
    return design, Timing(design.interval, unrolled.latency_of(design), (), (), ())


def timing_model(design: Design) -> tuple[str, str]:
    """Which model gives interval and latency, and what it assumes."""
    return (unrolled.MODEL, unrolled.ASSUMPTION) if _flat(design) else (timing.MODEL, timing.ASSUMPTION)


def adders_of(process: LayerProcess, design: Design) -> str | None:
    """The adder graph of an unrolled product in words, with its proof."""
    found = unrolled.layer_graph(process.layer) if _flat(design) else None
    if found is None:
        return None
    cycles = unrolled.layer_cycles(process.layer, process.plan, design.plan.clock_mhz)
    return f"{found}; {cycles} cycles with the step function"


def solved_by_da4ml(design: Design) -> bool:
    """Whether adder graphs of a design come from da4ml, so that its version is part of what made the design."""
    graphs = [unrolled.layer_graph(process.layer) for process in design.layers] if _flat(design) else []
    return any(found is not None and found.graph.solver.startswith("da4ml") for found in graphs)


def _flat(design: Design) -> bool:
    return design.plan.style == "unrolled"
