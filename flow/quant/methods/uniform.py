# SPDX-License-Identifier: Apache-2.0
"""The baseline: widths given in advance, straight-through gradients, the model's own quantisers."""

from collections.abc import Mapping

from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import activations, set_activation_bits, set_weight_bits, weight_layers
from flow.quant.methods.base import Method


class Uniform(Method):
    """Given widths: one for all layers, or any assignment that a search has found.

    Args:
        weight_bits: Of all weights; None leaves what the model has.
        act_bits: Of all activations; None leaves what the model has.
        layers: Widths of the weights of single layers, by module path; they go before ``weight_bits``.
    """

    def __init__(
        self, weight_bits: int | None = None, act_bits: int | None = None, layers: Mapping[str, int] | None = None
    ) -> None:
        self.weight_bits, self.act_bits, self.of_layer = weight_bits, act_bits, dict(layers or {})

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Sets the widths."""
        super().prepare(model, example, steps)
        for name, bits in self.given_bits(model).items():
            if bits is not None:
                set_weight_bits(self.layers[name], bits, name)
        if self.act_bits is not None:
            for name, proxy in activations(model).items():
                set_activation_bits(proxy, self.act_bits, name)

    def given_bits(self, model: nn.Module) -> dict[str, int | None]:
        """The width that was asked for, layer by layer.

        Raises:
            OptionError: A width is given for a layer that there is not.
        """
        names = list(weight_layers(model))
        for name in self.of_layer:
            if name not in names:
                raise OptionError(f"the model has no layer '{name}' with weights", f"choose among {', '.join(names)}")
        return {name: self.of_layer.get(name, self.weight_bits) for name in names}
