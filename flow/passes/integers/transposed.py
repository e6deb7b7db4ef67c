# SPDX-License-Identifier: Apache-2.0
"""A transposed convolution as a convolution: each of its phases is one, and all share one window.

Output ``j = stride * t + phase`` sums, over taps ``k``, input ``i`` with ``i * stride = j + before - k * dilation``.
For a given phase that is a convolution over ``t`` with the taps for which the division leaves no rest; those of
all phases lie in one window. The phases become channels, which are then shuffled into pixels. (Shi et al., Is the
deconvolution layer the same as a convolutional layer?, arXiv:1609.07009.)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.ir.model import Shape
from flow.ir.window import Window


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis: which tap of the new window each tap serves in which phase.

    Attributes:
        taps: (tap, phase, tap of the new window).
        kernel: Taps of the new window.
        before: Padding in front.
        after: Padding behind.
        stride: How many phases there are.
    """

    taps: tuple[tuple[int, int, int], ...]
    kernel: int
    before: int
    after: int
    stride: int


@dataclass(frozen=True, slots=True)
class Lowered:
    """The convolution, whose outputs are (phase of each axis, output), the last fastest.

    Attributes:
        window: Of the convolution, over the same input.
        blocks: Phases of each axis: the pixels that the channels of a position become.
        groups: Of the transposed convolution; the convolution has one, with zeros between the groups.
        axes: One for each spatial axis.
    """

    window: Window
    blocks: tuple[int, ...]
    groups: int
    axes: tuple[_Axis, ...]

    def weights(self, weight: "NDArray[Any]") -> "NDArray[Any]":
        """(*kernel, channels / groups, outputs) as (*new kernel, channels, phases * outputs), zeros elsewhere."""
        rows, outputs = weight.shape[-2:]
        channels, per_group = rows * self.groups, outputs // self.groups
        result = np.zeros((*self.window.kernel, channels, *self.blocks, outputs), weight.dtype)
        for taps, phases, places in self._taps():
            tap = weight[taps]  # (channels / groups, outputs)
            target = np.moveaxis(result[places], 0, -2)[phases]  # (channels, outputs), a view
            for group in range(self.groups):
                inside = slice(group * rows, (group + 1) * rows)
                made = slice(group * per_group, (group + 1) * per_group)
                target[inside, made] = tap[:, made]
        return result.reshape(*self.window.kernel, channels, -1)

    def _taps(self) -> Iterator[tuple[Shape, Shape, Shape]]:
        for chosen in product(*(axis.taps for axis in self.axes)):
            yield tuple(c[0] for c in chosen), tuple(c[1] for c in chosen), tuple(c[2] for c in chosen)


def as_convolution(window: Window, inputs: Shape, outputs: Shape, groups: int) -> Lowered:
    """The convolution that gives every phase of a transposed one.

    Args:
        window: Of the transposed convolution.
        inputs: Its spatial shape.
        outputs: That of its result.
        groups: Its groups.
    """
    axes = tuple(
        _axis(*numbers)
        for numbers in zip(window.kernel, window.strides, window.dilations, window.before, inputs, outputs, strict=True)
    )
    ones = (1,) * len(axes)
    lowered = Window(
        tuple(a.kernel for a in axes), ones, ones, tuple(a.before for a in axes), tuple(a.after for a in axes)
    )
    return Lowered(lowered, tuple(a.stride for a in axes), groups, axes)


def _axis(kernel: int, stride: int, dilation: int, before: int, inputs: int, outputs: int) -> _Axis:
    # tap k serves phase r at input t + (r + before - k * dilation) / stride
    offsets = {
        (tap, phase): (phase + before - tap * dilation) // stride
        for tap in range(kernel)
        for phase in range(stride)
        if (phase + before - tap * dilation) % stride == 0
    }
    first, last = min(0, *offsets.values()), max(offsets.values())
    size = last - first + 1
    positions = -(-outputs // stride)
    # never cut inputs off: further positions are dropped behind the shuffle
    after = max(0, positions - 1 + size + first - inputs)
    return _Axis(tuple((t, p, offset - first) for (t, p), offset in offsets.items()), size, -first, after, stride)
