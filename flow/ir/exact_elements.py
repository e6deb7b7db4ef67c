# SPDX-License-Identifier: Apache-2.0
"""One element of a tensor of a model graph, in exact arithmetic: the quantisers in front of it have decided."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from flow.errors import ExactnessError
from flow.ir import numbers
from flow.ir.model import (
    ArgMax,
    BatchNorm,
    Binary,
    BipolarQuant,
    Clip,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Input,
    LeakyRelu,
    MatMul,
    ModelGraph,
    ModelOp,
    Pad,
    Permute,
    Pool,
    Quant,
    QuantizedConstant,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Softmax,
    SpaceToDepth,
    Transpose,
    Unary,
    Upsample,
)
from flow.ir.numbers import Number
from flow.ir.types import Ints, Reals

Index: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """Integers that stand for ``scale * level + offset``.

    Attributes:
        levels: (frames, *shape), or broadcastable to it.
        scale: One rational, or one for each element along the last axis.
        offset: Like ``scale``.
    """

    levels: Ints
    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]

    def number(self, index: Index) -> Fraction:
        """The real value of one element, exactly."""
        level = int(self.levels[index])
        return _pick(self.scale, index) * level + _pick(self.offset, index)


def _pick(values: tuple[Fraction, ...], index: Index) -> Fraction:
    return values[0] if len(values) == 1 else values[index[-1]]


Feed: TypeAlias = Reals | Levels


class ExactElements:
    """Computes elements on demand.

    Args:
        graph: A valid model graph.
        feeds: For every ``Input``: float values (taken as the rationals they are), or integers with a scale.
        shapes: Of one frame of every tensor.
        parameters: The tensors without a batch axis.
        levels: The levels that a quantiser hands on.
    """

    def __init__(
        self,
        graph: ModelGraph,
        feeds: Mapping[str, Feed],
        *,
        shapes: Mapping[str, Shape],
        parameters: set[str],
        levels: Callable[[str], Ints],
    ) -> None:
        self.graph = graph
        self.feeds = feeds
        self.shapes = shapes
        self.parameters = parameters
        self.levels = levels
        self._known: dict[tuple[str, Index], Fraction] = {}

    def number(self, name: str, index: Index) -> Number:
        """One element of a tensor. ``index`` starts with the frame where the tensor has that axis.

        Sums are remembered, as far as they are rational: the windows of what follows overlap.
        """
        node = self.graph[name]
        if not isinstance(node, MatMul | Conv | ConvTranspose | Pool | Reduce):
            return self._number(node, name, index)
        known = self._known.get((name, index))
        if known is not None:
            return known
        found = self._number(node, name, index)
        if isinstance(found, Fraction):
            self._known[name, index] = found
        return found

    def _number(self, node: ModelOp, name: str, index: Index) -> Number:
        match node:
            case Input():
                feed = self.feeds[name]
                return feed.number(index) if isinstance(feed, Levels) else Fraction(float(feed[index]))
            case Constant(value=value):
                return Fraction(float(value[index]))
            case QuantizedConstant(levels=levels, scale=scale):
                return int(levels[index]) * Fraction(element(scale, index))
            case Quant() | BipolarQuant():
                level = int(self.levels(name)[index]) - Fraction(element(node.zero_point, index))
                return level * Fraction(element(node.scale, index))
            case MatMul(x=x, weight=weight):
                return self._products(
                    weight,
                    [((*index[:-1], k), (k, index[-1])) for k in range(self.shapes[x][-1])],
                    x,
                )
            case Conv() | ConvTranspose():
                return self._products(node.weight, self._taps(node, index), node.x)
            case Pool():
                return self._pooled(node, index)
            case Reduce():
                return self._reduced(node, index)
            case Binary(kind=kind, x=x, y=y):
                left, right = (
                    self.number(x, self._broadcast(x, index)),
                    self.number(y, self._broadcast(y, index)),
                )
                return _BINARY[kind](left, right)
            case Unary(kind=kind, x=x):
                return _UNARY[kind](self.number(x, index))
            case Clip(x=x, lo=lo, hi=hi):
                value = self.number(x, index)
                value = numbers.larger(value, Fraction(lo)) if np.isfinite(lo) else value
                return numbers.smaller(value, Fraction(hi)) if np.isfinite(hi) else value
            case LeakyRelu(x=x, slope=slope):
                return numbers.leaky_relu(self.number(x, index), Fraction(element(slope, index)))
            case BatchNorm(x=x):
                centred = numbers.add(self.number(x, index), -Fraction(element(node.mean, index)))
                spread = numbers.square_root(Fraction(element(node.variance, index)) + Fraction(node.epsilon))
                scaled = numbers.divide(numbers.multiply(centred, Fraction(element(node.gamma, index))), spread)
                return numbers.add(scaled, Fraction(element(node.beta, index)))
            case (
                Reshape()
                | Transpose()
                | Concat()
                | Slice()
                | Pad()
                | Upsample()
                | DepthToSpace()
                | SpaceToDepth()
                | Permute()
            ):
                source = self._source(node, *self._split(name, index))
                return Fraction(source) if isinstance(source, float) else self.number(*source)
            case Softmax() | ArgMax():
                what = "softmax" if isinstance(node, Softmax) else "search for the greatest value"
                raise ExactnessError(f"'{name}': nothing that is quantised may follow a {what}")

    def _split(self, name: str, index: Index) -> tuple[Index, Index]:
        """The frame (or nothing) and the place in it."""
        rank = len(self.shapes[name])
        return index[: len(index) - rank], index[len(index) - rank :]

    def _broadcast(self, operand: str, index: Index) -> Index:
        """The index into an operand that was broadcast to the indexed element."""
        shape = self.shapes[operand]
        inner = index[len(index) - len(shape) :]
        lead = () if operand in self.parameters else index[:1]
        return (*lead, *(0 if size == 1 else i for size, i in zip(shape, inner, strict=True)))

    def _products(self, weight: str, pairs: list[tuple[Index, Index]], x: str) -> Number:
        return numbers.total(numbers.multiply(self.number(x, at), self.number(weight, tap)) for at, tap in pairs)

    def _taps(self, node: Conv | ConvTranspose, index: Index) -> list[tuple[Index, Index]]:
        """The elements of the input that a sum reads, each with the place of its weight."""
        lead, (*position, output) = self._split(node.name, index)
        *spatial, _ = self.shapes[node.x]
        *_, rows, outputs = self.shapes[node.weight]
        first = output // (outputs // node.groups) * rows
        window, pairs = node.window, []
        for tap in window.taps():
            if isinstance(node, Conv):
                place = window.inputs(tap, tuple(position))
            else:
                # i * stride - before + t * dilation == position
                shifted = [
                    p + b - t * d for p, b, t, d in zip(position, window.before, tap, window.dilations, strict=True)
                ]
                if any(s % stride for s, stride in zip(shifted, window.strides, strict=True)):
                    continue
                place = tuple(s // stride for s, stride in zip(shifted, window.strides, strict=True))
            if all(0 <= i < size for i, size in zip(place, spatial, strict=True)):
                pairs += [((*lead, *place, first + row), (*tap, row, output)) for row in range(rows)]
        return pairs

    def _pooled(self, node: Pool, index: Index) -> Number:
        lead, (*position, channel) = self._split(node.name, index)
        spatial = self.shapes[node.x][:-1]
        places = [node.window.inputs(tap, tuple(position)) for tap in node.window.taps()]
        inside = [p for p in places if all(0 <= i < size for i, size in zip(p, spatial, strict=True))]
        seen = [self.number(node.x, (*lead, *place, channel)) for place in inside]
        if node.kind == "max":
            return numbers.greatest(seen)
        return numbers.multiply(numbers.total(seen), Fraction(1, len(places) if node.whole else len(inside)))

    def _reduced(self, node: Reduce, index: Index) -> Number:
        lead, inner = self._split(node.name, index)
        shape, kept = self.shapes[node.x], list(inner)
        if not node.keep:
            for axis in sorted(node.axes):
                kept.insert(axis, 0)
        sizes = [shape[axis] for axis in node.axes]
        seen = []
        for offsets in np.ndindex(*sizes):
            for axis, offset in zip(node.axes, offsets, strict=True):
                kept[axis] = offset
            seen.append(self.number(node.x, (*lead, *kept)))
        if node.kind == "max":
            return numbers.greatest(seen)
        whole = numbers.total(seen)
        return whole if node.kind == "sum" else numbers.multiply(whole, Fraction(1, len(seen)))

    def _source(
        self,
        node: Reshape | Transpose | Concat | Slice | Pad | Upsample | DepthToSpace | SpaceToDepth | Permute,
        lead: Index,
        inner: Index,
    ) -> tuple[str, Index] | float:
        """Where an element that was only moved comes from; a float where it is padding."""
        match node:
            case Reshape(x=x, shape=shape):
                flat = int(np.ravel_multi_index(inner, shape)) if shape else 0
                source = tuple(int(i) for i in np.unravel_index(flat, self.shapes[x]))
            case Transpose(x=x, order=order):
                source = tuple(inner[order.index(axis)] for axis in range(len(order)))
            case Concat(xs=xs, axis=axis):
                place = inner[axis]
                for x in xs:
                    if place < self.shapes[x][axis]:
                        break
                    place -= self.shapes[x][axis]
                source = (*inner[:axis], place, *inner[axis + 1 :])
            case Slice(x=x, start=start, stop=stop, step=step):
                axes = zip(self.shapes[x], start, stop, step, inner, strict=True)
                source = tuple(range(size)[a:b:c][i] for size, a, b, c, i in axes)
            case Pad(x=x, before=before):
                source = tuple(i - b for i, b in zip(inner, before, strict=True))
                if any(not 0 <= i < size for i, size in zip(source, self.shapes[x], strict=True)):
                    return node.value
            case Upsample(x=x, factors=factors):
                source = tuple(i // factor for i, factor in zip(inner, factors, strict=True))
            case DepthToSpace(x=x, block=(rows, columns)):
                (y, row), (z, column), c = divmod(inner[0], rows), divmod(inner[1], columns), inner[2]
                channels = self.shapes[node.name][2]
                depth = (c * rows + row) * columns + column
                if node.depth_last:
                    depth = (row * columns + column) * channels + c
                source = (y, z, depth)
            case SpaceToDepth(x=x, block=(rows, columns)):
                pixel, c = divmod(inner[2], self.shapes[x][2])
                row, column = divmod(pixel, columns)
                source = (inner[0] * rows + row, inner[1] * columns + column, c)
            case Permute(x=x, axis=axis, order=order):
                source = (*inner[:axis], order[inner[axis]], *inner[axis + 1 :])
        return x, ((*lead, *source) if x not in self.parameters else source)


def element(array: Reals, index: Index) -> float:
    """The element of a parameter that is broadcast to ``index``."""
    if array.ndim == 0:
        return float(array)
    inner = index[len(index) - array.ndim :]
    return float(array[tuple(0 if size == 1 else i for size, i in zip(array.shape, inner, strict=True))])


_BINARY: dict[str, Callable[[Number, Number], Number]] = {
    "add": numbers.add,
    "sub": lambda x, y: numbers.add(x, numbers.negate(y)),
    "mul": numbers.multiply,
    "div": numbers.divide,
    "pow": numbers.power,
}
_UNARY: dict[str, Callable[[Number], Number]] = {
    "relu": lambda x: numbers.larger(x, Fraction(0)),
    "sigmoid": numbers.sigmoid,
    "tanh": numbers.tanh,
    "sqrt": numbers.square_root,
    "neg": numbers.negate,
    "identity": lambda x: x,
    "sign": numbers.sign,
    "softplus": numbers.softplus,
    "elu": numbers.elu,
    "hardswish": numbers.hardswish,
    "silu": numbers.silu,
    "gelu": numbers.gelu,
    "gelu_tanh": numbers.gelu_tanh,
}
