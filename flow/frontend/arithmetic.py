# SPDX-License-Identifier: Apache-2.0
"""Products with constants, operations of two tensors, batch normalisation."""

from collections.abc import Callable

import numpy as np
import onnx

from flow.frontend.context import Array, Attributes, Context, Handler, Refused, frame_array
from flow.ir.model import BatchNorm, Binary, BinaryKind, Constant, MatMul, Reshape, Transpose


def matmul(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, weight = node.input[0], node.input[1]
    if x not in context.moving and weight in context.moving:
        _from_the_left(context, node.output[0], x, weight)
        return
    context.activation(x)
    if weight in context.moving:
        raise Refused("it multiplies two activations", "only products with constant weights are supported")
    _product(context, node.output[0], x, context.operand(weight))


def _from_the_left(context: Context, output: str, weight: str, x: str) -> None:
    """``weight @ x``, the transposed ``x.T @ weight.T``."""
    if len(context.shapes[context.operand(weight)]) != 2 or len(context.shapes[x]) != 2:
        shapes = f"{list(context.shapes[weight])} by {[1, *context.shapes[x]]}"
        raise Refused(f"it multiplies {shapes}", "from the left a matrix can be multiplied by a matrix for each frame")
    turned = context.transposed(f"{output}:turned", x, (1, 0))
    _product(context, f"{output}:product", turned, context.transposed(f"{output}:weight", weight, (1, 0)))
    context.transposed(output, f"{output}:product", (1, 0))


def _product(context: Context, output: str, x: str, weight: str) -> None:
    x_shape, w_shape = context.shapes[x], context.shapes[weight]
    if len(w_shape) != 2 or not x_shape or x_shape[-1] != w_shape[0]:
        raise Refused(f"it multiplies {[1, *x_shape]} by {list(w_shape)}", "the weights must be a matrix that fits")
    context.add(MatMul(output, x, weight), (*x_shape[:-1], w_shape[1]))


def gemm(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, weight, output = context.activation(node.input[0]), node.input[1], node.output[0]
    if attributes.get("transA", 0):
        raise Refused("transA=1 would mix frames of a batch", "export it with transA=0")
    if weight in context.moving:
        raise Refused("it multiplies two activations", "only products with constant weights are supported")
    weight = context.operand(weight)
    if attributes.get("transB", 0):
        shape = context.shapes[weight]
        weight = context.add(Transpose(f"{output}:weight", weight, (1, 0)), shape[::-1])
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    product = output if bias is None and alpha == 1 else f"{output}:product"
    _product(context, product, x, weight)
    if alpha != 1:
        factor = context.add(Constant(f"{output}:alpha", np.array(alpha)), ())
        scaled = output if bias is None else f"{output}:scaled"
        product = context.add(Binary(scaled, "mul", product, factor), context.shapes[product])
    if bias is not None:
        bias = beside(context, bias, product, output)
        if beta != 1:
            factor = context.add(Constant(f"{output}:beta", np.array(beta)), ())
            bias = context.add(Binary(f"{output}:bias", "mul", bias, factor), context.shapes[bias])
        context.add(Binary(output, "add", product, bias), context.shapes[product])


def beside(context: Context, name: str, activation: str, output: str) -> str:
    """A parameter as an operand beside an activation: without the batch axis, which is implicit."""
    rank = len(context.shapes[activation])
    if name in context.known and name not in context.shapes:
        frame_array(context.known[name], rank, "constant")
    name = context.operand(name)
    shape = context.shapes[name]
    if len(shape) > rank:
        if any(size != 1 for size in shape[: len(shape) - rank]):
            raise Refused(f"its constant of shape {list(shape)} mixes frames", "give it a leading dimension of 1")
        shape = shape[len(shape) - rank :]
        name = context.add(Reshape(f"{output}:{name}", name, shape), shape)
    try:
        fits = np.broadcast_shapes(context.shapes[activation], shape) == context.shapes[activation]
    except ValueError:
        fits = False
    if not fits:
        raise Refused(
            f"its constant of shape {list(shape)} does not broadcast to {[1, *context.shapes[activation]]}",
            "give it one number, or one for each channel",
        )
    return name


def binary(kind: BinaryKind) -> Handler:
    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        x, y, output = node.input[0], node.input[1], node.output[0]
        if x in context.known and y in context.known and _integers(context, x, y):
            context.known[output] = _FOLD[kind](context.known[x], context.known[y])
            return
        if x in context.moving and y in context.moving:
            _joined(context, output, kind, x, y)
            return
        if x not in context.moving and y not in context.moving:
            x, y = context.operand(x), context.operand(y)
            context.add(Binary(output, kind, x, y), np.broadcast_shapes(context.shapes[x], context.shapes[y]))
            return
        activation = x if x in context.moving else y
        if kind == "pow" or (kind == "div" and y in context.moving):
            raise Refused("it is not monotone in the activation", "only products and sums with constants are supported")
        other = beside(context, y if activation == x else x, activation, output)
        operands = (activation, other) if activation == x else (other, activation)
        context.add(Binary(output, kind, *operands), context.shapes[activation])

    return handler


def _joined(context: Context, output: str, kind: BinaryKind, x: str, y: str) -> None:
    """Two activations: a residual connection, a gate."""
    if kind in ("div", "pow"):
        raise Refused("both its operands are activations", "only Add, Sub and Mul of two activations are supported")
    shapes = context.shapes[x], context.shapes[y]
    try:
        if len(shapes[0]) != len(shapes[1]):
            raise ValueError
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise Refused(
            f"its activations of shapes {[1, *shapes[0]]} and {[1, *shapes[1]]} do not fit",
            "give both the same rank, and each axis the same size or size one",
        ) from None
    context.add(Binary(output, kind, x, y), shape)


def _integers(context: Context, *names: str) -> bool:
    return all(context.known[name].dtype.kind in "iu" for name in names)


_FOLD: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.floor_divide,
    "pow": np.power,
}


def batch_normalization(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    _batch_normalization(context, node, attributes, axis=0)


def batch_normalization_channels_last(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """The channels are the last axis."""
    _batch_normalization(context, node, attributes, axis=-1)


def _batch_normalization(context: Context, node: onnx.NodeProto, attributes: Attributes, *, axis: int) -> None:
    x = context.activation(node.input[0])
    if attributes.get("training_mode", 0):
        raise Refused("it is in training mode", "call model.eval() before the export")
    shape = [1] * len(context.shapes[x])
    shape[axis] = -1
    names = ("scale", "bias", "mean", "variance")
    parameters = [
        context.array(name, what).astype(np.float64).reshape(shape)
        for name, what in zip(node.input[1:5], names, strict=True)
    ]
    epsilon = float(np.float32(attributes.get("epsilon", 1e-5)))
    if bool((parameters[3] + epsilon <= 0).any()):
        raise Refused("a variance is not positive", "train again, or freeze the statistics")
    if parameters[0].size != context.shapes[x][axis]:
        raise Refused(
            f"it has {parameters[0].size} channels for a tensor of shape {[1, *context.shapes[x]]}",
            "check the export",
        )
    gamma, beta, mean, variance = parameters
    context.add(BatchNorm(node.output[0], x, gamma, beta, mean, variance, epsilon), context.shapes[x])
