# SPDX-License-Identifier: Apache-2.0
"""Cut every step function to the values that its input really takes: fewer thresholds to compare."""

from dataclasses import replace

import numpy as np

from flow.ir.dataflow import NEVER, DataflowGraph, DataflowOp, Step, infer_types, over_channels


def trim_steps(graph: DataflowGraph) -> DataflowGraph:
    """Requires final weights: a later change of the input's interval makes the step too short."""
    types = infer_types(graph)

    def trimmed(node: DataflowOp) -> DataflowOp:
        if not isinstance(node, Step):
            return node
        lo, hi = over_channels(types[node.x], node.channels)
        inside = (node.thresholds > lo[:, None]) & (node.thresholds <= hi[:, None])
        width = int(inside.sum(1).max(initial=0))
        if (
            width == node.thresholds.shape[1]
            and bool((inside | (node.thresholds == NEVER)).all())
            and np.array_equal(lo, node.lo)
            and np.array_equal(hi, node.hi)
        ):
            return node
        below = (node.thresholds <= lo[:, None]).sum(1)
        kept = np.sort(np.where(inside, node.thresholds, NEVER), axis=1)[:, :width]
        return replace(node, thresholds=kept, start=node.start + node.stride * below, lo=lo, hi=hi)

    return graph.map(trimmed)
