# SPDX-License-Identifier: Apache-2.0
"""The vendor's steps of a real build directory, run by the mock tools: order, resuming, stale reports, and failures."""

import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flow.api.build import BuildResult, build
from flow.api.package import package
from flow.api.synthesize import check_target, programs_for, runner_for, synthesize
from flow.backend import tools
from flow.backend.synthesis import STEPS, TARGETS, Runner, critical_warnings, dialect_of, find_hls
from flow.errors import OptionError, PackageError, SynthesisError, ToolNotFoundError
from flow.report.schema import Measured

TESTS = Path(__file__).resolve().parents[1]
MOCKS = TESTS / "mock_tools"
MODEL = TESTS.parent / "examples" / "digits_mlp" / "digits_mlp.onnx"

pytestmark = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not on PATH (package tcl)")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    return build(MODEL, out=tmp_path_factory.mktemp("digits") / "build", csim=False)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Mock tools on PATH; what they are called with lands in calls.jsonl."""
    for tool in tools.ALL_TOOLS:
        monkeypatch.delenv(tool.variable, raising=False)
    monkeypatch.setenv("PATH", f"{MOCKS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FLOW_MOCK_VERSION", "2023.2")
    monkeypatch.setenv("FLOW_MOCK_LOG", str(tmp_path / "calls.jsonl"))
    return monkeypatch


@pytest.fixture
def result(finished: BuildResult, tmp_path: Path) -> BuildResult:
    assert finished.folder is not None
    shutil.copytree(finished.folder, tmp_path / "build")
    return replace(finished, folder=tmp_path / "build")


def runner(result: BuildResult, target="ooc", jobs: int = 1) -> Runner:
    return runner_for(result, programs_for(target), jobs=jobs)


def ran(result: BuildResult) -> list[str]:
    """The scripts that ran since this was asked last."""
    log = result.folder.parent / "calls.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [Path(json.loads(line)["arguments"][-1]).stem for line in lines if ".tcl" in line]


def refused(result: BuildResult, target="ooc") -> SynthesisError:
    with pytest.raises(SynthesisError) as caught:
        runner(result, target).run(target)
    assert caught.value.log.is_file()
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "xclbin"])  # a card: test_kernels.py
def test_a_target_runs_its_steps_once(vendor, result: BuildResult, target) -> None:
    ran(result)
    report = synthesize(result, target, runner(result, target))
    assert ran(result) == list(TARGETS[target])
    assert report == synthesize(result, target, runner(result, target))
    assert ran(result) == []
    logs = {path.stem for path in (result.folder / "hls_work/logs").iterdir()}
    assert logs == set(TARGETS[target])
    assert json.loads((result.folder / "synthesis.json").read_text())["target"] == target
    if target == "bitstream":
        assert (result.folder / report.bitstream).is_file()
        assert (result.folder / report.bitstream).with_suffix(".hwh").is_file()


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_no_step_runs_before_those_that_it_needs(vendor, result: BuildResult, jobs: int) -> None:
    ran(result)
    runner(result, "bitstream", jobs).run("bitstream")
    order = ran(result)
    assert sorted(order) == sorted(TARGETS["bitstream"])
    for name in order:
        assert all(order.index(before) < order.index(name) for before in STEPS[name].after)


def test_the_report_sets_estimate_csynth_and_implementation_side_by_side(vendor, result: BuildResult) -> None:
    report = synthesize(result, "ooc", runner(result))
    rows = {(row.layer, row.what): row for row in report.rows}
    fc1 = rows["fc1", "lut"]
    [layer] = [layer for layer in result.report.layers if layer.identifier == "fc1"]
    assert fc1.estimated == layer.resources["lut"]
    assert isinstance(fc1.csynth, Measured)
    assert isinstance(fc1.implemented, Measured)
    assert (fc1.csynth.value, fc1.csynth.tool, fc1.csynth.version) == (2345, "vitis_hls", "2023.2")
    assert (fc1.implemented.value, fc1.implemented.tool) == (600, "vivado")
    assert rows["fc3", "lut"].implemented is None  # the stand-in's hierarchy has two layers
    assert rows["design", "lut"].implemented.value == 1100
    assert rows["design", "lut"].estimated.value == sum(
        part["lut"] for name, part in result.report.parts.items() if name != "shell"
    )
    assert rows["design", "interval"].csynth.value == 8
    assert (report.setup_slack_ns.value, report.power_w.value) == (0.512, 0.213)
    text = (result.folder / "synthesis.txt").read_text()
    assert f"{2345 / fc1.estimated.value:.2f}" in text
    assert "setup slack 0.512 ns, so up to 105.4 MHz" in text


