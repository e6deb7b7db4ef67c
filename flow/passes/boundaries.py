# SPDX-License-Identifier: Apache-2.0
"""Finds the boundaries of a step function by bisection on the exact reference; no float is ever rounded."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flow.errors import ExactnessError
from flow.ir.dataflow import NEVER
from flow.ir.model import BipolarQuant, Input, ModelGraph
from flow.ir.reference import Evaluation, Levels
from flow.ir.types import Ints

_BATCH = 1 << 21  # elements evaluated at once: some 200 MB


@dataclass(frozen=True, slots=True)
class Boundaries:
    """The thresholds, start and stride of a ``Step``, flat over its channels."""

    thresholds: Ints
    start: Ints
    stride: Ints


def find_step(
    segment: ModelGraph, quantizer: str, levels: Callable[[Ints], Levels], lo: Ints, hi: Ints
) -> Boundaries:
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

    def value(x: Ints) -> Ints:
        """The levels at integers (points, *shape), as (points, channels)."""
        run = Evaluation(segment, {source: levels(x)})
        return run.decisions[quantizer].levels.reshape(x.shape[0], -1)

    at_lo, at_hi = value(lo[None])[0], value(hi[None])[0]
    stride = np.where(at_hi >= at_lo, unit, -unit)
    height = np.abs(at_hi - at_lo) // unit
    flat_lo, span = lo.reshape(-1), (hi - lo).reshape(-1)

    def steps_taken(offset: Ints) -> Ints:
        """How many boundaries lie in (lo, lo + offset], for offsets (points, channels)."""
        taken = [
            np.abs(value((flat_lo + part).reshape(-1, *lo.shape)) - at_lo) // unit
            for part in np.array_split(offset, max(1, offset.size // _BATCH))
        ]
        return np.concatenate(taken)

    count = int(height.max(initial=0))
    longest = int(span.max(initial=0))
    if longest <= 4 * count:
        offsets = _all_boundaries(steps_taken, span, count, longest)
    else:
        offsets = _bisected(steps_taken, span, count)
    reached = np.arange(1, count + 1)[:, None] <= height
    thresholds = np.where(reached, flat_lo + offsets, NEVER).T.copy()
    return Boundaries(thresholds, at_lo.astype(np.int64), stride.astype(np.int64))


def _all_boundaries(steps_taken: Callable[[Ints], Ints], span: Ints, count: int, longest: int) -> Ints:
    """Where the input takes few values: look at each of them."""
    offset = np.minimum(np.arange(longest + 1)[:, None], span)
    taken = steps_taken(offset)
    if not bool((np.diff(taken, axis=0) >= 0).all()):
        raise ExactnessError("a step function is not monotone, although all operations in it are")
    ranks = np.arange(1, count + 1)
    return np.stack([np.searchsorted(taken[:, c], ranks) for c in range(span.size)], axis=1)


def _bisected(steps_taken: Callable[[Ints], Ints], span: Ints, count: int) -> Ints:
    """The least offset at which each rank is reached: ``below`` never reaches it, ``above`` does."""
    rank = np.arange(1, count + 1)[:, None]
    below = np.zeros((count, span.size), np.int64)
    above = np.broadcast_to(span, below.shape).copy()
    while bool((above - below > 1).any()):
        middle = (below + above) // 2
        reached = steps_taken(middle) >= rank
        above = np.where(reached, middle, above)
        below = np.where(reached, below, middle)
    return above
