# SPDX-License-Identifier: Apache-2.0
"""Progressive binarisation: layers become binary one after the other, from the input on.

Source: Park et al., BiTAT: neural network binarization with task-dependent aggregated transformation,
arXiv:2207.01394 (read: the abstract and the introduction). Hence "BiTAT-style": of its parts only the order is here,
that each layer learns behind layers that are binary already; their rotation of the weights is not.
"""

import torch
from torch import Tensor, nn

from flow.errors import OptionError
from flow.quant.layers import replace_weight_quantizer
from flow.quant.methods.base import Method
from flow.quant.methods.grids import Quantised


class TurnsBinary(nn.Module):
    """Another quantiser until it is told; from then on -1 and +1 times the mean magnitude of an output channel."""

    def __init__(self, before: nn.Module, channels: int) -> None:
        super().__init__()
        self.before, self.channels = before, channels
        self.register_buffer("binary", torch.tensor(False))
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    def forward(self, weight: Tensor) -> Quantised:
        if not self.binary:
            return self.before(weight)
        axes = [axis for axis in range(weight.ndim) if axis != self.channels]
        scale = weight.abs().mean(axes, keepdim=True)
        sign = torch.where(weight >= 0, 1.0, -1.0) * scale
        straight = weight.clamp(-1, 1)
        return sign + straight - straight.detach(), scale, self.zero, self.zero + 1


class Bitat(Method):
    """Layers turn binary at equal distances of the training, the first at ``start``, the last at ``end``.

    Until then a layer has the width of the model. The first layer and the last stay as they are where ``inner`` is set,
    as is usual for binary networks.

    Args:
        start: When the first layer turns, as a share of the training.
        end: When the last one does.
        inner: Whether the first and the last layer keep their widths.
    """

    def __init__(self, start: float = 0.2, end: float = 0.7, inner: bool = True) -> None:
        if not 0 <= start <= end < 1:
            raise OptionError(f"start = {start:g}, end = {end:g}", "choose 0 <= start <= end < 1")
        self.start, self.end, self.inner = start, end, inner

    def prepare(self, model: nn.Module, example: Tensor, steps: int) -> None:
        """Makes room for the turn in each layer.

        Raises:
            OptionError: No layer would turn.
        """
        super().prepare(model, example, steps)
        if not self._turning():
            raise OptionError(
                f"the model has {len(self.layers)} layers, and none between the first and the last", "set inner = false"
            )
        for name in self._turning():
            layer = self.layers[name]
            replace_weight_quantizer(layer, TurnsBinary(layer.weight_quant.tensor_quant, int(layer.output_channel_dim)))
        self.on_step(0)

    def on_step(self, step: int) -> None:
        """Turns the layers whose time has come."""
        turning = self._turning()
        for place, name in enumerate(turning):
            share = self.start + (self.end - self.start) * place / max(len(turning) - 1, 1)
            self.layers[name].weight_quant.tensor_quant.binary.fill_(step >= share * self.steps)

    def _turning(self) -> list[str]:
        names = list(self.layers)
        return names[1:-1] if self.inner else names
