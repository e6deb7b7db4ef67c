# SPDX-License-Identifier: Apache-2.0
"""Windows over arrays of numbers, fast: convolutions as matrix products of gathered blocks.

Both evaluators sum here, the integers' in int64 or in floats that hold every sum, the reference's in float64.
Arrays are (frames, *spatial, channels); a result has the type of its operands.
"""

import math
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.ir.window import Shape, Window

Numbers: TypeAlias = NDArray[Any]
_Number = TypeVar("_Number", bound=np.generic)
_GATHERED = 1 << 18  # numbers of one matrix product: many enough for BLAS, few enough for a cache
_MULTIPLIED = 1 << 15  # numbers of a depthwise convolution at once: they are read again for each tap


def convolved(padded: Numbers, weight: Numbers, window: Window, groups: int) -> Numbers:
    """The sum over the taps of inputs times weights.

    Args:
        padded: (frames, *spatial, channels), with its padding.
        weight: (*kernel, channels / groups, outputs); output ``m`` belongs to group ``m // (outputs / groups)``.
        window: Where the taps lie; its padding is not looked at.
        groups: In how many parts channels and outputs fall.
    """
    *_, rows, outputs = weight.shape
    each = outputs // groups
    padded = np.ascontiguousarray(padded)  # else numpy goes without BLAS
    if rows == 1 and groups > 1:
        return _by_tap(padded.repeat(each, axis=-1) if each > 1 else padded, weight, window)
    seen = _seen(padded, window)
    spatial = seen.shape[1 : 1 + len(window.kernel)]
    result = np.empty((len(padded), *spatial, outputs), padded.dtype)
    line = math.prod(spatial[1:])
    terms = math.prod(window.kernel) * rows
    for group in range(groups):
        columns = slice(group * each, (group + 1) * each)
        matrix = np.ascontiguousarray(weight[..., columns]).reshape(terms, each)
        part = seen[..., group * rows : (group + 1) * rows]
        for frames, lines in _blocks(len(padded), spatial[0], line * terms, _GATHERED):
            out = result[frames, lines].reshape(-1, outputs)  # a view: whole frames, or lines of one
            np.matmul(part[frames, lines].reshape(-1, terms), matrix, out=out[:, columns])
    return result


def _by_tap(padded: Numbers, weight: Numbers, window: Window) -> Numbers:
    """A depthwise convolution: ``weight`` is (*kernel, 1, channels)."""
    seen = [(window.seen(padded, tap), weight[tap][0]) for tap in window.taps()]
    result: Numbers = np.empty(seen[0][0].shape, padded.dtype)
    for frames, lines in _blocks(len(padded), result.shape[1], math.prod(result.shape[2:]), _MULTIPLIED):
        total = result[frames, lines]
        total[...] = 0
        for values, factors in seen:
            total += values[frames, lines] * factors
    return result


def _blocks(frames: int, lines: int, size: int, most: int) -> Iterator[tuple[slice, slice]]:
    """Some whole frames, or some lines of one frame, at a time: ``most`` numbers, where a line has ``size``."""
    whole = most // max(size * lines, 1)
    if whole > 0:
        yield from ((slice(first, first + whole), slice(lines)) for first in range(0, frames, whole))
        return
    step = max(1, most // size)
    for frame in range(frames):
        yield from ((slice(frame, frame + 1), slice(first, first + step)) for first in range(0, lines, step))


def _seen(padded: Numbers, window: Window) -> Numbers:
    """What every window sees, as a view: (frames, *outputs, *kernel, channels)."""
    rank = len(window.kernel)
    spread = np.lib.stride_tricks.sliding_window_view(padded, window.span, axis=tuple(range(1, rank + 1)))
    steps = [slice(None, None, stride) for stride in window.strides]
    taps = [slice(None, None, dilation) for dilation in window.dilations]
    return np.moveaxis(spread[(slice(None), *steps, slice(None), *taps)], rank + 1, -1)


def over_taps(padded: NDArray[_Number], window: Window, combine: np.ufunc) -> NDArray[_Number]:
    """What every window sees, combined tap by tap: (frames, *outputs, channels)."""
    taps = window.taps()
    found = window.seen(padded, next(taps)).copy()
    for tap in taps:
        combine(found, window.seen(padded, tap), out=found)
    return found


def spread(x: Numbers, weight: Numbers, window: Window, groups: int) -> Numbers:
    """The transposed convolution: every input adds its weights, (*kernel, channels / groups, outputs)."""
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    spatial = x.shape[1:-1]
    found = window.transposed_outputs(spatial)
    whole = (
        (size - 1) * stride + span for size, stride, span in zip(spatial, window.strides, window.span, strict=True)
    )
    lengths = [max(w, before + size) for w, before, size in zip(whole, window.before, found, strict=True)]
    total = np.zeros((len(x), *lengths, weight.shape[-1]), x.dtype)
    point = Window.of((1,) * len(spatial))
    for tap in window.taps():
        places = [slice(None)]
        for t, dilation, size, stride in zip(tap, window.dilations, spatial, window.strides, strict=True):
            places.append(slice(t * dilation, t * dilation + (size - 1) * stride + 1, stride))
        total[tuple(places)] += convolved(x, weight[tap].reshape(*point.kernel, *weight.shape[-2:]), point, groups)
    inner = (slice(before, before + size) for before, size in zip(window.before, found, strict=True))
    return total[(slice(None), *inner)]


def repeated(x: NDArray[_Number], factors: Shape, lead: int) -> NDArray[_Number]:
    """Every element so many times along the axes behind the first ``lead``."""
    for axis, factor in enumerate(factors):
        x = x if factor == 1 else np.repeat(x, factor, axis + lead)
    return x
