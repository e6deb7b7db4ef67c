# SPDX-License-Identifier: Apache-2.0
"""Quantise before values are moved, or before the greatest is taken: what moves is then narrow integers.

A quantiser never falls, so that the greatest of quantised values is the quantised greatest value. What only moves
values about commutes with every function of one value.
"""

from dataclasses import replace

from flow.ir.graph import Graph
from flow.ir.model import (
    BipolarQuant,
    Concat,
    DepthToSpace,
    ModelGraph,
    ModelOp,
    Pool,
    Quant,
    Quantizer,
    Reduce,
    Reshape,
    Slice,
    Transpose,
    Upsample,
    constants,
)
from flow.ir.types import Reals


def quantize_early(graph: ModelGraph) -> ModelGraph:
    """Only where the quantiser is the mover's one reader; the mover then makes the tensor of the quantiser's name."""
    while (found := _next(graph)) is not None:
        graph = _swapped(graph, *found)
    return graph


def _next(graph: ModelGraph) -> tuple[Quantizer, ModelOp] | None:
    parameters = constants(graph)
    in_hardware: set[str] = set()  # what stands behind a quantiser: in front of the first, the host computes
    for node in graph.nodes:
        if node.name in parameters:
            continue
        if any(name in in_hardware for name in node.inputs) or isinstance(node, Quant | BipolarQuant):
            in_hardware.add(node.name)
        if not isinstance(node, Quant | BipolarQuant):
            continue
        mover = graph[node.x]
        alone = graph.users[mover.name] == (node,) and mover.name not in graph.outputs
        if alone and mover.name in in_hardware and _commutes(mover, node):
            return node, mover
    return None


def _commutes(mover: ModelOp, quantizer: Quantizer) -> bool:
    uniform = quantizer.scale.size == quantizer.zero_point.size == 1
    match mover:
        case Pool(kind="max") | Reduce(kind="max", keep=True):
            return uniform or _by_channel(quantizer)
        case Upsample(factors=factors):
            return uniform or (_by_channel(quantizer) and factors[-1] == 1)
        case Reshape() | Transpose() | Concat() | Slice() | DepthToSpace() | Reduce(kind="max"):
            return uniform
        case _:
            return False


def _by_channel(quantizer: Quantizer) -> bool:
    return all(p.size in (1, p.shape[-1]) for p in (quantizer.scale, quantizer.zero_point) if p.ndim)


def _swapped(graph: ModelGraph, quantizer: Quantizer, mover: ModelOp) -> ModelGraph:
    names = {node.name for node in graph.nodes}
    before: dict[str, str] = {}
    first: list[ModelOp] = []
    for number, operand in enumerate(dict.fromkeys(mover.inputs)):
        name = f"{quantizer.name}:before" + (str(number) if len(mover.inputs) > 1 else "")
        while name in names:
            name += "'"
        before[operand] = name
        scale, zero_point = _without_axes(quantizer.scale), _without_axes(quantizer.zero_point)
        first.append(replace(quantizer, name=name, x=operand, scale=scale, zero_point=zero_point))
    moved = replace(mover.with_inputs(before), name=quantizer.name)
    nodes: list[ModelOp] = []
    for node in graph.nodes:
        if node.name == mover.name:
            continue
        nodes += [*first, moved] if node.name == quantizer.name else [node]  # type: ignore[list-item]
    return Graph(tuple(nodes), graph.outputs)


def _without_axes(parameter: Reals) -> Reals:
    """One number that broadcasts to any rank; a number for each channel stays as it is."""
    return parameter.reshape(()) if parameter.size == 1 else parameter
