# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments to the API, results to the terminal, a FlowError to one message and exit code 2.

A command imports what it needs when it runs, so that ``flow --help`` answers at once.
"""

import click

from flow.cli import board, build, calibrate, inspect, machine, plan, sim, train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flow-fpga")
def main() -> None:
    """A quantised neural network (QONNX) to an edge FPGA, exact to the last integer."""


for _command in (
    *(build.build, plan.plan, inspect.inspect, sim.sim, board.package, board.deploy, train.train, calibrate.calibrate),
    *(machine.boards, machine.doctor),
):
    main.add_command(_command)
