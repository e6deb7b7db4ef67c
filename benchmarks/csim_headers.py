# SPDX-License-Identifier: Apache-2.0
"""What the one word that C-simulation takes out of the ap_int headers is worth: frames a second with and without.

Usage: python benchmarks/csim_headers.py [MODEL.onnx ...]
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import flow
from flow.api.compile import random_integers
from flow.backend import tools
from flow.backend.csim import Simulator, compile_design
from flow.ir.parts import cores

RUNS = 5
FRAMES = 2000


def frames_per_second(result: "flow.BuildResult", library: Path) -> float:
    """The median over some runs, all cores."""
    simulator = Simulator(library)
    x = random_integers(result.compiled.integers, FRAMES, seed=1)
    last = result.design.layers[-1].layer.y
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        simulator.run(x, result.design.source.element, result.design.sink.element, last.shape)
        times.append(time.perf_counter() - start)
    return FRAMES / statistics.median(times)


def main() -> None:
    models = [Path(name) for name in sys.argv[1:]] or [Path("examples/digits_mlp/digits_mlp.onnx")]
    print(f"{'model':40} {'as shipped':>12} {'one word less':>14} {'ratio':>6}   frames a second, {cores()} cores")
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            result = flow.build(model, out=Path(folder) / "fast")
            assert result.folder is not None
            fast = frames_per_second(result, result.folder / "csim" / "design.so")
            # spelt differently, the word is not recognised and stays
            headers = Path(folder) / "headers"
            shutil.copytree(tools.ap_types(), headers)
            private = headers / "etc" / "ap_private.h"
            private.write_text(
                private.read_text().replace("clearUnusedBits(void) volatile", "clearUnusedBits( void ) volatile")
            )
            os.environ["FLOW_AP_TYPES"] = str(headers)
            shipped = frames_per_second(result, compile_design(result.folder))
            del os.environ["FLOW_AP_TYPES"]
        print(f"{model.name:40} {shipped:12,.0f} {fast:14,.0f} {fast / shipped:6.1f}")


if __name__ == "__main__":
    main()
