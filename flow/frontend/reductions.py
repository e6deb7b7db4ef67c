# SPDX-License-Identifier: Apache-2.0
"""Sums, means and maxima over whole axes, and the place of the greatest value."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import onnx

from flow.frontend.context import Array, Attributes, Context, Handler, Refused
from flow.ir.model import ArgMax, Reduce, Unary

Kind: TypeAlias = Literal["sum", "mean", "max"]


def reduce(kind: Kind) -> Handler:
    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        x, output = node.input[0], node.output[0]
        axes = context.numbers(attributes, "axes", node.input, 1)
        keep = bool(attributes.get("keepdims", 1))
        if x in context.known:
            functions: dict[str, Callable[..., Array]] = {"sum": np.sum, "mean": np.mean, "max": np.max}
            context.known[output] = functions[kind](context.known[x], tuple(axes) if axes else None, keepdims=keep)
            return
        context.activation(x)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            context.add(Unary(output, "identity", x), context.shapes[x])
            return
        if not axes:
            raise Refused("it reduces all axes, the batch axis among them", "name the axes, without axis 0")
        _reduced(context, output, x, kind, sorted({context.frame_axis(x, axis) for axis in axes}), keep)

    return handler


def global_pool(kind: Kind) -> Handler:
    """Over all axes behind the channels, which are axis 1."""

    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        x = context.activation(node.input[0])
        rank = len(context.shapes[x])
        if rank < 2:
            raise Refused(f"its input has shape {[1, *context.shapes[x]]}, without a spatial axis", "check the export")
        _reduced(context, node.output[0], x, kind, list(range(1, rank)), True)

    return handler


def _reduced(context: Context, output: str, x: str, kind: Kind, axes: list[int], keep: bool) -> None:
    sizes = [1 if axis in axes else size for axis, size in enumerate(context.shapes[x])]
    shape = tuple(size for axis, size in enumerate(sizes) if keep or axis not in axes)
    context.add(Reduce(output, x, kind, tuple(axes), keep), shape)


def arg_max(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    if attributes.get("select_last_index", 0):
        raise Refused("of equal values it takes the last (select_last_index=1)", "take the first")
    axis = context.frame_axis(x, int(attributes.get("axis", 0)))
    _places(context, node.output[0], x, axis, 1, bool(attributes.get("keepdims", 1)))


def top_k(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    if node.output[0] in context.read:
        raise Refused("its first output, the values, is read", "use the second output, the places")
    if not attributes.get("largest", 1):
        raise Refused("it looks for the least values (largest=0)", "look for the greatest")
    (count,) = context.numbers(attributes, "k", node.input, 1) or [0]
    axis = context.frame_axis(x, int(attributes.get("axis", -1)))
    if not 1 <= count <= context.shapes[x][axis]:
        raise Refused(f"it takes {count} of {context.shapes[x][axis]} values", "take at least one, at most all")
    _places(context, node.output[1], x, axis, count, True)


def _places(context: Context, output: str, x: str, axis: int, count: int, keep: bool) -> None:
    sizes = [count if place == axis else size for place, size in enumerate(context.shapes[x])]
    shape = tuple(size for place, size in enumerate(sizes) if keep or place != axis)
    context.add(ArgMax(output, x, axis, count, keep), shape)
