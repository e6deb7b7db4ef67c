# SPDX-License-Identifier: Apache-2.0
"""Remove the quantisers that give back every value they can get, in front of another quantiser.

A Trunc rounds its input to the input's own scale before it divides: behind a quantised tensor, or a sum of its
values, that changes nothing.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from flow.ir.model import (
    Binary,
    BipolarQuant,
    Constant,
    DepthToSpace,
    ModelGraph,
    ModelOp,
    Pool,
    Quant,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Transpose,
    Upsample,
    constants,
)
from flow.ir.model_rules import infer_shapes


@dataclass(frozen=True, slots=True)
class _Grid:
    """Every value is ``scale`` times an integer from ``lo`` to ``hi``; the scale is exact."""

    scale: Fraction
    lo: int
    hi: int


def drop_idle_quantizers(graph: ModelGraph) -> ModelGraph:
    """Only where one quantiser reads the result, itself or behind products with numbers: its levels are compared."""
    shapes, parameters = infer_shapes(graph), constants(graph)
    grids: dict[str, _Grid] = {}
    idle: dict[str, str] = {}
    for node in graph.nodes:
        if node.name in parameters:
            continue
        if isinstance(node, Quant) and node.x in grids and _gives_back(node, grids[node.x]):
            grids[node.name] = grids[node.x]
            if _is_quantized_again(node, graph):
                idle[node.name] = node.x
        elif (found := _grid(node, graph, grids, shapes)) is not None:
            grids[node.name] = found
    return graph.without(idle)


def _grid(node: ModelOp, graph: ModelGraph, grids: dict[str, _Grid], shapes: dict[str, Shape]) -> _Grid | None:
    """The grid of a node's values, where it is known: that of a quantiser, or one that follows from its input's."""
    if isinstance(node, Quant):
        if node.scale.size > 1 or node.zero_point.size > 1:
            return None
        (lo, hi), zero = node.range, int(node.zero_point.item())
        return _Grid(Fraction(node.scale.item()), lo - zero, hi - zero)
    x = next((grids[name] for name in node.inputs if name in grids), None)
    if x is None:
        return None
    match node:
        case Reshape() | Transpose() | Slice() | Upsample() | DepthToSpace() | Pool(kind="max") | Reduce(kind="max"):
            return x
        case Pool(window=window, whole=whole) if whole or not window.pads:
            return _mean(x, math.prod(window.kernel), window.pads)
        case Reduce(kind=kind, axes=axes):
            count = math.prod(shapes[node.x][axis] for axis in axes)
            return _mean(x, count) if kind == "mean" else _Grid(x.scale, x.lo * count, x.hi * count)
        case Binary(kind="mul" | "div") if number := _number(node, graph):
            factor = number if node.kind == "mul" else 1 / number
            return _Grid(x.scale * factor, x.lo, x.hi)
        case _:
            return None


def _mean(x: _Grid, count: int, padded: bool = False) -> _Grid:
    lo, hi = (min(x.lo, 0), max(x.hi, 0)) if padded else (x.lo, x.hi)
    return _Grid(x.scale / count, lo * count, hi * count)


def _number(node: Binary, graph: ModelGraph) -> Fraction | None:
    """The one positive number by which an activation is multiplied, or divided; else None."""
    other = graph[node.y]
    if not isinstance(other, Constant) and node.kind == "mul":
        other = graph[node.x]
    if not isinstance(other, Constant) or other.value.size > 1 or not other.value.item() > 0:
        return None
    return Fraction(other.value.item())


def _gives_back(node: Quant, x: _Grid) -> bool:
    """Whether every value of the grid is one of the quantiser's: whole levels, none of them clipped."""
    if node.scale.size > 1 or node.zero_point.size > 1:
        return False
    steps = x.scale / Fraction(node.scale.item())
    zero = int(node.zero_point.item())
    lo, hi = node.range
    return steps.denominator == 1 and lo <= x.lo * steps + zero and x.hi * steps + zero <= hi


def _is_quantized_again(node: ModelOp, graph: ModelGraph) -> bool:
    while node.name not in graph.outputs and len(graph.users[node.name]) == 1:
        (node,) = graph.users[node.name]
        if isinstance(node, Quant | BipolarQuant):
            return True
        if not isinstance(node, Binary) or _number(node, graph) is None:
            return False
    return False
