# SPDX-License-Identifier: Apache-2.0
"""Residual networks. Source: He et al., Deep residual learning for image recognition, arXiv:1512.03385."""

from collections.abc import Sequence

from torch import Tensor, nn

from flow.quant.models.kit import Kit


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


def _stages(
    kit: Kit, stem: Sequence[nn.Module], channels: int, widths: Sequence[int], blocks: int, outputs: int
) -> nn.Module:
    layers = list(stem)
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(Residual(kit, channels, kit.of(width), 2 if stage and not block else 1))
            channels = kit.of(width)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), kit.identity(8), kit.linear(channels, outputs, bias=True)]
    return nn.Sequential(*layers, *head)


def resnet8(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Three stages of one block (as in the MLPerf Tiny benchmark), their mean, a dense layer."""
    return _small(kit, shape, outputs, 1)


def resnet20(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Three stages of three blocks, their mean, a dense layer: section 4.2."""
    return _small(kit, shape, outputs, 3)


def _small(kit: Kit, shape: Sequence[int], outputs: int, blocks: int) -> nn.Module:
    stem = [kit.input(), kit.block(shape[0], kit.of(16), 3, padding=1)]
    return _stages(kit, stem, kit.of(16), (16, 32, 64), blocks, outputs)


def resnet18(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Four stages of two blocks: table 1. Images of fewer than 64 pixels keep their size at the entrance."""
    channels = kit.of(64)
    if min(shape[1:]) < 64:
        stem = [kit.input(), kit.block(shape[0], channels, 3, padding=1)]
    else:
        stem = [kit.input(), kit.block(shape[0], channels, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1)]
    return _stages(kit, stem, channels, (64, 128, 256, 512), 2, outputs)
