# SPDX-License-Identifier: Apache-2.0
"""PTILMPQ: after training, important channels of important layers get more bits; grids have two regions.

Source: post-training quantization with importance-aware layer-wise mixed precision, arXiv:2404.02947 (read: the
abstract and a summary). Hence "PTILMPQ-style": important layers, important channels within them, and a dense and a
sparse region of values with a shared boundary are theirs. What importance is, how many bits follow, and that the
sparse region's step is the dense one's times a power of two are ours.
"""

import warnings

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on optional packages and on modules that are to move
    from brevitas.inject.enum import RestrictValueType

from flow.errors import OptionError
from flow.quant.layers import MOST_BITS, replace_weight_quantizer
from flow.quant.methods.grids import Quantised
from flow.quant.methods.post_training import PostTraining
from flow.quant.methods.sensitivity import Damage, natural, sensitivities

_SHRINKS = tuple(1 - 0.05 * step for step in range(18))
"""Of the greatest weight: what the grid reaches to."""
_TINY = 1e-12


class TwoRegions(nn.Module):
    """Each channel on a grid of its own, dense near zero and sparse beyond: integers times one scale.

    Half of the codes of b bits are the integers below 2**(b-2), the other half starts there and goes on in steps of
    2**ratio. With a ratio of 0 that is the plain grid, to 2**(b-1) - 1.

    Args:
        scale: The dense step of each channel, in a shape that broadcasts to the weights.
        codes: The bits of each channel's codes, in the same shape.
        ratio: The sparse step is 2**ratio dense ones, of each channel.
    """

    def __init__(self, scale: Tensor, codes: Tensor, ratio: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.clone())
        self.register_buffer("codes", codes.to(scale.dtype))
        self.register_buffer("ratio", ratio.to(scale.dtype))
        self.register_buffer("zero", torch.zeros((), device=scale.device), persistent=False)

    def integers(self, weight: Tensor) -> Tensor:
        """The nearest level of each weight, in dense steps, with its sign."""
        size = weight.abs() / self.scale
        half, coarse = torch.pow(2.0, self.codes - 2), torch.pow(2.0, self.ratio)
        dense = size.round().clamp(max=half)
        sparse = half + coarse * ((size - half) / coarse).round().clamp(min=self.zero, max=half - 1)
        return torch.where(size < half, dense, sparse) * weight.sign()

    def own_bits(self, weight: Tensor) -> Tensor:
        """Of the integers of each channel, with their sign, as they are built."""
        del weight
        half = torch.pow(2.0, self.codes - 2)
        return torch.frexp(half + torch.pow(2.0, self.ratio) * (half - 1)).exponent + 1.0

    def forward(self, weight: Tensor) -> Quantised:
        value = self.integers(weight.detach()) * self.scale
        return weight + (value - weight).detach(), self.scale, self.zero, self.own_bits(weight).max()


def fitted(weight: Tensor, channel: int, codes: Tensor, ratios: int, *, powers_of_two: bool) -> TwoRegions:
    """The grid of each channel with the least squared error: over the dense step, so the boundary, and the ratio.

    Args:
        weight: Float.
        channel: The axis of the output channels.
        codes: Bits of each channel's codes: one number each, in a shape that broadcasts to the weights.
        ratios: The greatest ratio that is tried, as a power of two.
        powers_of_two: Whether steps have to be.
    """
    axes = [axis for axis in range(weight.ndim) if axis != channel]
    top = weight.abs().amax(axes, keepdim=True).clamp_min(_TINY)
    best: list[Tensor] | None = None
    for ratio in range(ratios + 1):
        own = torch.minimum(torch.full_like(codes, ratio), codes - 2)  # the boundary is a sparse level
        half = torch.pow(2.0, codes - 2)
        reach = half + torch.pow(2.0, own) * (half - 1)
        for shrink in _SHRINKS:
            scale = top * shrink / reach
            if powers_of_two:
                scale = torch.pow(2.0, torch.log2(scale).round())
            grid = TwoRegions(scale, codes, own)
            error = (grid(weight)[0] - weight).square().sum(axes, keepdim=True)
            found = [error, scale, own]
            if best is not None:
                better = error < best[0]
                found = [torch.where(better, new, old) for new, old in zip(found, best, strict=True)]
            best = found
    assert best is not None
    return TwoRegions(best[1], codes, best[2])


