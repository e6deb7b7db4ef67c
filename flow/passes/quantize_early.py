# SPDX-License-Identifier: Apache-2.0
"""Quantise before values are moved, or before the greatest is taken: what moves is then narrow integers.

A quantiser never falls, so that the greatest of quantised values is the quantised greatest value. What only moves
values about commutes with every function of one value.
"""

from dataclasses import replace

from flow.ir.graph import Graph
from flow.ir.model import (
    MONOTONE,
    Binary,
    BipolarQuant,
    Clip,
    Concat,
    Constant,
    Conv,
    ConvTranspose,
    DepthToSpace,
    LeakyRelu,
    MatMul,
    ModelGraph,
    ModelOp,
    Permute,
    Pool,
    Quant,
    Quantizer,
    Reduce,
    Reshape,
    Slice,
    SpaceToDepth,
    Transpose,
    Unary,
    Upsample,
    constants,
)
from flow.ir.types import Reals


def quantize_early(graph: ModelGraph) -> ModelGraph:
    """Only where the quantiser is the mover's one reader; the mover then makes the tensor of the quantiser's name.

    Functions of one value that stand between the two move along.
    """
    while (found := _next(graph)) is not None:
        graph = _swapped(graph, *found)
    return graph


def _next(graph: ModelGraph) -> tuple[ModelOp, ModelOp] | None:
    """A function of one value in front of, or at, a quantiser, and the mover that it reads."""
    parameters = constants(graph)
    wide: set[str] = set()  # what stands behind a product, not quantised yet: what the moves here are for
    for node in graph.nodes:
        if node.name in parameters:
            continue
        if isinstance(node, Quant | BipolarQuant):
            function: ModelOp = node
            while (operand := graph[_activation(function, parameters)]).name in wide:
                if graph.users[operand.name] != (function,) or operand.name in graph.outputs:
                    break
                if _commutes(operand, function, parameters, graph):
                    return function, operand
                if not _of_one_value(operand, parameters, graph):
                    break
                function = operand
        elif isinstance(node, MatMul | Conv | ConvTranspose | Binary) or any(name in wide for name in node.inputs):
            wide.add(node.name)
    return None


def _activation(node: ModelOp, parameters: set[str]) -> str:
    return next(name for name in node.inputs if name not in parameters)


def _of_one_value(node: ModelOp, parameters: set[str], graph: ModelGraph) -> bool:
    """Whether a node does the same to every element, whatever its place."""
    match node:
        case Unary() | Clip():
            return True
        case LeakyRelu(slope=slope):
            return slope.size == 1
        case Quant() | BipolarQuant():
            return node.scale.size == node.zero_point.size == 1
        case Binary():
            others = [graph[name] for name in node.inputs if name in parameters]
            return len(others) == 1 and isinstance(others[0], Constant) and others[0].value.size == 1
        case _:
            return False


def _never_falls(node: ModelOp) -> bool:
    match node:
        case Unary(kind=kind):
            return kind in MONOTONE and kind != "neg"
        case LeakyRelu(slope=slope):
            return bool((slope >= 0).all())
        case _:
            return isinstance(node, Clip | Quant | BipolarQuant)


def _commutes(mover: ModelOp, function: ModelOp, parameters: set[str], graph: ModelGraph) -> bool:
    uniform = _of_one_value(function, parameters, graph)
    by_channel = uniform or (isinstance(function, Quant | BipolarQuant) and _by_channel(function))
    match mover:
        case Pool(kind="max") | Reduce(kind="max", keep=True):
            return by_channel and _never_falls(function)
        case Reduce(kind="max"):
            return uniform and _never_falls(function)
        case Upsample(factors=factors):
            return uniform or (by_channel and factors[-1] == 1)
        case Reshape() | Transpose() | Concat() | Slice() | DepthToSpace() | SpaceToDepth() | Permute():
            return uniform
        case _:
            return False


def _by_channel(quantizer: Quantizer) -> bool:
    return all(p.size in (1, p.shape[-1]) for p in (quantizer.scale, quantizer.zero_point) if p.ndim)


def _swapped(graph: ModelGraph, function: ModelOp, mover: ModelOp) -> ModelGraph:
    names = {node.name for node in graph.nodes}
    before: dict[str, str] = {}
    first: list[ModelOp] = []
    for number, operand in enumerate(dict.fromkeys(mover.inputs)):
        name = f"{function.name}:before" + (str(number) if len(mover.inputs) > 1 else "")
        while name in names:
            name += "'"
        before[operand] = name
        made = function.with_inputs({mover.name: operand})
        if isinstance(made, Quant | BipolarQuant):
            made = replace(made, scale=_without_axes(made.scale), zero_point=_without_axes(made.zero_point))
        elif isinstance(made, LeakyRelu):
            made = replace(made, slope=_without_axes(made.slope))
        first.append(replace(made, name=name))  # type: ignore[arg-type]
    moved = replace(mover.with_inputs(before), name=function.name)
    nodes: list[ModelOp] = []
    for node in graph.nodes:
        if node.name == mover.name:
            continue
        nodes += [*first, moved] if node.name == function.name else [node]  # type: ignore[list-item]
    return Graph(tuple(nodes), graph.outputs)


def _without_axes(parameter: Reals) -> Reals:
    """One number that broadcasts to any rank; a number for each channel stays as it is."""
    return parameter.reshape(()) if parameter.size == 1 else parameter
