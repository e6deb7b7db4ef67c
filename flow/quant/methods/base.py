# SPDX-License-Identifier: Apache-2.0
"""What every method of training at low precision offers, to anyone's own training loop and to recipes.

    method = Sinareq(penalty=0.1)
    method.see(Task(x, y, task_loss))  # only for those that search, measure or distil
    method.prepare(model, example, steps)
    optimiser = torch.optim.Adam(method.param_groups(lr=3e-3))
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        (task_loss(model(x), y) + method.loss()).backward()
        optimiser.step()
        method.on_step(step)
    method.finalize()

All state of a method lies in the model, as parameters and buffers of its quantisers, or follows from the number of the
step. So a checkpoint of the model (``flow.quant.layers.state_of``) and of the optimiser is a checkpoint of the method:
``prepare`` a fresh model, load both (``load_state``), call ``on_step`` with the last step, and go on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import weight_bits, weight_layers

Rows = list[dict[str, str | int | float]]
"""A table, a dictionary for each line."""


@dataclass(frozen=True)
class Task:
    """What a model is trained for.

    Attributes:
        x: (frames, *shape), for training.
        y: (frames, ...); whole numbers are classes.
        loss: Of outputs and their part of ``y``, the mean over the frames.
    """

    x: Tensor
    y: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]

    def some(self, count: int) -> "Task":
        """So many frames, from the whole of them; all where there are no more."""
        chosen = torch.linspace(0, len(self.x) - 1, min(count, len(self.x)), device=self.x.device).round().long()
        return Task(self.x[chosen], self.y[chosen], self.loss)

    def score(self, output: Tensor, y: Tensor) -> float:
        """From 0 to 1: the share of right answers; for a task without classes exp(-loss)."""
        with torch.no_grad():
            if y.is_floating_point():
                return float(torch.exp(-self.loss(output, y)))
            return float((output.argmax(1) == y).float().mean())


class Method:
    """Plain training: no regulariser, no schedule, widths as the model has them. Methods override what they need.

    Attributes:
        model: What is trained; from ``prepare`` on.
        steps: How many steps the optimiser will make.
        layers: The model's layers with quantised weights, by module path.
        task: What it is trained for; None where nobody said.
        met: Whether the widths keep to the budget beside the method. Widths that learn are not frozen before.
    """

    task: Task | None = None
    met: Callable[[], bool] = staticmethod(lambda: True)
    model: nn.Module
    steps: int
    layers: dict[str, Any]

    def see(self, task: Task) -> None:
        """Is told what the model is trained for, before ``prepare``."""
        self.task = task

    def seen(self) -> Task:
        """The task, for a method that needs it.

        Raises:
            OptionError: Nobody said.
        """
        if self.task is None:
            raise OptionError(
                f"{type(self).__name__.lower()} needs the data and the loss of the task",
                "call method.see(Task(x, y, loss)) before method.prepare",
            )
        return self.task

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Takes over a model: replaces quantisers, sets widths, adds parameters. In place, once, before the optimiser.

        Args:
            model: Brevitas layers; float weights may be trained already.
            example: (frames, *shape), for methods that look at activations.
            steps: Of the optimiser, all in all; schedules are fractions of it.

        Raises:
            OptionError: The options do not fit the model.
        """
        self.model, self.steps, self.layers = model, steps, weight_layers(model)

    @property
    def home(self) -> Any:
        """The layer that keeps what the method keeps with the model: a container would run it."""
        return next(iter(self.layers.values()))

    def own_parameters(self) -> list[nn.Parameter]:
        """Those parameters of the model that the method brought."""
        return []

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """All parameters of the model, for an optimiser; those of the method with a rate of their own."""
        own = {id(p) for p in self.own_parameters()}
        return [{"params": [p for p in self.model.parameters() if id(p) not in own], "lr": lr}]

    def loss(self) -> Tensor:
        """What is added to the loss of the task at the present step; a scalar."""
        return torch.zeros((), device=next(self.model.parameters()).device)

    def on_step(self, step: int) -> None:
        """After the optimiser's step number ``step`` (from 1): schedules, clamps, freezing.

        A function of the step and of the model's state alone, so that a run that is resumed is the same run.
        """

    def widths(self) -> dict[str, Tensor]:
        """The width of each layer's weights as a real number with a gradient, for a cost in the loss.

        One number, or a tensor that broadcasts to the weights. Widths that are not learned are constants.
        """
        return {name: weight_bits(layer).to(torch.float32) for name, layer in self.layers.items()}

    def assignment(self) -> dict[str, Tensor]:
        """The whole width of each layer's weights, as built: one number, or a tensor that broadcasts to them."""
        return {name: weight_bits(layer) for name, layer in self.layers.items()}

    def metrics(self) -> dict[str, float]:
        """What the method wants to see in the log, each a number."""
        return {}

    def tables(self) -> dict[str, Rows]:
        """What the method measured, after ``finalize``; each becomes a CSV file of that name in the run folder."""
        return {}

    def finalize(self) -> None:
        """The end of training: widths become final.

        Raises:
            TrainingError: The method did not reach what it promises.
        """
