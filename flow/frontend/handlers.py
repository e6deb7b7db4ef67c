# SPDX-License-Identifier: Apache-2.0
"""One function for each ONNX operation, and the table of them.

A handler adds nodes to the context, or raises ``Refused`` with the reason and a remedy. Arrays that are known
at import (``context.known``) are moved about here; arithmetic on float parameters is not done here, since it
could round: it stays in the graph, which evaluates exactly.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from flow.ir.model import (
    BatchNorm,
    Binary,
    BinaryKind,
    BipolarQuant,
    Clip,
    Constant,
    LeakyRelu,
    MatMul,
    ModelOp,
    Quant,
    Reshape,
    Shape,
    Softmax,
    Transpose,
    Unary,
    UnaryKind,
)
from flow.ir.rounding import QONNX_NAMES
from flow.ir.types import Reals

Attributes: TypeAlias = Mapping[str, Any]
Array: TypeAlias = NDArray[Any]


class Refused(Exception):  # noqa: N818 - not an error of this program: the importer collects them
    """A node cannot be converted."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.why = why
        self.remedy = remedy


@dataclass
class Context:
    """What is known while the nodes of a file are read in order.

    Attributes:
        opset: Version of the standard operators.
        known: Arrays whose values are known: initializers, and what was moved about.
        nodes: The model so far.
        shapes: Of every tensor that is a node: of one frame, or of the parameter.
        moving: The tensors that depend on the input.
        poisoned: The tensors that could not be made.
    """

    opset: int
    known: dict[str, Array]
    nodes: list[ModelOp]
    shapes: dict[str, Shape] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)
    poisoned: set[str] = field(default_factory=set)

    def declare(self, name: str, shape: Shape) -> None:
        """Makes the input known."""
        self.shapes[name] = shape
        self.moving.add(name)

    def add(self, node: ModelOp, shape: Shape) -> str:
        self.nodes.append(node)
        self.shapes[node.name] = shape
        if any(name in self.moving for name in node.inputs):
            self.moving.add(node.name)
        return node.name

    def operand(self, name: str) -> str:
        """The tensor ``name`` as a node, made from its array where it is known."""
        if name in self.known and name not in self.shapes:
            array = self.known[name]
            if array.dtype.kind not in "fiub":
                raise Refused(f"'{name}' holds {array.dtype}", "use numbers")
            if not bool(np.isfinite(array).all()):
                raise Refused(f"'{name}' holds NaN or infinite numbers", "train again; the parameters have diverged")
            self.add(Constant(name, array.astype(np.float64)), array.shape)
        return name

    def array(self, name: str, what: str) -> Array:
        """The value of a parameter that must be known."""
        if name not in self.known:
            raise Refused(f"its {what} ('{name}') is computed, not constant", f"export with a constant {what}")
        return self.known[name]

    def activation(self, name: str) -> str:
        """A tensor that depends on the input."""
        if name not in self.moving:
            raise Refused("it does not depend on the model's input", "remove it, or fold it into a constant")
        return name


def frame_array(array: Array, rank: int, what: str) -> Reals:
    """A parameter without the batch axis, so that it broadcasts to frames of that rank."""
    while array.ndim > rank:
        if array.shape[0] != 1:
            raise Refused(
                f"its {what} has shape {list(array.shape)}, which mixes frames of a batch",
                f"give the {what} a leading dimension of 1",
            )
        array = array[0]
    return array.astype(np.float64)


# -- quantisers ------------------------------------------------------------------------------------------------


def _scale(context: Context, name: str) -> Reals:
    scale = context.array(name, "scale").astype(np.float64)
    if not bool(np.isfinite(scale).all()):
        raise Refused("its scale is not a number (NaN or infinite)", "train again; a scale has diverged")
    if not bool((scale > 0).all()):
        raise Refused(
            f"its scale is {scale.min():g}; a scale must be positive",
            "check for an all-zero weight channel or a scale that collapsed in training",
        )
    return scale


def _zero_point(context: Context, name: str) -> Reals:
    zero_point = context.array(name, "zero point").astype(np.float64)
    if not bool((np.rint(zero_point) == zero_point).all()):
        raise Refused(
            f"its zero point is {zero_point.reshape(-1)[0]:g}; it must be an integer",
            "quantise zero points in training",
        )
    return zero_point


