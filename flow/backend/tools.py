# SPDX-License-Identifier: Apache-2.0
"""Where tools are looked for, how to supply them, and what works without them. Only here is the environment read."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flow.backend.process import Command, run
from flow.errors import ToolFailedError, ToolNotFoundError


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a step needs.

    Attributes:
        title: For people.
        names: Names on PATH, the preferred one first.
        variable: The environment variable that may name it.
        needed_for: The step that needs it.
        install: How to get it.
        without: What works without it.
    """

    title: str
    names: tuple[str, ...]
    variable: str
    needed_for: str
    install: str
    without: str


GXX = Tool(
    "g++",
    ("g++", "c++"),
    "CXX",
    "C-simulation",
    "Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: brew install gcc",
    "import, planning, emission (flow build --no-csim)",
)
VITIS_HLS = Tool(
    "Vitis HLS",
    ("vitis-run", "vitis_hls"),
    "FLOW_VITIS_HLS",
    "synthesis of the C++ (scripts/csynth.tcl)",
    "install AMD Vitis 2020.2 or later and source its settings64.sh",
    "everything up to the C++ and its C-simulation",
)
VIVADO_HLS = Tool(
    "Vivado HLS",
    ("vivado_hls",),
    "FLOW_VIVADO_HLS",
    "synthesis of the C++ with the tools up to 2020.1",
    "install Xilinx Vivado 2019.2 or 2020.1 and source its settings64.sh",
    "everything up to the C++ and its C-simulation",
)
VIVADO = Tool(
    "Vivado",
    ("vivado",),
    "FLOW_VIVADO",
    "synthesis of the RTL, bitstreams (scripts/ooc_synth.tcl, system_build.tcl)",
    "install AMD Vivado and source its settings64.sh",
    "everything up to the C++ and its C-simulation",
)
VPP = Tool(
    "Vitis compiler",
    ("v++",),
    "FLOW_VPP",
    "linking a design for an Alveo (--synth xclbin)",
    "install AMD Vitis 2020.2 or later with the platform of the card, and source its settings64.sh",
    "everything up to out-of-context implementation (--synth ooc)",
)
SSH = Tool(
    "OpenSSH",
    ("ssh",),
    "FLOW_SSH",
    "boards in the network (flow deploy)",
    "Debian, Ubuntu: apt-get install openssh-client; Fedora: dnf install openssh-clients",
    "everything else; a package can be copied by hand",
)
ALL_TOOLS = (GXX, VITIS_HLS, VIVADO_HLS, VIVADO, VPP, SSH)

PACKAGES = ("flow-fpga", "hls4ml", "jinja2", "numpy", "onnx", "onnxruntime", "qonnx")


def find(tool: Tool) -> Path | None:
    """Where the tool is; None where it is not.

    Raises:
        ToolNotFoundError: The variable that shall name it points nowhere.
    """
    named = os.environ.get(tool.variable)
    if named:
        found = shutil.which(named)
        if found is None:
            raise ToolNotFoundError(
                f"{tool.variable}={named} does not name a program",
                f"unset {tool.variable}, or let it name {tool.title}",
            )
        return Path(found)
    for name in tool.names:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    return None


def require(tool: Tool) -> Path:
    """Where the tool is.

    Raises:
        ToolNotFoundError: It is not there: where it was looked for, how to get it, and what works without.
    """
    found = find(tool)
    if found is None:
        raise ToolNotFoundError(
            f"{tool.title} is needed for {tool.needed_for} and was not found: looked for "
            f"{' and '.join(tool.names)} on PATH; {tool.variable} is not set",
            f"{tool.install}. Without it works: {tool.without}",
        )
    return found


def version(path: Path) -> str | None:
    """What a tool says of its version; None if it says nothing that looks like one."""
    flag = "-version" if path.name.startswith(("viv", "vitis_")) else "-V" if path.name == "ssh" else "--version"
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = run(Command([str(path), flag], Path(folder) / "version.log", Path(folder)))
        except (ToolFailedError, OSError):
            return None
    match = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return match[0] if match else None


def package_version(name: str) -> str | None:
    """The version of an installed Python package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def ap_types() -> Path:
    """The folder of the open ap_int headers, inside the hls4ml wheel (found on disk, never imported).

    Raises:
        ToolNotFoundError: hls4ml is not installed.
    """
    named = os.environ.get("FLOW_AP_TYPES")
    if named:
        folder = Path(named)
        if not (folder / "ap_int.h").is_file():
            raise ToolNotFoundError(
                f"FLOW_AP_TYPES={named} holds no ap_int.h",
                "unset it, or let it name a folder of ap_types headers",
            )
        return folder
    spec = importlib.util.find_spec("hls4ml")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").is_file():
            return folder
    raise ToolNotFoundError(
        "the open ap_int headers are needed for C-simulation and were not found (package hls4ml)",
        "pip install hls4ml==1.3.0, or let FLOW_AP_TYPES name a folder that holds ap_int.h",
    )
