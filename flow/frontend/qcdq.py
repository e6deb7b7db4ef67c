# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear, with Clip between them: ONNX in QCDQ form.

A QuantizeLinear leaves integers, which only Clip and DequantizeLinear read; the pair is one Quant. ONNX rounds
before it adds the zero point, QONNX behind: the two differ at ties where the zero point is odd.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from flow.frontend.context import Array, Attributes, Context, Integers, Refused
from flow.frontend.quantisers import scale_of
from flow.ir.model import Binary, Clip, Constant, Quant, QuantizedConstant, Unary
from flow.ir.rounding import Rounding
from flow.ir.types import IntType, Reals

_TYPES = {f"{sign}int{bits}": IntType(bits, sign == "") for sign in ("", "u") for bits in (2, 4, 8, 16, 32)}
_EVEN = Rounding.HALF_EVEN


def quantize_linear(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x = context.operand(node.input[0])
    zero_point = _optional(context, node.input, 2)
    kind = _type_of(zero_point, int(attributes.get("output_dtype", 0)))
    scale, zero = _parameters(context, node, attributes, x in context.moving, context.shapes[x])
    context.integers[node.output[0]] = Integers(x, scale, zero, kind.min, kind.max)


def clip_integers(context: Context, node: onnx.NodeProto) -> None:
    """Narrows the range; a bound that is left out does not."""
    found = context.integers[node.input[0]]
    lo, hi = _optional(context, node.input, 1), _optional(context, node.input, 2)
    low = found.lo if lo is None else max(found.lo, int(lo.reshape(-1)[0]))
    high = found.hi if hi is None else min(found.hi, int(hi.reshape(-1)[0]))
    if low >= high:
        raise Refused(f"it leaves the levels from {low} to {high}", "leave at least two")
    context.integers[node.output[0]] = replace(found, lo=low, hi=high)


def dequantize_linear(context: Context, node: onnx.NodeProto, attributes: Attributes) -> None:
    x, output = node.input[0], node.output[0]
    if x in context.known:
        levels = context.known[x]
        _type_of(levels, 0)
        levels = levels.astype(np.int64)
        scale, zero = _parameters(context, node, attributes, False, levels.shape)
        centred = levels - zero.astype(np.int64)
        context.add(QuantizedConstant(output, centred, scale), levels.shape)
        return
    if x not in context.integers:
        raise Refused("it reads neither constants nor what a QuantizeLinear made", "export in QDQ form")
    source = context.integers[x]
    moving = source.x in context.moving
    scale, zero = _parameters(context, node, attributes, moving, context.shapes[source.x])
    if not (np.array_equal(scale, source.scale) and np.array_equal(zero, source.zero_point)):
        raise Refused("its scale or zero point is not that of its QuantizeLinear", "use the same for both")
    if source.value:  # another DequantizeLinear has made it
        context.add(Unary(output, "identity", source.value), context.shapes[source.value])
        return
    _quant(context, output, source)
    context.integers[x] = replace(source, value=output)


def _quant(context: Context, output: str, source: Integers) -> None:
    """One Quant; where that has no such range, a Clip in units of the scale and a Quant without zero point."""
    shape, scale, zero = context.shapes[source.x], source.scale, source.zero_point
    bits = _bits_of(source.lo, source.hi)
    if bits is not None and not np.any(zero % 2):
        context.add(Quant(output, source.x, scale, zero, *bits, _EVEN), shape)
        return
    if np.unique(zero).size != 1:
        raise Refused(
            "it has odd zero points, or an unusual range, and one zero point for each channel",
            "use even zero points (0), or the same for all channels",
        )
    # levels less the zero point; what is clipped rounds to the level that the bound stands for
    lo, hi = (bound - int(zero.reshape(-1)[0]) for bound in (source.lo, source.hi))
    x, bits = source.x, _bits_of(lo, hi)
    if bits is None:
        factor = context.add(Constant(f"{output}:unit", scale), scale.shape)
        x = context.add(Binary(f"{output}:units", "div", x, factor), shape)
        x = context.add(Clip(f"{output}:clipped", x, float(lo), float(hi)), shape)
        x = context.add(Binary(f"{output}:scaled", "mul", x, factor), shape)
        holding = IntType.holding(lo, hi)
        bits = (holding.bits, holding.signed, False)
    context.add(Quant(output, x, scale, np.zeros(()), *bits, _EVEN), shape)


def _bits_of(lo: int, hi: int) -> tuple[int, bool, bool] | None:
    """Bit width, signed and narrow of the Quant with that range."""
    for signed, narrow in ((True, False), (True, True), (False, False), (False, True)):
        for bits in range(1 if not signed and not narrow else 2, 33):
            whole = Quant("", "", np.ones(()), np.zeros(()), bits, signed, narrow, _EVEN)
            if whole.range == (lo, hi):
                return bits, signed, narrow
    return None


def _optional(context: Context, inputs: Sequence[str], place: int) -> Array | None:
    if len(inputs) <= place or not inputs[place]:
        return None
    return context.array(inputs[place], ("operand", "lower bound", "zero point or upper bound")[place])


def _type_of(array: Array | None, said: int) -> IntType:
    """The integer type of an array, else the one that an attribute names, else uint8."""
    name = "uint8"
    if array is not None:
        name = array.dtype.name
    elif said:
        name = onnx.TensorProto.DataType.Name(said).lower()
    if name not in _TYPES:
        raise Refused(f"its integers are of type {name}", f"use one of {', '.join(_TYPES)}")
    return _TYPES[name]


def _parameters(
    context: Context, node: onnx.NodeProto, attributes: Attributes, moving: bool, shape: tuple[int, ...]
) -> tuple[Reals, Reals]:
    """Scale and zero point, shaped to broadcast to a frame, or to a parameter."""
    if attributes.get("block_size", 0):
        raise Refused("it quantises in blocks (block_size)", "use one scale for the tensor, or one for each channel")
    scale = scale_of(context, node.input[1])
    zero = _optional(context, node.input, 2)
    zero_point = np.zeros(()) if zero is None else zero.astype(np.float64)
    lead = 1 if moving else 0
    rank, axis = len(shape) + lead, int(attributes.get("axis", 1))

    def placed(values: Reals, what: str) -> Reals:
        if values.size == 1:
            return values.reshape(())
        place = axis + rank if axis < 0 else axis
        fits = values.ndim == 1 and lead <= place < rank and shape[place - lead] == values.size
        if not fits:
            raise Refused(
                f"its {what} of shape {list(values.shape)} does not fit axis {axis} of {[1] * lead + list(shape)}",
                "use one for the tensor, or one for each channel",
            )
        return values.reshape([-1 if other == place else 1 for other in range(lead, rank)])

    return placed(scale, "scale"), placed(zero_point, "zero point")