def _bits(context: Context, name: str) -> int:
    bits = np.unique(context.array(name, "bit width").astype(np.float64))
    if bits.size != 1:
        raise Refused(
            f"it has {bits.size} bit widths in one tensor ({bits.min():g} to {bits.max():g})",
            "export the greatest width; narrower channels are found again from their values",
        )
    if not 1 <= bits[0] <= 32 or bits[0] != round(float(bits[0])):
        raise Refused(
            f"its bit width is {bits[0]:g}; whole numbers from 1 to 32 are possible",
            "choose a whole number from 1 to 32",
        )
    return int(bits[0])


def quant(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    scale, zero_point = _scale(context, node.input[1]), _zero_point(context, node.input[2])
    bits = _bits(context, node.input[3])
    mode = str(attributes.get("rounding_mode", "ROUND")).upper()
    if mode not in QONNX_NAMES:
        raise Refused(f"its rounding mode is '{mode}'", f"use one of {', '.join(QONNX_NAMES)}")
    signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 1))
    x = context.operand(x)
    shape = context.shapes[x]
    if x in context.moving:
        scale = frame_array(scale, len(shape), "scale")
        zero_point = frame_array(zero_point, len(shape), "zero point")
    if bits == 1 and signed:  # qonnx 1.0.0 executes a signed Quant of one bit as bipolar
        context.add(BipolarQuant(output, x, scale, zero_point), shape)
    elif bits == 1 and narrow:
        raise Refused("it has one bit, unsigned and narrow: only the level 0", "use narrow=0, or two bits")
    else:
        context.add(Quant(output, x, scale, zero_point, bits, signed, narrow, QONNX_NAMES[mode]), shape)


