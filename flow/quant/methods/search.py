# SPDX-License-Identifier: Apache-2.0
"""Searches for the width of each layer: what they ask of a network, and how a training asks them.

A search is a function of a ``Problem`` that scores assignments until its evaluations are spent, or it has no further
idea. The best of all that were scored is its answer, so that all searches are compared at equal evaluations.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import MOST_BITS, set_weight_bits
from flow.quant.methods.base import Method, Task

Widths = tuple[int, ...]
"""One for each layer, in order."""
CHOICES = (2, 3, 4, 5, 8)
_HELD_OUT = 5  # one of so many frames of the training data judges
_BATCH = 64
_TUNING_RATE = 1e-3
_LEAST_SCORE = 0.1
_BEND = 0.8


class SpentError(Exception):
    """All evaluations were made."""


@dataclass(frozen=True)
class Layer:
    """What a search may know of a layer.

    Attributes:
        name: Its module path.
        weights: How many.
        inputs: Channels.
        outputs: Channels.
        kernel: Taps of a window; 1 for dense layers.
        deviation: Of its weights at the start.
    """

    name: str
    weights: int
    inputs: int = 1
    outputs: int = 1
    kernel: int = 1
    deviation: float = 1.0


class Problem:
    """Widths to choose from for each layer, what they cost, and how good they are. No assignment is scored twice.

    Args:
        layers: In order.
        choices: The widths, for each layer.
        score: How good an assignment is, from 0 to 1.
        evaluations: How many assignments may be scored.
        budget: The most bits a weight on average; None lets cost and score be weighed against each other.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        choices: Sequence[int],
        score: Callable[[Widths], float],
        evaluations: int,
        budget: float | None = None,
    ) -> None:
        self.layers, self.choices = tuple(layers), tuple(sorted(set(choices)))
        self.budget, self.evaluations = budget, evaluations
        self.scores: dict[Widths, float] = {}
        self._score = score

    @property
    def highest(self) -> Widths:
        return (self.choices[-1],) * len(self.layers)

    @property
    def size(self) -> int:
        """How many assignments there are."""
        return prod(len(self.choices) for _ in self.layers)

    def bits(self, widths: Widths) -> float:
        """Bits a weight, on average."""
        total = sum(layer.weights for layer in self.layers)
        return sum(layer.weights * bits for layer, bits in zip(self.layers, widths, strict=True)) / total

    def fits(self, widths: Widths) -> bool:
        """Whether the budget allows it."""
        return self.budget is None or self.bits(widths) <= self.budget

    def score(self, widths: Widths) -> float:
        """How good it is.

        Raises:
            SpentError: It was not scored yet, and all evaluations were made.
        """
        if widths not in self.scores:
            if len(self.scores) == self.evaluations:
                raise SpentError
            self.scores[widths] = self._score(widths)
        return self.scores[widths]

    def value(self, widths: Widths) -> float:
        """What a search maximises: within a budget the score; without one ReLeQ's reward.

        That is 2 (1 - x**0.8) y**(1 / y) - 1 with the bits x above the least, as a share of the most, and the score y
        as a share of that at the highest widths; -1 where y is below 0.1. Beyond a budget: how far, less 1.
        """
        if not self.fits(widths):
            return -self.bits(widths) / float(self.budget or 1)
        if self.budget is not None:
            return self.score(widths)
        x = (self.bits(widths) - self.choices[0]) / self.choices[-1]
        y = self.score(widths) / max(self.score(self.highest), 1e-9)
        return -1.0 if y < _LEAST_SCORE else 2 * ((1 - x**_BEND) * y ** (1 / y) - 0.5)

    def best(self) -> Widths:
        """Of all that were scored; of equals the one with fewer bits."""
        return max(self.scores, key=lambda widths: (self.value(widths), -self.bits(widths)))


def solve(problem: Problem, search: Callable[[Problem], None]) -> Widths:
    """Searches until the evaluations are spent or the search ends.

    Raises:
        OptionError: No assignment within the budget was found.
    """
    try:
        problem.score(problem.highest)  # what all others are compared with
        search(problem)
    except SpentError:
        pass
    found = problem.best()
    if not problem.fits(found):
        raise OptionError(
            f"the search scored {len(problem.scores)} assignments, none within {problem.budget:g} bits a weight",
            "allow more evaluations, or choose another search",
        )
    return found


