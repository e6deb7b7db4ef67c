# SPDX-License-Identifier: Apache-2.0
"""Channels of a Brevitas model that nothing but one other layer reads: they can be taken out of both."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from flow.quant.layers import QuantLayer, replace_weight_quantizer, set_weight_bits, weight_bits, weight_layers
from flow.quant.tracing import traced

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
_BETWEEN = (*_NORMS, *_POOLS, nn.Flatten, nn.Identity, nn.Dropout)


@dataclass(frozen=True)
class Link:
    """Two layers with weights, and the channels that lead from the one to the other and nowhere else.

    Attributes:
        source: The layer that makes the channels.
        name: Its module path.
        norms: Between the two.
        reader: The layer that reads them.
    """

    source: Any
    name: str
    norms: tuple[Any, ...]
    reader: Any

    @property
    def channels(self) -> int:
        return len(self.source.weight)

    @property
    def each(self) -> int:
        """Inputs of the reader for a channel: the pixels of its image where the reader is dense."""
        return self.reader.weight.shape[1] // self.channels

    def importance(self) -> Tensor:
        """Of each channel, as a share of the mean: what it gives times how much of it is read, by their norms."""
        with torch.no_grad():
            given = self.source.weight.flatten(1).norm(dim=1)
            for norm in self.norms:
                given = norm.weight.abs()  # after a norm the size of the weights says nothing
            read = self.reader.weight.transpose(0, 1).reshape(self.channels, -1).norm(dim=1)
            found = given * read
            return found / found.mean().clamp_min(1e-12)

    def mute(self, kept: Tensor) -> None:
        """Sets to 0 what belongs to the other channels, on both sides."""
        with torch.no_grad():
            for parameter in _parameters(self.source, self.norms):
                parameter[~kept] = 0
            self.reader.weight[:, ~kept.repeat_interleave(self.each)] = 0

    def slim(self, kept: Tensor) -> None:
        """Takes the other channels out. Nothing that they led to changes if they are mute."""
        inputs = kept.repeat_interleave(self.each)
        count = int(kept.sum())
        with torch.no_grad():
            bits = [int(weight_bits(layer).max()) for layer in (self.source, self.reader)]
            self.source.weight = nn.Parameter(self.source.weight[kept].clone())
            if self.source.bias is not None:
                self.source.bias = nn.Parameter(self.source.bias[kept].clone())
            self.reader.weight = nn.Parameter(self.reader.weight[:, inputs].clone())
            for norm in self.norms:
                norm.weight, norm.bias = nn.Parameter(norm.weight[kept].clone()), nn.Parameter(norm.bias[kept].clone())
                norm.running_mean, norm.running_var = norm.running_mean[kept].clone(), norm.running_var[kept].clone()
                norm.num_features = count
        _count(self.source, "out", count)
        _count(self.reader, "in", int(inputs.sum()))
        for layer, width in zip((self.source, self.reader), bits, strict=True):
            _renew(layer, width)


def links(model: nn.Module) -> list[Link]:
    """All of them, in the order of the layers that make the channels.

    Channels that reach an addition, a depthwise convolution, more than one layer or the output are none of them.

    Raises:
        OptionError: What the model does depends on its input; it cannot be known in advance.
    """
    graph = traced(model, "the order of the model's layers cannot be read", "take a model without branches on its data")
    modules, layers = dict(model.named_modules()), weight_layers(model)
    found = []
    for node in graph.nodes:
        if node.op == "call_module" and node.target in layers and _is_plain(layers[node.target]):
            norms: list[Any] = []
            reader = _reader(node, modules, layers, norms)
            if reader is not None:
                found.append(Link(layers[node.target], str(node.target), tuple(norms), reader))
    return found


def _reader(node: fx.Node, modules: dict[str, nn.Module], layers: dict[str, Any], norms: list[Any]) -> Any | None:
    """The only layer with weights that reads a node, by way of layers that keep channels apart; notes the norms."""
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module":
            return None
        module = modules[str(node.target)]
        if str(node.target) in layers:
            return module if _is_plain(module) else None
        if isinstance(module, _NORMS):
            norms.append(module)
        elif not isinstance(module, _BETWEEN) and not _is_activation(module):
            return None
    return None


def _is_plain(layer: Any) -> bool:
    """Whether each output is made from all inputs."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, _CONVOLUTIONS) and layer.groups == 1)


def _is_activation(module: nn.Module) -> bool:
    return hasattr(module, "act_quant") and not isinstance(module, QuantLayer)


def _parameters(source: Any, norms: tuple[Any, ...]) -> Iterator[Tensor]:
    for layer in (source, *norms):
        yield from (p for p in (layer.weight, layer.bias) if p is not None)


def _count(layer: Any, side: str, count: int) -> None:
    setattr(layer, f"{side}_{'features' if isinstance(layer, nn.Linear) else 'channels'}", count)


def _renew(layer: Any, bits: int) -> None:
    """Makes the quantiser for the new shape, as wide as it was."""
    proxy, training = layer.weight_quant, layer.training
    proxy.init_tensor_quant()
    replace_weight_quantizer(layer, proxy.tensor_quant)
    if bits > 1:
        set_weight_bits(layer, bits, "a slim layer")
    layer.train(training)
