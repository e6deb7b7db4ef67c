# SPDX-License-Identifier: Apache-2.0
"""Negate the weights of a channel whose step function falls, so that it rises: hardware then only counts up."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flow.ir.dataflow import NEVER, DataflowGraph, DataflowOp, Product, Step, product_before
from flow.ir.types import MAX_BITS, Ints, IntType


def orient_channels(graph: DataflowGraph) -> DataflowGraph:
    """Only where the negated weights need no wider type, and nothing else reads the accumulator."""
    changed: dict[str, DataflowOp] = {}
    for node in graph.nodes:
        if not isinstance(node, Step) or (product := product_before(node, graph)) is None:
            continue
        flip = (node.stride < 0) & _negatable(product)
        if not bool(flip.any()):
            continue
        weight = np.where(flip, -product.weight, product.weight)
        sums = replace(product, weight=weight, acc=IntType(min(product.acc.bits + 1, MAX_BITS), signed=True))
        changed[product.name] = sums
        changed[node.name] = mirrored(node, flip)
    return graph.map(lambda node: changed.get(node.name, node)) if changed else graph


def _negatable(product: Product) -> NDArray[np.bool_]:
    stored = product.weight_type
    negated = -product.matrix
    fits: NDArray[np.bool_] = (negated.min(0) >= stored.min) & (negated.max(0) <= stored.max)
    return fits


def mirrored(step: Step, flip: NDArray[np.bool_]) -> Step:
    """The step of ``-x`` in the channels of ``flip``."""
    inside = step.inside
    at_hi = step.ends()[1]
    # thresholds in reverse, those that are never reached at the end of the row
    turned: Ints = np.sort(np.where(inside, 1 - step.thresholds, NEVER), axis=1)
    # x <= -lo is x' >= ...: f falls from start to at_hi, so the mirrored function rises from at_hi
    return replace(
        step,
        thresholds=np.where(flip[:, None], turned, step.thresholds),
        start=np.where(flip, at_hi, step.start),
        stride=np.where(flip, -step.stride, step.stride),
        lo=np.where(flip, -step.hi, step.lo),
        hi=np.where(flip, -step.lo, step.hi),
    )
