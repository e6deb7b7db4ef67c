# SPDX-License-Identifier: Apache-2.0
"""Known topologies in Brevitas, with random weights and calibrated scales, and their export.

Each takes a ``Kit``, which makes its layers: with scales that are powers of two, or with one float scale for each
output channel of the weights and float scales of the activations. Widths may be scaled down; the topology stays.
"""

import itertools
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import brevitas.nn as qnn
    from brevitas.core.restrict_val import RestrictValueType
    from brevitas.core.scaling import ScalingImplType
    from brevitas.export import export_qonnx
    from brevitas.inject.enum import ScalingPerOutputType
    from brevitas.nn.utils import merge_bn
    from brevitas.quant import (
        Int8ActPerTensorFixedPoint,
        Int8ActPerTensorFloat,
        Int8WeightPerChannelFloat,
        Int8WeightPerTensorFixedPoint,
        SignedBinaryActPerTensorConst,
        SignedBinaryWeightPerTensorConst,
        Uint8ActPerTensorFixedPoint,
        Uint8ActPerTensorFloat,
    )

Kind = Literal["pow2", "float"]
Exporter = Literal["legacy", "dynamo"]
CALIBRATION = 16
"""Frames from which the activations take their scales."""


class BinaryWeightPerChannel(SignedBinaryWeightPerTensorConst):
    """-1 and +1 times the mean magnitude of an output channel."""

    scaling_impl_type = ScalingImplType.STATS
    scaling_stats_op = "ave"
    restrict_scaling_type = RestrictValueType.FP
    scaling_per_output_type = ScalingPerOutputType.CHANNEL


@dataclass(frozen=True)
class Kit:
    """Makes layers of one kind.

    Attributes:
        kind: Of the scales.
        weight_bits: One for -1 and +1.
        act_bits: One for -1 and +1.
        width: Factor of all numbers of channels.
    """

    kind: Kind
    weight_bits: int = 4
    act_bits: int = 4
    width: float = 1.0

    def of(self, channels: int) -> int:
        return max(2, int(channels * self.width))

    def weight(self, bits: int | None = None) -> dict[str, Any]:
        bits = bits or self.weight_bits
        if bits == 1:
            binary = SignedBinaryWeightPerTensorConst if self.kind == "pow2" else BinaryWeightPerChannel
            return {"weight_quant": binary, **({"weight_scaling_init": 0.5} if self.kind == "pow2" else {})}
        quant = Int8WeightPerTensorFixedPoint if self.kind == "pow2" else Int8WeightPerChannelFloat
        return {"weight_quant": quant, "weight_bit_width": bits}

    def bias(self, bias: bool | None) -> bool:
        """A bias holds what is left of the batch norm behind the layer."""
        return self.kind == "pow2" if bias is None else bias

    def conv(
        self,
        inputs: int,
        outputs: int,
        kernel: Any,
        *,
        bias: bool | None = None,
        bits: int | None = None,
        **options: Any,
    ) -> nn.Module:
        return qnn.QuantConv2d(inputs, outputs, kernel, bias=self.bias(bias), **self.weight(bits), **options)

    def conv1d(self, inputs: int, outputs: int, kernel: int, *, bias: bool | None = None, **options: Any) -> nn.Module:
        return qnn.QuantConv1d(inputs, outputs, kernel, bias=self.bias(bias), **self.weight(), **options)

    def transposed(self, inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Module:
        return qnn.QuantConvTranspose2d(inputs, outputs, kernel, bias=self.bias(None), **self.weight(), **options)

    def linear(self, inputs: int, outputs: int, *, bias: bool | None = None, bits: int | None = None) -> nn.Module:
        return qnn.QuantLinear(inputs, outputs, bias=self.bias(bias), **self.weight(bits))

    def norm(self, channels: int, axes: int = 2) -> nn.Module:
        """A batch norm; ``calibrate`` merges it into the layer in front of it where that has a bias."""
        return (nn.BatchNorm1d if axes < 2 else nn.BatchNorm2d)(channels)

    def relu(self, bits: int | None = None) -> nn.Module:
        quant = Uint8ActPerTensorFixedPoint if self.kind == "pow2" else Uint8ActPerTensorFloat
        return qnn.QuantReLU(act_quant=quant, bit_width=bits or self.act_bits, **STATS)

    def identity(self, bits: int | None = None) -> nn.Module:
        bits = bits or self.act_bits
        if bits == 1:
            return qnn.QuantIdentity(
                act_quant=SignedBinaryActPerTensorConst, scaling_init=0.5 if self.kind == "pow2" else 0.7
            )
        quant = Int8ActPerTensorFixedPoint if self.kind == "pow2" else Int8ActPerTensorFloat
        return qnn.QuantIdentity(act_quant=quant, bit_width=bits, **STATS)

    def act(self, bits: int | None = None) -> nn.Module:
        """A ReLU, or a sign at one bit."""
        return self.identity(1) if (bits or self.act_bits) == 1 else self.relu(bits)

    def sigmoid(self, bits: int) -> nn.Module:
        quant = Uint8ActPerTensorFixedPoint if self.kind == "pow2" else Uint8ActPerTensorFloat
        return qnn.QuantSigmoid(act_quant=quant, bit_width=bits, **STATS)

    def normed(self, inputs: int, outputs: int, kernel: Any, **options: Any) -> nn.Sequential:
        """A convolution and its norm."""
        return nn.Sequential(self.conv(inputs, outputs, kernel, **options), self.norm(outputs))

    def block(self, inputs: int, outputs: int, kernel: Any, **options: Any) -> nn.Sequential:
        """A convolution, its norm and its activation."""
        return self.normed(inputs, outputs, kernel, **options).append(self.act())


STATS: dict[str, Any] = {"scaling_impl_type": "stats", "high_percentile_q": 99.0}


# --------------------------------------------------------------------------------------------------- topologies


def cnv(kit: Kit, mixed: bool = False) -> nn.Module:
    """The VGG of FINN: 32x32x3, six convolutions without padding, three dense layers, a norm of the outputs.

    Source: Umuroglu et al., FINN, FPGA 2017, section 4.3; brevitas_examples/bnn_pynq/models/CNV.py.
    """
    bits = iter((8, 2, 4, 1, 3, 2, 1, 4, 8)) if mixed else iter([kit.weight_bits] * 9)
    acts = iter((3, 2, 4, 1, 2, 3, 1, 4)) if mixed else iter([kit.act_bits] * 8)
    layers: list[nn.Module] = [kit.identity(8)]
    channels = 3
    for outputs, pooled in ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False)):
        outputs, previous = kit.of(outputs), channels
        layers += [kit.conv(previous, outputs, 3, bias=False, bits=next(bits)), kit.norm(outputs), kit.act(next(acts))]
        layers += [nn.MaxPool2d(2)] if pooled else []
        channels = outputs
    layers.append(nn.Flatten())
    for _ in range(2):
        outputs, previous = kit.of(512), channels
        layers += [
            kit.linear(previous, outputs, bias=False, bits=next(bits)),
            kit.norm(outputs, 0),
            kit.act(next(acts)),
        ]
        channels = outputs
    return nn.Sequential(*layers, kit.linear(channels, 10, bias=False, bits=next(bits)), kit.norm(10, 0))


