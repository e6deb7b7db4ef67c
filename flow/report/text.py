# SPDX-License-Identifier: Apache-2.0
"""The report as text: tables for a terminal."""

from collections.abc import Iterable
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flow.report.schema import BuildReport, Estimated, Figure, Measured


def render_text(report: BuildReport, *, width: int = 150) -> str:
    """The whole report, without colours."""
    out = Console(file=StringIO(), width=width, no_color=True, highlight=False, legacy_windows=False)
    print_report(report, out)
    file = out.file
    assert isinstance(file, StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def print_report(report: BuildReport, console: Console) -> None:
    """The whole report on a console."""
    console.print(
        f"[bold]{escape(report.model['file'])}[/bold] on {report.board['title']} ({report.board['part']}) "
        f"at {report.clock_mhz:g} MHz, {report.style} style"
    )
    console.print(_layers(report))
    if report.streams:
        console.print(_streams(report))
    for layer in report.layers:
        if layer.packing is not None:
            console.print(f"packing of {layer.identifier}: {layer.packing}", markup=False)
        if layer.adders is not None:
            console.print(f"adders of {layer.identifier}: {layer.adders}", markup=False)
    console.print(_totals(report))
    latency = f"{_figure(report.latency)} cycles"
    if report.latency is not None:
        latency += f" ({report.latency.value / report.clock_mhz:.2f} us)"
    known = ", ".join(filter(None, (_known([report.interval, report.latency]), _error(report.latency))))
    console.print(
        f"a frame every {_figure(report.interval)} cycles, {_figure(report.fps)} frames/s, latency {latency}; {known}"
    )
    if isinstance(report.energy, Estimated) and report.energy.low is not None and report.energy.high is not None:
        low, high = (joules * 1e6 for joules in (report.energy.low, report.energy.high))
        console.print(f"energy: {low:,.3g} to {high:,.3g} uJ a frame ({report.energy.error})", markup=False)
    console.print(f"plan: {report.optimality}; binding resource: {report.binding.upper()}")
    console.print(f"host: {report.host_input}; {report.host_output}", markup=False)
    console.print(_checks(report))
    for check in report.checks:
        for line in check.detail:
            console.print(f"  {line}", markup=False)
    if report.accuracy is not None:
        console.print(f"accuracy of the hardware's integers on the labels: {report.accuracy:.2%}")


def _layers(report: BuildReport) -> Table:
    resources = _known([figure for layer in report.layers for figure in layer.resources.values()])
    table = Table(title=f"Layers (resources are {resources})", title_justify="left")
    for name in ("layer", "shape", "w", "in", "acc", "out", "PE", "SIMD", "memory", "step function"):
        table.add_column(name)
    for name in ("cycles", "LUT", "FF", "DSP", "BRAM18"):
        table.add_column(name, justify="right")
    for layer in report.layers:
        table.add_row(
            escape(layer.identifier),
            layer.shape,
            layer.bits.get("weight", "-"),
            layer.bits["input"],
            layer.bits.get("accumulator", "-"),
            layer.bits["output"],
            str(layer.pe),
            str(layer.simd),
            layer.weight_memory if "weight" in layer.bits else "-",
            layer.certificate or "-",
            _figure(layer.cycles),
            *(_figure_and_range(layer.resources[n]) for n in ("lut", "ff", "dsp", "bram18")),
        )
    return table


def _streams(report: BuildReport) -> Table:
    known = _known([stream.occupancy for stream in report.streams])
    table = Table(title=f"Streams (words at most: {known} by the event model)", title_justify="left")
    for name in ("stream", "read by"):
        table.add_column(name)
    for name in ("words", "bits", "depth", "at most", "LUT", "BRAM18"):
        table.add_column(name, justify="right")
    table.add_column("depth is")
    for stream in report.streams:
        table.add_row(
            escape(stream.name),
            escape(stream.reader),
            f"{stream.words:,}",
            f"{stream.bits:,}",
            f"{stream.depth:,}",
            _figure(stream.occupancy),
            *(_figure(stream.resources[n]) for n in ("lut", "bram18")),
            stream.chosen,
        )
    return table


def _totals(report: BuildReport) -> Table:
    table = Table(title=f"Resources of the design ({_known(report.total.values())})", title_justify="left")
    table.add_column("resource")
    for name in (*report.parts, "total", "between", "board", "share"):
        table.add_column(name, justify="right")
    table.add_column("error of the estimate")
    for name, figure in report.total.items():
        budget = report.budget[name]
        if not budget and figure is not None and not figure.value:
            continue
        table.add_row(
            name.upper(),
            *(f"{part[name]:,}" for part in report.parts.values()),
            _figure(figure),
            _range(figure),
            f"{budget:,}",
            f"{figure.value / budget:.1%}" if budget and figure is not None else "-",
            _error(figure),
        )
    return table


def _checks(report: BuildReport) -> Table:
    table = Table(title="Checks (at tolerance zero)", title_justify="left")
    for name in ("what", "on", "compared", "differences", ""):
        table.add_column(name, justify="right" if name in ("compared", "differences") else "left")
    for check in report.checks:
        differences = f"{check.differences:,}"
        if check.near_ties:
            differences += f" (+ {check.near_ties:,} proved near-ties)"
        table.add_row(check.name, check.inputs, f"{check.compared:,}", differences, "exact" if check.held else "FAILED")
    return table


def _known(figures: Iterable[Figure]) -> str:
    """How the figures are known: by estimate, or by which tools."""
    kinds = {
        "estimated" if isinstance(figure, Estimated) else f"measured by {figure.tool} {figure.version}"
        for figure in figures
        if isinstance(figure, Estimated | Measured)
    }
    return ", ".join(sorted(kinds)) or "unknown"


def _figure(figure: Figure) -> str:
    if figure is None:
        return "unknown"
    return f"{figure.value:,.0f}"


def _range(figure: Figure) -> str:
    if not isinstance(figure, Estimated) or figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:,.0f} to {figure.high:,.0f}"


def _figure_and_range(figure: Figure) -> str:
    return "\n".join(filter(None, (_figure(figure), _range(figure))))


def _error(figure: Figure) -> str:
    return getattr(figure, "error", None) or ""