def bipolar_quant(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    scale = _scale(context, node.input[1])
    x = context.operand(node.input[0])
    shape = context.shapes[x]
    if x in context.moving:
        scale = frame_array(scale, len(shape), "scale")
    context.add(BipolarQuant(node.output[0], x, scale, np.zeros(())), shape)


# -- arithmetic --------------------------------------------------------------------------------------------------


def matmul(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, weight = node.input[0], node.input[1]
    if x not in context.moving and weight in context.moving:
        raise Refused("the constant is its left operand", "write x @ weight, as torch.nn.Linear does")
    context.activation(x)
    if weight in context.moving:
        raise Refused("it multiplies two activations", "only products with constant weights are supported")
    _product(context, node.output[0], x, context.operand(weight))


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
        bias = _beside(context, bias, product, output)
        if beta != 1:
            factor = context.add(Constant(f"{output}:beta", np.array(beta)), ())
            bias = context.add(Binary(f"{output}:bias", "mul", bias, factor), context.shapes[bias])
        context.add(Binary(output, "add", product, bias), context.shapes[product])


def _beside(context: Context, name: str, activation: str, output: str) -> str:
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


def _binary(kind: BinaryKind) -> "Handler":
    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        x, y, output = node.input[0], node.input[1], node.output[0]
        if x in context.known and y in context.known and _integers(context, x, y):
            context.known[output] = _FOLD[kind](context.known[x], context.known[y])
            return
        if x in context.moving and y in context.moving:
            raise Refused(
                "two activations meet here (a residual connection or a gate)",
                "this version converts networks in which layers follow each other",
            )
        if x not in context.moving and y not in context.moving:
            x, y = context.operand(x), context.operand(y)
            context.add(Binary(output, kind, x, y), np.broadcast_shapes(context.shapes[x], context.shapes[y]))
            return
        activation = x if x in context.moving else y
        if kind == "pow" or (kind == "div" and y in context.moving):
            raise Refused("it is not monotone in the activation", "only products and sums with constants are supported")
        other = _beside(context, y if activation == x else x, activation, output)
        operands = (activation, other) if activation == x else (other, activation)
        context.add(Binary(output, kind, *operands), context.shapes[activation])

    return handler


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
    x = context.activation(node.input[0])
    if attributes.get("training_mode", 0):
        raise Refused("it is in training mode", "call model.eval() before the export")
    rank = len(context.shapes[x])
    names = ("scale", "bias", "mean", "variance")
    parameters = [
        context.array(name, what).astype(np.float64).reshape(-1, *[1] * (rank - 1))
        for name, what in zip(node.input[1:5], names, strict=True)
    ]
    epsilon = float(np.float32(attributes.get("epsilon", 1e-5)))
    if bool((parameters[3] + epsilon <= 0).any()):
        raise Refused("a variance is not positive", "train again, or freeze the statistics")
    if parameters[0].shape[0] != context.shapes[x][0]:
        raise Refused(
            f"it has {parameters[0].shape[0]} channels for a tensor of shape {[1, *context.shapes[x]]}",
            "check the export",
        )
    gamma, beta, mean, variance = parameters
    context.add(BatchNorm(node.output[0], x, gamma, beta, mean, variance, epsilon), context.shapes[x])


def _unary(kind: UnaryKind) -> "Handler":
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
    x = context.activation(node.input[0])
    bounds = []
    for place, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        if len(node.input) > place and node.input[place]:
            bounds.append(float(context.array(node.input[place], name).reshape(-1)[0]))
        else:
            bounds.append(float(attributes.get(name, default)))
    bounds = [math.copysign(math.inf, b) if abs(b) >= np.finfo(np.float32).max else b for b in bounds]
    if bounds[0] > bounds[1]:
        raise Refused(f"its bounds are {bounds[0]:g} and {bounds[1]:g}", "the first must not exceed the second")
    context.add(Clip(node.output[0], x, bounds[0], bounds[1]), context.shapes[x])


def leaky_relu(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    slope = float(np.float32(attributes.get("alpha", 0.01)))
    if slope < 0:
        raise Refused(f"its slope is {slope:g}, so it is not monotone", "use a slope of 0 or more")
    context.add(LeakyRelu(node.output[0], x, np.array(slope)), context.shapes[x])


def softmax(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    rank = len(context.shapes[x])
    axis = int(attributes.get("axis", -1 if context.opset >= 13 else 1))
    axis = axis - 1 if axis > 0 else axis + rank
    if axis != rank - 1:
        raise Refused(f"it runs over axis {axis + 1}, not over the last one", "move the channels to the end")
    context.add(Softmax(node.output[0], x, axis), context.shapes[x])


# -- shapes ------------------------------------------------------------------------------------------------------


def reshape(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    wanted = attributes.get("shape") or context.array(node.input[1], "shape").astype(int).tolist()
    x, output = node.input[0], node.output[0]
    if x in context.known:
        array = context.known[x]
        wanted = [array.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
        context.known[output] = array.reshape(wanted)
        return
    batch = () if x not in context.moving else (1,)
    old = (*batch, *context.shapes[x])
    new = [old[i] if size == 0 else size for i, size in enumerate(wanted)]
    if -1 in new:
        rest = math.prod(size for size in new if size != -1)
        new[new.index(-1)] = math.prod(old) // max(rest, 1)
    if batch and (not new or new[0] != 1):
        raise Refused(
            f"it makes {new} of {list(old)}, which mixes frames of a batch",
            "keep the first dimension as it is",
        )
    if math.prod(new) != math.prod(old):
        raise Refused(f"it cannot make {new} of {list(old)}", "check the export")
    shape = tuple(new[len(batch) :])
    context.add(Reshape(output, x, shape), shape)


def flatten(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.activation(node.input[0])
    axis = int(attributes.get("axis", 1))
    axis = axis if axis >= 0 else axis + len(context.shapes[x]) + 1
    if axis != 1:
        raise Refused(f"axis={axis} mixes frames of a batch", "use axis=1")
    shape = (math.prod(context.shapes[x]),)
    context.add(Reshape(node.output[0], x, shape), shape)


def transpose(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    if x in context.known:
        context.known[output] = context.known[x].transpose(attributes.get("perm"))
        return
    shape = context.shapes[x]
    batch = 1 if x in context.moving else 0
    order = tuple(attributes.get("perm") or reversed(range(len(shape) + batch)))
    if batch:
        if order[0] != 0:
            raise Refused(f"perm={list(order)} moves the batch axis", "keep axis 0 in its place")
        order = tuple(axis - 1 for axis in order[1:])
    context.add(Transpose(output, x, order), tuple(shape[axis] for axis in order))


def squeeze(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1:
        axes = context.array(node.input[1], "axes").astype(int).reshape(-1).tolist()
    if x in context.known:
        context.known[output] = np.squeeze(context.known[x], None if axes is None else tuple(axes))
        return
    batch = (1,) if x in context.moving else ()
    old = (*batch, *context.shapes[x])
    gone = {axis % len(old) for axis in axes} if axes else {i for i, s in enumerate(old) if s == 1 and (i or not batch)}
    if batch and 0 in gone:
        raise Refused("it removes the batch axis", "keep axis 0")
    shape = tuple(s for i, s in enumerate(old) if i not in gone)[len(batch) :]
    context.add(Reshape(output, x, shape), shape)


def unsqueeze(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    axes = attributes.get("axes")
    if axes is None:
        axes = context.array(node.input[1], "axes").astype(int).reshape(-1).tolist()
    if x in context.known:
        context.known[output] = np.expand_dims(context.known[x], tuple(axes))
        return
    batch = (1,) if x in context.moving else ()
    new = np.expand_dims(np.empty((*batch, *context.shapes[x]), np.bool_), tuple(axes)).shape
    if batch and 0 in {axis % len(new) for axis in axes}:
        raise Refused("it adds an axis in front of the batch", "keep the batch axis first")
    context.add(Reshape(output, x, new[len(batch) :]), new[len(batch) :])


def shape_of(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = node.input[0]
    if x in context.known:
        dims = list(context.known[x].shape)
    else:
        dims = [*([1] if x in context.moving else []), *context.shapes[x]]
    context.known[node.output[0]] = np.array(dims, np.int64)[attributes.get("start", 0) : attributes.get("end")]


def _on_arrays(function: Callable[..., Array]) -> "Handler":
    """Shape arithmetic: done on known arrays, refused on activations."""

    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        if any(name in context.moving for name in node.input):
            raise Refused("it is supported on constants only, not on activations", "remove it from the data path")
        arrays = [context.array(name, "operand") for name in node.input if name]
        context.known[node.output[0]] = np.asarray(function(*arrays, **attributes))

    return handler


def constant(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    for name, kind in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in attributes:
            context.known[node.output[0]] = np.asarray(attributes[name], kind)
            return
    raise Refused("it holds no number", "use a tensor, float or integer constant")


def cast(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    kind = onnx.helper.tensor_dtype_to_np_dtype(int(attributes["to"]))
    if x in context.known:
        context.known[output] = context.known[x].astype(kind)
    elif kind.kind == "f" and kind.itemsize >= 4:
        _unary("identity")(context, node, attributes)
    else:
        raise Refused(f"it casts an activation to {kind}", "keep activations in float; quantise with Quant")


Handler: TypeAlias = Callable[[Context, onnx.NodeProto, Attributes], None]

HANDLERS: dict[str, Handler] = {
    "Add": _binary("add"),
    "BatchNormalization": batch_normalization,
    "BipolarQuant": bipolar_quant,
    "Cast": cast,
    "Clip": clip,
    "Concat": _on_arrays(lambda *arrays, axis: np.concatenate(arrays, axis)),
    "Constant": constant,
    "Div": _binary("div"),
    "Dropout": _unary("identity"),
    "Flatten": flatten,
    "Gather": _on_arrays(lambda array, indices, axis=0: np.take(array, indices, axis)),
    "Gemm": gemm,
    "Identity": _unary("identity"),
    "IntQuant": quant,
    "LeakyRelu": leaky_relu,
    "MatMul": matmul,
    "Mul": _binary("mul"),
    "Neg": _unary("neg"),
    "Pow": _binary("pow"),
    "Quant": quant,
    "Relu": _unary("relu"),
    "Reshape": reshape,
    "Shape": shape_of,
    "Sigmoid": _unary("sigmoid"),
    "Softmax": softmax,
    "Sqrt": _unary("sqrt"),
    "Squeeze": squeeze,
    "Sub": _binary("sub"),
    "Tanh": _unary("tanh"),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
