# SPDX-License-Identifier: Apache-2.0
"""``flow train``: a recipe to a run folder."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flow.cli.common import errors_as_messages, json_option, terminal
from flow.errors import ToolNotFoundError


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run folder [runs/RECIPE].")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@json_option
@errors_as_messages
def train(recipe: Path, out: Path | None, quiet: bool, as_json: bool) -> None:
    """Train a network by RECIPE.toml and export it; an interrupted run goes on where it was."""
    run = _training()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = terminal(quiet=quiet or as_json)
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
        raise ToolNotFoundError(
            f"training needs {error.name}, which is not installed",
            "pip install torch==2.13.0, then pip install 'flow-fpga[train]'",
        ) from error
    return train
