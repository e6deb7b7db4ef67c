# SPDX-License-Identifier: Apache-2.0
"""An Alveo's kernels: what they compute, how they are compiled and linked, by every generation of the (mock) tools."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flow.api.build import BuildResult, build
from flow.api.synthesize import check_target, programs_for, runner_for, synthesize
from flow.backend import tools
from flow.errors import OptionError, SynthesisError
from flow.resources import boards

TESTS = Path(__file__).resolve().parents[1]
MOCKS = TESTS / "mock_tools"
MODEL = TESTS.parent / "examples" / "digits_mlp" / "digits_mlp.onnx"

needs_tclsh = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not on PATH (package tcl)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    """A build for a board in a dialect and a style, made once."""
    made: dict[tuple[str, str, str], BuildResult] = {}

    def of(board: str, dialect: str = "vitis", style: str = "stream") -> BuildResult:
        if (board, dialect, style) not in made:
            folder = tmp_path_factory.mktemp("kernels") / "build"
            made[board, dialect, style] = build(
                MODEL, board=board, dialect=dialect, style=style, out=folder, csim=False
            )
        return made[board, dialect, style]

    return of


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for tool in tools.ALL_TOOLS:
        monkeypatch.delenv(tool.variable, raising=False)
    monkeypatch.setenv("PATH", f"{MOCKS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FLOW_MOCK_VERSION", "2023.2")
    return monkeypatch


def copied(result: BuildResult, folder: Path) -> BuildResult:
    assert result.folder is not None
    shutil.copytree(result.folder, folder)
    return replace(result, folder=folder)


@needs_tclsh
@pytest.mark.parametrize(
    ("board", "tool", "version", "dialect"),
    [
        ("u250", "vitis_hls", "2020.2", "vitis2020"),
        ("u55c", "vitis_hls", "2022.2", "vitis"),
        ("u250", "vitis_hls", "2023.2", "vitis"),
        ("u55c", "vitis-run", "2025.1", "vitis"),
    ],
)
def test_from_the_model_to_a_linked_card(vendor, built, tmp_path, board, tool, version, dialect) -> None:
    """The mock of v++ refuses unknown options, ports and memories, and a port that is left open."""
    vendor.setenv("FLOW_VITIS_HLS", str(MOCKS / tool))
    vendor.setenv("FLOW_MOCK_VERSION", version)
    result = copied(built(board, dialect), tmp_path / "build")
    runner = runner_for(result, programs_for("xclbin"), jobs=2)
    report = synthesize(result, "xclbin", runner)
    assert report.bitstream == "hls_work/xclbin/digits_mlp.xclbin"
    assert (result.folder / report.bitstream).is_file()
    assert report.tools == {"v++": version, tool: version}
    assert runner.left("xclbin") == []
    (result.folder / "kernels/read_frames.cpp").write_text("changed")
    assert "link" in runner.left("xclbin")


def test_how_the_kernels_are_joined(built) -> None:
    texts = {board: (built(board).folder / "scripts/link.cfg").read_text() for board in ("u250", "u55c")}
    assert texts["u250"].split("\n", 1)[1] == (
        "platform=xilinx_u250_gen3x16_xdma_4_1_202210_1\n"
        "target=hw\n"
        "kernel_frequency=200\n"
        "\n"
        "[connectivity]\n"
        "nk=read_frames:1:read_frames_1\n"
        "nk=network:1:network_1\n"
        "nk=write_results:1:write_results_1\n"
        "stream_connect=read_frames_1.words:network_1.in_r\n"
        "stream_connect=network_1.out_r:write_results_1.words\n"
        "sp=read_frames_1.frames:DDR[0]\n"
        "sp=write_results_1.results:DDR[0]\n"
    )
    assert texts["u55c"].endswith("sp=read_frames_1.frames:HBM[0]\nsp=write_results_1.results:HBM[1]\n")


@pytest.mark.parametrize(("dialect", "mode"), [("vitis", "mode="), ("vitis2020", "")])
def test_the_pragmas_of_the_kernels(built, dialect: str, mode: str) -> None:
    folder = built("u250", dialect).folder
    found = [line for line in (folder / "kernels/read_frames.cpp").read_text().splitlines() if "#pragma" in line]
    assert found == [
        f"#pragma HLS interface {mode}m_axi port=frames offset=slave bundle=gmem0",
        f"#pragma HLS interface {mode}axis port=words",
        *(f"#pragma HLS interface {mode}s_axilite port={p} bundle=control" for p in ("frames", "count", "return")),
        "#pragma HLS pipeline II=1",
    ]
    assert "typedef ap_axiu<512, 0, 0, 0> axis_in_t;" in (folder / "hls/types.hpp").read_text()


MAIN = """
#include "hls/top.cpp"
#include "kernels/read_frames.cpp"
#include "kernels/write_results.cpp"
#include <fstream>
#include <iostream>
#include <sstream>
#include <vector>