class Search(Method):
    """Trains at the highest widths, searches once, and trains on at the widths that were found.

    Each assignment is scored on a copy that is trained for some steps, by a fifth of the training data. Needs ``see``.

    Args:
        choices: Widths to choose from, for each layer.
        budget: The most bits a weight on average; None weighs bits against the score by ReLeQ's reward.
        evaluations: How many assignments are scored.
        tune: Steps of training for each of them.
        start: When it searches, as a share of the training.
        seed: Of the search.
    """

    def __init__(
        self,
        choices: Sequence[int] = CHOICES,
        budget: float | None = None,
        evaluations: int = 40,
        tune: int = 20,
        start: float = 0.5,
        seed: int = 0,
    ) -> None:
        if not choices or not 2 <= min(choices) <= max(choices) <= MOST_BITS:
            raise OptionError(f"the choices are {list(choices)}", f"choose widths from 2 to {MOST_BITS}")
        if budget is not None and budget < min(choices):
            raise OptionError(
                f"the budget of {budget:g} bits is below the least choice, {min(choices)}", "allow more, or add choices"
            )
        if evaluations < 2 or tune < 0 or not 0 < start < 1:
            raise OptionError(
                f"evaluations = {evaluations}, tune = {tune}, start = {start:g}",
                "choose evaluations >= 2, tune >= 0 and 0 < start < 1",
            )
        self.choices, self.budget, self.evaluations = choices, budget, evaluations
        self.tune, self.start, self.seed = tune, start, seed

    def search(self, problem: Problem) -> None:
        """Scores assignments until it has no further idea."""
        raise NotImplementedError

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Sets the highest widths."""
        super().prepare(model, example, steps)
        self.seen()
        self.check(self._problem(lambda widths: 0.0))
        _set(model, self, (max(self.choices),) * len(self.layers))

    def check(self, problem: Problem) -> None:
        """Says before the training what cannot be.

        Raises:
            OptionError: The evaluations do not suffice.
        """

    def on_step(self, step: int) -> None:
        """Searches when it is time. What it finds follows from the weights, so that a resumed run finds it again."""
        if step == max(1, round(self.start * self.steps)):
            _set(self.model, self, solve(self._problem(self.scorer()), self.search))

    def scorer(self) -> Callable[[Widths], float]:
        """How assignments are scored: by a short training."""
        task = self.seen()
        held = torch.arange(len(task.x)) % _HELD_OUT == 0

        def score(widths: Widths) -> float:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                twin = copy.deepcopy(self.model)
                _set(twin, self, widths)
                _tune(twin, Task(task.x[~held], task.y[~held], task.loss), self.tune)
                return measured(twin, task.x[held], lambda output: task.score(output, task.y[held]))

        return score

    def _problem(self, score: Callable[[Widths], float]) -> Problem:
        layers = [described(name, layer) for name, layer in self.layers.items()]
        return Problem(layers, self.choices, score, self.evaluations, self.budget)


def measured(model: nn.Module, x: Tensor, measure: Callable[[Tensor], float]) -> float:
    """Something about the outputs of a model at work."""
    model.eval()
    with torch.no_grad():
        return measure(model(x))


def _set(model: nn.Module, method: Method, widths: Widths) -> None:
    modules = dict(model.named_modules())
    for name, bits in zip(method.layers, widths, strict=True):
        set_weight_bits(modules[name], bits, name)


def described(name: str, layer: Any) -> Layer:
    """What a search may know of it."""
    weight = layer.weight
    channels = int(layer.output_channel_dim)
    kernel = prod(weight.shape[2:])
    outputs = weight.shape[channels]
    deviation = float(weight.detach().std(correction=0))
    return Layer(name, weight.numel(), weight.numel() // (outputs * kernel), outputs, kernel, deviation)


def _tune(model: nn.Module, task: Task, steps: int) -> None:
    """Some steps of plain training."""
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), _TUNING_RATE)
    for _ in range(steps):
        chosen = torch.randint(len(task.x), (_BATCH,)).to(task.x.device)
        optimiser.zero_grad()
        task.loss(model(task.x[chosen]), task.y[chosen]).backward()
        optimiser.step()
