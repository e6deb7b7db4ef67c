# SPDX-License-Identifier: Apache-2.0
"""Baselines with grids of their own in [-1, 1]: DoReFa and WRPN.

Sources: Zhou et al., DoReFa-Net, arXiv:1606.06160, sections 2.3 and 2.4 (gradients are not quantised here); Mishra et
al., WRPN: wide reduced-precision networks, arXiv:1709.01134, section 3 (the widening is the model's ``width``).
"""

from collections.abc import Mapping

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
)
from flow.quant.layers import weight_bits as bits_of
from flow.quant.methods.uniform import Uniform

Quantised = tuple[Tensor, Tensor, Tensor, Tensor]
"""Value, scale, zero point, bit width."""


class DorefaWeights(nn.Module):
    """2 Q(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1, where Q rounds to k / (2**bits - 1).

    The levels are the odd multiples of 1 / (2**bits - 1); zero is none of them. As integers they need one bit more
    than the 2**bits values that there are. At one bit: the sign times the mean magnitude.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def position(self, weight: Tensor) -> Tensor:
        bent = torch.tanh(weight)
        return (bent / (2 * bent.detach().abs().max()) + 0.5) * (2**self.bits - 1)

    def forward(self, weight: Tensor) -> Quantised:
        if self.bits == 1:
            scale = weight.detach().abs().mean()
            sign = torch.where(weight.detach() >= 0, 1.0, -1.0)
            passed = weight - weight.detach()  # straight through
            return sign * scale + passed, scale, self.zero, self.zero + 1
        steps = 2.0**self.bits - 1
        scale = 1 / (self.zero + steps)
        return (2 * round_ste(self.position(weight)) - steps) * scale, scale, self.zero, self.zero + self.bits + 1


class WrpnWeights(nn.Module):
    """The weight, clipped to [-1, 1], rounded to a multiple of 1 / (2**(bits-1) - 1)."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def position(self, weight: Tensor) -> Tensor:
        return weight.clamp(-1, 1) * (2 ** (self.bits - 1) - 1)

    def forward(self, weight: Tensor) -> Quantised:
        scale = 1 / (self.zero + (2 ** (self.bits - 1) - 1))
        return round_ste(self.position(weight)) * scale, scale, self.zero, self.zero + self.bits


class UnitActivations(nn.Module):
    """The activation, clipped to [0, 1], rounded to a multiple of 1 / (2**bits - 1)."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Quantised:
        steps = 2.0**self.bits - 1
        scale = 1 / (self.zero + steps)
        return round_ste(x.clamp(0, 1) * steps) * scale, scale, self.zero, self.zero + self.bits


class _Grid(Uniform):
    weights: type[DorefaWeights] | type[WrpnWeights]
    least: int

    def __init__(
        self, weight_bits: int | None = None, act_bits: int | None = None, layers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(weight_bits, act_bits, layers)

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantisers of all weights and of all activations that have no sign."""
        super(Uniform, self).prepare(model, example, steps)
        for name, given in self.given_bits(model).items():
            bits = given if given is not None else int(bits_of(self.layers[name]).max())
            self._check(bits, f"the weights of {name}", self.least)
            replace_weight_quantizer(self.layers[name], self.weights(bits))
        for name, proxy in activations(model).items():
            if not proxy.is_signed:
                bits = self.act_bits if self.act_bits is not None else int(activation_bits(proxy))
                self._check(bits, f"the activation {name}", 1)
                replace_activation_quantizer(proxy, UnitActivations(bits))

    def _check(self, bits: int, label: str, least: int) -> None:
        if not least <= bits <= MOST_BITS:
            raise OptionError(f"{label} cannot have {bits} bits", f"choose {least} to {MOST_BITS}")


class Dorefa(_Grid):
    """DoReFa: weights bent by tanh, levels without a zero; activations in [0, 1].

    ``weight_bits`` is the paper's k: a weight takes one of 2**k values, which stand in k + 1 bits (see
    ``DorefaWeights``), except for k = 1.

    Args:
        weight_bits: Of all weights; None for the widths that the model has.
        act_bits: Of all activations without a sign; None for the widths that the model has.
        layers: Widths of the weights of single layers, by module path.
    """

    weights = DorefaWeights
    least = 1


class Wrpn(_Grid):
    """WRPN: weights clipped to [-1, 1], levels with a zero; activations in [0, 1].

    The grid does not follow the weights: those of a wide layer, as they are initialised, may all be 0 on it, and no
    gradient comes past such a layer. It is scaled to fill [-1, 1] at the start, with its bias; a batch norm behind it
    takes that back.

    Args:
        weight_bits: Of all weights; None for the widths that the model has.
        act_bits: Of all activations without a sign; None for the widths that the model has.
        layers: Widths of the weights of single layers, by module path.
    """

    weights = WrpnWeights
    least = 2

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Replaces the quantisers, and scales up what would all be 0."""
        super().prepare(model, example, steps)
        with torch.no_grad():
            for layer in self.layers.values():
                if not bool(layer.quant_weight().value.any()):
                    factor = 1 / layer.weight.abs().max().clamp_min(1e-12)
                    for parameter in (layer.weight, layer.bias):
                        if parameter is not None:
                            parameter.mul_(factor)
