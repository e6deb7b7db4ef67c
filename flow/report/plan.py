# SPDX-License-Identifier: Apache-2.0
"""A plan, and the trade-off between many, as tables, as a picture and as JSON."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flow.emit.hls import Names
from flow.errors import OptionError, OutputError
from flow.plan.board import Board
from flow.plan.design import Design
from flow.plan.estimate import DesignResources
from flow.plan.folding import Folding
from flow.plan.goals import cost, share_of_board
from flow.plan.pareto import Point
from flow.plan.pipeline import pace
from flow.plan.processes import LayerProcess, layer_cycles
from flow.plan.resources import Resources
from flow.plan.timing import ASSUMPTION, Timing

_COLUMNS = ("lut", "ff", "dsp", "bram18", "uram")
_PICTURES = (".png", ".svg")


@dataclass(frozen=True)
class PlanResult:
    """A plan.

    Attributes:
        file: The model's name.
        board: Where it shall run.
        folding: The plan, and what is known of its quality.
        design: What it means.
        names: Of its processes.
        resources: What it takes, estimated.
        timing: What the event model says of it.
        seconds: What the planning took, without the import.
    """

    file: str
    board: Board
    folding: Folding
    design: Design
    names: Names
    resources: DesignResources
    timing: Timing
    seconds: float

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.design.plan.clock_mhz * 1e6 / self.timing.interval


def print_plan_result(result: PlanResult, console: Console) -> None:
    """The plan as tables."""
    board, design, clock = result.board, result.design, result.design.plan.clock_mhz
    console.print(f"[bold]{escape(result.file)}[/bold] on {board.title} ({board.part}) at {clock:g} MHz")
    console.print(_layers(result))
    console.print(_totals(result))
    slowest = [
        name
        for name, process in zip(result.names.identifiers, design.processes, strict=True)
        if pace(process) == design.interval
    ]
    console.print(
        f"a frame every {result.timing.interval:,} cycles, {result.fps:,.0f} frames/s; slowest: {', '.join(slowest)}",
        markup=False,
    )
    console.print(
        f"latency {result.timing.latency:,} cycles ({result.timing.latency / clock:,.2f} us); {ASSUMPTION}",
        markup=False,
    )
    used = share_of_board(cost(result.resources.total, board))
    console.print(f"cost: {used:.3f} (the sum of the shares of the board); all figures are estimated", markup=False)
    console.print(f"{result.folding.optimality}; planned in {result.seconds:.1f} s", markup=False)


def _columns(board: Board) -> list[str]:
    """The resources that the board has."""
    return [name for name in _COLUMNS if getattr(board.resources, name)]


def _amounts(resources: Resources, board: Board) -> list[str]:
    return [f"{getattr(resources, name):,}" for name in _columns(board)]


def _table(title: str, texts: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _layers(result: PlanResult) -> Table:
    numbers = ["PE", "SIMD", "cycles", *(name.upper() for name in _columns(result.board))]
    table = _table("Layers", ("layer", "kind", "weights in", "multiplier", "step function"), numbers)
    for name, process, amounts in zip(
        result.names.identifiers, result.design.processes, result.resources.processes, strict=True
    ):
        if not isinstance(process, LayerProcess):
            continue
        layer, plan = process.layer, process.plan
        table.add_row(
            escape(name),
            layer.kind,
            plan.weight_memory if layer.product is not None else "-",
            plan.multiplier if layer.product is not None or plan.form == "multiply_shift" else "-",
            plan.form if layer.step is not None else "-",
            str(plan.pe),
            str(plan.simd),
            f"{layer_cycles(layer, plan):,}",
            *_amounts(amounts, result.board),
        )
    return table


def _totals(result: PlanResult) -> Table:
    board = result.board
    table = _table("Resources", ("part",), [name.upper() for name in _columns(board)])
    for name, part in result.resources.parts.items():
        table.add_row(name, *_amounts(part, board))
    total = result.resources.total
    table.add_row("total", *_amounts(total, board))
    table.add_row("board", *_amounts(board.resources, board))
    shares = [getattr(total, name) / getattr(board.resources, name) for name in _columns(board)]
    table.add_row("share", *(f"{share:.1%}" for share in shares))
    return table


def plan_to_json(result: PlanResult) -> dict[str, Any]:
    """The plan as what ``json`` writes."""
    return {
        "model": result.file,
        "board": result.board.name,
        "clock_mhz": result.design.plan.clock_mhz,
        "interval": result.timing.interval,
        "fps": result.fps,
        "latency": result.timing.latency,
        "total": dict(result.resources.total.items()),
        "parts": {name: dict(part.items()) for name, part in result.resources.parts.items()},
        "budget": dict(result.board.resources.items()),
        "cost": share_of_board(cost(result.resources.total, result.board)),
        "optimal": result.folding.optimal,
        "optimality": result.folding.optimality,
        "layers": [
            {
                "identifier": name,
                **asdict(process.plan),
                "cycles": layer_cycles(process.layer, process.plan),
                "resources": dict(amounts.items()),
            }
            for name, process, amounts in zip(
                result.names.identifiers, result.design.processes, result.resources.processes, strict=True
            )
            if isinstance(process, LayerProcess)
        ],
    }


def print_points(points: Sequence[Point], board: Board, console: Console) -> None:
    """The trade-off as a table."""
    numbers = ["cycles", "frames/s", *(name.upper() for name in _columns(board)), "cost", "at least"]
    table = _table(f"The cheapest designs on {board.title} (estimated)", ("",), numbers)
    for point in points:
        table.add_row(
            "optimal" if point.optimal else "",
            f"{point.interval:,}",
            f"{point.fps:,.0f}",
            *_amounts(point.resources, board),
            f"{point.cost:.3f}",
            f"{point.least:.3f}",
        )
    console.print(table)
    console.print("cost: the sum of the shares of the board; at least: what every design that is so fast costs")


def check_picture(path: Path) -> None:
    """Whether a trade-off can be drawn into a file, before the work begins.

    Raises:
        OptionError: matplotlib is missing, or the file is no picture.
        OutputError: There is no such folder.
    """
    if path.suffix not in _PICTURES:
        raise OptionError(f"{path} is no picture that can be drawn", f"name a file that ends in {', '.join(_PICTURES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise OptionError("matplotlib, which draws pictures, is not installed", "pip install 'flow-fpga[plot]'")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no such folder", "name another file")


def plot_points(points: Sequence[Point], board: Board, title: str, path: Path) -> None:
    """The trade-off as a picture: for each frame rate the share of each resource; see ``check_picture``.

    Raises:
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rates = [point.fps for point in points]
    for name in _columns(board):
        shares = [100 * getattr(point.resources, name) / getattr(board.resources, name) for point in points]
        axes.step(rates, shares, where="post", marker="o", markersize=4, label=name.upper())
    axes.set(xscale="log", xlabel="frames/s", ylabel=f"% of {board.title}", title=f"{title}: the cheapest designs")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    try:
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}", "name another file") from error
