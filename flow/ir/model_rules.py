# SPDX-License-Identifier: Apache-2.0
"""The rules of the model language: the shape of every tensor, and what a valid graph keeps."""

import math

import numpy as np

from flow.errors import VerifyError
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


def infer_shapes(graph: ModelGraph) -> dict[str, Shape]:
    """The shape of one frame of every tensor; VerifyError names the node where shapes do not fit."""
    shapes: dict[str, Shape] = {}
    for node in graph.nodes:
        try:
            shapes[node.name] = _shape(node, shapes)
        except ValueError as error:
            raise VerifyError(f"'{node.name}' ({type(node).__name__}): {error}") from error
    return shapes


def _shape(node: ModelOp, shapes: dict[str, Shape]) -> Shape:
    match node:
        case Input(shape=shape):
            return shape
        case Constant(value=value):
            return value.shape
        case QuantizedConstant(levels=levels):
            return levels.shape
        case Binary(x=x, y=y):
            return np.broadcast_shapes(shapes[x], shapes[y])
        case MatMul(x=x, weight=weight):
            return _product_shape(shapes[x], shapes[weight])
        case Reshape(x=x, shape=shape):
            if math.prod(shape) != math.prod(shapes[x]):
                raise ValueError(f"{shapes[x]} has {math.prod(shapes[x])} elements and cannot become {shape}")
            return shape
        case Transpose(x=x, order=order):
            if sorted(order) != list(range(len(shapes[x]))):
                raise ValueError(f"{order} is no order of the axes of {shapes[x]}")
            return tuple(shapes[x][axis] for axis in order)
        case Conv(x=x, weight=weight, window=window):
            return (*window.outputs(shapes[x][:-1]), _filters(node, shapes[x], shapes[weight]))
        case ConvTranspose(x=x, weight=weight, window=window):
            return (*window.transposed_outputs(shapes[x][:-1]), _filters(node, shapes[x], shapes[weight]))
        case Pool(x=x, window=window):
            return (*window.outputs(shapes[x][:-1]), shapes[x][-1])
        case Reduce(x=x, axes=axes, keep=keep):
            _check_axes(axes, shapes[x])
            kept = [1 if axis in axes else size for axis, size in enumerate(shapes[x])]
            return tuple(size for axis, size in enumerate(kept) if keep or axis not in axes)
        case Concat(xs=xs, axis=axis):
            return _joined([shapes[x] for x in xs], axis)
        case Slice(x=x, start=start, stop=stop, step=step):
            if not len(start) == len(stop) == len(step) == len(shapes[x]):
                raise ValueError(f"a slice of {len(start)} axes of {shapes[x]}")
            found = tuple(len(range(size)[a:b:c]) for size, a, b, c in zip(shapes[x], start, stop, step, strict=True))
            if min(found, default=1) < 1:
                raise ValueError(f"nothing is left of {shapes[x]}")
            return found
        case Pad(x=x, before=before, after=after):
            return tuple(b + size + a for size, b, a in zip(shapes[x], before, after, strict=True))
        case Upsample(x=x, factors=factors):
            return tuple(size * factor for size, factor in zip(shapes[x], factors, strict=True))
        case DepthToSpace(x=x, block=(rows, columns)):
            if len(shapes[x]) != 3 or shapes[x][-1] % (rows * columns):
                raise ValueError(f"blocks of {rows} x {columns} of {shapes[x]}")
            height, width, depth = shapes[x]
            return height * rows, width * columns, depth // (rows * columns)
        case SpaceToDepth(x=x, block=(rows, columns)):
            if len(shapes[x]) != 3 or shapes[x][0] % rows or shapes[x][1] % columns:
                raise ValueError(f"blocks of {rows} x {columns} of {shapes[x]}")
            height, width, channels = shapes[x]
            return height // rows, width // columns, rows * columns * channels
        case Permute(x=x, axis=axis, order=order):
            _check_axes((axis,), shapes[x])
            if sorted(order) != list(range(shapes[x][axis])):
                raise ValueError(f"{order} is no order of axis {axis} of {shapes[x]}")
            return shapes[x]
        case LeakyRelu(x=x, slope=slope):
            return _unchanged(shapes[x], slope.shape)
        case ArgMax(x=x, axis=axis, count=count, keep=keep):
            _check_axes((axis,), shapes[x])
            places = [count if i == axis else size for i, size in enumerate(shapes[x])]
            return tuple(size for i, size in enumerate(places) if keep or i != axis)
        case Quant(x=x, scale=p, zero_point=q) | BipolarQuant(x=x, scale=p, zero_point=q):
            return _unchanged(shapes[x], p.shape, q.shape)
        case BatchNorm(x=x, gamma=gamma):
            return _unchanged(shapes[x], gamma.shape)
        case Softmax(x=x, axis=axis):
            _check_axes((axis,), shapes[x])
            return shapes[x]
        case Unary(x=x) | Clip(x=x):
            return shapes[x]


def _filters(node: Conv | ConvTranspose, x: Shape, weight: Shape) -> int:
    """The number of outputs, once everything fits."""
    *kernel, rows, outputs = weight
    if tuple(kernel) != node.window.kernel or rows * node.groups != x[-1] or outputs % node.groups:
        raise ValueError(f"weights {weight} in {node.groups} groups for {x} and the window {node.window}")
    return outputs


def _check_axes(axes: tuple[int, ...], shape: Shape) -> None:
    for axis in axes:
        if not 0 <= axis < len(shape):
            raise ValueError(f"axis {axis} is not an axis of {shape}")


def _joined(shapes: list[Shape], axis: int) -> Shape:
    first = shapes[0]
    _check_axes((axis,), first)
    if any(len(s) != len(first) or (*s[:axis], *s[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]) for s in shapes):
        raise ValueError(f"{shapes} do not match but for axis {axis}")
    return (*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :])


def _unchanged(x: Shape, *parameters: Shape) -> Shape:
    for parameter in parameters:
        if np.broadcast_shapes(x, parameter) != x:
            raise ValueError(f"a parameter of shape {parameter} does not broadcast to {x}")
    return x


def _product_shape(x: Shape, weight: Shape) -> Shape:
    if len(weight) != 2 or not x or x[-1] != weight[0]:
        raise ValueError(f"{x} times {weight}: the last axis must match the rows of a matrix")
    return (*x[:-1], weight[1])


def verify_model(graph: ModelGraph) -> None:
    """The rules of the model language: wiring, shapes, and sane quantisers; every violation is listed."""
    graph.check_wiring()
    infer_shapes(graph)
    problems = []
    for node in graph.nodes:
        if isinstance(node, Quant | BipolarQuant):
            if not bool((np.isfinite(node.scale) & (node.scale > 0)).all()):
                problems.append(f"'{node.name}': a scale is not a positive number")
            if not bool((np.rint(node.zero_point) == node.zero_point).all()):
                problems.append(f"'{node.name}': a zero point is not an integer")
        if isinstance(node, Quant) and not 1 <= node.bits <= 32:
            problems.append(f"'{node.name}': {node.bits} bits; 1 to 32 are possible")
        if (
            isinstance(node, QuantizedConstant)
            and np.broadcast_shapes(node.levels.shape, node.scale.shape) != node.levels.shape
        ):
            problems.append(f"'{node.name}': scale of shape {node.scale.shape} for {node.levels.shape}")
    if problems:
        raise VerifyError("\n".join(problems))
