# SPDX-License-Identifier: Apache-2.0
"""The event model on networks for images: how long it takes, and what the search for depths saves.

The networks are those of tests/brevitas_networks.py at full size (MobileNet at a quarter of its channels), with
random weights (pip install -e '.[dev,train]').

Usage: python benchmarks/stream_model.py [--network NAME ...] [--board BOARD] [--fps N]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flow.api.compile import compile_model
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.events import Run
from flow.plan.fifo_search import price
from flow.plan.folding import fold
from flow.plan.goals import Goals
from flow.plan.layers import layers_of
from flow.plan.timing import depths_of, event_model, timed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def measured(path: Path, board_name: str, fps: float | None) -> list[str]:
    """A row of the table."""
    layers, board = layers_of(compile_model(path).graph), boards.load(board_name)
    plan = fold(layers, board, board.clock.default_mhz, Goals(target_fps=fps)).plan
    design = build_design(layers, plan, board.axis_bits)
    model = event_model(design)
    depths = depths_of(design)
    model.run(depths, model.slowest)  # loads or compiles the engine
    start = time.perf_counter()
    run = model.run(depths, model.slowest)
    once = time.perf_counter() - start
    assert isinstance(run, Run)
    assert run.steady
    two = model.interval([2] * len(depths))
    names = [f"stream {number}" for number in range(len(depths))]
    start = time.perf_counter()
    sized, timing = timed(design, [f"process {number}" for number in range(len(design.processes))], names)
    search = time.perf_counter() - start
    found = [stream.depth for stream in sized.streams]
    widths = [stream.bits for stream in design.streams]
    bits = [sum(d * w for d, w in zip(which, widths, strict=True)) for which in (depths, found)]
    prices = [sum(price(d, w) for d, w in zip(which, widths, strict=True)) for which in (depths, found)]
    return [
        str(len(depths)),
        f"{int(model.words.sum()):,}",
        f"{once / len(run.frames):.3f}",
        f"{search:.1f}",
        f"{timing.interval:,}",
        f"{two:,}" if isinstance(two, int) else "stops",
        f"{timing.latency:,}",
        f"{bits[0]:,}",
        f"{bits[1]:,}",
        f"{prices[0]:,.0f}",
        f"{prices[1]:,.0f}",
        f"{sum(bool(minimal) for minimal in timing.minimal)}",
    ]


def main() -> int:
    import brevitas_networks as networks

    named = {
        "cnv_1w1a": networks.FULL_SIZE["cnv_1w1a"],
        "resnet20": networks.FULL_SIZE["resnet20"],
        "mobilenet_0.25": networks.NETWORKS["mobilenet"],
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=list(named), help="default: all")
    parser.add_argument("--board", default="u250")
    parser.add_argument("--fps", type=float, help="frames a second to plan for; default: the fastest that fits")
    given = parser.parse_args()
    wish = f"{given.fps:g} frames/s" if given.fps else "the fastest plan"
    table = Table(title=f"{given.board}, {wish}; prices in LUTs, a block RAM exchanged for some", title_justify="left")
    table.add_column("network", no_wrap=True)
    for title in (
        "streams",
        "words a frame",
        "s a frame",
        "s search",
        "interval",
        "with 2 words each",
        "latency",
        "bits: timetable",
        "bits: found",
        "price: timetable",
        "price: found",
        "minimal",
    ):
        table.add_column(title, justify="right")
    for name in given.network or named:
        with tempfile.TemporaryDirectory() as folder:
            path = networks.export(name, "float", "legacy", Path(folder), named)
            table.add_row(name, *measured(path, given.board, given.fps))
    Console(width=170).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
