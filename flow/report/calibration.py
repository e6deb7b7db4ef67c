# SPDX-License-Identifier: Apache-2.0
"""What a refit of the cost model found: how many blocks, and how far off it was before and is after."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from flow.plan.calibration import FITTED, Calibration
from flow.report.schema import to_json


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """A refit, and what it was made from.

    Attributes:
        result: The refit.
        tools: That placed and routed, with their versions.
        unmatched: Instances that a build should have and its report does not name, each with its build.
        written: The file of coefficients; None where none was asked for.
    """

    result: Calibration
    tools: tuple[str, ...]
    unmatched: tuple[str, ...]
    written: str | None


def calibration_to_json(report: CalibrationReport) -> dict[str, Any]:
    """The figures, without the coefficients that stayed."""
    result = report.result
    names = ("builds", "blocks", "validated", "changed", "errors", "counts", "compared")
    figures = {name: to_json(getattr(result, name)) for name in names}
    return {**figures, "tools": list(report.tools), "unmatched": list(report.unmatched), "written": report.written}


def print_calibration(report: CalibrationReport, console: Console) -> None:
    """The figures on a console."""
    result = report.result
    count = f"{result.blocks} blocks of {len(result.builds)} build{'s' if len(result.builds) > 1 else ''}"
    console.print(f"{count}, placed and routed by {', '.join(report.tools)}", markup=False)
    for line in report.unmatched:
        console.print(f"without an instance of its own, left out: {line}", markup=False)
    table = Table(title="estimate / placed and routed", title_justify="left")
    table.add_column("")
    for name in ("blocks", "SMAPE before", "after", "median ratio before", "after"):
        table.add_column(name, justify="right")
    for error in result.errors:
        amounts = (error.before[0], error.after[0], error.before[1], error.after[1])
        figures = [f"{amounts[0]:.1f} %", f"{amounts[1]:.1f} %", f"{amounts[2]:.2f}", f"{amounts[3]:.2f}"]
        table.add_row(error.resource.upper(), str(error.blocks), *figures)
    console.print(table)
    if result.validated:
        console.print("after: each build estimated by coefficients that were fitted without it")
    else:
        console.print(
            "after: the build that it was fitted to. What another build would say is unknown: give two or more"
        )
    for found in result.counts:
        console.print(
            f"{found.resource.upper()}, counted and not fitted: exact for {found.exact:.0f} % of {found.blocks} "
            f"blocks, within one for {found.within_one:.0f} %"
        )
    _print_changes(result, console)
    worse = [error.resource.upper() for error in result.errors if error.after[0] > error.before[0]]
    if worse:
        console.print(f"note: the new coefficients are worse for {' and '.join(worse)}: these builds disagree")
    if report.written is None:
        console.print("not written: --out FILE writes the coefficients, for --cost FILE")
    else:
        console.print(
            f"written to {report.written}; use it with: flow build MODEL --cost {report.written}", markup=False
        )


def _print_changes(result: Calibration, console: Console) -> None:
    table = Table(title="coefficients", title_justify="left")
    table.add_column("")
    for name in ("unit", "before", "after", "times"):
        table.add_column(name, justify="right")
    for resource in FITTED:
        for name, (old, new) in result.changed.items():
            if name.endswith(f"_{resource}"):
                table.add_row(name, result.file.units[name], f"{old:.4g}", f"{new:.4g}", f"{new / old:.2f}")
    console.print(table)
