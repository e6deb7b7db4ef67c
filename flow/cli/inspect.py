# SPDX-License-Identifier: Apache-2.0
"""``flow inspect``: a model's layers, and what stands in the way."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flow.cli.common import errors_as_messages, input_type_option, json_option, model_argument, terminal

if TYPE_CHECKING:
    from flow.api.inspect import InspectResult


@click.command()
@model_argument
@input_type_option
@json_option
@errors_as_messages
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

    console = terminal(quiet=False)
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
