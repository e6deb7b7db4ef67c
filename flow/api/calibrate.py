# SPDX-License-Identifier: Apache-2.0
"""Refits the cost model to what Vivado made of the user's own builds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flow.api.build import TOP
from flow.api.simulate import Built, open_build
from flow.api.synthesize import project_name
from flow.backend.synthesis import STEPS, Program, Runner
from flow.backend.vivado_report import Amounts, read_hierarchy
from flow.emit.fileset import digest_of, write_whole
from flow.errors import BoardError, CalibrationError, OutputError
from flow.plan import board as boards
from flow.plan import calibration, cost
from flow.plan.board import Board
from flow.plan.calibration import Block
from flow.plan.cost_coefficients import FILE, cost_file, load, render, using
from flow.plan.estimate import process_kind, process_resources
from flow.plan.processes import LayerProcess, WindowProcess
from flow.report.calibration import CalibrationReport

_REMEDY = "flow build MODEL --out DIR --synth ooc"
_REPORT = "hls_work/ooc/routed_hierarchy.rpt"
_HEADING = """\
# The numbers of the cost model, refitted by flow calibrate; use them with: flow build MODEL --cost THIS_FILE
# origin: architecture (a fact about the device), fitted or measured, assumed.
"""


@contextmanager
def prices_from(path: str | Path | None) -> Iterator[None]:
    """Within it designs are priced with the coefficients of a file; None for those that are in use anyway.

    Raises:
        CostFileError: It cannot be read, or is not complete.
    """
    if path is None:
        yield
        return
    with using(load(Path(path))):
        yield


def calibrate(
    folders: Sequence[str | Path], *, own_boards: Sequence[str | Path] = (), out: str | Path | None = None
) -> CalibrationReport:
    """Fits the coefficients in use to build directories that were placed and routed (``--synth ooc``).

    Args:
        folders: Build directories.
        own_boards: Board files of the boards among them that do not come with the program.
        out: Where to write the coefficients; None for nowhere.

    Raises:
        CalibrationError: A directory has no report of what lies there, or the report does not name its blocks.
        FlowError: A directory is no build directory, or the file cannot be written.
    """
    target = _checked_target(Path(out)) if out is not None else None
    known = {board.name: board for board in (boards.load(str(path)) for path in own_boards)}
    blocks: list[Block] = []
    unmatched: list[str] = []
    tools: set[str] = set()
    digests: dict[str, str] = {}
    for folder in map(Path, folders):
        label = str(folder)
        runner = _finished(folder)
        digest = runner.digest(STEPS["ooc_route"])
        if digest in digests:
            raise CalibrationError(
                f"{digests[digest]} and {label} are the same build", "name each build once: it would weigh twice"
            )
        digests[digest] = label
        vivado = runner.programs["vivado"]
        tools.add(f"{vivado.path.name} {vivado.version}")
        built = open_build(folder)
        found, left = _blocks(label, built, _board(built, known, label), _hierarchy(folder))
        blocks += found
        unmatched += [f"{label}: {name}" for name in left]
    result = calibration.calibrate(blocks, cost_file())
    if target is not None:
        write_whole(target, f"{_HEADING}\n{render(result.file)}".encode())
    return CalibrationReport(result, tuple(sorted(tools)), tuple(unmatched), str(target) if target else None)


def _checked_target(path: Path) -> Path:
    """Where coefficients may be written: nowhere that holds something else."""
    if path.exists() and path.resolve() == FILE.resolve():
        raise OutputError(f"{path} comes with flow and stays as it is", "name another file with --out")
    if path.is_dir() or (path.exists() and "[coefficients." not in path.read_text(errors="replace")):
        raise OutputError(f"{path} exists and holds no coefficients", "name another file with --out")
    return path


def _finished(folder: Path) -> Runner:
    """What ran there to its end, on what lies there; the tools are those of its records and need not be here."""
    missing = [name for name in ("build.lock", "plan.toml", "scripts/config.tcl") if not (folder / name).is_file()]
    if missing:
        raise CalibrationError(f"{folder} is not a build directory: it holds no {', '.join(missing)}", _REMEDY)
    programs: dict[str, Program] = {}
    for tool, step in (("hls", "csynth"), ("vivado", "ooc_route")):
        try:
            record = json.loads((folder / "hls_work/steps" / f"{step}.json").read_text())
            programs[tool] = Program(Path(record["tool"]), str(record["version"]), ())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"{folder} was not placed and routed: {step} is not done there", _REMEDY) from error
    runner = Runner(folder, project_name(folder), TOP, programs)
    try:
        left = runner.left("ooc")
        plan = json.loads((folder / "build.lock").read_text())["plan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"{folder}: a file of the build is missing or damaged ({error})", _REMEDY) from error
    if left:
        raise CalibrationError(
            f"{folder}: the reports are not of what lies there: {', '.join(left)} would run again", _REMEDY
        )
    if digest_of(folder / "plan.toml") != plan:
        raise CalibrationError(f"{folder}: plan.toml is not that of the build", _REMEDY)
    return runner


def _board(built: Built, known: Mapping[str, Board], label: str) -> Board:
    name = built.design.plan.board
    if name in known:
        return known[name]
    try:
        return boards.load(name)
    except BoardError as error:
        raise CalibrationError(
            f"{label} is for the board '{name}', which does not come with flow", "give its file: --board FILE.toml"
        ) from error


def _hierarchy(folder: Path) -> Mapping[str, Amounts]:
    return read_hierarchy((folder / _REPORT).read_text(), str(folder / _REPORT))


def _blocks(label: str, built: Built, board: Board, placed: Mapping[str, Amounts]) -> tuple[list[Block], list[str]]:
    """The blocks of a design that have instances of their own in the report, and the names of those that have none.

    A dataflow process FUNCTION is an instance FUNCTION_U0, a stream VARIABLE is VARIABLE_U. A window unit belongs to
    the layer behind it: its price does, too.
    """
    design, names = built.design, built.names
    if design.plan.style != "stream":
        raise CalibrationError(
            f"{label} is in the style {design.plan.style}: its layers are one function, without instances of their own",
            "build with --style stream",
        )
    depths = _depths(built.folder)
    found, left = [], []
    for place, (process, name) in enumerate(zip(design.processes, names.identifiers, strict=True)):
        if isinstance(process, WindowProcess):
            continue
        instances = [f"{name}_U0"]
        if isinstance(process, LayerProcess):
            before = [stream.producer for stream in design.inputs[place]]
            instances += [
                f"{names.identifiers[p]}_U0" for p in before if isinstance(design.processes[p], WindowProcess)
            ]
        if missing := [instance for instance in instances if instance not in placed]:
            left += missing
            continue
        price = partial(process_resources, process, design, board)
        measured = _added([placed[instance] for instance in instances])
        found.append(Block(label, name, process_kind(process, board), price, measured))
    for stream in design.streams:
        name = names.stream(stream)
        if f"{name}_U" in placed and name in depths:
            price = partial(cost.fifo, depths[name], stream.bits)
            found.append(Block(label, name, "fifo", price, placed[f"{name}_U"]))
        else:
            left.append(f"{name}_U")
    if not any(block.kind != "fifo" for block in found):
        raise CalibrationError(
            f"{label}: {_REPORT} names no process of the design, such as {names.identifiers[0]}_U0",
            "was the hierarchy dissolved, or has this version of the tool other names? Please report it",
        )
    return found, left


def _depths(folder: Path) -> dict[str, int]:
    """Of the streams, as they were built."""
    try:
        report = json.loads((folder / "report.json").read_text())
        return {str(stream["name"]): int(stream["depth"]) for stream in report["streams"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"{folder}: report.json cannot be read ({error})", _REMEDY) from error


def _added(amounts: Sequence[Amounts]) -> dict[str, int | None]:
    """The sum; None where an amount is unknown."""
    found: dict[str, int | None] = {}
    for name in amounts[0]:
        values = [part.get(name) for part in amounts]
        known = [value for value in values if value is not None]
        found[name] = sum(known) if len(known) == len(values) else None
    return found
