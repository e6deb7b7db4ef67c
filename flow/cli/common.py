# SPDX-License-Identifier: Apache-2.0
"""What commands share: options, what becomes of an error, the terminal."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from flow.errors import FlowError

if TYPE_CHECKING:
    from flow.plan.goals import Goals

F = TypeVar("F", bound=Callable[..., Any])


def errors_as_messages(function: F) -> F:
    """Whatever the user can mend ends as one message and exit code 2; a bug keeps its traceback."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except FlowError as error:
            _fail(error, as_json=bool(options.get("as_json")))

    return wrapped  # type: ignore[return-value]


def _fail(error: FlowError, *, as_json: bool) -> NoReturn:
    if as_json:
        kind = type(error).__name__
        click.echo(json.dumps({"error": {"kind": kind, "message": error.message, "remedy": error.remedy}}, indent=2))
    else:
        click.echo(f"flow: {error}", err=True)
    sys.exit(2)


def terminal(*, quiet: bool) -> Any:
    """Where results are shown; wide enough for tables where it is no terminal."""
    from rich.console import Console

    return Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else 170)


model_argument = click.argument("model", type=click.Path(path_type=Path))
input_type_option = click.option(
    "--input-type", metavar="T", help="How the input arrives: u8, i8, b1 (-1 and +1), u8/255, fixed<16,6>."
)
_board = click.option(
    "--board", default="pynq-z2", show_default=True, help="A board (see: flow boards), or a .toml file."
)
_cost = click.option(
    "--cost", type=click.Path(path_type=Path), metavar="FILE", help="Coefficients of your own (see: flow calibrate)."
)
_clock = click.option("--clock", type=float, metavar="MHZ", help="The clock; the board's default where it is left out.")


def design_options(function: F) -> F:
    """The model, where it shall run, what is asked of the plan, what it is priced by, and how its input arrives."""
    return model_argument(_board(_clock(_goal_options(_cost(input_type_option(function))))))


def _goal_options(function: F) -> F:
    """The options that say what a plan shall reach; ``goals_of`` puts them together."""
    for option in reversed(
        (
            click.option("--target-fps", type=float, metavar="N", help="Frames a second: the cheapest that meets it."),
            click.option("--max-latency", type=float, metavar="US", help="Microseconds from first word in to last."),
            click.option("--max-fps", is_flag=True, help="The fastest design that fits; the default."),
            click.option("--min-resources", is_flag=True, help="The cheapest design, however slow."),
            click.option(
                "--max-utilization",
                metavar="SHARE",
                help="Of the board: 70%, or lut=60%,bram18=80%  [the fastest: 70%, the cheapest: 100%]",
            ),
            click.option("--solver-time", type=float, metavar="S", help="Seconds that the solver may take  [60]"),
        )
    ):
        function = option(function)
    return function


def goals_of(
    target_fps: float | None,
    max_latency: float | None,
    max_fps: bool,
    min_resources: bool,
    max_utilization: str | None,
    solver_time: float | None,
) -> "Goals | None":
    """What is asked of a plan; None where nothing is."""
    from flow.plan.goals import SOLVER_SECONDS, Goals, parse_utilization

    numbers = (target_fps, max_latency, max_utilization, solver_time)
    if not (max_fps or min_resources or any(number is not None for number in numbers)):
        return None
    return Goals(
        target_fps=target_fps,
        max_latency_us=max_latency,
        max_fps=max_fps,
        min_resources=min_resources,
        utilization=parse_utilization(max_utilization) if max_utilization is not None else {},
        seconds=solver_time if solver_time is not None else SOLVER_SECONDS,
    )


style_option = click.option(
    "--style",
    type=click.Choice(["auto", "stream", "unrolled"]),
    help="Folded layers joined by streams; all products at once (small dense networks); or the better one  [auto]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
