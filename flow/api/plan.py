# SPDX-License-Identifier: Apache-2.0
"""A plan for a model without a build: what it would take, and how fast it would be."""

import time
from collections.abc import Mapping
from pathlib import Path

from flow.api.compile import compile_model
from flow.api.names import layer_labels
from flow.emit.hls import Names, names_of
from flow.errors import InfeasibleError, OptionError, OutputError, UnsupportedModelError
from flow.plan import board as boards
from flow.plan.board import Board
from flow.plan.design import Design, build_design
from flow.plan.folding import Folding
from flow.plan.goals import Goals
from flow.plan.layers import Layer, layers_of
from flow.plan.pareto import Point, pareto
from flow.plan.plan import Plan, print_plan, read_plan
from flow.plan.style import StyleChoice, against_stream, plan_for, resources_of, timed
from flow.plan.timing import Timing
from flow.plan.unrolled import obstacles
from flow.report.plan import PlanResult


def plan(
    model: str | Path,
    *,
    board: str = "pynq-z2",
    clock: float | None = None,
    goals: Goals | None = None,
    input_type: str | None = None,
    given: str | Path | None = None,
    out: str | Path | None = None,
) -> PlanResult:
    """Plans a design; nothing is emitted.

    Args:
        model: A QONNX file.
        board: The name of a board, or a board file.
        clock: In MHz; None for the board's default.
        goals: What is asked of the plan; None for the fastest design that fits in 70 % of the board.
        input_type: How the input arrives; None for the model's own quantiser.
        given: A plan file to check and price instead of searching for one.
        out: Where the plan is written to, as a file that ``flow build --plan`` takes; None for nowhere.

    Raises:
        FlowError: With one clear message, whatever the user can mend.
    """
    path, target = Path(model), boards.load(board)
    checked_clock(clock, target)
    compiled = compile_model(path, input_type)
    layers = layers_of(compiled.graph)
    start = time.perf_counter()
    labels = layer_labels(layers, compiled.imported)
    folding, design, names, timing = planned(layers, labels, target, clock, goals, given)
    seconds = time.perf_counter() - start
    if out is not None:
        try:
            Path(out).write_text(print_plan(design.plan))
        except OSError as error:
            raise OutputError(f"{out} cannot be written: {error.strerror}", "name another file") from error
    resources = resources_of(design, target)
    return PlanResult(path.name, target, folding, design, names, resources, timing, seconds)


def trade_off(
    model: str | Path,
    *,
    board: str = "pynq-z2",
    clock: float | None = None,
    goals: Goals | None = None,
    input_type: str | None = None,
) -> tuple[Point, ...]:
    """The cheapest design for each of some frame rates, the fastest first.

    Args:
        model: A QONNX file.
        board: The name of a board, or a board file.
        clock: In MHz; None for the board's default.
        goals: Limits that all of them meet.
        input_type: How the input arrives; None for the model's own quantiser.

    Raises:
        FlowError: With one clear message, whatever the user can mend.
    """
    target = boards.load(board)
    mhz = checked_clock(clock, target)
    compiled = compile_model(Path(model), input_type)
    return pareto(layers_of(compiled.graph), target, mhz, goals)


def checked_clock(clock: float | None, board: Board) -> float:
    """The clock, or the board's default for None.

    Raises:
        OptionError: The board has no such clock.
    """
    if clock is None:
        return board.clock.default_mhz
    if not 0 < clock <= board.clock.max_mhz:
        raise OptionError(
            f"a clock of {clock:g} MHz is not possible on {board.name}",
            f"choose one up to {board.clock.max_mhz:g} MHz; the default is {board.clock.default_mhz:g}",
        )
    return clock


def planned(
    layers: tuple[Layer, ...],
    labels: Mapping[str, str],
    board: Board,
    clock: float | None,
    goals: Goals | None,
    given: str | Path | None,
    style: StyleChoice | None = None,
) -> tuple[Folding, Design, Names, Timing]:
    """The best plan, or the given one once it is checked; the design that it means, named and timed.

    Raises:
        FlowError: There is none, or the given one is wrong.
    """
    latency: int | None = None
    if given is None:
        mhz = checked_clock(clock, board)
        folding = plan_for(layers, board, mhz, goals, style or "stream")
        plan, optimal, optimality = folding.plan, folding.optimal, folding.optimality
        if plan.style == "unrolled":
            optimality = f"{optimality}; {against_stream(layers, plan, board)}"
        latency = goals.latency(mhz) if goals is not None else None
    else:
        plan, optimal, optimality = _given(layers, board, clock, goals, Path(given), style), False, "given by the user"
    design = build_design(layers, plan, board.axis_bits)
    names = names_of(design, labels)
    streams = [names.stream(stream) for stream in design.streams]
    depths = {fifo.name: fifo.depth for fifo in design.plan.fifos}
    design, timing = timed(design, names.identifiers, streams, depths, latency)
    total = resources_of(design, board).total
    pairs = zip(total.items(), board.resources.items(), strict=True)
    over = [f"{name.upper()} {a:,} of {b:,}" for (name, a), (_, b) in pairs if a > b]
    if over and given is None:
        raise InfeasibleError(
            f"with streams as deep as its pace needs, the best plan does not fit {board.name}: {', '.join(over)}",
            "ask for a lower frame rate, or leave room for the streams: --max-utilization 95%",
        )
    if over:
        raise OptionError(f"the plan does not fit {board.name}: {', '.join(over)}", "lower pe or simd in the plan")
    return Folding(plan, total, optimal, optimality), design, names, timing


def _given(
    layers: tuple[Layer, ...],
    board: Board,
    clock: float | None,
    goals: Goals | None,
    path: Path,
    style: StyleChoice | None,
) -> Plan:
    if goals is not None:
        raise OptionError("a plan, and goals for one, are given at once", "leave the goals out, or --plan")
    plan = read_plan(path, layers)
    if style not in (None, plan.style):
        raise OptionError(f"the plan is in the style {plan.style}, the build in {style}", "leave --style out")
    if plan.style == "unrolled" and (problems := obstacles(layers)):
        raise UnsupportedModelError(problems)
    if plan.board != board.name:
        raise OptionError(
            f"the plan is for {plan.board}, the build for {board.name}",
            f"pass --board {plan.board}, or edit the plan",
        )
    if clock is not None and clock != plan.clock_mhz:
        raise OptionError(
            f"the plan is for {plan.clock_mhz:g} MHz, the build for {clock:g}", "leave --clock out, or edit the plan"
        )
    checked_clock(plan.clock_mhz, board)
    return plan
