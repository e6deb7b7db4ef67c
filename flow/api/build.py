# SPDX-License-Identifier: Apache-2.0
"""The whole way: a QONNX file to a verified HLS design and its report."""

import errno
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow import resources as folders
from flow.api.checks import Frames, check_csim, check_float32, check_integers, frames_for
from flow.api.compile import Compiled, Observer, compile_model
from flow.api.data import UserData, accuracy, load_data
from flow.api.names import layer_labels, layer_origins
from flow.api.plan import checked_clock, planned
from flow.backend import tools
from flow.backend.csim import Simulator, compile_design
from flow.emit.cxx import codes
from flow.emit.driver import KnownAnswers, emit_driver
from flow.emit.fileset import FileSet, digest_of
from flow.emit.hls import Dialect, HlsOptions, Names, emit_hls
from flow.emit.kernels import emit_kernels
from flow.emit.scripts import ScriptConfig, config_tcl
from flow.errors import ExactnessError, OptionError, OutputError, ToolFailedError
from flow.ir.dataflow import execute
from flow.ir.text import print_graph
from flow.ir.types import Ints
from flow.plan import board as boards
from flow.plan.board import Board, Family
from flow.plan.cost_coefficients import cost_file
from flow.plan.design import Design
from flow.plan.goals import Goals
from flow.plan.layers import layers_of
from flow.plan.plan import print_plan
from flow.plan.style import StyleChoice, resources_of, solved_by_da4ml
from flow.report.assemble import assemble, describe
from flow.report.schema import BuildReport, Check, to_json
from flow.report.text import render_text

Progress = Callable[[str], None]
TOP = "network"
VECTOR_FRAMES = 20
"""Frames of the test bench: co-simulation runs them cycle by cycle."""
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


@dataclass(frozen=True)
class BuildResult:
    """What a build gave.

    Attributes:
        folder: The build directory; None where it was not asked for.
        report: Everything that was found.
        compiled: The network at all levels.
        design: The hardware.
    """

    folder: Path | None
    report: BuildReport
    compiled: Compiled
    design: Design


def build(
    model: str | Path,
    *,
    board: str = "pynq-z2",
    clock: float | None = None,
    goals: Goals | None = None,
    input_type: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    plan: str | Path | None = None,
    style: StyleChoice | None = None,
    dialect: Dialect = "vitis",
    csim: bool = True,
    observe: Observer = lambda name, graph: None,
    progress: Progress = lambda line: None,
) -> BuildResult:
    """Builds a design and proves it equal to the model.

    Args:
        model: A QONNX file.
        board: The name of a board, or a board file.
        clock: In MHz; None for the board's default.
        goals: What is asked of the plan; None for the fastest design that fits in 70 % of the board.
        input_type: How the input arrives (``u8``, ``fixed<16,6>``, ...); None for the model's own quantiser.
        data: An .npz file with ``x`` and, if there are labels, ``y``.
        out: The build directory; None for ``build/<name of the model>``.
        plan: A plan file to use instead of searching for one.
        style: ``stream``, ``unrolled``, or ``auto`` for the better one; None for the plan's, else ``auto``.
        dialect: Whose pragmas: ``vitis`` (2021.2 and later), ``vitis2020`` (2020.2, 2021.1) or ``vivado`` (Vivado HLS).
        csim: Whether to compile and run the C++.
        observe: Is shown every graph on the way.
        progress: Is told each step.

    Raises:
        FlowError: With one clear message, whatever the user can mend; nothing is left half written.
        ExactnessError: Two levels differ that must not. The build directory is not written.
    """
    path = Path(model)
    target = boards.load(board)
    checked_clock(clock, target)
    if plan is not None and goals is not None:
        raise OptionError("a plan and goals for one are given at once", "leave the goals out, or --plan")
    if csim:
        tools.require(tools.GXX)
        tools.ap_types()
    folder = Path(out) if out is not None else Path("build") / re.sub(r"\W+", "_", path.stem).strip("_")
    _check_target(folder)

    progress(f"import: {path.name}")
    compiled = compile_model(path, input_type, observe)
    user = load_data(Path(data), compiled.frame_shape) if data is not None else None
    if user is not None and (clipped := compiled.integers.clipped(user.x)):
        progress(f"{clipped:,} of {user.x.size:,} values of the data lie outside the input type and are clipped to it")
    layers = layers_of(compiled.graph)
    progress(f"integer graph: {len(layers)} layers, {sum(x.macs for x in layers):,} MACs a frame")

    batches = frames_for(compiled, user)
    checks = [check_float32(compiled, batches), check_integers(compiled, batches)]
    for check in checks:
        progress(_told(check))
        _require(check)

    labels = layer_labels(layers, compiled.imported)
    folding, design, names, timing = planned(layers, labels, target, clock, goals, plan, style)
    estimate = resources_of(design, target)
    progress(
        f"plan: a frame every {timing.interval:,} cycles, "
        f"{design.plan.clock_mhz * 1e6 / timing.interval:,.0f} frames/s, {estimate.total.lut:,} LUT "
        f"(estimated: {estimate.low.lut:,} to {estimate.high.lut:,})"
    )
    for note in timing.notes:
        progress(f"note: {note}")
    origins = layer_origins(layers, compiled.imported)
    files = _files(path, compiled, design, target, names, labels, origins, batches[0], dialect)
    right: float | None = None
    with _temporary_beside(folder) as workplace:
        _write(files, workplace)
        progress(f"C++: {len(files.files)} files")
        if csim:
            library = compile_design(workplace)
            progress("g++: compiled")
            simulator = Simulator(library)
            for check in check_csim(compiled, design, names, simulator, batches):
                progress(_told(check))
                _require(check)
                checks.append(check)
            right = _accuracy(compiled, design, simulator, batches, user)
        report = assemble(
            model={"file": path.name, "sha256": digest_of(path)},
            board=target,
            design=design,
            names=names,
            optimality=folding.optimality,
            timing=timing,
            integers=compiled.integers,
            origins=origins,
            checks=checks,
            accuracy=right,
        )
        _write(_report_files(report, files, path, design, dialect), workplace)
        _move(workplace, folder)
    return BuildResult(folder, report, compiled, design)


