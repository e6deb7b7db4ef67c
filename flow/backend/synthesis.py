# SPDX-License-Identifier: Apache-2.0
"""Runs the vendor's scripts of a build directory, one step after the other, and knows which are done.

A step is done when its record says so: the digest of all that it was made from (C++ or earlier steps, script, settings,
tool, version), and of the reports that it wrote. A record is written last, so that a step that was killed is none; one
that does not fit, or whose reports were touched, counts as not done. So a run goes on at the step that failed, and a
report of another design is never read.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from flow.backend import tools
from flow.backend.process import Command, run
from flow.backend.vivado_report import read_utilization
from flow.emit.fileset import digest_of
from flow.emit.process_text import Dialect
from flow.errors import SynthesisError, ToolFailedError, ToolNotFoundError

Target: TypeAlias = Literal["csynth", "ooc", "bitstream", "xclbin"]


@dataclass(frozen=True, slots=True)
class Step:
    """One script of ``vivado_scripts/``, or one call of ``v++``.

    Attributes:
        name: Of the script, without ``.tcl``.
        tool: Which of the tools runs it.
        after: Steps that it builds on.
        libraries: Files of ``scripts/`` that it reads, beside its own script and the settings.
        reports: What it writes and others read; ``{design}`` and ``{top}`` stand for names.
        products: What must be there besides, and may be changed by a later step.
        call: What the tool is called with in place of a script.
    """

    name: str
    tool: Literal["hls", "vivado", "vpp"]
    after: tuple[str, ...]
    libraries: tuple[str, ...]
    reports: tuple[str, ...]
    products: tuple[str, ...] = ()
    call: tuple[str, ...] = ()

    def arguments(self, design: str, top: str) -> list[str]:
        """What the tool is called with in ``scripts/``."""
        return [word.format(design=design, top=top) for word in self.call or (f"{self.name}.tcl",)]


def _kernel(name: str) -> Step:
    """Compiles one of the kernels that move frames."""
    made = f"hls_work/kernels/{name}.xo"
    options = ("--config", f"{name}.cfg", "--temp_dir", f"../hls_work/kernels/{name}", "--output", f"../{made}")
    call = ("--compile", *options, f"../kernels/{name}.cpp")
    return Step(name, "vpp", (), (f"{name}.cfg",), (made,), call=call)


_SOLUTION = "hls_work/hls/{design}/solution1"
_KINDS = ("utilization", "hierarchy", "timing", "power")
STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(
            "csim",
            "hls",
            (),
            ("common.tcl", "hls.tcl"),
            ("hls_work/csim/{design}/solution1/csim/report/{top}_csim.log",),
        ),
        Step(
            "csynth",
            "hls",
            (),
            ("common.tcl", "hls.tcl"),
            (f"{_SOLUTION}/syn/report/{{top}}_csynth.xml", f"{_SOLUTION}/syn/verilog/{{top}}.v"),
        ),
        Step("export", "hls", ("csynth",), ("common.tcl", "hls.tcl"), (f"{_SOLUTION}/impl/ip/component.xml",)),
        Step(
            "ooc_synth",
            "vivado",
            ("csynth",),
            ("common.tcl", "reports.tcl"),
            tuple(f"hls_work/ooc/synth_{kind}.rpt" for kind in _KINDS),
            ("hls_work/ooc/synth.dcp",),
        ),
        Step(
            "ooc_route",
            "vivado",
            ("ooc_synth",),
            ("common.tcl", "reports.tcl"),
            tuple(f"hls_work/ooc/routed_{kind}.rpt" for kind in _KINDS),
        ),
        Step(
            "system_design",
            "vivado",
            ("export",),
            (
                *("common.tcl", "zynq_system.tcl", "zynq7000.tcl", "zynqmp.tcl", "flow_transfer.v"),
                *("artix7.tcl", "arty_a7.xdc"),
            ),
            (),
            ("hls_work/system/system.xpr",),
        ),
        Step(
            "system_build",
            "vivado",
            ("system_design",),
            ("common.tcl", "reports.tcl"),
            (
                *(f"hls_work/bitstream/system_{kind}.rpt" for kind in _KINDS),
                "hls_work/bitstream/{design}.bit",
                "hls_work/bitstream/{design}.hwh",
            ),
        ),
        Step("export_xo", "hls", ("csynth",), ("common.tcl", "hls.tcl"), (f"{_SOLUTION}/impl/{{top}}.xo",)),
        _kernel("read_frames"),
        _kernel("write_results"),
        Step(
            "link",
            "vpp",
            ("export_xo", "read_frames", "write_results"),
            ("link.cfg",),
            ("hls_work/xclbin/{design}.xclbin",),
            call=(
                *("--link", "--config", "link.cfg", "--temp_dir", "../hls_work/link"),
                *("--output", "../hls_work/xclbin/{design}.xclbin"),
                *(f"../hls_work/kernels/{name}.xo" for name in ("read_frames", "write_results")),
                f"../{_SOLUTION}/impl/{{top}}.xo",
            ),
        ),
    )
}
TARGETS: Mapping[Target, tuple[str, ...]] = {
    "csynth": ("csim", "csynth"),
    "ooc": ("csim", "csynth", "ooc_synth", "ooc_route"),
    "bitstream": ("csim", "csynth", "export", "system_design", "system_build"),
    "xclbin": ("csim", "csynth", "export_xo", "read_frames", "write_results", "link"),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A vendor tool that was found.

    Attributes:
        path: Where.
        version: What it says of itself.
        arguments: What stands before the name of a script.
    """

    path: Path
    version: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        return (str(self.path), *self.arguments)


