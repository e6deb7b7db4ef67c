# SPDX-License-Identifier: Apache-2.0
"""A2Q and A2Q+: weights whose sums fit into accumulators of a given width, whatever the input.

Sources: Colbert et al., A2Q: accumulator-aware quantization with guaranteed overflow avoidance, arXiv:2308.13504, and
A2Q+: improving accumulator-aware weight quantization, arXiv:2401.10432 (read: Brevitas' implementation and the
abstracts; the formulas are restated, the code is not theirs). Two things differ: the bound comes from the range of
integers that the compiler finds at each layer's input, and no layer has to hand on a tensor with its type.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flow.errors import OptionError, TrainingError
from flow.quant.layers import replace_weight_quantizer, weight_bits
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised
from flow.quant.methods.inputs import layer_inputs


class _TowardsZero(torch.autograd.Function):
    """Cuts off the fraction, so that no norm grows; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.trunc(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class BoundedNorm(nn.Module):
    """Integer weights of each output channel, the sum of whose magnitudes is at most ``most``.

    value = trunc(min(g / s, most) * v / |v|_1) * s, clipped to the width, with a norm g and a scale s for each channel,
    both learned as logarithms; v is the weight, less the mean of its channel where it is ``centred``.
    """

    def __init__(self, weight: Tensor, channels: int, bits: int, most: int, *, centred: bool) -> None:
        super().__init__()
        self.channels, self.bits, self.most, self.centred = channels, bits, most, centred
        v = self._direction(weight.detach())
        greatest = self._each(v.abs().amax, v).clamp_min(1e-12)
        self.log_scale = nn.Parameter((greatest / (2 ** (bits - 1) - 1)).log())
        self.log_norm = nn.Parameter(self._each(v.abs().sum, v).clamp_min(1e-12).log())
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def _axes(self, v: Tensor) -> list[int]:
        return [axis for axis in range(v.ndim) if axis != self.channels]

    def _each(self, reduce: Any, v: Tensor) -> Tensor:
        """A reduction over each output channel, in a shape that broadcasts to the weight."""
        return reduce(self._axes(v), keepdim=True)

    def _direction(self, weight: Tensor) -> Tensor:
        return weight - self._each(weight.mean, weight) if self.centred else weight

    def excess(self) -> Tensor:
        """By how much the learned norms pass the bound, over all channels: what is cut off gets no other gradient."""
        return torch.relu(self.log_norm.exp() - self.most * self.log_scale.exp()).sum()

    def forward(self, weight: Tensor) -> Quantised:
        v = self._direction(weight)
        scale = self.log_scale.exp()
        norm = (self.log_norm.exp() / scale).clamp_max(self.most)
        most = 2 ** (self.bits - 1) - 1
        position = v / self._each(v.abs().sum, v).clamp_min(1e-12) * norm
        return _TowardsZero.apply(position).clamp(-most, most) * scale, scale, self.zero, self.zero + self.bits


class A2q(Method):
    """Every partial sum of a layer fits into ``accumulator_bits``: |w|_1 * max|x| <= 2**(bits-1) - 1, in integers.

    Args:
        accumulator_bits: Of all layers, sign included.
        layers: Accumulators of single layers, by module path. A first layer with 8-bit inputs wants a wider one.
        strength: Of the penalty on norms beyond the bound.
    """

    centred = False

    def __init__(
        self, accumulator_bits: int = 16, layers: Mapping[str, int] | None = None, strength: float = 1e-3
    ) -> None:
        self.accumulator_bits, self.of_layer, self.strength = accumulator_bits, dict(layers or {}), strength

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Finds the range of each layer's input, and replaces the quantiser of its weights."""
        super().prepare(model, example, steps)
        for name in self.of_layer:
            if name not in self.layers:
                raise OptionError(
                    f"the model has no layer '{name}' with weights", f"choose among {', '.join(self.layers)}"
                )
        ranges = input_ranges(model, example)
        for name, layer in self.layers.items():
            bits, accumulator = int(weight_bits(layer).max()), self.of_layer.get(name, self.accumulator_bits)
            if bits < 2:
                raise OptionError(f"the weights of {name} have {bits} bit", "choose 2 or more for A2Q")
            most = self._most(accumulator, *ranges[name])
            if most < 1:
                raise OptionError(
                    f"no weight fits into an accumulator of {accumulator} bits in {name}, whose input reaches from "
                    f"{ranges[name][0]} to {ranges[name][1]}",
                    f'give it more, e.g. layers = {{"{name}" = {2 * accumulator}}}',
                )
            channels = int(layer.output_channel_dim)
            replace_weight_quantizer(layer, BoundedNorm(layer.weight, channels, bits, most, centred=self.centred))

    def _most(self, accumulator: int, lo: int, hi: int) -> int:
        """The greatest sum of magnitudes of integer weights: each input has the worst value for its weight."""
        return (2 ** (accumulator - 1) - 1) // max(-lo, hi, 1)

    def own_parameters(self) -> list[nn.Parameter]:
        """Norms and scales."""
        return [p for layer in self.layers.values() for p in layer.weight_quant.tensor_quant.parameters()]

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Norms and scales without weight decay."""
        return [*super().param_groups(lr), {"params": self.own_parameters(), "lr": lr, "weight_decay": 0.0}]

    def loss(self) -> Tensor:
        """The norms beyond the bounds."""
        excess = [layer.weight_quant.tensor_quant.excess() for layer in self.layers.values()]
        return self.strength * sum(excess, super().loss())

    def finalize(self) -> None:
        """Asserts that the bounds left something of each layer.

        Raises:
            TrainingError: All weights of a layer were cut off to 0.
        """
        dead = [name for name, layer in self.layers.items() if not bool(layer.quant_weight().value.any())]
        if dead:
            widths = {self.of_layer.get(name, self.accumulator_bits) for name in dead}
            raise TrainingError(
                f"all weights of {', '.join(dead)} were cut off to 0: accumulators of "
                f"{', '.join(map(str, sorted(widths)))} bits are too narrow for so many inputs",
                "give them more by 'layers', or all of them by accumulator_bits",
            )


class A2qPlus(A2q):
    """A2Q with weights centred in each channel: as much positive as negative, and nearly twice the norm.

    The bound: |w|_1 * (max x - min x) / 2 <= 2**(bits-1) - 1, in integers. Rounding towards zero takes from both sides,
    so either keeps to its half.
    """

    centred = True

    def _most(self, accumulator: int, lo: int, hi: int) -> int:
        return 2 * ((2 ** (accumulator - 1) - 1) // max(hi - lo, 1))


def input_ranges(model: nn.Module, example: Tensor) -> dict[str, tuple[int, int]]:
    """The least and the greatest integer at the input of each layer with weights, as the compiler builds it."""
    return {name: (found.lo, found.hi) for name, found in layer_inputs(model, example).items()}
