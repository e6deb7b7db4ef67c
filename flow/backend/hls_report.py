# SPDX-License-Identifier: Apache-2.0
"""Reports of high-level synthesis: ``*_csynth.xml`` and ``*_csynth.rpt`` of Vivado HLS and Vitis HLS.

The form was read in public reports of Vivado HLS 2018.3, 2019.1, 2019.2, 2020.1 and Vitis HLS 2021.1, 2022.2, 2024.1.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from flow.errors import ReportError

_RESOURCES = {
    "BRAM_18K": "bram18",
    "DSP": "dsp",
    "DSP48E": "dsp",  # Vivado HLS
    "DSP48": "dsp",
    "FF": "ff",
    "LUT": "lut",
    "URAM": "uram",
}


@dataclass(frozen=True, slots=True)
class HlsReport:
    """What synthesis says of one function; None where it does not say it.

    Attributes:
        version: Of the tool, such as ``2023.2``.
        top: The function.
        clock_ns: The period that was asked for.
        estimated_ns: The period that it expects.
        latency: Cycles at the least and at the most.
        interval: Cycles from call to call, at the least and at the most.
        resources: Its estimate, by the names of flow.plan.resources.
        available: What the device has.
    """

    version: str
    top: str
    clock_ns: float | None
    estimated_ns: float | None
    latency: tuple[int | None, int | None]
    interval: tuple[int | None, int | None]
    resources: Mapping[str, int | None]
    available: Mapping[str, int | None]


def read_xml(text: str, name: str) -> HlsReport:
    """Reads ``*_csynth.xml``.

    Args:
        text: Its content.
        name: What to call it in a message.

    Raises:
        ReportError: It is not of a known form.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ReportError(f"{name} is not XML ({error})", "was the tool stopped while it wrote it?") from error
    areas = root.find("AreaEstimates/Resources")
    top = root.findtext("UserAssignments/TopModelName")
    version = root.findtext("ReportVersion/Version")
    if root.tag != "profile" or areas is None or not top or not version:
        raise _unknown(name, "profile with ReportVersion, UserAssignments and AreaEstimates")

    def number(path: str) -> int | None:
        return _count(root.findtext(path))

    latency = "PerformanceEstimates/SummaryOfOverallLatency"
    return HlsReport(
        version=version.strip(),
        top=top.strip(),
        clock_ns=_real(root.findtext("UserAssignments/TargetClockPeriod")),
        estimated_ns=_real(root.findtext("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod")),
        latency=(number(f"{latency}/Best-caseLatency"), number(f"{latency}/Worst-caseLatency")),
        interval=(number(f"{latency}/Interval-min"), number(f"{latency}/Interval-max")),
        resources=_amounts({element.tag: element.text for element in areas}),
        available=_amounts({e.tag: e.text for e in root.findall("AreaEstimates/AvailableResources/*")}),
    )


def read_rpt(text: str, name: str) -> HlsReport:
    """Reads ``*_csynth.rpt``, which says the same for people.

    Args:
        text: Its content.
        name: What to call it in a message.

    Raises:
        ReportError: It is not of a known form.
    """
    title = re.search(r"^== (?:Vivado|Vitis) HLS Report for '(.+)'$", text, re.MULTILINE)
    version = re.search(r"^\* Version: +(\d{4}\.\d(?:\.\d)?)", text, re.MULTILINE)
    timing = re.search(r"^ *\|ap_clk *\|([^|]*)\|([^|]*)\|", text, re.MULTILINE)
    if title is None or version is None or timing is None:
        raise _unknown(name, "a 'HLS Report for' with version and clock")
    cycles = list(_rows(text, "+ Latency:", 6))
    tables = list(_named_rows(text, "== Utilization Estimates"))
    if not cycles or not tables:
        raise _unknown(name, "tables of latency and utilization")
    least, most = cycles[-1][:2]
    soonest, latest = cycles[-1][4:6]
    header = tables[0][1:]
    rows = {row[0]: dict(zip(header, row[1:], strict=True)) for row in tables[1:] if len(row) == len(header) + 1}
    if "Total" not in rows:
        raise _unknown(name, "a row 'Total' of resources")
    return HlsReport(
        version=version[1],
        top=title[1],
        clock_ns=_real(timing[1].replace("ns", "")),
        estimated_ns=_real(timing[2].replace("ns", "")),
        latency=(_count(least), _count(most)),
        interval=(_count(soonest), _count(latest)),
        resources=_amounts(rows["Total"]),
        available=_amounts(rows.get("Available", {})),
    )


def _rows(text: str, behind: str, at_least: int) -> Iterator[list[str]]:
    """The cells of the rows of the first table behind a heading."""
    started = False
    for line in text.partition(behind)[2].splitlines():
        if line.strip().startswith("|"):
            started = True
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) >= at_least:
                yield cells
        elif started and not line.strip().startswith("+"):
            return


def _named_rows(text: str, behind: str) -> Iterator[list[str]]:
    yield from _rows(text, behind, 4)


def _amounts(found: Mapping[str, str | None]) -> Mapping[str, int | None]:
    amounts: dict[str, int | None] = dict.fromkeys(dict.fromkeys(_RESOURCES.values()))
    for key, value in found.items():
        if key in _RESOURCES:
            amounts[_RESOURCES[key]] = _count(value)
    return amounts


def _count(text: str | None) -> int | None:
    """A whole number; the tools write ``undef``, ``?`` or ``-`` where they know none."""
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"\d+", text) else None


def _real(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None


def _unknown(name: str, expected: str) -> ReportError:
    return ReportError(
        f"{name} has a form that is not known: expected {expected}",
        "please report it with the file and the version of the tool",
    )
