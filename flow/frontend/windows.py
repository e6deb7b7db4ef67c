# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools: windows that slide over an activation, in both layouts.

The model language slides windows over tensors whose channels lie last. ONNX has (channels, *spatial): those
activations are transposed before and behind. The channels-last dialect of qonnx has (*spatial, channels), and
weights (outputs, *kernel, channels / group). Source: ONNX operator documentation; qonnx 1.0.0,
``custom_op/channels_last/base_wrapped_op.py``.
"""

import math
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
import onnx

from flow.frontend.context import Attributes, Context, Handler, Refused
from flow.ir.model import Binary, Conv, ConvTranspose, Pad, Pool, Shape
from flow.ir.window import Window

Layout: TypeAlias = Literal["first", "last"]


def conv(layout: Layout) -> Handler:
    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        x = _last(context, node.input[0], layout)
        weight = context.parameter(node.input[1], "weights")
        spatial, channels = context.shapes[x][:-1], context.shapes[x][-1]
        rank = len(spatial)
        groups = int(attributes.get("group", 1))
        stored = context.shapes[weight]
        if len(stored) != rank + 2:
            raise Refused(f"its weights have shape {list(stored)} for {rank} spatial axes", "check the export")
        order = (*range(2, rank + 2), 1, 0) if layout == "first" else (*range(1, rank + 2), 0)
        *kernel, rows, outputs = (stored[axis] for axis in order)
        if rows * groups != channels or outputs % groups:
            raise Refused(
                f"its weights of shape {list(stored)} in {groups} groups do not fit {channels} channels",
                "check the export",
            )
        window = _window(attributes, spatial, tuple(kernel))
        placed = context.transposed(f"{node.output[0]}:weight", weight, order)
        made = Conv("", x, placed, window, groups)
        _finish(context, node, made, (*_outputs(window, spatial), outputs), layout)

    return handler


def conv_transpose(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Weights are (channels, outputs / group, *kernel); channel ``c`` belongs to group ``c // (channels / group)``."""
    x = _last(context, node.input[0], "first")
    weight = context.parameter(node.input[1], "weights")
    output = node.output[0]
    spatial, channels = context.shapes[x][:-1], context.shapes[x][-1]
    groups = int(attributes.get("group", 1))
    stored = context.shapes[weight]
    if len(stored) != len(spatial) + 2 or stored[0] != channels or channels % groups:
        raise Refused(
            f"its weights of shape {list(stored)} in {groups} groups do not fit {channels} channels", "check the export"
        )
    window = _transposed_window(attributes, spatial, stored[2:])
    try:
        found = window.transposed_outputs(spatial)
    except ValueError as error:
        raise Refused(f"nothing is left of it ({error})", "check its pads") from None
    rows, parts, kernel = channels // groups, stored[1], stored[2:]
    axes = range(len(kernel))
    if groups == 1:
        placed = context.transposed(f"{output}:weight", weight, (*(a + 2 for a in axes), 0, 1))
    else:
        split = context.reshaped(f"{output}:groups", weight, (groups, rows, parts, *kernel))
        turned = context.transposed(f"{output}:turned", split, (*(a + 3 for a in axes), 1, 0, 2))
        placed = context.reshaped(f"{output}:weight", turned, (*kernel, rows, groups * parts))
    made = ConvTranspose("", x, placed, window, groups)
    _finish(context, node, made, (*found, groups * parts), "first")


def _finish(context: Context, node: onnx.NodeProto, made: Conv | ConvTranspose, shape: Shape, layout: Layout) -> None:
    """Adds the convolution, its bias, and the way back to the layout of the file."""
    output, last = node.output[0], layout == "last"
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    product = context.add(replace(made, name=output if last and bias is None else f"{output}:product"), shape)
    if bias is not None:
        bias = context.parameter(bias, "bias")
        if context.shapes[bias] != shape[-1:]:
            raise Refused(
                f"its bias has shape {list(context.shapes[bias])} for {shape[-1]} outputs", "check the export"
            )
        product = context.add(Binary(output if last else f"{output}:biased", "add", product, bias), shape)
    if not last:
        context.channels_first(output, product)