def _files(
    path: Path,
    compiled: Compiled,
    design: Design,
    board: Board,
    names: Names,
    labels: dict[str, str],
    origins: dict[str, str],
    random: Frames,
    dialect: Dialect,
) -> FileSet:
    """Everything that is generated before the C++ is run."""
    resources = resources_of(design, board)
    notes = {
        process.layer.name: [
            f"scale of the output: {describe(compiled.integers.encodings.get(process.layer.name)) or 'none'}",
            "estimated: " + ", ".join(f"{a} {n.upper()}" for n, a in resources.processes[index].items() if a),
        ]
        for index, process in enumerate(design.processes)
        if process in design.layers
    }
    frames = min(VECTOR_FRAMES, len(random.integers))
    kernel = board.family is Family.ALVEO and dialect != "vivado"
    options = HlsOptions(path.stem, TOP, dialect, labels, origins, notes, frames, board.dsp, kernel)
    inputs = random.integers[: options.frames]
    outputs = execute(compiled.graph, {compiled.integers.source.name: inputs})[compiled.integers.output]
    texts = {
        "graph.txt": print_graph(compiled.graph),
        "model.txt": print_graph(compiled.model),
        "plan.toml": print_plan(design.plan),
        "host.json": json.dumps(_host(compiled, labels, board), indent=2) + "\n",
        "tb/vectors/input.dat": _vectors(codes(inputs, design.source.element)),
        "tb/vectors/expected.dat": _vectors(codes(outputs, design.sink.element)),
        "scripts/config.tcl": config_tcl(_script_config(path, design, board, names, dialect)),
    }
    for script in sorted(p for p in folders.vivado_scripts().iterdir() if p.suffix in (".tcl", ".v", ".xdc")):
        texts[f"scripts/{script.name}"] = script.read_text()
    known = KnownAnswers(inputs, outputs)
    board_files = emit_driver(design, board, _project(path), compiled.integers, compiled.frame_shape, known)
    kernels = emit_kernels(design, board, path.stem, TOP, dialect)
    return emit_hls(design, options) | FileSet.of(texts) | board_files | kernels


def _host(compiled: Compiled, labels: dict[str, str], board: Board) -> dict[str, object]:
    """What is needed to read the build directory back, beside the graphs and the plan."""
    given = compiled.integers.input_type
    described = {"element": str(given.element), "scale": str(given.scale)} if given is not None else None
    return {"input_type": described, "labels": labels, "axis_bits": board.axis_bits}


def _vectors(values: Ints) -> str:
    return "".join(" ".join(map(str, row)) + "\n" for row in values.reshape(len(values), -1).tolist())


