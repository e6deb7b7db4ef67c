# SPDX-License-Identifier: Apache-2.0
"""Weights that are 0 or a power of two with a sign: products are shifts, and no multiplier is left.

Source: the weights of LNS-Madam with a base factor of 1, Zhao et al., arXiv:2106.13914 (read: the abstract and the
authors' text on it; their optimiser is not here). The nearest power is taken in the logarithm, as theirs is.
"""

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import MOST_BITS, replace_weight_quantizer
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised

_TINY = 1e-12


class Shifts(nn.Module):
    """The greatest power is that of the greatest weight; ``levels`` powers from there down, and 0 below their middle.

    Each tensor stands on the grid of its least power.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, weight: Tensor) -> Quantised:
        size = weight.detach().abs().clamp_min(_TINY)
        most = torch.log2(size.max()).round()
        least = most - (self.levels - 1)
        power = torch.log2(size).round()
        rounded = torch.where(power < least, self.zero, torch.pow(2.0, power) * weight.detach().sign())
        value = weight + (rounded - weight).detach()  # straight through
        return value, torch.pow(2.0, least), self.zero, self.zero + max(self.levels + 1, 2)


class Po2(Method):
    """Quantises all weights to powers of two.

    Args:
        levels: How many powers; the code of a weight takes ceil(log2(2 levels + 1)) bits, its integer levels + 1.
    """

    def __init__(self, levels: int = 4) -> None:
        if not 1 <= levels < MOST_BITS:
            raise OptionError(f"levels is {levels}", f"choose 1 to {MOST_BITS - 1}")
        self.levels = levels

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantiser of every weight."""
        super().prepare(model, example, steps)
        for layer in self.layers.values():
            replace_weight_quantizer(layer, Shifts(self.levels))
