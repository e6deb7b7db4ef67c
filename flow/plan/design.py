# SPDX-License-Identifier: Apache-2.0
"""The design that a plan means: its processes in order, the words between them, forms with their proofs.

Two layers join without a converter where one's lanes divide the other's: the wider word crosses the stream, a
producer gathers its neuron folds into it or a consumer takes it in slices. Elsewhere a gearbox stands between
them, as at both ends, where the words of the AXI stream are taken apart and put together.
"""

from dataclasses import dataclass
from math import gcd
from typing import Literal, TypeAlias

from flow.errors import PlanFileError
from flow.ir.dataflow import TensorType
from flow.ir.step_forms import Certificate, Form
from flow.ir.types import ElementType
from flow.plan.layers import Layer
from flow.plan.plan import LayerPlan, Plan

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
class LayerProcess:
    """A layer with its place in the design.

    Attributes:
        layer: What it computes.
        plan: How it is folded.
        form: How its step function is realised; None without one.
        certificate: The proof of the form; None without one.
        in_lanes: Values of a word that it reads.
        out_lanes: Values of a word that it writes.
    """

    layer: Layer
    plan: LayerPlan
    form: Form | None
    certificate: Certificate | None
    in_lanes: int
    out_lanes: int

    @property
    def cycles(self) -> int:
        """Cycles of a frame at II = 1."""
        folds = self.layer.positions * (self.layer.outputs // self.plan.pe)
        return folds * (self.layer.inputs // self.plan.simd)

    @property
    def in_words(self) -> int:
        return self.layer.x.size // self.in_lanes

    @property
    def out_words(self) -> int:
        return self.layer.y.size // self.out_lanes


@dataclass(frozen=True, slots=True)
class Gearbox:
    """Words of one width into words of another, once a frame.

    Attributes:
        role: Whether it reads the input port, writes the output port, or stands between two layers.
        after: The layer in front of it; None at the input.
        element: The type of the values.
        values: Values of a frame.
        in_lanes: Values of a word that it reads.
        out_lanes: Values of a word that it writes.
        cycles: Iterations of a frame.
        last_read: The iteration behind that of the last read.
    """

    role: Literal["input", "output", "between"]
    after: str | None
    element: ElementType
    values: int
    in_lanes: int
    out_lanes: int
    cycles: int
    last_read: int

    @property
    def step(self) -> int:
        """Values held are a multiple of this."""
        return gcd(self.in_lanes, self.out_lanes)

    @property
    def places(self) -> int:
        """How many different fillings a read can meet."""
        return self.out_lanes // self.step

    @property
    def capacity(self) -> int:
        """The most values that are held."""
        return (self.places - 1) * self.step + self.in_lanes

    @property
    def in_words(self) -> int:
        return -(-self.values // self.in_lanes)

    @property
    def out_words(self) -> int:
        return -(-self.values // self.out_lanes)


Process: TypeAlias = LayerProcess | Gearbox


@dataclass(frozen=True)
class Design:
    """A design, ready to be emitted.

    Attributes:
        plan: What it was made from.
        source: The input port.
        sink: The output port.
        processes: In the order of the data.
    """

    plan: Plan
    source: Port
    sink: Port
    processes: tuple[Process, ...]

    @property
    def layers(self) -> tuple[LayerProcess, ...]:
        return tuple(p for p in self.processes if isinstance(p, LayerProcess))

    @property
    def interval(self) -> int:
        """Cycles from frame to frame: those of the slowest process."""
        return max(process.cycles for process in self.processes)


def build_design(layers: tuple[Layer, ...], plan: Plan, axis_bits: int) -> Design:
    """The design that ``plan`` means for these layers.

    Raises:
        PlanFileError: It asks for a form that cannot serve its step function.
    """
    source = port(layers[0].x, axis_bits)
    sink = port(layers[-1].y, axis_bits)
    processes: list[Process] = []
    for number, (layer, decided) in enumerate(zip(layers, plan.layers, strict=True)):
        form, certificate = chosen_form(layer, decided)
        taken, given = lanes_in(layer, decided), decided.pe
        if number == 0:
            before = None
        else:
            previous = processes[-1]
            assert isinstance(previous, LayerProcess)
            before = previous.out_lanes
            # only a product gathers its folds into a wider word, or takes one in slices
            gathers = taken % before == 0 and previous.layer.dense is not None
            slices = before % taken == 0 and layer.dense is not None
            if taken == before or gathers or slices:  # the wider word crosses
                wide = max(taken, before)
                processes[-1] = _with_lanes(previous, out_lanes=wide)
                processes.append(LayerProcess(layer, decided, form, certificate, wide, given))
                continue
        if before is None:
            processes.append(gearbox("input", None, source.element, source.values, source.lanes, taken))
        else:
            after = layers[number - 1].name
            processes.append(gearbox("between", after, layer.x.element, layer.x.size, before, taken))
        processes.append(LayerProcess(layer, decided, form, certificate, taken, given))
    last = processes[-1]
    assert isinstance(last, LayerProcess)
    processes.append(gearbox("output", last.layer.name, sink.element, sink.values, last.out_lanes, sink.lanes))
    return Design(plan, source, sink, tuple(processes))


def lanes_in(layer: Layer, plan: LayerPlan) -> int:
    """The values that a layer needs in one cycle."""
    return plan.simd if layer.dense is not None else plan.pe


def _with_lanes(process: LayerProcess, *, out_lanes: int) -> LayerProcess:
    return LayerProcess(process.layer, process.plan, process.form, process.certificate, process.in_lanes, out_lanes)


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


def gearbox(
    role: Literal["input", "output", "between"],
    after: str | None,
    element: ElementType,
    values: int,
    in_lanes: int,
    out_lanes: int,
) -> Gearbox:
    """A gearbox with its iterations counted: in each it reads a word if it holds too few values for the next
    one, and writes a word if it then holds enough, or if the frame ends.
    """
    in_words, out_words = -(-values // in_lanes), -(-values // out_lanes)
    held = read = written = cycles = last_read = 0
    while written < out_words:
        if held < out_lanes and read < in_words:
            held += in_lanes
            read += 1
            last_read = cycles + 1
        if held >= out_lanes or read == in_words:
            held -= out_lanes
            written += 1
        cycles += 1
    return Gearbox(role, after, element, values, in_lanes, out_lanes, cycles, last_read)