def _script_config(path: Path, design: Design, board: Board, names: Names, dialect: Dialect) -> ScriptConfig:
    return ScriptConfig(
        design=_project(path),
        top=TOP,
        part=board.part,
        clock_ns=round(1000 / design.plan.clock_mhz, 3),
        clock_mhz=design.plan.clock_mhz,
        clock_uncertainty_percent=12.5,
        sources=("hls/top.cpp",),
        testbench=("tb/testbench.cpp",),
        vectors=("tb/vectors",),
        cflags="-std=c++11" if dialect == "vivado" else "-std=c++14",
        family=board.family.value,
        board_part=board.board_part or "",
        axis_in_bits=design.source.axis_bits,
        axis_out_bits=design.sink.axis_bits,
        frame_words=design.source.words,
        result_words=design.sink.words,
        memory_bytes=board.memory.bytes,
    )


def _project(path: Path) -> str:
    """The name of the HLS project and of the bitstream."""
    return re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_") or "design"


def _report_files(report: BuildReport, files: FileSet, path: Path, design: Design, dialect: Dialect) -> FileSet:
    solvers = ("da4ml",) if solved_by_da4ml(design) else ()
    versions = {name: tools.package_version(name) for name in (*tools.PACKAGES, *solvers)}
    lock = {
        "model": {"file": path.name, "sha256": digest_of(path)},
        "plan": hashlib.sha256(print_plan(design.plan).encode()).hexdigest(),
        "templates": templates_digest(),
        "cost": cost_file().digest,
        "dialect": dialect,
        "packages": versions,
        "generated": files.digest(),
    }
    return FileSet.of(
        {
            "report.json": json.dumps(to_json(report), indent=2) + "\n",
            "report.txt": render_text(report),
            "build.lock": json.dumps(lock, indent=2) + "\n",
        }
    )


def templates_digest() -> str:
    """SHA-256 over all templates and scripts that take part in a build."""
    total = hashlib.sha256()
    for root in (folders.templates(), folders.vivado_scripts()):
        for file in sorted(p for p in root.rglob("*") if p.is_file()):
            total.update(f"{file.relative_to(root).as_posix()}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


def _accuracy(
    compiled: Compiled, design: Design, simulator: Simulator, batches: list[Frames], user: UserData | None
) -> float | None:
    if user is None or user.y is None:
        return None
    shape = design.layers[-1].layer.y.shape
    x = np.concatenate([batch.integers for batch in batches if batch.title == "data"])
    y = simulator.run(x, design.source.element, design.sink.element, shape)
    return accuracy(user.y, compiled.integers.decode(y))


def _told(check: Check) -> str:
    ties = f", {check.near_ties} near-ties" if check.near_ties else ""
    return f"check: {check.name}: {check.compared:,} compared, {check.differences} differ{ties}"


def _require(check: Check) -> None:
    if check.held:
        return
    lines = "\n".join(f"    {line}" for line in check.detail)
    raise ExactnessError(
        f"{check.name} ({check.inputs}): {check.differences:,} of {check.compared:,} differ:\n{lines}",
        "this is a defect of flow; please report it with the model",
    )


# -- the build directory: made beside its place, moved there when it is whole ---------------------------------


def _check_target(folder: Path) -> None:
    """A folder may be replaced if it is a build directory, or empty."""
    if folder.is_file():
        raise OutputError(f"{folder} is a file", "name a folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "build.lock").is_file():
        raise OutputError(
            f"{folder} exists and is not a build directory (it holds no build.lock)",
            "name another with --out",
        )


@contextmanager
def _temporary_beside(folder: Path) -> Iterator[Path]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield temporary
    except ToolFailedError as error:
        kept = folder.parent / f"{folder.name}.failed.log"
        shutil.copy(error.log, kept)
        raise ToolFailedError(error.message.partition("\n  log: ")[0], log=kept, remedy=error.remedy) from error
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder} cannot be written: {error.strerror or error}",
        "free some space or name another folder with --out; nothing was left behind",
    )


def _write(files: FileSet, folder: Path) -> None:
    files.write(folder)


def _move(temporary: Path, folder: Path) -> None:
    """Puts the finished build in its place; what was there goes only when the new one is in it."""
    shutil.rmtree(temporary / "csim" / "obj", ignore_errors=True)
    temporary.chmod(0o755)
    if not folder.exists():
        temporary.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "build")
    try:
        temporary.rename(folder)
    except OSError:
        (old / "build").rename(folder)
        old.rmdir()
        raise
    _keep_synthesis(old / "build", folder)
    shutil.rmtree(old, ignore_errors=True)


def _keep_synthesis(old: Path, new: Path) -> None:
    """What the vendor's tools made of the same files stays: hours of work, which need not be done again."""
    digests = [json.loads((folder / "build.lock").read_text()).get("generated") for folder in (old, new)]
    if digests[0] == digests[1] and (old / "hls_work").is_dir():
        (old / "hls_work").rename(new / "hls_work")
