# SPDX-License-Identifier: Apache-2.0
"""What the Python driver itself costs: frames a second and the time of a call, with an accelerator that takes no time.

    python benchmarks/driver.py [--frames 20000]

The driver of a package runs on the stand-in for PYNQ of the tests, whose memory has two sides: every flush and
invalidate copies what it is called for; on a board it empties that part of a cache. In place of the C-simulation the
results are there at once, so the rows are the driver's own work: checks, packing, copies, registers, unpacking. A call
of one frame waits for nothing. For comparison, measured by others on Pynq-Z2: FINN's
driver packs and unpacks 1,000 frames of 784 values in 445 ms; a call of one frame takes hls4ml's driver 940 us. The ARM
core there is much slower than this machine.
"""

import argparse
import hashlib
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flow.emit.packing import Layout
from flow.resources import templates

ROOT = Path(__file__).resolve().parents[1]
SHAPES = (
    ("784 x u8 -> 10 x i8", Layout("u8", 784, 8, 64), Layout("i8", 10, 8, 64)),
    ("784 x b1 -> 10 x i8", Layout("b1", 784, 1, 64), Layout("i8", 10, 8, 64)),
    ("16 x i8 -> 5 x i16", Layout("i8", 16, 8, 64), Layout("i16", 5, 16, 64)),
    ("3072 x u8 -> 10 x i16", Layout("u8", 3072, 8, 64), Layout("i16", 10, 16, 64)),
)
RUNS = 5


def entry(layout: Layout) -> dict:
    """As in ``io.json``."""
    own = {name: getattr(layout, name) for name in ("element", "values", "container_bits", "word_bits", "frame_bytes")}
    return {"shape": [layout.values], **own}


def package(folder: Path, source: Layout, sink: Layout) -> dict:
    """A package without a network; what is in ``io.json``."""
    io = {"format": 1, "design": "bench", "input": entry(source), "output": entry(sink)}
    (folder / "io.json").write_text(json.dumps(io))
    for suffix in ("bit", "hwh"):
        (folder / f"bench.{suffix}").write_text(suffix)
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return io


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    frames = parser.parse_args().frames
    program, stand_in = templates() / "driver", ROOT / "tests" / "fake_board"
    sys.path[:0] = [str(program), str(program / "pynq"), str(stand_in), str(ROOT / "flow" / "emit")]
    accelerator, board = importlib.import_module("accelerator"), importlib.import_module("pynq").board
    table = Table(title=f"{frames:,} frames, accelerator without a time of its own")
    for name in ("frame", "batch", "frames/s", "ms for 1,000 frames", "MB/s in", "call of one frame, us"):
        table.add_column(name, justify="right")
    rng = np.random.default_rng(1)
    for title, source, sink in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            board.insert(None, package(Path(folder), source, sink))
            board.thread.shutdown()
            board.thread = Inline()
            board.accelerate = lambda sent, a=source, b=sink: np.zeros(
                len(sent) // a.frame_bytes * b.frame_bytes, np.uint8
            )
            low, high = source.bounds
            x = rng.integers(low, high, (frames, source.values), endpoint=True).astype(source.dtype)
            x = np.where(x > 0, 1, -1).astype(np.int8) if source.element == "b1" else x
            with accelerator.Accelerator(folder) as driver:
                taken = min(timed(driver, x) for _ in range(RUNS))
                single = statistics.median(timed(driver, x[:1]) for _ in range(200))
                table.add_row(title, str(driver.batch), f"{frames / taken:,.0f}", f"{1e6 * taken / frames:.2f}",
                              f"{frames * source.frame_bytes / taken / 1e6:,.0f}", f"{1e6 * single:.0f}")  # fmt: skip
    Console(width=120).print(table)


class Inline:
    """In place of the thread that stands for the hardware: done at once."""

    def submit(self, function: Callable[[], None]) -> Future:
        """Runs it."""
        done: Future = Future()
        done.set_result(function())
        return done


def timed(driver: object, x: np.ndarray) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    driver.predict_ints(x)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