def test_it_goes_on_at_the_step_that_failed(vendor, result: BuildResult) -> None:
    vendor.setenv("FLOW_STUB_FAIL", "place_design")
    vendor.setenv("FLOW_STUB_MESSAGE", "ERROR: [Place 30-99] Placer failed")
    error = refused(result)
    assert "ooc_route failed:\n    ERROR: [Place 30-99] Placer failed" in error.message
    vendor.delenv("FLOW_STUB_FAIL")
    ran(result)
    runner(result).run("ooc")
    assert ran(result) == ["ooc_route"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("hls/layers/01_fc1.hpp", ["csim", "csynth", "ooc_synth", "ooc_route"]),
        ("scripts/config.tcl", ["csim", "csynth", "ooc_synth", "ooc_route"]),
        ("scripts/ooc_synth.tcl", ["ooc_synth", "ooc_route"]),
        ("scripts/ooc_route.tcl", ["ooc_route"]),
        ("hls_work/ooc/routed_timing.rpt", ["ooc_route"]),
        ("hls_work/hls/digits_mlp/solution1/syn/report/network_csynth.xml", ["csynth", "ooc_synth", "ooc_route"]),
    ],
)
def test_a_report_of_something_else_is_made_anew(vendor, result: BuildResult, changed: str, again: list[str]) -> None:
    runner(result).run("ooc")
    ran(result)
    path = result.folder / changed
    path.write_text(path.read_text() + "\n# changed\n" if path.suffix == ".tcl" else path.read_text() + "\n")
    runner(result).run("ooc")
    assert ran(result) == again


def test_another_version_of_the_tool_makes_it_anew(vendor, result: BuildResult) -> None:
    vendor.setenv("FLOW_VITIS_HLS", str(MOCKS / "vitis_hls"))
    runner(result, "csynth").run("csynth")
    vendor.setenv("FLOW_MOCK_VERSION", "2022.2")
    ran(result)
    runner(result, "csynth").run("csynth")
    assert ran(result) == ["csim", "csynth"]


def test_a_step_that_was_killed_is_run_again(vendor, result: BuildResult) -> None:
    """It left no record, only half of its files."""
    runner(result).run("ooc")
    (result.folder / "hls_work/steps/ooc_route.json").unlink()
    (result.folder / "hls_work/ooc/routed_power.rpt").unlink()
    ran(result)
    runner(result).run("ooc")
    assert ran(result) == ["ooc_route"]
    (result.folder / "hls_work/steps/csynth.json").write_text('{"digest": ')  # the machine went down in the middle
    runner(result).run("ooc")
    assert ran(result) == ["csynth", "ooc_synth", "ooc_route"]


def test_a_build_of_the_same_keeps_what_was_made_and_of_another_drops_it(vendor, tmp_path: Path) -> None:
    first = build(MODEL, out=tmp_path / "build", csim=False)
    runner(first, "csynth").run("csynth")
    ran(first)
    runner(build(MODEL, out=tmp_path / "build", csim=False), "csynth").run("csynth")
    assert ran(first) == []
    build(MODEL, out=tmp_path / "build", csim=False, clock=50)
    assert not (tmp_path / "build/hls_work").exists()


def test_dry_run_prints_what_is_left(vendor, result: BuildResult) -> None:
    runner(result, "csynth").run("csynth")
    ran(result)
    scripts = result.folder / "scripts"
    assert runner(result, jobs=3).commands("ooc") == [
        f"cd {scripts} && FLOW_JOBS=3 {MOCKS}/vivado -nojournal -nolog -mode batch -source {name}.tcl"
        for name in ("ooc_synth", "ooc_route")
    ]
    assert ran(result) == []


@pytest.mark.parametrize(
    ("says", "meaning"),
    [
        (
            "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis' and/or device 'xczu9eg'.",
            "csim failed: there is no licence for this tool or device",
        ),
        ("cp: error writing 'x.o': No space left on device", "csim failed: the disk is full"),
        ("ERROR: [HLS 200-1023] Part 'xc7z020clg400-1' is not installed.", "csim failed: the installation lacks the"),
        ("FAIL: frame 7, channel 3: expected 4, got 5", "csim failed: the vendor's C simulation differs"),
        ("ERROR: [IMPL 213-28] bad lexical cast: source type value", "versions up to 2021.2 cannot export since 2022"),
        ("ERROR: [XFORM 203-1] something new", "csim failed:\n    ERROR: [XFORM 203-1] something new"),
    ],
)
def test_what_went_wrong_is_told_from_the_log(vendor, result: BuildResult, says: str, meaning: str) -> None:
    vendor.setenv("FLOW_MOCK_EXIT", "1")
    vendor.setenv("FLOW_MOCK_SAYS", f"INFO: begin\n{says}\nINFO: end")
    error = refused(result, "csynth")
    assert meaning in error.message
    assert says in error.message
    assert "INFO: begin" in error.log.read_text()


