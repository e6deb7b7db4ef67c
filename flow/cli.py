# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments to the API, results to the terminal, a FlowError to one message and exit code 2."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import click

from flow.errors import FlowError

if TYPE_CHECKING:
    from flow.api.inspect import InspectResult
    from flow.api.simulate import SimulationResult
    from flow.plan.goals import Goals

F = TypeVar("F", bound=Callable[..., Any])


def _errors_as_messages(function: F) -> F:
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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flow-fpga")
def main() -> None:
    """A quantised neural network (QONNX) to an edge FPGA, exact to the last integer."""


_model = click.argument("model", type=click.Path(path_type=Path))
_input_type = click.option(
    "--input-type", metavar="T", help="How the input arrives: u8, i8, b1 (-1 and +1), u8/255, fixed<16,6>."
)
_board = click.option(
    "--board", default="pynq-z2", show_default=True, help="A board (see: flow boards), or a .toml file."
)
_cost = click.option(
    "--cost", type=click.Path(path_type=Path), metavar="FILE", help="Coefficients of your own (see: flow calibrate)."
)
_clock = click.option("--clock", type=float, metavar="MHZ", help="The clock; the board's default where it is left out.")


def _where(function: F) -> F:
    """The options that say where a design shall run."""
    return _board(_clock(function))


def _goal_options(function: F) -> F:
    """The options that say what a plan shall reach; ``_goals`` puts them together."""
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


