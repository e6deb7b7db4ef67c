# SPDX-License-Identifier: Apache-2.0
"""More operators of the oracle: windows, reductions, moves, functions, QCDQ and the channels-last dialect.

Plain loops over elements in exact numbers, by the formulas of the ONNX documentation; nothing of the compiler.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from oracle import (
    FAR,
    FAR_HIGH,
    HALF,
    ONE,
    ROUNDING,
    ZERO,
    Interval,
    Node,
    each,
    exact,
    half_even,
    increasing,
    integer_range,
    sigmoid,
    sqrt,
    staircase,
    tanh,
)

SIX = Fraction(6)


# ------------------------------------------------------------------------------------------------- functions


def from_mp(bits: int, function: Callable[[Any], Any], x: Fraction) -> tuple[Fraction, Fraction]:
    """A rational on each side of a function that mpmath computes to within a few units of its last place."""
    with mpmath.workprec(bits + 60):
        value = function(mpmath.mpf(x.numerator) / x.denominator)
        sign, mantissa, exponent, _ = value._mpf_
        middle = (-1) ** sign * int(mantissa) * Fraction(2) ** int(exponent)
    slack = abs(middle) / 2**bits + Fraction(1, 2 ** (4 * bits + 8000))
    return middle - slack, middle + slack


def erf_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    if x == 0:
        return ZERO, ZERO
    if x < 0:
        low, high = erf_ends(-x, bits)
        return -high, -low
    if x > 60:
        return 1 - FAR_HIGH, ONE
    low, high = from_mp(bits + 2 * math.ceil(x * x), mpmath.erf, x)  # resolves what is missing to one
    return low, min(high, ONE)


def softplus_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    if x > FAR:
        return x, x + FAR_HIGH
    if x < -FAR:
        return ZERO, FAR_HIGH
    precise = bits + 2 * math.ceil(abs(x))
    with mpmath.workprec(precise + 60):
        low, high = from_mp(precise, lambda v: mpmath.log1p(mpmath.exp(v)), x)
    return max(low, x, ZERO), high


def expm1_ends(x: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    if x == 0:
        return ZERO, ZERO
    if x < -FAR:
        return -ONE, FAR_HIGH - 1
    low, high = from_mp(bits + 2 * math.ceil(abs(x)), mpmath.expm1, x)
    return max(low, -ONE), high


def elu(x: Any, alpha: Fraction, bits: int) -> Any:
    return x if x >= 0 else alpha * increasing(expm1_ends, x, bits)


def clipped(x: Any, low: Any, high: Any) -> Any:
    return low if x < low else high if x > high else x


def hard_sigmoid(x: Any, alpha: Fraction, beta: Fraction) -> Any:
    return clipped(alpha * x + beta, ZERO, ONE)


def gelu(x: Any, approximate: str, bits: int) -> Any:
    if approximate == "tanh":
        with mpmath.workprec(bits + 40):
            low, high = from_mp(bits, lambda v: mpmath.sqrt(v / mpmath.pi), Fraction(2))
        inner = Interval(low, high, bits) * (x + Fraction(44715, 10**6) * x * x * x)
        return HALF * x * (1 + tanh(inner, bits)) if x != 0 else ZERO
    return HALF * x * (1 + increasing(erf_ends, x / sqrt(Fraction(2), bits), bits)) if x != 0 else ZERO


def sign(x: Any) -> int:
    if not isinstance(x, Interval):
        return (x > 0) - (x < 0)
    return 1 if x > 0 else -1


# --------------------------------------------------------------------------------------------------- windows


def geometry(n: Node, spatial: list[int], kernel: list[int], *, ceil: bool = False) -> tuple[list[int], ...]:
    """Strides, dilations, padding in front, padding behind, and the size of the result."""
    rank = len(spatial)
    strides = n.integers("strides") or [1] * rank
    dilations = n.integers("dilations") or [1] * rank
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = n.integers("pads") or [0] * (2 * rank)
    before, after = pads[:rank], pads[rank:]
    auto = n.string("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            outputs = math.ceil(spatial[axis] / strides[axis])
            total = max((outputs - 1) * strides[axis] + spans[axis] - spatial[axis], 0)
            less, more = total // 2, total - total // 2
            before[axis], after[axis] = (less, more) if auto == "SAME_UPPER" else (more, less)
    sizes = []
    for axis in range(rank):
        steps = Fraction(spatial[axis] + before[axis] + after[axis] - spans[axis], strides[axis])
        count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
        if ceil and (count - 1) * strides[axis] >= spatial[axis] + before[axis]:
            count -= 1
        sizes.append(count)
    return strides, dilations, before, after, sizes


def seen(place: Iterable[int], tap: Iterable[int], geometry_: tuple[list[int], ...]) -> list[int]:
    strides, dilations, before, *_ = geometry_
    return [p * s - b + t * d for p, s, b, t, d in zip(place, strides, before, tap, dilations, strict=True)]


def inside(at: list[int], sizes: Iterable[int]) -> bool:
    return all(0 <= i < size for i, size in zip(at, sizes, strict=True))


def op_conv(n: Node) -> np.ndarray:
    x, w, bias = n[0], n[1], n.optional(2)
    groups = n.integer("group", 1)
    spatial, kernel = list(x.shape[2:]), list(w.shape[2:])
    where = geometry(n, spatial, kernel)
    out = np.empty((len(x), len(w), *where[4]), dtype=object)
    for frame, m, *place in np.ndindex(out.shape):
        first = m // (len(w) // groups) * w.shape[1]
        total: Any = ZERO if bias is None else bias[m]
        for row, *tap in np.ndindex(w.shape[1:]):
            at = seen(place, tap, where)
            if inside(at, spatial):
                total = total + x[(frame, first + row, *at)] * w[(m, row, *tap)]
        out[(frame, m, *place)] = total
    return out


def op_conv_transpose(n: Node) -> np.ndarray:
    x, w, bias = n[0], n[1], n.optional(2)
    groups, spatial, kernel = n.integer("group", 1), list(x.shape[2:]), list(w.shape[2:])
    rank = len(spatial)
    strides, dilations = n.integers("strides") or [1] * rank, n.integers("dilations") or [1] * rank
    extra, pads = n.integers("output_padding") or [0] * rank, n.integers("pads") or [0] * (2 * rank)
    if n.string("auto_pad", "NOTSET") != "NOTSET" or n.integers("output_shape"):
        raise NotImplementedError("automatic padding")
    sizes = [
        s * (i - 1) + e + (k - 1) * d + 1 - before - after
        for s, i, e, k, d, before, after in zip(
            strides, spatial, extra, kernel, dilations, pads[:rank], pads[rank:], strict=True
        )
    ]
    parts = w.shape[1]
    out = np.full((len(x), parts * groups, *sizes), ZERO, dtype=object)
    if bias is not None:
        out = out + bias.reshape(-1, *[1] * rank)
    for frame, c, *place in np.ndindex(x.shape):
        group = c // (x.shape[1] // groups)
        for part, *tap in np.ndindex(w.shape[1:]):
            at = [p * s - b + t * d for p, s, b, t, d in zip(place, strides, pads, tap, dilations, strict=False)]
            if inside(at, sizes):
                out[(frame, group * parts + part, *at)] += x[(frame, c, *place)] * w[(c, part, *tap)]
    return out


def pooled(n: Node, combine: Callable[[list[Any], int], Any]) -> np.ndarray:
    """``combine`` gets what a window sees, and how many taps lie in the input or its padding."""
    x, kernel = n[0], n.integers("kernel_shape")
    assert kernel is not None
    spatial = list(x.shape[2:])
    where = geometry(n, spatial, kernel, ceil=bool(n.integer("ceil_mode", 0)))
    _, _, before, after, sizes = where
    out = np.empty((*x.shape[:2], *sizes), dtype=object)
    for frame, c, *place in np.ndindex(out.shape):
        places = [seen(place, tap, where) for tap in itertools.product(*map(range, kernel))]
        values = [x[(frame, c, *at)] for at in places if inside(at, spatial)]
        padded = [s + b + a for s, b, a in zip(spatial, before, after, strict=True)]
        counted = sum(inside([i + b for i, b in zip(at, before, strict=True)], padded) for at in places)
        out[(frame, c, *place)] = combine(values, counted)
    return out


def op_average_pool(n: Node) -> np.ndarray:
    whole = n.integer("count_include_pad", 0)
    return pooled(n, lambda values, counted: sum(values, ZERO) / Fraction(counted if whole else len(values)))


def greatest(values: list[Any]) -> Any:
    best = values[0]
    for value in values[1:]:
        best = value if value > best else best
    return best


def channels_last(operator: Callable[[Node], np.ndarray], weights: int) -> Callable[[Node], np.ndarray]:
    """The operator between transposes of the first ``weights`` inputs; the others stay."""

    def run(n: Node) -> np.ndarray:
        n.inputs = [np.moveaxis(v, -1, 1) if i < weights and v is not None else v for i, v in enumerate(n.inputs)]
        return np.moveaxis(operator(n), 1, -1)

    return run


# ------------------------------------------------------------------------------------------------ reductions


def reduced(combine: Callable[[list[Any]], Any]) -> Callable[[Node], np.ndarray]:
    def run(n: Node) -> np.ndarray:
        x, given = n[0], n.optional(1)
        axes = n.integers("axes") if given is None else [int(v) for v in given.ravel()]
        if not axes and n.integer("noop_with_empty_axes", 0):
            return x
        gone = {axis % x.ndim for axis in axes} if axes else set(range(x.ndim))
        return over(x, gone, combine, keep=bool(n.integer("keepdims", 1)))

    return run


def over(x: np.ndarray, gone: set[int], combine: Callable[[list[Any]], Any], *, keep: bool) -> np.ndarray:
    kept = [axis for axis in range(x.ndim) if axis not in gone]
    rows = x.transpose([*kept, *sorted(gone)]).reshape(*(x.shape[axis] for axis in kept), -1)
    out = np.empty(rows.shape[:-1], dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = combine(list(rows[index]))
    return out.reshape([1 if axis in gone else size for axis, size in enumerate(x.shape)]) if keep else out


def mean(values: list[Any]) -> Any:
    return sum(values, ZERO) / Fraction(len(values))


def global_pool(combine: Callable[[list[Any]], Any]) -> Callable[[Node], np.ndarray]:
    return lambda n: over(n[0], set(range(2, n[0].ndim)), combine, keep=True)


def ordered(values: list[Any]) -> list[int]:
    """The places, greatest value first, of equals the first."""
    left, found = list(range(len(values))), []
    while left:
        best = left[0]
        for place in left[1:]:
            if values[place] > values[best]:
                best = place
        found.append(best)
        left.remove(best)
    return found


def op_arg_max(n: Node) -> np.ndarray:
    if n.integer("select_last_index", 0):
        raise NotImplementedError("the last of equals")
    axis = n.integer("axis", 0) % n[0].ndim
    return over(n[0], {axis}, lambda values: ordered(values)[0], keep=bool(n.integer("keepdims", 1)))


def op_top_k(n: Node) -> list[np.ndarray]:
    if not n.integer("largest", 1):
        raise NotImplementedError("the least")
    axis, count = n.integer("axis", -1) % n[0].ndim, int(n[1].ravel()[0])
    rows = np.moveaxis(n[0], axis, -1)
    places = np.empty((*rows.shape[:-1], count), dtype=object)
    values = np.empty_like(places)
    for index in np.ndindex(rows.shape[:-1]):
        places[index] = ordered(list(rows[index]))[:count]
        values[index] = [rows[index][place] for place in places[index]]
    return [np.moveaxis(values, -1, axis), np.moveaxis(places, -1, axis)]


# ----------------------------------------------------------------------------------------------------- moves


def op_split(n: Node) -> list[np.ndarray]:
    axis, given, count = n.integer("axis", 0), n.optional(1), len(n.proto.output)
    size = n[0].shape[axis]
    sizes = n.integers("split") if given is None else [int(v) for v in given.ravel()]
    if not sizes:
        each_ = math.ceil(size / count)
        sizes = [min(each_, size - each_ * i) for i in range(count)]
    ends = list(itertools.accumulate(sizes))
    return [np.take(n[0], range(end - length, end), axis) for end, length in zip(ends, sizes, strict=True)]


def op_slice(n: Node) -> np.ndarray:
    def numbers(name: str, place: int) -> list[int] | None:
        given = n.optional(place)
        return n.integers(name) if given is None else [int(v) for v in given.ravel()]

    starts, ends = numbers("starts", 1), numbers("ends", 2)
    assert starts is not None
    assert ends is not None
    axes = numbers("axes", 3) or list(range(len(starts)))
    steps = numbers("steps", 4) or [1] * len(starts)
    out = n[0]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = out.shape[axis]
        start, end = (v + size if v < 0 else v for v in (start, end))
        low, high = (0, size) if step > 0 else (-1, size - 1)
        out = np.take(out, range(min(max(start, 0), high), min(max(end, low), size), step), axis)
    return out


def op_pad(n: Node) -> np.ndarray:
    if n.string("mode", "constant") != "constant":
        raise NotImplementedError("padding with other than constants")
    given, value, axes = n.optional(1), n.optional(2), n.optional(3)
    pads = n.integers("pads") if given is None else [int(v) for v in given.ravel()]
    assert pads is not None
    fill = n.real("value", 0.0) if value is None else value.ravel()[0]
    chosen = range(n[0].ndim) if axes is None else [int(v) % n[0].ndim for v in axes.ravel()]
    widths = [(0, 0)] * n[0].ndim
    for place, axis in enumerate(chosen):
        widths[axis] = pads[place], pads[len(pads) // 2 + place]
    out = np.full([s + b + a for s, (b, a) in zip(n[0].shape, widths, strict=True)], fill, dtype=object)
    out[tuple(slice(b, b + s) for s, (b, _) in zip(n[0].shape, widths, strict=True))] = n[0]
    return out


def op_resize(n: Node) -> np.ndarray:
    """Nearest neighbour, by scales or by sizes for all axes."""
    if n.string("mode", "nearest") != "nearest":
        raise NotImplementedError("interpolation")
    if n.integers("axes") or n.string("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotImplementedError("some axes")
    x, new = n[0], n.proto.op_type == "Resize" and n.opset > 10
    coordinates, rounding = "asymmetric", "floor"
    if new:
        coordinates = n.string("coordinate_transformation_mode", "half_pixel")
        rounding = n.string("nearest_mode", "round_prefer_floor")
    scales, sizes = n.optional(2 if new else 1), n.optional(3)
    if scales is not None and scales.size:
        factors = [Fraction(v) for v in scales.ravel()]
    elif sizes is not None:
        factors = [Fraction(int(v), s) for v, s in zip(sizes.ravel(), x.shape, strict=True)]
    else:
        factors = [Fraction(v) for v in n.attributes["scales"].floats]
    place = {
        "asymmetric": lambda i, f: i / f,
        "half_pixel": lambda i, f: (i + HALF) / f - HALF,
        "pytorch_half_pixel": lambda i, f: (i + HALF) / f - HALF,
    }[coordinates]
    nearest = {
        "floor": math.floor,
        "ceil": math.ceil,
        "round_prefer_floor": lambda v: math.ceil(v - HALF),
        "round_prefer_ceil": lambda v: math.floor(v + HALF),
    }[rounding]
    out = x
    for axis, (size, factor) in enumerate(zip(x.shape, factors, strict=True)):
        taken = [nearest(place(Fraction(i), factor)) for i in range(math.floor(size * factor))]
        out = np.take(out, [min(max(v, 0), size - 1) for v in taken], axis)
    return out


def op_depth_to_space(n: Node) -> np.ndarray:
    b, (frames, depth, height, width) = n.integer("blocksize"), n[0].shape
    channels = depth // (b * b)
    out = np.empty((frames, channels, height * b, width * b), dtype=object)
    for frame, c, i, j in np.ndindex(out.shape):
        (y, row), (z, column) = divmod(i, b), divmod(j, b)
        dcr = n.string("mode", "DCR") == "DCR"
        place = (row * b + column) * channels + c if dcr else (c * b + row) * b + column
        out[frame, c, i, j] = n[0][frame, place, y, z]
    return out


def op_space_to_depth(n: Node) -> np.ndarray:
    b, (frames, channels, height, width) = n.integer("blocksize"), n[0].shape
    out = np.empty((frames, channels * b * b, height // b, width // b), dtype=object)
    for frame, c, i, j in np.ndindex(n[0].shape):
        (y, row), (z, column) = divmod(i, b), divmod(j, b)
        out[frame, (row * b + column) * channels + c, y, z] = n[0][frame, c, i, j]
    return out


# ------------------------------------------------------------------------------------------------ quantisers


def op_trunc(n: Node) -> np.ndarray:
    mode, version_two = n.string("rounding_mode", "FLOOR").upper(), len(n.inputs) > 5

    def one(x: Any, scale: Any, zero: Any, bits: Any, *rest: Any) -> Any:
        level = Fraction(staircase(half_even, x / scale + zero))
        if not version_two:
            shifted = level / Fraction(2) ** int(bits - rest[0])
            return (ROUNDING[mode](shifted) - zero) * scale
        out_scale, out_bits = rest
        divisor = Fraction(2) ** round(math.log2(out_scale / scale))
        low, high = integer_range(int(out_bits), bool(n.integer("signed", 1)), bool(n.integer("narrow", 0)))
        y = ROUNDING[mode](min(max(level / divisor, Fraction(low)), Fraction(high)))
        return (y - zero / divisor) * out_scale

    return each(one, *(n[i] for i in range(len(n.inputs))))


def per_axis(n: Node, values: np.ndarray) -> np.ndarray:
    if n.integer("block_size", 0):
        raise NotImplementedError("blocks")
    if values.size == 1:
        return values.reshape(())
    shape = [1] * n[0].ndim
    shape[n.integer("axis", 1)] = -1
    return values.reshape(shape)


def op_dequantize_linear(n: Node) -> np.ndarray:
    zero = exact(0) if n.optional(2) is None else per_axis(n, n[2])
    return each(lambda q, s, z: (q - z) * s, n[0], per_axis(n, n[1]), zero)


def op_prelu(n: Node) -> np.ndarray:
    return each(lambda v, s: s * v if v < 0 else v, n[0], n[1])


def function(one: Callable[[Any, Node], Any]) -> Callable[[Node], np.ndarray]:
    return lambda n: each(lambda v: one(v, n), n[0])


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "ArgMax": op_arg_max,
    "AveragePool": op_average_pool,
    "Conv": op_conv,
    "ConvTranspose": op_conv_transpose,
    "DepthToSpace": op_depth_to_space,
    "DequantizeLinear": op_dequantize_linear,
    "Elu": function(lambda v, n: elu(v, n.real("alpha", 1.0), n.bits)),
    "Erf": function(lambda v, n: increasing(erf_ends, v, n.bits)),
    "Gelu": function(lambda v, n: gelu(v, n.string("approximate", "none"), n.bits)),
    "GlobalAveragePool": global_pool(mean),
    "GlobalMaxPool": global_pool(greatest),
    "HardSigmoid": function(lambda v, n: hard_sigmoid(v, n.real("alpha", 0.2), n.real("beta", 0.5))),
    "HardSwish": function(lambda v, n: v * clipped(v / SIX + HALF, ZERO, ONE)),
    "MaxPool": lambda n: pooled(n, lambda values, counted: greatest(values)),
    "PRelu": op_prelu,
    "Pad": op_pad,
    "ReduceMax": reduced(greatest),
    "ReduceMean": reduced(mean),
    "ReduceSum": reduced(lambda values: sum(values, ZERO)),
    "Resize": op_resize,
    "Sign": function(lambda v, n: sign(v)),
    "Slice": op_slice,
    "Softplus": function(lambda v, n: increasing(softplus_ends, v, n.bits)),
    "SpaceToDepth": op_space_to_depth,
    "Split": op_split,
    "Swish": function(lambda v, n: v * sigmoid(v, n.bits)),
    "TopK": op_top_k,
    "Upsample": op_resize,
}
CHANNELS_LAST: dict[str, Callable[[Node], np.ndarray]] = {
    "Conv": channels_last(op_conv, 2),
    "MaxPool": channels_last(OPERATORS["MaxPool"], 1),
}