// lines of bytes as they lie in memory: 64-bit words, the lowest byte first
static std::vector<ap_uint<64> > words(const char* path) {
    std::ifstream file(path);
    std::stringstream all;
    all << file.rdbuf();
    std::string digits;
    for (char c : all.str()) if (c != '\\n') digits += c;
    std::vector<ap_uint<64> > found(digits.size() / 16);
    for (size_t i = 0; i < digits.size() / 2; ++i)
        found[i / 8].range(i % 8 * 8 + 7, i % 8 * 8) = std::stoi(digits.substr(2 * i, 2), nullptr, 16);
    return found;
}

int main(int, char** argv) {
    std::vector<ap_uint<64> > frames = words(argv[1]), expected = words(argv[2]), results(expected.size());
    const int count = std::atoi(argv[3]);
    hls::stream<axis_in_t> in;
    hls::stream<axis_out_t> out;
    read_frames(frames.data(), in, count);
    for (int i = 0; i < count; ++i) network(in, out);
    write_results(out, results.data(), count);
    if (!in.empty() || !out.empty()) return 2;
    std::cout << results.size() << " words";
    return results == expected ? 0 : 1;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not on PATH")
def test_frames_through_the_three_kernels(tmp_path: Path) -> None:
    """The C++ of all three, joined as link.cfg joins them, against the known answers of the integer graph.

    On a card with narrow streams, so that a frame has four words and a result two.
    """
    card = (boards() / "u250.toml").read_text().replace("axis_bits = 512", "axis_bits = 64")
    (tmp_path / "narrow.toml").write_text(card)
    result = build(MODEL, board=str(tmp_path / "narrow.toml"), out=tmp_path / "build", csim=False)
    assert result.folder is not None
    (result.folder / "main.cpp").write_text(MAIN)
    include = ["-I", "csim/include", "-I", str(tools.ap_types())]
    command = ["g++", "-std=c++14", "-O0", "-Wno-unknown-pragmas", *include, "main.cpp", "-o", "main"]
    subprocess.run(command, cwd=result.folder, check=True, capture_output=True)
    known = ["driver/known_input.hex", "driver/known_output.hex", "20"]
    ran = subprocess.run(["./main", *known], cwd=result.folder, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "40 words")


@needs_tclsh
def test_a_clock_that_the_linker_lowered_is_an_error(vendor, built, tmp_path: Path) -> None:
    result = copied(built("u250"), tmp_path / "build")
    vendor.setenv(
        "FLOW_STUB_LINK_SAYS",
        "WARNING: [v++ 60-732] Link warning: One or more timing paths failed timing targeting 200 MHz for clk. "
        "The frequency is being automatically changed to 180.3 MHz to enable proper functionality.",
    )
    runner = runner_for(result, programs_for("xclbin"))
    with pytest.raises(SynthesisError, match=r"^link: the design is too slow for its clock:\n.*180\.3 MHz"):
        runner.run("xclbin")
    assert runner.left("xclbin") == ["link"]


@needs_tclsh
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("DDR[0]", "DDR[9]"), "the platform has no DDR[9]"),
        (("network_1.in_r", "network_1.in"), "network_1.in is not a free stream in of a kernel"),
        (("sp=write_results_1.results:DDR[0]\n", ""), "not connected: write_results_1.results"),
        (("kernel_frequency", "kernel_freq"), "unknown option 'kernel_freq'"),
        (("nk=network", "nk=net"), "there is no kernel net"),
    ],
)
def test_the_mock_linker_is_strict(vendor, built, tmp_path: Path, edit: tuple[str, str], message: str) -> None:
    result = copied(built("u250"), tmp_path / "build")
    path = result.folder / "scripts/link.cfg"
    path.write_text(path.read_text().replace(*edit))
    with pytest.raises(SynthesisError, match=r"^link failed") as caught:
        runner_for(result, programs_for("xclbin")).run("xclbin")
    assert message in str(caught.value)


def test_what_has_no_xclbin(vendor) -> None:
    with pytest.raises(OptionError, match=r"^there is no \.xclbin for pynq-z2"):
        check_target("xclbin", "pynq-z2")
    check_target("xclbin", "u55c")
    vendor.setenv("FLOW_MOCK_VERSION", "2020.1")
    vendor.setenv("FLOW_VITIS_HLS", str(MOCKS / "vivado_hls"))
    with pytest.raises(OptionError, match=r"^Vivado HLS makes no kernels"):
        programs_for("xclbin")


@pytest.mark.parametrize(
    ("board", "style", "sides"),
    [("u250", "stream", False), ("arty-a7-35t", "stream", True), ("u250", "unrolled", False)],
)
def test_every_field_of_a_word_is_set(built, board: str, style: str, sides: bool) -> None:
    """What is not set is undefined in the RTL; the words of a kernel have neither TUSER nor TID nor TDEST."""
    folder = built(board, style=style).folder
    fields = {"data", "keep", "strb", "last"} | ({"user", "id", "dest"} if sides else set())
    for file, word in (("hls/layers/05_write_output.hpp", "given"), ("tb/testbench.cpp", "word")):
        text = (folder / file).read_text()
        assert set(re.findall(rf"\b{word}\.(\w+) = ", text)) == fields, file


def test_other_boards_have_no_kernels(built) -> None:
    assert not (built("arty-a7-35t").folder / "kernels").exists()
    assert "ap_axiu<32, 1, 1, 1>" in (built("arty-a7-35t").folder / "hls/types.hpp").read_text()
