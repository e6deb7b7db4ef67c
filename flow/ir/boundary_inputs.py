# SPDX-License-Identifier: Apache-2.0
"""Inputs of a layer that bring its accumulators onto, and right below, every boundary of its step function."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.ir.dataflow import (
    Convolution,
    Dense,
    Gate,
    Lookup,
    Pooling,
    Step,
    Sum,
    TensorType,
    over_channels,
)
from flow.ir.types import Bipolar, ElementType, Ints

_ELEMENTS = 1 << 23  # of inputs that are made at once
_GATES = 1 << 12  # values of a gate that are tried


@dataclass(frozen=True, slots=True)
class BoundaryBatch:
    """Inputs made for boundaries. Groups have inputs of their own, so each case serves one boundary of every group.

    Attributes:
        inputs: (cases, groups, inputs).
        wanted: (cases, groups): the sum that was aimed at.
        channel: (cases, groups): in this channel.
        aimed: (cases, groups): whether a boundary was left to aim at; elsewhere the inputs are just some.
        reached: (cases, groups): whether the inputs give exactly that sum. A sum can be out of reach: with bipolar
            inputs every second one is.
    """

    inputs: Ints
    wanted: Ints
    channel: Ints
    aimed: NDArray[np.bool_]
    reached: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Terms:
    """What an operation adds up at one position, channels that share their inputs being a group.

    Attributes:
        weights: (groups, inputs, outputs of a group); channel ``g * outputs + m`` is output ``m`` of group ``g``.
        lo: (groups, inputs): the least value of each input.
        hi: (groups, inputs): the greatest.
        bipolar: (inputs,): whether an input is -1 or 1.
    """

    weights: Ints
    lo: Ints
    hi: Ints
    bipolar: NDArray[np.bool_]


def terms_of(op: Dense | Convolution | Pooling | Sum | None, xs: tuple[TensorType, ...], channels: int) -> Terms:
    """The terms of an operation.

    Args:
        op: It; None for a step function without one.
        xs: The types of its operands, the padding included.
        channels: Of its result.
    """
    x = xs[0]
    match op:
        case None:
            weights, operands = np.ones((channels, 1, 1), np.int64), xs
        case Dense():
            return _shared(op.weight[None], x, 1)
        case Convolution():
            rows = op.matrix.reshape(-1, op.groups, op.outputs // op.groups)
            return _shared(rows.transpose(1, 0, 2), x, math.prod(op.window.kernel))
        case Pooling():
            weights, operands = np.ones((channels, op.taps, 1), np.int64), xs * op.taps
        case Sum():
            factors = np.broadcast_to(op.factors, (len(xs), channels))
            weights, operands = factors.T[:, :, None], xs
    lo, hi = (np.stack(ends, axis=1) for ends in zip(*(over_channels(o, channels) for o in operands), strict=True))
    return Terms(weights, lo, hi, np.array([isinstance(o.element, Bipolar) for o in operands]))


def _shared(weights: Ints, x: TensorType, taps: int) -> Terms:
    """Weights (groups, taps * channels of a group, outputs) whose taps have the same channels."""
    groups, inputs, _ = weights.shape
    lo, hi = (np.tile(end.reshape(groups, -1), taps) for end in over_channels(x, groups * inputs // taps))
    return Terms(weights, lo, hi, np.full(inputs, isinstance(x.element, Bipolar)))


def boundary_inputs(terms: Terms, step: Step | Lookup) -> Iterator[BoundaryBatch]:
    """Inputs for every boundary inside the interval: a sum that lies on it, and the greatest one below it."""
    groups, inputs, outputs = terms.weights.shape
    channel, wanted, aimed = _targets(step, groups, outputs)
    everywhere = np.arange(groups)[None]
    cases = max(_ELEMENTS // (groups * inputs), 1)
    for low in range(0, len(wanted), cases):
        part = slice(low, low + cases)
        group = np.broadcast_to(everywhere, wanted[part].shape).reshape(-1)
        weights = terms.weights[group, :, channel[part].reshape(-1) - group * outputs]
        found = _solve(weights, wanted[part].reshape(-1), terms.lo[group], terms.hi[group], terms.bipolar)
        sums = np.einsum("nk,nk->n", found, weights).reshape(wanted[part].shape)
        yield BoundaryBatch(
            found.reshape(-1, groups, inputs), wanted[part], channel[part], aimed[part], sums == wanted[part]
        )


def gate_inputs(op: Gate, xs: tuple[TensorType, ...], step: Step | Lookup, channels: int) -> BoundaryBatch:
    """The same for a product of two inputs: of all values of the gate, that which comes nearest.

    Returns:
        ``inputs``: (cases, channels, 2).
    """
    channel, wanted, aimed = _targets(step, channels, 1)
    chosen = np.empty((*wanted.shape, 2), np.int64)
    reached = np.empty(wanted.shape, np.bool_)
    ends = [over_channels(x, channels) for x in xs]
    for c in range(channels):
        gates = _values(xs[1].element, int(ends[1][0][c]), int(ends[1][1][c]))
        factors = gates + op.gate_offset
        safe = np.where(factors == 0, 1, factors)
        x = np.rint(wanted[:, c, None] / safe).astype(np.int64) - op.x_offset
        x = _nearest(x, xs[0].element, int(ends[0][0][c]), int(ends[0][1][c]))
        missed = np.abs((x + op.x_offset) * factors - wanted[:, c, None])
        best = missed.argmin(1)
        rows = np.arange(len(best))
        chosen[:, c, 0], chosen[:, c, 1] = x[rows, best], gates[best]
        reached[:, c] = missed[rows, best] == 0
    return BoundaryBatch(chosen, wanted, channel, aimed, reached)


def _values(element: ElementType, lo: int, hi: int) -> Ints:
    if isinstance(element, Bipolar):
        return np.array([-1, 1])
    return np.unique(np.linspace(lo, hi, min(hi - lo + 1, _GATES)).astype(np.int64))


def _nearest(x: Ints, element: ElementType, lo: int, hi: int) -> Ints:
    return np.where(x >= 0, 1, -1) if isinstance(element, Bipolar) else np.clip(x, lo, hi)


def _targets(step: Step | Lookup, groups: int, outputs: int) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Channel and sum of every case of every group, and whether it is one: (cases, groups) each."""
    inside = step.inside
    rows = np.broadcast_to(np.arange(step.channels)[:, None], inside.shape)[inside]
    on = step.thresholds[inside]
    channel, wanted = np.unique(np.stack([np.tile(rows, 2), np.concatenate([on, on - 1])]), axis=1)
    if step.channels < groups * outputs:  # one function for all
        channel, wanted = np.repeat(np.arange(groups * outputs), wanted.size), np.tile(wanted, groups * outputs)
    group = channel // outputs
    count = np.bincount(group, minlength=groups)
    place = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    shape = (int(count.max(initial=0)), groups)
    channels = np.broadcast_to(np.arange(groups) * outputs, shape).copy()
    sums, aimed = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    channels[place, group], sums[place, group], aimed[place, group] = channel, wanted, True
    return channels, sums, aimed


def _solve(weights: Ints, wanted: Ints, lo: Ints, hi: Ints, bipolar: NDArray[np.bool_]) -> Ints:
    """Inputs (cases, inputs) whose product with ``weights`` (cases, inputs) comes as near as this can.

    Takes the weights from the greatest to the least; each gets its share of what is left to reach, as far as
    the rest can still make up for it. The least weights, often of size one, hit the sum.
    """
    cases, inputs = weights.shape
    order = np.argsort(-np.abs(weights), axis=1, kind="stable")
    sorted_weights, low, high = (np.take_along_axis(values, order, 1) for values in (weights, lo, hi))
    signs = bipolar[order]
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
        value = np.where(signs[:, place], np.where(value >= 0, 1, -1), value)
        value = np.where(w == 0, low[:, place], np.clip(value, low[:, place], high[:, place]))
        chosen[:, place] = value
        left = left - w * value
    result = np.empty_like(chosen)
    np.put_along_axis(result, order, chosen, 1)
    return result
