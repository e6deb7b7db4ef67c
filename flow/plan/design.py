# SPDX-License-Identifier: Apache-2.0
"""The design that a plan means: its processes, the streams between them, forms with their proofs.

Every stream has one producer and one consumer; where a tensor has several readers, a fork copies it. Two layers
join without a converter where one's lanes divide the other's: the wider word crosses the stream, a product
gathers its neuron folds into it or takes it in slices. Elsewhere a gearbox stands between them, as at both ends,
where the words of the AXI stream are taken apart and put together.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from flow.errors import PlanFileError
from flow.ir.dataflow import TensorType
from flow.ir.step_forms import Certificate, Form
from flow.ir.types import ElementType
from flow.plan import fifo
from flow.plan.events import Edge
from flow.plan.layers import Layer
from flow.plan.pipeline import pace
from flow.plan.plan import LayerPlan, Plan
from flow.plan.processes import (
    Fork,
    LayerProcess,
    Process,
    WindowProcess,
    element_of,
    gearbox,
    lanes_in,
    window_unit,
)

_CONTAINERS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Port:
    """One end of the design: how the values of a frame lie in the words of an AXI stream.

    Value ``i`` of a frame lies in word ``i // per_word`` at bits ``[container * (i % per_word), + container)``,
    in two's complement; a bipolar value is one bit, 1 for +1. A frame begins with a new word; TLAST marks its
    last.

    Attributes:
        element: The type of a value.
        values: Values of a frame.
        axis_bits: The width of a word.
        container: Bits that a value takes: the next power of two.
    """

    element: ElementType
    values: int
    axis_bits: int
    container: int

    @property
    def per_word(self) -> int:
        return self.axis_bits // self.container

    @property
    def lanes(self) -> int:
        """Values that a word of one frame can hold: not more than the frame has."""
        return min(self.per_word, self.values)

    @property
    def words(self) -> int:
        """Words of a frame."""
        return -(-self.values // self.per_word)


@dataclass(frozen=True, slots=True)
class Stream:
    """Words that one process writes and another reads.

    Attributes:
        producer: The process that writes it, by its place in the design.
        output: Which of its outputs.
        consumer: The process that reads it.
        input: Which of its inputs.
        element: The type of a value.
        lanes: Values of a word.
        words: Words of a frame.
        depth: Words that it can hold.
    """

    producer: int
    output: int
    consumer: int
    input: int
    element: ElementType
    lanes: int
    words: int
    depth: int

    @property
    def bits(self) -> int:
        """Of a word."""
        return self.lanes * self.element.bits


@dataclass(frozen=True)
class Design:
    """A design, ready to be emitted.

    Attributes:
        plan: What it was made from.
        source: The input port, which the first process reads.
        sink: The output port, which the last process writes.
        processes: In an order in which each stands behind those that it reads.
        streams: Between them, in the order of their producers.
    """

    plan: Plan
    source: Port
    sink: Port
    processes: tuple[Process, ...]
    streams: tuple[Stream, ...]

    @property
    def layers(self) -> tuple[LayerProcess, ...]:
        return tuple(p for p in self.processes if isinstance(p, LayerProcess))

    @property
    def interval(self) -> int:
        """Cycles from frame to frame: those of the slowest process, its pipeline running empty in between; unrolled,
        one pipeline takes frame behind frame.
        """
        return max(p.cycles if self.plan.style == "unrolled" else pace(p) for p in self.processes)

    @property
    def forked(self) -> bool:
        """Whether a tensor has several readers, so that a stream that is too short could stop the design."""
        return any(isinstance(process, Fork) for process in self.processes)

    @cached_property
    def inputs(self) -> tuple[tuple[Stream, ...], ...]:
        """The streams that each process reads, in the order of its operands; none for the input port."""
        return tuple(
            tuple(sorted((s for s in self.streams if s.consumer == place), key=lambda s: s.input))
            for place in range(len(self.processes))
        )

    @cached_property
    def outputs(self) -> tuple[tuple[Stream, ...], ...]:
        """The streams that each process writes; none for the output port."""
        return tuple(
            tuple(sorted((s for s in self.streams if s.producer == place), key=lambda s: s.output))
            for place in range(len(self.processes))
        )


def build_design(layers: tuple[Layer, ...], plan: Plan, axis_bits: int) -> Design:
    """The design that ``plan`` means for these layers; the last of them makes the output.

    Raises:
        PlanFileError: It asks for a form that cannot serve its step function.
    """
    builder = _Builder(layers, plan, axis_bits)
    for layer, decided in zip(layers, plan.layers, strict=True):
        builder.add_layer(layer, decided)
    return builder.finish(plan)


@dataclass(frozen=True, slots=True)
class _End:
    """A stream that is not read yet: who writes it, as which of its outputs."""

    producer: int
    output: int


class _Builder:
    """Adds process after process; a stream is there once its reader is."""

    def __init__(self, layers: tuple[Layer, ...], plan: Plan, axis_bits: int) -> None:
        names = {layer.name for layer in layers}
        readers = [(name, layer, p) for layer, p in zip(layers, plan.layers, strict=True) for name in layer.reads]
        first = [(layer, decided) for name, layer, decided in readers if name not in names]
        self.entry = first[0][0].x
        self.source = port(self.entry, axis_bits)
        self.sink = port(layers[-1].y, axis_bits)
        self.layers = layers
        self.processes: list[Process] = []
        self.edges: list[Edge] = []
        self.open: dict[str, list[_End]] = {}
        self.counts = {name: sum(name == other for other, _, _ in readers) for name, _, _ in readers}
        self.counts[layers[-1].name] = self.counts.get(layers[-1].name, 0) + 1
        lanes = max(lanes_in(layer, decided) for layer, decided in first)
        source = self.source
        self.processes.append(gearbox("input", None, source.element, source.values, source.lanes, lanes))
        (name,) = {name for name, _, _ in readers if name not in names}
        self._offer(name, None)

    def _offer(self, name: str, after: str | None) -> None:
        """What the last process writes is the tensor ``name``; with several readers, through a fork."""
        producer, count = len(self.processes) - 1, self.counts[name]
        if count > 1:
            last = self.processes[producer]
            element, values = element_of(last), self._values(name)
            self.processes.append(Fork(after, element, values, last.out_lanes, count))
            self.edges.append((producer, 0, producer + 1, 0))
            producer += 1
        self.open[name] = [_End(producer, number) for number in range(count)]

    def _values(self, name: str) -> int:
        return next((layer.y.size for layer in self.layers if layer.name == name), self.source.values)

    def add_layer(self, layer: Layer, decided: LayerPlan) -> None:
        form, certificate = chosen_form(layer, decided)
        taken = lanes_in(layer, decided)
        unit = window_unit(layer, decided)
        core = LayerProcess(layer, decided, form, certificate, taken, decided.pe)
        ends = [self.open[name].pop(0) for name in layer.reads]
        if core.block == "dense" and unit is None:
            core = replace(core, in_lanes=self._slices(ends[0], taken))
            taken = core.in_lanes
        ends = [self._with_lanes(end, name, taken) for end, name in zip(ends, layer.reads, strict=True)]
        if unit is not None and core.block != "window":
            ends = [self._append(WindowProcess(layer, unit), ends)]
        self._append(core, ends)
        self._offer(layer.name, layer.name)

    def _append(self, process: Process, ends: list[_End]) -> _End:
        place = len(self.processes)
        self.processes.append(process)
        self.edges += [(end.producer, end.output, place, number) for number, end in enumerate(ends)]
        return _End(place, 0)

    def _slices(self, end: _End, taken: int) -> int:
        """The lanes of the words that a product reads: wider ones it takes in slices."""
        given = self.processes[end.producer].out_lanes
        return given if given % taken == 0 and end.producer > 0 else taken

    def _with_lanes(self, end: _End, name: str, taken: int) -> _End:
        """The stream with words of ``taken`` values: as it is, gathered by its producer, or through a gearbox."""
        producer = self.processes[end.producer]
        given = producer.out_lanes
        if given == taken:
            return end
        if isinstance(producer, LayerProcess) and producer.block == "dense" and taken % given == 0:
            self.processes[end.producer] = replace(producer, out_lanes=taken)
            return end
        after = name if name in {layer.name for layer in self.layers} else None
        values = self._values(name)
        return self._append(gearbox("between", after, element_of(producer), values, given, taken), [end])

    def finish(self, plan: Plan) -> Design:
        last = self.layers[-1].name
        (end,) = self.open[last]
        given = self.processes[end.producer].out_lanes
        sink = self.sink
        self._append(gearbox("output", last, sink.element, sink.values, given, sink.lanes), [end])
        edges = sorted(self.edges)
        deep = fifo.planned_depths(self.processes, edges, self.layers)
        streams = []
        for (producer, output, consumer, number), depth in zip(edges, deep, strict=True):
            process = self.processes[producer]
            words = process.out_words
            streams.append(
                Stream(producer, output, consumer, number, element_of(process), process.out_lanes, words, depth)
            )
        return Design(plan, self.source, self.sink, tuple(self.processes), tuple(streams))


def container_bits(element: ElementType) -> int:
    """The bits that a value takes in a word of an AXI stream: the next power of two."""
    return next(c for c in _CONTAINERS if c >= element.bits)


def port(tensor: TensorType, axis_bits: int) -> Port:
    """The port through which a tensor enters or leaves."""
    container = container_bits(tensor.element)
    return Port(tensor.element, tensor.size, max(axis_bits, container), container)


def chosen_form(layer: Layer, plan: LayerPlan) -> tuple[Form | None, Certificate | None]:
    """The realisation that a plan names, with its proof."""
    if layer.step is None:
        return None, None
    if plan.form not in layer.forms:
        raise PlanFileError(
            f"layer '{layer.name}': its step function has no form '{plan.form}'",
            f"possible here: {', '.join(layer.forms)}",
        )
    return layer.forms[plan.form]
