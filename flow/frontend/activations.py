# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions, and softmax."""

import math

import numpy as np
import onnx

from flow.frontend.context import Attributes, Context, Handler, Refused, frame_array
from flow.frontend.qcdq import clip_integers
from flow.ir.model import Binary, Clip, Constant, LeakyRelu, Softmax, Unary, UnaryKind


def unary(kind: UnaryKind) -> Handler:
    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        x = node.input[0]
        if kind == "identity" and x in context.known:
            context.known[node.output[0]] = context.known[x]
            return
        if kind == "sqrt" and x in context.moving:
            raise Refused("the square root of an activation is not supported", "replace it by another activation")
        x = context.operand(x)
        context.add(Unary(node.output[0], kind, x), context.shapes[x])

    return handler


def clip(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = node.input[0]
    if x in context.integers:
        clip_integers(context, node)
        return
    if x in context.known and context.known[x].dtype.kind in "iu":
        lo, hi = (context.array(name, "bound") if name else None for name in [*node.input[1:3], "", ""][:2])
        context.known[node.output[0]] = np.clip(context.known[x], lo, hi)
        return
    bounds = []
    for place, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        if len(node.input) > place and node.input[place]:
            bounds.append(float(context.array(node.input[place], name).reshape(-1)[0]))
        else:
            bounds.append(float(attributes.get(name, default)))
    bounds = [math.copysign(math.inf, b) if abs(b) >= np.finfo(np.float32).max else b for b in bounds]
    if bounds[0] > bounds[1]:
        raise Refused(f"its bounds are {bounds[0]:g} and {bounds[1]:g}", "the first must not exceed the second")
    x = context.operand(x)
    context.add(Clip(node.output[0], x, bounds[0], bounds[1]), context.shapes[x])


def leaky_relu(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    slope = float(np.float32(attributes.get("alpha", 0.01)))
    if slope < 0:
        raise Refused(f"its slope is {slope:g}, so it is not monotone", "use a slope of 0 or more")
    context.add(LeakyRelu(node.output[0], x, np.array(slope)), context.shapes[x])


def prelu(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """The slope is a constant that broadcasts: one, or one for each channel."""
    x = context.activation(node.input[0])
    shape = context.shapes[x]
    slope = frame_array(context.array(node.input[1], "slope"), len(shape), "slope")
    if bool((slope < 0).any()):
        raise Refused(f"its least slope is {slope.min():g}, so it is not monotone", "use slopes of 0 or more")
    try:
        fits = np.broadcast_shapes(shape, slope.shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise Refused(
            f"its slope of shape {list(slope.shape)} does not broadcast to {[1, *shape]}",
            "give it one number, or one for each channel",
        )
    context.add(LeakyRelu(node.output[0], x, slope), shape)


def elu(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    alpha = float(attributes.get("alpha", 1.0))
    if alpha != 1:
        raise Refused(f"its alpha is {alpha:g}", "use alpha 1, or LeakyRelu")
    unary("elu")(context, node, attributes)


def gelu(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    approximate = str(attributes.get("approximate", "none"))
    if approximate not in ("none", "tanh"):
        raise Refused(f"its approximation is '{approximate}'", "use none or tanh")
    unary("gelu" if approximate == "none" else "gelu_tanh")(context, node, attributes)


def swish(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    alpha = float(attributes.get("alpha", 1.0))
    if alpha != 1:
        raise Refused(f"its alpha is {alpha:g}", "use alpha 1 (SiLU)")
    unary("silu")(context, node, attributes)


def hard_sigmoid(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """``clip(alpha * x + beta, 0, 1)``, in its three steps."""
    x, output = context.activation(node.input[0]), node.output[0]
    shape = context.shapes[x]
    for name, kind, default in (("alpha", "mul", 0.2), ("beta", "add", 0.5)):
        number = np.array(float(np.float32(attributes.get(name, default))))
        constant = context.add(Constant(f"{output}:{name}", number), ())
        made = Binary(f"{output}:{kind}", "mul" if kind == "mul" else "add", x, constant)
        x = context.add(made, shape)
    context.add(Clip(output, x, 0.0, 1.0), shape)


def softmax(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    said = int(attributes.get("axis", -1 if context.opset >= 13 else 1))
    axis = context.frame_axis(x, said)
    if axis != len(context.shapes[x]) - 1:
        raise Refused(f"it runs over axis {said}, not over the last one", "move the channels to the end")
    context.add(Softmax(node.output[0], x, axis), context.shapes[x])