def _goals(
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


_style = click.option(
    "--style",
    type=click.Choice(["auto", "stream", "unrolled"]),
    help="Folded layers joined by streams; all products at once (small dense networks); or the better one  [auto]",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")


@main.command()
@_model
@_where
@_goal_options
@_cost
@_input_type
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Frames x and labels y to check on.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The build directory [build/MODEL].")
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="A plan.toml to use, e.g. an edited one.")
@_style
@click.option(
    "--hls",
    "dialect",
    type=click.Choice(["vitis", "vitis2020", "vivado"]),
    help="Pragmas for Vitis HLS (2021.2 and later; 2020.2 and 2021.1) or Vivado HLS. [what --synth finds, else vitis]",
)
@click.option("--no-csim", is_flag=True, help="Stop after the C++ is written; nothing is compiled.")
@click.option(
    "--synth",
    type=click.Choice(["csynth", "ooc", "bitstream", "xclbin"]),
    help="Run the vendor's tools: high-level synthesis; and placement and routing of it by itself; or a whole system; "
    "or a kernel for an Alveo.",
)
@click.option(
    "-j",
    "jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Programs side by side in --synth.",
)
@click.option("--dry-run", is_flag=True, help="Print the commands of --synth in place of running them.")
@click.option(
    "--dump-after",
    metavar="PASS",
    multiple=True,
    help="Print the graph after a pass, as text ('list' names them).",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@_json
@_errors_as_messages
def build(
    model: Path,
    board: str,
    clock: float | None,
    cost: Path | None,
    input_type: str | None,
    data: Path | None,
    out: Path | None,
    plan: Path | None,
    style: Literal["stream", "unrolled", "auto"] | None,
    dialect: str | None,
    no_csim: bool,
    synth: str | None,
    jobs: int,
    dry_run: bool,
    dump_after: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Turn MODEL into HLS C++, compile it, and prove it equal to the model."""
    from flow.passes.pipelines import pass_names

    if "list" in dump_after:
        click.echo("\n".join(pass_names()))
        return
    _check_names(dump_after, pass_names())
    from rich.text import Text

    from flow.api.build import build as run
    from flow.api.calibrate import prices_from
    from flow.ir.text import print_graph
    from flow.report.schema import to_json
    from flow.report.text import print_report

    console = _console(quiet=quiet or as_json)
    programs = _vendor_programs(synth, board, dialect, dry_run=dry_run)

    def observe(name: str, graph: Any) -> None:
        if name in dump_after:
            click.echo(f"# after {name}\n{print_graph(graph)}", nl=False, err=as_json)

    def progress(line: str) -> None:
        console.print(Text.assemble(("• ", "green"), line))

    with prices_from(cost):
        result = run(
            model,
            board=board,
            clock=clock,
            goals=_goals(**wishes),
            input_type=input_type,
            data=data,
            out=out,
            plan=plan,
            style=style,
            dialect=dialect or _dialect_for(programs),  # type: ignore[arg-type]
            csim=not no_csim,
            observe=observe,
            progress=progress,
        )
    print_report(result.report, console)
    console.print(f"written to {result.folder}", highlight=False, markup=False)
    found: dict[str, Any] = {**to_json(result.report), "folder": str(result.folder)}
    if synth is not None:
        found["synthesis"] = _synthesize(result, synth, programs, jobs, dry_run=dry_run, console=console, tell=progress)
        if dry_run and not as_json:
            click.echo("\n".join(found["synthesis"]["commands"]) or "everything is done: nothing would be run")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    sys.exit(0 if result.report.held else 1)


def _vendor_programs(synth: str | None, board: str, dialect: str | None, *, dry_run: bool) -> Any:
    """The tools that --synth needs, looked for before anything else is done."""
    from flow.errors import OptionError

    if synth is None:
        if dry_run:
            raise OptionError("--dry-run is about --synth", "add --synth csynth, ooc, bitstream or xclbin")
        return None
    from flow.api import synthesize

    synthesize.check_target(synth, board)  # type: ignore[arg-type]
    return synthesize.programs_for(synth, dialect)  # type: ignore[arg-type]


def _dialect_for(programs: Any) -> str:
    from flow.backend.synthesis import dialect_of

    return dialect_of(programs["hls"].version) if programs is not None else "vitis"


def _synthesize(
    result: Any, synth: str, programs: Any, jobs: int, *, dry_run: bool, console: Any, tell: Callable[[str], None]
) -> Any:
    """The steps of --synth, or with --dry-run their commands; what --json says of it."""
    from flow.api.synthesize import runner_for, synthesize
    from flow.report.schema import to_json
    from flow.report.synthesis import print_synthesis

    runner = runner_for(result, programs, jobs=jobs, progress=tell)
    if dry_run:
        return {"commands": runner.commands(synth)}  # type: ignore[arg-type]
    report = synthesize(result, synth, runner)  # type: ignore[arg-type]
    print_synthesis(report, console)
    return to_json(report)


def _check_names(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    from flow.errors import OptionError

    for name in names:
        if name not in known:
            raise OptionError(f"there is no pass '{name}'", f"choose one of {', '.join(known)}")


def _console(*, quiet: bool) -> Any:
    from rich.console import Console

    return Console(quiet=quiet, highlight=False, width=None if sys.stdout.isatty() else 170)


@main.command()
@_model
@_where
@_goal_options
@_cost
@_input_type
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="Check and price this plan instead.")
@_style
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the plan, for flow build --plan.")
@click.option("--pareto", is_flag=True, help="Show the cheapest design for each of many frame rates.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="With --pareto: a picture (.png, .svg).")
@_json
@_errors_as_messages
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

    goals = _goals(**wishes)
    if pareto:
        _check_trade_off(goals, plan, out, style)
        with prices_from(cost):
            _trade_off(model, board, clock, goals, input_type, plot, as_json=as_json)
        return
    if plot is not None:
        from flow.errors import OptionError

        raise OptionError("--plot draws a trade-off", "add --pareto")
    with prices_from(cost):
        result = make(
            model, board=board, clock=clock, goals=goals, input_type=input_type, given=plan, out=out, style=style
        )
    if as_json:
        click.echo(json.dumps(plan_to_json(result), indent=2))
        return
    console = _console(quiet=False)
    print_plan_result(result, console)
    if out is not None:
        console.print(f"written to {out}", highlight=False, markup=False)


def _check_trade_off(goals: "Goals | None", plan: Path | None, out: Path | None, style: str | None) -> None:
    from flow.errors import OptionError

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
    console = _console(quiet=False)
    print_points(points, boards.load(board), console)
    if plot is not None:
        console.print(f"written to {plot}", highlight=False, markup=False)


@main.command()
@_model
@_input_type
@_json
@_errors_as_messages
def inspect(model: Path, input_type: str | None, as_json: bool) -> None:
    """Show MODEL's layers as integers, what is supported, and what to do about the rest."""
    from flow.api.inspect import inspect as look
    from flow.report.schema import to_json

    result = look(model, input_type=input_type)
    if as_json:
        click.echo(json.dumps(to_json(result), indent=2))
    else:
        _print_inspection(result)
    sys.exit(2 if result.problems else 0)


def _print_inspection(result: "InspectResult") -> None:
    from rich.markup import escape
    from rich.table import Table

    console = _console(quiet=False)
    console.print(
        f"[bold]{escape(result.file)}[/bold]: input {list(result.input_shape)}, output {list(result.output_shape)}"
        if result.input_shape
        else f"[bold]{escape(result.file)}[/bold]"
    )
    if result.problems:
        console.print("cannot be built as it is:")
        for number, problem in enumerate(result.problems, 1):
            console.print(f"  {number}. {problem}", markup=False)
        return
    console.print(f"the input arrives as {result.input_type}", markup=False)
    table = Table()
    for name in ("layer", "operation", "shape", "weights", "input", "accumulator", "output", "scale"):
        table.add_column(name)
    for name in ("MACs", "weight memory"):
        table.add_column(name, justify="right")
    table.add_column("step function can be")
    for layer in result.layers:
        table.add_row(
            layer.name,
            layer.operation,
            layer.shape,
            layer.weight or "-",
            layer.x,
            layer.accumulator or "-",
            layer.y,
            layer.scale or "-",
            f"{layer.macs:,}",
            f"{layer.weight_bits / 8192:.1f} KiB" if layer.weight_bits else "-",
            ", ".join(layer.forms) or "-",
        )
    console.print(table)
    console.print(
        f"{sum(x.macs for x in result.layers):,} MACs a frame, "
        f"{sum(x.weight_bits for x in result.layers) / 8192:.1f} KiB of weights; everything is supported"
    )
    for remark in result.remarks:
        console.print(f"remark: {remark}", markup=False)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE.npz", help="Frames x, labels y.")
@click.option("--save", type=click.Path(path_type=Path), metavar="OUT.npz", help="Write y_int and y there.")
@click.option("--trace", is_flag=True, help="Run layer by layer, and name the first that differs from the model.")
@_json
@_errors_as_messages
def sim(folder: Path, data: Path, save: Path | None, trace: bool, as_json: bool) -> None:
    """Run the design built in FOLDER on data, in C-simulation."""
    from flow.api.simulate import simulate

    result = simulate(folder, data, trace=trace)
    if save is not None:
        _save(save, result)
    different = result.comparison.differences
    if as_json:
        summary = {
            "frames": result.frames,
            "accuracy": result.accuracy,
            "clipped": result.clipped,
            "compared": result.comparison.compared,
            "differences": different,
            "frames_that_differ": sorted(result.comparison.frames),
            "mismatches": [str(m) for m in result.comparison.first],
            "first_diverging": str(result.diverging) if result.diverging is not None else None,
        }
        click.echo(json.dumps(summary, indent=2))
    else:
        _print_simulation(result)
    sys.exit(1 if different else 0)


def _save(path: Path, result: "SimulationResult") -> None:
    import numpy as np

    from flow.errors import OutputError

    try:
        with path.open("wb") as file:
            np.savez(file, y_int=result.integers, y=result.output)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}", "name another file") from error


def _print_simulation(result: "SimulationResult") -> None:
    comparison = result.comparison
    click.echo(
        f"{result.frames} frames: {comparison.compared:,} output integers compared with the model, "
        f"{comparison.differences:,} differ"
    )
    if result.accuracy is not None:
        click.echo(f"accuracy: {result.accuracy:.2%}")
    if result.clipped:
        click.echo(f"{result.clipped:,} values of the data lie outside the input type and were clipped to it")
    for mismatch in comparison.first:
        click.echo(f"  {mismatch}")
    if comparison.differences > len(comparison.first):
        click.echo(f"  and {comparison.differences - len(comparison.first):,} more")
    if result.traced:
        click.echo(f"first layer that differs: {result.diverging}" if result.diverging else "trace: every layer agrees")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The archive [FOLDER/DESIGN.tar.gz].")
@_json
@_errors_as_messages
def package(folder: Path, out: Path | None, as_json: bool) -> None:
    """Pack the bitstream built in FOLDER with its driver, for a board."""
    from flow.api.package import package as pack

    made = pack(folder, out)
    if as_json:
        click.echo(json.dumps({"archive": str(made.archive), "design": made.design, "files": made.files}, indent=2))
        return
    click.echo(f"written to {made.archive}: {len(made.files)} files, {made.archive.stat().st_size:,} bytes")
    click.echo(f"next: flow deploy {made.archive} --host ADDRESS")


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--host", "hosts", multiple=True, required=True, metavar="ADDRESS", help="HOST or USER@HOST; many times.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The port of ssh.")
@click.option("--identity", type=click.Path(path_type=Path), metavar="FILE", help="The private key for ssh.")
@click.option("--accept-new-host-key", "accept_new", is_flag=True, help="Trust a board that was never seen before.")
@click.option("--dir", "folder", default="flow", show_default=True, metavar="DIR", help="The folder on the board.")
@click.option("--timeout", type=float, default=300, show_default=True, metavar="S", help="Seconds of each step.")
@click.option("-k", "--keep-going", is_flag=True, help="Go on with the next board when one fails.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@_json
@_errors_as_messages
def deploy(
    source: Path,
    hosts: tuple[str, ...],
    port: int | None,
    identity: Path | None,
    accept_new: bool,
    folder: str,
    timeout: float,
    keep_going: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Copy SOURCE (a package or a build directory) to boards, test it there, and measure."""
    from flow.api.deploy import deploy as run
    from flow.backend.remote import Host
    from flow.report.schema import to_json

    tell = (lambda line: None) if quiet or as_json else click.echo
    boards = [Host(host, port, identity, accept_new) for host in hosts]
    found = run(source, boards, folder=folder, timeout=timeout, keep_going=keep_going, progress=tell)
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
    for board in found:
        if board.error is not None:
            click.echo(f"flow: {board.error}", err=True)
        elif not (quiet or as_json):
            click.echo(
                f"{board.host}: {board.compared:,} integers as simulated; {board.frames_per_second:,.0f} frames/s with "
                f"the driver, {board.planned_frames_per_second:,.0f} planned; a call of one frame takes "
                f"{board.call_us:,.0f} us"
            )
            for name, watts in (board.power_w or {}).items():
                click.echo(f"  power of {name}: {watts:.2f} W")
    sys.exit(2 if any(board.error is not None for board in found) else 0)


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run folder [runs/RECIPE].")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@_json
@_errors_as_messages
def train(recipe: Path, out: Path | None, quiet: bool, as_json: bool) -> None:
    """Train a network by RECIPE.toml and export it; an interrupted run goes on where it was."""
    run = _training()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = _console(quiet=quiet or as_json)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)

        def show(step: int, steps: int, row: dict[str, float]) -> None:
            shown = ("loss", "test_accuracy", "test_error", "average_bits")
            line = "  ".join(f"{name.replace('_', ' ')} {row[name]:.4g}" for name in shown if name in row)
            bar.update(task, completed=step, total=steps, description=line)

        result = run(recipe, out, show)
    if as_json:
        found = {name: str(value) if isinstance(value, Path) else value for name, value in vars(result).items()}
        found["pictures"] = [str(path) for path in result.pictures]
        click.echo(json.dumps({**found, "score": result.score if result.finished else None}, indent=2))
    elif result.finished:
        console.print(f"score on held-out data {result.score:.4g}, {result.average_bits:.3g} bits a weight")
        if not result.pictures:
            console.print("no pictures of the run: pip install 'flow-fpga[plot]'", markup=False)
        console.print(f"written to {result.folder}; next: flow build {result.model}", markup=False)
    else:
        console.print(f"interrupted at step {result.step}; the same command goes on from there")
    sys.exit(0 if result.finished else 130)


def _training() -> Callable[..., Any]:
    """The function that trains; torch and Brevitas are not part of the installation that builds."""
    try:
        from flow.quant.training import train
    except ModuleNotFoundError as error:
        from flow.errors import ToolNotFoundError

        raise ToolNotFoundError(
            f"training needs {error.name}, which is not installed",
            "pip install torch==2.13.0, then pip install 'flow-fpga[train]'",
        ) from error
    return train


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the coefficients, for --cost FILE.")
@click.option("--cost", type=click.Path(path_type=Path), metavar="FILE", help="Begin with these, not with flow's own.")
@click.option(
    "--board",
    "own_boards",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.toml",
    help="The file of a board of your own that a build is for; many times.",
)
@_json
@_errors_as_messages
def calibrate(
    folders: tuple[Path, ...], out: Path | None, cost: Path | None, own_boards: tuple[Path, ...], as_json: bool
) -> None:
    """Refit the cost model to your own builds: each DIR was placed and routed with --synth ooc."""
    from flow.api.calibrate import calibrate as fit
    from flow.api.calibrate import prices_from
    from flow.report.calibration import calibration_to_json, print_calibration

    with prices_from(cost):
        report = fit(folders, own_boards=own_boards, out=out)
    if as_json:
        click.echo(json.dumps(calibration_to_json(report), indent=2))
    else:
        print_calibration(report, _console(quiet=False))


@main.command()
@_json
@_errors_as_messages
def boards(as_json: bool) -> None:
    """List the boards."""
    from flow.plan import board

    known = [board.load(name) for name in board.known()]
    if as_json:
        click.echo(json.dumps([{"name": b.name, "part": b.part, **dict(b.resources.items())} for b in known], indent=2))
        return
    from rich.table import Table

    table = Table()
    for name in ("board", "title", "part"):
        table.add_column(name)
    for name in ("LUT", "FF", "DSP", "BRAM18", "URAM", "MHz", "up to"):
        table.add_column(name, justify="right")
    for b in sorted(known, key=lambda b: b.resources.lut):
        amounts = [f"{amount:,}" for _, amount in b.resources.items()]
        table.add_row(b.name, b.title, b.part, *amounts, f"{b.clock.default_mhz:g}", f"{b.clock.max_mhz:g}")
    _console(quiet=False).print(table)


@main.command()
@_json
@_errors_as_messages
def doctor(as_json: bool) -> None:
    """Say which tools were found, and what works without the others."""
    from flow.api.doctor import examine

    findings = examine()
    if as_json:
        from flow.report.schema import to_json

        click.echo(json.dumps(to_json(findings), indent=2))
        return
    for finding in findings:
        mark = "ok     " if finding.found else "missing"
        click.echo(f"{mark}  {finding.title:<14} {finding.version or '':<10} {finding.where}")
        if not finding.found:
            click.echo(f"           needed for: {finding.needed_for}")
            click.echo(f"           how to get it: {finding.install}")
            click.echo(f"           works without it: {finding.without}")