def test_a_log_that_is_empty(vendor, result: BuildResult) -> None:
    """Killed before it said anything."""
    found = runner(result, "csynth")
    folder = result.folder.parent / "bin"
    folder.mkdir()
    (folder / "dies").write_text("#!/bin/sh\nkill -9 $$\n")
    (folder / "dies").chmod(stat.S_IRWXU)
    found = replace(found, programs={"hls": replace(found.programs["hls"], path=folder / "dies")})
    with pytest.raises(SynthesisError, match=r"^csim failed:\n    \(the log is empty: was it killed\?\)"):
        found.run("csynth")


def test_a_clock_that_is_not_met(vendor, result: BuildResult) -> None:
    vendor.setenv("FLOW_STUB_SLACK", "-0.333")
    error = refused(result)
    assert "the design is too slow for its clock:\n    ooc_route.tcl: timing is not met: setup slack" in error.message
    assert "from fc1_U0/sum_reg[3]/C to fc1_U0/result_reg[7]/D" in error.message


def edited_stubs(vendor, tmp_path: Path, file: str, old: str, new: str) -> None:
    """Mock tools whose stand-ins differ in one place."""
    for name in ("mock_tools", "tcl_stubs"):
        shutil.copytree(TESTS / name, tmp_path / "edited" / name)
    path = tmp_path / "edited" / "tcl_stubs" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    vendor.setenv("PATH", f"{tmp_path / 'edited' / 'mock_tools'}{os.pathsep}{os.environ['PATH']}")


def test_a_design_larger_than_the_device_names_the_resource(vendor, result: BuildResult, tmp_path: Path) -> None:
    """Before placement, which would take an hour to find out."""
    edited_stubs(
        vendor,
        tmp_path,
        "reports/vivado_utilization.rpt",
        "| Slice LUTs                 | 1100 |",
        "| Slice LUTs | 60000 |",
    )
    ran(result)
    assert "the design is larger than the device: LUT 60,000 of 53,200" in refused(result).message
    assert ran(result) == ["csim", "csynth", "ooc_synth"]


def test_critical_warnings_are_errors(vendor, result: BuildResult, tmp_path: Path) -> None:
    warning = "CRITICAL WARNING: \\[Timing 38-282\\] The design failed to meet the timing requirements."
    edited_stubs(vendor, tmp_path, "vivado.tcl", "run_script [lindex", f'puts "{warning}"\nrun_script [lindex')
    error = refused(result)
    assert "ooc_synth: Vivado has 1 critical warnings:\n    CRITICAL WARNING: [Timing 38-282]" in error.message


def test_critical_warnings_of_a_run_are_found_in_its_own_log(vendor, result: BuildResult) -> None:
    vendor.setenv("FLOW_STUB_RUN_SAYS", "CRITICAL WARNING: [Route 35-39] The design did not meet timing")
    assert "system_build: Vivado has 1 critical warnings" in refused(result, "bitstream").message


def test_critical_warnings_of_the_presets_are_none() -> None:
    psu = "CRITICAL WARNING: [PSU-1] Parameter : PCW_UIPARAM_DDR_DQS_TO_CLK_DELAY_0 has negative value -0.073 ."
    other = "CRITICAL WARNING: [BD 41-1356] Slave segment is not assigned"
    assert critical_warnings(f"{psu}\n{other}\nWARNING: x\n{other}\n") == [other]


def test_a_report_that_the_tool_did_not_write(vendor, result: BuildResult, tmp_path: Path) -> None:
    edited_stubs(vendor, tmp_path, "vivado.tcl", "{write_report vivado_power.rpt [dict get $given -file]}", "")
    assert "ended well, but did not write hls_work/ooc/synth_power.rpt" in refused(result).message


# --- which tool ---


