# SPDX-License-Identifier: Apache-2.0
"""Finds the boundaries of a step function by bisection; each is then proved in exact arithmetic on both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.ir.dataflow import NEVER
from flow.ir.graph import Graph
from flow.ir.model import Binary, BipolarQuant, Constant, Input, ModelGraph, Unary
from flow.ir.reference import Evaluation, Levels
from flow.ir.types import Ints

Mask: TypeAlias = NDArray[np.bool_]

_BATCH = 1 << 21  # elements evaluated at once: some 200 MB


@dataclass(frozen=True, slots=True)
class Boundaries:
    """The thresholds, start and stride of a ``Step``, flat over its channels."""

    thresholds: Ints
    start: Ints
    stride: Ints


def find_step(segment: ModelGraph, quantizer: str, levels: Callable[[Ints], Levels], lo: Ints, hi: Ints) -> Boundaries:
    """The step function that a chain of monotone operations and its quantiser define.

    Args:
        segment: One ``Input``; every operation on the way to the quantiser is monotone.
        quantizer: The name of the quantiser in it.
        levels: What integers at the input stand for.
        lo: The least integer of each element of the input, shaped like the input.
        hi: The greatest.
    """
    source = next(node.name for node in segment.nodes if isinstance(node, Input))
    unit = 2 if isinstance(segment[quantizer], BipolarQuant) else 1

    def value(x: Ints, *, decide: bool) -> Ints:
        """The levels at integers (points, *shape), as (points, channels)."""
        run = Evaluation(segment, {source: levels(x)}, decide=decide)
        return run.decisions[quantizer].levels.reshape(x.shape[0], -1)

    at_lo, at_hi = value(np.stack([lo, hi]), decide=True)
    stride = np.where(at_hi >= at_lo, unit, -unit)
    height = np.abs(at_hi - at_lo) // unit
    flat_lo, span = lo.reshape(-1), (hi - lo).reshape(-1)

    def steps_taken(offset: Ints, *, decide: bool) -> Ints:
        """How many boundaries lie in (lo, lo + offset], for offsets (points, channels)."""
        taken = [
            np.abs(value((flat_lo + part).reshape(-1, *lo.shape), decide=decide) - at_lo) // unit
            for part in np.array_split(offset, max(1, offset.size // _BATCH))
        ]
        return np.concatenate(taken)

    count = int(height.max(initial=0))
    if count == 0:
        return Boundaries(np.empty((span.size, 0), np.int64), at_lo, stride)
    reached = np.arange(1, count + 1)[:, None] <= height
    rank = np.arange(1, count + 1)[:, None]
    below = np.zeros((count, span.size), np.int64)
    above = np.broadcast_to(span, below.shape)
    likely = _bisected(lambda offset: steps_taken(offset, decide=False) >= rank, below, above)

    def is_reached(offset: Ints) -> Mask:
        return steps_taken(offset, decide=True) >= rank

    # float64 may have misjudged a boundary, and on the flat end of a tanh it does so by far
    early = reached & ~is_reached(likely)
    late = reached & (likely > 1) & is_reached(np.maximum(likely - 1, 0))
    offsets = likely
    if bool((early | late).any()):
        below = np.where(early, likely, np.where(late, 0, likely - 1))
        above = np.where(early, span, np.where(late, likely - 1, likely))
        offsets = _bisected(is_reached, below, above)
    thresholds = np.where(reached, flat_lo + offsets, NEVER).T.copy()
    return Boundaries(thresholds, at_lo, stride)


def _bisected(is_reached: Callable[[Ints], Mask], below: Ints, above: Ints) -> Ints:
    """The least offset that is reached, between ``below``, which is not, and ``above``, which is."""
    while bool((above - below > 1).any()):
        middle = (below + above) // 2
        reached = is_reached(middle)
        inside = above - below > 1
        above = np.where(inside & reached, middle, above)
        below = np.where(inside & ~reached, middle, below)
    return above


@dataclass(frozen=True, slots=True)
class Pieces:
    """The thresholds and values of a ``Lookup``."""

    thresholds: Ints
    values: Ints


LOWEST = {
    "hardswish": -1.5,
    "silu": -1.2784645427610738,
    "gelu": -0.7517915246935645,
    "gelu_tanh": -0.7524614220710162,
}
"""Where each function turns from falling to rising; where it is flat, within 1e-6. (Roots of the derivatives.)"""
_AROUND = 1e-6


def find_lookup(segment: ModelGraph, quantizer: str, levels: Callable[[Ints], Levels], lo: Ints, hi: Ints) -> Pieces:
    """The function that a chain defines in which one operation falls first and rises then.

    The integers on whose two sides of the turn the operation is monotone are found as the boundaries of a
    step function; on each side the chain is a step function of its own. What lies too near to the turn to be
    on a certain side is evaluated integer by integer.

    Args:
        segment: As of ``find_step``, but for one operation of ``LOWEST``.
        quantizer: The name of the quantiser in it.
        levels: What integers at the input stand for.
        lo: The least integer of each element of the input, shaped like the input.
        hi: The greatest.
    """
    turning = next(n for n in segment.nodes if isinstance(n, Unary) and n.kind in LOWEST)
    lower, below = _crossing(segment, turning, LOWEST[turning.kind] - _AROUND, levels, lo, hi)
    upper, above = _crossing(segment, turning, LOWEST[turning.kind] + _AROUND, levels, lo, hi)
    # the first integers of the middle and of the end; where the sides at lo differ, the middle starts there
    first = np.where(lower == upper, np.minimum(below, above), lo)
    last = np.where(lower == upper, np.maximum(below, above), np.minimum(below, above))
    source = next(node.name for node in segment.nodes if isinstance(node, Input))

    def value(x: Ints) -> Ints:
        run = Evaluation(segment, {source: levels(x)})
        return run.decisions[quantizer].levels.reshape(x.shape[0], -1)

    flat_lo, flat_hi, flat_first, flat_last = (a.reshape(-1) for a in (lo, hi, first, last))
    width = int((flat_last - flat_first).max(initial=0))
    points = np.clip(flat_first + np.arange(width + 1)[:, None], flat_lo, flat_hi)
    middle = value(points.reshape(-1, *lo.shape)) if width else np.empty((0, flat_lo.size), np.int64)
    ends = [
        find_step(segment, quantizer, levels, a, np.maximum(b, a))
        for a, b in ((lo, first - 1), (np.minimum(last, hi), hi))
    ]
    rows: list[tuple[list[int], list[int]]] = []
    for c in range(flat_lo.size):
        starts: dict[int, int] = {}  # from which integer on which value holds
        if flat_first[c] > flat_lo[c]:
            _add_steps(starts, ends[0], c, int(flat_lo[c]), int(flat_first[c]) - 1)
        for place in range(int(flat_last[c] - flat_first[c])):
            starts[int(points[place, c])] = int(middle[place, c])
        if flat_last[c] <= flat_hi[c]:
            _add_steps(starts, ends[1], c, int(flat_last[c]), int(flat_hi[c]))
        rows.append(_changes(starts))
    count = max(len(thresholds) for thresholds, _ in rows)
    thresholds = np.full((len(rows), count), NEVER, np.int64)
    values = np.empty((len(rows), count + 1), np.int64)
    for c, (at, given) in enumerate(rows):
        thresholds[c, : len(at)] = at
        values[c] = [*given, *[given[-1]] * (count + 1 - len(given))]
    return Pieces(thresholds, values)


def _crossing(
    segment: ModelGraph, turning: Unary, point: float, levels: Callable[[Ints], Levels], lo: Ints, hi: Ints
) -> tuple[Ints, Ints]:
    """On which side of ``point`` the operand of ``turning`` is at ``lo`` (-1 or 1), and where it crosses.

    The second is the first integer on the other side; one more than the greatest where there is none.
    """
    shifted = Binary("side:shifted", "sub", turning.x, "side:point")
    sign = BipolarQuant("side", shifted.name, np.array(1.0), np.array(0.0))
    before = segment.ancestors(turning.x)
    chain: ModelGraph = Graph((*before, Constant("side:point", np.array(point)), shifted, sign), ())
    found = find_step(chain, "side", levels, lo, hi)
    side = found.start.reshape(lo.shape)
    if found.thresholds.shape[1] == 0:
        return side, hi + 1
    return side, np.minimum(found.thresholds[:, 0], hi.reshape(-1) + 1).reshape(lo.shape)


def _add_steps(starts: dict[int, int], steps: Boundaries, channel: int, lo: int, hi: int) -> None:
    value = int(steps.start[channel])
    starts[lo] = value
    for threshold in steps.thresholds[channel].tolist():
        if not lo < threshold <= hi:
            break
        value += int(steps.stride[channel])
        starts[threshold] = value


def _changes(starts: dict[int, int]) -> tuple[list[int], list[int]]:
    """The integers at which the value changes, and the values before, between and behind them."""
    thresholds: list[int] = []
    values: list[int] = []
    for at, value in sorted(starts.items()):
        if values and values[-1] == value:
            continue
        if values:
            thresholds.append(at)
        values.append(value)
    return thresholds, values
