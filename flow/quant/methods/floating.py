# SPDX-License-Identifier: Apache-2.0
"""The float network that a quantised one is: all its quantisers switched off, whenever it runs."""

import copy
from typing import Any

from torch import nn

from flow.quant.layers import activations, weight_layers


class Floating:
    """Switches the quantisers of weights and activations off while the model runs, and on again.

    In between the model looks as ever: its widths can be asked for, and it can be copied with its quantisers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.proxies = _proxies(model)
        self._hooks = [
            model.register_forward_pre_hook(lambda *_: self._switch(True)),
            model.register_forward_hook(lambda *_: self._switch(False), always_call=True),
        ]

    def remove(self) -> None:
        """From here on the model is quantised."""
        for hook in self._hooks:
            hook.remove()

    def _switch(self, off: bool) -> None:
        for proxy in self.proxies:
            proxy.disable_quant = off


def float_copy(model: nn.Module) -> nn.Module:
    """A copy for inference, without quantisers and without gradients."""
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    for module in twin.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    for proxy in _proxies(twin):
        proxy.disable_quant = True
    return twin


def _proxies(model: nn.Module) -> list[Any]:
    return [*(layer.weight_quant for layer in weight_layers(model).values()), *activations(model).values()]
