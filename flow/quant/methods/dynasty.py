# SPDX-License-Identifier: Apache-2.0
"""Blocks of weights that matter train at full width, the others at few bits; at the end all have full width.

Source: Liu et al., Block-wise dynamic-precision neural network training acceleration via online quantization
sensitivity analytics, arXiv:2210.17047 (read: the abstract). Hence "DYNASTY-style": a precision for each block, by a
sensitivity that is cheap to follow during training, is theirs; the measure, the two widths and the schedule are ours,
and only weights have blocks.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import replace_weight_quantizer, round_ste, weight_bits
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised
from flow.quant.methods.uniform import Uniform

_KEPT = 0.9  # of a sensitivity, when a new one is seen


class Blocks(nn.Module):
    """Another quantiser, whose levels are made coarser in some blocks of a weight.

    A block is ``size`` weights of one output channel, in order; the last one of a channel may be smaller. Coarse levels
    are multiples of 2**(bits - low) on the same grid: the width in the file is that of the other quantiser.
    """

    def __init__(self, before: nn.Module, shape: tuple[int, ...], bits: int, low: int, size: int) -> None:
        super().__init__()
        self.before, self.low, self.size, self.bits = before, min(low, bits), size, bits
        self.each = torch.Size(shape).numel() // shape[0]
        count = (shape[0], -(-self.each // size))
        self.register_buffer("sensitivity", torch.zeros(count))
        self.register_buffer("full", torch.zeros(count, dtype=torch.bool))

    def spread(self, blocks: Tensor, weight: Tensor) -> Tensor:
        """What holds for a block, for each weight."""
        return blocks.repeat_interleave(self.size, 1)[:, : self.each].reshape(weight.shape)

    def own_bits(self, weight: Tensor) -> Tensor:
        full = self.spread(self.full, weight)
        return torch.where(full, float(self.bits), float(self.low))

    def _coarse(self, value: Tensor, scale: Tensor) -> Tensor:
        step = scale * 2 ** (self.bits - self.low)
        most = 2 ** (self.low - 1) - 1
        return round_ste((value / step).clamp(-most, most)) * step

    def forward(self, weight: Tensor) -> Quantised:
        value, scale, zero, bits = self.before(weight)
        return torch.where(self.spread(self.full, weight), value, self._coarse(value, scale)), scale, zero, bits

    def observe(self, weight: nn.Parameter) -> None:
        """Follows each block's sensitivity: energy of what few bits would change, times energy of the gradient."""
        if weight.grad is None:  # nothing was learned since
            return
        with torch.no_grad():
            value, scale, _, _ = self.before(weight)
            error = self._sums((value - self._coarse(value, scale)).square())
            found = error * self._sums(weight.grad.square())
            self.sensitivity.mul_(_KEPT).add_(found, alpha=1 - _KEPT)

    def _sums(self, each: Tensor) -> Tensor:
        padded = nn.functional.pad(each.reshape(each.shape[0], -1), (0, -self.each % self.size))
        return padded.reshape(each.shape[0], -1, self.size).sum(2)


class Dynasty(Method):
    """The share of blocks at full width rises evenly from ``first`` to 1 at ``end``, the most sensitive ones before.

    Full width is that of the model, or any assignment. It is what is exported; how many bits a step of the training
    would take is ``average_bits`` in the log.

    Args:
        low: The width of the other blocks.
        weight_bits: The full width of all weights; None for the widths that the model has.
        layers: Full widths of single layers, by module path.
        block: Weights of a block.
        first: The share of blocks at full width at the start.
        end: When all have full width, as a share of the training.
        every: Steps between two choices of the blocks.
    """

    def __init__(
        self,
        low: int = 2,
        weight_bits: int | None = None,
        layers: Mapping[str, int] | None = None,
        block: int = 16,
        first: float = 0.2,
        end: float = 0.7,
        every: int = 10,
    ) -> None:
        if low < 2:
            raise OptionError(f"low = {low}", "choose 2 bits or more")
        if block < 1 or every < 1:
            raise OptionError(f"block = {block}, every = {every}", "choose 1 or more for each")
        if not (0 <= first <= 1 and 0 < end < 1):
            raise OptionError(f"first = {first:g}, end = {end:g}", "choose 0 <= first <= 1 and 0 < end < 1")
        self.low, self.block, self.first, self.end, self.every = low, block, first, end, every
        self.target = Uniform(weight_bits, None, layers)

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Gives blocks to each weight.

        Raises:
            OptionError: No layer has more bits than ``low``.
        """
        self.target.prepare(model, example, steps)
        super().prepare(model, example, steps)
        widths = {name: int(weight_bits(layer).max()) for name, layer in self.layers.items()}
        if max(widths.values()) <= self.low:
            raise OptionError(
                f"low = {self.low}, and no layer has more bits", "choose fewer, or more for the weights of the model"
            )
        for name, layer in self.layers.items():
            before = layer.weight_quant.tensor_quant
            blocks = Blocks(before, tuple(layer.weight.shape), widths[name], self.low, self.block)
            replace_weight_quantizer(layer, blocks)
        self._choose(self.first)

    def on_step(self, step: int) -> None:
        """Follows the sensitivities, and chooses the blocks anew when it is time."""
        if step >= self.end * self.steps:
            self._choose(1.0)
        elif step % self.every == 0:
            for name, blocks in self._blocks().items():
                blocks.observe(self.layers[name].weight)
            self._choose(self.first + (1 - self.first) * step / (self.end * self.steps))

    def finalize(self) -> None:
        """Gives the layers their quantisers back; all blocks have full width by now."""
        for name, blocks in self._blocks().items():
            replace_weight_quantizer(self.layers[name], blocks.before)

    def _choose(self, share: float) -> None:
        """That share of all blocks has full width: those that are most sensitive, the earlier ones where equal."""
        found = torch.cat([blocks.sensitivity.flatten() for blocks in self._blocks().values()])
        best = found.argsort(descending=True, stable=True)[: round(share * len(found))]
        full = torch.zeros_like(found, dtype=torch.bool)
        full[best] = True
        for blocks in self._blocks().values():
            own, full = full[: blocks.full.numel()], full[blocks.full.numel() :]
            blocks.full.copy_(own.reshape(blocks.full.shape))

    def _blocks(self) -> dict[str, Blocks]:
        return {name: layer.weight_quant.tensor_quant for name, layer in self.layers.items()}
