# SPDX-License-Identifier: Apache-2.0
"""Make one reshape of two that follow each other."""

from flow.ir.model import ModelGraph, ModelOp, Reshape


def merge_reshapes(graph: ModelGraph) -> ModelGraph:
    """The first of the two may be left without a reader; ``remove_dead_nodes`` takes it."""

    def merged(node: ModelOp) -> ModelOp:
        if isinstance(node, Reshape) and isinstance(inner := graph[node.x], Reshape):
            return Reshape(node.name, inner.x, node.shape)
        return node

    return graph.map(merged)
