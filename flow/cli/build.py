# SPDX-License-Identifier: Apache-2.0
"""``flow build``, with the vendor's tools behind it where they are asked for."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from flow.cli.common import design_options, errors_as_messages, goals_of, json_option, style_option, terminal
from flow.errors import OptionError


@click.command()
@design_options
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Frames x and labels y to check on.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The build directory [build/MODEL].")
@click.option("--plan", type=click.Path(path_type=Path), metavar="FILE", help="A plan.toml to use, e.g. an edited one.")
@style_option
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
@json_option
@errors_as_messages
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

    console = terminal(quiet=quiet or as_json)
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
            goals=goals_of(**wishes),
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
    for name in names:
        if name not in known:
            raise OptionError(f"there is no pass '{name}'", f"choose one of {', '.join(known)}")
