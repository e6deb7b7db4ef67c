# SPDX-License-Identifier: Apache-2.0
"""What the vendor's tools found, beside the estimates: by layer and resource, with the ratios."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.table import Table

from flow.report.schema import Estimated, Figure, Measured


@dataclass(frozen=True, slots=True)
class Row:
    """One amount at three levels.

    Attributes:
        layer: The function, or ``design`` for all of them, without the shell.
        what: ``cycles`` or a resource.
        estimated: By flow.
        csynth: By high-level synthesis, which estimates too.
        implemented: After placement and routing.
    """

    layer: str
    what: str
    estimated: Figure
    csynth: Figure
    implemented: Figure


@dataclass(frozen=True, slots=True)
class SynthesisReport:
    """What came out of the vendor's tools.

    Attributes:
        target: ``csynth``, ``ooc``, ``bitstream`` or ``xclbin``.
        tools: Name and version of each that ran.
        rows: By layer, then the design.
        clock_ns: The period that was asked for.
        setup_slack_ns: At that clock, after routing; None before.
        hold_slack_ns: Likewise.
        worst_path: From where to where; None before routing.
        power_w: Vivado's estimate on the chip, of the accelerator or the system; None before routing.
        power_confidence: Vivado's word for it.
        bitstream: The file, from the build directory; None for other targets.
    """

    target: str
    tools: Mapping[str, str]
    rows: tuple[Row, ...]
    clock_ns: float
    setup_slack_ns: Measured | None
    hold_slack_ns: Measured | None
    worst_path: str | None
    power_w: Measured | None
    power_confidence: str | None
    bitstream: str | None


def ratio(a: Figure, b: Figure) -> float | None:
    """How many times ``b`` goes into ``a``; None where one is unknown or ``b`` is 0."""
    return a.value / b.value if a is not None and b is not None and b.value else None


def render_synthesis(report: SynthesisReport, *, width: int = 150) -> str:
    """The report without colours."""
    out = Console(file=StringIO(), width=width, no_color=True, highlight=False, legacy_windows=False)
    print_synthesis(report, out)
    assert isinstance(out.file, StringIO)
    return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines()) + "\n"


def print_synthesis(report: SynthesisReport, console: Console) -> None:
    """The report on a console."""
    tools = ", ".join(f"{name} {version}" for name, version in report.tools.items())
    table = Table(title=f"Estimate and synthesis ({tools})", title_justify="left")
    for name in ("layer", "what"):
        table.add_column(name)
    for name in ("estimated", "csynth", "csynth / estimated", "implemented", "implemented / estimated"):
        table.add_column(name, justify="right")
    previous = ""
    for row in report.rows:
        amounts = (row.estimated, row.csynth, row.implemented)
        if not any(amount is not None and amount.value for amount in amounts):
            continue
        table.add_row(
            row.layer if row.layer != previous else "",
            row.what,
            _amount(row.estimated),
            _amount(row.csynth),
            _times(ratio(row.csynth, row.estimated)),
            _amount(row.implemented),
            _times(ratio(row.implemented, row.estimated)),
        )
        previous = row.layer
    console.print(table)
    if report.setup_slack_ns is not None:
        slack = report.setup_slack_ns.value
        console.print(
            f"clock {report.clock_ns:g} ns: setup slack {slack:g} ns, so up to "
            f"{1000 / (report.clock_ns - slack):.1f} MHz; worst path {report.worst_path or 'unknown'}",
            markup=False,
        )
    if report.power_w is not None:
        console.print(
            f"power on the chip: {report.power_w.value:g} W by Vivado's estimate, "
            f"confidence {(report.power_confidence or 'unknown').lower()}"
        )
    if report.bitstream is not None:
        console.print(f"bitstream: {report.bitstream}", markup=False)


def _amount(figure: Estimated | Measured | None) -> str:
    return "unknown" if figure is None else f"{figure.value:,.0f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
