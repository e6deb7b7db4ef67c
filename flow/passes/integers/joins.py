# SPDX-License-Identifier: Apache-2.0
"""Where two activations meet: sums, gates, channels joined."""

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from flow.ir.dataflow import Concatenation, Flatten, Gate, Sum
from flow.ir.model import Binary, Concat
from flow.ir.types import MAX_BITS
from flow.passes.integers.builder import ADD_QUANT, WIDEST, Builder
from flow.passes.integers.encoding import Encoding, common_step
from flow.passes.integers.weights import refused


def meet(b: Builder, node: Binary) -> None:
    """A sum, a difference or a product of two activations, whatever their scales."""
    if node.kind in ("div", "pow"):
        raise refused(node, f"it is the {node.kind} of two activations", "use sums and products")
    (x, first), (y, second) = (b.integers(name, node) for name in (node.x, node.y))
    if node.kind == "mul":
        _gate(b, node, x, first, y, second)
        return
    if prod(b.types[x].shape) != prod(b.types[y].shape):
        raise refused(
            node,
            f"it adds {b.shapes[node.x]} and {b.shapes[node.y]}, one of which is repeated",
            "add tensors of one shape",
        )
    y = b.like(y, x, node)
    channels = max(len(e.scale) for e in (first, second))
    sign = -1 if node.kind == "sub" else 1
    factors, steps = np.zeros((2, channels), np.int64), []
    for c, (left, right) in enumerate(zip(first.channels(channels)[0], second.channels(channels)[0], strict=True)):
        step = common_step([left, right]) or Fraction(1)
        pair = int(left / step), sign * int(right / step)
        if max(abs(f).bit_length() for f in pair) > MAX_BITS:
            raise refused(node, "its operands have scales that are too far apart", ADD_QUANT)
        factors[:, c] = pair
        steps.append(step)
    if bool((factors == factors[:, :1]).all()):
        factors = factors[:, :1]
    count = max(len(e.offset) for e in (first, second))
    offsets = (
        left + sign * right for left, right in zip(first.channels(count)[1], second.channels(count)[1], strict=True)
    )
    made = Sum(node.name, (x, y), factors.copy(), WIDEST)
    acc = b.accumulator(node, made.partial_range(b.types[x], b.types[y]))
    b.give(node, replace(made, acc=acc), Encoding.of(steps, offsets))


def _gate(b: Builder, node: Binary, x: str, first: Encoding, y: str, second: Encoding) -> None:
    """``(scale * (x + x_offset)) * (scale * (y + y_offset))``."""
    if prod(b.types[x].shape) < prod(b.types[y].shape):
        x, first, y, second = y, second, x, first
    zeros = [e.level_of(Fraction(0)) for e in (first, second)]
    if zeros[0] is None or zeros[1] is None:
        raise refused(
            node, "no integer of one of its operands stands for zero", "quantise both with an integer zero point"
        )
    shape, other = b.types[x].shape, b.types[y].shape
    if prod(shape) == prod(other):
        y = b.like(y, x, node)
    elif prod(other) == shape[-1] == other[-1]:
        y = b.shaped(y, (1,) * (len(shape) - 1) + shape[-1:], node) if len(other) != len(shape) else y
    else:
        raise refused(
            node,
            f"it multiplies {shape} by {other}",
            "multiply tensors of one shape, or by one number for each channel",
        )
    channels = max(len(first.scale), len(second.scale))
    scale = (
        left * right for left, right in zip(first.channels(channels)[0], second.channels(channels)[0], strict=True)
    )
    made = Gate(node.name, x, y, -zeros[0], -zeros[1], WIDEST)
    acc = b.accumulator(node, made.partial_range(b.types[x], b.types[y]))
    b.give(node, replace(made, acc=acc), Encoding.of(scale, [Fraction(0)]))


def concat(b: Builder, node: Concat) -> None:
    """Channels of several tensors, each of which keeps its scale; or along another axis tensors of the same scales."""
    for name in node.xs:
        if name in b.parameters:
            raise refused(node, f"it joins the constant '{name}'", "join activations only, or pad with Pad")
    parts = [b.integers(name, node) for name in node.xs]
    if node.axis != len(b.shapes[node.name]) - 1:
        _stack(b, node, parts)
        return
    sizes = [b.shapes[name][-1] for name in node.xs]
    scale, offset = ([v for (_, e), n in zip(parts, sizes, strict=True) for v in e.channels(n)[i]] for i in (0, 1))
    rank = max(len(b.types[tensor].shape) for tensor, _ in parts)
    tensors = [b.of_rank(tensor, rank, node) for tensor, _ in parts]
    b.give(node, Concatenation(node.name, tuple(tensors)), Encoding.of(scale, offset))


def _stack(b: Builder, node: Concat, parts: list[tuple[str, Encoding]]) -> None:
    """Along another axis than the channels: what lies behind the axis is one channel after the other for that."""
    encoding = parts[0][1]
    if any(other != encoding for _, other in parts):
        why = "it joins tensors of unlike scales along another axis than the channels"
        raise refused(node, why, "quantise them with one scale")
    shape, rows = b.shapes[node.name], prod(b.shapes[node.name][: node.axis])
    flat = [b.shaped(tensor, (rows, b.types[tensor].size // rows), node) for tensor, _ in parts]
    name = f"{node.name}:rows"
    b.add(Concatenation(name, tuple(flat)))
    b.give(node, Flatten(node.name, name, shape), encoding)
