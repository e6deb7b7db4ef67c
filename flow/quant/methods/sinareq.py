# SPDX-License-Identifier: Apache-2.0
"""SINAREQ, published as WaveQ: the period of a sinusoidal regulariser learns the bit width of each layer.

Source: Elthakeb et al., WaveQ: gradient-based deep quantization of neural networks through sinusoidal adaptive
regularization, arXiv:2003.00146 (read: the abstract, the figures of the authors' repository and their code; the
formulas are theirs, the text here is not). How the learned period becomes the scale of the quantiser is not in what
was read: here the quantiser keeps the period itself. In the last phase the weights are drawn to their grid by the
regulariser in the loss, and apart from the optimiser, too, as by decoupled weight decay (arXiv:1711.05101): where the
learning rate falls to zero, a pull that passes through it ends before the weights have snapped.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import OptionError, TrainingError
from flow.quant.layers import replace_weight_quantizer, round_ste
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised
from flow.quant.methods.sinreq import off_grid, smooth_step

LEARN, FREEZE = 0.2, 0.8
"""When the widths begin to learn and when they are final, as shares of the training (the authors' schedule)."""
SNAPPED = 0.1
"""The mean of sin**2 below which weights count as drawn to their grid; weights anywhere have 0.5."""
_REACH = 3.0  # how often the widths could cross their whole range while they learn
_PULL = 4.0  # the last phase leaves exp(-4) of the distance of weights from their grid


class Periodic(nn.Module):
    """Rounds to multiples of range / (2**beta - 1), ``beta`` a real number; the width is ceil(beta) and a sign.

    The range is the greatest magnitude of the weights until the period is frozen.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(float(beta)))
        self.register_buffer("frozen_step", torch.zeros(()))
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    @property
    def frozen(self) -> bool:
        return bool(self.frozen_step > 0)

    def step(self, weight: Tensor) -> Tensor:
        """The period, with a gradient to beta while it learns."""
        if self.frozen:
            return self.frozen_step
        return weight.detach().abs().max().clamp_min(1e-12) / (torch.pow(2.0, self.beta) - 1)

    def position(self, weight: Tensor) -> Tensor:
        return weight / self.step(weight)

    def freeze(self, weight: Tensor) -> None:
        self.frozen_step.copy_(self.step(weight).detach())
        self.beta.requires_grad_(False)

    def forward(self, weight: Tensor) -> Quantised:
        step, bits = self.step(weight).detach(), self.beta.detach().ceil() + 1
        most = torch.pow(2.0, bits - 1) - 1
        return torch.clamp(round_ste(weight / step), -most, most) * step, step, self.zero, bits


class Sinareq(Method):
    """strength * mean sin**2(pi w (2**beta - 1) / max|w|) / 2**beta + penalty * beta, summed over the layers.

    Three phases: weights alone (the first 20 %), weights and widths, and from 80 % on weights at frozen widths, drawn
    to the grid by SinReQ. With weights anywhere the pull of both terms on beta is in balance at
    2**beta = 0.5 ln 2 * strength / penalty: that ratio, more than a layer's sensitivity, is the knob for the average
    width. Weights that snap hold the widths somewhat above it.

    Args:
        strength: Of the regulariser, about 1; beside a budget far less is enough (docs/training.md).
        penalty: Of each layer's beta.
        bits: Widths at the start, sign included.
        min_bits: The least width, 2 or more.
        max_bits: The greatest width.
        bits_lr: The rate of beta, for Adam. None: such that the widths could cross their range three times.
    """

    def __init__(
        self,
        strength: float = 1.0,
        penalty: float = 0.03,
        bits: int = 8,
        min_bits: int = 2,
        max_bits: int = 9,
        bits_lr: float | None = None,
    ) -> None:
        if not 2 <= min_bits <= bits <= max_bits <= 16:
            raise OptionError(
                f"the widths are min_bits = {min_bits}, bits = {bits}, max_bits = {max_bits}"
                + (": no width lies in that range" if min_bits > max_bits else ""),
                "choose 2 <= min_bits <= bits <= max_bits <= 16, sign included",
            )
        self.strength, self.penalty, self.bits, self.bits_lr = strength, penalty, bits, bits_lr
        self.least, self.most = min_bits - 1.0, max_bits - 1.0
        self.done = 0

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantiser of every weight."""
        super().prepare(model, example, steps)
        for layer in self.layers.values():
            replace_weight_quantizer(layer, Periodic(self.bits - 1))

    def own_parameters(self) -> list[nn.Parameter]:
        """The betas."""
        return [_periodic(layer).beta for layer in self.layers.values()]

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Weights and betas; no weight decay for betas, which it would pull down."""
        learning = max(1.0, (FREEZE - LEARN) * self.steps)
        rate = self.bits_lr if self.bits_lr is not None else _REACH * (self.most - self.least) / learning
        own = {"params": self.own_parameters(), "lr": rate, "weight_decay": 0.0}
        return [*super().param_groups(lr), own]

    def loss(self) -> Tensor:
        """The regulariser of the present phase."""
        progress = self.done / self.steps
        rise, end = smooth_step(progress, LEARN), smooth_step(progress, FREEZE)
        total = super().loss()
        for layer in self.layers.values():
            periodic = _periodic(layer)
            off = off_grid(periodic.position(layer.weight))
            if periodic.frozen:
                total = total + self.strength * rise * off
            else:
                drawn = self.strength * rise * off / torch.pow(2.0, periodic.beta)
                total = total + drawn + self.penalty * (rise - end) * periodic.beta
        return total

    def on_step(self, step: int) -> None:
        """Keeps the widths in their range; freezes them when their time is over and they keep to the budget.

        From then on it draws the weights to their grid, which changes no quantised weight.
        """
        made = step == self.done + 1  # otherwise it is the step of a checkpoint, whose weights were drawn already
        self.done = step
        learning = any(not _periodic(layer).frozen for layer in self.layers.values())
        ends = learning and step >= FREEZE * self.steps and self.met()
        pull = min(0.5, _PULL / ((1 - FREEZE) * self.steps)) if made else 0.0
        with torch.no_grad():
            for layer in self.layers.values():
                periodic = _periodic(layer)
                periodic.beta.clamp_(self.least, self.most)
                if ends and not periodic.frozen:
                    periodic.freeze(layer.weight)
                elif periodic.frozen:
                    periodic.beta.requires_grad_(False)
                    layer.weight.lerp_(periodic(layer.weight)[0], pull)

    def widths(self) -> dict[str, Tensor]:
        """The betas, and one for the sign."""
        return {name: _periodic(layer).beta + 1 for name, layer in self.layers.items()}

    def off_grid(self) -> dict[str, float]:
        """How far each layer's weights are from their grid."""
        with torch.no_grad():
            return {n: float(off_grid(_periodic(m).position(m.weight))) for n, m in self.layers.items()}

    def metrics(self) -> dict[str, float]:
        """The mean of all layers."""
        return {"off_grid": math.fsum(self.off_grid().values()) / len(self.layers)}

    def finalize(self) -> None:
        """Asserts that the weights lie on the learned grids.

        Raises:
            TrainingError: Those of a layer do not: the widths were frozen too late, or not at all.
        """
        loose = {name: off for name, off in self.off_grid().items() if not off < SNAPPED}
        if loose:
            listing = ", ".join(f"{name} ({off:.2f})" for name, off in loose.items())
            raise TrainingError(
                f"the weights did not snap to the learned periods: the mean of sin**2 is not below {SNAPPED} in "
                f"{listing}",
                "train to the end of the schedule, or raise strength (and penalty with it, to keep the widths); with a "
                "budget, give more epochs or a wider budget: widths that meet it only in the last steps leave no time",
            )


def _periodic(layer: Any) -> Periodic:
    quantizer = layer.weight_quant.tensor_quant
    assert isinstance(quantizer, Periodic)
    return quantizer
