# SPDX-License-Identifier: Apache-2.0
"""Finds the boundaries of a step function by bisection; each is then proved in exact arithmetic on both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flow.ir.dataflow import NEVER
from flow.ir.model import BipolarQuant, Input, ModelGraph
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
