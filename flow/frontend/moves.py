# SPDX-License-Identifier: Apache-2.0
"""Operations that join, cut, pad and repeat tensors."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx

from flow.frontend.context import Array, Attributes, Context, Refused
from flow.ir.model import Concat, DepthToSpace, Pad, Permute, Reshape, Shape, Slice, SpaceToDepth, Unary, Upsample


def concat(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    axis, output = int(attributes["axis"]), node.output[0]
    if all(name in context.known for name in node.input):
        context.known[output] = np.concatenate([context.known[name] for name in node.input], axis)
        return
    names = [context.operand(name) for name in node.input]
    moving = [name for name in names if name in context.moving]
    place = context.frame_axis(moving[0] if moving else names[0], axis)
    if moving:
        names = [n if n in context.moving else _framed(context, n, moving[0], output) for n in names]
    shapes = [context.shapes[name] for name in names]
    first = shapes[0]
    others = {(*s[:place], *s[place + 1 :]) for s in shapes}
    if len(others) != 1 or len({len(s) for s in shapes}) != 1:
        raise Refused(f"its operands of shapes {[[1, *s] for s in shapes]} do not fit", "check the export")
    shape = (*first[:place], sum(s[place] for s in shapes), *first[place + 1 :])
    context.add(Concat(output, tuple(names), place), shape)


def _framed(context: Context, name: str, activation: str, output: str) -> str:
    """A parameter without the batch axis of one that it has in the file."""
    shape = context.shapes[name]
    if len(shape) != len(context.shapes[activation]) + 1 or shape[0] != 1:
        raise Refused(f"its constant of shape {list(shape)} mixes frames", "give it a leading dimension of 1")
    return context.add(Reshape(f"{output}:{name}", name, shape[1:]), shape[1:])


def split(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, axis = node.input[0], int(attributes.get("axis", 0))
    parts = [name for name in node.output]
    if x in context.known:
        size = context.known[x].shape[axis]
    else:
        place = context.frame_axis(x, axis)
        size = context.shapes[x][place]
    sizes = context.numbers(attributes, "split", node.input, 1)
    if sizes is None:  # equal parts, the last of which may be smaller
        each = math.ceil(size / len(parts))
        sizes = [min(each, size - each * number) for number in range(len(parts))]
    if len(sizes) != len(parts) or sum(sizes) != size or min(sizes) < 1:
        raise Refused(f"it makes parts {sizes} of {size}", "check the export")
    ends = np.cumsum(sizes).tolist()
    for name, length, end in zip(parts, sizes, ends, strict=True):
        if x in context.known:
            context.known[name] = np.take(context.known[x], np.arange(end - length, end), axis)
        else:
            _cut(context, name, x, {place: range(end - length, end)})


def slice_of(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    starts = context.numbers(attributes, "starts", node.input, 1)
    ends = context.numbers(attributes, "ends", node.input, 2)
    if starts is None or ends is None:
        raise Refused("its starts or ends are missing", "export the model again")
    axes = context.numbers(attributes, "axes", node.input, 3) or list(range(len(starts)))
    steps = context.numbers({}, "steps", node.input, 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refused("its starts, ends, axes and steps differ in number", "export the model again")
    if x in context.known:
        array = context.known[x]
        places = [slice(None)] * array.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            places[axis] = _slice(array.shape[axis], start, end, step)
        context.known[output] = array[tuple(places)]
        return
    if min(steps) < 1:
        raise Refused(f"its steps are {steps}: it reverses an axis", "use steps of 1 or more")
    cuts: dict[int, range] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if x in context.moving and axis in (0, -len(context.shapes[x]) - 1):
            if list(range(1)[start:end:step]) != [0]:
                raise Refused("it cuts the batch axis", "keep axis 0 whole")
            continue
        place = context.frame_axis(x, axis)
        cuts[place] = range(context.shapes[x][place])[start:end:step]
    _cut(context, output, x, cuts)


def _slice(size: int, start: int, end: int, step: int) -> slice:
    """With bounds that numpy understands as ONNX does: an end far below zero means all, going backwards."""
    places = range(size)[start:end:step] if step > 0 or end >= -size else range(size)[start::step]
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(places.start, places.stop, step) if step > 0 else slice(start, end, step)


def _cut(context: Context, output: str, x: str, cuts: dict[int, range]) -> None:
    shape = context.shapes[x]
    kept = [cuts.get(axis, range(size)) for axis, size in enumerate(shape)]
    if any(len(places) == 0 for places in kept):
        raise Refused(f"it leaves nothing of {[1, *shape]}", "check the export")
    if all(len(places) == size for places, size in zip(kept, shape, strict=True)):
        context.add(Unary(output, "identity", x), shape)
        return
    start, stop, step = (tuple(getattr(places, part) for places in kept) for part in ("start", "stop", "step"))
    context.add(Slice(output, x, start, stop, step), tuple(len(places) for places in kept))


def gather(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Of an activation: one place along an axis, some that are equally far apart, or all in another order."""
    x, output, axis = node.input[0], node.output[0], int(attributes.get("axis", 0))
    indices = context.array(node.input[1], "indices").astype(int)
    if x in context.known:
        context.known[output] = np.take(context.known[x], indices, axis)
        return
    place, shape = context.frame_axis(x, axis), context.shapes[context.operand(x)]
    size = shape[place]
    if indices.ndim > 1 or indices.size == 0 or not bool(((indices >= -size) & (indices < size)).all()):
        raise Refused(f"its indices of shape {list(indices.shape)} are no places of {size}", "check the export")
    places = [int(index) % size for index in indices.reshape(-1)]
    step = places[1] - places[0] if len(places) > 1 else 1
    even = range(places[0], places[-1] + 1, step) if step > 0 else range(0)
    if places == list(even):
        name = output if indices.ndim else f"{output}:place"
        _cut(context, name, x, {place: even})
        if not indices.ndim:
            context.reshaped(output, name, (*shape[:place], *shape[place + 1 :]))
    elif sorted(places) == list(range(size)):
        context.add(Permute(output, x, place, tuple(places)), shape)
    else:
        raise Refused(
            f"its indices {places} are neither equally far apart nor all in another order", "use Slice and Concat"
        )


