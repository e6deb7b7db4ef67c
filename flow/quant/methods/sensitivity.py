# SPDX-License-Identifier: Apache-2.0
"""How much a network loses at each width of each layer, measured by forward passes, and the widths that follow.

Source: Lee et al., Data-free mixed-precision quantization using novel sensitivity metric, arXiv:2103.10051 (read: the
abstract). Hence "-style": that a layer is judged by what the network's answer loses in the company of other quantised
layers, and that frames may be made from the network itself, is theirs; the formulas are ours.
"""

import copy
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import activations, set_weight_bits, weight_layers
from flow.quant.methods.base import Rows, Task
from flow.quant.methods.floating import float_copy
from flow.quant.methods.ilp import Ilp, Losses, allocate
from flow.quant.methods.search import CHOICES, Problem, Widths

By = Literal["kl", "loss", "noise", "weights"]
BY = ("kl", "loss", "noise", "weights")
_AT_ONCE = 256
_MAKING_STEPS = 200
_MAKING_RATE = 0.05
_SMOOTH = 0.05


class Damage:
    """What a network loses with each layer at a given width. Nothing is measured twice.

    - ``kl``: the divergence of its class probabilities from the float network's, in nats, the mean over the frames;
    - ``loss``: the loss of the task, which needs right answers;
    - ``noise``: the power of its outputs' error over that of the float network's outputs: 10**(-SQNR in dB / 10);
    - ``weights``: without frames, the sum over layers of the power of the weights' error over that of the weights.

    Args:
        model: With the quantisers that are to be judged; it is copied.
        task: Frames, and right answers for ``loss``.
        by: The measure.

    Raises:
        OptionError: There is no such measure, or it does not fit the task.
    """

    def __init__(self, model: nn.Module, task: Task, by: By) -> None:
        if by not in BY:
            raise OptionError(f"there is no measure '{by}'", f"choose one of {', '.join(BY)}")
        if by == "kl" and task.y.is_floating_point():
            raise OptionError("the measure kl compares class probabilities, and the task has no classes", "take noise")
        self.task, self.by = task, by
        self.twin = copy.deepcopy(model).eval()
        self.layers = list(weight_layers(self.twin).items())
        self.reference = None if by in ("weights", "loss") else _outputs(float_copy(model), task.x)
        self.measured: dict[Widths, float] = {}

    def __call__(self, widths: Widths) -> float:
        """At these widths, one for each layer."""
        if widths not in self.measured:
            for (name, layer), bits in zip(self.layers, widths, strict=True):
                set_weight_bits(layer, bits, name)
            self.measured[widths] = self._measure()
        return self.measured[widths]

    def _measure(self) -> float:
        with torch.no_grad():
            if self.by == "weights":
                return sum(_noise(layer.quant_weight().value, layer.weight) for _, layer in self.layers)
            output = _outputs(self.twin, self.task.x)
            if self.by == "loss":
                return float(self.task.loss(output, self.task.y))
            assert self.reference is not None
            if self.by == "noise":
                return _noise(output, self.reference)
            own, wanted = output.log_softmax(1), self.reference.log_softmax(1)
            return float(nn.functional.kl_div(own, wanted, reduction="batchmean", log_target=True))


def natural(task: Task) -> By:
    """The measure that needs no right answers and fits the task."""
    return "noise" if task.y.is_floating_point() else "kl"


def sensitivities(damage: Damage, choices: Sequence[int], company: Widths) -> Losses:
    """What the network loses with each layer at each width beyond that layer at the highest one.

    The others are as they are in ``company``.
    """

    def at(place: int, bits: int) -> float:
        return damage((*company[:place], bits, *company[place + 1 :]))

    places = range(len(company))
    return {(p, bits): at(p, bits) - at(p, max(choices)) for p in places for bits in choices}


def interactions(damage: Damage, choices: Sequence[int]) -> dict[tuple[int, int], float]:
    """What two layers at the lowest width lose beyond the sum of what each of them loses, the others at the highest."""
    low, high, places = min(choices), max(choices), range(len(damage.layers))

    def at(*lowered: int) -> float:
        return damage(tuple(low if place in lowered else high for place in places))

    return {(one, two): at(one, two) - at(one) - at(two) + at() for one, two in combinations(places, 2)}


def settle(damage: Damage, problem: Problem, budget: float, rounds: int) -> Widths:
    """Widths within a budget, in bits a weight: of all that were tried those with the least damage as a whole.

    The first ones come from each layer's losses alone, the others at their highest width; each further round measures
    the losses in the company of the widths found last, since layers do depend on each other.
    """
    tried = [allocate(problem, sensitivities(damage, problem.choices, problem.highest), budget)]
    for _ in range(rounds):
        widths = allocate(problem, sensitivities(damage, problem.choices, tried[-1]), budget)
        if widths in tried:
            break
        tried.append(widths)
    return min(tried, key=damage)


def made_task(model: nn.Module, shape: Sequence[int], classes: int, count: int, seed: int = 0) -> Task:
    """Frames made from noise such that the float network sees a class in each, all classes equally often.

    Args:
        model: With a quantiser at its input, whose range the frames keep to.
        shape: Of a frame.
        classes: How many.
        count: How many frames.
        seed: Of the noise.
    """
    device = next(model.parameters()).device
    teacher = float_copy(model)
    first = next(iter(activations(model).values()))
    with torch.no_grad():
        reach = float(first.scale()) * (2 ** (int(first.bit_width()) - 1) - 1)
    noise = torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed)).to(device).requires_grad_()
    labels = torch.arange(count, device=device) % classes
    optimiser = torch.optim.Adam([noise], _MAKING_RATE)
    for _ in range(_MAKING_STEPS):
        loss = nn.functional.cross_entropy(teacher(reach * noise.tanh()), labels) + _SMOOTH * noise.square().mean()
        (noise.grad,) = torch.autograd.grad(loss, [noise])
        optimiser.step()
    return Task((reach * noise.tanh()).detach(), labels, nn.functional.cross_entropy)


