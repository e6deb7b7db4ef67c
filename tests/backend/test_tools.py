# SPDX-License-Identifier: Apache-2.0
"""Where tools are looked for, and what is said where they are not."""

import stat

import pytest

from flow.backend import tools
from flow.errors import ToolNotFoundError


def program(path, text="#!/bin/sh\necho 'tool 1.2.3 (build 9)'\n"):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def empty_path(tmp_path, monkeypatch):
    """A PATH with one empty folder, and no variable that names a tool."""
    for tool in tools.ALL_TOOLS:
        monkeypatch.delenv(tool.variable, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize("tool", tools.ALL_TOOLS, ids=lambda tool: tool.title)
def test_tool_is_found_by_every_name(empty_path, tool):
    assert tools.find(tool) is None
    for name in reversed(tool.names):  # the preferred one last: it wins as soon as it is there
        path = program(empty_path / name)
        assert tools.find(tool) == tools.require(tool) == path


@pytest.mark.parametrize("tool", tools.ALL_TOOLS, ids=lambda tool: tool.title)
def test_tool_that_is_not_there(empty_path, tool):
    with pytest.raises(ToolNotFoundError) as caught:
        tools.require(tool)
    assert caught.value.message == (
        f"{tool.title} is needed for {tool.needed_for} and was not found: looked for "
        f"{' and '.join(tool.names)} on PATH; {tool.variable} is not set"
    )
    assert caught.value.remedy == f"{tool.install}. Without it works: {tool.without}"


@pytest.mark.parametrize("tool", tools.ALL_TOOLS, ids=lambda tool: tool.title)
def test_variable_goes_before_path(empty_path, tmp_path, monkeypatch, tool):
    program(empty_path / tool.names[0])
    mine = program(tmp_path / "mine")
    monkeypatch.setenv(tool.variable, str(mine))
    assert tools.find(tool) == mine


@pytest.mark.parametrize("tool", tools.ALL_TOOLS, ids=lambda tool: tool.title)
def test_variable_that_points_nowhere(empty_path, monkeypatch, tool):
    """It is an error even where PATH has the tool: the user asked for another."""
    program(empty_path / tool.names[0])
    monkeypatch.setenv(tool.variable, "/nowhere/tool")
    with pytest.raises(ToolNotFoundError) as caught:
        tools.find(tool)
    assert caught.value.message == f"{tool.variable}=/nowhere/tool does not name a program"
    assert caught.value.remedy == f"unset {tool.variable}, or let it name {tool.title}"


def test_version(tmp_path):
    assert tools.version(program(tmp_path / "tool")) == "1.2.3"
    assert tools.version(program(tmp_path / "dumb", "#!/bin/sh\necho hello\n")) is None
    assert tools.version(program(tmp_path / "fails", "#!/bin/sh\nexit 1\n")) is None
    assert tools.version(tmp_path / "missing") is None


def test_version_of_a_tool_from_xilinx(tmp_path):
    text = '#!/bin/sh\n[ "$1" = -version ] && echo "Vivado v2023.2 (64-bit)"\n'
    assert tools.version(program(tmp_path / "vivado", text)) == "2023.2"
    assert tools.version(program(tmp_path / "vitis_hls", text)) == "2023.2"


def test_package_version():
    assert tools.package_version("qonnx") == "1.0.0"
    assert tools.package_version("no-such-package-of-flow") is None


def test_headers_are_found_in_hls4ml(monkeypatch):
    monkeypatch.delenv("FLOW_AP_TYPES", raising=False)
    assert (tools.ap_types() / "ap_int.h").is_file()


def test_headers_that_the_user_names(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOW_AP_TYPES", str(tmp_path))
    with pytest.raises(ToolNotFoundError) as caught:
        tools.ap_types()
    assert caught.value.message == f"FLOW_AP_TYPES={tmp_path} holds no ap_int.h"
    assert caught.value.remedy == "unset it, or let it name a folder of ap_types headers"
    (tmp_path / "ap_int.h").touch()
    assert tools.ap_types() == tmp_path


def test_headers_that_are_not_there(monkeypatch):
    monkeypatch.delenv("FLOW_AP_TYPES", raising=False)
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolNotFoundError) as caught:
        tools.ap_types()
    assert "(package hls4ml)" in caught.value.message
    assert caught.value.remedy == ("pip install hls4ml==1.3.0, or let FLOW_AP_TYPES name a folder that holds ap_int.h")
