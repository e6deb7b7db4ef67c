# SPDX-License-Identifier: Apache-2.0
"""Windows over float64 tensors, fast: convolutions as matrix products of gathered blocks.

Means the same as ``flow.ir.window.correlate``; arrays are (frames, *spatial, channels).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.ir.model import Shape, transposed_outputs
from flow.ir.types import Reals
from flow.ir.window import Window, correlate, grouped_product

_BLOCK = 1 << 20  # numbers gathered at once: eight MB, so that each product is worth starting threads for


def convolved(padded: Reals, weight: Reals, window: Window, groups: int) -> Reals:
    """The sum over the taps of inputs times weights.

    Args:
        padded: (frames, *spatial, channels), with its padding.
        weight: (*kernel, channels / groups, outputs).
        window: Where the taps lie.
        groups: In how many parts channels and outputs fall.
    """
    *_, rows, outputs = weight.shape
    padded, weight = np.ascontiguousarray(padded), np.ascontiguousarray(weight)  # else numpy goes without BLAS
    if rows == 1 or len(padded) == 0:
        repeated = np.repeat(padded, outputs // groups, axis=-1) if rows == 1 and outputs > groups else padded
        return np.asarray(correlate(repeated, weight, window, outputs if rows == 1 else groups))
    seen = _seen(padded, window)
    result = np.empty((*seen.shape[: len(window.kernel) + 1], outputs))
    each = outputs // groups
    lines = int(np.prod(result.shape[2:-1])) * int(np.prod(window.kernel)) * rows
    step = max(1, _BLOCK // max(lines, 1))
    for group in range(groups):
        flat = np.ascontiguousarray(weight[..., group * each : (group + 1) * each]).reshape(-1, each)
        part = seen[..., group * rows : (group + 1) * rows]
        for frame in range(len(padded)):
            for first in range(0, result.shape[1], step):
                block = part[frame, first : first + step]
                out = block.reshape(-1, flat.shape[0]) @ flat
                shape = (len(block), *result.shape[2:-1], each)
                result[frame, first : first + step, ..., group * each : (group + 1) * each] = out.reshape(shape)
    return result


def _seen(padded: Reals, window: Window) -> NDArray[Any]:
    """What every window sees, as a view: (frames, *outputs, *kernel, channels)."""
    rank = len(window.kernel)
    spread = np.lib.stride_tricks.sliding_window_view(padded, window.span, axis=tuple(range(1, rank + 1)))
    steps = [slice(None, None, stride) for stride in window.strides]
    taps = [slice(None, None, dilation) for dilation in window.dilations]
    return np.moveaxis(spread[(slice(None), *steps, slice(None), *taps)], rank + 1, -1)


def over_taps(padded: Reals, window: Window, combine: np.ufunc) -> Reals:
    """What every window sees, combined tap by tap: (frames, *outputs, channels)."""
    found: Reals | None = None
    for tap in window.taps():
        seen = window.seen(padded, tap)
        found = seen.copy() if found is None else combine(found, seen, out=found)
    assert found is not None
    return found


def spread(x: Reals, weight: Reals, window: Window, groups: int) -> Reals:
    """The transposed convolution: every input adds its weights to the result."""
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    spatial = x.shape[1:-1]
    found = transposed_outputs(window, spatial)
    whole = (
        (size - 1) * stride + span for size, stride, span in zip(spatial, window.strides, window.span, strict=True)
    )
    lengths = [max(w, before + size) for w, before, size in zip(whole, window.before, found, strict=True)]
    total = np.zeros((len(x), *lengths, weight.shape[-1]))
    for tap in window.taps():
        places = [slice(None)]
        for t, dilation, size, stride in zip(tap, window.dilations, spatial, window.strides, strict=True):
            places.append(slice(t * dilation, t * dilation + (size - 1) * stride + 1, stride))
        total[tuple(places)] += grouped_product(x, weight[tap], groups)
    inner = (slice(before, before + size) for before, size in zip(window.before, found, strict=True))
    return total[(slice(None), *inner)]


def repeated(x: Reals, factors: Shape, lead: int) -> Reals:
    """Every element so many times along the axes behind the first ``lead``."""
    for axis, factor in enumerate(factors):
        x = x if factor == 1 else np.repeat(x, factor, axis + lead)
    return x
