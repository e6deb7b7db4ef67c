# SPDX-License-Identifier: Apache-2.0
"""All designs of a network at once: the choices of each layer, and what stands between two of them.

What a design takes is the sum of three parts: a fixed one (the shell), one for each choice of a layer, and one for
each pair of choices of two layers that are joined: the streams between them have the width of their words, and
where these do not fit, a gearbox stands there. This mirrors ``flow.plan.design``, which builds one design; a test
holds both together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from flow.ir.types import Bipolar, Ints
from flow.plan import cost
from flow.plan import cost_blocks as blocks
from flow.plan.board import Board
from flow.plan.cost_coefficients import priced
from flow.plan.design import Port, port
from flow.plan.fifo import LEAST_DEPTH
from flow.plan.layers import Layer
from flow.plan.options import Option
from flow.plan.pipeline import MOVE_DEPTH, pace
from flow.plan.plan import LayerPlan
from flow.plan.processes import gearbox, lanes_in
from flow.plan.resources import Resources
from flow.plan.window_fifo import behind_window, values_behind, values_for_others, values_in_front

IMPOSSIBLE = 1 << 40
"""What a pair takes that cannot be: more than any board has."""


@dataclass(frozen=True)
class Node:
    """A layer with its choices; or the input, whose choices are the widths of its words, or the output with one.

    Attributes:
        layer: None for the input and the output.
        plans: (choices,): what is decided; empty for the input and the output.
        taken: (choices,): values of a word that it reads.
        given: (choices,): values of a word that it writes.
        cycles: (choices,): from frame to frame.
        depths: (choices,): of the pipeline.
        amounts: (choices, resources): what it takes, with its window unit, the stream behind that, and its fork.
        forked: Whether there is a fork behind it.
    """

    layer: Layer | None
    plans: tuple[LayerPlan, ...]
    taken: Ints
    given: Ints
    cycles: Ints
    depths: Ints
    amounts: Ints
    forked: bool


@dataclass(frozen=True)
class Edge:
    """What joins two nodes.

    Attributes:
        producer: By its place among the nodes.
        consumer: By its place.
        operand: Which operand of the consumer it is.
        given: (widths,): the words that the producer may write, sorted.
        taken: (widths,): the words that the consumer may read, sorted.
        cycles: (given, taken): of the gearbox; 0 without one.
        amounts: (given, taken, resources): streams and gearbox; ``IMPOSSIBLE`` for what cannot be.
    """

    producer: int
    consumer: int
    operand: int
    given: Ints
    taken: Ints
    cycles: Ints
    amounts: Ints


@dataclass(frozen=True)
class Space:
    """All designs of a network for a board.

    Attributes:
        nodes: The input, the layers in the order of the data, the output.
        edges: Between them.
        fixed: (resources,): what every design takes.
        readers: The nodes that read the input, if several do: its words are as wide as the widest that one takes.
        source: The input port.
        sink: The output port.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    fixed: Ints
    readers: tuple[int, ...]
    source: Port
    sink: Port

    def total(self, chosen: Sequence[int]) -> Resources:
        """What the design with these choices takes, one for each node."""
        amounts = self.fixed.copy()
        for node, choice in zip(self.nodes, chosen, strict=True):
            amounts += node.amounts[choice]
        for edge in self.edges:
            given = self.nodes[edge.producer].given[chosen[edge.producer]]
            taken = self.nodes[edge.consumer].taken[chosen[edge.consumer]]
            amounts += edge.amounts[np.searchsorted(edge.given, given), np.searchsorted(edge.taken, taken)]
        return Resources(*map(int, amounts))

    def plans(self, chosen: Sequence[int]) -> tuple[LayerPlan, ...]:
        """The decisions for the layers."""
        return tuple(node.plans[c] for node, c in zip(self.nodes, chosen, strict=True) if node.layer is not None)

    def least(self, interval: int) -> Ints:
        """(resources,): what no design falls below of each, what joins its layers left out; every node has a choice."""
        least = [node.amounts[node.cycles <= interval].min(0) for node in self.nodes]
        return np.asarray(np.sum(least, axis=0), np.int64)

    @property
    def intervals(self) -> list[int]:
        """The numbers of cycles from frame to frame that a design can have, as far as no lesser one is excluded."""
        least = max(int(node.cycles.min()) for node in self.nodes)
        paces = {int(c) for node in self.nodes for c in np.unique(node.cycles)}
        paces |= {int(c) for edge in self.edges for c in np.unique(edge.cycles)}
        return sorted(c for c in paces if c >= least)


def space(layers: tuple[Layer, ...], options: Mapping[str, Sequence[Option]], board: Board) -> Space:
    """All designs of a network."""
    return _Builder(layers, options, board).space()


