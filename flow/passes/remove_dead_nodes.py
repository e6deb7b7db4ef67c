# SPDX-License-Identifier: Apache-2.0
"""Remove the nodes on which no output depends."""

from typing import TypeVar

from flow.ir.graph import Graph, Node

N = TypeVar("N", bound=Node)


def remove_dead_nodes(graph: Graph[N]) -> Graph[N]:
    """For graphs of both languages."""
    wanted = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    if all(node.name in wanted for node in graph.nodes):
        return graph
    return Graph(tuple(node for node in graph.nodes if node.name in wanted), graph.outputs)
