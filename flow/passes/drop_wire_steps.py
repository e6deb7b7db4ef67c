# SPDX-License-Identifier: Apache-2.0
"""Remove the step functions that give back every value they can get."""

import numpy as np

from flow.ir.dataflow import DataflowGraph, Step, infer_types


def drop_wire_steps(graph: DataflowGraph) -> DataflowGraph:
    """Keeps an output's step, whose name is the output's."""
    types = infer_types(graph)
    return graph.without(
        {
            node.name: node.x
            for node in graph.nodes
            if isinstance(node, Step)
            and node.name not in graph.outputs
            and types[node.x].element.bits <= node.element.bits
            and _is_wire(node)
        }
    )


def _is_wire(step: Step) -> bool:
    if bool((step.stride != 1).any()):
        return False
    for channel in range(step.channels):
        values = np.arange(step.lo[channel] + 1, step.hi[channel] + 1)
        row = step.thresholds[channel]
        inside = row[(row > step.lo[channel]) & (row <= step.hi[channel])]
        if not np.array_equal(inside, values) or step.ends()[0][channel] != step.lo[channel]:
            return False
    return True
