# SPDX-License-Identifier: Apache-2.0
"""A run in pictures: loss, accuracy, the widths of the layers over time, and accuracy against cost."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flow.errors import OutputError

Rows = Sequence[Mapping[str, float]]
Table = Sequence[Mapping[str, Any]]

_COSTS = ("cost:lut", "cost:bit_operations", "cost:effective_bit_operations", "cost:weight_bits", "average_bits")
"""What accuracy is drawn against: the first of these that a run has counted."""
_LABELS = {
    "average_bits": "bits a weight",
    "test_accuracy": "held-out accuracy (%)",
    "train_accuracy": "training accuracy (%)",
    "test_error": "held-out mean squared error",
}
_STYLES = ("-", "--", ":", "-.")  # with ten colours, forty layers that can be told apart


def draw(rows: Rows, folder: Path) -> tuple[Path, ...]:
    """Draws the metrics of a run as loss.png, score.png, bits.png and cost.png; nothing without matplotlib.

    Args:
        rows: The lines of metrics.csv.
        folder: Where the pictures go.

    Returns:
        The pictures.

    Raises:
        OutputError: One cannot be written.
    """
    return _drawn({"loss": _loss, "score": _score, "bits": _bits, "cost": _cost}, rows, folder)


def draw_sensitivity(table: Table, folder: Path) -> tuple[Path, ...]:
    """Draws what a network loses at each width of each layer as sensitivity.png; nothing without matplotlib.

    Args:
        table: The lines of sensitivity.csv.
        folder: Where the picture goes.

    Returns:
        The picture.

    Raises:
        OutputError: It cannot be written.
    """
    return _drawn({"sensitivity": _sensitivity}, table, folder)


def _drawn(pictures: Mapping[str, Callable[[Any, Any], None]], held: Table, folder: Path) -> tuple[Path, ...]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ()
    drawn = []
    for name, fill in pictures.items():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        fill(axes, held)
        axes.grid(alpha=0.3)
        drawn.append(folder / f"{name}.png")
        try:
            figure.savefig(drawn[-1], dpi=120)
        except OSError as error:
            raise OutputError(f"{drawn[-1]} cannot be written: {error.strerror}", "name another folder") from error
    return tuple(drawn)


def _loss(axes: Any, rows: Rows) -> None:
    axes.plot(_column(rows, "epoch"), _column(rows, "loss"))
    axes.set(xlabel="epoch", ylabel="loss, with penalties", ylim=(0, None))


def _score(axes: Any, rows: Rows) -> None:
    for name in ("train_accuracy", "test_accuracy", "test_error"):
        if name in rows[0]:
            axes.plot(_column(rows, "epoch"), _shown(rows, name), label=_LABELS[name])
    axes.set(xlabel="epoch")
    axes.legend()


def _bits(axes: Any, rows: Rows) -> None:
    layers = [name for name in rows[0] if name.startswith("bits:")]
    for number, name in enumerate(layers):
        style = _STYLES[number // 10 % len(_STYLES)]
        axes.plot(_column(rows, "epoch"), _column(rows, name), style, label=name.removeprefix("bits:"))
    axes.plot(_column(rows, "epoch"), _column(rows, "average_bits"), "k", linewidth=2, label="average, whole bits")
    axes.set(xlabel="epoch", ylabel="bits of the weights of a layer", ylim=(0, None))
    axes.legend(fontsize="small", ncols=1 + len(layers) // 10)


def _cost(axes: Any, rows: Rows) -> None:
    cost = next(name for name in _COSTS if name in rows[0])
    score = "test_accuracy" if "test_accuracy" in rows[0] else "test_error"
    epochs = _column(rows, "epoch")
    axes.plot(_column(rows, cost), _shown(rows, score), color="0.8", zorder=0)
    points = axes.scatter(_column(rows, cost), _shown(rows, score), c=epochs, s=18)
    axes.figure.colorbar(points, label="epoch")
    what = cost.removeprefix("cost:").replace("_", " ")
    axes.set(xlabel=_LABELS.get(cost, "LUTs, planned" if what == "lut" else what), ylabel=_LABELS[score])


def _sensitivity(axes: Any, table: Table) -> None:
    """A line for each layer among the others as they were found; dotted with the others at their highest width."""
    layers = list(dict.fromkeys(row["layer"] for row in table))
    for number, layer in enumerate(layers):
        own = [row for row in table if row["layer"] == layer]
        for column, style in (("among", "-"), ("alone", ":")):
            label = layer if column == "among" else None
            axes.plot(_column(own, "bits"), _column(own, column), f"C{number % 10}{style}", marker=".", label=label)
    axes.set(xlabel="bits of the weights of a layer", ylabel="what the network loses (dotted: by it alone)")
    axes.legend(fontsize="small", ncols=1 + len(layers) // 10)


def _column(rows: Rows, name: str) -> list[float]:
    return [row[name] for row in rows]


def _shown(rows: Rows, name: str) -> list[float]:
    """Accuracies in per cent."""
    return [100 * value if name.endswith("accuracy") else value for value in _column(rows, name)]
