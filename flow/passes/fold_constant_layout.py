# SPDX-License-Identifier: Apache-2.0
"""Carry out reshapes and transpositions of parameters, so that weights lie as they are multiplied."""

import numpy as np
from numpy.typing import NDArray

from flow.ir.graph import Graph
from flow.ir.model import Constant, ModelGraph, ModelOp, QuantizedConstant, Reshape, Transpose


def fold_constant_layout(graph: ModelGraph) -> ModelGraph:
    """A scale that broadcasts along the weights is moved with them."""
    done: dict[str, ModelOp] = {}
    for node in graph.nodes:
        source = done.get(node.inputs[0]) if node.inputs else None
        if isinstance(node, Reshape | Transpose) and isinstance(source, Constant | QuantizedConstant):
            node = _moved(node, source)
        done[node.name] = node
    if all(done[node.name] is node for node in graph.nodes):
        return graph
    return Graph(tuple(done.values()), graph.outputs)


def _moved(node: Reshape | Transpose, source: Constant | QuantizedConstant) -> ModelOp:
    def move(array: NDArray[np.generic]) -> NDArray[np.generic]:
        if isinstance(node, Reshape):
            return array.reshape(node.shape).copy()
        return array.transpose(node.order).copy()

    if isinstance(source, Constant):
        return Constant(node.name, move(source.value))  # type: ignore[arg-type]
    scale = source.scale
    if scale.size > 1:
        whole = scale.reshape((1,) * (source.levels.ndim - scale.ndim) + scale.shape)
        if isinstance(node, Reshape):
            whole = np.broadcast_to(whole, source.levels.shape)
        scale = move(whole)  # type: ignore[assignment]
    return QuantizedConstant(node.name, move(source.levels), scale)  # type: ignore[arg-type]