@pytest.mark.parametrize(
    ("version", "tool", "dialect"),
    [
        ("2019.2", "vivado_hls", "vivado"),
        ("2020.1", "vivado_hls", "vivado"),
        ("2020.2", "vitis_hls", "vitis2020"),
        ("2021.1", "vitis_hls", "vitis2020"),
        ("2021.2", "vitis_hls", "vitis"),
        ("2023.2", "vitis_hls", "vitis"),
        ("2024.2", "vitis-run", "vitis"),
        ("2025.1", "vitis-run", "vitis"),
    ],
)
def test_the_tool_that_is_found_decides_the_dialect(
    vendor, tmp_path: Path, version: str, tool: str, dialect: str
) -> None:
    """Of each generation the tools that it has."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for name in ("mock_tool", "vivado_hls", "vitis_hls", "vitis-run"):
        has = {"vivado_hls": version < "2020.2", "vitis-run": version >= "2023.2", "mock_tool": True}
        if has.get(name, version >= "2020.2"):
            shutil.copy(MOCKS / name, folder / name)
    (tmp_path / "tcl_stubs").symlink_to(TESTS / "tcl_stubs")
    vendor.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    vendor.setenv("FLOW_MOCK_VERSION", version)
    found = find_hls()
    assert (found.path.name, found.version, dialect_of(found.version)) == (tool, version, dialect)


def test_the_user_may_ask_for_vivado_hls_beside_vitis(vendor) -> None:
    vendor.setenv("FLOW_MOCK_VERSION", "2020.1")
    assert find_hls("vivado").path.name == "vivado_hls"


def test_without_a_tool_it_says_how_to_get_one(vendor, tmp_path: Path) -> None:
    vendor.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolNotFoundError, match=r"^Vitis HLS is needed for .* and was not found"):
        programs_for("csynth")


def test_a_tool_that_is_too_old(vendor) -> None:
    vendor.setenv("FLOW_MOCK_VERSION", "2018.3")
    with pytest.raises(ToolNotFoundError, match=r"/vivado_hls is of version 2018\.3: the scripts are for 2019\.2"):
        find_hls("vivado")


def test_a_tool_that_keeps_its_version_to_itself_is_known_by_its_folder(vendor, tmp_path: Path) -> None:
    folder = tmp_path / "Vitis" / "2024.2" / "bin"
    folder.mkdir(parents=True)
    (folder / "vitis-run").write_text("#!/bin/sh\necho 'unknown option' >&2\nexit 1\n")
    (folder / "vitis-run").chmod(stat.S_IRWXU)
    vendor.setenv("FLOW_VITIS_HLS", str(folder / "vitis-run"))
    assert find_hls().version == "2024.2"
    shutil.copy(folder / "vitis-run", tmp_path / "vitis-run")
    vendor.setenv("FLOW_VITIS_HLS", str(tmp_path / "vitis-run"))
    with pytest.raises(ToolNotFoundError, match=r"does not say its version\n"):
        find_hls()


def test_a_data_centre_card_has_no_bitstream() -> None:
    with pytest.raises(OptionError, match=r"^there is no bitstream for u250"):
        check_target("bitstream", "u250")
    check_target("ooc", "u250")
    check_target("bitstream", "arty-a7-35t")
    check_target("bitstream", "zedboard")


def test_a_bitstream_for_an_arty_is_tested_over_jtag_and_not_packed(vendor, tmp_path: Path) -> None:
    """From the model to the test on the (stand-in of a) device: frames of the build, words as packing lays them."""
    built = build(MODEL, board="arty-a7-35t", out=tmp_path / "build", csim=False)
    runner(built, "bitstream").run("bitstream")
    vendor.setenv("FLOW_STUB_DEVICES", "xc7a35t_0")
    tested = subprocess.run(
        ["vivado", "-mode", "batch", "-source", "jtag_test.tcl"],
        cwd=tmp_path / "build" / "scripts",
        capture_output=True,
        text=True,
        check=False,
    )
    frames = len((tmp_path / "build/driver/known_input.hex").read_text().splitlines())
    words = json.loads((tmp_path / "build/io.json").read_text())["output"]["words"]
    assert (tested.returncode, tested.stderr) == (0, "")
    told = f"jtag_test.tcl: {frames} frames, {frames * words} words, all as simulated"
    assert tested.stdout.splitlines()[-1] == told
    with pytest.raises(PackageError, match=r"^arty-a7-35t has no processor that could run a driver"):
        package(tmp_path / "build")


def test_no_jobs(vendor, result: BuildResult) -> None:
    with pytest.raises(OptionError, match=r"^0 jobs mean nothing"):
        runner(result, jobs=0)


def test_a_bitstream_can_be_packed(vendor, result: BuildResult) -> None:
    """The last step's record names what ``flow package`` looks for."""
    runner(result, "bitstream").run("bitstream")
    assert {"digits_mlp.bit", "digits_mlp.hwh"} <= package(result.folder).files.keys()
    (result.folder / "hls_work/bitstream/digits_mlp.hwh").write_text("edited")
    with pytest.raises(PackageError, match=r"digits_mlp\.hwh is not what the last step"):
        package(result.folder)
