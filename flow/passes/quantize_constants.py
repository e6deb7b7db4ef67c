# SPDX-License-Identifier: Apache-2.0
"""Turn every quantiser of a parameter into its levels, each decided in exact arithmetic."""

import numpy as np

from flow.ir.graph import Graph
from flow.ir.model import BipolarQuant, ModelGraph, ModelOp, Quant, QuantizedConstant, constants
from flow.ir.reference import Evaluation


def quantize_constants(graph: ModelGraph) -> ModelGraph:
    """A zero point is taken off the levels here, so nothing behind this pass has one on a weight."""
    parameters = constants(graph)
    wanted = [n for n in graph.nodes if n.name in parameters and isinstance(n, Quant | BipolarQuant)]
    if not wanted:
        return graph
    # a parameter is evaluated once: the subgraph of parameters alone
    subgraph: ModelGraph = Graph(tuple(n for n in graph.nodes if n.name in parameters), ())
    decisions = Evaluation(subgraph, {}).decisions

    def levels(node: ModelOp) -> ModelOp:
        if node.name not in decisions or not isinstance(node, Quant | BipolarQuant):
            return node
        return QuantizedConstant(
            node.name,
            decisions[node.name].levels - node.zero_point.astype(np.int64),
            node.scale.copy(),
        )

    return graph.map(levels)
