# SPDX-License-Identifier: Apache-2.0
"""Replace the factors of a sum of two tensors by small ones that lead to the same levels for every pair.

Two float scales have a ratio of some twenty bits, and so have the factors that make their sum exact. What the
hardware must get right is only on which side of each threshold the sum lies: factors of few bits do, and whether
they do is seen by trying all pairs of integers.
"""

from dataclasses import replace

import numpy as np

from flow.ir.dataflow import NEVER, DataflowGraph, DataflowOp, Step, Sum, TensorType, infer_types, over_channels
from flow.ir.types import Ints

_MOST_PAIRS = 1 << 16
_MOST_BITS = 10
"""Wider factors than this are not tried: the exact ones are not much wider then."""


def narrow_sums(graph: DataflowGraph) -> DataflowGraph:
    """Only in front of one step function, which gets new thresholds, and where the pairs are few enough to try."""
    types = infer_types(graph)
    changed: dict[str, DataflowOp] = {}
    for node in graph.nodes:
        if not isinstance(node, Step) or not isinstance(total := graph[node.x], Sum) or len(total.xs) != 2:
            continue
        if graph.users[total.name] == (node,) and total.name not in graph.outputs:
            found = _narrowed(total, node, [types[name] for name in total.xs])
            if found is not None:
                changed[total.name], changed[node.name] = found
    return graph.map(lambda node: changed.get(node.name, node)) if changed else graph


def _narrowed(total: Sum, step: Step, xs: list[TensorType]) -> tuple[Sum, Step] | None:
    alike = total.factors.shape[1] == 1
    channels = max(total.factors.shape[1], step.channels)
    bounds = [over_channels(x, channels) for x in xs]
    factors = np.broadcast_to(total.factors, (2, channels)).copy()
    thresholds = np.broadcast_to(step.thresholds, (channels, step.thresholds.shape[1])).copy()
    sizes = [int((hi - lo).max()) + 1 for lo, hi in bounds]
    if sizes[0] * sizes[1] * channels > _MOST_PAIRS or int(np.abs(factors).max()) < 4:
        return None
    grids = [
        np.stack([g.reshape(-1) for g in np.meshgrid(*(np.arange(lo[c], hi[c] + 1) for lo, hi in bounds))])
        for c in range(channels)
    ]
    groups = [list(range(channels))] if alike else [[c] for c in range(channels)]
    for group in groups:
        found = _least_factors([(grids[c], thresholds[c]) for c in group], factors[:, group[0]])
        if found is None:
            return None
        for c in group:
            thresholds[c] = _moved(grids[c], thresholds[c], factors[:, c], found)
            factors[:, c] = found
    narrow = replace(total, factors=factors[:, :1] if alike else factors)
    lo, hi = over_channels(replace(xs[0], lo=narrow.ranges(*xs)[0], hi=narrow.ranges(*xs)[1]), channels)
    start = np.broadcast_to(step.start, (channels,)).copy()
    stride = np.broadcast_to(step.stride, (channels,)).copy()
    return narrow, replace(step, thresholds=thresholds, start=start, stride=stride, lo=lo, hi=hi)


def _least_factors(cases: list[tuple[Ints, Ints]], exact: Ints) -> Ints | None:
    """The least factors that put every pair of every case on the right side of every threshold.

    Args:
        cases: Pairs (2, pairs) and thresholds of each channel.
        exact: The two factors that define the side.
    """
    larger = int(np.abs(exact).argmax())
    ratio = abs(int(exact[1 - larger])) / abs(int(exact[larger]))
    for size in range(1, min(1 << _MOST_BITS, abs(int(exact[larger])))):
        for other in sorted({int(ratio * size), int(ratio * size) + 1}):
            tried = np.empty(2, np.int64)
            tried[larger], tried[1 - larger] = size, other
            tried *= np.sign(exact)
            if all(_separates(pairs, thresholds, exact, tried) for pairs, thresholds in cases):
                return tried
    return None


def _sides(pairs: Ints, thresholds: Ints, exact: Ints, tried: Ints) -> tuple[Ints, Ints]:
    """For each threshold the greatest sum below it and the least from it on, with the factors that are tried."""
    true = exact @ pairs
    order = np.argsort(true, kind="stable")
    sums = (tried @ pairs)[order]
    place = np.searchsorted(true[order], thresholds, side="left")
    far = np.int64(NEVER)
    below = np.concatenate([[-far], np.maximum.accumulate(sums)])
    above = np.concatenate([np.minimum.accumulate(sums[::-1])[::-1], [far]])
    return below[place], above[place]


def _separates(pairs: Ints, thresholds: Ints, exact: Ints, tried: Ints) -> bool:
    below, above = _sides(pairs, thresholds, exact, tried)
    return bool((below < above).all())


def _moved(pairs: Ints, thresholds: Ints, exact: Ints, tried: Ints) -> Ints:
    """The thresholds of the new sums; one that lies below all of them stays there."""
    below, above = _sides(pairs, thresholds, exact, tried)
    least = int((tried @ pairs).min())
    return np.where(below == -NEVER, least, above)
