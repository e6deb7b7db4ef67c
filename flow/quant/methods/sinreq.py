# SPDX-License-Identifier: Apache-2.0
"""SinReQ: a sinusoidal regulariser that draws weights to the grid of their quantiser.

Source: Elthakeb et al., SinReQ: generalized sinusoidal regularization for low-bitwidth deep quantized training,
arXiv:1905.01416 (read: the abstract and the authors' code; the formula is theirs, the text here is not).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import grid_position
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Dorefa, Wrpn
from flow.quant.methods.uniform import Uniform

GRIDS = {"own": Uniform, "dorefa": Dorefa, "wrpn": Wrpn}
RISE = 0.02
"""Width of the steps of the schedule, as a share of the training (20 of the authors' 1000 epochs)."""


def off_grid(position: Tensor) -> Tensor:
    """The mean of sin**2(pi p): 0 where all weights are grid points, 1 where all lie halfway between two."""
    return torch.sin(math.pi * position).square().mean()


def smooth_step(progress: float, place: float) -> float:
    """0 well before ``place``, 1 well behind it."""
    return 0.5 * (1 + math.tanh((progress - place) / RISE))


class Sinreq(Method):
    """Given widths, and strength * mean sin**2(pi w / step) in the loss, summed over the layers.

    The mean over a layer's weights is that of the authors' code; their paper writes a sum. It is off for the first part
    of the training and then rises to ``strength``. On the DoReFa grid the position is taken behind the tanh, where the
    quantiser rounds.

    Args:
        weight_bits: Of all weights; None for the widths that the model has.
        act_bits: Of all activations; None for the widths that the model has.
        layers: Widths of the weights of single layers, by module path.
        grid: ``own`` (the model's quantisers), ``dorefa`` or ``wrpn``.
        strength: About 1; much more holds the weights where they are too early.
        start: When it sets in, as a share of the training.
    """

    def __init__(
        self,
        weight_bits: int | None = None,
        act_bits: int | None = None,
        layers: Mapping[str, int] | None = None,
        grid: str = "own",
        strength: float = 1.0,
        start: float = 0.2,
    ) -> None:
        if grid not in GRIDS:
            raise OptionError(f"there is no grid '{grid}'", f"choose one of {', '.join(GRIDS)}")
        self.widths_given = GRIDS[grid](weight_bits, act_bits, layers)
        self.strength, self.start, self.step = strength, start, 0

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Sets the widths, or replaces the quantisers by those of the grid."""
        self.widths_given.prepare(model, example, steps)
        super().prepare(model, example, steps)

    def loss(self) -> Tensor:
        """The regulariser at the present step."""
        strength = self.strength * smooth_step(self.step / self.steps, self.start)
        return strength * sum((off_grid(grid_position(layer)) for layer in self.layers.values()), super().loss())

    def on_step(self, step: int) -> None:
        """Notes the step for the schedule."""
        self.step = step

    def metrics(self) -> dict[str, float]:
        """How far the weights are from their grids: the mean of the layers."""
        with torch.no_grad():
            return {"off_grid": float(sum(off_grid(grid_position(m)) for m in self.layers.values()) / len(self.layers))}
