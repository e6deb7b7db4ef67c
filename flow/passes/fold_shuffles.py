# SPDX-License-Identifier: Apache-2.0
"""Let the weights of a product take over the order of the channels that it reads."""

from dataclasses import replace

import numpy as np

from flow.ir.dataflow import ChannelShuffle, Convolution, DataflowGraph, DataflowOp, Dense


def fold_shuffles(graph: DataflowGraph) -> DataflowGraph:
    """Not into products of several groups, whose rows are bound to their channels.

    The shuffle may be left without a reader; ``remove_dead_nodes`` takes it.
    """

    def folded(node: DataflowOp) -> DataflowOp:
        if not isinstance(node, Dense | Convolution) or (isinstance(node, Convolution) and node.groups > 1):
            return node
        shuffle = graph[node.x]
        if not isinstance(shuffle, ChannelShuffle):
            return node
        return replace(node, x=shuffle.x, weight=node.weight[..., np.argsort(shuffle.order), :])

    return graph.map(folded)
