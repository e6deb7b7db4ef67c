# SPDX-License-Identifier: Apache-2.0
"""The same QONNX files through flow and through hls4ml, side by side: from the file to numbers on the CPU.

Both turn a file into C++, compile it with g++ into a library, and run it. In one process, in turns; medians.

Usage: python benchmarks/peer_csim.py [--runs N] [--frames N] [--model NAME ...]
"""

import argparse
import contextlib
import importlib.metadata
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flow.api.compile import Compiled, compile_model
from flow.api.names import layer_labels, layer_origins
from flow.backend import tools
from flow.backend.csim import Simulator, compile_design
from flow.emit.hls import HlsOptions, emit_hls
from flow.ir.model import BipolarQuant, Quant
from flow.ir.near_ties import activation_quantizers
from flow.ir.parts import cores
from flow.ir.reference import Evaluation
from flow.ir.types import Reals
from flow.plan import board as boards
from flow.plan.design import Design, build_design
from flow.plan.folding import fold
from flow.plan.layers import layers_of

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "models"
BOARD = "pynq-z2"
LONG_ENOUGH = 1.0  # seconds for which the frames are run again and again: one call takes some milliseconds
GRID = 1024  # inputs are multiples of 1/1024 in [-32, 32), the numbers of the peer's default fixed<16,6>
RULE = """An output element differs from the model where it is off by more than a quarter of the output's step, \
or, where no quantiser makes the output, by more than 1e-6 of the greatest output of its frame. The model is \
evaluated by flow.ir.reference (every quantiser as on real numbers, the result in float64). Inputs are random \
multiples of 1/1024 in [-32, 32), which both tools take exactly. samples/s is for the whole call from float \
frames to float outputs: hls4ml's predict; flow's encode + run + decode, and its Simulator.run alone."""


@dataclass(frozen=True)
class Model:
    """A file, how its input arrives (for flow), and random frames for it."""

    name: str
    path: Path
    input_type: str | None
    frames: Callable[[np.random.Generator, tuple[int, ...]], Reals]


def on_grid(x: Reals) -> Reals:
    return np.clip(np.rint(x * GRID), -32 * GRID, 32 * GRID - 1) / GRID


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Reals:
    return on_grid(rng.normal(size=shape) * 2)


def unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Reals:
    return on_grid(rng.random(shape))


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Reals:
    return rng.choice(np.array([-1.0, 1.0]), shape)


MODELS = (
    Model("jet_qkeras", SHARED / "jet_qkeras" / "qkeras_jettagging.onnx", "fixed<16,6>", normal),
    Model("TFC_2W2A", SHARED / "mnist_tfc" / "TFC_2W2A.onnx", None, unit),
    Model("TFC_1W1A", SHARED / "mnist_tfc" / "TFC_1W1A.onnx", None, unit),
    Model("kws_w3a3", SHARED / "kws_w3a3" / "kws_w3a3.onnx", None, lambda r, s: on_grid(r.normal(size=s) * 9)),
    Model("unsw_w2a2", SHARED / "unsw_w2a2" / "unsw_nb15-mlp-w2a2.onnx", None, signs),
    Model(
        "qkeras qdense2_10",
        SHARED / "qkeras_fixtures" / "model_test_qkeras_qdense2_10__b3569150.onnx",
        None,
        normal,
    ),
    Model("digits_mlp", ROOT / "examples" / "digits_mlp" / "digits_mlp.onnx", None, unit),
)


# ------------------------------------------------------------------------------------------------- both tools


@dataclass
class Side:
    """What one tool gave for a model; one number a run."""

    build: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    output: Reals | None = None
    failure: str | None = None


@dataclass(frozen=True)
class FlowEmulator:
    """A compiled design, and what the host does around it."""

    compiled: Compiled
    design: Design
    simulator: Simulator

    def predict(self, x: Reals) -> tuple[Reals, float]:
        """The model's output, and the seconds that the C++ took of it."""
        integers = self.compiled.integers.encode(x)
        source, sink = self.design.source.element, self.design.sink.element
        shape = self.design.layers[-1].layer.y.shape
        start = time.perf_counter()
        found = self.simulator.run(integers, source, sink, shape)
        alone = time.perf_counter() - start
        return self.compiled.integers.decode(found), alone


def flow_emulator(model: Model, folder: Path) -> FlowEmulator:
    """What ``flow build`` does up to the compiled C++, without the comparisons that it makes besides."""
    compiled = compile_model(model.path, model.input_type)
    layers = layers_of(compiled.graph)
    board = boards.load(BOARD)
    plan = fold(layers, board, board.clock.default_mhz).plan
    design = build_design(layers, plan, board.axis_bits)
    labels, origins = layer_labels(layers, compiled.imported), layer_origins(layers, compiled.imported)
    options = HlsOptions(model.path.stem, "network", "vitis", labels, origins, {}, 1)
    emit_hls(design, options).write(folder)
    return FlowEmulator(compiled, design, Simulator(compile_design(folder)))


def peer_emulator(model: Model, folder: Path) -> Callable[[Reals], Reals]:
    """What hls4ml's documentation does with a QONNX file: tidied up, without Gemm, which it does not know."""
    import hls4ml
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    cleaned = cleanup_model(ModelWrapper(str(model.path)))
    cleaned = cleanup_model(cleaned.transform(GemmToMatMul()))
    config = hls4ml.utils.config_from_onnx_model(
        cleaned, granularity="name", backend="Vitis", default_precision="fixed<16,6>"
    )
    converted = hls4ml.converters.convert_from_onnx_model(
        cleaned, hls_config=config, output_dir=str(folder), backend="Vitis", io_type="io_parallel"
    )
    converted.compile()
    return lambda x: np.asarray(converted.predict(np.ascontiguousarray(x, np.float32)), np.float64)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what runs inside reaches the terminal, not even from the programs that it starts."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w") as nowhere, warnings.catch_warnings():  # noqa: PTH123
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, kept in zip((1, 2), saved, strict=True):
                os.dup2(kept, number)
                os.close(kept)
            logging.disable(logging.NOTSET)


