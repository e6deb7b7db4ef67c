# SPDX-License-Identifier: Apache-2.0
"""``flow package`` and ``flow deploy``: from a build directory to boards."""

import json
import sys
from pathlib import Path

import click

from flow.cli.common import errors_as_messages, json_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The archive [FOLDER/DESIGN.tar.gz].")
@json_option
@errors_as_messages
def package(folder: Path, out: Path | None, as_json: bool) -> None:
    """Pack the bitstream built in FOLDER with its driver, for a board."""
    from flow.api.package import package as pack

    made = pack(folder, out)
    if as_json:
        click.echo(json.dumps({"archive": str(made.archive), "design": made.design, "files": made.files}, indent=2))
        return
    click.echo(f"written to {made.archive}: {len(made.files)} files, {made.archive.stat().st_size:,} bytes")
    click.echo(f"next: flow deploy {made.archive} --host ADDRESS")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--host", "hosts", multiple=True, required=True, metavar="ADDRESS", help="HOST or USER@HOST; many times.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The port of ssh.")
@click.option("--identity", type=click.Path(path_type=Path), metavar="FILE", help="The private key for ssh.")
@click.option("--accept-new-host-key", "accept_new", is_flag=True, help="Trust a board that was never seen before.")
@click.option("--dir", "folder", default="flow", show_default=True, metavar="DIR", help="The folder on the board.")
@click.option("--timeout", type=float, default=300, show_default=True, metavar="S", help="Seconds of each step.")
@click.option("-k", "--keep-going", is_flag=True, help="Go on with the next board when one fails.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@json_option
@errors_as_messages
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
