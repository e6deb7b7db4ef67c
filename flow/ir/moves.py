# SPDX-License-Identifier: Apache-2.0
"""What moves values about and changes none."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from flow.errors import VerifyError
from flow.ir.graph import Node
from flow.ir.tensor_type import Shape, TensorType, over_channels, padded_type
from flow.ir.types import Ints
from flow.ir.window import Window, depth_to_space, space_to_depth


@dataclass(frozen=True, eq=False)
class Selection(Node):
    """Every ``step``-th element from ``start`` to before ``stop``, one of each for each axis; steps are positive."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        shape = tuple(len(range(*part)) for part in zip(self.start, self.stop, self.step, strict=True))
        if x.lo.size == 1:
            return TensorType(shape, x.element, x.lo, x.hi)
        lo, hi = over_channels(x, x.shape[-1])
        channels = slice(self.start[-1], self.stop[-1], self.step[-1])
        return TensorType(shape, x.element, lo[channels], hi[channels])

    def verify(self, x: TensorType) -> None:
        parts = list(zip(self.start, self.stop, self.step, x.shape, strict=False))
        if len(self.start) != len(x.shape) or any(not 0 <= a < b <= size or c < 1 for a, b, c, size in parts):
            raise VerifyError(f"'{self.name}': it cannot take {self.start} to {self.stop} of {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        parts = (slice(*part) for part in zip(self.start, self.stop, self.step, strict=True))
        return x[(slice(None), *parts)]


@dataclass(frozen=True, eq=False)
class Padding(Node):
    """``value`` around (height, width, channels): so many rows and columns before and behind."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    before: tuple[int, int]
    after: tuple[int, int]
    value: int

    def infer(self, x: TensorType) -> TensorType:
        height, width = (b + s + a for b, s, a in zip(self.before, x.shape[:2], self.after, strict=True))
        element = padded_type(x.element, self.window, self.value)
        lo, hi = np.minimum(x.lo, self.value), np.maximum(x.hi, self.value)
        return TensorType((height, width, x.shape[-1]), element, lo, hi)

    @property
    def window(self) -> Window:
        """It is a window of one tap, over a padded input."""
        return Window((1, 1), (1, 1), (1, 1), self.before, self.after)

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3 or min(*self.before, *self.after) < 0:
            raise VerifyError(f"'{self.name}': {self.before} before and {self.after} behind {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return self.window.padded(x, self.value)


@dataclass(frozen=True, eq=False)
class Repeat(Node):
    """Every pixel of (height, width, channels) so many times in each direction."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    factors: tuple[int, int]

    def infer(self, x: TensorType) -> TensorType:
        (rows, columns), (height, width, channels) = self.factors, x.shape
        return TensorType((height * rows, width * columns, channels), x.element, x.lo, x.hi)

    def verify(self, x: TensorType) -> None:
        if len(x.shape) != 3 or min(self.factors) < 1:
            raise VerifyError(f"'{self.name}': {self.factors} times {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return x.repeat(self.factors[0], axis=1).repeat(self.factors[1], axis=2)


@dataclass(frozen=True, eq=False)
class PixelShuffle(Node):
    """Channels become blocks of pixels.

    Attributes:
        x: (height, width, rows * columns * channels).
        block: Rows and columns of a block.
        depth_last: Whether channel ``(row * columns + column) * channels + c`` goes to pixel (row, column) of the
            block; else channel ``(c * rows + row) * columns + column`` does.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    block: tuple[int, int]
    depth_last: bool

    def infer(self, x: TensorType) -> TensorType:
        (rows, columns), (height, width, depth) = self.block, x.shape
        shape = (height * rows, width * columns, depth // (rows * columns))
        if x.lo.size == 1:
            return TensorType(shape, x.element, x.lo, x.hi)
        # each channel of the result comes from rows * columns channels
        split = (-1, shape[-1]) if self.depth_last else (shape[-1], -1)
        axis = 0 if self.depth_last else 1
        lo, hi = over_channels(x, depth)
        return TensorType(shape, x.element, lo.reshape(split).min(axis), hi.reshape(split).max(axis))

    def verify(self, x: TensorType) -> None:
        rows, columns = self.block
        if len(x.shape) != 3 or min(rows, columns) < 1 or x.shape[-1] % (rows * columns):
            raise VerifyError(f"'{self.name}': blocks of {rows} x {columns} of {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return depth_to_space(x, self.block, depth_last=self.depth_last)


@dataclass(frozen=True, eq=False)
class PixelUnshuffle(Node):
    """Blocks of pixels become channels: (row of the block, column, channel), the last fastest.

    Attributes:
        x: (height, width, channels), whole blocks.
        block: Rows and columns of a block.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    block: tuple[int, int]

    def infer(self, x: TensorType) -> TensorType:
        (rows, columns), (height, width, channels) = self.block, x.shape
        shape = (height // rows, width // columns, rows * columns * channels)
        pixels = rows * columns if x.lo.size > 1 else 1
        return TensorType(shape, x.element, np.tile(x.lo, pixels), np.tile(x.hi, pixels))

    @property
    def window(self) -> Window:
        """It is what windows see that lie side by side."""
        return Window.of(self.block, self.block)

    def verify(self, x: TensorType) -> None:
        rows, columns = self.block
        if len(x.shape) != 3 or min(rows, columns) < 1 or x.shape[0] % rows or x.shape[1] % columns:
            raise VerifyError(f"'{self.name}': blocks of {rows} x {columns} of {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return space_to_depth(x, self.block)


@dataclass(frozen=True, eq=False)
class ChannelShuffle(Node):
    """The channels in another order: channel ``i`` is channel ``order[i]`` of the input.

    With all elements of a frame as the channels of one position it is any transposition.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    order: tuple[int, ...]

    @cached_property
    def run(self) -> int:
        """So many channels stay side by side: words of as many, or of a divisor of it, move as they are."""
        order = np.array(self.order)
        starts = np.flatnonzero(np.diff(order, prepend=order[0]) != 1)  # runs tile the input as they tile the result
        return int(np.gcd.reduce([order.size, *starts]))

    def infer(self, x: TensorType) -> TensorType:
        if x.lo.size == 1:
            return x
        order = list(self.order)
        return TensorType(x.shape, x.element, x.lo[order], x.hi[order])

    def verify(self, x: TensorType) -> None:
        if sorted(self.order) != list(range(x.shape[-1])):
            raise VerifyError(f"'{self.name}': {self.order} is no order of the channels of {x.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return x[..., list(self.order)]


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """The same elements in the same order, in another shape: no hardware."""

    operands: ClassVar[tuple[str, ...]] = ("x",)

    x: str
    shape: Shape

    def infer(self, x: TensorType) -> TensorType:
        channels = x.lo.size
        if channels > 1 and self.shape and self.shape[-1] != channels:
            repeated = (x.size // channels,)
            whole = np.tile(x.lo, repeated), np.tile(x.hi, repeated)
            alike = (self.shape[-1] == x.size,)
            if not alike[0]:
                whole = np.array([x.lo.min()]), np.array([x.hi.max()])
            return TensorType(self.shape, x.element, *whole)
        return TensorType(self.shape, x.element, x.lo, x.hi)

    def verify(self, x: TensorType) -> None:
        if math.prod(self.shape) != x.size:
            raise VerifyError(f"'{self.name}': {x.shape} cannot become {self.shape}")

    def evaluate(self, x: Ints) -> Ints:
        return x.reshape(x.shape[0], *self.shape)
