# SPDX-License-Identifier: Apache-2.0
"""Inputs of a layer that bring its accumulators onto, and right below, every boundary of its step function."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.ir.dataflow import Dense, Lookup, Step, TensorType, over_channels
from flow.ir.types import Bipolar, Ints

_ELEMENTS = 1 << 23  # of inputs that are made at once


@dataclass(frozen=True, slots=True)
class BoundaryBatch:
    """Inputs made for boundaries.

    Attributes:
        inputs: (cases, inputs): values of one position.
        wanted: (cases,): the sum that was aimed at.
        channel: (cases,): in this channel.
        reached: (cases,): whether the inputs give exactly that sum. A sum can be out of reach: with bipolar
            inputs every second one is.
    """

    inputs: Ints
    wanted: Ints
    channel: Ints
    reached: NDArray[np.bool_]


def boundary_inputs(dense: Dense | None, step: Step | Lookup, x: TensorType) -> Iterator[BoundaryBatch]:
    """Inputs for every boundary inside the interval: a sum that lies on it, and the greatest one below it.

    For a step function without a product these are simply the values themselves.

    Args:
        dense: The product in front of the step function; None for none.
        step: The step function.
        x: The type of the layer's input.
    """
    channel, wanted = _targets(step)
    if dense is None:
        for low in range(0, wanted.size, _ELEMENTS // max(x.size, 1) or 1):
            part = slice(low, low + (_ELEMENTS // max(x.size, 1) or 1))
            inputs = np.broadcast_to(_inside(wanted[part], x)[:, None], (wanted[part].size, x.size)).copy()
            inputs = np.clip(inputs, *over_channels(x, x.size))
            yield BoundaryBatch(inputs, wanted[part], channel[part], _inside(wanted[part], x) == wanted[part])
        return
    if step.channels == 1:
        outputs = dense.weight.shape[1]
        channel = np.tile(np.arange(outputs), wanted.size)
        wanted = np.repeat(wanted, outputs)
    cases = max(_ELEMENTS // dense.weight.shape[0], 1)
    for low in range(0, wanted.size, cases):
        part = slice(low, low + cases)
        inputs = _solve(dense.weight[:, channel[part]].T, wanted[part], x)
        sums = np.einsum("nk,kn->n", inputs, dense.weight[:, channel[part]])
        yield BoundaryBatch(inputs, wanted[part], channel[part], sums == wanted[part])


def _targets(step: Step | Lookup) -> tuple[Ints, Ints]:
    inside = step.inside
    channel = np.broadcast_to(np.arange(step.channels)[:, None], inside.shape)[inside]
    on = step.thresholds[inside]
    both = np.unique(np.stack([np.tile(channel, 2), np.concatenate([on, on - 1])]), axis=1)
    return both[0], both[1]


def _inside(values: Ints, x: TensorType) -> Ints:
    if isinstance(x.element, Bipolar):
        return np.where(values >= 0, 1, -1)
    return np.clip(values, int(x.lo.min()), int(x.hi.max()))


def _solve(weights: Ints, wanted: Ints, x: TensorType) -> Ints:
    """Inputs (cases, inputs) whose product with ``weights`` (cases, inputs) comes as near as this can.

    Takes the weights from the greatest to the least; each gets its share of what is left to reach, as far as
    the rest can still make up for it. The least weights, often of size one, hit the sum.
    """
    cases, inputs = weights.shape
    unit = 2 if isinstance(x.element, Bipolar) else 1
    lo, hi = over_channels(x, inputs)
    order = np.argsort(-np.abs(weights), axis=1, kind="stable")
    sorted_weights = np.take_along_axis(weights, order, 1)
    low, high = lo[order], hi[order]
    ends = np.stack([sorted_weights * low, sorted_weights * high])
    least, greatest = ends.min(0), ends.max(0)
    # what the weights behind each place can add at least and at most
    rest_least = least.sum(1)[:, None] - np.cumsum(least, 1)
    rest_greatest = greatest.sum(1)[:, None] - np.cumsum(greatest, 1)
    left = wanted.copy()
    chosen = np.empty((cases, inputs), np.int64)
    for place in range(inputs):
        w = sorted_weights[:, place]
        safe = np.where(w == 0, 1, w)
        middle = (rest_least[:, place] + rest_greatest[:, place]) // 2
        value = np.rint((left - middle) / safe).astype(np.int64)
        if unit == 2:
            value = np.where(value >= 0, 1, -1)
        value = np.where(w == 0, low[:, place], np.clip(value, low[:, place], high[:, place]))
        chosen[:, place] = value
        left = left - w * value
    result = np.empty_like(chosen)
    np.put_along_axis(result, order, chosen, 1)
    return result
