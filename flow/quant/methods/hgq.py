# SPDX-License-Identifier: Apache-2.0
"""HGQ: the bits behind the point of each weight and of each activation, by gradient; a weight without bits is pruned.

Source: Sun et al., Gradient-based automatic per-weight mixed precision quantization for neural networks on-chip,
arXiv:2405.00645 (read: the abstract and the authors' code and notes; the formulas are theirs, restated). Two things
differ: an activation beyond its tracked range saturates, where theirs wraps around, and has one width for its tensor.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import (
    MOST_BITS,
    activation_bits,
    activations,
    replace_activation_quantizer,
    replace_weight_quantizer,
    round_ste,
    weight_bits,
)
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised
from flow.quant.methods.inputs import LayerInput, layer_inputs

FREEZE = 0.8
"""When the widths are final, as a share of the training."""
_REACH = 3.0  # how often the widths could cross their whole range before they are final
_FORGET = 0.01  # of the tracked range of an activation, a step
_TINY = 1e-12


def _integer_bits(magnitude: Tensor) -> Tensor:
    """Bits in front of the point; negative for small numbers. 0.5 has 0, 1.0 has 1."""
    return torch.frexp(magnitude.clamp_min(_TINY)).exponent.to(magnitude.dtype)


class FinePoint(nn.Module):
    """Rounds each weight to ``fraction`` bits behind the point: one number each, or one for an output channel.

    As integers the weights stand on the finest grid of the tensor. The gradient of the fraction is that of
    round(w 2**f) / 2**f with the rounding passed straight through: ln 2 times the error.
    """

    def __init__(self, shape: tuple[int, ...], fraction: Tensor, most: float) -> None:
        super().__init__()
        self.most = most
        self.fraction = nn.Parameter(fraction.expand(shape).clone())
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def _rounded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The value of each weight, and its whole number of bits behind the point."""
        fraction = round_ste(self.fraction)
        factor = torch.pow(2.0, fraction)
        position = weight * factor
        return (torch.floor(position + 0.5) - position).detach().add(position) / factor, fraction

    def magnitude_bits(self, weight: Tensor) -> Tensor:
        """Without the sign; in the shape of ``fraction``, with a gradient to it. 0 where all weights are 0."""
        value, fraction = self._rounded(weight)
        size = value.detach().abs()
        for axis, extent in enumerate(fraction.shape):
            size = size if extent != 1 else size.amax(axis, keepdim=True)
        return torch.where(size > 0, _integer_bits(size) + fraction, torch.zeros_like(fraction))

    def own_bits(self, weight: Tensor) -> Tensor:
        """The width of each weight with its sign; 0 where it is pruned."""
        bits = self.magnitude_bits(weight)
        return bits + (bits > 0)

    def forward(self, weight: Tensor) -> Quantised:
        value, fraction = self._rounded(weight)
        finest = fraction.detach().max()
        scale = torch.pow(2.0, -finest)
        bits = _integer_bits(value.detach().abs().max() / scale) + 1
        return value, scale, self.zero, bits.clamp_min(2.0)


