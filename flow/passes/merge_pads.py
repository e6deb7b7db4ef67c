# SPDX-License-Identifier: Apache-2.0
"""Let a convolution pad its input itself, where a node did it in front of it."""

from dataclasses import replace

from flow.ir.model import Conv, ModelGraph, ModelOp, Pad


def merge_pads(graph: ModelGraph) -> ModelGraph:
    """Zeros around the spatial axes only. The pad may be left without a reader; ``remove_dead_nodes`` takes it."""

    def merged(node: ModelOp) -> ModelOp:
        if not isinstance(node, Conv) or not isinstance(pad := graph[node.x], Pad) or pad.value != 0:
            return node
        if pad.before[-1] or pad.after[-1] or min(*pad.before, *pad.after) < 0:
            return node
        window = replace(
            node.window,
            before=tuple(a + b for a, b in zip(node.window.before, pad.before, strict=False)),
            after=tuple(a + b for a, b in zip(node.window.after, pad.after, strict=False)),
        )
        return replace(node, x=pad.x, window=window)

    return graph.map(merged)
