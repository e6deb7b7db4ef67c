# SPDX-License-Identifier: Apache-2.0
"""Reports of Vivado: utilization, by hierarchy too, timing summary, power.

The form was read in public reports of Vivado 2018.2 to 2024.1 (7 series and UltraScale+). The columns are found by
their titles: 2021.2 added ``Prohibited``, and UltraScale+ says ``CLB LUTs`` for ``Slice LUTs``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flow.errors import ReportError

Amounts = Mapping[str, int | None]
_SITES = {
    "Slice LUTs": "lut",
    "CLB LUTs": "lut",
    "Slice Registers": "ff",
    "CLB Registers": "ff",
    "DSPs": "dsp",
    "Block RAM Tile": "bram18",
    "URAM": "uram",
}
_COLUMNS = {"Total LUTs": "lut", "FFs": "ff", "DSP Blocks": "dsp", "DSP48 Blocks": "dsp", "DSPs": "dsp", "URAM": "uram"}


_SETUP_PATH = re.compile(
    r"^Slack (?:\((?:MET|VIOLATED)\) )?: *(-?[\d.]+)ns +\(required time - arrival time\)\n"
    r" +Source: +(\S+)\n(?: .*\n)*? +Destination: +(\S+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Utilization:
    """Resources by the names of flow.plan.resources; None where the report has no such row.

    Attributes:
        version: Of Vivado.
        used: Of the design.
        available: Of the device.
    """

    version: str
    used: Amounts
    available: Amounts

    @property
    def exceeded(self) -> tuple[str, ...]:
        """What the design needs more of than the device has."""
        return tuple(
            name
            for name, amount in self.used.items()
            if amount is not None and (limit := self.available[name]) is not None and amount > limit
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """A timing summary; a slack is None where there is no path of its kind.

    Attributes:
        version: Of Vivado.
        setup_ns: Worst slack of setup.
        hold_ns: Worst slack of hold.
        failing: Endpoints that miss their setup.
        worst_from: Where the path of the worst slack begins.
        worst_to: Where it ends.
    """

    version: str
    setup_ns: float | None
    hold_ns: float | None
    failing: int | None
    worst_from: str | None
    worst_to: str | None

    @property
    def met(self) -> bool:
        return all(slack is None or slack >= 0 for slack in (self.setup_ns, self.hold_ns))


@dataclass(frozen=True, slots=True)
class Power:
    """Vivado's estimate, in watts.

    Attributes:
        version: Of Vivado.
        total: On the chip.
        dynamic: Of that, what switching takes.
        static: The rest.
        confidence: Vivado's own word for it.
    """

    version: str
    total: float | None
    dynamic: float | None
    static: float | None
    confidence: str | None


def read_utilization(text: str, name: str) -> Utilization:
    """Reads ``report_utilization``.

    Raises:
        ReportError: It is not of a known form.
    """
    version = _version(text, name)
    used: dict[str, int | None] = dict.fromkeys(dict.fromkeys(_SITES.values()))
    available = dict(used)
    header: list[str] = []
    for cells in _table_rows(text):
        if "Used" in cells:
            header = cells
            continue
        site = _SITES.get(cells[0].rstrip("*"))
        if site is None or len(cells) != len(header) or "Available" not in header or used[site] is not None:
            continue
        factor = 2 if site == "bram18" else 1  # a tile is two RAMB18
        used[site] = _times(cells[header.index("Used")], factor)
        available[site] = _times(cells[header.index("Available")], factor)
    if used["lut"] is None or used["ff"] is None:
        raise _unknown(name, "tables with the rows LUTs and Registers")
    return Utilization(version, used, available)


def read_hierarchy(text: str, name: str) -> Mapping[str, Amounts]:
    """Reads ``report_utilization -hierarchical``: the instances one level below the top, and the top itself as ``""``.

    Raises:
        ReportError: It is not of a known form.
    """
    _version(text, name)
    found: dict[str, Amounts] = {}
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        cells = line.strip().strip("|").split("|")
        titles = [cell.strip() for cell in cells]
        if titles[:2] == ["Instance", "Module"]:
            header = titles
            continue
        if len(cells) != len(header):
            continue
        depth = (len(cells[0]) - len(cells[0].lstrip()) - 1) // 2
        instance = cells[0].strip()
        if depth > 1 or instance.startswith("("):  # what is of the instance itself, without its parts
            continue
        row = dict(zip(header, titles, strict=True))
        amounts = {resource: _times(row.get(column)) for column, resource in _COLUMNS.items() if column in row}
        halves = [_times(row.get("RAMB36"), 2), _times(row.get("RAMB18"))]
        amounts["bram18"] = sum(half for half in halves if half is not None) if None not in halves else None
        found["" if depth == 0 else instance] = amounts
    if "" not in found or "lut" not in found[""]:
        raise _unknown(name, "a table 'Utilization by Hierarchy'")
    return found


def read_timing(text: str, name: str) -> Timing:
    """Reads ``report_timing_summary``.

    Raises:
        ReportError: It is not of a known form.
    """
    version = _version(text, name)
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if line.split()[:1] == ["WNS(ns)"] and "THS(ns)" in line]
    if not places or places[0] + 2 >= len(lines):
        raise _unknown(name, "a Design Timing Summary")
    values = lines[places[0] + 2].split()
    if len(values) < 8:
        raise _unknown(name, "a Design Timing Summary of at least 8 columns")
    setup, hold = _slack(values[0]), _slack(values[4])
    worst: tuple[str, ...] = min(_SETUP_PATH.findall(text), key=lambda path: float(path[0]), default=())
    return Timing(
        version=version,
        setup_ns=setup,
        hold_ns=hold,
        failing=_times(values[2]),
        worst_from=worst[1] if worst else None,
        worst_to=worst[2] if worst else None,
    )


def read_power(text: str, name: str) -> Power:
    """Reads ``report_power``.

    Raises:
        ReportError: It is not of a known form.
    """
    version = _version(text, name)
    rows = {cells[0]: cells[1] for cells in _table_rows(text) if len(cells) == 2}
    if "Total On-Chip Power (W)" not in rows:
        raise _unknown(name, "a table with the row 'Total On-Chip Power (W)'")

    def watts(title: str) -> float | None:
        found = re.match(r"\d+\.\d+", rows.get(title, ""))  # words may follow, such as (Junction temp exceeded!)
        return float(found[0]) if found else None

    return Power(
        version,
        watts("Total On-Chip Power (W)"),
        watts("Dynamic (W)"),
        watts("Device Static (W)"),
        rows.get("Confidence Level"),
    )


def _table_rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("|") and line.rstrip().endswith("|"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def _version(text: str, name: str) -> str:
    found = re.search(r"^\| Tool Version *: Vivado v\.(\d{4}\.\d(?:\.\d)?)", text, re.MULTILINE)
    if found is None:
        raise _unknown(name, "a heading with 'Tool Version : Vivado v.'")
    return found[1]


def _times(text: str | None, factor: int = 1) -> int | None:
    """A number of a table times ``factor``; a half tile of block RAM is 0.5."""
    text = (text or "").strip()
    if not re.fullmatch(r"\d+(\.5|\.0)?", text):
        return None
    return int(float(text) * factor)


def _slack(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else None  # NA where there is no path


def _unknown(name: str, expected: str) -> ReportError:
    return ReportError(
        f"{name} has a form that is not known: expected {expected}",
        "please report it with the file and the version of Vivado",
    )
