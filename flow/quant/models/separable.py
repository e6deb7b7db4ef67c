# SPDX-License-Identifier: Apache-2.0
"""Networks of depthwise separable convolutions."""

from collections.abc import Sequence

from torch import Tensor, nn

from flow.quant.models.kit import Kit, Mean


def separable(kit: Kit, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A convolution of each channel by itself, and one of 1 x 1."""
    return nn.Sequential(
        kit.block(inputs, inputs, 3, stride=stride, padding=1, groups=inputs), kit.block(inputs, outputs, 1)
    )


def mobilenet_v1(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """A convolution, thirteen depthwise separable ones, their mean, a dense layer.

    Source: Howard et al., MobileNets, arXiv:1704.04861, table 1.
    """
    channels = kit.of(32)
    layers: list[nn.Module] = [kit.input(), kit.block(shape[0], channels, 3, stride=2, padding=1)]
    for width, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *(((512, 1),) * 5),
        *((1024, 2), (1024, 1)),
    ):
        layers.append(separable(kit, channels, kit.of(width), stride))
        channels = kit.of(width)
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), kit.relu(8), nn.Flatten(), kit.linear(channels, outputs, bias=True)
    )


class InvertedResidual(nn.Module):
    """Expanded, depthwise, projected without an activation; a shortcut where the shape allows it."""

    def __init__(self, kit: Kit, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [kit.block(inputs, inner, 1)] if expansion > 1 else []
        depthwise = kit.block(inner, inner, 3, stride=stride, padding=1, groups=inner)
        self.body = nn.Sequential(*expand, depthwise, kit.normed(inner, outputs, 1), kit.identity())
        self.sum = kit.identity() if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if self.sum is None else self.sum(self.body(x) + x)


def mobilenet_v2(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """A convolution, seventeen inverted residuals, a convolution, their mean, a dense layer.

    Source: Sandler et al., MobileNetV2, arXiv:1801.04381, table 2. Images of fewer than 64 pixels are not made smaller
    by the first two strides.
    """
    small = min(shape[1:]) < 64
    channels = kit.of(32)
    first = kit.block(shape[0], channels, 3, stride=1 if small else 2, padding=1)
    layers: list[nn.Module] = [kit.input(), first]
    for expansion, width, repeats, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 1 if small else 2), (6, 32, 3, 2)),
        *((6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for block in range(repeats):
            layers.append(InvertedResidual(kit, channels, kit.of(width), 1 if block else stride, expansion))
            channels = kit.of(width)
    layers.append(kit.block(channels, kit.of(1280), 1))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), kit.relu(8), nn.Flatten(), kit.linear(kit.of(1280), outputs, bias=True)
    )


def ds_cnn(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Keyword spotting: 49 x 10 features, a convolution padded on unlike sides, four depthwise separable ones.

    Source: Zhang et al., Hello edge: keyword spotting on microcontrollers, arXiv:1711.07128, section 3.5.
    """
    channels = kit.of(64)
    return nn.Sequential(
        kit.input(),
        nn.ZeroPad2d((1, 1, 4, 5)),
        kit.block(shape[0], channels, (10, 4), stride=2),
        *(separable(kit, channels, channels) for _ in range(4)),
        Mean(),
        kit.identity(6),
        kit.linear(channels, outputs, bias=True),
    )
