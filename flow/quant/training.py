# SPDX-License-Identifier: Apache-2.0
"""``flow train``: a recipe becomes a run folder with a trained, exported network.

A run is a function of the recipe: everything random follows from the seed and the number of the step. So a run that
was killed goes on from its last checkpoint as if nothing had happened.
"""

import csv
import io
import json
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flow.errors import OptionError, OutputError, TrainingError
from flow.quant import data, models
from flow.quant.budget import Budget
from flow.quant.layers import average_bits, load_state, state_of
from flow.quant.methods import METHODS, Method, Task
from flow.quant.plots import draw, draw_sensitivity
from flow.quant.qonnx import export
from flow.quant.recipe import Recipe, read_recipe
from flow.quant.start import read_weights, take_over

CHECKED_FRAMES = 16
"""Of the held-out data, on which the exported file is compared with torch."""
_AT_ONCE = 500
Row = dict[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        folder: Of the run.
        finished: False where it was interrupted; the same command goes on with it.
        step: The last step of the optimiser.
        score: Accuracy on the held-out data, from 0 to 1; the mean squared error where frames are rebuilt.
        average_bits: Of a weight.
        model: The exported file; None where the run is not finished.
        pictures: Of the run; none where it is not finished, or matplotlib is not installed.
    """

    folder: Path
    finished: bool
    step: int
    score: float
    average_bits: float
    model: Path | None
    pictures: tuple[Path, ...] = ()


@dataclass
class _Run:
    """What training changes, beside the model."""

    model: nn.Module
    method: Method
    budget: Budget | None
    optimiser: Any
    rates: list[float]
    step: int
    total: float
    right: int
    seen: int
    rows: list[Row]

    def save(self, path: Path) -> None:
        """Writes a checkpoint whole or not at all."""
        begun = path.with_suffix(".new")
        progress: dict[str, Any] = {
            "step": self.step,
            "total": self.total,
            "right": self.right,
            "seen": self.seen,
            "rows": self.rows,
        }
        if self.budget is not None:
            progress["budget"] = self.budget.state()
        torch.save({"model": state_of(self.model), "optimiser": self.optimiser.state_dict(), **progress}, begun)
        begun.replace(path)

    def load(self, path: Path, device: torch.device) -> None:
        found = torch.load(path, map_location=device, weights_only=True)
        load_state(self.model, found.pop("model"))
        self.optimiser.load_state_dict(found.pop("optimiser"))
        if self.budget is not None:
            self.budget.load(found.pop("budget"))
        for name, value in found.items():
            setattr(self, name, value)
        if self.step:
            self.method.on_step(self.step)


def train(
    recipe: str | Path,
    out: str | Path | None = None,
    progress: Callable[[int, int, Row], None] = lambda step, steps, row: None,
) -> TrainingResult:
    """Trains by a recipe, and goes on with a run that was interrupted.

    Args:
        recipe: The TOML file.
        out: The run folder; ``runs/<name of the recipe>`` where it is left out.
        progress: Is told after each step: the step, how many there are, and the last line of the metrics.

    Returns:
        The result; not finished where the user pressed Ctrl-C.

    Raises:
        RecipeError: The recipe is wrong.
        DataError: The data is missing or wrong.
        OptionError: Model, method and data do not fit.
        TrainingError: The loss is no number any more, or the method did not reach what it promises.
        OutputError: The folder cannot be written, or holds another run.
    """
    path = Path(recipe)
    given = read_recipe(path)
    folder = Path(out) if out is not None else Path("runs") / path.stem
    source = data.load(given.data["name"], given.data.get("path"))
    device = _device(given.device)
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    outputs = source.classes if given.task == "classify" else math.prod(source.shape)
    options = {key: value for key, value in given.model.items() if key not in ("name", "start")}
    model = models.build(given.model["name"], source.shape, outputs, **options)
    if "start" in given.model:
        take_over(model, read_weights(given.model["start"]))
    model = model.to(device)
    method = METHODS[given.method["name"]](**{k: v for k, v in given.method.items() if k != "name"})
    batches = len(source.train_x) // given.batch
    if batches == 0:
        raise OptionError(f"a batch of {given.batch} for {len(source.train_x)} frames", "choose a smaller batch")
    steps = given.epochs * batches
    method.see(_task(given, source, device))
    method.prepare(model, source.train_x[: given.batch].to(device), steps)
    groups = method.param_groups(given.lr)
    budget = Budget(**given.budget) if given.budget is not None else None
    run = _Run(model, method, budget, _optimiser(given, groups), [g["lr"] for g in groups], 0, 0.0, 0, 0, [])
    checkpoint = _open(folder, given)
    if budget is not None:
        begin = budget.attach if checkpoint.exists() else budget.prepare
        begin(method, source.train_x[: given.batch])
    if checkpoint.exists():
        run.load(checkpoint, device)
    else:
        run.save(checkpoint)
    with _interrupts() as interrupted:
        while run.step < steps and not interrupted():
            _one_step(run, given, source, batches, device, checkpoint)
            if run.step % batches == 0:
                _end_epoch(run, given, source, folder)
                run.save(checkpoint)
            progress(run.step, steps, run.rows[-1] if run.rows else {})
    if run.step < steps:
        run.save(checkpoint)
        return TrainingResult(folder, False, run.step, math.nan, average_bits(model), None)
    pictures = draw(run.rows, folder)
    method.finalize()
    _write(folder / "widths.json", json.dumps(_widths(method), indent=2) + "\n")
    for name, rows in method.tables().items():
        _write_table(folder / f"{name}.csv", rows)
        if name == "sensitivity":
            pictures += draw_sensitivity(rows, folder)
    file = export(model, folder / "model.onnx", source.test_x[:CHECKED_FRAMES])
    if budget is not None:
        budget.check(file, folder / "plan.toml")
    return TrainingResult(folder, True, run.step, _score(model, given, source), average_bits(model), file, pictures)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"torch has no device '{name}' here", "choose auto or cpu") from error


def _optimiser(recipe: Recipe, groups: list[dict[str, Any]]) -> Any:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.Adam(groups, weight_decay=recipe.weight_decay)


def _open(folder: Path, recipe: Recipe) -> Path:
    """Makes the run folder, or finds the same recipe's; the path of its checkpoint."""
    kept, checkpoint = folder / "recipe.toml", folder / "checkpoint.pt"
    if checkpoint.exists() and (not kept.is_file() or kept.read_text(encoding="utf-8") != recipe.text):
        raise OutputError(f"{folder} holds a run of another recipe", "name another folder with --out, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}", "name another folder with --out") from error
    _write(kept, recipe.text)
    return checkpoint


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}", "name another folder with --out") from error


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether the user pressed Ctrl-C: it takes effect between steps. A second one takes effect at once."""
    pressed = False

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------------------------------------- one step


def _one_step(
    run: _Run, recipe: Recipe, source: data.Dataset, batches: int, device: torch.device, checkpoint: Path
) -> None:
    epoch, place = divmod(run.step, batches)
    torch.manual_seed(_mixed(recipe.seed, 0, run.step))
    chosen = order_of(recipe.seed, epoch, len(source.train_x))[place * recipe.batch : (place + 1) * recipe.batch]
    x, y = source.train_x[chosen].to(device), source.train_y[chosen].to(device)
    rate = 0.5 * (1 + math.cos(math.pi * run.step / (recipe.epochs * batches))) if recipe.schedule == "cosine" else 1.0
    for group, lr in zip(run.optimiser.param_groups, run.rates, strict=True):
        group["lr"] = lr * rate
    run.model.train()
    run.optimiser.zero_grad()
    output = run.model(x)
    loss = _task_loss(recipe, output, x, y) + run.method.loss()
    if run.budget is not None:
        loss = loss + run.budget.loss()
    if not bool(torch.isfinite(loss)):
        saved = torch.load(checkpoint, weights_only=True)["step"]
        raise TrainingError(
            f"the loss is {float(loss.detach()):g} at step {run.step + 1} (epoch {epoch + 1}); "
            f"{checkpoint} still holds step {saved}",
            "lower lr, or the strength of the method; with the same recipe it will happen again",
        )
    loss.backward()
    run.optimiser.step()
    run.step += 1
    run.method.on_step(run.step)
    if run.budget is not None:
        run.budget.on_step(run.step)
    run.total += float(loss.detach()) * len(x)
    run.seen += len(x)
    if recipe.task == "classify":
        run.right += int((output.detach().argmax(1) == y).sum())


def order_of(seed: int, epoch: int, count: int) -> Tensor:
    """The order in which an epoch goes through the frames."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(_mixed(seed, 1, epoch)))


