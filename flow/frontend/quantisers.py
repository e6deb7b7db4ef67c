# SPDX-License-Identifier: Apache-2.0
"""The quantisers of QONNX: Quant, BipolarQuant, Trunc."""

import numpy as np
import onnx

from flow.frontend.context import Attributes, Context, Refused, frame_array
from flow.ir.model import BipolarQuant, Quant
from flow.ir.rounding import QONNX_NAMES
from flow.ir.types import Reals


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