class Residual(nn.Module):
    """Two convolutions and a shortcut, each quantised with a scale of its own in front of the addition."""

    def __init__(self, kit: Kit, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            kit.block(inputs, outputs, 3, stride=stride, padding=1),
            kit.normed(outputs, outputs, 3, padding=1),
            kit.identity(),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else kit.normed(inputs, outputs, 1, stride=stride).append(kit.identity())
        self.act = kit.relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.shortcut(x))


def resnet(kit: Kit, blocks: int) -> nn.Module:
    """ResNet for 32x32x3: three stages of so many blocks (1: ResNet-8, 3: ResNet-20), their mean, a dense layer.

    Source: He et al., Deep residual learning for image recognition, arXiv:1512.03385, section 4.2.
    """
    channels = kit.of(16)
    layers: list[nn.Module] = [kit.identity(8), kit.block(3, channels, 3, padding=1)]
    for stage in range(3):
        for block in range(blocks):
            outputs = kit.of(16 << stage)
            layers.append(Residual(kit, channels, outputs, 2 if stage and not block else 1))
            channels = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), kit.identity(8), kit.linear(channels, 10, bias=True)
    )


def separable(kit: Kit, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        kit.block(inputs, inputs, 3, stride=stride, padding=1, groups=inputs), kit.block(inputs, outputs, 1)
    )


