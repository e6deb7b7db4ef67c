# SPDX-License-Identifier: Apache-2.0
"""Narrow every accumulator to the sums that can occur, so that no adder carries a bit that is never used."""

from dataclasses import replace

from flow.ir.dataflow import Convolution, DataflowGraph, DataflowOp, Dense, Gate, Sum, infer_types
from flow.ir.types import IntType


def narrow_accumulators(graph: DataflowGraph) -> DataflowGraph:
    """Requires final weights: a later change of ``weight`` makes the new widths wrong."""
    types = infer_types(graph)

    def narrowed(node: DataflowOp) -> DataflowOp:
        if not isinstance(node, Dense | Convolution | Sum | Gate):
            return node
        acc = IntType.holding(*node.partial_range(*(types[name] for name in node.inputs)))
        return node if acc == node.acc else replace(node, acc=acc)

    return graph.map(narrowed)