def max_pool(layout: Layout) -> Handler:
    def handler(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
        if len(node.output) > 1 and node.output[1] in context.read:
            raise Refused("its second output, the places of the maxima, is read", "use the values only")
        x = _last(context, node.input[0], layout)
        window = _pool_window(context, attributes, x)
        _pooled(context, node.output[0], Pool("", x, "max", window, False), layout)

    return handler


def average_pool(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Padding counts where ``count_include_pad`` says so; what ``ceil_mode`` adds behind it never does."""
    x, output = _last(context, node.input[0], "first"), node.output[0]
    whole = bool(attributes.get("count_include_pad", 0))
    window = _pool_window(context, attributes, x)
    plain = _window(attributes, context.shapes[x][:-1], window.kernel)
    if whole and window != plain:
        before, after = (*plain.before, 0), (*plain.after, 0)
        shape = tuple(b + size + a for b, size, a in zip(before, context.shapes[x], after, strict=True))
        x = context.add(Pad(f"{output}:padded", x, before, after, 0.0), shape)
        rest = tuple(w - p for w, p in zip(window.after, plain.after, strict=True))
        window = replace(window, before=(0,) * len(rest), after=rest)
        whole = False
    _pooled(context, output, Pool("", x, "mean", window, whole), "first")


def _pooled(context: Context, output: str, made: Pool, layout: Layout) -> None:
    spatial = context.shapes[made.x][:-1]
    shape = (*_outputs(made.window, spatial), context.shapes[made.x][-1])
    _refuse_blind(made.window, spatial)
    pooled = context.add(replace(made, name=output if layout == "last" else f"{output}:pooled"), shape)
    if layout == "first":
        context.channels_first(output, pooled)


def _last(context: Context, x: str, layout: Layout) -> str:
    """The activation with its channels last."""
    context.activation(x)
    if len(context.shapes[x]) < 2:
        raise Refused(f"its input has shape {[1, *context.shapes[x]]}, without a spatial axis", "check the export")
    return x if layout == "last" else context.channels_last(x)


def _outputs(window: Window, spatial: Shape) -> Shape:
    try:
        return window.outputs(spatial)
    except ValueError as error:
        raise Refused(str(error), "give it a larger input, or more padding") from None


def _window(attributes: Attributes, spatial: Shape, kernel: Shape) -> Window:
    """The window that the attributes describe, without what ``ceil_mode`` adds."""
    rank = len(spatial)
    said = attributes.get("kernel_shape")
    if said is not None and tuple(said) != kernel:
        raise Refused(f"its kernel_shape {list(said)} is not that of its weights, {list(kernel)}", "check the export")
    strides = tuple(attributes.get("strides") or (1,) * rank)
    dilations = tuple(attributes.get("dilations") or (1,) * rank)
    if not len(kernel) == len(strides) == len(dilations) == rank:
        raise Refused(f"its attributes do not all have {rank} numbers, one for each spatial axis", "check the export")
    if min((*kernel, *strides, *dilations), default=1) < 1:
        raise Refused("a number of its kernel, strides or dilations is less than one", "check the export")
    window = Window(kernel, strides, dilations, (0,) * rank, (0,) * rank)

    def needed(size: int, stride: int, span: int) -> int:
        return max((math.ceil(size / stride) - 1) * stride + span - size, 0)

    totals = tuple(map(needed, spatial, strides, window.span))
    before, after = _pads(attributes, rank, totals)
    return replace(window, before=before, after=after)


def _pads(attributes: Attributes, rank: int, totals: Shape) -> tuple[Shape, Shape]:
    """The padding, from ``pads`` or ``auto_pad``; ``totals`` is what SAME needs on each axis."""
    auto = str(attributes.get("auto_pad", "NOTSET")) or "NOTSET"
    pads = tuple(attributes.get("pads") or (0,) * (2 * rank))
    halves = tuple(total // 2 for total in totals)
    rests = tuple(total - total // 2 for total in totals)
    match auto:
        case "SAME_UPPER":
            return halves, rests
        case "SAME_LOWER":
            return rests, halves
        case "VALID":
            return (0,) * rank, (0,) * rank
        case "NOTSET":
            if len(pads) != 2 * rank:
                raise Refused(f"it has {len(pads)} pads for {rank} spatial axes", "check the export")
            if min(pads, default=0) < 0:
                raise Refused(f"its pads {list(pads)} are negative: it crops", "crop with Slice")
            return pads[:rank], pads[rank:]
    raise Refused(f"its auto_pad is '{auto}'", "use NOTSET, SAME_UPPER, SAME_LOWER or VALID")


def _pool_window(context: Context, attributes: Attributes, x: str) -> Window:
    """The window of a pool, with the padding behind the input that ``ceil_mode`` asks for.

    A last window that would start behind the input and the padding in front of it does not exist (ONNX since
    opset 22, PyTorch, onnxruntime).
    """
    spatial = context.shapes[x][:-1]
    window = _window(attributes, spatial, tuple(attributes["kernel_shape"]))
    if not attributes.get("ceil_mode", 0) or str(attributes.get("auto_pad", "NOTSET")) not in ("NOTSET", ""):
        return window
    after = []
    for size, stride, span, before, behind in zip(
        spatial, window.strides, window.span, window.before, window.after, strict=True
    ):
        steps = math.ceil((size + before + behind - span) / stride)
        if steps * stride >= size + before:
            steps -= 1
        after.append(max(steps * stride + span - size - before, behind))
    return replace(window, after=tuple(after))


def _refuse_blind(window: Window, spatial: Shape) -> None:
    """Every position of the window must see an input: each axis on its own decides that."""
    for axis, size in enumerate(spatial):
        alone = Window(
            *(
                part[axis : axis + 1]
                for part in (window.kernel, window.strides, window.dilations, window.before, window.after)
            )
        )
        seen = np.zeros((1, size, 1)) + 1
        padded = alone.padded(seen, 0.0)
        counts = sum(alone.seen(padded, tap) for tap in alone.taps())
        if not np.all(counts):
            raise Refused("some of its windows see nothing but padding", "use less padding")


def _transposed_window(attributes: Attributes, spatial: Shape, kernel: Shape) -> Window:
    """``pads`` and ``output_padding`` as the padding of the model language."""
    if "output_shape" in attributes:
        raise Refused("its output_shape leaves the padding open", "give pads and output_padding instead")
    rank = len(spatial)
    extra = tuple(attributes.get("output_padding") or (0,) * rank)
    plain = {name: value for name, value in attributes.items() if name not in ("pads", "auto_pad")}
    window = _window(plain, spatial, kernel)
    totals = tuple(
        (size - 1) * stride + more + span - size * stride
        for size, stride, span, more in zip(spatial, window.strides, window.span, extra, strict=True)
    )
    if str(attributes.get("auto_pad", "NOTSET")).startswith("SAME") and min(totals) < 0:
        raise Refused("its auto_pad would need a negative padding", "give pads and output_padding instead")
    before, after = _pads(attributes, rank, totals)
    return replace(window, before=before, after=tuple(a - more for a, more in zip(after, extra, strict=True)))
