# SPDX-License-Identifier: Apache-2.0
"""A plan for a model without a build: what it would take, and how fast it would be."""

import time
from collections.abc import Mapping
from dataclasses import replace
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
from flow.plan.resources import Resources
from flow.plan.style import StyleChoice, against_stream, plan_for, resources_of, timed
from flow.plan.timing import Timing
from flow.plan.unrolled import obstacles
from flow.report.plan import PlanResult

_REPLANS = 2


def plan(
    model: str | Path,
    *,
    board: str = "pynq-z2",
    clock: float | None = None,
    goals: Goals | None = None,
    input_type: str | None = None,
    given: str | Path | None = None,
    out: str | Path | None = None,
    style: StyleChoice | None = None,
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
        style: ``stream``, ``unrolled``, or ``auto`` for the better one; None for the given plan's, else ``auto``.

    Raises:
        FlowError: With one clear message, whatever the user can mend.
    """
    path, target = Path(model), boards.load(board)
    checked_clock(clock, target)
    compiled = compile_model(path, input_type)
    layers = layers_of(compiled.graph)
    start = time.perf_counter()
    labels = layer_labels(layers, compiled.imported)
    folding, design, names, timing = planned(layers, labels, target, clock, goals, given, style)
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
    """The cheapest design in the stream style for each of some frame rates, the fastest first.

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
    if given is None:
        return _searched(layers, labels, board, checked_clock(clock, board), goals or Goals(), style or "auto")
    plan = _given(layers, board, clock, goals, Path(given), style)
    design, names, timing = _timed(layers, labels, board, plan, None)
    total = resources_of(design, board).total
    if not total.fits(board.resources):
        over = _exceeded(total, board.resources)
        raise OptionError(f"the plan does not fit {board.name}: {over}", "lower pe or simd in the plan")
    return Folding(plan, total, False, "given by the user"), design, names, timing


def _searched(
    layers: tuple[Layer, ...],
    labels: Mapping[str, str],
    board: Board,
    clock: float,
    goals: Goals,
    style: StyleChoice,
) -> tuple[Folding, Design, Names, Timing]:
    """The best plan, and its design. Where that needs deeper streams than the search reckons with, and exceeds the
    goals with them, it is planned again with so much kept free; the last one says so if it still does.
    """
    budget, kept = goals.budget(board), Resources.zero()
    folding = plan_for(layers, board, clock, goals, style)
    for more in range(_REPLANS, -1, -1):
        design, names, timing = _timed(layers, labels, board, folding.plan, goals.latency(clock))
        total = resources_of(design, board).total
        if total.fits(budget) or not more:
            break
        kept += total.over(folding.resources).over(kept)
        try:
            folding = plan_for(layers, board, clock, replace(goals, reserved=kept), style)
        except InfeasibleError:
            break
    if not total.fits(board.resources):
        raise InfeasibleError(
            f"with streams as deep as its pace needs, the best plan does not fit {board.name}: "
            f"{_exceeded(total, board.resources)}",
            "ask for a lower frame rate, or leave room for the streams: --max-utilization 95%",
        )
    said = [folding.optimality]
    if folding.plan.style == "unrolled":
        said.append(against_stream(layers, folding.plan, board))
    if not total.fits(budget):
        said.append(f"with streams as deep as its pace needs it takes more than asked for: {_exceeded(total, budget)}")
    elif any(kept.amounts):
        room = ", ".join(f"{amount:,} {name.upper()}" for name, amount in kept.items() if amount)
        said.append(f"{room} of that were kept free for streams that are deeper than the search assumes")
    optimal = folding.optimal and not any(kept.amounts)
    return Folding(folding.plan, total, optimal, "; ".join(said)), design, names, timing


def _timed(
    layers: tuple[Layer, ...], labels: Mapping[str, str], board: Board, plan: Plan, latency: int | None
) -> tuple[Design, Names, Timing]:
    """The design that a plan means, named, with its streams as deep as they must be."""
    design = build_design(layers, plan, board.axis_bits)
    names = names_of(design, labels)
    streams = [names.stream(stream) for stream in design.streams]
    depths = {fifo.name: fifo.depth for fifo in plan.fifos}
    design, timing = timed(design, names.identifiers, streams, depths, latency)
    return design, names, timing


def _exceeded(total: Resources, budget: Resources) -> str:
    pairs = zip(total.items(), budget.amounts, strict=True)
    return ", ".join(f"{name.upper()} {a:,} of {b:,}" for (name, a), b in pairs if a > b)


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
    if plan.style == "unrolled" and (problems := obstacles(layers)):
        raise UnsupportedModelError(problems)
    wrong, mend = [], []
    if style not in (None, plan.style):
        wrong.append(f"the plan is in the style {plan.style}, the build in {style}")
        mend.append("leave --style out")
    if plan.board != board.name:
        wrong.append(f"the plan is for {plan.board}, the build for {board.name}")
        mend.append(f"pass --board {plan.board}")
    if clock is not None and clock != plan.clock_mhz:
        wrong.append(f"the plan is for {plan.clock_mhz:g} MHz, the build for {clock:g}")
        mend.append("leave --clock out")
    if plan.clock_mhz > board.clock.max_mhz:
        wrong.append(f"its clock of {plan.clock_mhz:g} MHz is not possible on {board.name} ({board.clock.max_mhz:g})")
        mend.append("lower clock_mhz in the plan")
    if wrong:
        raise OptionError("; ".join(wrong), f"{', '.join(mend)}, or edit the plan")
    return plan
