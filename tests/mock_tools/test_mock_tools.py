# SPDX-License-Identifier: Apache-2.0
"""The mock vendor tools of this folder: what they record, what they make, and how they fail."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from flow.emit.scripts import ScriptConfig, config_tcl
from flow.resources import vivado_scripts

MOCKS = Path(__file__).resolve().parent

EVERY_STEP = ScriptConfig(
    design="digits",
    top="digits_top",
    part="xc7z020clg400-1",
    clock_ns=10.0,
    clock_uncertainty_percent=12.5,
    sources=("hls/top.cpp",),
    testbench=("tb/testbench.cpp",),
    vectors=("tb/vectors",),
    run_cosim=True,
    route=True,
)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The scripts/ folder of a build directory, which is all that a mock looks at."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "config.tcl").write_text(config_tcl(EVERY_STEP), encoding="ascii")
    (scripts / "csynth.tcl").touch()
    (scripts / "ooc.tcl").touch()
    return tmp_path


def mock(tool: str, *arguments: str, build: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{MOCKS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [tool, *arguments],
        cwd=build / "scripts",
        env={**os.environ, "PATH": path, "FLOW_MOCK_LOG": str(build / "calls.jsonl"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def made(build: Path) -> list[str]:
    return sorted(str(path.relative_to(build / "work")) for path in (build / "work").rglob("*") if path.is_file())


FORMS = [
    ("vitis_hls", ("-f",)),
    ("vivado_hls", ("-f",)),
    ("vitis-run", ("--mode", "hls", "--tcl")),
]


@pytest.mark.parametrize(("tool", "form"), FORMS)
def test_a_mock_records_the_call_and_makes_the_reports(build: Path, tool: str, form: tuple[str, ...]) -> None:
    result = mock(tool, *form, "csynth.tcl", build=build)
    assert result.returncode == 0
    assert made(build) == [
        "hls/digits/solution1/csim/report/digits_top_csim.log",
        "hls/digits/solution1/impl/ip/component.xml",
        "hls/digits/solution1/sim/report/digits_top_cosim.rpt",
        "hls/digits/solution1/syn/report/digits_top_csynth.rpt",
        "hls/digits/solution1/syn/report/digits_top_csynth.xml",
        "hls/digits/solution1/syn/verilog/digits_top.v",
    ]
    [call] = [json.loads(line) for line in (build / "calls.jsonl").read_text().splitlines()]
    assert call == {"tool": tool, "arguments": [*form, "csynth.tcl"], "folder": str(build / "scripts")}


def test_the_mock_of_vivado_makes_the_reports_of_ooc(build: Path) -> None:
    assert mock("vivado", "-mode", "batch", "-source", "ooc.tcl", build=build).returncode == 0
    assert made(build) == [
        f"ooc/{stage}_{kind}.rpt" for stage in ("routed", "synth") for kind in ("hierarchy", "timing", "utilization")
    ]


def test_the_mocks_make_the_reports_that_the_readme_names(build: Path) -> None:
    mock("vitis_hls", "-f", "csynth.tcl", build=build)
    mock("vivado", "-mode", "batch", "-source", "ooc.tcl", build=build)
    readme = (vivado_scripts() / "README.md").read_text()
    for path in (Path(name) for name in made(build) if not name.endswith(".v")):
        known = path.name if path.parts[0] == "ooc" else "/".join(path.parts[3:]).replace("digits_top", "<flow_top>")
        assert known.replace("csynth.rpt", "csynth.xml") in readme


def test_a_mock_fails_on_request_and_makes_nothing(build: Path) -> None:
    result = mock("vitis_hls", "-f", "csynth.tcl", build=build, FLOW_MOCK_EXIT="3")
    assert (result.returncode, result.stderr) == (
        3,
        "ERROR: [MOCK 1-1] vitis_hls fails, as FLOW_MOCK_EXIT says\n",
    )
    assert not (build / "work").exists()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("vitis_hls", ("csynth.tcl",)), ("vivado", ("-source",)), ("vitis_hls", ("-f", "gone.tcl"))],
)
def test_a_mock_refuses_a_call_that_the_tool_would_not_understand(
    build: Path, tool: str, arguments: tuple[str, ...]
) -> None:
    result = mock(tool, *arguments, build=build)
    assert result.returncode == 2
    assert result.stderr.startswith(f"ERROR: expected: {tool} ")


def test_a_mock_tells_its_version(build: Path) -> None:
    assert "v2023.2 " in mock("vivado", "-version", build=build).stdout
    assert "v2019.2 " in mock("vivado_hls", "-version", build=build, FLOW_MOCK_VERSION="2019.2").stdout


def test_a_mock_copies_reports_that_a_test_supplies(build: Path) -> None:
    reports = build / "reports"
    (reports / "ooc").mkdir(parents=True)
    (reports / "ooc/synth_timing.rpt").write_text("slack")
    mock("vivado", "-mode", "batch", "-source", "ooc.tcl", build=build, FLOW_MOCK_REPORTS=str(reports))
    assert (build / "work/ooc/synth_timing.rpt").read_text() == "slack"
