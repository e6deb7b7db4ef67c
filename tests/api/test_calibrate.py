# SPDX-License-Identifier: Apache-2.0
"""The cost model refitted to builds whose reports were written here, with known coefficients behind them."""

import dataclasses
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from flow.api.build import BuildResult, build
from flow.api.calibrate import _blocks, calibrate, prices_from
from flow.api.plan import plan
from flow.api.simulate import open_build
from flow.api.synthesize import programs_for, runner_for
from flow.backend import tools
from flow.cli import main
from flow.errors import CalibrationError, CostFileError, OutputError
from flow.plan import board as boards
from flow.plan import cost
from flow.plan.cost_coefficients import FILE, OwnError, cost_file, load, packaged, read, render, using
from flow.plan.estimate import process_resources
from flow.plan.goals import Goals
from flow.plan.processes import WindowProcess

TESTS = Path(__file__).resolve().parents[1]
MODEL = TESTS.parent / "examples" / "digits_mlp" / "digits_mlp.onnx"
REPORT = "hls_work/ooc/routed_hierarchy.rpt"
TRUTH = {"product_lut": 1.6, "control_lut": 1.5, "control_ff": 0.5, "pipeline_ff": 1.8}
"""What the vendor's tool makes of them here, in times of the coefficients that come with the program."""

pytestmark = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not on PATH (package tcl)")


def true_file():
    values = {name: times * getattr(packaged().coefficients, name) for name, times in TRUTH.items()}
    return replace(packaged(), coefficients=replace(packaged().coefficients, **values))


def report_of(folder: Path, leave_out: str = "", version: str = "2023.2") -> str:
    """What Vivado would write for a build, if its tools had the coefficients of ``true_file``."""
    built = open_build(folder)
    rows = []
    with using(true_file()):
        for process, name in zip(built.design.processes, built.names.identifiers, strict=True):
            assert not isinstance(process, WindowProcess)
            rows.append((f"{name}_U0", process_resources(process, built.design, boards.load("pynq-z2"))))
        depths = {s["name"]: s["depth"] for s in json.loads((folder / "report.json").read_text())["streams"]}
        for stream in built.design.streams:
            name = built.names.stream(stream)
            rows.append((f"{name}_U", cost.fifo(depths[name], stream.bits)))
    lines = [
        f"| Tool Version : Vivado v.{version} (lin64)",
        "| Instance | Module | Total LUTs | FFs | RAMB36 | RAMB18 | URAM | DSP Blocks |",
        "| network | (top) | 1 | 1 | 0 | 0 | 0 | 0 |",
        *(
            f"|   {name} | m | {r.lut} | {r.ff} | 0 | {r.bram18} | {r.uram} | {r.dsp} |"
            for name, r in rows
            if name != leave_out
        ),
    ]
    return "\n".join(lines) + "\n"