_VIVADO_ARGUMENTS = ("-nojournal", "-nolog", "-mode", "batch", "-source")
_HLS_ARGUMENTS = {"vitis-run": ("--mode", "hls", "--tcl"), "vitis_hls": ("-f",), "vivado_hls": ("-f",)}
_FIRST = {"vitis-run": "2023.2", "vitis_hls": "2020.2", "vivado_hls": "2019.2", "vivado": "2019.2", "v++": "2020.2"}


def dialect_of(version: str) -> Dialect:
    """The pragmas that a version of the HLS tool knows."""
    return "vivado" if version < "2020.2" else "vitis2020" if version < "2021.2" else "vitis"


def find_hls(dialect: Dialect | None = None) -> Program:
    """The tool for high-level synthesis: Vitis HLS, or else Vivado HLS; a dialect asks for the one that knows it.

    Raises:
        ToolNotFoundError: It is not there, or too old.
    """
    if dialect == "vivado":
        path = tools.require(tools.VIVADO_HLS)
    elif dialect is not None:
        path = tools.require(tools.VITIS_HLS)
    else:
        path = tools.find(tools.VITIS_HLS) or tools.find(tools.VIVADO_HLS) or tools.require(tools.VITIS_HLS)
    program = _hls_program(path)
    if path.name == "vitis-run" and program.version < "2024.2" and (beside := path.with_name("vitis_hls")).is_file():
        return _hls_program(beside)  # vitis-run came with 2023.2 and took its place with 2024.2
    return program


def _hls_program(path: Path) -> Program:
    # a variable may name a wrapper: it is called like vitis_hls and vivado_hls
    return Program(path, _version(path, _FIRST.get(path.name, "2019.2")), _HLS_ARGUMENTS.get(path.name, ("-f",)))


def find_vivado() -> Program:
    """Vivado.

    Raises:
        ToolNotFoundError: It is not there, or too old.
    """
    path = tools.require(tools.VIVADO)
    return Program(path, _version(path, _FIRST["vivado"]), _VIVADO_ARGUMENTS)


def find_vpp() -> Program:
    """The linker of Vitis.

    Raises:
        ToolNotFoundError: It is not there, or too old.
    """
    path = tools.require(tools.VPP)
    return Program(path, _version(path, _FIRST["v++"]), ())


def _version(path: Path, first: str) -> str:
    version = tools.version(path)
    if version is None:  # the installer puts every version into a folder of its name
        folders = re.findall(r"/(\d{4}\.\d)/", str(path.resolve()))
        if not folders:
            raise ToolNotFoundError(
                f"{path} does not say its version",
                "run it with -version: does it start, and is its settings64.sh sourced?",
            )
        version = folders[-1]
    if version < first:
        raise ToolNotFoundError(
            f"{path} is of version {version}: the scripts are for {first} and later", "install a later version"
        )
    return version