def mobilenet(kit: Kit, first: int | None = None, classes: int = 10) -> nn.Module:
    """MobileNet-v1: a convolution (of ``first`` bits), thirteen depthwise separable ones, their mean, a dense layer.

    Source: Howard et al., MobileNets, arXiv:1704.04861, table 1.
    """
    layers: list[nn.Module] = [kit.identity(8), kit.block(3, kit.of(32), 3, bits=first, stride=2, padding=1)]
    channels = kit.of(32)
    for outputs, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *(((512, 1),) * 5),
        *((1024, 2), (1024, 1)),
    ):
        layers.append(separable(kit, channels, kit.of(outputs), stride))
        channels = kit.of(outputs)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), kit.relu(8), nn.Flatten(), kit.linear(channels, classes))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def ds_cnn(kit: Kit) -> nn.Module:
    """Keyword spotting: 49x10 features, a convolution padded on unlike sides, four depthwise separable ones.

    Source: Zhang et al., Hello edge: keyword spotting on microcontrollers, arXiv:1711.07128, section 3.5.
    """
    channels = kit.of(64)
    return nn.Sequential(
        kit.identity(8),
        nn.ZeroPad2d((1, 1, 4, 5)),
        kit.block(1, channels, (10, 4), stride=2),
        *(separable(kit, channels, channels) for _ in range(4)),
        Mean(),
        kit.identity(6),
        kit.linear(channels, 12, bias=True),
    )


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


def autoencoder(kit: Kit) -> nn.Module:
    """The deep autoencoder for sounds of machines: 640, four times 128, 8, four times 128, 640.

    Source: Banbury et al., MLPerf Tiny benchmark, arXiv:2106.07597, section 4.4.
    """
    widths = [kit.of(w) for w in (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)]
    layers: list[nn.Module] = [kit.identity(8)]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [kit.linear(inputs, outputs), kit.norm(outputs, 0), kit.relu()]
    return nn.Sequential(*layers, kit.linear(widths[-1], widths[0], bias=True))


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
    shared = kit.identity(6)
    joined = Joined(lambda a, b: shared(a) + shared(b), nn.Identity(), body)
    joined.shared = shared
    return nn.Sequential(
        kit.identity(8), kit.normed(3, 4, 3, padding=1), kit.identity(8), joined, kit.identity(7), kit.conv(4, 4, 8)
    )


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
    kit: Kit = Kit("pow2")
    scale: float = 1.0

    def build(self, kind: Kind) -> nn.Module:
        """The network in inference mode, calibrated; the same each time."""
        random.seed(0)
        torch.manual_seed(0)
        model = self.make(replace(self.kit, kind=kind))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calibrate(model, torch.randn(CALIBRATION, *self.shape) * self.scale)
        return model.eval()


NETWORKS = {
    "cnv_1w1a": Network(cnv, (3, 32, 32), Kit("pow2", 1, 1, 1 / 4)),
    "cnv_2w2a": Network(cnv, (3, 32, 32), Kit("pow2", 2, 2, 1 / 4)),
    "cnv_mixed": Network(lambda kit: cnv(kit, mixed=True), (3, 32, 32), Kit("pow2", width=1 / 4)),
    "resnet8": Network(lambda kit: resnet(kit, 1), (3, 32, 32), Kit("pow2", 4, 4, 1 / 2)),
    "resnet20": Network(lambda kit: resnet(kit, 3), (3, 32, 32), Kit("pow2", 3, 4, 1 / 4)),
    "mobilenet": Network(mobilenet, (3, 32, 32), Kit("pow2", 8, 6, 1 / 4)),
    "ds_cnn": Network(ds_cnn, (1, 49, 10), Kit("pow2", 4, 5, 1 / 4)),
    "cnn_1d": Network(cnn_1d, (2, 128)),
    "unet": Network(UNet, (3, 16, 16), Kit("pow2", 4, 4, 1 / 2)),
    "inception": Network(inception, (3, 16, 16)),
    "squeeze_excite": Network(squeeze_excite, (3, 16, 16)),
    "autoencoder": Network(autoencoder, (640,), Kit("pow2", 3, 3)),
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
    "cnv_1w1a": Network(cnv, (3, 32, 32), Kit("pow2", 1, 1)),
    "resnet20": Network(lambda kit: resnet(kit, 3), (3, 32, 32), Kit("pow2", 3, 4)),
    "mobilenet": Network(lambda kit: mobilenet(kit, first=8, classes=1000), (3, 224, 224), Kit("pow2", 4, 4)),
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
    network, path = networks[name], folder / f"{name}.onnx"
    model = network.build(kind)
    dynamo = exporter == "dynamo"
    options: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_qonnx(
            model,
            torch.zeros(1, *network.shape),
            str(path),
            dynamo=dynamo,
            input_names=["x"],
            output_names=["y"],
            **options,
        )
    proto = onnx.load(path)
    initialisers = {each.name for each in proto.graph.initializer}
    inputs: Sequence[onnx.ValueInfoProto] = [each for each in proto.graph.input if each.name not in initialisers]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    onnx.save(proto, path)
    return path