class Measured(nn.Module):
    """What was measured, kept with the model: a run that is resumed has it."""

    def __init__(self, layers: int, choices: int) -> None:
        super().__init__()
        self.register_buffer("alone", torch.zeros(layers, choices, dtype=torch.float64))
        self.register_buffer("among", torch.zeros(layers, choices, dtype=torch.float64))
        self.register_buffer("pairs", torch.zeros(layers, layers, dtype=torch.float64))


class Sensitivity(Ilp):
    """Trains at the highest widths, measures each layer's sensitivity, and trains on at the widths that follow.

    The measure takes forward passes only. What the program finds for each budget (all of a ladder where none is given)
    is scored by a short training, and the best by score wins. ``sensitivity.csv`` holds, for each layer and width, what
    the network loses: ``alone`` with the others at their highest width, ``among`` with the others at the widths that
    were found. ``interactions.csv`` holds what pairs of layers at the lowest width lose beyond their sum.

    Args:
        choices: Widths to choose from, for each layer.
        budget: The most bits a weight on average; None weighs bits against the score by ReLeQ's reward.
        evaluations: How many assignments are scored.
        tune: Steps of training for each of them.
        start: When it searches, as a share of the training.
        seed: Of the search.
        by: The measure: ``kl`` (of class probabilities), ``loss``, ``noise`` (of the outputs) or ``weights`` (of the
            weights alone, without any frame).
        frames: How many frames it is measured on.
        data: Whose frames: of the ``training``, or ``made`` from the network itself.
        rounds: How often the losses are measured anew among the widths found last.
    """

    def __init__(
        self,
        choices: Sequence[int] = CHOICES,
        budget: float | None = None,
        evaluations: int = 40,
        tune: int = 20,
        start: float = 0.5,
        seed: int = 0,
        by: By = "kl",
        frames: int = 256,
        data: Literal["training", "made"] = "training",
        rounds: int = 2,
    ) -> None:
        super().__init__(choices, budget, evaluations, tune, start, seed)
        if by not in BY:
            raise OptionError(f"there is no measure '{by}'", f"choose one of {', '.join(BY)}")
        if data not in ("training", "made"):
            raise OptionError(f"there are no frames '{data}'", "choose training or made")
        if frames < 1 or rounds < 0:
            raise OptionError(f"frames = {frames}, rounds = {rounds}", "choose frames >= 1 and rounds >= 0")
        self.by, self.frames, self.data, self.rounds = by, frames, data, rounds
        self._tables: dict[str, Rows] = {}

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Sets the highest widths, and makes room for what will be measured.

        Raises:
            OptionError: The task has no classes, and the measure or the made frames need them.
        """
        super().prepare(model, example, steps)
        without_classes = self.seen().y.is_floating_point()
        if without_classes and (self.by == "kl" or self.data == "made"):
            raise OptionError(
                f"by = {self.by} and data = {self.data} on a task without classes", "choose noise, and training"
            )
        self.home.add_module("sensitivity", Measured(len(self.layers), len(set(self.choices))))

    def check(self, problem: Problem) -> None:
        """Counts what will be scored; forward passes are no evaluations.

        Raises:
            OptionError: It is more than may be.
        """
        needed = len(self.ladder(problem)) + 1
        if needed > problem.evaluations:
            raise OptionError(
                f"the budgets take {needed} evaluations, and evaluations = {problem.evaluations}", "allow more"
            )

    def search(self, problem: Problem) -> None:
        """Measures, solves, and scores what was found."""
        damage = Damage(self.model, self._judges(), self.by)
        for budget in self.ladder(problem):
            problem.score(settle(damage, problem, budget, self.rounds))
        table, choices = self.home.sensitivity, problem.choices
        for column, company in (("alone", problem.highest), ("among", problem.best())):
            losses = sensitivities(damage, choices, company)
            getattr(table, column).copy_(
                torch.tensor([[losses[place, b] for b in choices] for place, _ in enumerate(self.layers)])
            )
        for (one, two), loss in interactions(damage, choices).items():
            table.pairs[one, two] = loss

    def tables(self) -> dict[str, Rows]:
        """The two tables."""
        return self._tables

    def finalize(self) -> None:
        """Takes the tables out of the model."""
        home = self.home
        table, names = home.sensitivity, list(self.layers)
        del home.sensitivity
        self._tables["sensitivity"] = [
            {"layer": name, "bits": bits, "alone": float(table.alone[p, c]), "among": float(table.among[p, c])}
            for p, name in enumerate(names)
            for c, bits in enumerate(sorted(set(self.choices)))
        ]
        self._tables["interactions"] = [
            {"layer": names[one], "with": names[two], "loss": float(table.pairs[one, two])}
            for one, two in combinations(range(len(names)), 2)
        ]

    def _judges(self) -> Task:
        task = self.seen()
        if self.data == "made":
            return made_task(self.model, task.x.shape[1:], int(task.y.max()) + 1, self.frames, self.seed)
        return task.some(self.frames)


def _outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(_AT_ONCE)])


def _noise(value: Tensor, wanted: Tensor) -> float:
    return float((value - wanted).square().sum() / wanted.square().sum().clamp_min(1e-30))