@dataclass(frozen=True)
class Runner:
    """Runs steps in a build directory.

    Attributes:
        folder: The build directory.
        design: Name of the HLS project.
        top: The top function.
        programs: The tool of each kind.
        jobs: Steps side by side, and programs that a tool may start.
        progress: Is told of each step.
    """

    folder: Path
    design: str
    top: str
    programs: Mapping[str, Program]
    jobs: int = 1
    progress: Callable[[str], None] = lambda line: None

    def paths(self, step: Step, *, reports_only: bool = False) -> list[Path]:
        names = step.reports if reports_only else (*step.reports, *step.products)
        return [self.folder / name.format(design=self.design, top=self.top) for name in names]

    def log(self, step: Step) -> Path:
        return self.folder / "hls_work" / "logs" / f"{step.name}.log"

    def commands(self, target: Target) -> list[str]:
        """What ``run`` would run, as lines for a shell; what is done is left out."""
        return [
            f"cd {shlex.quote(str(self.folder / 'scripts'))} && FLOW_JOBS={self.jobs} "
            + shlex.join((*self.programs[STEPS[name].tool].command, *STEPS[name].arguments(self.design, self.top)))
            for name in self.left(target)
        ]

    def left(self, target: Target) -> list[str]:
        """The steps that are not done, with all that builds on them."""
        names: list[str] = []
        for name in TARGETS[target]:  # each stands behind those that it needs
            if set(STEPS[name].after) & set(names) or not self.done(STEPS[name]):
                names.append(name)
        return names

    def run(self, target: Target) -> None:
        """Runs what is not done, as many steps side by side as ``jobs`` says.

        Raises:
            SynthesisError: A step failed or its result must not be used; the steps under way end first.
        """
        waiting = self.left(target)
        for name in TARGETS[target]:
            if name not in waiting:
                self.progress(f"{name}: done before")
        running: dict[Future[None], str] = {}
        failure: BaseException | None = None
        with ThreadPoolExecutor(max_workers=self.jobs) as pool:
            while running or (waiting and failure is None):
                busy = {*waiting, *running.values()}
                ready = [name for name in waiting if not busy & set(STEPS[name].after)]
                for name in ready if failure is None else ():
                    waiting.remove(name)
                    running[pool.submit(self._run, STEPS[name])] = name
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    running.pop(future)
                    failure = failure or future.exception()
        if failure is not None:
            raise failure

    def _run(self, step: Step) -> None:
        for later in (step.name, *(name for name in STEPS if step.name in _all_after(STEPS[name]))):
            self._record(STEPS[later]).unlink(missing_ok=True)
        program = self.programs[step.tool]
        self.progress(f"{step.name}: {program.path.name} {program.version}")
        digest = self.digest(step)
        command = Command(
            [*program.command, *step.arguments(self.design, self.top)],
            self.log(step),
            self.folder / "scripts",
            environment={"FLOW_JOBS": str(self.jobs)},
        )
        try:
            text = run(command)
        except ToolFailedError as error:
            raise explained(step.name, self.log(step)) from error
        absent = [path for path in self.paths(step) if not path.is_file()]
        if absent:
            raise SynthesisError(
                f"{step.name} ended well, but did not write {absent[0].relative_to(self.folder)}",
                log=self.log(step),
                remedy="please report it with the log: this version of the tool may put it elsewhere",
            )
        self._accept(step, text)
        record = {
            "digest": digest,
            "tool": program.path.name,
            "version": program.version,
            "reports": {
                str(path.relative_to(self.folder)): digest_of(path) for path in self.paths(step, reports_only=True)
            },
        }
        path = self._record(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(record, indent=2) + "\n")
        new.replace(path)

    def _accept(self, step: Step, text: str) -> None:
        """What ended well and must not be used nevertheless."""
        # the runs of a project have logs of their own, of which the main one may show only a part
        runs = sorted((self.folder / "hls_work/system").glob("*.runs/*/runme.log")) if "system" in step.name else []
        logs = "\n".join((text, *(path.read_text(errors="replace") for path in runs)))
        if step.tool == "vivado" and (warnings := critical_warnings(logs)):
            raise SynthesisError(
                f"{step.name}: Vivado has {len(warnings)} critical warnings:\n"
                + "\n".join(f"    {line}" for line in warnings[:5]),
                log=self.log(step),
                remedy="each of them may mean wrong hardware: look them up in the log",
            )
        if slower := re.search(r".*frequency is being automatically changed.*", text):
            raise SynthesisError(
                f"{step.name}: the design is too slow for its clock:\n    {slower[0].strip()}",
                log=self.log(step),
                remedy="build with a lower --clock, so that what is planned and reported is what runs",
            )
        for path in self.paths(step):
            if path.name.endswith("_utilization.rpt"):
                found = read_utilization(path.read_text(), str(path.relative_to(self.folder)))
                if found.exceeded:
                    over = ", ".join(f"{n.upper()} {found.used[n]:,} of {found.available[n]:,}" for n in found.exceeded)
                    raise SynthesisError(
                        f"{step.name}: the design is larger than the device: {over}",
                        log=self.log(step),
                        remedy="lower pe or simd in the plan (--plan), or ask for fewer frames/s (--target-fps)",
                    )

    def done(self, step: Step) -> bool:
        """Whether a step ran to its end on exactly what lies there, and its reports are as it left them."""
        try:
            record = json.loads(self._record(step).read_text())
            reports: dict[str, str] = record["reports"]
            same = all(digest_of(self.folder / path) == digest for path, digest in reports.items())
        except (OSError, ValueError, KeyError):
            return False
        return same and record["digest"] == self.digest(step) and all(p.is_file() for p in self.paths(step))

    def digest(self, step: Step) -> str:
        """SHA-256 of everything that a step is made from."""
        total = hashlib.sha256()
        program = self.programs[step.tool]
        total.update(f"{program.path.name} {program.version}\0".encode())
        own = () if step.call else (f"{step.name}.tcl",)
        scripts = [self.folder / "scripts" / name for name in ("config.tcl", *own, *step.libraries)]
        sources = (
            []
            if step.after
            else sorted(p for d in ("hls", "tb", "kernels") for p in (self.folder / d).rglob("*") if p.is_file())
        )
        for path in (*scripts, *sources):
            total.update(f"{path.relative_to(self.folder).as_posix()}\0{digest_of(path)}\0".encode())
        for name in step.after:
            total.update(self.digest(STEPS[name]).encode())
        return total.hexdigest()

    def _record(self, step: Step) -> Path:
        return self.folder / "hls_work" / "steps" / f"{step.name}.json"


