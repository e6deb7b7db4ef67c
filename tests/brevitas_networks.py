# SPDX-License-Identifier: Apache-2.0
"""Networks in Brevitas with random weights and calibrated scales, and their export.

The known ones are those of flow.quant.models, some with fewer channels; the others are made here, of the same kit.
"""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flow import quant
from flow.quant.models import MODELS, Kit

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from brevitas.nn.utils import merge_bn

Kind = Literal["pow2", "float"]
Exporter = Literal["legacy", "dynamo"]
CALIBRATION = 16
"""Frames from which the activations take their scales."""


# --------------------------------------------------------------------------------------------------- topologies


def cnn_1d(kit: Kit) -> nn.Module:
    """Convolutions over time: strided, dilated, grouped, with pools of both kinds."""
    a, b = kit.of(16), kit.of(32)
    return nn.Sequential(
        kit.identity(8),
        kit.conv1d(2, a, 7, stride=2, padding=3),
        kit.norm(a, 1),
        kit.relu(),
        nn.MaxPool1d(3, 2, 1),
        kit.conv1d(a, b, 3, dilation=2, padding=2, groups=2),
        kit.norm(b, 1),
        kit.relu(),
        nn.AvgPool1d(2),
        kit.relu(5),
        kit.conv1d(b, b, 3),
        kit.norm(b, 1),
        kit.relu(),
        nn.Flatten(),
        kit.linear(b * 14, 5),
        kit.identity(8),
    )


class UNet(nn.Module):
    """Two levels; one way up repeats pixels, the other is a transposed convolution."""

    def __init__(self, kit: Kit) -> None:
        super().__init__()
        a, b, c = kit.of(8), kit.of(16), kit.of(32)
        self.input = kit.identity(8)
        self.down1, self.down2, self.bottom = (kit.block(i, o, 3, padding=1) for i, o in ((3, a), (a, b), (b, c)))
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.Upsample(scale_factor=2, mode="nearest")
        self.narrow = kit.block(c, b, 3, padding=1)
        self.joined2 = kit.relu()  # one scale for both
        self.merge2 = kit.block(2 * b, b, 3, padding=1)
        self.up1 = nn.Sequential(kit.transposed(b, a, 4, stride=2, padding=1), kit.norm(a))
        self.joined1 = kit.identity(5)  # of values with unlike scales
        self.merge1 = kit.block(2 * a, a, 3, padding=1)
        self.output = kit.conv(a, 2, 1, bias=True)
        self.scores = kit.identity(8)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(self.input(x))
        two = self.down2(self.pool(one))
        three = self.bottom(self.pool(two))
        two = self.merge2(torch.cat([self.joined2(two), self.joined2(self.narrow(self.up2(three)))], 1))
        one = self.merge1(self.joined1(torch.cat([one, self.up1(two)], 1)))
        return self.scores(self.output(one))


class Inception(nn.Module):
    """Four branches joined. Source: Szegedy et al., Going deeper with convolutions, arXiv:1409.4842, figure 2b."""

    def __init__(self, kit: Kit, inputs: int, outputs: int) -> None:
        super().__init__()
        self.one = kit.normed(inputs, outputs, 1)
        self.three = nn.Sequential(kit.block(inputs, outputs, 1), kit.normed(outputs, outputs, 3, padding=1))
        self.five = nn.Sequential(kit.block(inputs, outputs, 1), kit.normed(outputs, outputs, 5, padding=2))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), kit.normed(inputs, outputs, 1))
        self.act = kit.relu()  # one scale for all

    def forward(self, x: Tensor) -> Tensor:
        return self.act(torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1))


def inception(kit: Kit) -> nn.Module:
    a, b = kit.of(8), kit.of(12)
    return nn.Sequential(
        kit.identity(8),
        kit.block(3, a, 3, stride=2, padding=1),
        Inception(kit, a, a),
        nn.MaxPool2d(2),
        Inception(kit, 4 * a, b),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        kit.linear(4 * b, 10),
    )


