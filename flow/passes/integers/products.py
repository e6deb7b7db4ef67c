# SPDX-License-Identifier: Apache-2.0
"""Matrix products and convolutions on integers."""

from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np

from flow.ir.dataflow import Convolution, Dense, PixelShuffle, Selection
from flow.ir.model import Conv, ConvTranspose, MatMul, ModelOp, Reshape, Transpose
from flow.ir.types import Ints
from flow.ir.window import Window
from flow.passes.integers.builder import WIDEST, Builder
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.transposed import as_convolution
from flow.passes.integers.weights import Weights, integer_product, refused, weights_of


def matmul(b: Builder, node: MatMul) -> None:
    """``x @ weight``."""
    leaf = b.quantized_leaf(node, node.x)
    inputs = b.affine(leaf, node.x, node)
    rows = b.shapes[node.x][-1]
    weight, encoding = integer_product(node, weights_of(b.graph, node, node.weight), inputs, np.arange(rows)[:, None])
    source, weight = _arranged(b, leaf, node, weight)
    b.give(node, narrowest(b, node, Dense(node.name, source, weight, WIDEST)), encoding)


def convolution(b: Builder, node: Conv | ConvTranspose) -> None:
    """A convolution, or a transposed one as a convolution whose channels are shuffled into pixels."""
    tensor, inputs = b.integers(node.x, node)
    zero = inputs.level_of(Fraction(0))
    weights, window, groups = weights_of(b.graph, node, node.weight), node.window, node.groups
    kernel_shape = (*window.kernel, b.shapes[node.x][-1] // groups, b.shapes[node.name][-1])
    blocks: tuple[int, ...] = ()
    if isinstance(node, ConvTranspose):
        lowered = as_convolution(window, b.shapes[node.x][:-1], b.shapes[node.name][:-1], groups)
        levels = lowered.weights(weights.levels.reshape(kernel_shape))
        steps = lowered.weights(weights.steps.reshape(kernel_shape))
        weights = Weights(levels.reshape(-1, levels.shape[-1]), steps.reshape(-1, steps.shape[-1]), weights.by_row)
        window, groups, blocks, kernel_shape = lowered.window, 1, lowered.blocks, levels.shape
        if len(set(blocks)) > 1:
            raise refused(node, f"its strides {blocks} differ", "use one stride for both axes")
    if window.pads and zero is None:
        raise refused(
            node,
            "it pads with zero, but no integer of its input stands for zero",
            "quantise its input with an integer zero point, behind a batch norm rather than in front of it",
        )
    per_group, outputs = kernel_shape[-2], kernel_shape[-1]
    row = np.arange(len(weights.levels))[:, None] % per_group
    group = np.arange(outputs)[None, :] // (outputs // groups)
    integers, encoding = integer_product(node, weights, inputs, row + group * per_group)
    if prod(window.kernel) == 1 and set(window.strides) == {1} and not window.pads and groups == 1:
        made: Dense | Convolution = Dense(node.name, tensor, integers, WIDEST)
    else:
        tensor = b.lifted(tensor, node)
        window = lifted_window(window)
        weight = integers.reshape(*window.kernel, per_group, outputs)
        made = Convolution(node.name, tensor, weight, window, groups, zero or 0, WIDEST)
    if max(blocks, default=1) == 1:
        b.give(node, narrowest(b, node, made), encoding)
        return
    made = replace(made, name=f"{node.name}:phases")
    b.add(narrowest(b, node, made))
    _shuffled(b, node, made.name, blocks[0], encoding)


def _shuffled(b: Builder, node: ModelOp, phases: str, block: int, encoding: Encoding) -> None:
    """The phases of a transposed convolution put together, without what lies beyond its last output."""
    outputs = b.shapes[node.name][-1]
    scale, offset = encoding.channels(outputs * block**2)
    # phases have steps of their own where their inputs have unlike scales
    if scale != scale[:outputs] * block**2 or offset != offset[:outputs] * block**2:
        raise refused(node, "its phases have unlike scales", "use one scale for the whole tensor in front of it")
    merged = Encoding.of(scale[:outputs], offset[:outputs])
    wanted = (1,) * (3 - len(b.shapes[node.name])) + b.shapes[node.name]
    shuffled = PixelShuffle(node.name, phases, block, depth_last=True)
    if shuffled.infer(b.types[phases]).shape == wanted:
        b.give(node, shuffled, merged)
        return
    shuffled = replace(shuffled, name=f"{node.name}:pixels")
    b.add(shuffled)
    b.give(node, Selection(node.name, shuffled.name, (0, 0, 0), wanted, (1, 1, 1)), merged)


def narrowest(b: Builder, node: ModelOp, made: "Dense | Convolution") -> "Dense | Convolution":
    """With an accumulator that holds every partial sum."""
    return replace(made, acc=b.accumulator(node, made.partial_range(b.types[made.x])))


def _arranged(b: Builder, leaf: str, node: MatMul, weight: Ints) -> tuple[str, Ints]:
    """The tensor that the product reads, and the weights in the order in which it arrives."""
    moves = [n for n in b.chain(leaf, node.x) if isinstance(n, Reshape | Transpose)]
    wanted = b.shapes[node.x]
    if any(isinstance(n, Transpose) for n in moves):
        place = np.arange(prod(b.shapes[leaf])).reshape(b.shapes[leaf])
        for move in moves:
            place = place.reshape(move.shape) if isinstance(move, Reshape) else place.transpose(move.order)
        if len(wanted) != 1:
            raise refused(node, "its input is transposed and has several positions", "flatten before the layer")
        arranged = np.empty_like(weight)
        arranged[place.reshape(-1)] = weight
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
