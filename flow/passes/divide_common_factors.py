# SPDX-License-Identifier: Apache-2.0
"""Divide out what all weights of a channel share: narrower weights and accumulators, the same function."""

from dataclasses import replace

import numpy as np

from flow.ir.dataflow import NEVER, DataflowGraph, DataflowOp, Step, product_before


def divide_common_factors(graph: DataflowGraph) -> DataflowGraph:
    """Only in front of a step function, whose thresholds are divided too (rounded up)."""
    changed: dict[str, DataflowOp] = {}
    for node in graph.nodes:
        if not isinstance(node, Step) or (product := product_before(node, graph)) is None:
            continue
        factor = np.maximum(np.gcd.reduce(product.matrix, axis=0), 1)
        if bool((factor == 1).all()):
            continue
        changed[product.name] = replace(product, weight=product.weight // factor)
        per_row = factor[:, None]
        thresholds = np.where(node.thresholds == NEVER, NEVER, -(-node.thresholds // per_row))
        # the sums are multiples of the factor, but the interval's ends need not be: shrink to multiples
        changed[node.name] = replace(node, thresholds=thresholds, lo=-(-node.lo // factor), hi=node.hi // factor)
    return graph.map(lambda node: changed.get(node.name, node)) if changed else graph
