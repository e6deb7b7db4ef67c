# SPDX-License-Identifier: Apache-2.0
"""The geometry of windows that slide over tensors whose channels lie along the last axis.

Both languages mean the same by a window; arrays are (frames, *spatial, channels).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, ...]
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Window:
    """Where a window of taps lies at each output position; one number for each spatial axis.

    Attributes:
        kernel: Taps.
        strides: From one output position to the next, in inputs.
        dilations: From one tap to the next, in inputs.
        before: Padding in front of the first input.
        after: Padding behind the last.
    """

    kernel: Shape
    strides: Shape
    dilations: Shape
    before: Shape
    after: Shape

    @classmethod
    def of(cls, kernel: Shape, strides: Shape | None = None) -> "Window":
        """A window without dilation and padding; the stride is one where it is left out."""
        ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
        return cls(kernel, strides or ones, ones, zeros, zeros)

    @property
    def span(self) -> Shape:
        """Inputs from the first to the last tap."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def pads(self) -> bool:
        return any(self.before) or any(self.after)

    def outputs(self, spatial: Shape) -> Shape:
        """The spatial shape of the result; ValueError where the window does not fit."""
        if len(spatial) != len(self.kernel):
            raise ValueError(f"a window of {len(self.kernel)} axes over {spatial}")
        found = tuple(
            (size + before + after - span) // stride + 1
            for size, before, after, span, stride in zip(
                spatial, self.before, self.after, self.span, self.strides, strict=True
            )
        )
        if min(found, default=1) < 1:
            raise ValueError(f"a window that spans {self.span} does not fit {spatial}")
        return found

    def transposed_outputs(self, spatial: Shape) -> Shape:
        """The spatial shape of a transposed convolution; ValueError where nothing is left."""
        if len(spatial) != len(self.kernel):
            raise ValueError(f"a window of {len(self.kernel)} axes over {spatial}")
        found = tuple(
            (size - 1) * stride + span - before - after
            for size, stride, span, before, after in zip(
                spatial, self.strides, self.span, self.before, self.after, strict=True
            )
        )
        if min(found, default=1) < 1:
            raise ValueError(f"nothing is left of {spatial}")
        return found

    def taps(self) -> Iterator[Shape]:
        """Every tap, the last axis fastest."""
        yield from np.ndindex(self.kernel)

    def inputs(self, tap: Shape, position: Shape) -> Shape:
        """The input that a tap reads at an output position; outside of the input where that is padding."""
        return tuple(
            p * s - b + t * d
            for p, s, b, t, d in zip(position, self.strides, self.before, tap, self.dilations, strict=True)
        )

    def padded(self, x: "NDArray[_Number]", value: Any) -> "NDArray[_Number]":
        """``x`` with its padding."""
        if not self.pads:
            return x
        widths = [(0, 0), *zip(self.before, self.after, strict=True), (0, 0)]
        return np.pad(x, widths, constant_values=value)

    def seen(self, padded: "NDArray[_Number]", tap: Shape) -> "NDArray[_Number]":
        """What a tap reads at every output position, as a view: (frames, *outputs, channels)."""
        slices = [slice(None)]
        for size, span, stride, place, dilation in zip(
            padded.shape[1:-1], self.span, self.strides, tap, self.dilations, strict=True
        ):
            first = place * dilation
            count = (size - span) // stride + 1
            slices.append(slice(first, first + (count - 1) * stride + 1, stride))
        return padded[tuple(slices)]

    def __str__(self) -> str:
        return " ".join(
            [
                _times(self.kernel),
                f"stride {_times(self.strides)}",
                f"dilation {_times(self.dilations)}",
                f"pad {_times(self.before)} {_times(self.after)}",
            ]
        )


def parse_window(text: str) -> Window:
    """The window that prints as ``text``."""
    match = re.fullmatch(r"(\S+) stride (\S+) dilation (\S+) pad (\S+) (\S+)", text)
    if match is None:
        raise ValueError(f"'{text}' is no window")
    kernel, strides, dilations, before, after = (tuple(map(int, part.split("x"))) for part in match.groups())
    return Window(kernel, strides, dilations, before, after)


def _times(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def space_to_depth(x: "NDArray[_Number]", block: tuple[int, int]) -> "NDArray[_Number]":
    """Channels out of blocks of (rows, columns) pixels, the pixel before the channel: the way back, depth last."""
    frames, height, width, channels = x.shape
    rows, columns = block
    split = x.reshape(frames, height // rows, rows, width // columns, columns, channels).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(frames, height // rows, width // columns, rows * columns * channels)


def depth_to_space(x: "NDArray[_Number]", block: tuple[int, int], *, depth_last: bool) -> "NDArray[_Number]":
    """Blocks of (rows, columns) pixels out of channels: (frames, height, width, rows * columns * channels)."""
    frames, height, width, depth = x.shape
    rows, columns = block
    channels = depth // (rows * columns)
    if depth_last:
        split = x.reshape(frames, height, width, rows, columns, channels).transpose(0, 1, 3, 2, 4, 5)
    else:
        split = x.reshape(frames, height, width, channels, rows, columns).transpose(0, 1, 4, 2, 5, 3)
    return split.reshape(frames, height * rows, width * columns, channels)
