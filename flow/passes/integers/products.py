# SPDX-License-Identifier: Apache-2.0
"""Matrix products and convolutions on integers."""

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from flow.ir.dataflow import Convolution, Dense, Flatten, PixelShuffle, Selection
from flow.ir.model import Conv, ConvTranspose, MatMul, ModelOp, Shape, Transpose
from flow.ir.types import Ints
from flow.ir.window import Window
from flow.passes.integers.builder import WIDEST, Builder
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.transposed import as_convolution
from flow.passes.integers.weights import Weights, in_common_phases, integer_product, refused, weights_of


def matmul(b: Builder, node: MatMul) -> None:
    """``x @ weight``."""
    leaf = b.quantized_leaf(node, node.x)
    inputs = b.affine(leaf, node.x, node)
    rows = b.shapes[node.x][-1]
    weight, encoding = integer_product(node, weights_of(b.graph, node, node.weight), inputs, np.arange(rows)[:, None])
    source, weight = _arranged(b, leaf, node, weight)
    b.give(node, narrowest(b, node, Dense(node.name, source, weight, WIDEST)), encoding)


def convolution(b: Builder, node: Conv) -> None:
    """A product at every position of a window."""
    weights = weights_of(b.graph, node, node.weight)
    made, encoding = _windowed(b, node, node.name, weights, node.window, node.groups)
    b.give(node, made, encoding)


def transposed_convolution(b: Builder, node: ConvTranspose) -> None:
    """A convolution that gives every phase of the result, and a shuffle of its channels into pixels."""
    whole = weights_of(b.graph, node, node.weight)
    shape, result = b.shapes[node.x], b.shapes[node.name]
    lowered = as_convolution(node.window, shape[:-1], result[:-1], node.groups)
    kernel = (*node.window.kernel, shape[-1] // node.groups, result[-1])
    levels = lowered.weights(whole.levels.reshape(kernel))
    if whole.by_row:
        steps = lowered.weights(whole.steps.reshape(kernel))
    else:  # every phase has the steps of its output
        steps = np.broadcast_to(np.tile(whole.steps[0], prod(lowered.blocks)), levels.shape)
    outputs = levels.shape[-1]
    weights = Weights(levels.reshape(-1, outputs), steps.reshape(-1, outputs), whole.by_row)
    phases = prod(lowered.blocks) > 1
    name = f"{node.name}:phases" if phases else node.name
    made, encoding = _windowed(b, node, name, weights, lowered.window, 1, prod(lowered.blocks))
    if not phases:
        b.give(node, made, encoding)
        return
    b.add(made)
    _shuffled(b, node, name, lowered.blocks, encoding)


def _windowed(
    b: Builder, node: Conv | ConvTranspose, name: str, weights: Weights, window: Window, groups: int, phases: int = 1
) -> tuple[Dense | Convolution, Encoding]:
    """The product called ``name`` of the input of ``node``; one of one tap is a matrix product at every position.

    Its outputs fall into so many ``phases``; what is the same output in each has one scale.
    """
    tensor, inputs = b.integers(node.x, node)
    zero = inputs.level_of(Fraction(0))
    # a zero point for each channel cannot be padded with, and adds to each phase what its own weights make of it
    if (window.pads and zero is None) or (phases > 1 and any(inputs.offset)):
        tensor, inputs = b.centred(tensor, inputs, node) or (tensor, inputs)
        zero = inputs.level_of(Fraction(0))
    if window.pads and zero is None:
        raise refused(
            node,
            "it pads with zero, but no integer of its input stands for zero",
            "quantise its input with an integer zero point, behind a batch norm rather than in front of it",
        )
    rows, outputs = b.shapes[node.x][-1] // groups, weights.levels.shape[1]
    channel = np.arange(len(weights.levels))[:, None] % rows
    group = np.arange(outputs)[None, :] // (outputs // groups)
    integers, encoding = integer_product(node, weights, inputs, channel + group * rows)
    if phases > 1:
        integers, encoding = in_common_phases(node, integers, encoding, phases)
    if prod(window.kernel) == 1 and set(window.strides) == {1} and not window.pads and groups == 1:
        return narrowest(b, node, Dense(name, tensor, integers, WIDEST)), encoding
    weight = integers.reshape(*window.kernel, rows, outputs)
    if len(window.kernel) == 1:
        weight = weight[None]
    tensor = b.lifted(tensor, node)
    made = Convolution(name, tensor, weight, lifted_window(window), groups, zero or 0, WIDEST)
    return narrowest(b, node, made), encoding


def _shuffled(b: Builder, node: ModelOp, phases: str, blocks: Shape, encoding: Encoding) -> None:
    """The phases of a transposed convolution put together, without what lies beyond its last output."""
    outputs, count = b.shapes[node.name][-1], prod(blocks)
    scale, offset = encoding.channels(outputs * count)
    if offset != offset[:outputs] * count:
        raise refused(
            node,
            "its phases have unlike offsets: each adds the zero point of its input with weights of its own",
            "quantise its input with zero point 0",
        )
    merged = Encoding.of(scale[:outputs], offset[:outputs])
    wanted = (1,) * (3 - len(b.shapes[node.name])) + b.shapes[node.name]
    height = b.types[phases].shape[0] if len(blocks) == 2 else 1
    if prod(blocks[:-1]) == 1:  # those of a row already lie in order
        pixels: PixelShuffle | Flatten = Flatten(
            node.name, phases, (height, b.types[phases].size // outputs // height, outputs)
        )
    else:
        pixels = PixelShuffle(node.name, phases, (blocks[0], blocks[1]), depth_last=True)
    if pixels.infer(b.types[phases]).shape == wanted:
        b.give(node, pixels, merged)
        return
    pixels = replace(pixels, name=f"{node.name}:pixels")
    b.add(pixels)
    b.give(node, Selection(node.name, pixels.name, (0, 0, 0), wanted, (1, 1, 1)), merged)


def narrowest(b: Builder, node: ModelOp, made: "Dense | Convolution") -> "Dense | Convolution":
    """With an accumulator that holds every partial sum."""
    return replace(made, acc=b.accumulator(node, made.partial_range(b.types[made.x])))


def _arranged(b: Builder, leaf: str, node: MatMul, weight: Ints) -> tuple[str, Ints]:
    """The tensor that the product reads, and the weights in the order in which it arrives."""
    wanted = b.shapes[node.x]
    if prod(wanted[:-1]) > 1:
        leaf = b.in_order(leaf, node.x, node)
    elif any(isinstance(n, Transpose) for n in b.chain(leaf, node.x)):  # the rows of the weights change places
        arranged = np.empty_like(weight)
        arranged[b.places(leaf, node.x).reshape(-1)] = weight
        weight = arranged
    made = b.types[leaf].shape
    if made[-1] == wanted[-1] and prod(made) == prod(wanted) and len(made) >= len(wanted):
        return leaf, weight
    return b.shaped(leaf, wanted, node), weight


def lifted_window(window: Window) -> Window:
    """A window over a sequence as one over an image of one row."""
    if len(window.kernel) == 2:
        return window
    return Window(
        (1, *window.kernel), (1, *window.strides), (1, *window.dilations), (0, *window.before), (0, *window.after)
    )
