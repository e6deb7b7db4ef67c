# SPDX-License-Identifier: Apache-2.0
"""Make one step function of two that follow each other: a quantiser behind a quantiser costs nothing."""

import numpy as np

from flow.ir.dataflow import NEVER, DataflowGraph, DataflowOp, Step
from flow.ir.graph import Graph
from flow.ir.types import Ints


def fuse_steps(graph: DataflowGraph) -> DataflowGraph:
    """The first step stays where another node reads it too; ``remove_dead_nodes`` takes it otherwise."""
    nodes: dict[str, DataflowOp] = {}
    for node in graph.nodes:
        while isinstance(node, Step) and isinstance(first := nodes[node.x], Step) and _fits(first, node):
            node = compose(first, node)
        nodes[node.name] = node
    if all(nodes[node.name] is node for node in graph.nodes):
        return graph
    return Graph(tuple(nodes.values()), graph.outputs)


def _fits(first: Step, second: Step) -> bool:
    return first.channels == second.channels or 1 in (first.channels, second.channels)


def compose(first: Step, second: Step) -> Step:
    """``second`` of ``first``, as one step."""
    channels = max(first.channels, second.channels)
    rows: list[Ints] = []
    start, stride = np.empty(channels, np.int64), np.empty(channels, np.int64)
    lo, hi = np.broadcast_to(first.lo, (channels,)), np.broadcast_to(first.hi, (channels,))
    for channel in range(channels):
        a, b = channel % first.channels, channel % second.channels
        inside = first.thresholds[a][(first.thresholds[a] > lo[channel]) & (first.thresholds[a] <= hi[channel])]
        points = np.concatenate([lo[channel : channel + 1], inside])
        middle = first.start[a] + first.stride[a] * np.searchsorted(first.thresholds[a], points, side="right")
        rank = np.searchsorted(second.thresholds[b], middle, side="right")
        value = second.start[b] + second.stride[b] * rank
        stride[channel] = second.stride[b] * np.sign(first.stride[a])
        start[channel] = value[0]
        rows.append(np.repeat(points[1:], np.abs(np.diff(value)) // abs(int(stride[channel]))))
    thresholds = np.full((channels, max(row.size for row in rows)), NEVER, np.int64)
    for channel, row in enumerate(rows):
        thresholds[channel, : row.size] = row
    return Step(second.name, first.x, thresholds, start, stride, lo.copy(), hi.copy(), second.element)
