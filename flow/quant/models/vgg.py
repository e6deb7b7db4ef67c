# SPDX-License-Identifier: Apache-2.0
"""Plain stacks of convolutions, pools and dense layers."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from flow.errors import OptionError
from flow.quant.models.kit import Kit

POOL = "M"
Plan = Sequence[int | str]


def stack(kit: Kit, inputs: int, plan: Plan, *, padding: int = 1) -> tuple[list[nn.Module], int]:
    """3 x 3 convolutions with norm and activation, and pools of 2 x 2; how many channels come out."""
    layers: list[nn.Module] = []
    for entry in plan:
        if entry == POOL:
            layers.append(nn.MaxPool2d(2))
        else:
            outputs = kit.of(int(entry))
            layers += [kit.conv(inputs, outputs, 3, padding=padding), kit.norm(outputs), kit.act()]
            inputs = outputs
    return layers, inputs


def _flat(layers: Sequence[nn.Module], shape: Sequence[int], model: str) -> int:
    """How many features the windows leave of a frame, in a flat vector."""
    size, channels = list(shape[1:]), shape[0]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            size = [_windows(layer, extent, axis) for axis, extent in enumerate(size)]
            if min(size) < 1:
                raise OptionError(f"frames of {list(shape)} are too small for {model}", "use larger images")
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
    return channels * size[0] * size[1]


def _windows(layer: nn.Module, extent: int, axis: int) -> int:
    kernel, stride, padding = (
        value[axis] if isinstance(value, tuple) else value for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    return (extent + 2 * padding - kernel) // stride + 1


def _classified(
    kit: Kit, layers: list[nn.Module], shape: Sequence[int], hidden: Sequence[int], outputs: int, model: str
) -> nn.Module:
    widths = [_flat(layers, shape, model), *(kit.of(h) for h in hidden)]
    layers = [*layers, nn.Flatten()]
    for inputs, width in pairwise(widths):
        layers += [kit.linear(inputs, width), kit.norm(width, 0), kit.act()]
    return nn.Sequential(*layers, kit.linear(widths[-1], outputs, bias=True))


def lenet5(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Two convolutions of 5 x 5 with pools, dense layers of 120 and 84.

    Source: LeCun et al., Gradient-based learning applied to document recognition, 1998, with ReLUs, norms and maximum
    pools. 28 x 28 images are padded to the 32 x 32 of the original.
    """
    channels, height, width = shape
    pad = 2 if (height, width) == (28, 28) else 0
    layers: list[nn.Module] = [
        kit.input(),
        *(kit.conv(channels, kit.of(6), 5, padding=pad), kit.norm(kit.of(6)), kit.act(), nn.MaxPool2d(2)),
        *(kit.conv(kit.of(6), kit.of(16), 5), kit.norm(kit.of(16)), kit.act(), nn.MaxPool2d(2)),
    ]
    return _classified(kit, layers, shape, (120, 84), outputs, "lenet5")


def simplenet(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Four convolutions and a dense layer: the small CIFAR-10 network of five layers of ReLeQ and WaveQ.

    Their papers' text was not read; the number of layers is that of the authors' code, the channels are chosen here.
    """
    layers, _ = stack(kit, shape[0], (32, 32, POOL, 64, 64, POOL))
    return _classified(kit, [kit.input(), *layers], shape, (), outputs, "simplenet")


def vgg11(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Eight convolutions with five pools, a dense layer (the form for 32 x 32 images).

    Source: Simonyan and Zisserman, arXiv:1409.1556, table 1, configuration A, with norms and one dense layer.
    """
    layers, _ = stack(kit, shape[0], (64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL))
    return _classified(kit, [kit.input(), *layers], shape, (), outputs, "vgg11")


def cnv(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """The VGG of FINN: six convolutions without padding, three dense layers, a norm of the outputs.

    Source: Umuroglu et al., FINN, FPGA 2017, section 4.3; brevitas_examples/bnn_pynq/models/CNV.py.
    """
    layers: list[nn.Module] = [kit.input()]
    channels = shape[0]
    for given, pooled in ((64, False), (64, True), (128, False), (128, True), (256, False), (256, False)):
        width = kit.of(given)
        layers += [kit.conv(channels, width, 3, bias=False), kit.norm(width), kit.act()]
        layers += [nn.MaxPool2d(2)] if pooled else []
        channels = width
    features = _flat(layers, shape, "cnv")
    layers.append(nn.Flatten())
    for _ in range(2):
        width = kit.of(512)
        layers += [kit.linear(features, width, bias=False), kit.norm(width, 0), kit.act()]
        features = width
    return nn.Sequential(*layers, kit.linear(features, outputs, bias=False), kit.norm(outputs, 0))


def svhn8(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Seven convolutions and a dense layer for house numbers.

    The number of layers is that of the networks of ReLeQ and WaveQ; channels and pools are chosen here.
    """
    layers, _ = stack(kit, shape[0], (32, 32, POOL, 64, 64, POOL, 128, 128, 128, POOL))
    return _classified(kit, [kit.input(), *layers], shape, (), outputs, "svhn8")


def svhn10(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Seven convolutions and three dense layers for house numbers.

    The number of layers is that of the networks of ReLeQ and WaveQ; channels and pools are chosen here.
    """
    layers, _ = stack(kit, shape[0], (32, 32, POOL, 64, 64, POOL, 128, 128, 128, POOL))
    return _classified(kit, [kit.input(), *layers], shape, (256, 128), outputs, "svhn10")


def alexnet(kit: Kit, shape: Sequence[int], outputs: int) -> nn.Module:
    """Five convolutions and three dense layers.

    Source: Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997 (the form
    without groups), with norms. Images of fewer than 63 pixels get a first convolution of 3 x 3 without a stride.
    """
    small = min(shape[1:]) < 63
    kernel, stride, padding = (3, 1, 1) if small else (11, 4, 2)
    pool = nn.MaxPool2d(2) if small else nn.MaxPool2d(3, 2)
    a, b, c, d = (kit.of(w) for w in (64, 192, 384, 256))
    layers: list[nn.Module] = [
        kit.input(),
        *(kit.conv(shape[0], a, kernel, stride=stride, padding=padding), kit.norm(a), kit.act(), pool),
        *(kit.conv(a, b, 5, padding=2), kit.norm(b), kit.act(), pool),
        *(kit.conv(b, c, 3, padding=1), kit.norm(c), kit.act()),
        *(kit.conv(c, d, 3, padding=1), kit.norm(d), kit.act()),
        *(kit.conv(d, d, 3, padding=1), kit.norm(d), kit.act(), pool),
    ]
    return _classified(kit, layers, shape, (4096, 4096), outputs, "alexnet")
