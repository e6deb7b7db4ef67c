# SPDX-License-Identifier: Apache-2.0
"""``flow sim``: a design that was built, on data."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flow.cli.common import errors_as_messages, json_option
from flow.errors import OutputError

if TYPE_CHECKING:
    from flow.api.simulate import SimulationResult


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE.npz", help="Frames x, labels y.")
@click.option("--save", type=click.Path(path_type=Path), metavar="OUT.npz", help="Write y_int and y there.")
@click.option("--trace", is_flag=True, help="Run layer by layer, and name the first that differs from the model.")
@json_option
@errors_as_messages
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
