# SPDX-License-Identifier: Apache-2.0
"""``flow calibrate``: one's own builds to a cost model."""

import json
from pathlib import Path

import click

from flow.cli.common import errors_as_messages, json_option, terminal


@click.command()
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
@json_option
@errors_as_messages
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
        print_calibration(report, terminal(quiet=False))
