# SPDX-License-Identifier: Apache-2.0
"""``flow plan``: the best plan, or a trade-off of many."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from flow.cli.common import design_options, errors_as_messages, goals_of, json_option, style_option, terminal
from flow.errors import OptionError

if TYPE_CHECKING:
    from flow.plan.goals import Goals


@click.command()
@design_options
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="Check and price this plan instead.")
@style_option
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan, for flow build --plan.")
@click.option("--pareto", is_flag=True, help="Show the cheapest design for each of many frame rates.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="With --pareto: a picture (.png, .svg).")
@json_option
@errors_as_messages
def plan(
    model: Path,
    board: str,
    clock: float | None,
    cost: Path | None,
    input_type: str | None,
    plan: Path | None,
    style: Literal["stream", "unrolled", "auto"] | None,
    out: Path | None,
    pareto: bool,
    plot: Path | None,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Show the best plan for MODEL; nothing is built."""
    from flow.api.calibrate import prices_from
    from flow.api.plan import plan as make
    from flow.report.plan import plan_to_json, print_plan_result

    goals = goals_of(**wishes)
    if pareto:
        _check_trade_off(goals, plan, out, style)
        with prices_from(cost):
            _trade_off(model, board, clock, goals, input_type, plot, as_json=as_json)
        return
    if plot is not None:
        raise OptionError("--plot draws a trade-off", "add --pareto")
    with prices_from(cost):
        result = make(
            model, board=board, clock=clock, goals=goals, input_type=input_type, given=plan, out=out, style=style
        )
    if as_json:
        click.echo(json.dumps(plan_to_json(result), indent=2))
        return
    console = terminal(quiet=False)
    print_plan_result(result, console)
    if out is not None:
        console.print(f"written to {out}", highlight=False, markup=False)


def _check_trade_off(goals: "Goals | None", plan: Path | None, out: Path | None, style: str | None) -> None:
    if style not in (None, "stream"):
        raise OptionError("--pareto shows foldings, which only the stream style has", "leave --style out")

    if plan is not None or out is not None:
        raise OptionError("--pareto is about many plans", "leave --plan and --out out")
    if goals is not None and (goals.max_fps or goals.min_resources):
        raise OptionError("--pareto shows the fastest, the cheapest and what lies between", "leave the goal out")


def _trade_off(
    model: Path,
    board: str,
    clock: float | None,
    goals: "Goals | None",
    input_type: str | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    from flow.api.plan import trade_off
    from flow.plan import board as boards
    from flow.report.plan import check_picture, plot_points, print_points
    from flow.report.schema import to_json

    if plot is not None:
        check_picture(plot)
    points = trade_off(model, board=board, clock=clock, goals=goals, input_type=input_type)
    if plot is not None:
        plot_points(points, boards.load(board), model.name, plot)
    if as_json:
        click.echo(json.dumps(to_json(points), indent=2))
        return
    console = terminal(quiet=False)
    print_points(points, boards.load(board), console)
    if plot is not None:
        console.print(f"written to {plot}", highlight=False, markup=False)
