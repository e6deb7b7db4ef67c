# SPDX-License-Identifier: Apache-2.0
"""Reshapes, and arithmetic on shapes, which is done at import."""

import math
from collections.abc import Callable

import numpy as np
import onnx

from flow.frontend.context import Array, Attributes, Context, Handler, Refused
from flow.ir.model import Reshape, Transpose, Unary


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
    rank = context.known[x].ndim if x in context.known else len(context.shapes[x]) + (x in context.moving)
    perm = attributes.get("perm")
    if perm is not None and sorted(perm) != list(range(rank)):
        raise Refused(f"perm={list(perm)} is no order of {rank} axes", "check the export")
    if x in context.known:
        context.known[output] = context.known[x].transpose(perm)
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
    if len(set(axes)) != len(axes):
        raise Refused(f"its axes {list(axes)} repeat", "check the export")
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


def on_arrays(function: Callable[..., Array]) -> Handler:
    """Shape arithmetic: done on known arrays, refused on activations."""

    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        if any(name in context.moving for name in node.input):
            raise Refused("it is supported on constants only, not on activations", "remove it from the data path")
        arrays = [context.array(name, "operand") for name in node.input if name]
        context.known[node.output[0]] = np.asarray(function(*arrays, **attributes))

    return handler


def filled(shape: Array, value: Array | None = None) -> Array:
    """ConstantOfShape: without a value it gives zeros in float32."""
    number = np.zeros(1, np.float32) if value is None else value
    return np.full(shape.astype(int).tolist(), number.reshape(-1)[0], number.dtype)


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
        context.add(Unary(output, "identity", x), context.shapes[x])
    else:
        raise Refused(f"it casts an activation to {kind}", "keep activations in float; quantise with Quant")
