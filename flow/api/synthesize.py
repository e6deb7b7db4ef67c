# SPDX-License-Identifier: Apache-2.0
"""From the C++ of a build directory to the vendor's reports and bitstream."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from flow.api.build import TOP, BuildResult
from flow.backend import synthesis
from flow.backend.hls_report import HlsReport, read_xml
from flow.backend.synthesis import Program, Runner, Target
from flow.backend.vivado_report import Amounts, read_hierarchy, read_power, read_timing
from flow.emit.hls import Dialect
from flow.errors import OptionError, SynthesisError
from flow.plan.board import Family
from flow.plan.board import load as load_board
from flow.report.schema import BuildReport, Estimated, Figure, Measured, to_json
from flow.report.synthesis import Row, SynthesisReport, render_synthesis

_RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")


def check_target(target: Target, board: str) -> None:
    """Refuses a target that the board has not.

    Raises:
        OptionError: There is no system for the board's family.
    """
    found = load_board(board)
    if target == "xclbin" and found.vitis is None:
        raise OptionError(
            f"there is no .xclbin for {board}: its board file has no [vitis] table",
            "--synth xclbin is for data centre cards (u250, u55c); for other boards it is --synth bitstream",
        )
    if target == "bitstream" and found.family is Family.ALVEO:
        raise OptionError(
            f"there is no bitstream for {board}: its design is linked into the platform of the card",
            "--synth xclbin; --synth ooc for size and speed of the accelerator by itself",
        )


def programs_for(target: Target, dialect: Dialect | None = None) -> Mapping[str, Program]:
    """The tools that a target needs; a dialect asks for the HLS tool that knows it.

    Raises:
        ToolNotFoundError: One is missing or too old.
        OptionError: The HLS tool that was found makes no kernels.
    """
    found = {"hls": synthesis.find_hls(dialect)}
    if target == "xclbin":
        if synthesis.dialect_of(found["hls"].version) == "vivado":
            raise OptionError("Vivado HLS makes no kernels for an Alveo", "install Vitis 2020.2 or later")
        found["vpp"] = synthesis.find_vpp()
    elif target != "csynth":
        found["vivado"] = synthesis.find_vivado()
    return found


def runner_for(
    result: BuildResult,
    programs: Mapping[str, Program],
    *,
    jobs: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> Runner:
    """What runs the steps of a finished build."""
    if jobs < 1:
        raise OptionError(f"{jobs} jobs mean nothing", "give -j a number from 1 on")
    assert result.folder is not None
    return Runner(result.folder, project_name(result.folder), TOP, programs, jobs, progress)


def synthesize(result: BuildResult, target: Target, runner: Runner) -> SynthesisReport:
    """Runs the steps of a target that are not done, and reads what they wrote.

    ``synthesis.json`` and ``synthesis.txt`` in the build directory say the same.

    Raises:
        SynthesisError: A step failed; repeated, it goes on there.
        ReportError: A report is of a form that is not known.
    """
    folder = runner.folder
    for name in ("synthesis.json", "synthesis.txt"):
        (folder / name).unlink(missing_ok=True)
    runner.run(target)
    report = _report(result.report, target, runner)
    (folder / "synthesis.json").write_text(json.dumps(to_json(report), indent=2) + "\n")
    (folder / "synthesis.txt").write_text(render_synthesis(report))
    return report


def _report(built: BuildReport, target: Target, runner: Runner) -> SynthesisReport:
    used = {runner.programs[synthesis.STEPS[name].tool] for name in synthesis.TARGETS[target]}
    hls_digest = runner.digest(synthesis.STEPS["csynth"])
    hls = runner.programs["hls"]

    def estimated_by_hls(found: Mapping[str, int | None], name: str) -> Figure:
        amount = found.get(name)
        return None if amount is None else Measured(amount, hls.path.name, hls.version, hls_digest)

    layers = {layer.identifier: layer for layer in built.layers}
    csynth = {name: _hls_report(runner, name) for name in (*layers, runner.top)}
    routed: Mapping[str, Amounts] = {}
    digest, vivado = "", runner.programs.get("vivado")
    if target == "ooc":
        routed = read_hierarchy(_text(runner, "hls_work/ooc/routed_hierarchy.rpt"), "routed_hierarchy.rpt")
        digest = runner.digest(synthesis.STEPS["ooc_route"])

    def implemented(instance: str, name: str) -> Figure:
        amount = routed.get(instance, {}).get(name)
        if amount is None or vivado is None:
            return None
        return Measured(amount, vivado.path.name, vivado.version, digest)

    rows = []
    for name, layer in layers.items():
        found = csynth[name]
        cycles = {"cycles": found.interval[1]} if found is not None else {}  # from frame to frame
        rows.append(Row(name, "cycles", layer.cycles, estimated_by_hls(cycles, "cycles"), None))
        for resource in _RESOURCES:
            amounts = found.resources if found is not None else {}
            row = (layer.resources.get(resource), estimated_by_hls(amounts, resource))
            rows.append(Row(name, resource, *row, implemented(f"{name}_U0", resource)))
    whole = csynth[runner.top]
    assert whole is not None
    interval = {"interval": whole.interval[1]}
    rows.append(Row("design", "interval", built.interval, estimated_by_hls(interval, "interval"), None))
    for resource in _RESOURCES:
        own = sum(part[resource] for name, part in built.parts.items() if name != "shell")
        total = built.total[resource]
        estimate = Estimated(own, total.model, total.error) if isinstance(total, Estimated) else None
        rows.append(
            Row("design", resource, estimate, estimated_by_hls(whole.resources, resource), implemented("", resource))
        )

    stage = {"ooc": "hls_work/ooc/routed", "bitstream": "hls_work/bitstream/system"}.get(target)
    timing = power = None
    if stage is not None:
        timing = read_timing(_text(runner, f"{stage}_timing.rpt"), f"{stage}_timing.rpt")
        power = read_power(_text(runner, f"{stage}_power.rpt"), f"{stage}_power.rpt")
        digest = runner.digest(synthesis.STEPS[synthesis.TARGETS[target][-1]])

    def by_vivado(value: float | None) -> Measured | None:
        return None if value is None or vivado is None else Measured(value, vivado.path.name, vivado.version, digest)

    path = f"{timing.worst_from} -> {timing.worst_to}" if timing is not None and timing.worst_from else None
    return SynthesisReport(
        target=target,
        tools={program.path.name: program.version for program in sorted(used, key=lambda p: p.path.name)},
        rows=tuple(rows),
        clock_ns=round(1000 / built.clock_mhz, 3),
        setup_slack_ns=by_vivado(timing.setup_ns) if timing is not None else None,
        hold_slack_ns=by_vivado(timing.hold_ns) if timing is not None else None,
        worst_path=path,
        power_w=by_vivado(power.total) if power is not None else None,
        power_confidence=power.confidence if power is not None else None,
        bitstream={
            "bitstream": f"hls_work/bitstream/{runner.design}.bit",
            "xclbin": f"hls_work/xclbin/{runner.design}.xclbin",
        }.get(target),
    )


def _hls_report(runner: Runner, function: str) -> HlsReport | None:
    """The report of one function; None for a layer that the tool merged into another."""
    relative = f"hls_work/hls/{runner.design}/solution1/syn/report/{function}_csynth.xml"
    path = runner.folder / relative
    if not path.is_file():
        if function == runner.top:
            raise SynthesisError(
                f"csynth wrote no {relative}", log=runner.log(synthesis.STEPS["csynth"]), remedy="build it again"
            )
        return None
    return read_xml(path.read_text(), relative)


def _text(runner: Runner, relative: str) -> str:
    return (runner.folder / relative).read_text()


def project_name(folder: Path) -> str:
    """The name of the HLS project of a build directory."""
    for line in (folder / "scripts" / "config.tcl").read_text().splitlines():
        if line.startswith("set flow_design "):
            return line.split()[2]
    raise AssertionError("config.tcl has no flow_design")
