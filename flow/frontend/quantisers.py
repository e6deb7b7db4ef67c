# SPDX-License-Identifier: Apache-2.0
"""The quantisers of QONNX: Quant, BipolarQuant, Trunc."""

import numpy as np
import onnx

from flow.frontend.context import Attributes, Context, Refused, frame_array
from flow.ir.model import Binary, BinaryKind, BipolarQuant, Constant, Quant
from flow.ir.rounding import QONNX_NAMES, Rounding
from flow.ir.types import Reals


def scale_of(context: Context, name: str) -> Reals:
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


def _rounding(attributes: Attributes, default: str) -> Rounding:
    mode = str(attributes.get("rounding_mode", default)).upper()
    if mode not in QONNX_NAMES:
        raise Refused(f"its rounding mode is '{mode}'", f"use one of {', '.join(QONNX_NAMES)}")
    return QONNX_NAMES[mode]


def quant(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    scale, zero_point = scale_of(context, node.input[1]), _zero_point(context, node.input[2])
    bits = _bits(context, node.input[3])
    rounding = _rounding(attributes, "ROUND")
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
        context.add(Quant(output, x, scale, zero_point, bits, signed, narrow, rounding), shape)


def bipolar_quant(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    scale = scale_of(context, node.input[1])
    x = context.operand(node.input[0])
    shape = context.shapes[x]
    if x in context.moving:
        scale = frame_array(scale, len(shape), "scale")
    context.add(BipolarQuant(node.output[0], x, scale, np.zeros(())), shape)


_UNCLIPPED = 32


def trunc(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    """Levels of ``x``, divided by a power of two, rounded and clipped: two Quants.

    Source: qonnx 1.0.0, ``custom_op/general/trunc.py``. Version 1 has five inputs: it divides by two to the
    number of dropped bits, gives the result the scale of the input and clips nothing. Version 2 has a scale for
    the output, divides by the power of two next to the ratio of the scales, and clips. The first rounding does
    not clip in either.
    """
    x, output = context.activation(node.input[0]), node.output[0]
    shape = context.shapes[x]

    def parameter(name: str, what: str) -> Reals:
        return frame_array(context.array(name, what), len(shape), what)

    scale = frame_array(scale_of(context, node.input[1]), len(shape), "scale")
    zero_point = frame_array(_zero_point(context, node.input[2]), len(shape), "zero point")
    rounding = _rounding(attributes, "FLOOR")
    if len(node.input) > 5:
        out_scale = frame_array(scale_of(context, node.input[4]), len(shape), "output scale")
        divisor = 2.0 ** np.rint(np.log2(out_scale / scale))
        bits = _bits(context, node.input[5])
        signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 0))
    else:
        out_scale, bits, signed, narrow = scale, _UNCLIPPED, True, False
        dropped = parameter(node.input[3], "input bit width") - parameter(node.input[4], "output bit width")
        divisor = 2.0**dropped
        if np.any(zero_point):
            raise Refused("it truncates with a zero point", "use a zero point of 0")
    out_zero = zero_point / divisor
    if not bool((np.rint(out_zero) == out_zero).all()):
        raise Refused("its zero point, divided like the levels, is no integer", "use a zero point of 0")
    levels = Quant(f"{output}:levels", x, scale, zero_point, _UNCLIPPED, True, False, Rounding.HALF_EVEN)
    x = context.add(levels, shape)
    steps: list[tuple[str, BinaryKind, Reals]] = []
    if np.array_equal(out_scale, scale):
        steps = [("shifted", "mul", 1 / divisor)]
    elif not bool((out_scale == scale * divisor).all()):
        steps = [("unscaled", "div", scale), ("rescaled", "mul", out_scale), ("shifted", "mul", 1 / divisor)]
    for name, kind, number in steps:
        factor = context.add(Constant(f"{output}:{name}_by", number), number.shape)
        x = context.add(Binary(f"{output}:{name}", kind, x, factor), shape)
    context.add(Quant(output, x, out_scale, out_zero, bits, signed, narrow, rounding), shape)
