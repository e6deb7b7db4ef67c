# SPDX-License-Identifier: Apache-2.0
"""The quantised layers of a Brevitas model, and their bit widths.

What learns a width lives in the layer itself, as its ``tensor_quant`` (the module that quantises: float tensor in,
quantised value, scale, zero point and bit width out). So it moves with the model, is saved with it, and is exported.
"""

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on optional packages and on modules that are to move
    from brevitas import config
    from brevitas.function.ops_ste import round_ste
    from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
    from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase

from flow.errors import OptionError

__all__ = [
    "QuantLayer",
    "Width",
    "activation_bits",
    "activations",
    "average_bits",
    "grid_position",
    "load_state",
    "renew_quantizer",
    "replace_activation_quantizer",
    "replace_weight_quantizer",
    "round_ste",
    "set_activation_bits",
    "set_weight_bits",
    "state_of",
    "weight_bits",
    "weight_layers",
]

MOST_BITS = 16
"""Of a weight or an activation; beyond that float32 does not hold the sums of a layer any more."""


class Width(nn.Module):
    """A bit width that is set from outside; any shape that broadcasts to the quantised tensor."""

    def __init__(self, bits: float | Tensor) -> None:
        super().__init__()
        self.register_buffer("bits", torch.as_tensor(bits, dtype=torch.float32).clone())

    def forward(self) -> Tensor:
        return self.bits


class HasPosition(Protocol):
    """A weight quantiser that says where on its grid a float weight lies."""

    def position(self, weight: Tensor) -> Tensor:
        """In steps of the grid: a grid point is a whole number."""


def weight_layers(model: nn.Module) -> dict[str, Any]:
    """The layers with quantised weights, by module path, in the order in which they were made."""
    return {n: m for n, m in model.named_modules() if isinstance(m, QuantLayer) and m.weight_quant.is_quant_enabled}


def activations(model: nn.Module) -> dict[str, Any]:
    """The proxies that quantise activations, by the path of their layer, in the order in which they were made."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        if isinstance(module, ActQuantProxyFromInjectorBase) and module.is_quant_enabled:
            layer, _, role = path.rpartition(".")
            found[layer if role == "act_quant" else path] = module
    return found


def weight_bits(layer: Any) -> Tensor:
    """The whole widths of a layer's weights: one, or a tensor that broadcasts to them.

    A quantiser whose weights have widths of their own on one grid says them as ``own_bits``: its bit width is that
    of the grid.
    """
    with torch.no_grad():
        quantizer = layer.weight_quant.tensor_quant
        if hasattr(quantizer, "own_bits"):
            return quantizer.own_bits(layer.weight).round().to(torch.int64)
        return layer.weight_quant.bit_width().detach().round().to(torch.int64)


def activation_bits(proxy: Any) -> Tensor:
    """The whole width of an activation."""
    with torch.no_grad():
        return proxy.bit_width().detach().round().to(torch.int64)


def set_weight_bits(layer: Any, bits: int, label: str) -> None:
    """Gives an integer quantiser of Brevitas another width; ``label`` names the layer in messages.

    Raises:
        OptionError: The width is not possible, or the quantiser is of another kind.
    """
    _set_width(layer.weight_quant.tensor_quant, bits, f"the weights of {label}")


def set_activation_bits(proxy: Any, bits: int, label: str) -> None:
    """Like ``set_weight_bits`` for an activation."""
    _set_width(proxy.fused_activation_quant_proxy.tensor_quant, bits, f"the activation {label}")


def _set_width(quantizer: Any, bits: int, label: str) -> None:
    if not 2 <= bits <= MOST_BITS:
        raise OptionError(
            f"{label} cannot have {bits} bits",
            f"choose 2 to {MOST_BITS}; a binary layer (1 bit) has another quantiser: say weight_bits = 1 in the model",
        )
    if not hasattr(quantizer, "msb_clamp_bit_width_impl"):
        raise OptionError(
            f"{label} are quantised by {type(quantizer).__name__}, which has no width to set",
            "build the model with integer weights (weight_bits of 2 or more)",
        )
    device = next((t.device for t in (*quantizer.parameters(), *quantizer.buffers())), torch.device("cpu"))
    quantizer.msb_clamp_bit_width_impl = Width(bits).to(device)


def replace_weight_quantizer(layer: Any, quantizer: nn.Module) -> None:
    """From here on ``quantizer`` turns the layer's float weight into (value, scale, zero point, bit width).

    The layer goes on to call itself signed and narrow: levels are -(2**(bits-1) - 1) to 2**(bits-1) - 1.
    """
    layer.weight_quant.tensor_quant = quantizer.to(layer.weight.device)


def replace_activation_quantizer(proxy: Any, quantizer: nn.Module) -> None:
    """The same for an activation; whether it is signed and narrow stays."""
    proxy.fused_activation_quant_proxy.tensor_quant = quantizer


def renew_quantizer(proxy: Any, *bases: type) -> None:
    """Has Brevitas make a quantiser anew, without what it has learned or seen, as wide as it is now.

    The recipe that it is made from still names the layer that a copied layer was copied from; here it is told the copy.

    Args:
        proxy: Of a weight or an activation.
        bases: Brevitas' injectors, whose choices go before those of the recipe.
    """
    device, bits = proxy.scale().device, int(proxy.bit_width())
    kind = type("Renewed", (*bases, proxy.quant_injector), {"bit_width": bits})
    proxy.quant_injector = kind.let(proxy_module=proxy)  # type: ignore[attr-defined]
    proxy.update_tracked_modules()
    proxy.init_tensor_quant()
    proxy.to(device)


def grid_position(layer: Any) -> Tensor:
    """Where the layer's float weights lie on the grid of its quantiser, in steps: a grid point is a whole number.

    The scale counts as a constant: a gradient moves the weights to the grid, not the grid to the weights.
    """
    quantizer = layer.weight_quant.tensor_quant
    if hasattr(quantizer, "position"):
        return quantizer.position(layer.weight)
    return layer.weight / layer.quant_weight().scale.detach()


def average_bits(model: nn.Module) -> float:
    """Bits a weight, over all weights of the model."""
    layers = weight_layers(model).values()
    total = sum(float(weight_bits(layer).expand_as(layer.weight).sum()) for layer in layers)
    return total / sum(layer.weight.numel() for layer in layers)


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that training has changed in a model: ``state_dict``, and what Brevitas leaves out of it.

    Statistics of activations count their batches; without the count a model that is loaded takes the next batch for
    its first one.
    """
    counters = {name: m.counter for name, m in model.named_modules() if isinstance(getattr(m, "counter", None), int)}
    return {"tensors": model.state_dict(), "counters": counters}


def load_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Loads what ``state_of`` gave, and keeps replaced quantisers: Brevitas' own way makes all quantisers anew."""
    before = config.REINIT_ON_STATE_DICT_LOAD
    config.REINIT_ON_STATE_DICT_LOAD = False
    try:
        model.load_state_dict(state["tensors"])
    finally:
        config.REINIT_ON_STATE_DICT_LOAD = before
    modules = dict(model.named_modules())
    for name, count in state["counters"].items():
        modules[name].counter = count