def with_report(folder: Path, text: str) -> None:
    """As if the last step had left it."""
    (folder / REPORT).write_text(text)
    path = folder / "hls_work/steps/ooc_route.json"
    record = json.loads(path.read_text())
    record["reports"][REPORT] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> list[BuildResult]:
    """Three builds of a network, as fast as it fits and slower, through the mock tools."""
    folder = tmp_path_factory.mktemp("placed")
    with pytest.MonkeyPatch.context() as patch:
        for tool in tools.ALL_TOOLS:
            patch.delenv(tool.variable, raising=False)
        patch.setenv("PATH", f"{TESTS / 'mock_tools'}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("FLOW_MOCK_VERSION", "2023.2")
        results = []
        for number, fps in enumerate((None, 1_000_000, 150_000)):
            goals = Goals(target_fps=fps) if fps is not None else None
            results.append(build(MODEL, out=folder / f"build{number}", csim=False, goals=goals, style="stream"))
            runner_for(results[-1], programs_for("ooc")).run("ooc")
    for result in results:
        with_report(result.folder, report_of(result.folder))
    return results


@pytest.fixture
def one(placed: list[BuildResult], tmp_path: Path) -> Path:
    return Path(shutil.copytree(placed[0].folder, tmp_path / "build"))


@pytest.fixture(scope="module")
def report(placed: list[BuildResult]):
    """A refit to all three."""
    return calibrate(folders(placed))


def folders(placed: list[BuildResult]) -> list[Path]:
    return [result.folder for result in placed]


def test_builds_that_were_left_out_are_estimated_better(report) -> None:
    result = report.result
    assert result.validated
    assert (report.unmatched, report.tools, len(result.builds)) == ((), ("vivado 2023.2",), 3)
    for error in result.errors:
        assert error.before[0] > 5
        assert error.after[0] < 0.7 * error.before[0]  # the prior pulls, and three builds are few
        assert abs(error.after[1] - 1) < 0.1
    for name, times in TRUTH.items():  # in the direction of the truth
        old, new = result.changed[name]
        assert (new > old) == (times > 1), name
    assert [count.exact for count in result.counts] == [100.0] * len(result.counts)


def test_what_no_block_holds_stays(report) -> None:
    result = report.result
    before, after = packaged(), result.file
    for field in dataclasses.fields(before.coefficients):
        if field.name not in result.changed:
            assert getattr(before.coefficients, field.name) == getattr(after.coefficients, field.name)
            assert after.sources[field.name] == before.sources[field.name]
    for name, origin in before.origins.items():
        assert origin != "architecture" or name not in result.changed
    assert not {"dma_lut", "interconnect_ff", "maximum_lut"} & result.changed.keys()
    assert after.sources["control_lut"] == f"{result.blocks} blocks of 3 own builds, by flow calibrate"


def test_the_estimates_before_are_those_of_the_report(placed, report) -> None:
    by_name = {(c.build, c.name, c.resource): c for c in report.result.compared}
    for build_of in placed:
        for layer in build_of.report.layers:
            for resource in ("lut", "ff", "dsp", "bram18"):
                found = by_name[str(build_of.folder), layer.identifier, resource]
                assert found.before == layer.resources[resource].value


def test_a_build_is_estimated_without_itself(placed, report, tmp_path) -> None:
    """A build of which everything is ten times as large changes its own estimate nowhere."""
    plain = {(c.name, c.resource): c.after for c in report.result.compared if c.build == str(placed[2].folder)}
    large = Path(shutil.copytree(placed[2].folder, tmp_path / "large"))
    lines = []
    for line in (large / REPORT).read_text().splitlines():
        cells = line.split("|")
        if cells[1].startswith("   "):
            cells[3], cells[4] = (f" {10 * int(cell)} " for cell in cells[3:5])
        lines.append("|".join(cells))
    with_report(large, "\n".join(lines) + "\n")
    result = calibrate([*folders(placed)[:2], large]).result
    again = {(c.name, c.resource): c.after for c in result.compared if c.build == str(large)}
    assert again == plain
    assert result.changed != report.result.changed  # but the fit to all of them knows it


def test_one_build_says_nothing_of_another(placed) -> None:
    result = calibrate(folders(placed)[:1]).result
    assert not result.validated
    assert result.file.intervals == packaged().intervals
    assert "of no other build is it known" in result.file.sentence("lut")


def test_enough_left_out_blocks_give_an_interval(report) -> None:
    result = report.result
    kinds = {kind: interval for kind, interval in result.file.intervals.items() if kind != "shell"}
    assert result.file.intervals["shell"] == packaged().intervals["shell"]
    taken = {kind for kind, interval in kinds.items() if interval != packaged().intervals[kind]}
    assert "fifo" in taken  # four streams a build
    assert result.file.intervals["fifo"].authors == 3
    assert "converter" not in taken  # six of them


def test_the_file_is_read_back_and_prices(placed, report, tmp_path) -> None:
    out = tmp_path / "new" / "own.toml"
    for _ in range(2):  # its own file may be written again
        assert calibrate(folders(placed), out=out).written == str(out)
        assert load(out) == report.result.file
    before = placed[0].report
    again = plan(MODEL, given=placed[0].folder / "plan.toml").resources.total
    with prices_from(out):
        after = plan(MODEL, given=placed[0].folder / "plan.toml").resources.total
        assert cost_file() == report.result.file
    assert cost_file() is packaged()
    assert again.lut == before.total["lut"].value
    assert after.lut > again.lut
    assert plan(MODEL, given=placed[0].folder / "plan.toml").resources.total == again


def test_coefficients_to_begin_with(placed, tmp_path) -> None:
    """From the truth on, nothing is left to fit."""
    (tmp_path / "truth.toml").write_text(render(true_file()))
    with prices_from(tmp_path / "truth.toml"):
        result = calibrate(folders(placed)).result
    assert all(error.before == (0.0, 1.0) for error in result.errors)
    assert all(error.after[0] < 1 for error in result.errors)  # LUTs are whole: small blocks are rounded up


# -- the command line ------------------------------------------------------------------------------------------------


def test_the_commands(placed, tmp_path) -> None:
    out, names = tmp_path / "own.toml", list(map(str, folders(placed)))
    ran = CliRunner().invoke(main, ["calibrate", *names, "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert "blocks of 3 builds, placed and routed by vivado 2023.2" in ran.output
    assert "each build estimated by coefficients that were fitted without it" in ran.output
    ran = CliRunner().invoke(main, ["calibrate", *names[:1], "--json"])
    assert json.loads(ran.output)["validated"] is False
    target = tmp_path / "build"
    command = [
        "build",
        str(MODEL),
        "--style",
        "stream",
        "--no-csim",
        "--cost",
        str(out),
        "--out",
        str(target),
        "--json",
    ]
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 0, ran.output
    assert f"of {len(names)} own builds, each left out in turn" in json.loads(ran.output)["total"]["lut"]["error"]
    locks = [json.loads((f / "build.lock").read_text())["cost"] for f in (target, placed[0].folder)]
    assert locks == [load(out).digest, packaged().digest]
    ran = CliRunner().invoke(main, ["plan", str(MODEL), "--cost", str(tmp_path / "none.toml")])
    assert (ran.exit_code, "none.toml: No such file" in ran.output) == (2, True)


def test_what_the_mock_tools_write(placed, tmp_path) -> None:
    """Their report names two layers and a stream; the others are told."""
    folder = Path(shutil.copytree(placed[0].folder, tmp_path / "build"))
    text = (TESTS / "tcl_stubs/reports/vivado_hierarchy.rpt").read_text().replace("@VERSION@", "2023.2")
    with_report(folder, text)
    ran = CliRunner().invoke(main, ["calibrate", str(folder)])
    assert ran.exit_code == 0, ran.output
    assert "3 blocks of 1 build, placed" in ran.output
    assert "without an instance of its own, left out: " in ran.output
    assert "fc3_U0" in ran.output
    assert "not written: --out FILE" in ran.output


# -- what is refused -------------------------------------------------------------------------------------------------


def refused(*given: Path, **options) -> str:
    with pytest.raises(CalibrationError) as caught:
        calibrate(list(given), **options)
    assert caught.value.remedy
    return caught.value.message


def edit(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("file", "step"),
    [
        (REPORT, "ooc_route"),
        ("hls/layers/01_fc1.hpp", "csim, csynth, ooc_synth, ooc_route"),
        ("scripts/ooc_synth.tcl", "ooc_synth, ooc_route"),
    ],
)
def test_a_report_of_something_else(one: Path, file: str, step: str) -> None:
    edit(one / file, "\n")
    assert refused(one).endswith(f"the reports are not of what lies there: {step} would run again")


def test_a_plan_that_was_edited(one: Path) -> None:
    edit(one / "plan.toml", "# mine\n")
    assert refused(one).endswith("plan.toml is not that of the build")


def test_a_build_that_was_not_placed(one: Path) -> None:
    (one / "hls_work/steps/ooc_route.json").write_text("{")
    assert refused(one).endswith("was not placed and routed: ooc_route is not done there")
    shutil.rmtree(one / "hls_work")
    assert refused(one).endswith("was not placed and routed: csynth is not done there")
    assert "is not a build directory" in refused(one / "hls")


def test_a_build_twice(one: Path, placed) -> None:
    assert refused(one, placed[0].folder).endswith("are the same build")


def test_a_report_that_names_nothing_of_the_design(one: Path) -> None:
    with_report(one, report_of(one).replace("_U0", "_U9"))
    assert "names no process of the design, such as read_input_U0" in refused(one)


def test_a_report_without_a_resource(one: Path) -> None:
    with_report(one, report_of(one).replace("| FFs |", "| Flops |"))
    assert refused(one) == "no block of these builds has any FF, estimated and placed"


def test_a_build_in_the_unrolled_style(one: Path) -> None:
    built = open_build(one)
    unrolled = replace(built, design=replace(built.design, plan=replace(built.design.plan, style="unrolled")))
    with pytest.raises(CalibrationError, match="is in the style unrolled: its layers are one function") as caught:
        _blocks("x", unrolled, boards.load("pynq-z2"), {})
    assert caught.value.remedy == "build with --style stream"


def test_a_damaged_build(one: Path) -> None:
    (one / "report.json").write_text("{}")
    assert "report.json cannot be read" in refused(one)
    (one / "build.lock").write_text("{")
    assert "a file of the build is missing or damaged" in refused(one)
    (one / "scripts/common.tcl").unlink()
    assert "a file of the build is missing or damaged" in refused(one)
    (one / "scripts/config.tcl").unlink()
    assert refused(one).endswith("is not a build directory: it holds no scripts/config.tcl")
    ran = CliRunner().invoke(main, ["calibrate", str(one)])
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (2, "  what to do: flow build MODEL --out DIR --synth ooc")


def test_a_board_of_ones_own(placed, tmp_path, monkeypatch) -> None:
    text = (TESTS.parent / "boards/pynq-z2.toml").read_text().replace('name = "pynq-z2"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(text)
    names = boards.known()
    monkeypatch.setattr(boards, "known", lambda: tuple(name for name in names if name != "pynq-z2"))
    assert "which does not come with flow" in refused(placed[0].folder)
    (tmp_path / "pynq.toml").write_text(text.replace('"mine"', '"pynq-z2"'))
    assert calibrate(folders(placed)[:1], own_boards=[tmp_path / "pynq.toml"]).result.blocks > 5


def test_where_coefficients_are_not_written(one: Path, tmp_path) -> None:
    before = FILE.read_text()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link.toml").symlink_to(FILE)
    for path, message in (
        (FILE, "comes with flow and stays as it is"),
        (tmp_path / "link.toml", "comes with flow and stays as it is"),
        (tmp_path / "notes.txt", "exists and holds no coefficients"),
        (tmp_path, "exists and holds no coefficients"),
        (tmp_path / "notes.txt" / "x.toml", "cannot be written"),
    ):
        with pytest.raises(OutputError, match=message):
            calibrate([one], out=path)
    assert FILE.read_text() == before
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        (("[coefficients.adder_lut]", "[coefficients.adders]"), "coefficients: missing key 'adder_lut'"),
        (("[own]", "[mine]"), "the file: unknown key 'mine'"),
        (("builds = 2", 'builds = "two"'), "own: builds = 'two' is not a number"),
        (("builds = 2\n", ""), "own: missing key 'builds'"),
        (("[error]", "[error"), "is not TOML"),
        (("value = 64", "value = -64"), "rom_bits_per_lut: value -64 is not a number of at least 0"),
        (("lut = 1.421", "lut = nan"), "interval.matrix_vector: lut = nan is not a number"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, edited: tuple[str, str], message: str) -> None:
    good = render(replace(packaged(), own=OwnError(2, 20, 1.5, 1.0, 2.5, 1.0)))
    path = tmp_path / "own.toml"
    path.write_text(good)
    assert read(path).own == OwnError(2, 20, 1.5, 1.0, 2.5, 1.0)
    assert edited[0] in good
    path.write_text(good.replace(*edited, 1))
    with pytest.raises(CostFileError) as caught:
        load(path)
    assert message in caught.value.message
    assert "flow calibrate DIR... --out FILE" in caught.value.remedy


def test_tables_that_are_none(tmp_path) -> None:
    (tmp_path / "own.toml").write_text("coefficients = 3\ninterval = {fifo = 2}\n")
    with pytest.raises(CostFileError, match=r"coefficients is not a table\n  - interval\.fifo is not a table"):
        load(tmp_path / "own.toml")