class Excite(nn.Module):
    """A gate for each channel, from the means of all. Source: Hu et al., arXiv:1709.01507, section 3."""

    def __init__(self, kit: Kit, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            kit.relu(6),
            kit.conv(channels, channels // 4, 1, bias=True),
            kit.relu(),
            kit.conv(channels // 4, channels, 1, bias=True),
            kit.sigmoid(5),
        )
        self.act = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x * self.gate(x))


def squeeze_excite(kit: Kit) -> nn.Module:
    a, b = kit.of(16), kit.of(24)
    return nn.Sequential(
        kit.identity(8),
        kit.block(3, a, 3, padding=1),
        Excite(kit, a),
        kit.block(a, b, 3, stride=2, padding=1),
        Excite(kit, b),
        nn.AvgPool2d(2),
        kit.relu(),
        nn.Flatten(),
        kit.linear(b * 16, 10),
    )


# ------------------------------------------------------------------------------------------------------- blocks


class Joined(nn.Module):
    """Branches of one input, joined by a function of their results (of the input alone, where there are none)."""

    def __init__(self, join: Callable[..., Tensor], *branches: nn.Module) -> None:
        super().__init__()
        self.join, self.branches = join, nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(*(branch(x) for branch in self.branches))


def three_summands(kit: Kit) -> nn.Module:
    branches = (kit.normed(3, 4, size, padding=size // 2).append(kit.identity()) for size in (1, 3, 5))
    return nn.Sequential(
        kit.identity(8), Joined(lambda a, b, c: a + b + c, *branches), kit.relu(), kit.conv(4, 3, 1, bias=True)
    )


def unquantised_summand(kit: Kit) -> nn.Module:
    """The sums of a convolution, one scale for each channel, and the values that it reads."""
    body = kit.conv(4, 4, 3, padding=1, bias=False)
    joined = Joined(lambda a, b: a + b, body, nn.Identity())
    return nn.Sequential(kit.identity(8), joined, kit.relu(), nn.Flatten(), kit.linear(256, 4, bias=True))


def inverted_residual(kit: Kit) -> nn.Module:
    """Expanded, depthwise, projected without an activation; both summands by one quantiser."""
    body = nn.Sequential(
        kit.normed(4, 12, 1),
        nn.ReLU6(),
        kit.relu(),
        kit.normed(12, 12, 3, padding=1, groups=12),
        nn.ReLU6(),
        kit.relu(),
        kit.normed(12, 4, 1),
    )
    return nn.Sequential(
        kit.identity(8),
        kit.normed(3, 4, 3, padding=1),
        kit.identity(8),
        SharedSum(kit.identity(6), body),
        kit.identity(7),
        kit.conv(4, 4, 8),
    )


class SharedSum(nn.Module):
    """The input and what a body makes of it, added after one quantiser has seen both."""

    def __init__(self, shared: nn.Module, body: nn.Module) -> None:
        super().__init__()
        self.shared, self.body = shared, body

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(x) + self.shared(self.body(x))


def unlike_channels(kit: Kit) -> nn.Module:
    """Two halves of the channels with scales of their own, read by one convolution."""
    branches = (kit.block(3, 4, size, padding=size // 2) for size in (1, 3))
    return nn.Sequential(
        kit.identity(8), Joined(lambda a, b: torch.cat([a, b], 1), *branches), kit.conv(8, 3, 3, bias=True)
    )


def causal(kit: Kit) -> nn.Module:
    """Over time, padded in front only; the last is depthwise and dilated."""
    return nn.Sequential(
        kit.identity(8),
        nn.ConstantPad1d((2, 0), 0.0),
        kit.conv1d(2, 6, 3),
        kit.norm(6, 1),
        kit.relu(),
        nn.ConstantPad1d((4, 0), 0.0),
        kit.conv1d(6, 6, 3, dilation=2, groups=6),
        kit.norm(6, 1),
        kit.relu(),
        Joined(lambda x: x.mean(2), nn.Identity()),
        kit.relu(),
        kit.linear(6, 3, bias=True),
    )


def odd_windows(kit: Kit) -> nn.Module:
    return nn.Sequential(
        kit.identity(8),
        kit.block(3, 5, 3, stride=2, padding=1),
        kit.block(5, 7, (1, 3), padding=(0, 1)),
        kit.block(7, 5, (3, 1), padding=(2, 0), dilation=(2, 1)),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        kit.block(5, 10, 2, groups=5),
        kit.normed(10, 3, 1),
        nn.Flatten(),
    )


def turning_activations(kit: Kit) -> nn.Module:
    """Functions that fall before they rise, and leaky ones, each in front of a quantiser."""
    layers: list[nn.Module] = [kit.identity(8), kit.normed(3, 8, 3, padding=1), nn.Hardswish(), kit.identity(5)]
    for function in (nn.SiLU(), nn.GELU(), nn.LeakyReLU(0.1), nn.PReLU(8), nn.Hardsigmoid()):
        layers += [kit.normed(8, 8, 1), function, kit.identity(5)]
    return nn.Sequential(*layers)


# ----------------------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Network:
    """A topology with its bits and widths, and the shape of a frame."""

    make: Callable[[Kit], nn.Module]
    shape: tuple[int, ...]
    kit: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0

    def build(self, kind: Kind) -> nn.Module:
        """The network in inference mode, calibrated; the same each time."""
        random.seed(0)
        torch.manual_seed(0)
        kit = Kit(scales="pow2" if kind == "pow2" else "channel", **self.kit)
        model = self.make(kit)
        kit.finish()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calibrate(model, torch.randn(CALIBRATION, *self.shape) * self.scale)
        return model.eval()


def known(
    name: str, shape: tuple[int, ...], weight_bits: Any, act_bits: Any, width: float, outputs: int = 10
) -> Network:
    """A network of flow.quant.models."""
    kit = {"weight_bits": weight_bits, "act_bits": act_bits, "width": width}
    return Network(lambda kit: MODELS[name](kit, shape, outputs), shape, kit)


IMAGE = (3, 32, 32)
MIXED = ((8, 2, 4, 1, 3, 2, 1, 4, 8), (3, 2, 4, 1, 2, 3, 1, 4))
NETWORKS = {
    "cnv_1w1a": known("cnv", IMAGE, 1, 1, 1 / 4),
    "cnv_2w2a": known("cnv", IMAGE, 2, 2, 1 / 4),
    "cnv_mixed": known("cnv", IMAGE, *MIXED, 1 / 4),
    "resnet8": known("resnet8", IMAGE, 4, 4, 1 / 2),
    "resnet20": known("resnet20", IMAGE, 3, 4, 1 / 4),
    "mobilenet": known("mobilenet_v1", IMAGE, 8, 6, 1 / 4),
    "ds_cnn": known("ds_cnn", (1, 49, 10), 4, 5, 1 / 4, 12),
    "cnn_1d": Network(cnn_1d, (2, 128)),
    "unet": Network(UNet, (3, 16, 16), {"width": 1 / 2}),
    "inception": Network(inception, (3, 16, 16)),
    "squeeze_excite": Network(squeeze_excite, (3, 16, 16)),
    "autoencoder": known("autoencoder", (640,), 3, 3, 1.0, 640),
}
BLOCKS = {
    "three_summands": Network(three_summands, (3, 8, 8)),
    "unquantised_summand": Network(unquantised_summand, (4, 8, 8)),
    "inverted_residual": Network(inverted_residual, (3, 8, 8)),
    "unlike_channels": Network(unlike_channels, (3, 8, 8)),
    "causal": Network(causal, (2, 40)),
    "odd_windows": Network(odd_windows, (3, 9, 7)),
    "turning_activations": Network(turning_activations, (3, 8, 8)),
}
FULL_SIZE = {
    "cnv_1w1a": known("cnv", IMAGE, 1, 1, 1.0),
    "resnet20": known("resnet20", IMAGE, 3, 4, 1.0),
    "mobilenet": known("mobilenet_v1", (3, 224, 224), (8, *[4] * 27), 4, 1.0, 1000),
}


def calibrate(model: nn.Module, x: Tensor) -> None:
    """Batch norms take random parameters around the statistics of ``x``, activations their scales, in place."""
    norms = _norms(model)
    for norm in norms.values():
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.7)
        with torch.no_grad():
            norm.weight[::5] *= -1
    model.train()
    with torch.no_grad():
        layers = _in_order_of_use(model, x)
    for norm in norms.values():
        norm.eval()
        with torch.no_grad():
            norm.running_mean += torch.randn_like(norm.running_mean) * 0.1 * norm.running_var.sqrt()
            norm.running_var *= torch.rand_like(norm.running_var) + 0.5
    for name, norm in norms.items():
        layer = layers[layers.index(norm) - 1]
        if layer.bias is not None:
            merge_bn(layer, norm, output_channel_dim=int(isinstance(layer, nn.ConvTranspose2d)))
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, nn.Identity())
    with torch.no_grad():
        for _ in range(3):
            model(x)


def _norms(model: nn.Module) -> dict[str, nn.BatchNorm1d | nn.BatchNorm2d]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}


def _in_order_of_use(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """The products and norms of a model as they run on ``x``."""
    found: list[nn.Module] = []
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm1d | nn.BatchNorm2d
    hooks = [
        m.register_forward_hook(lambda module, inputs, output: found.append(module))
        for m in model.modules()
        if isinstance(m, kinds)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def export(name: str, kind: Kind, exporter: Exporter, folder: Path, networks: dict[str, Network] = NETWORKS) -> Path:
    """The network's QONNX file, as torch's old exporter or the dynamo one writes it."""
    network = networks[name]
    frames = torch.randn(1, *network.shape, generator=torch.Generator().manual_seed(1)) * network.scale
    return quant.export(network.build(kind), folder / f"{name}.onnx", frames, dynamo=exporter == "dynamo")
