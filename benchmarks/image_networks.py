# SPDX-License-Identifier: Apache-2.0
"""Networks for images at full size: from the file to a compiled emulator, and how fast both evaluators run.

The networks are those of tests/brevitas_networks.py, with random weights (pip install -e '.[dev,train]').

Usage: python benchmarks/image_networks.py [--network NAME ...]
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flow.api.compile import compile_model, macs, random_frames
from flow.api.names import layer_labels, layer_origins
from flow.backend.csim import Simulator, compile_design
from flow.emit.hls import HlsOptions, emit_hls
from flow.ir.dataflow import execute
from flow.ir.parts import cores
from flow.plan import board as boards
from flow.plan.design import build_design
from flow.plan.folding import fold
from flow.plan.layers import layers_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
BOARD = "u250"  # holds all of them
MACS = 1 << 33  # of all frames of a network together


def measured(path: Path, folder: Path) -> list[str]:
    """A row of the table: times, rates, memory, and whether the C++ gives the integers of the evaluator.

    It runs in a process of its own, so that memory and times are those of one network.
    """
    start = time.perf_counter()
    compiled = compile_model(path)
    layers, board = layers_of(compiled.graph), boards.load(BOARD)
    passed = time.perf_counter() - start
    plan = fold(layers, board, board.clock.default_mhz).plan
    design = build_design(layers, plan, board.axis_bits)
    planned = time.perf_counter() - start
    labels, origins = layer_labels(layers, compiled.imported), layer_origins(layers, compiled.imported)
    emit_hls(design, HlsOptions(path.stem, "network", "vitis", labels, origins, {}, 1)).write(folder)
    emitted = time.perf_counter() - start
    simulator = Simulator(compile_design(folder))
    whole = time.perf_counter() - start
    frames = max(2, min(128, MACS // macs(compiled.graph)))
    x = compiled.integers.encode(random_frames(compiled.frame_shape, frames, seed=5))
    source = compiled.integers.source.name
    execute(compiled.graph, {source: x[:2]})
    start = time.perf_counter()
    expected = execute(compiled.graph, {source: x})[compiled.integers.output]
    evaluator = frames / (time.perf_counter() - start)
    start = time.perf_counter()
    found = simulator.run(x, design.source.element, design.sink.element, expected.shape[1:])
    csim = frames / (time.perf_counter() - start)
    python, compiler = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return [
        f"{macs(compiled.graph) / 1e6:.1f}",
        f"{passed:.1f}",
        f"{planned:.1f}",
        f"{emitted:.1f}",
        f"{whole:.1f}",
        f"{csim:.1f}",
        f"{evaluator:.1f}",
        f"{python / 1e6:.1f}",
        f"{compiler / 1e6:.1f}",
        f"{int((np.asarray(found) != expected).sum())} of {expected.size}",
    ]


def main() -> int:
    import brevitas_networks as networks

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=list(networks.FULL_SIZE), help="default: all")
    given = parser.parse_args()
    table = Table(
        title=f"{cores()} cores; planned for {BOARD}; seconds from the start, frames/s, GB at most",
        title_justify="left",
    )
    table.add_column("network", no_wrap=True)
    seconds, rates, memory = ("s: passes", "plan", "C++", "emulator"), ("/s: csim", "evaluator"), ("GB: flow", "g++")
    for title in ("M MACs", *seconds, *rates, *memory, "differ"):
        table.add_column(title, justify="right")
    for name in given.network or networks.FULL_SIZE:
        with tempfile.TemporaryDirectory() as folder:
            path = networks.export(name, "float", "legacy", Path(folder), networks.FULL_SIZE)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own:
                table.add_row(name, *own.submit(measured, path, Path(folder) / "out").result())
    Console(width=130).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