def _mixed(*numbers: int) -> int:
    """A seed for torch, whose generator on the CPU takes no more than 32 bits of it."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _task_loss(recipe: Recipe, output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    if recipe.task == "rebuild":
        return nn.functional.mse_loss(output, x.flatten(1))
    return nn.functional.cross_entropy(output, y)


def _task(recipe: Recipe, source: data.Dataset, device: torch.device) -> Task:
    """What methods that search, measure or distil are told: the training data, never the held-out data."""
    x = source.train_x.to(device)
    if recipe.task == "rebuild":
        return Task(x, x.flatten(1), nn.functional.mse_loss)
    return Task(x, source.train_y.to(device), nn.functional.cross_entropy)


def _score(model: nn.Module, recipe: Recipe, source: data.Dataset) -> float:
    """On the held-out data: accuracy, or the mean squared error."""
    model.eval()
    device, total = next(model.parameters()).device, 0.0
    with torch.no_grad():
        for x, y in zip(source.test_x.split(_AT_ONCE), source.test_y.split(_AT_ONCE), strict=True):
            output = model(x.to(device)).cpu()
            if recipe.task == "rebuild":
                total += float(_task_loss(recipe, output, x, y)) * len(x)
            else:
                total += int((output.argmax(1) == y).sum())
    return total / len(source.test_x)


# --------------------------------------------------------------------------------------------------- what is kept


def _end_epoch(run: _Run, recipe: Recipe, source: data.Dataset, folder: Path) -> None:
    """A line of the metrics: means over the epoch, and the held-out data at its end."""
    row: Row = {"epoch": len(run.rows) + 1, "step": run.step, "loss": run.total / run.seen}
    if recipe.task == "classify":
        row["train_accuracy"] = run.right / run.seen
    row["test_accuracy" if recipe.task == "classify" else "test_error"] = _score(run.model, recipe, source)
    row |= {"average_bits": average_bits(run.model), **run.method.metrics()}
    if run.budget is not None:
        row |= run.budget.metrics()
    row |= {f"bits:{name}": float(w.detach().mean()) for name, w in run.method.widths().items()}
    run.rows.append(row)
    run.total, run.right, run.seen = 0.0, 0, 0
    _write_table(folder / "metrics.csv", run.rows)


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """As CSV; the columns are those of the last line."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[-1]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, table.getvalue())


def _widths(method: Method) -> dict[str, Any]:
    """Each layer's width; where it differs within the layer, how many weights have which."""
    layers: dict[str, Any] = {}
    for name, bits in method.assignment().items():
        count = method.layers[name].weight.numel()
        each = bits.cpu().expand(method.layers[name].weight.shape).flatten()
        values, counts = each.unique(return_counts=True)
        width: Any = dict(zip(map(str, values.tolist()), counts.tolist(), strict=True))
        layers[name] = {"weights": count, "bits": int(bits) if bits.numel() == 1 else width}
    return {"average_bits": average_bits(method.model), "layers": layers}