def pad(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = context.activation(node.input[0]), node.output[0]
    mode = str(attributes.get("mode", "constant"))
    if mode != "constant":
        raise Refused(f"its mode is '{mode}'", "pad with a constant")
    name = "paddings" if "paddings" in attributes else "pads"  # opset 1
    pads = context.numbers(attributes, name, node.input, 1)
    shape = context.shapes[x]
    rank = len(shape) + 1
    axes = context.numbers({}, "axes", node.input, 3)
    axes = list(range(rank)) if axes is None else [axis % rank for axis in axes]
    if pads is None or len(pads) != 2 * len(axes):
        raise Refused(f"it has {len(pads or [])} pads for {len(axes)} axes", "check the export")
    if min(pads, default=0) < 0:
        raise Refused(f"its pads {pads} are negative: it crops", "crop with Slice")
    value = float(attributes.get("value", 0.0))
    if len(node.input) > 2 and node.input[2]:
        value = float(context.array(node.input[2], "value").reshape(-1)[0])
    if not math.isfinite(value):
        raise Refused(f"it pads with {value:g}", "pad with a finite number")
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[len(axes) + place]
    if before[0] or after[0]:
        raise Refused("it pads the batch axis", "leave axis 0 alone")
    if not any(before) and not any(after):
        context.add(Unary(output, "identity", x), shape)
        return
    made = Pad(output, x, tuple(before[1:]), tuple(after[1:]), value)
    context.add(made, tuple(b + size + a for b, size, a in zip(before[1:], shape, after[1:], strict=True)))


# -- resizing ------------------------------------------------------------------------------------------------------


def resize(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Resize of opset 10 and later, and Upsample: where every pixel is repeated as often as every other."""
    x = context.activation(node.input[0])
    mode = str(attributes.get("mode", "nearest"))
    if mode != "nearest":
        raise Refused(f"its mode is '{mode}'", "resize by nearest neighbour")
    frame = context.shapes[x]
    old = (1, *frame)
    factors = _factors(context, node, attributes, old)
    if factors[0] != 1:
        raise Refused("it resizes the batch axis", "leave axis 0 alone")
    whole = [int(factor) for factor in factors]
    if any(number != factor or number < 1 for number, factor in zip(whole, factors, strict=True)):
        raise Refused(
            f"its factors are {', '.join(f'{float(f):g}' for f in factors)}", "resize by whole factors, upwards"
        )
    coordinates, rounding = "asymmetric", "floor"  # Upsample, and Resize of opset 10
    if node.op_type == "Resize" and context.opset > 10:
        coordinates = str(attributes.get("coordinate_transformation_mode", "half_pixel"))
        rounding = str(attributes.get("nearest_mode", "round_prefer_floor"))
    for size, factor in zip(old, whole, strict=True):
        if factor > 1 and not _repeats(size, factor, coordinates, rounding):
            raise Refused(
                f"with coordinate_transformation_mode '{coordinates}' and nearest_mode '{rounding}' it does not "
                "repeat every pixel equally often",
                "use asymmetric with floor, or half_pixel with round_prefer_floor",
            )
    if all(number == 1 for number in whole):
        context.add(Unary(node.output[0], "identity", x), frame)
        return
    shape = tuple(size * factor for size, factor in zip(frame, whole[1:], strict=True))
    context.add(Upsample(node.output[0], x, tuple(whole[1:])), shape)


def _factors(context: Context, node: onnx.NodeProto, attributes: Attributes, old: Shape) -> list[Fraction]:
    """By how much each axis grows: from scales or from sizes, for all axes or for some."""
    new = node.op_type == "Resize" and context.opset > 10
    scales, sizes = (2, 3) if new else (1, 4)
    array: Array = np.empty(0)
    if "scales" in attributes:
        array = np.asarray(attributes["scales"], np.float32)
    elif len(node.input) > scales and node.input[scales]:
        array = context.array(node.input[scales], "scales")
    axes = [int(axis) % len(old) for axis in attributes.get("axes", range(len(old)))]
    if array.size:
        found = [Fraction(float(scale)) for scale in array.reshape(-1)]
    elif new and len(node.input) > sizes and node.input[sizes]:
        policy = str(attributes.get("keep_aspect_ratio_policy", "stretch"))
        if policy != "stretch":
            raise Refused(f"its keep_aspect_ratio_policy is '{policy}'", "use stretch, or give scales")
        wanted = context.array(node.input[sizes], "sizes").reshape(-1)
        found = [Fraction(int(size), old[axis]) for axis, size in zip(axes, wanted, strict=True)]
    else:
        raise Refused("it has neither scales nor sizes", "export the model again")
    if len(found) != len(axes):
        raise Refused(f"it has {len(found)} scales for {len(axes)} axes", "check the export")
    factors = [Fraction(1)] * len(old)
    for axis, factor in zip(axes, found, strict=True):
        factors[axis] = factor
    return factors


_NEAREST: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - Fraction(1, 2)),
    "round_prefer_ceil": lambda x: math.floor(x + Fraction(1, 2)),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _repeats(size: int, factor: int, coordinates: str, rounding: str) -> bool:
    """Whether pixel ``i`` of the result is pixel ``i // factor``, by the formulas of the ONNX documentation."""
    length, half = size * factor, Fraction(1, 2)
    place: dict[str, Callable[[int], Fraction]] = {
        "asymmetric": lambda i: Fraction(i, factor),
        "half_pixel": lambda i: (i + half) / factor - half,
        "half_pixel_symmetric": lambda i: (i + half) / factor - half,  # the same for whole factors
        "pytorch_half_pixel": lambda i: (i + half) / factor - half if length > 1 else Fraction(0),
        "align_corners": lambda i: Fraction(i * (size - 1), max(length - 1, 1)),
    }
    if coordinates not in place or rounding not in _NEAREST:
        return False
    taken = (_NEAREST[rounding](place[coordinates](i)) for i in range(length))
    return all(min(max(found, 0), size - 1) == i // factor for i, found in enumerate(taken))


# -- channels and pixels -------------------------------------------------------------------------------------------


def depth_to_space(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = _image(context, node.input[0]), node.output[0]
    block, mode = _block(attributes), str(attributes.get("mode", "DCR"))
    if mode not in ("DCR", "CRD"):
        raise Refused(f"its mode is '{mode}'", "use DCR or CRD")
    depth, height, width = context.shapes[x]
    if depth % (block * block):
        raise Refused(f"{depth} channels do not make blocks of {block} x {block}", "check the export")
    last = context.channels_last(x)
    made = DepthToSpace(f"{output}:pixels", last, (block, block), mode == "DCR")
    shape = (height * block, width * block, depth // (block * block))
    context.channels_first(output, context.add(made, shape))


def space_to_depth(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Channel ``(row * block + column) * channels + c`` is pixel (row, column) of each block."""
    x, output = _image(context, node.input[0]), node.output[0]
    block = _block(attributes)
    channels, height, width = context.shapes[x]
    if height % block or width % block:
        raise Refused(f"{height} x {width} pixels do not fall into blocks of {block}", "check the export")
    made = SpaceToDepth(f"{output}:channels", context.channels_last(x), (block, block))
    shape = (height // block, width // block, channels * block * block)
    context.channels_first(output, context.add(made, shape))


def _image(context: Context, x: str) -> str:
    context.activation(x)
    if len(context.shapes[x]) != 3:
        raise Refused(f"its input has shape {[1, *context.shapes[x]]}", "it needs (1, channels, height, width)")
    return x


def _block(attributes: Attributes) -> int:
    block = int(attributes["blocksize"])
    if block < 1:
        raise Refused(f"its blocksize is {block}", "check the export")
    return block