def run_peer(model: Model, x: Reals, side: Side) -> None:
    if side.failure is not None:
        return
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            start = time.perf_counter()
            predict = peer_emulator(model, Path(folder))
            side.build.append(time.perf_counter() - start)
            predict(x[:10])
            calls, start = 0, time.perf_counter()
            while (passed := time.perf_counter() - start) < LONG_ENOUGH:
                side.output = predict(x)
                calls += 1
            side.call.append(passed / calls)
        except Exception as error:  # the peer raises all kinds: each is a result
            lines = str(error).strip().splitlines()
            side.failure = f"{type(error).__name__}: {lines[0] if lines else ''}"


def run_flow(model: Model, x: Reals, side: Side) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        emulator = flow_emulator(model, Path(folder))
        side.build.append(time.perf_counter() - start)
        emulator.predict(x[:10])
        alone: list[float] = []
        start = time.perf_counter()
        while (passed := time.perf_counter() - start) < LONG_ENOUGH:
            side.output, seconds = emulator.predict(x)
            alone.append(seconds)
        side.call.append(passed / len(alone))
        side.alone.append(statistics.mean(alone))


# ------------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Difference:
    """An output against the model's."""

    wrong: int
    elements: int
    greatest: float
    argmax: float | None


def difference(found: Reals, reference: Reals, step: Reals | None) -> Difference:
    """By the rule that is printed under the table."""
    right = reference.reshape(len(reference), -1)
    left = found.reshape(right.shape)
    off = np.abs(left - right)
    if step is not None:
        allowed = np.broadcast_to(step, reference.shape).reshape(right.shape) / 4
    else:
        allowed = 1e-6 * np.abs(right).max(1, keepdims=True)
    argmax = float((left.argmax(1) == right.argmax(1)).mean()) if right.shape[1] > 1 else None
    return Difference(int((off > allowed).sum()), off.size, float(off.max()), argmax)


def reference_of(model: Model, x: Reals) -> tuple[Reals, Reals | None]:
    """The model's output, and its step where a quantiser makes it."""
    graph = compile_model(model.path, model.input_type).model
    run = Evaluation(graph, {graph.nodes[0].name: x})
    output = graph.outputs[0]
    node = graph[output]
    step = None
    if output in activation_quantizers(graph):
        assert isinstance(node, Quant | BipolarQuant)
        step = np.abs(np.asarray(node.scale, np.float64)) * (2 if isinstance(node, BipolarQuant) else 1)
    return run.tensors[output].value, step


def compare(
    model: Model, runs: int, frames: int, say: Callable[[str], None]
) -> tuple[list[str], list[str], str | None]:
    """One model through both: the two rows of the table, flow's first, and why the peer failed."""
    shape = compile_model(model.path, model.input_type).frame_shape
    x = model.frames(np.random.default_rng(5), (frames, *shape))
    reference, step = reference_of(model, x)
    peer, ours = Side(), Side()
    for number in range(runs):
        say(f"{model.name}: run {number + 1} of {runs}")
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            run_peer(model, x, peer) if side == 0 else run_flow(model, x, ours)
    rows = row(model.name, "flow", ours, reference, step), row("", "hls4ml", peer, reference, step)
    return *rows, peer.failure


def row(name: str, tool: str, side: Side, reference: Reals, step: Reals | None) -> list[str]:
    if side.failure is not None or side.output is None:
        return [name, tool, "", "", "", "fails: see below", "", ""]
    found = difference(side.output, reference, step)
    frames = len(reference)
    rate = f"{frames / statistics.median(side.call):,.0f}"
    alone = f"{frames / statistics.median(side.alone):,.0f}" if side.alone else ""
    return [
        name,
        tool,
        f"{statistics.median(side.build):.1f}",
        rate,
        alone,
        f"{found.wrong:,} of {found.elements:,} ({found.wrong / found.elements:.1%})",
        f"{found.greatest:.3g}",
        f"{found.argmax:.1%}" if found.argmax is not None else "",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="of each tool on each model; medians are shown")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--model", action="append", choices=[m.name for m in MODELS], help="default: all")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    progress = Console(stderr=True)
    with quiet():
        import hls4ml  # noqa: F401  (its import, some seconds, belongs to neither side)
        import qonnx.util.cleanup  # noqa: F401
    compiler = tools.require(tools.GXX)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("flow-fpga", "hls4ml", "qonnx", "numpy")
    )
    console.print(
        f"{versions}, g++ {tools.version(compiler)}, Python {platform.python_version()}, {cores()} cores; "
        f"{given.runs} runs, {given.frames} frames"
    )
    table = Table()
    for title in ("model", "tool"):
        table.add_column(title, no_wrap=True)
    failures = []
    for title in ("s to emulator", "samples/s", "C++ alone", "elements that differ", "greatest", "argmax"):
        table.add_column(title, justify="right")
    for model in MODELS:
        if given.model and model.name not in given.model:
            continue
        if not model.path.is_file():
            progress.print(f"{model.name}: {model.path} is not here")
            continue
        ours, peer, failure = compare(model, given.runs, given.frames, progress.print)
        table.add_row(*ours)
        table.add_row(*peer, end_section=True)
        if failure is not None:
            failures.append(f"hls4ml on {model.name}: {failure}")
    console.print(table)
    for failure in failures:
        console.print(failure, markup=False)
    console.print(RULE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
