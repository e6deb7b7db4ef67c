# SPDX-License-Identifier: Apache-2.0
"""Every script, for every generation of the tools and every board, through the strict stand-ins of tests/mock_tools."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flow.emit.scripts import ScriptConfig, config_tcl
from flow.plan import board as boards
from flow.plan.board import Family
from flow.resources import vivado_scripts

TESTS = Path(__file__).resolve().parents[1]
MOCKS = TESTS / "mock_tools"

pytestmark = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not on PATH (package tcl)")

HLS_FORM = {"vivado_hls": ["-f"], "vitis_hls": ["-f"], "vitis-run": ["--mode", "hls", "--tcl"]}
GENERATIONS = [
    *(("vivado_hls", version) for version in ("2019.2", "2020.1")),
    *(("vitis_hls", version) for version in ("2020.2", "2021.1", "2021.2", "2022.1", "2022.2", "2023.1", "2023.2")),
    *(("vitis_hls", version) for version in ("2024.1", "2024.2")),
    *(("vitis-run", version) for version in ("2023.2", "2024.1", "2024.2", "2025.1")),
]
ARTY = ["arty-a7-100t", "arty-a7-35t"]
ZYNQ = [name for name in boards.known() if boards.load(name).family in (Family.ZYNQ7000, Family.ZYNQMP)]

CONFIG = ScriptConfig(
    design="digits",
    top="network",
    part="xc7z020clg400-1",
    clock_ns=10.0,
    clock_mhz=100.0,
    clock_uncertainty_percent=12.5,
    sources=("hls/top.cpp", "hls/layers/00_fc1.cpp"),
    testbench=("tb/testbench.cpp",),
    vectors=("tb/vectors",),
    cflags="-std=c++14 -Wall",
    family="zynq7000",
    board_part="tul.com.tw:pynq-z2:part0:1.0",
    axis_in_bits=64,
    axis_out_bits=32,
    frame_words=98,
    result_words=5,
    memory_bytes=536_870_912,
)


def config_of(name: str) -> ScriptConfig:
    board = boards.load(name)
    return replace(
        CONFIG,
        part=board.part,
        clock_mhz=board.clock.default_mhz,
        family=board.family.value,
        board_part=board.board_part or "",
        axis_in_bits=board.axis_bits,
        axis_out_bits=board.axis_bits,
        frame_words=7,
        memory_bytes=board.memory.bytes,
    )


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build directory with the files that CONFIG names, and the static scripts beside its config.tcl."""
    for name in (*CONFIG.sources, *CONFIG.testbench, "tb/vectors/input.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("    fc1(in, out);\n")
    shutil.copytree(vivado_scripts(), tmp_path / "scripts")
    configure(tmp_path, CONFIG)
    return tmp_path


def configure(build: Path, config: ScriptConfig) -> None:
    (build / "scripts" / "config.tcl").write_text(config_tcl(config), encoding="ascii")


def mock(build: Path, *command: str, version: str = "2023.2", **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{MOCKS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*command],
        cwd=build / "scripts",
        env={**os.environ, "PATH": path, "FLOW_MOCK_VERSION": version, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def hls(build: Path, script: str, tool: str = "vitis_hls", **options: str) -> subprocess.CompletedProcess[str]:
    return mock(build, tool, *HLS_FORM[tool], script, **options)


def vivado(build: Path, script: str, **options: str) -> subprocess.CompletedProcess[str]:
    return mock(build, "vivado", "-mode", "batch", "-source", script, **options)


def good(result: subprocess.CompletedProcess[str]) -> list[str]:
    """What a run that succeeded called."""
    assert (result.returncode, result.stderr) == (0, ""), result.stdout[-1000:]
    return calls(result)


def calls(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("call: ") for line in result.stdout.splitlines() if line.startswith("call: ")]


def refused(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    return result.stderr


def made(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- HLS ---

PROJECT = [
    "open_project -reset digits",
    "set_top network",
    "add_files -cflags {-std=c++14 -Wall} ../../hls/top.cpp",
    "add_files -cflags {-std=c++14 -Wall} ../../hls/layers/00_fc1.cpp",
    "add_files -tb -cflags {-std=c++14 -Wall} ../../tb/testbench.cpp",
    "add_files -tb ../../tb/vectors",
    "open_solution -reset solution1 -flow_target vivado",
    "set_part xc7z020clg400-1",
    "create_clock -period 10 -name default",
    "set_clock_uncertainty 12.5% default",
    "config_compile -name_max_length 80 -pipeline_loops 0",
]
OPENED = ["open_project digits", "open_solution solution1"]


@pytest.mark.parametrize(("tool", "version"), GENERATIONS)
def test_every_hls_script_in_every_generation(build: Path, tool: str, version: str) -> None:
    """Vivado HLS has no flow target; else all generations get the same commands."""
    project = [call.replace(" -flow_target vivado", "") if tool == "vivado_hls" else call for call in PROJECT]
    steps = {
        "csim.tcl": [*project, "csim_design -O -argv vectors"],
        "csynth.tcl": [*project, "csynth_design"],
        "cosim.tcl": [*OPENED, "cosim_design -O -argv vectors -rtl verilog"],
        "export.tcl": [*OPENED, "export_design -format ip_catalog -rtl verilog"],
    }
    for script, expected in steps.items():
        assert good(hls(build, script, tool, version=version)) == [*expected, "close_project"]
    solution = "hls/digits/solution1"
    assert made(build / "hls_work") >= {
        "csim/digits/solution1/csim/report/network_csim.log",
        f"{solution}/syn/report/network_csynth.xml",
        f"{solution}/syn/report/network_csynth.rpt",
        f"{solution}/syn/report/fc1_csynth.xml",
        f"{solution}/syn/verilog/network.v",
        f"{solution}/sim/report/network_cosim.rpt",
        f"{solution}/impl/ip/component.xml",
    }
    assert not (build / "work").exists()


def test_a_new_synthesis_drops_everything_of_the_one_before(build: Path) -> None:
    good(hls(build, "csynth.tcl"))
    stale = build / "hls_work/hls/digits/solution1/impl/ip/component.xml"
    stale.parent.mkdir(parents=True)
    stale.write_text("of the run before")
    assert refused(hls(build, "csynth.tcl", FLOW_STUB_FAIL="csynth_design")) == "csynth.tcl: csynth_design failed: 4\n"
    assert not stale.exists()


@pytest.mark.parametrize("script", ["cosim.tcl", "export.tcl"])
def test_steps_behind_synthesis_say_that_it_is_missing(build: Path, script: str) -> None:
    result = hls(build, script)
    assert refused(result) == (
        f"{script}: there is no synthesis in hls_work/hls/digits/solution1: run csynth.tcl first\n"
    )
    assert calls(result) == []


def test_the_scripts_may_lie_elsewhere(build: Path) -> None:
    for path in (build / "scripts").glob("*.tcl"):
        if path.name != "config.tcl":
            path.unlink()
    good(hls(build, str(vivado_scripts() / "csynth.tcl")))


@pytest.mark.parametrize(("script", "run"), [("csynth.tcl", hls), ("csim.tcl", hls), ("ooc_synth.tcl", vivado)])
def test_missing_variables_are_all_named_before_any_command(build: Path, script: str, run) -> None:
    config = build / "scripts/config.tcl"
    kept = [line for line in config.read_text().splitlines() if not re.match("set flow_(part|vectors|family) ", line)]
    config.write_text("\n".join(kept))
    result = run(build, script)
    assert refused(result) == f"{script}: config.tcl does not set: flow_part, flow_vectors, flow_family\n"
    assert calls(result) == []


@pytest.mark.parametrize(("script", "run"), [("csynth.tcl", hls), ("system_build.tcl", vivado)])
def test_without_config_tcl_the_error_says_where_to_run(build: Path, script: str, run) -> None:
    (build / "scripts/config.tcl").unlink()
    assert refused(run(build, script)) == (
        f"{script}: there is no config.tcl in {build / 'scripts'}: "
        "run this from the scripts/ folder of a build directory\n"
    )


def test_missing_files_are_all_named_before_any_command(build: Path) -> None:
    configure(build, replace(CONFIG, sources=("hls/top.cpp", "hls/gone.cpp"), vectors=("tb/none",)))
    result = hls(build, "csynth.tcl")
    assert refused(result) == (
        "csynth.tcl: config.tcl names files that are not in the build directory: hls/gone.cpp, tb/none\n"
    )
    assert calls(result) == []


def test_a_blank_in_a_file_name_is_refused(build: Path) -> None:
    configure(build, replace(CONFIG, vectors=("tb/my vectors",)))
    assert refused(hls(build, "csynth.tcl")) == (
        "csynth.tcl: config.tcl names 'tb/my vectors': add_files splits names at blanks, so a name may hold none\n"
    )


@pytest.mark.parametrize(
    ("script", "step"),
    [
        ("csim.tcl", "csim_design"),
        ("csynth.tcl", "csynth_design"),
        ("cosim.tcl", "cosim_design"),
        ("export.tcl", "export_design"),
    ],
)
@pytest.mark.parametrize(("tool", "version"), [("vitis_hls", "2023.2"), ("vivado_hls", "2019.2")])
def test_a_step_that_fails_ends_the_run(build: Path, tool: str, version: str, script: str, step: str) -> None:
    if script in ("cosim.tcl", "export.tcl"):
        good(hls(build, "csynth.tcl", tool, version=version))
    result = hls(build, script, tool, version=version, FLOW_STUB_FAIL=step)
    assert refused(result) == f"{script}: {step} failed: 4\n"
    assert calls(result)[-1].startswith(step)


@pytest.mark.parametrize("command", ["open_project", "add_files", "set_part", "close_project"])
def test_any_other_error_ends_the_run_too(build: Path, command: str) -> None:
    result = hls(build, "csynth.tcl", FLOW_STUB_FAIL=command)
    assert refused(result) == "csynth.tcl: 4\n"
    assert calls(result)[-1].startswith(command)


def test_a_config_that_is_not_tcl_ends_the_run(build: Path) -> None:
    (build / "scripts/config.tcl").write_text("sett flow_top x\n")
    assert refused(hls(build, "csynth.tcl")) == 'csynth.tcl: invalid command name "sett"\n'


# --- out of context ---


@pytest.mark.parametrize("version", ["2019.2", "2020.2", "2022.2", "2024.2"])
def test_out_of_context(build: Path, version: str) -> None:
    rtl = build / "hls_work/hls/digits/solution1/syn/verilog"
    rtl.mkdir(parents=True)
    for name in ("fc1.v", "network.v", "fc1_rom.dat", "notes.txt"):
        (rtl / name).write_text("")
    verilog = "../hls/digits/solution1/syn/verilog"
    reports = [
        "report_utilization -file {0}_utilization.rpt",
        "report_utilization -hierarchical -file {0}_hierarchy.rpt",
        "report_timing_summary -file {0}_timing.rpt",
        "report_power -file {0}_power.rpt",
        "write_checkpoint -force {0}.dcp",
    ]
    assert good(vivado(build, "ooc_synth.tcl", version=version, FLOW_JOBS="16")) == [
        "create_project -in_memory -part xc7z020clg400-1",
        f"read_verilog {{{verilog}/fc1.v {verilog}/network.v}}",
        f"read_mem {verilog}/fc1_rom.dat",
        "read_xdc -mode out_of_context clock.xdc",
        "set_param general.maxThreads 8",
        "synth_design -top network -part xc7z020clg400-1 -mode out_of_context",
        "get_cells -hierarchical -quiet -filter IS_BLACKBOX",
        *(report.format("synth") for report in reports),
    ]
    assert good(vivado(build, "ooc_route.tcl", version=version))[1:9] == [
        "open_checkpoint synth.dcp",
        "opt_design",
        "place_design",
        "route_design",
        *(report.format("routed") for report in reports[:-1]),
    ]
    xdc = (build / "hls_work/ooc/clock.xdc").read_text()
    assert xdc == "create_clock -name ap_clk -period 10 [get_ports ap_clk]\n"


def test_ooc_without_roms_reads_no_memory_files(build: Path) -> None:
    good(hls(build, "csynth.tcl"))
    assert "read_mem" not in "\n".join(good(vivado(build, "ooc_synth.tcl")))


def test_ooc_without_rtl_says_what_to_run_first_and_drops_old_reports(build: Path) -> None:
    old = build / "hls_work/ooc/synth_timing.rpt"
    old.parent.mkdir(parents=True)
    old.write_text("of the run before")
    result = vivado(build, "ooc_synth.tcl")
    assert refused(result) == (
        "ooc_synth.tcl: there is no Verilog in hls_work/hls/digits/solution1/syn/verilog: run csynth.tcl first\n"
    )
    assert calls(result) == []
    assert not old.exists()
    assert refused(vivado(build, "ooc_route.tcl")).endswith("no hls_work/ooc/synth.dcp: run ooc_synth.tcl first\n")


def test_ooc_does_not_report_a_design_with_empty_modules(build: Path) -> None:
    good(hls(build, "csynth.tcl"))
    result = vivado(build, "ooc_synth.tcl", FLOW_STUB_BLACKBOXES="fc1 fc2")
    assert refused(result) == "ooc_synth.tcl: modules without contents (is RTL missing?): fc1, fc2\n"
    assert calls(result)[-1].startswith("get_cells")


def test_a_clock_that_is_not_met_is_an_error_with_its_path_and_keeps_the_reports(build: Path) -> None:
    good(hls(build, "csynth.tcl"))
    good(vivado(build, "ooc_synth.tcl"))
    assert refused(vivado(build, "ooc_route.tcl", FLOW_STUB_SLACK="-0.333")) == (
        "ooc_route.tcl: timing is not met: setup slack -0.333 ns, from fc1_U0/sum_reg[3]/C to fc1_U0/result_reg[7]/D\n"
    )
    assert "ooc/routed_timing.rpt" in made(build / "hls_work")


@pytest.mark.parametrize(
    ("script", "step"),
    [("ooc_synth.tcl", "synth_design")]
    + [("ooc_route.tcl", step) for step in ("opt_design", "place_design", "route_design")],
)
def test_ooc_step_that_fails_ends_the_run(build: Path, script: str, step: str) -> None:
    good(hls(build, "csynth.tcl"))
    if script == "ooc_route.tcl":
        good(vivado(build, "ooc_synth.tcl"))
    assert refused(vivado(build, script, FLOW_STUB_FAIL=step)) == f"{script}: {step} failed: 4\n"


# --- systems ---


def block_design(result: subprocess.CompletedProcess[str]) -> dict[str, list[list[str]]]:
    """The record of the stand-in: cells, nets, buses, segments."""
    found: dict[str, list[list[str]]] = {kind: [] for kind in ("cell", "net", "bus", "segment", "port")}
    for line in result.stdout.splitlines():
        if line.startswith("bd: "):
            kind, *words = line.removeprefix("bd: ").split()
            found[kind].append(words)
    return found


def parameters(record: dict[str, list[list[str]]], cell: str) -> dict[str, str]:
    [words] = [words for words in record["cell"] if words[0] == cell]
    return dict(zip(words[2::2], words[3::2], strict=True))


@pytest.mark.parametrize("version", ["2019.2", "2020.2", "2022.2", "2024.2"])
@pytest.mark.parametrize("name", ZYNQ)
def test_every_system_of_every_board(build: Path, name: str, version: str) -> None:
    """Widths, clocks, interrupts and addresses of the block design, from the stand-in's record; then a bitstream."""
    board = boards.load(name)
    configure(build, config_of(name))
    tool = "vivado_hls" if version == "2019.2" else "vitis_hls"
    good(hls(build, "csynth.tcl", tool, version=version))
    good(hls(build, "export.tcl", tool, version=version))
    result = vivado(build, "system_design.tcl", version=version)
    good(result)
    record = block_design(result)

    bits = str(board.axis_bits)
    dma = parameters(record, "dma")
    assert {dma[f"CONFIG.c_{name}_width"] for name in ("m_axi_mm2s_data", "m_axi_s2mm_data")} == {bits}
    assert {dma[f"CONFIG.c_{name}_width"] for name in ("m_axis_mm2s_tdata", "s_axis_s2mm_tdata")} == {bits}
    transfer = parameters(record, "transfer")
    assert transfer == {"CONFIG.IN_BITS": bits, "CONFIG.OUT_BITS": bits, "CONFIG.FRAME_WORDS": "7"}
    buses = dict(record["bus"])
    assert [buses["dma/M_AXIS_MM2S"], buses["transfer/frames_out"]] == ["transfer/frames_in", "accelerator/in_r"]
    assert [buses["accelerator/out_r"], buses["transfer/results_out"]] == ["transfer/results_in", "dma/S_AXIS_S2MM"]
    port = {"zynq7000": "CONFIG.PCW_S_AXI_HP0_DATA_WIDTH", "zynqmp": "CONFIG.PSU__SAXIGP2__DATA_WIDTH"}
    assert parameters(record, "ps")[port[board.family]] == bits
    assert parameters(record, "ps")["preset"] == "1"

    clock = parameters(record, "clock")
    assert float(clock["CONFIG.CLKOUT1_REQUESTED_OUT_FREQ"]) == board.clock.default_mhz
    assert abs(float(clock["CONFIG.PRIM_IN_FREQ"]) - 100) < 0.01  # a PLL gives 99.999 MHz for 100
    nets = {sink: source for source, sink in record["net"]}
    clocked = [sink for sink in nets if re.search(r"(?i)(^|_|/)(ap_)?a?clk$", sink)]
    assert len(clocked) == 15  # reset, accelerator, transfer, DMA 3, interconnects 3 and 4, processing system 2
    assert {nets[sink] for sink in clocked} == {"clock/clk_out1"}
    assert {nets[sink] for sink in nets if re.search(r"(?i)aresetn$|rst_n$|axi_resetn$", sink)} == {
        "reset/interconnect_aresetn",
        "reset/peripheral_aresetn",
    }
    assert (nets["interrupts/In0"], nets["interrupts/In1"]) == ("dma/mm2s_introut", "dma/s2mm_introut")

    segments = {
        (space, segment.rpartition("/")[2]): (int(a, 16), int(b, 16)) for space, segment, a, b in record["segment"]
    }
    registers = {"zynq7000": 0x4040_0000, "zynqmp": 0xA000_0000}[board.family]
    assert segments.pop(("ps/Data", "Reg")) == (registers, 0x10000)
    for space in ("dma/Data_MM2S", "dma/Data_S2MM"):
        assert sum(size for (owner, _), (_, size) in segments.items() if owner == space) == board.memory.bytes
    reach = max(offset + size for offset, size in segments.values())
    assert reach <= 2 ** int(dma["CONFIG.c_addr_width"])

    good(vivado(build, "system_build.tcl", version=version, FLOW_JOBS="4"))
    assert made(build / "hls_work/bitstream") == {
        *("digits.bit", "digits.hwh"),
        *(f"system_{kind}.rpt" for kind in ("utilization", "hierarchy", "timing", "power")),
    }


@pytest.fixture
def exported(build: Path) -> Path:
    good(hls(build, "csynth.tcl"))
    good(hls(build, "export.tcl"))
    return build


def test_the_boards_that_have_a_system() -> None:
    assert {"pynq-z1", "pynq-z2", "zedboard", "arty-z7-20", "zcu102", "zcu104", "ultra96-v2", "kv260"} <= set(ZYNQ)


def test_a_system_needs_the_exported_ip(build: Path) -> None:
    assert refused(vivado(build, "system_design.tcl")) == (
        "system_design.tcl: there is no IP in hls_work/hls/digits/solution1/impl/ip: run export.tcl first\n"
    )
    assert refused(vivado(build, "system_build.tcl")) == (
        "system_build.tcl: there is no hls_work/system/system.xpr: run system_design.tcl first\n"
    )


def test_a_system_needs_a_processing_system(build: Path) -> None:
    configure(build, config_of("u250"))
    assert "there is no system for the family alveo" in refused(vivado(build, "system_design.tcl"))


def test_a_system_needs_the_preset_of_its_board(exported: Path) -> None:
    assert "Vivado has no board files tul.com.tw:pynq-z2:part0:*: install them" in refused(
        vivado(exported, "system_design.tcl", FLOW_STUB_NO_BOARDS="1")
    )
    configure(exported, replace(CONFIG, board_part=""))
    assert "flow_board_part is empty" in refused(vivado(exported, "system_design.tcl"))


def test_a_stream_wider_than_the_memory_port_is_refused(exported: Path) -> None:
    configure(exported, replace(CONFIG, axis_in_bits=128))
    assert "a stream of 128 bits does not fit the memory port of 64 bits" in refused(
        vivado(exported, "system_design.tcl")
    )


def test_a_system_that_is_too_slow_gets_reports_and_no_bitstream(exported: Path) -> None:
    good(vivado(exported, "system_design.tcl"))
    result = vivado(exported, "system_build.tcl", FLOW_STUB_SLACK="-1.25")
    assert refused(result).startswith("system_build.tcl: timing is not met: setup slack -1.25 ns, from fc1_U0/")
    assert "launch_runs impl_1 -to_step write_bitstream -jobs 1" not in calls(result)
    assert "digits.bit" not in made(exported / "hls_work/bitstream")


@pytest.mark.parametrize("run", ["synth_1", "impl_1"])
def test_a_run_that_does_not_end_is_an_error_with_its_log(exported: Path, run: str) -> None:
    good(vivado(exported, "system_design.tcl"))
    assert refused(vivado(exported, "system_build.tcl", FLOW_STUB_RUN_FAILS=run)) == (
        f"system_build.tcl: {run} failed: route_design ERROR; see hls_work/system/system.runs/{run}/runme.log\n"
    )


# --- the test design of a board without a processor ---


@pytest.mark.parametrize("version", ["2019.2", "2020.2", "2022.2", "2024.2"])
@pytest.mark.parametrize("name", ARTY)
def test_the_test_design_of_every_arty(build: Path, name: str, version: str) -> None:
    """Clock, reset, streams and addresses from the stand-in's record; then a bitstream, and frames through it."""
    configure(build, replace(config_of(name), result_words=509))  # with four of its own, more than the FIFO's 512
    tool = "vivado_hls" if version == "2019.2" else "vitis_hls"
    good(hls(build, "csynth.tcl", tool, version=version))
    good(hls(build, "export.tcl", tool, version=version))
    result = vivado(build, "system_design.tcl", version=version)
    good(result)
    record = block_design(result)
    assert {words[0] for words in record["cell"]} == {"clock", "reset", "jtag", "fifo", "accelerator"}
    assert record["port"] == [
        ["sys_clock", "clk", "100000000"],
        ["resetn", "rst", "rst", "CONFIG.POLARITY", "ACTIVE_LOW"],
    ]
    clock = parameters(record, "clock")
    assert clock["CONFIG.PRIM_SOURCE"] == "Single_ended_clock_capable_pin"
    assert float(clock["CONFIG.PRIM_IN_FREQ"]) == 100
    assert float(clock["CONFIG.CLKOUT1_REQUESTED_OUT_FREQ"]) == boards.load(name).clock.default_mhz
    nets = {sink: source for source, sink in record["net"]}
    assert (nets["clock/clk_in1"], nets["clock/resetn"], nets["reset/ext_reset_in"]) == ("sys_clock", *["resetn"] * 2)
    for cell, clk, resetn in (
        ("jtag", "aclk", "aresetn"),
        ("fifo", "s_axi_aclk", "s_axi_aresetn"),
        ("accelerator", "ap_clk", "ap_rst_n"),
    ):
        assert (nets[f"{cell}/{clk}"], nets[f"{cell}/{resetn}"]) == ("clock/clk_out1", "reset/peripheral_aresetn")
    assert dict(record["bus"]) == {
        "jtag/M_AXI": "fifo/S_AXI",
        "fifo/AXI_STR_TXD": "accelerator/in_r",
        "accelerator/out_r": "fifo/AXI_STR_RXD",
    }
    fifo = parameters(record, "fifo")
    assert (fifo["CONFIG.C_TX_FIFO_DEPTH"], fifo["CONFIG.C_RX_FIFO_DEPTH"]) == ("512", "1024")
    assert parameters(record, "jtag") == {"CONFIG.PROTOCOL": "2"}
    assert record["segment"] == [["jtag/Data", "fifo/S_AXI/Mem0", "0x44a00000", "0x10000"]]

    good(vivado(build, "system_build.tcl", version=version))
    assert "digits.bit" in made(build / "hls_work/bitstream")
    known_answers(build)
    device = {"arty-a7-100t": "xc7a100t_0", "arty-a7-35t": "xc7a35t_0"}[name]
    tested = vivado(build, "jtag_test.tcl", version=version, FLOW_STUB_DEVICES=device)
    good(tested)
    assert tested.stdout.splitlines()[-1] == "jtag_test.tcl: 2 frames, 4 words, all as simulated"


def known_answers(build: Path) -> None:
    """Two frames of three words, two words of result each; bytes as in memory."""
    (build / "driver").mkdir()
    (build / "driver/known_input.hex").write_text("0102030405060708090a0b0c\nfffefdfc0000000080000000\n")
    (build / "driver/known_output.hex").write_text("1122334455667788\n99aabbccddeeff00\n")


@pytest.fixture
def arty(build: Path) -> Path:
    configure(build, config_of("arty-a7-100t"))
    (build / "hls_work/bitstream").mkdir(parents=True)
    (build / "hls_work/bitstream/digits.bit").write_text("bits")
    known_answers(build)
    return build


def test_a_frame_over_jtag_word_by_word(arty: Path) -> None:
    """The transactions of the first frame: bytes of memory as little-endian words, then the length in bytes."""
    transactions = [
        call.split() for call in good(vivado(arty, "jtag_test.tcl")) if call.startswith("create_hw_axi_txn")
    ]
    found = [(words[3], words[5], words[9] if words[3] == "WRITE" else "") for words in transactions]
    assert found[:11] == [
        ("WRITE", "44A00028", "000000A5"),
        ("WRITE", "44A00000", "FFFFFFFF"),
        ("WRITE", "44A00010", "04030201"),
        ("WRITE", "44A00010", "08070605"),
        ("WRITE", "44A00010", "0c0b0a09"),
        ("WRITE", "44A00014", "0000000C"),
        ("READ", "44A00000", ""),
        ("READ", "44A0001C", ""),
        ("READ", "44A00024", ""),
        *[("READ", "44A00020", "")] * 2,
    ]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FLOW_STUB_FAULT": "silent"}, "no result after a second: interrupt status 0x00000000"),
        ({"FLOW_STUB_FAULT": "wrong"}, "frame 0: expected 44332211 88776655, got 44332210 88776655"),
        ({"FLOW_STUB_FAULT": "long"}, "4 bytes came back in 2 words: the result is not one packet"),
        ({"FLOW_STUB_FAULT": "error"}, "run_hw_axi: [Labtoolstcl 44-513] HW Target shutdown."),
        ({"FLOW_STUB_FAULT": "no_core"}, "the device has 0 JTAG to AXI masters, not 1: does its clock run?"),
        ({"FLOW_STUB_CABLES": ""}, "0 cables match *, not 1: is the board on USB? FLOW_HW_TARGET names one: "),
        ({"FLOW_STUB_DEVICES": "xc7a35t_0"}, "the cable reaches 0 devices xc7a100t, not 1: the bitstream is for "),
    ],
)
def test_a_test_over_jtag_that_fails_says_what_it_saw(arty: Path, environment: dict[str, str], message: str) -> None:
    assert refused(vivado(arty, "jtag_test.tcl", **environment)).startswith(f"jtag_test.tcl: {message}")


def test_one_cable_of_several_can_be_named(arty: Path) -> None:
    cables = "host/Digilent/1 host/Digilent/2"
    assert "2 cables match *" in refused(vivado(arty, "jtag_test.tcl", FLOW_STUB_CABLES=cables))
    called = good(vivado(arty, "jtag_test.tcl", FLOW_STUB_CABLES=cables, FLOW_HW_TARGET="*/2"))
    assert "open_hw_target host/Digilent/2" in called


def test_a_test_over_jtag_needs_its_bitstream(arty: Path) -> None:
    (arty / "hls_work/bitstream/digits.bit").unlink()
    assert "there is no hls_work/bitstream/digits.bit: run system_build.tcl first" in refused(
        vivado(arty, "jtag_test.tcl")
    )
    configure(arty, CONFIG)
    assert "the family zynq7000 has no JTAG test design" in refused(vivado(arty, "jtag_test.tcl"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"board_part": ""}, "the pins of clock and reset are known for Arty A7 only, not for ''"),
        ({"axis_in_bits": 64}, "a stream of 64 bits does not fit the AXI4-Stream FIFO, which has 32"),
        ({"frame_words": 131_069}, "a frame of 131069 words does not fit the AXI4-Stream FIFO, which has 131072"),
    ],
)
def test_what_the_test_design_cannot_carry(exported: Path, change: dict[str, int | str], message: str) -> None:
    configure(exported, replace(config_of("arty-a7-35t"), **change))
    assert message in refused(vivado(exported, "system_design.tcl"))


# --- the stand-ins are strict ---

SLOPPY = [
    ("hls", "2019.2", "open_project p; open_solution s -flow_target vivado", "unknown option '-flow_target'"),
    ("hls", "2023.2", "open_project p; open_solution s -flow_target fpga", "expected vivado|vitis"),
    ("hls", "2023.2", "open_project", "0 words, expected 1 to 1"),
    ("hls", "2023.2", "open_solution s", "no project is open"),
    ("hls", "2023.2", "open_project p; add_files gone.cpp", "there is no gone.cpp"),
    ("hls", "2023.2", "cosim_design -rtl systemc", "-rtl systemc: expected verilog|vhdl"),
    ("hls", "2023.2", "export_design -format zip", "-format zip: expected"),
    ("hls", "2023.2", "csim_design -argv", "option '-argv' has no value"),
    ("hls", "2023.2", "config_rtl -reset state", 'invalid command name "config_rtl"'),
    ("vivado", "2023.2", "synth_design -topp x", "unknown option '-topp'"),
    ("vivado", "2023.2", "set_param general.maxThreads 64", "general.maxThreads is from 1 to 32"),
    ("vivado", "2023.2", "create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma:9.9 x", "there is no IP"),
    ("vivado", "2023.2", "create_bd_cell -type module -reference gone x", "no source of the project holds the module"),
    (
        "vivado",
        "2023.2",
        "create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma:7.1 x; get_bd_pins x/clk",
        "no pin 'x/clk'",
    ),
    (
        "vivado",
        "2023.2",
        "create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma:7.1 x; set_property CONFIG.c_addr_width 33 x",
        "CONFIG.c_addr_width 33: expected 32|40|64",
    ),
    (
        "vivado",
        "2023.2",
        "create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset:5.0 x; validate_bd_design",
        "x/slowest_sync_clk is not driven",
    ),
]


@pytest.mark.parametrize(("stubs", "version", "text", "expected"), SLOPPY)
def test_a_stand_in_refuses_what_the_tool_would(
    tmp_path: Path, stubs: str, version: str, text: str, expected: str
) -> None:
    (tmp_path / "sloppy.tcl").write_text(text)
    result = subprocess.run(
        ["tclsh", str(TESTS / "tcl_stubs" / f"{stubs}.tcl"), "sloppy.tcl"],
        cwd=tmp_path,
        env={**os.environ, "FLOW_MOCK_VERSION": version},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode != 0
    assert expected in result.stderr


def test_a_mock_records_its_calls(build: Path) -> None:
    hls(build, "csynth.tcl", "vitis-run", FLOW_MOCK_LOG=str(build / "calls.jsonl"))
    [call] = [json.loads(line) for line in (build / "calls.jsonl").read_text().splitlines()]
    arguments = ["--mode", "hls", "--tcl", "csynth.tcl"]
    assert call == {"tool": "vitis-run", "arguments": arguments, "folder": str(build / "scripts")}


@pytest.mark.parametrize(
    "command", [("vitis_hls", "csynth.tcl"), ("vivado", "-source"), ("vitis_hls", "-f", "gone.tcl"), ("vivado",)]
)
def test_a_mock_refuses_a_call_that_the_tool_would_not_understand(build: Path, command: tuple[str, ...]) -> None:
    result = mock(build, *command)
    assert result.returncode == 2
    assert result.stderr.startswith(f"ERROR: expected: {command[0]} ")


@pytest.mark.parametrize(
    ("tool", "version"), [("vitis_hls", "2025.1"), ("vitis-run", "2022.2"), ("vivado_hls", "2020.2")]
)
def test_a_mock_is_not_there_in_versions_without_its_tool(build: Path, tool: str, version: str) -> None:
    assert hls(build, "csynth.tcl", tool, version=version).returncode == 127
