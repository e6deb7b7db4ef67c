# SPDX-License-Identifier: Apache-2.0
"""PFQ: a schedule of widths; the next one begins when the loss has stopped falling.

Source: Fu et al., FracTrain: fractionally squeezing bit savings both temporally and spatially for efficient DNN
training, NeurIPS 2020 (read: the authors' code and tables; the rule of the plateau is theirs, restated). Theirs also
quantises activations and gradients, and looks at the loss of each epoch. Here the widths are those of weights, and the
loss is measured on some frames at equal distances, so that it follows from the model alone.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import MOST_BITS, set_weight_bits, weight_bits
from flow.quant.methods.base import Method
from flow.quant.methods.search import measured
from flow.quant.methods.uniform import Uniform

_FRAMES = 256
_WINDOW = 5


class Plateau(nn.Module):
    """Where a training stands in its schedule, and the losses that it goes by. Kept with the model.

    A plateau: each of the last losses differs from the newest by no more than ``tolerance`` of the mean of all.
    """

    def __init__(self, tolerance: float) -> None:
        super().__init__()
        self.register_buffer("stage", torch.tensor(0))
        self.register_buffer("step", torch.tensor(0))  # the last that was looked at
        self.register_buffer("tolerance", torch.tensor(tolerance, dtype=torch.float64))
        self.register_buffer("total", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("window", torch.full((_WINDOW,), torch.inf, dtype=torch.float64))

    def add(self, loss: float) -> bool:
        """Whether the loss has stopped falling."""
        self.window.copy_(torch.cat([self.window[1:], self.window.new_tensor([loss])]))
        self.total += loss
        self.count += 1
        change = (self.window - loss).abs() / (self.total / self.count)
        return bool((change <= self.tolerance).all())  # never while one is missing: that is infinite

    def next_stage(self, shrink: float) -> None:
        self.stage += 1
        self.tolerance *= shrink
        self.window.fill_(torch.inf)


class Pfq(Method):
    """All weights have the width of the present stage; in the last one those of the model, or any assignment.

    The paper's stages rise from few bits, which makes training cheaper; ``stages = [8, 6]`` instead lets the precision
    of a network of few bits fall step by step. A stage ends at a plateau, and at the latest at its equal share of
    the time up to ``end``: what is exported has the widths of the target.

    Args:
        stages: Widths before the target's.
        weight_bits: The target for all weights; None for the widths that the model has.
        layers: Targets of single layers, by module path.
        tolerance: How much of the mean loss the last losses may differ at a plateau.
        shrink: Factor of the tolerance from stage to stage.
        looks: How often the loss is measured, all in all.
        end: When the target begins at the latest, as a share of the training.
    """

    def __init__(
        self,
        stages: Sequence[int] = (3, 4),
        weight_bits: int | None = None,
        layers: Mapping[str, int] | None = None,
        tolerance: float = 0.05,
        shrink: float = 0.3,
        looks: int = 40,
        end: float = 0.7,
    ) -> None:
        if not stages or not all(2 <= bits <= MOST_BITS for bits in stages):
            raise OptionError(f"stages = {list(stages)}", f"give one width or more, each from 2 to {MOST_BITS}")
        if not (tolerance > 0 and 0 < shrink <= 1):
            raise OptionError(
                f"tolerance = {tolerance:g}, shrink = {shrink:g}", "choose a positive tolerance, and 0 < shrink <= 1"
            )
        if not 0 < end < 1:
            raise OptionError(f"end = {end:g}", "choose a share between 0 and 1, such as 0.7")
        if looks < 1:
            raise OptionError(f"looks = {looks}", "choose 1 or more")
        self.stages, self.tolerance, self.shrink, self.looks, self.end = tuple(stages), tolerance, shrink, looks, end
        self.target = Uniform(weight_bits, None, layers)
        self.targets: dict[str, int] = {}

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Notes the targets, and sets the first width."""
        self.seen()
        self.target.prepare(model, example, steps)
        super().prepare(model, example, steps)
        self.targets = {name: int(weight_bits(layer).max()) for name, layer in self.layers.items()}
        self.home.add_module("pfq", Plateau(self.tolerance).to(example.device))
        self._set()

    def on_step(self, step: int) -> None:
        """Looks at the loss when it is time, and goes from stage to stage."""
        plateau = self.home.pfq
        every = max(1, self.steps // self.looks)
        if step > plateau.step:  # a run that is gone on with has looked already
            plateau.step.fill_(step)
            while plateau.stage < len(self.stages) and step >= self._latest(int(plateau.stage)):
                plateau.next_stage(self.shrink)
            if step % every == 0 and plateau.stage < len(self.stages) and plateau.add(self._measured()):
                plateau.next_stage(self.shrink)
        self._set()

    def metrics(self) -> dict[str, float]:
        """The stage, from 0."""
        return {"stage": float(self.home.pfq.stage)}

    def finalize(self) -> None:
        """Removes what the schedule kept with the model."""
        del self.home.pfq

    def _latest(self, stage: int) -> float:
        """The step at which a stage ends, plateau or not."""
        return self.end * self.steps * (stage + 1) / len(self.stages)

    def _measured(self) -> float:
        task, training = self.seen(), self.model.training
        x, y = task.x[:_FRAMES], task.y[:_FRAMES]
        loss = measured(self.model, x, lambda output: float(task.loss(output, y)))
        self.model.train(training)
        return loss

    def _set(self) -> None:
        stage = int(self.home.pfq.stage)
        for name, layer in self.layers.items():
            set_weight_bits(layer, self.stages[stage] if stage < len(self.stages) else self.targets[name], name)