class FineActivation(nn.Module):
    """An activation without a sign on a grid of ``fraction`` bits behind the point, one number for the tensor.

    The bits in front of the point follow the greatest value that was seen lately; beyond them it saturates.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.start = bits
        self.fraction = nn.Parameter(torch.zeros(()))
        self.register_buffer("top", torch.zeros(()))
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def bits(self) -> Tensor:
        """One or more, with a gradient."""
        return (_integer_bits(self.top) + round_ste(self.fraction)).clamp(1, MOST_BITS)

    def forward(self, x: Tensor) -> Quantised:
        if self.training:
            self._track(x.detach().max())
        bits = self.bits()
        fraction = bits - _integer_bits(self.top)
        factor = torch.pow(2.0, fraction)
        value = torch.minimum(round_ste(x.clamp_min(0) * factor), torch.pow(2.0, bits) - 1) / factor
        return value, 1 / factor.detach(), self.zero, bits.detach()

    def _track(self, top: Tensor) -> None:
        with torch.no_grad():
            if self.top == 0:  # the first batch
                self.top.copy_(top.clamp_min(_TINY))
                self.fraction.copy_(self.start - _integer_bits(self.top))
            else:
                self.top.copy_(torch.maximum(self.top * (1 - _FORGET), top))


class Hgq(Method):
    """strength * EBOPs, and penalty * bits, in the loss. EBOPs: the sum of width times width over all multiplications.

    A layer on one multiplier for each weight (the unrolled style) costs about one LUT for each of them. Widths are
    those of magnitudes; the sign is free. A weight that is rounded to 0 has no bits, costs nothing, and is 0 in the
    file.

    Args:
        strength: Of EBOPs, as a share of those at the start.
        penalty: Of each bit of weights and activations, as a share of those at the start.
        each: Whether each ``weight`` has a width of its own, or each output ``channel``.
        act_widths: Whether the widths of activations without a sign learn, too.
        max_fraction: The most bits behind the point.
        bits_lr: The rate of the widths, for Adam. None: such that they could cross their range three times.
    """

    def __init__(
        self,
        strength: float = 0.3,
        penalty: float = 0.0,
        each: Literal["weight", "channel"] = "weight",
        act_widths: bool = True,
        max_fraction: int = 8,
        bits_lr: float | None = None,
    ) -> None:
        if not 1 <= max_fraction <= 12:
            raise OptionError(f"max_fraction is {max_fraction}", "choose 1 to 12")
        if each not in ("weight", "channel"):
            raise OptionError(f"there are no widths for each '{each}'", "choose weight or channel")
        self.strength, self.penalty, self.each, self.act_widths = strength, penalty, each, act_widths
        self.max_fraction, self.bits_lr = max_fraction, bits_lr
        self.inputs: dict[str, LayerInput] = {}
        self.start = (1.0, 1.0)

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantisers of weights and activations by those with binary points, as wide as they are."""
        super().prepare(model, example, steps)
        self.inputs = layer_inputs(model, example)
        for layer in self.layers.values():
            bits = int(weight_bits(layer).max())
            top = _integer_bits(layer.weight.detach().abs().max())
            shape = list(layer.weight.shape)
            if self.each == "channel":
                shape = [n if axis == layer.output_channel_dim else 1 for axis, n in enumerate(shape)]
            fraction = (bits - 1 - top).clamp(-float(MOST_BITS), self.max_fraction)
            replace_weight_quantizer(layer, FinePoint(tuple(shape), fraction, self.max_fraction))
        for proxy in activations(model).values() if self.act_widths else ():
            if not proxy.is_signed:
                fine = FineActivation(int(activation_bits(proxy)))
                replace_activation_quantizer(proxy, fine.to(example.device))
        given = {name: found.bits for name, found in self.inputs.items()}
        with torch.no_grad():
            self.start = (
                sum(float(self._bits_of(name)) * found.positions * given[name] for name, found in self.inputs.items()),
                sum(float(self._bits_of(name)) for name in self.layers) + sum(given.values()),
            )

    def own_parameters(self) -> list[nn.Parameter]:
        """The bits behind the points."""
        points = [point.fraction for point in self._points().values()]
        return [*points, *(activation.fraction for activation in self._activations().values())]

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The bits by a rate of their own, without weight decay."""
        rate = self.bits_lr if self.bits_lr is not None else _REACH * self.max_fraction / (FREEZE * self.steps)
        return [*super().param_groups(lr), {"params": self.own_parameters(), "lr": rate, "weight_decay": 0.0}]

    def ebops(self) -> Tensor:
        """Effective bit operations of a frame: of each multiplication the product of both widths."""
        found = self._activations()
        total = super().loss()
        for name, source in self.inputs.items():
            learned = [found[path].bits() for path in source.quantizers if path in found]
            bits = torch.stack(learned).max() if learned else torch.tensor(float(source.bits), device=total.device)
            total = total + self._bits_of(name) * source.positions * bits
        return total

    def loss(self) -> Tensor:
        """The regulariser: EBOPs and bits, as shares of those at the start."""
        total = self.strength * self.ebops() / self.start[0]
        if self.penalty:
            bits = sum((self._bits_of(name) for name in self.layers), super().loss())
            bits = sum((each.bits() for each in self._activations().values()), bits)
            total = total + self.penalty * bits / self.start[1]
        return total

    def on_step(self, step: int) -> None:
        """Keeps the points in their range, and freezes them when their time is over and they keep to the budget."""
        learns = step < FREEZE * self.steps or not self.met()
        for parameter in self.own_parameters():
            with torch.no_grad():
                parameter.clamp_(-float(MOST_BITS), self.max_fraction)
            parameter.requires_grad_(learns)

    def widths(self) -> dict[str, Tensor]:
        """Of each weight or channel, its sign included; 0 where it is pruned."""
        return {name: point.own_bits(self.layers[name].weight) for name, point in self._points().items()}

    def assignment(self) -> dict[str, Tensor]:
        """The same, whole: what each integer takes from its leading bit to the finest one of its weight or channel."""
        with torch.no_grad():
            return {name: bits.round().to(torch.int64) for name, bits in self.widths().items()}

    def metrics(self) -> dict[str, float]:
        """EBOPs, and the share of weights that are 0."""
        with torch.no_grad():
            values = [layer.quant_weight().value for layer in self.layers.values()]
            pruned = sum(int((v == 0).sum()) for v in values) / sum(v.numel() for v in values)
            return {"ebops": float(self.ebops()), "pruned": pruned}

    def _bits_of(self, name: str) -> Tensor:
        """Of all weights of a layer, without their signs."""
        weight = self.layers[name].weight
        bits = self._points()[name].magnitude_bits(weight)
        return bits.sum() * (math.prod(weight.shape) / bits.numel())

    def _points(self) -> dict[str, FinePoint]:
        return {name: layer.weight_quant.tensor_quant for name, layer in self.layers.items()}

    def _activations(self) -> dict[str, FineActivation]:
        found = {n: p.fused_activation_quant_proxy.tensor_quant for n, p in activations(self.model).items()}
        return {name: quantizer for name, quantizer in found.items() if isinstance(quantizer, FineActivation)}
