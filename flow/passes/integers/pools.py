# SPDX-License-Identifier: Apache-2.0
"""Pools and reductions on integers."""

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from flow.ir.dataflow import Convolution, Dense, Flatten, Pooling
from flow.ir.model import ModelOp, Reduce
from flow.ir.window import Window
from flow.passes.integers.builder import ADD_QUANT, WIDEST, Builder
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.products import lifted_window, narrowest
from flow.passes.integers.weights import Weights, integer_product, refused


def pool(b: Builder, node: ModelOp, kind: str, window: Window, *, whole: bool) -> None:
    """The greatest value or the mean of every window."""
    b.give(node, *_pooled(b, node, kind, window, whole=whole))


def _pooled(
    b: Builder, node: ModelOp, kind: str, window: Window, *, whole: bool, share: bool = True
) -> tuple[Pooling, Encoding]:
    """The greatest value, the mean or the sum of every window, and what its integers stand for.

    Args:
        b: The graph so far.
        node: What is converted; its first operand is pooled.
        kind: ``max``; else values are added.
        window: The taps.
        whole: Whether the zeros of the padding count.
        share: Whether the sum is divided by the number of taps.
    """
    tensor, encoding = b.integers(node.inputs[0], node)
    tensor, window = b.lifted(tensor, node), lifted_window(window)
    if kind == "max":
        if min(encoding.scale) < 0:
            raise refused(node, "a negative factor stands before it", "put the batch norm behind the pooling")
        pad = int(b.types[tensor].lo.min())
        if not encoding.uniform and window.pads:
            pad = int(b.types[tensor].element.min)
        return Pooling(node.name, tensor, "max", window, pad), encoding
    zero = encoding.level_of(Fraction(0))
    if window.pads and not whole:
        raise refused(
            node,
            "it divides by another number of values at the border (count_include_pad=0 with padding)",
            "use count_include_pad=1, or no padding",
        )
    if window.pads and zero is None:
        raise refused(node, "it pads with zero, but no integer of its input stands for zero", ADD_QUANT)
    taps = prod(window.kernel)
    made = Encoding.of(
        (s / taps if share else s for s in encoding.scale), (o if share else o * taps for o in encoding.offset)
    )
    return Pooling(node.name, tensor, "sum", window, zero or 0), made


def reduce(b: Builder, node: Reduce) -> None:
    """Over positions: a pool whose windows are as long as the axes; over the channels: a product with ones."""
    shape = b.shapes[node.x]
    if len(shape) - 1 not in node.axes and len(shape) in (2, 3):
        sizes = tuple(size if axis in node.axes else 1 for axis, size in enumerate(shape[:-1]))
        window = Window.of(sizes, sizes)
        _give_shaped(b, node, *_pooled(b, node, node.kind, window, whole=True, share=node.kind == "mean"))
        return
    if node.axes == (len(shape) - 1,) and node.kind != "max":
        tensor, inputs = b.integers(node.x, node)
        ones = Weights(np.ones((shape[-1], 1), np.int64), np.ones((shape[-1], 1)), by_row=False)
        weight, encoding = integer_product(node, ones, inputs, np.arange(shape[-1])[:, None])
        if node.kind == "mean":
            encoding = Encoding.of((s / shape[-1] for s in encoding.scale), (o / shape[-1] for o in encoding.offset))
        _give_shaped(b, node, narrowest(b, node, Dense(node.name, tensor, weight, WIDEST)), encoding)
        return
    raise refused(
        node,
        f"it takes the {node.kind} over axes {node.axes} of {shape}",
        "reduce over positions, or over the channels alone (their sum or mean)",
    )


def _give_shaped(b: Builder, node: Reduce, made: Pooling | Dense | Convolution, encoding: Encoding) -> None:
    """What is reduced keeps its axes, of size one; the model may have dropped them."""
    wanted = b.shapes[node.name]
    kept = made.infer(b.types[made.x]).shape
    if kept == (1,) * (len(kept) - len(wanted)) + wanted:
        b.give(node, made, encoding)
        return
    b.add(replace(made, name=f"{node.name}:kept"))
    b.give(node, Flatten(node.name, f"{node.name}:kept", wanted), encoding)