class _Builder:
    def __init__(self, layers: tuple[Layer, ...], options: Mapping[str, Sequence[Option]], board: Board) -> None:
        self.layers, self.options, self.board = layers, options, board
        self.for_others = values_for_others(layers)
        self.names = {layer.name: number for number, layer in enumerate(layers, 1)}
        readers = [(name, place) for place, layer in enumerate(layers, 1) for name in layer.reads]
        self.first = [place for name, place in readers if name not in self.names]
        self.copies = {name: sum(name == other for other, _ in readers) for name in self.names}
        self.source = port(layers[self.first[0] - 1].x, board.axis_bits)
        self.sink = port(layers[-1].y, board.axis_bits)

    def space(self) -> Space:
        layers = [self._layer(layer) for layer in self.layers]
        taken = [np.unique(layers[place - 1].taken) for place in self.first]
        nodes = (self._input(np.unique(np.concatenate(taken))), *layers, self._output())
        edges = []
        for place, layer in enumerate(self.layers, 1):
            for number, name in enumerate(layer.reads):
                edges.append(self._edge(nodes, self.names.get(name, 0), place, number))
        edges.append(self._edge(nodes, len(self.layers), len(self.layers) + 1, 0))
        readers = tuple(self.first) if len(self.first) > 1 else ()
        fixed = _row(cost.shell(self.board.family))
        return Space(nodes, tuple(edges), fixed, readers, self.source, self.sink)

    def _layer(self, layer: Layer) -> Node:
        options = self.options[layer.name]
        taken = np.array([lanes_in(layer, option.plan) for option in options], np.int64)
        given = np.array([option.plan.pe for option in options], np.int64)
        amounts = np.array([option.resources.amounts for option in options], np.int64)
        cycles = np.array([option.cycles for option in options], np.int64)
        if behind_window(layer):
            bits, pes = layer.core_x.element.bits, [option.plan.pe for option in options]
            held = {pe: values_behind(layer, pe) for pe in set(pes)}
            amounts += [_stream(held[pe], lanes, bits) for pe, lanes in zip(pes, taken.tolist(), strict=True)]
        copies = self.copies[layer.name]
        if copies > 1:
            amounts += _by_width(given, lambda lanes: _fork(copies, lanes, layer.y.element.bits))
        depths = np.array([option.depth for option in options], np.int64)
        return Node(layer, tuple(option.plan for option in options), taken, given, cycles, depths, amounts, copies > 1)

    def _input(self, lanes: Ints) -> Node:
        source, bits = self.source, self.source.element.bits
        amounts = [_row(cost.stream_reader(source.lanes, given, bits, source.axis_bits)) for given in lanes.tolist()]
        cycles = np.array([_gearbox_pace(source.values, source.lanes, given) for given in lanes.tolist()], np.int64)
        total = np.array(amounts, np.int64)
        if len(self.first) > 1:
            total += _by_width(lanes, lambda given: _fork(len(self.first), given, bits))
        taken = np.full(len(lanes), source.lanes)
        return Node(None, (), taken, lanes, cycles, lanes * 0, total, len(self.first) > 1)

    def _output(self) -> Node:
        one = np.array([self.sink.lanes], np.int64)
        nothing = _row(Resources.zero())[None]
        return Node(None, (), one, one, np.array([self.sink.words + MOVE_DEPTH]), one * 0, nothing, False)

    def _edge(self, nodes: Sequence[Node], producer: int, consumer: int, number: int) -> Edge:
        before, behind = nodes[producer].layer, nodes[consumer].layer
        given, taken = np.unique(nodes[producer].given), np.unique(nodes[consumer].taken)
        element = before.y.element if before is not None else self.source.element
        values = before.y.size if before is not None else self.source.values
        held = self._held(behind, number) if behind is not None else 0
        gathers = before is not None and _matrix(before) and self.copies[before.name] == 1
        slices = behind is not None and _matrix(behind) and behind.window is None
        cycles = np.zeros((len(given), len(taken)), np.int64)
        amounts = np.zeros((len(given), len(taken), len(_row(Resources.zero()))), np.int64)
        for row, a in enumerate(given.tolist()):
            for column, b in enumerate(taken.tolist()):
                if producer == 0 and (b > a if len(self.first) > 1 else b != a):
                    amounts[row, column] = IMPOSSIBLE  # the words of the input are as wide as the widest reader's
                elif behind is None:
                    cycles[row, column] = _gearbox_pace(values, a, b)
                    amounts[row, column] = _stream(0, a, element.bits) + _writer(self.sink, a)
                elif a == b or (slices and a % b == 0) or (gathers and b % a == 0):
                    amounts[row, column] = _stream(held, max(a, b), element.bits)
                else:
                    cycles[row, column] = _gearbox_pace(values, a, b)
                    amounts[row, column] = _through_gearbox(held, a, b, element.bits)
        return Edge(producer, consumer, number, given, taken, cycles, amounts)

    def _held(self, layer: Layer, number: int) -> int:
        """Values that wait in front of an operand."""
        return values_in_front(layer) if behind_window(layer) else self.for_others.get((layer.name, number), 0)


def _matrix(layer: Layer) -> bool:
    """Whether it is a matrix-vector unit, which takes wide words in slices and gathers what it gives."""
    return layer.product is not None and not layer.depthwise


def _row(resources: Resources) -> Ints:
    return np.array(resources.amounts, np.int64)


def _by_width(lanes: Ints, amounts: Callable[[int], Ints]) -> Ints:
    """(choices, resources): what is computed once for every width."""
    widths, places = np.unique(lanes, return_inverse=True)
    return np.array([amounts(width) for width in widths.tolist()], np.int64)[places]


@priced
def _stream(values: int, lanes: int, bits: int) -> Ints:
    return _row(cost.fifo(max(LEAST_DEPTH, -(-values // lanes)), lanes * bits))


@priced
def _fork(copies: int, lanes: int, bits: int) -> Ints:
    return _row(blocks.fork(copies, lanes * bits)) + _stream(0, lanes, bits)


@priced
def _through_gearbox(held: int, given: int, taken: int, bits: int) -> Ints:
    streams = _stream(0, given, bits) + _stream(held, taken, bits)
    return streams + _row(cost.width_converter(given, taken, bits))


def _writer(sink: Port, lanes: int) -> Ints:
    return _row(cost.stream_writer(lanes, sink.lanes, sink.element.bits, sink.axis_bits))


@cache
def _gearbox_pace(values: int, given: int, taken: int) -> int:
    return pace(gearbox("between", None, Bipolar(), values, given, taken))
