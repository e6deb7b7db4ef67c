# SPDX-License-Identifier: Apache-2.0
"""``flow boards`` and ``flow doctor``: what there is to build for, and with."""

import json

import click

from flow.cli.common import errors_as_messages, json_option, terminal


@click.command()
@json_option
@errors_as_messages
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
    terminal(quiet=False).print(table)


@click.command()
@json_option
@errors_as_messages
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
