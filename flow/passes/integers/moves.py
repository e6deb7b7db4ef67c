# SPDX-License-Identifier: Apache-2.0
"""What moves values about and changes none."""

from fractions import Fraction
from math import prod

import numpy as np

from flow.ir.dataflow import ChannelShuffle, Padding, PixelShuffle, PixelUnshuffle, Repeat, Selection
from flow.ir.model import DepthToSpace, Pad, Permute, Slice, SpaceToDepth, Upsample
from flow.passes.integers.builder import Builder
from flow.passes.integers.encoding import Encoding
from flow.passes.integers.weights import refused


def take(b: Builder, node: Slice) -> None:
    """Some of the elements."""
    tensor, encoding = b.integers(node.x, node)
    shape = b.shapes[node.x]
    parts = [
        range(n)[slice(*p)] for n, p in zip(shape, zip(node.start, node.stop, node.step, strict=True), strict=True)
    ]
    if any(part.step < 1 for part in parts):
        raise refused(node, "it reverses an axis", "use positive steps")
    extra = [range(1)] * (len(b.types[tensor].shape) - len(shape))
    start, stop, step = (tuple(getattr(p, f) for p in [*extra, *parts]) for f in ("start", "stop", "step"))
    channels = slice(parts[-1].start, parts[-1].stop, parts[-1].step)
    kept = Encoding.of(
        encoding.scale if len(encoding.scale) == 1 else encoding.scale[channels],
        encoding.offset if len(encoding.offset) == 1 else encoding.offset[channels],
    )
    b.give(node, Selection(node.name, tensor, start, stop, step), kept)


def pad(b: Builder, node: Pad) -> None:
    """A constant around an image, where an integer stands for it."""
    tensor, encoding = b.integers(node.x, node)
    level = encoding.level_of(Fraction(node.value))
    if level is None:
        raise refused(node, f"no integer of its input stands for {node.value:g}", "pad with zero")
    if node.before[-1] or node.after[-1] or min(*node.before, *node.after) < 0:
        raise refused(node, "it pads channels, or cuts some off", "pad height and width only")
    tensor = b.lifted(tensor, node)
    before, after = (_last_two(p[:-1], 0) for p in (node.before, node.after))
    b.give(node, Padding(node.name, tensor, before, after, level), encoding)


def upsample(b: Builder, node: Upsample) -> None:
    """Every pixel several times."""
    tensor, encoding = b.integers(node.x, node)
    if node.factors[-1] != 1:
        raise refused(node, "it repeats channels", "repeat height and width only")
    tensor = b.lifted(tensor, node)
    b.give(node, Repeat(node.name, tensor, _last_two(node.factors[:-1], 1)), encoding)


def depth_to_space(b: Builder, node: DepthToSpace) -> None:
    """Channels become pixels."""
    tensor, encoding = b.integers(node.x, node)
    if not encoding.uniform:
        raise refused(node, "its channels have unlike scales", "use one scale for the tensor in front of it")
    b.give(node, PixelShuffle(node.name, tensor, node.block, node.depth_last), encoding)


def space_to_depth(b: Builder, node: SpaceToDepth) -> None:
    """Pixels become channels; each pixel of a block has the scales of its channels."""
    tensor, encoding = b.integers(node.x, node)
    pixels = node.block[0] * node.block[1]
    channels = b.shapes[node.x][-1]
    scale, offset = (values * pixels for values in encoding.channels(channels))
    tensor = b.of_rank(tensor, 3, node)
    b.give(node, PixelUnshuffle(node.name, tensor, node.block), Encoding.of(scale, offset))


def permute(b: Builder, node: Permute) -> None:
    """Channels, or what lies along another axis, in another order."""
    tensor, encoding = b.integers(node.x, node)
    shape, order = b.shapes[node.x], np.array(node.order)
    if node.axis == len(shape) - 1:
        scale, offset = ([values[i] for i in node.order] for values in encoding.channels(len(node.order)))
        b.give(node, ChannelShuffle(node.name, tensor, node.order), Encoding.of(scale, offset))
        return
    place = np.arange(prod(shape)).reshape(shape).take(order, node.axis)
    b.reorder(node.name, tensor, place.reshape(-1), shape)
    b.leaf[node.name], b.encodings[node.name] = node.name, encoding


def _last_two(values: tuple[int, ...], fill: int) -> tuple[int, int]:
    """For height and width, where a sequence has a length alone."""
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])