def _all_after(step: Step) -> set[str]:
    found = set(step.after)
    for name in step.after:
        found |= _all_after(STEPS[name])
    return found


_HARMLESS = re.compile(r"\[PSU-\d+\]")
"""The presets of PYNQ-Z1 and PYNQ-Z2 have DDR delays below 0, of which Vivado warns; the boards run with them."""


def critical_warnings(text: str) -> list[str]:
    """The critical warnings of a log, each once."""
    found = dict.fromkeys(line.strip() for line in text.splitlines() if line.startswith("CRITICAL WARNING:"))
    return [line for line in found if not _HARMLESS.search(line)]


# what a log says, what it means, what to do; the first that is found is told
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r".*(?:No space left on device|[Dd]isk quota exceeded|not enough disk space).*",
        "the disk is full",
        "free some space (a Vivado project takes gigabytes) and repeat the command: it goes on at this step",
    ),
    (
        r".*(?:valid license was not found|Failed to (?:get|check ?out) (?:a|the) license|Invalid license|"
        r"[Ll]icense checkout (?:failed|error)|\[Common 17-345\]).*",
        "there is no licence for this tool or device",
        "look at XILINXD_LICENSE_FILE, or choose a board whose device is free of charge; then repeat the command",
    ),
    (
        r".*(?:bad lexical cast|is an invalid argument.*core_revision).*",
        "versions up to 2021.2 cannot export since 2022",
        "install AMD's patch AR76960 (y2k22_patch) and repeat the command",
    ),
    (
        r".*(?:Part .* (?:is not installed|not found)|\[Coretcl 2-106\]|Specified part could not be found).*",
        "the installation lacks the device",
        "add the device family with the installer of Vivado (Add Design Tools or Devices)",
    ),
    (
        r".*Vivado has no board files.*",
        "the installation lacks the files of the board",
        "Vivado > Tools > Vivado Store > Boards, or xhub::install; then repeat the command",
    ),
    (
        r".*timing is not met.*",
        "the design is too slow for its clock",
        "build with a lower --clock; the report beside the log shows the path",
    ),
    (r"FAIL: .*", "the vendor's C simulation differs", "this is a defect of flow: please report it with the log"),
)


def explained(step: str, log: Path) -> SynthesisError:
    """Why a step failed, from its log."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    for pattern, meaning, remedy in _CAUSES:
        if found := re.search(pattern, text):
            return SynthesisError(f"{step} failed: {meaning}:\n    {found[0].strip()}", log=log, remedy=remedy)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.match(rf"ERROR|error:|{step}\.tcl: ", line)][:5] or lines[-5:]
    return SynthesisError(
        f"{step} failed:\n" + "\n".join(f"    {line}" for line in told or ["(the log is empty: was it killed?)"]),
        log=log,
        remedy="read the log, and repeat the command when the cause is gone: it goes on at this step",
    )