class Ptilmpq(PostTraining):
    """Trains in float, and quantises at the end. A layer is important by what the network loses at ``low`` bits there
    and nowhere else, a channel by the sum of its weights' magnitudes. The most important ``channels`` of the most
    important ``important`` layers get codes of ``high`` bits, all others of ``low``.

    A channel's codes stand for integers times one scale; in the sparse region their last ``ratio`` bits are 0. These
    integers are what is stored and built: up to ``ratio`` bits wider than the codes, and counted as such.

    Args:
        low: Bits of the codes of what is less important.
        high: Of what is more important.
        important: Share of the layers.
        channels: Share of the channels in each of them.
        ratio: The greatest ratio between the steps of both regions that is tried, as a power of two; 0: plain grids.
        act_bits: Of all activations; None leaves what the model has.
        frames: How many of the training frames calibrate, and tell which layers are important.
        fold: Whether batch norms become part of the weights in front of them.
        equalise: Whether channels are scaled between layers so that their ranges agree.
        correct: Whether biases make up for what rounding has shifted.
    """

    def __init__(
        self,
        low: int = 3,
        high: int = 5,
        important: float = 0.5,
        channels: float = 0.5,
        ratio: int = 1,
        act_bits: int | None = None,
        frames: int = 512,
        fold: bool = True,
        equalise: bool = True,
        correct: bool = True,
    ) -> None:
        if not 2 <= low <= high or high + ratio > MOST_BITS:
            raise OptionError(
                f"low = {low}, high = {high}, ratio = {ratio}",
                f"choose 2 <= low <= high, and high + ratio of {MOST_BITS} at most",
            )
        if not (0 <= important <= 1 and 0 <= channels <= 1) or ratio < 0:
            raise OptionError(
                f"important = {important:g}, channels = {channels:g}, ratio = {ratio}",
                "choose shares from 0 to 1, and a ratio of 0 or more",
            )
        super().__init__(low, act_bits, None, frames, fold, equalise, correct)
        self.low, self.high, self.ratio = low, high, ratio
        self.important, self.channels = important, channels

    def quantise(self, x: Tensor) -> None:
        """Finds what is important, and fits the grids."""
        for name in (ranked := self.ranking())[: round(self.important * len(ranked))]:
            self._fit(name, self.channels)
        for name in ranked[round(self.important * len(ranked)) :]:
            self._fit(name, 0.0)

    def ranking(self) -> list[str]:
        """The layers, the most important one first."""
        task = self.seen().some(self.frames)
        damage = Damage(self.model, task, natural(task))
        choices = (self.low, max(self.high, self.low + 1))
        losses = sensitivities(damage, choices, (choices[1],) * len(self.layers))
        names = list(self.layers)
        return sorted(names, key=lambda name: -losses[names.index(name), self.low])

    def _fit(self, name: str, share: float) -> None:
        layer = self.layers[name]
        weight, axis = layer.weight.detach(), layer.output_channel_dim
        size = weight.abs().sum([a for a in range(weight.ndim) if a != axis], keepdim=True)
        count = round(share * weight.shape[axis])
        codes = torch.full_like(size, float(self.low))
        codes.flatten()[size.flatten().argsort(descending=True)[:count]] = float(self.high)
        powers = layer.weight_quant.quant_injector.restrict_scaling_type == RestrictValueType.POWER_OF_TWO
        replace_weight_quantizer(layer, fitted(weight, axis, codes, self.ratio, powers_of_two=powers))
