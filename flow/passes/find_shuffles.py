# SPDX-License-Identifier: Apache-2.0
"""Read a reshape, a transposition and a reshape as what they do to channels and pixels.

Exporters write a channel shuffle, a pixel shuffle and a pixel unshuffle so. The reshape splits axes into parts, the
transposition moves the parts, the second reshape joins them. Where each axis but that of the channels keeps its
parts the channels were reordered; where it gains parts of the channels they became pixels; where it loses its last
parts to them pixels became channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from flow.ir.graph import Graph
from flow.ir.model import DepthToSpace, ModelGraph, ModelOp, Permute, Reshape, Shape, SpaceToDepth, Transpose, constants
from flow.ir.model_rules import infer_shapes

_Move: TypeAlias = Reshape | Transpose | Permute | DepthToSpace | SpaceToDepth
Parts: TypeAlias = tuple[int, ...]
"""Parts of an axis by their numbers, outermost first."""


def find_shuffles(graph: ModelGraph) -> ModelGraph:
    """Only of images and sequences, channels first or last; the first two nodes may be left without a reader."""
    parameters, shapes = constants(graph), infer_shapes(graph)
    found: dict[str, list[ModelOp]] = {}
    for last in graph.nodes:
        if isinstance(last, Reshape) and last.name not in parameters:
            middle = graph[last.x]
            first = graph[middle.x] if isinstance(middle, Transpose) else None
            if isinstance(middle, Transpose) and isinstance(first, Reshape):
                moved = _moved(shapes[first.x], first.shape, middle.order, last.shape)
                if moved is not None:
                    found[last.name] = moved.nodes(last.name, first.x)
    if not found:
        return graph
    return Graph(tuple(made for node in graph.nodes for made in found.get(node.name, [node])), graph.outputs)


@dataclass(frozen=True, slots=True)
class _Moved:
    """What became of the axes of an image (height, width, channels) or a sequence (length, channels).

    Attributes:
        first: Whether the channels are the first axis in the file, not the last.
        sizes: Of the parts.
        before: The parts of the channels, as they were.
        after: The parts of the channels, as they are.
        gained: For each other axis the parts that it took from the channels, behind its own.
        lost: For each other axis the last of its parts, which it gave to the channels.
        shape: Of the axes before, the channels last.
    """

    first: bool
    sizes: Shape
    before: Parts
    after: Parts
    gained: tuple[Parts, ...]
    lost: tuple[Parts, ...]
    shape: Shape

    def nodes(self, name: str, x: str) -> list[ModelOp]:
        """The operations from ``x`` to ``name``."""
        rank = len(self.shape)
        moves = self._moves()
        if self.first:
            moves = [Transpose("", "", (*range(1, rank), 0)), *moves, Transpose("", "", (rank - 1, *range(rank - 1)))]
        if not moves:
            moves = [Reshape("", "", self.shape)]
        names = [*(f"{name}:moved{number}" for number in range(len(moves) - 1)), name]
        return [replace(move, name=n, x=i) for move, n, i in zip(moves, names, [x, *names], strict=False)]

    def _moves(self) -> list[_Move]:
        """With the channels last."""
        *spatial, channels = self.shape
        gained, lost = (sum(parts, ()) for parts in (self.gained, self.lost))
        blocks = [self._count(parts) for parts in (self.gained if gained else self.lost)]
        size = prod(blocks)
        if gained and len(blocks) == 2 and self.before == (*self.after, *gained):
            return [DepthToSpace("", "", (blocks[0], blocks[1]), depth_last=False)]
        if gained:
            pixels: _Move = Reshape("", "", (spatial[0] * size, channels // size))  # of a sequence they lie in order
            if len(blocks) == 2:
                pixels = DepthToSpace("", "", (blocks[0], blocks[1]), depth_last=True)
            return [*self._ordered(self.before, (*gained, *self.after)), pixels]
        if lost:
            taken: _Move = Reshape("", "", (spatial[0] // size, channels * size))
            if len(blocks) == 2:
                taken = SpaceToDepth("", "", (blocks[0], blocks[1]))
            return [taken, *self._ordered((*lost, *self.before), self.after)]
        return self._ordered(self.before, self.after)

    def _ordered(self, before: Parts, after: Parts) -> list[_Move]:
        """The parts of the channels in another order; nothing where none moves."""
        if before == after:
            return []
        place = np.arange(self._count(before)).reshape([self.sizes[part] for part in before])
        order = place.transpose([before.index(part) for part in after]).reshape(-1)
        return [Permute("", "", len(self.shape) - 1, tuple(order.tolist()))]

    def _count(self, parts: Parts) -> int:
        return prod(self.sizes[part] for part in parts)


def _moved(whole: Shape, split: Shape, order: Shape, joined: Shape) -> _Moved | None:
    """What a reshape from ``whole`` to ``split``, a transposition and a reshape to ``joined`` do; None: else."""
    if len(whole) != len(joined) or len(whole) not in (2, 3):
        return None
    before = _parts(whole, [(axis, size) for axis, size in enumerate(split)])
    after = _parts(joined, [(axis, split[axis]) for axis in order])
    if before is None or after is None:
        return None
    for first in (True, False):
        turned = (axes[1:] + axes[:1] if first else axes for axes in (before, after))
        (*was, channels_were), (*are, channels_are) = turned
        pairs = list(zip(was, are, strict=True))
        gained = tuple(new[len(old) :] for old, new in pairs)
        lost = tuple(old[len(new) :] for old, new in pairs)
        kept = all(new[: len(old)] == old[: len(new)] for old, new in pairs)
        if kept and not (any(gained) and any(lost)):
            shape = (*whole[1:], whole[0]) if first else whole
            return _Moved(first, split, channels_were, channels_are, gained, lost, shape)
    return None


def _parts(shape: Shape, parts: Sequence[tuple[int, int]]) -> list[Parts] | None:
    """Which parts, one behind the other, each axis consists of; None where an axis ends within one."""
    waiting = [(number, size) for number, size in parts if size > 1]
    found: list[Parts] = []
    for size in shape:
        own: list[int] = []
        while size > 1 and waiting and size % waiting[0][1] == 0:
            number, part = waiting.pop(0)
            own.append(number)
            size //= part
        if size > 1:
            return None
        found.append(tuple(own))
    return found if not waiting else None
