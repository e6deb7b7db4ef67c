# SPDX-License-Identifier: Apache-2.0
"""Remove what does nothing: identities, reshapes to the same shape, transpositions that keep the order."""

import math

from flow.ir.model import Clip, ModelGraph, ModelOp, Reshape, Shape, Transpose, Unary
from flow.ir.model_rules import infer_shapes


def drop_identities(graph: ModelGraph) -> ModelGraph:
    """The output keeps its name: a node that makes it stays, even where it does nothing."""
    shapes = infer_shapes(graph)
    return graph.without(
        {
            node.name: node.inputs[0]
            for node in graph.nodes
            if node.name not in graph.outputs and _does_nothing(node, shapes)
        }
    )


def _does_nothing(node: ModelOp, shapes: dict[str, Shape]) -> bool:
    match node:
        case Unary(kind="identity"):
            return True
        case Reshape(x=x, shape=shape):
            return shape == shapes[x]
        case Transpose(order=order):
            return order == tuple(range(len(order)))
        case Clip(lo=lo, hi=hi):
            return lo == -math.inf and hi == math.inf
        case _:
            return False
