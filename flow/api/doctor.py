# SPDX-License-Identifier: Apache-2.0
"""What is installed, and what works without the rest."""

from dataclasses import dataclass

from flow.backend import tools
from flow.errors import ToolNotFoundError


@dataclass(frozen=True, slots=True)
class Finding:
    """One tool or package.

    Attributes:
        title: Its name.
        found: Whether it is there.
        where: Its path, or why it is not there.
        version: What it says of itself; None where it says nothing.
        needed_for: The step that needs it.
        install: How to get it.
        without: What works without it.
    """

    title: str
    found: bool
    where: str
    version: str | None
    needed_for: str
    install: str
    without: str


def examine() -> tuple[Finding, ...]:
    """Looks for every tool and package."""
    findings = []
    for tool in tools.ALL_TOOLS:
        try:
            path = tools.find(tool)
            where = str(path) if path is not None else f"not on PATH ({', '.join(tool.names)}), {tool.variable} not set"
        except ToolNotFoundError as error:
            path, where = None, error.message
        version = tools.version(path) if path is not None else None
        findings.append(
            Finding(tool.title, path is not None, where, version, tool.needed_for, tool.install, tool.without)
        )
    try:
        findings.append(
            Finding(
                "ap_int headers",
                True,
                str(tools.ap_types()),
                None,
                "C-simulation",
                "",
                "import, planning, emission",
            )
        )
    except ToolNotFoundError as error:
        findings.append(
            Finding(
                "ap_int headers",
                False,
                error.message,
                None,
                "C-simulation",
                error.remedy,
                "import, planning, emission",
            )
        )
    for name in tools.PACKAGES:
        version = tools.package_version(name)
        findings.append(
            Finding(
                name,
                version is not None,
                "Python package",
                version,
                "flow itself",
                f"pip install {name}",
                "nothing",
            )
        )
    return tuple(findings)
